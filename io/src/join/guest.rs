//! Joining with an invite: through a tor of our own to the cluster's onion service, on any node of it.
//!
//! The keys of the node to be are on disk before anybody is asked: an invite is used by a node, so one that dies half way
//! joins with the same invite when it is asked to again. The hidden service comes only with [`run`](crate::run): until
//! then this machine cannot reach itself by accident.

use core::time::Duration;
use std::io::{self, Read as _};

use rustbalance_core::invite::Invite;
use rustbalance_core::invite::exchange::{Guest, Welcome};
use rustbalance_core::invite::front::ANSWER_MAX;
use rustbalance_core::join::{AdmitError, JoinError as Refusal};
use rustbalance_core::passphrase::Passphrase;
use rustbalance_core::time::Mono;
use smol::future::FutureExt as _;
use zeroize::Zeroizing;

use super::{JoinError, Joined, until_stopped};
use crate::keys::{MasterKey, Token};
use crate::proxy::{Connector, Isolation, write_all};
use crate::settings::{Settings, Target};
use crate::store::{ClusterFile, Initial, Lock, NewKeys, Secrets, Store};
use crate::tor::TorPaths;
use crate::tor::visit::Visitor;
use crate::{clock, entropy};

/// One attempt: tor gives a stream up after two minutes at most, and mostly knows within one.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(60);
/// After the first failure; doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Answers of the service itself after which no node can be meant to know the invite: it spreads in seconds.
const UNKNOWN_MAX: u32 = 5;
/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// What is needed to join with an invite.
pub struct InvitedParams {
    /// The node to be: its state directory, missing or without a node, its tor, and where it can be reached.
    pub settings: Settings,
    /// The invite.
    pub invite: Invite,
    /// The key of an authorised client, if the address is for such alone: the line of tor's `.auth_private` file.
    pub client_key: Option<Zeroizing<Vec<u8>>>,
    /// To encrypt this node's keys with.
    pub passphrase: Option<Passphrase>,
    /// Time for everything.
    pub timeout: Duration,
}

/// Shows the invite until a member lets us in, and writes the state directory then.
///
/// # Errors
/// See [`JoinError`]. There is no node then, but its keys are kept for the next attempt.
pub fn join_invited(params: &InvitedParams) -> Result<Joined, JoinError> {
    params.invite.check_expiry(clock::now().wall).map_err(JoinError::Invite)?;
    let store = Store::new(&params.settings.dir).encrypting(params.passphrase.as_ref())?;
    let lock = store.claim()?;
    let keys = store.new_keys(&lock)?;
    until_stopped(join_claimed(&store, &lock, keys, params))
}

async fn join_claimed(store: &Store, lock: &Lock, keys: NewKeys, params: &InvitedParams) -> Result<Joined, JoinError> {
    let InvitedParams { settings, invite, client_key, passphrase: _, timeout } = params;
    let by = clock::mono().plus(*timeout);
    let mut rng = entropy::rng()?;
    let (node, wireguard) = (keys.node.keypair().id(), keys.wireguard.public());
    let guest = Guest::new(invite, keys.node.keypair(), wireguard, settings.mesh.endpoint.clone(), &mut rng);
    let paths = TorPaths::new(&settings.dir)?;
    let client_key = client_key.as_deref().map(Vec::as_slice);
    let started = async { Ok(Visitor::start(settings, &paths, client_key).await?) };
    let mut visitor = started.or(too_late(by, JoinError::Bootstrap)).await?;
    let welcome = welcome(&mut visitor, &paths, invite, &guest, by).await;
    visitor.stop().await;
    let Welcome { admitted, token, master } = welcome?;

    let master = MasterKey::from_file(master, "hs_ed25519_secret_key".as_ref())?;
    let address = master.address();
    let secrets = Secrets { master, token: Token::from(&token), node: keys.node, wireguard: keys.wireguard };
    let cluster = ClusterFile { cluster: admitted.cluster, genesis: admitted.genesis, joined_through: None };
    store.found(lock, &Initial { secrets: &secrets, cluster, roster: &admitted.roster })?;
    Ok(Joined { address, node, wireguard, by: admitted.by })
}

async fn welcome(
    visitor: &mut Visitor,
    paths: &TorPaths,
    invite: &Invite,
    guest: &Guest,
    by: Mono,
) -> Result<Welcome, JoinError> {
    bootstrapped(visitor, by).await?;
    let target = Target::Onion { host: invite.address().to_string(), port: invite.port() };
    let connector = Connector::new(target, vec![paths.socks_socket.clone()], ATTEMPT_WITHIN);
    let mut unknown = 0;
    for (attempt, pause) in (1..).zip(pauses()) {
        tracing::info!(attempt, "asking {} through tor to be let in", invite.address());
        let why = match ask(&connector, guest, by).await {
            Ok(Some(Ok(welcome))) => return Ok(welcome),
            Ok(Some(Err(why @ Refusal::Refused(AdmitError::Busy | AdmitError::Rotating)))) => why.to_string(),
            Ok(Some(Err(why))) => return Err(JoinError::Refused { endpoint: invite.address().to_string(), why }),
            Ok(None) => {
                unknown += 1;
                if unknown >= UNKNOWN_MAX {
                    return Err(JoinError::InviteUnknown(invite.address()));
                }
                "the service itself answered: that node does not know the invite".to_owned()
            }
            Err(error) => error.to_string(),
        };
        if clock::mono().plus(pause) >= by {
            return Err(JoinError::NotReached { address: invite.address(), last: why });
        }
        tracing::info!("not let in yet: {why}; trying again in {} s, over new circuits", pause.as_secs());
        let late = JoinError::NotReached { address: invite.address(), last: why };
        async { Ok(visitor.forget().await?) }.or(too_late(by, late)).await?;
        clock::sleep(pause).await;
    }
    Err(JoinError::InviteUnknown(invite.address()))
}

/// Between one attempt and the next.
fn pauses() -> impl Iterator<Item = Duration> {
    core::iter::successors(Some(PAUSE), |pause| Some((*pause * 2).min(PAUSE_MAX)))
}

async fn bootstrapped(visitor: &mut Visitor, by: Mono) -> Result<(), JoinError> {
    async { Ok(visitor.bootstrapped().await?) }.or(too_late(by, JoinError::Bootstrap)).await
}

/// Fails when `by` has come.
async fn too_late<T, E>(by: Mono, error: E) -> Result<T, E> {
    clock::sleep_until(Some(by)).await;
    Err(error)
}

/// One attempt, over when `by` comes: what the cluster says; `None` if it is not the cluster that answers.
async fn ask(connector: &Connector, guest: &Guest, by: Mono) -> io::Result<Option<Result<Welcome, Refusal>>> {
    let exchange = async {
        let stream = connector.connect(Isolation::unique()).await?;
        write_all(&stream, guest.request(), || ()).await?;
        let (mut answer, mut chunk) = (Vec::new(), vec![0; CHUNK]);
        loop {
            let count = stream.read_with(|mut socket| socket.read(&mut chunk)).await?;
            answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if let Some(known) = guest.handle(&answer).transpose() {
                return Ok(Some(known));
            }
            if count == 0 && answer.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection was closed without an answer",
                ));
            }
            if count == 0 || answer.len() > ANSWER_MAX {
                return Ok(None);
            }
        }
    };
    let late = io::Error::new(io::ErrorKind::TimedOut, "no answer before the time was over");
    exchange.or(too_late(by.min(clock::mono().plus(ATTEMPT_WITHIN)), late)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustbalance_core::invite::pace::{CIRCUIT_BURST, Circuits};
    use rustbalance_core::tor::CircuitId;

    /// How many of `count` attempts that fail at once, with these pauses between them, are looked at if all come by one
    /// circuit.
    fn looked_at(count: u32, pauses: impl Iterator<Item = Duration>) -> u32 {
        let (mut circuits, mut now) = (Circuits::default(), clock::mono());
        let attempt = |pause| {
            let is_admitted = circuits.admit(now, Some(CircuitId(7)));
            now = now.plus(pause);
            u32::from(is_admitted)
        };
        pauses.take(count as usize).map(attempt).sum()
    }

    #[test]
    fn whoever_is_invited_asks_no_more_often_than_one_circuit_may_though_each_attempt_has_its_own() {
        assert_eq!(looked_at(1000, pauses()), 1000);
        // Not because anything would do.
        assert!(looked_at(1000, core::iter::repeat(PAUSE)) < 200);
        assert_eq!(looked_at(1000, core::iter::repeat(Duration::ZERO)), CIRCUIT_BURST);
    }
}
