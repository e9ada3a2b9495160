//! Many lookups in ascending order.

use core::cmp::Ordering;
use core::iter::Peekable;
use std::collections::{BTreeMap, btree_map};

use crate::id::NodeId;

/// Finds what a map has of many nodes in one pass over it, if they are asked for in ascending order.
pub(super) struct Walk<'a, V>(Peekable<btree_map::Iter<'a, NodeId, V>>);

impl<'a, V> Walk<'a, V> {
    /// At the beginning.
    pub(super) fn new(map: &'a BTreeMap<NodeId, V>) -> Self {
        Self(map.iter().peekable())
    }

    /// What the map has of `node`, which comes after those asked for before.
    pub(super) fn get(&mut self, node: NodeId) -> Option<&'a V> {
        loop {
            match self.0.peek()?.0.cmp(&node) {
                Ordering::Less => self.0.next()?,
                Ordering::Equal => return self.0.next().map(|(_, value)| value),
                Ordering::Greater => return None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_a_lookup_finds() {
        let node = |n| NodeId([n; 32]);
        let map: BTreeMap<NodeId, u8> = [1, 2, 5, 7, 9].map(|n| (node(n), n)).into();
        for step in 1..4 {
            let mut walk = Walk::new(&map);
            for n in (0..12).step_by(step) {
                assert_eq!(walk.get(node(n)), map.get(&node(n)), "{n}");
            }
        }
    }
}
