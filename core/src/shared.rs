//! What nodes on one thread have worked out about bytes, for the simulator: a signature or a descriptor that many
//! simulated nodes meet is worked out once.
//!
//! An answer is kept under its whole question and follows from nothing else, so nodes cannot tell whether they worked it
//! out themselves. Only the feature `shared` keeps anything, and only on threads that asked for it ([`share`]); without
//! it every question is worked out anew, at no cost.

/// What is asked: a name of its own, then all that the answer follows from.
pub(crate) type Question<'a> = [&'a [u8]];

/// What `work` makes of `question`.
pub(crate) fn answer<A: Clone + 'static>(question: &Question<'_>, work: impl FnOnce() -> A) -> A {
    if let Some(known) = recall(question) {
        return known;
    }
    let answer = work();
    keep(question, &answer);
    answer
}

/// What `work` makes of `items`, each with a question of its own: it gets those with a new one.
pub(crate) fn answer_all<T: Copy, A: Clone + 'static, const N: usize>(
    items: &[T],
    question: impl for<'a> Fn(&'a T) -> [&'a [u8]; N],
    work: impl FnOnce(&[T]) -> Vec<A>,
) -> Vec<A> {
    let mut known: Vec<Option<A>> = items.iter().map(|item| recall(&question(item))).collect();
    let unknown = || items.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(item, _)| *item);
    let unknown: Vec<T> = unknown().collect();
    let slots = known.iter_mut().filter(|known| known.is_none());
    for ((slot, item), answer) in slots.zip(&unknown).zip(work(&unknown)) {
        keep(&question(item), &answer);
        *slot = Some(answer);
    }
    known.into_iter().flatten().collect()
}

#[cfg(feature = "shared")]
pub(crate) use kept::is_on;
#[cfg(feature = "shared")]
pub use kept::share;
#[cfg(feature = "shared")]
use kept::{keep, recall};

/// Whether nodes on this thread share their answers.
#[cfg(not(feature = "shared"))]
pub(crate) fn is_on() -> bool {
    false
}

#[cfg(not(feature = "shared"))]
fn recall<A>(_question: &Question<'_>) -> Option<A> {
    None
}

#[cfg(not(feature = "shared"))]
fn keep<A>(_question: &Question<'_>, _answer: &A) {}

/// Where answers are kept.
#[cfg(feature = "shared")]
mod kept {
    use core::any::Any;
    use core::cell::RefCell;
    use std::collections::BTreeMap;

    use super::Question;

    /// Questions and answers are forgotten, all together, when they take more bytes than this.
    pub(super) const BYTES_MAX: usize = 16 << 20;

    /// Answers by question.
    #[derive(Default)]
    pub(super) struct Answers {
        known: BTreeMap<Vec<u8>, Box<dyn Any>>,
        /// An answer is about as long as its question, or shorter.
        pub(super) bytes: usize,
    }

    thread_local! {
        pub(super) static ANSWERS: RefCell<Option<Answers>> = const { RefCell::new(None) };
    }

    /// From now on nodes on this thread share their answers, but none from before.
    pub fn share() {
        ANSWERS.set(Some(Answers::default()));
    }

    /// Whether nodes on this thread share their answers.
    pub(crate) fn is_on() -> bool {
        ANSWERS.with_borrow(Option::is_some)
    }

    /// The parts of a question, each with its length, so that no two questions read the same.
    fn key(question: &Question<'_>) -> Vec<u8> {
        let mut key = Vec::with_capacity(question.iter().map(|part| part.len() + size_of::<usize>()).sum());
        for part in question {
            key.extend(part.len().to_le_bytes());
            key.extend(*part);
        }
        key
    }

    pub(super) fn recall<A: Clone + 'static>(question: &Question<'_>) -> Option<A> {
        let recall = |answers: &Option<Answers>| answers.as_ref()?.known.get(&key(question))?.downcast_ref().cloned();
        ANSWERS.with_borrow(recall)
    }

    pub(super) fn keep<A: Clone + 'static>(question: &Question<'_>, answer: &A) {
        ANSWERS.with_borrow_mut(|answers| {
            let Some(answers) = answers else { return };
            if answers.bytes > BYTES_MAX {
                *answers = Answers::default();
            }
            let key = key(question);
            answers.bytes += 2 * key.len();
            answers.known.insert(key, Box::new(answer.clone()));
        });
    }
}

#[cfg(all(test, feature = "shared"))]
mod tests {
    use super::*;

    #[test]
    fn equal_questions_are_worked_out_once_and_others_anew() {
        share();
        let ask = |question: &Question<'_>, answer: u8| super::answer(question, || answer);
        assert_eq!(ask(&[b"sum", b"12"], 1), 1);
        assert_eq!(ask(&[b"sum", b"12"], 2), 1);
        assert_eq!(ask(&[b"sum", b"1", b"2"], 3), 3);
        assert_eq!(ask(&[b"product", b"12"], 4), 4);
        share();
        assert_eq!(ask(&[b"sum", b"12"], 5), 5, "forgotten");
    }

    #[test]
    fn of_several_questions_only_the_new_ones_are_worked_out() {
        share();
        let mut asked = Vec::new();
        let mut double = |items: &[&'static [u8]]| {
            answer_all(
                items,
                |item| [b"double", item],
                |new| {
                    asked.extend(new.iter().map(|item| item.len()));
                    new.iter().map(|item| item.len() * 2).collect()
                },
            )
        };
        assert_eq!(double(&[b"1", b"22"]), [2, 4]);
        assert_eq!(double(&[b"333", b"22", b"4444", b"1"]), [6, 4, 8, 2]);
        assert_eq!(asked, [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        share();
        let long = vec![0; 1 << 20];
        for number in 0..40_u64 {
            answer(&[&number.to_le_bytes(), &long], || number);
            let bytes = kept::ANSWERS.with_borrow(|answers| answers.as_ref().map(|answers| answers.bytes)).unwrap();
            assert!(bytes <= kept::BYTES_MAX + 2 * (long.len() + 64));
        }
    }
}
