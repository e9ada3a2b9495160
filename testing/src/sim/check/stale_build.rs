//! Invariant 9: nothing is uploaded that was built before a stall.

use std::collections::VecDeque;
use std::sync::Arc;

use super::World;
use crate::sim::world::Posted;

/// Descriptors remembered, of all machines.
const POSTED_MAX: usize = 64;

/// Whose descriptors were first handed to a tor when.
#[derive(Default)]
pub(super) struct StaleBuild {
    posted: VecDeque<(usize, Arc<str>, u64)>,
}

impl StaleBuild {
    pub(super) fn check(&mut self, world: &mut World) -> Result<(), String> {
        let Some(Posted { by, text, said }) = world.posted.take() else { return Ok(()) };
        let first = self.posted.iter().find(|(node, known, _)| *node == by && *known == text).map(|(.., at)| *at);
        let woke_at = world.nodes[by].woke_at;
        if said >= woke_at && first.is_some_and(|first| first < woke_at) {
            return Err(format!("{by} uploads what it built before it was stopped"));
        }
        if first.is_none() {
            if self.posted.len() >= POSTED_MAX {
                self.posted.pop_front();
            }
            self.posted.push_back((by, text, said));
        }
        Ok(())
    }
}
