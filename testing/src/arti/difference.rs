//! One text, two judges: whether Arti and we agree about a descriptor, and where we do not.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rustbalance_core::hsdesc::exercise::Sealer;
use rustbalance_core::hsdesc::{Descriptor, DescriptorError};
use tor_netdoc::doc::hsdesc::HsDesc;

use super::{Identity, is_same_point, open};

/// A layer of a descriptor, and whatever is to stand in it.
pub fn seal(sealer: &Sealer, layer: u8, text: &[u8]) -> Vec<u8> {
    match layer % 4 {
        0 => text.to_vec(),
        1 => sealer.signed(text),
        2 => sealer.with_middle(text).into_bytes(),
        _ => sealer.with_inner(text).into_bytes(),
    }
}

/// What each says of a descriptor of `sealer`'s service, if they do not agree: both refuse it, or both find the same points
/// in it. Numbers are left out, so that one reason reads the same wherever it is met.
pub fn difference(sealer: &Sealer, text: &[u8]) -> Option<(String, String)> {
    // Arti takes text only.
    let as_text = std::str::from_utf8(text).ok()?;
    let ours = sealer.open(text);
    let blind = Identity::new(sealer.master()).blind_public(sealer.period());
    let theirs = open(as_text, &blind, None, sealer.now());
    let agreed = match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => is_same(ours, theirs),
        (Err(_), Err(_)) => true,
        _ => false,
    };
    (!agreed).then(|| (our_words(&ours), their_words(&theirs)))
}

fn is_same(ours: &Descriptor, theirs: &HsDesc) -> bool {
    let points = theirs.intro_points();
    points.len() == ours.points.len() && points.iter().zip(&ours.points).all(|(their, our)| is_same_point(their, our))
}

fn our_words(verdict: &Result<Descriptor, DescriptorError>) -> String {
    match verdict {
        Ok(descriptor) => {
            let refused: String =
                descriptor.refused.iter().map(|error| format!(" without {:?}", error.fault)).collect();
            without_numbers(&format!("accepted{refused}"))
        }
        Err(error) => without_numbers(&format!("{:?} {:?}", error.layer, error.fault)),
    }
}

fn their_words(verdict: &anyhow::Result<HsDesc>) -> String {
    match verdict {
        Ok(_) => "accepted".to_owned(),
        Err(error) => without_numbers(&error.chain().fold(String::new(), |mut words, cause| {
            let _ = write!(words, "{}{cause}", if words.is_empty() { "" } else { ": " });
            words
        })),
    }
}

fn without_numbers(words: &str) -> String {
    words.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// A difference that is meant: how our words begin, a part of Arti's, and what it is about.
type Documented = (&'static str, &'static str, &'static str);

/// All of them, as `docs/DECISIONS.md` lists them.
const DOCUMENTED: &[Documented] = &[
    ("accepted without Syntax(Arguments)", "accepted", "an argument too many in a point"),
    ("accepted without", "inner layer", "a point that cannot be read"),
    ("accepted", "invalid keyword", "a keyword of other letters"),
    ("accepted", "unexpected entry", "a header line among the points"),
    ("accepted", "No unique ntor onion key", "two onion keys in a point"),
    ("accepted", "Malformed protocol entry", "a flow-control line with broken versions"),
    ("Inner PowParams", "accepted", "a malformed pow-params line"),
    ("Inner Syntax(NotFirst", "accepted", "a line before the first one"),
    ("Middle Syntax(NotFirst", "accepted", "a line before the first one"),
    ("Inner TooManyPoints", "accepted", "more than twenty points"),
];

/// The reason for a difference, if it is a documented one.
pub fn documented((ours, theirs): &(String, String)) -> Option<&'static str> {
    let found = DOCUMENTED.iter().find(|(our, their, _)| ours.starts_with(our) && theirs.contains(their));
    found.map(|(_, _, reason)| *reason)
}

/// For the fuzzer: a byte for the layer, and what stands in it.
///
/// # Panics
/// If the two do not agree, and that is not documented.
pub fn exercise(bytes: &[u8]) {
    static SEALER: LazyLock<Sealer> = LazyLock::new(Sealer::default);
    let Some((layer, text)) = bytes.split_first() else { return };
    if let Some(difference) = difference(&SEALER, &seal(&SEALER, *layer, text)) {
        let reason = documented(&difference);
        assert!(reason.is_some(), "not documented: we {}; Arti: {}", difference.0, difference.1);
    }
}
