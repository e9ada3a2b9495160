//! A node that has founded a cluster, and whoever shows it an invite.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{Host, Pair, START, wg};
use crate::cluster::timing::ADMISSION_WAIT;
use crate::cluster::{Access, ClusterConfig, NewInvite};
use crate::invite::{InviteId, InvitePath};
use crate::join::{Admitted, found};
use crate::onion::key::HsIdKeypair;
use crate::output::{DurableKind, RequestId};

/// The node, which has the key of the address.
pub(crate) struct Door {
    host: Host,
    master: HsIdKeypair,
}

impl Door {
    /// With one invite, which is good for an hour and for one node.
    pub(crate) fn new(master: HsIdKeypair, id: InviteId) -> Self {
        let pair = Pair::default();
        let Admitted { cluster, roster, .. } = found(pair.first(), wg(1), master.public(), &Access::Open);
        let config = ClusterConfig { cluster, ..pair.config(1) };
        let mut host = Host::start(config, &BTreeMap::from([(DurableKind::Roster, roster)]));
        host.tick(Duration::ZERO);
        let expires = START.wall.as_secs() + 3_600;
        let new = "bob".parse().map(|name| NewInvite { id, name, uses: 1, expires });
        let made = new.map(|new| host.cluster.invite(host.now, &new, &mut host.out));
        assert_eq!(made, Ok(Ok(())));
        // Once it is on disk it is in force.
        host.drain();
        host.tick(Duration::from_secs(1));
        Self { host, master }
    }

    /// The answer to a request with this `body`; `None` if it is for the service.
    ///
    /// # Panics
    /// If there is no answer, or more than one: that would be a bug of ours.
    pub(crate) fn show(&mut self, path: InvitePath, body: &[u8]) -> Option<Vec<u8>> {
        let Self { host, master } = self;
        let refused = host.cluster.handle_invited(host.now, RequestId(1), path, body, &mut host.out);
        host.drain();
        assert_eq!(host.answers.len(), usize::from(refused.is_err()), "{refused:?}");
        for _ in 0..ADMISSION_WAIT.as_secs() {
            if !host.answers.is_empty() {
                break;
            }
            host.tick(Duration::from_secs(1));
            host.cluster.native_is_off(host.now, &mut host.out);
            host.drain();
            host.cluster.answer_invited(host.now, master, &mut host.out);
            host.drain();
        }
        let mut answers = core::mem::take(&mut host.answers);
        assert_eq!(answers.len(), 1, "{refused:?}");
        answers.pop().flatten()
    }
}
