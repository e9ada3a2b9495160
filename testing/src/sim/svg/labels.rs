//! Labels of what befell the world, so placed that none covers another.

use super::{LABEL_CHARS_MAX, RIGHT, WIDTH};

/// Rows of labels; what finds no room in them is a line without words.
const ROWS_MAX: usize = 8;
/// Width of a character of a label, pixels.
const CHAR: f64 = 5.9;
/// Between two labels in one row, pixels.
const GAP: f64 = 8.0;

/// One of them.
pub(super) struct Label {
    pub x: f64,
    /// `None`: no room.
    pub row: Option<usize>,
    /// The machine that it befell, if one.
    pub node: Option<usize>,
    pub text: String,
}

/// A label for everything that the lanes do not show anyway; `x` says where an instant is.
pub(super) fn place(notes: &[(u64, String)], x: impl Fn(u64) -> f64) -> Vec<Label> {
    let mut ends = [f64::MIN; ROWS_MAX];
    let telling = (0..notes.len()).filter(|at| !is_minor(&notes[..*at], &notes[*at].1)).map(|at| &notes[at]);
    let label = |(at, text): &(u64, String)| {
        let (x, text) = (x(*at), text.chars().take(LABEL_CHARS_MAX).collect::<String>());
        let until = x + text.chars().count() as f64 * CHAR;
        let row = (0..ROWS_MAX).find(|row| ends[*row] + GAP <= x && until <= WIDTH - RIGHT / 2.0);
        if let Some(row) = row {
            ends[row] = until;
        }
        Label { x, row, node: node(&text), text }
    };
    telling.map(label).collect()
}

/// Readiness and thawing are in the lanes, and who joins starts.
fn is_minor(before: &[(u64, String)], text: &str) -> bool {
    let joined = || before.last().is_some_and(|(_, last)| last.contains(" joins ") && node(last) == node(text));
    (text.starts_with("the tor of") && text.ends_with(" points"))
        || text.ends_with("thaws")
        || (text.ends_with("starts") && joined())
}

/// The machine that a text begins with, or speaks of as its own: "tor of 3 killed".
fn node(text: &str) -> Option<usize> {
    let number = |text: &str| text.split(' ').next()?.parse().ok();
    number(text).or_else(|| text.split_once(" of ").and_then(|(_, rest)| number(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_covers_another() {
        let notes: Vec<(u64, String)> = (0..40).map(|at| (at * 100, format!("{} killed", at % 5))).collect();
        let labels = place(&notes, |ms| ms as f64 / 10.0);
        assert!(labels.iter().any(|label| label.row == Some(1)));
        for (at, label) in labels.iter().enumerate().filter(|(_, label)| label.row.is_some()) {
            let width = label.text.len() as f64 * CHAR;
            let covers = |other: &&Label| other.row == label.row && other.x < label.x + width;
            assert!(labels[at + 1..].iter().find(covers).is_none());
        }
    }

    #[test]
    fn texts_name_their_machine() {
        assert_eq!(node("3 killed"), Some(3));
        assert_eq!(node("tor of 12 killed"), Some(12));
        assert_eq!(node("the target of 4 is Up"), Some(4));
        assert_eq!(node("everything heals"), None);
        assert_eq!(node("partition"), None);
    }
}
