//! `cluster.json`: which cluster this node belongs to. Not secret.

use std::fs;

use rustbalance_core::{ClusterId, NodeId, WgPublicKey};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::keys;

/// What `cluster.json` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFile {
    /// The cluster.
    pub cluster: ClusterId,
    /// The first node: root of the admission chain.
    pub genesis: NodeId,
    /// The member we joined through, for as long as it does not say itself where it is.
    pub joined_through: Option<JoinedThrough>,
}

/// A member and where it was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedThrough {
    /// Its WireGuard key.
    pub wireguard: WgPublicKey,
    /// `HOST:PORT`.
    pub endpoint: String,
}

/// As it is written: base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    cluster: String,
    genesis: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    joined_through: Option<JoinedThroughText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinedThroughText {
    wireguard: String,
    endpoint: String,
}

impl ClusterFile {
    /// The file.
    pub fn to_text(&self) -> String {
        let joined_through = self.joined_through.as_ref().map(|through| JoinedThroughText {
            wireguard: keys::to_base64(&through.wireguard.0),
            endpoint: through.endpoint.clone(),
        });
        let (cluster, genesis) = (keys::to_base64(&self.cluster.0), keys::to_base64(&self.genesis.0));
        serde_json::to_string_pretty(&Text { cluster, genesis, joined_through }).unwrap_or_default() + "\n"
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Says what is damaged.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text: Text = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let id = |text: &str, name| keys::from_base64(text).map(|id| *id).ok_or(format!("`{name}` is no base64 id"));
        let joined_through = match text.joined_through {
            Some(JoinedThroughText { wireguard, endpoint }) => {
                Some(JoinedThrough { wireguard: WgPublicKey(id(&wireguard, "wireguard")?), endpoint })
            }
            None => None,
        };
        Ok(Self {
            cluster: ClusterId(id(&text.cluster, "cluster")?),
            genesis: NodeId(id(&text.genesis, "genesis")?),
            joined_through,
        })
    }
}

impl Store {
    /// Reads `cluster.json`.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn cluster(&self) -> Result<ClusterFile, StoreError> {
        let path = self.cluster_path();
        let text = fs::read(&path).map_err(StoreError::io("read", &path))?;
        ClusterFile::parse(&text).map_err(|why| StoreError::Damaged { path, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let through = JoinedThrough { wireguard: WgPublicKey([3; 32]), endpoint: "node.example:51820".to_owned() };
        for joined_through in [None, Some(through)] {
            let file = ClusterFile { cluster: ClusterId([1; 32]), genesis: NodeId([2; 32]), joined_through };
            assert_eq!(ClusterFile::parse(file.to_text().as_bytes()), Ok(file));
        }
    }

    #[test]
    fn says_what_is_damaged() {
        assert_eq!(
            ClusterFile::parse(br#"{"cluster": "x", "genesis": "y"}"#),
            Err("`cluster` is no base64 id".to_owned())
        );
        assert!(ClusterFile::parse(b"{").is_err());
    }
}
