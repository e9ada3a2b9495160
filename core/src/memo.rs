//! What follows from other state, worked out once per state.

use core::cell::RefCell;
use core::fmt;
use std::sync::Arc;

/// Keeps what was last made, with a key that names the state it was made from: counters that grow with every change of
/// what it looks at. Nothing invalidates it, so nothing can forget to; debug builds make everything twice and compare.
pub(crate) struct Memo<K, V: ?Sized>(RefCell<Option<(K, Arc<V>)>>);

impl<K: PartialEq, V: PartialEq + ?Sized> Memo<K, V> {
    /// What `make` makes of the state that `key` names.
    pub(crate) fn get(&self, key: K, make: impl Fn() -> Arc<V>) -> Arc<V> {
        if let Some((known, value)) = &*self.0.borrow()
            && *known == key
        {
            debug_assert!(**value == *make(), "the state changed without its key");
            return value.clone();
        }
        let value = make();
        self.0.replace(Some((key, value.clone())));
        value
    }
}

impl<K, V: ?Sized> Default for Memo<K, V> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

/// No state of its own, so it shows none.
impl<K, V: ?Sized> fmt::Debug for Memo<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_state_gives_the_same_value_and_another_state_a_new_one() {
        let memo = Memo::<u64, str>::default();
        let first = memo.get(1, || "one".into());
        assert!(Arc::ptr_eq(&first, &memo.get(1, || "one".into())));
        assert_eq!(*memo.get(2, || "two".into()), *"two");
        assert_eq!(*memo.get(1, || "one".into()), *"one");
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "without its key")]
    fn a_key_that_misses_a_change_is_noticed() {
        let memo = Memo::<u64, str>::default();
        memo.get(1, || "one".into());
        memo.get(1, || "two".into());
    }
}
