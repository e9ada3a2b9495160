//! Automatic rotation: the publisher makes a new token when the one in force has been for long enough.
//!
//! How long that is each node measures on its own wall clock, from when it first looked at the token, a minute after it has
//! started (a clock that is set at boot is right by then), and keeps on disk: boot time
//! would begin anew with every restart, and a rotation that said when it was made would be believed of a wrong clock. A
//! clock that is set back makes the token young again, one that is set ahead costs a rotation too early. Both are harmless.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::disk::load;
use super::timing::TOKEN_AGE_LOOK;
use super::token::TokenCheck;
use super::{Cluster, Liveness, Role, sign};
use crate::output::{DurableKind, Outbox};
use crate::time::{Mono, Now};

/// [`DurableKind::TokenAge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Since {
    check: TokenCheck,
    /// Unix seconds.
    secs: u64,
}

/// How old the token may become, and how old it is.
#[derive(Debug)]
pub(super) struct TokenAge {
    /// `None`: as old as it likes.
    max: Option<Duration>,
    since: Option<Since>,
    look_at: Mono,
}

impl TokenAge {
    /// With what the disk says.
    pub(super) fn new(
        max: Option<Duration>,
        saved: &BTreeMap<DurableKind, Vec<u8>>,
        now: Mono,
        out: &mut Outbox,
    ) -> Self {
        Self { max, since: load(saved, DurableKind::TokenAge, out), look_at: now.plus(TOKEN_AGE_LOOK) }
    }

    /// When to look at it again.
    pub(super) fn next_timeout(&self) -> Option<Mono> {
        self.max.map(|_| self.look_at)
    }

    /// Whether the token of `check` has been in force for too long; it is new if we have not seen it before, or if the
    /// clock says that we will.
    fn is_old(&mut self, max: Duration, check: TokenCheck, now: Now) -> bool {
        let secs = now.wall.as_secs();
        let seen = self.since.filter(|since| since.check == check && since.secs <= secs);
        let since = seen.unwrap_or(Since { check, secs });
        self.since = Some(since);
        secs - since.secs >= max.as_secs()
    }
}

impl Cluster {
    /// Replaces a token that is too old, if we are the publisher and all members can hear of it.
    pub(super) fn keep_token_young(&mut self, now: Now, out: &mut Outbox) {
        let Some(max) = self.token_age.max.filter(|_| now.mono >= self.token_age.look_at) else { return };
        self.token_age.look_at = now.mono.plus(TOKEN_AGE_LOOK);
        let Some(check) = self.rotations.check() else { return };
        let is_old = self.token_age.is_old(max, check, now);
        self.disk.want(DurableKind::TokenAge, sign::encode(&self.token_age.since));
        if is_old && self.may_rotate_by_itself(now.mono) {
            self.stage_rotation(now, None, out);
        }
    }

    fn may_rotate_by_itself(&self, now: Mono) -> bool {
        let is_ours = matches!(self.role(), Role::Alone | Role::Holder { .. });
        let all_hear = self.others().all(|other| self.members.liveness(other) == Liveness::Live);
        is_ours && all_hear && self.paused(now).is_none() && self.may_change_the_cluster().is_ok()
    }
}
