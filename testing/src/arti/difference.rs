//! One text, two judges: whether Arti and we agree about a descriptor, and where we do not.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rustbalance_core::hsdesc::exercise::Sealer;
use rustbalance_core::hsdesc::{Descriptor, DescriptorError};
use tor_netdoc::doc::hsdesc::HsDesc;
use tor_protover::{ProtoKind, Protocols};

use super::{Identity, is_same_point, open};

/// What each says of a descriptor of `sealer`'s service, if they do not agree: both refuse it, or both find the same in
/// it. Numbers are left out, so that one reason reads the same wherever it is met.
pub fn difference(sealer: &Sealer, text: &[u8]) -> Option<(String, String)> {
    // Arti takes text only.
    let as_text = std::str::from_utf8(text).ok()?;
    let ours = sealer.open(text);
    let blind = Identity::new(sealer.master()).blind_public(sealer.period());
    let theirs = open(as_text, &blind, None, sealer.now());
    let differing = match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => differing(ours, theirs),
        (Err(_), Err(_)) => vec![],
        _ => vec![""],
    };
    (!differing.is_empty()).then(|| (our_words(&ours), their_words(&theirs) + &differing.concat()))
}

/// What Arti found that we did not find, or otherwise: all that Arti tells of a descriptor.
fn differing(ours: &Descriptor, theirs: &HsDesc) -> Vec<&'static str> {
    let argument = |keyword: &str, index: usize| Some(header_line(ours, keyword)?.get(index)?.to_owned());
    let flow_control = || {
        let versions = argument("flow-control", 0)?;
        let versions = Protocols::from_kind_and_versions(ProtoKind::FlowCtrl, versions).ok()?;
        Some((versions, argument("flow-control", 1)?.parse().ok()?))
    };
    let compared = [
        (points_differ(ours, theirs), " with other points"),
        (has_more_points(ours, theirs), " with the points that we leave out"),
        (theirs.revision() != ours.revision.0.into(), " with another revision"),
        (
            theirs.is_single_onion_service() != header_line(ours, "single-onion-service").is_some(),
            " single onion or not",
        ),
        (
            theirs.requires_intro_authentication() != header_line(ours, "intro-auth-required").is_some(),
            " with authentication or not",
        ),
        (theirs.flow_control() != flow_control(), " with other flow control"),
        (theirs.pow_params().len() != usize::from(ours.pow.is_some()), " with proof of work or not"),
    ];
    compared.into_iter().filter(|(differs, _)| *differs).map(|(_, what)| what).collect()
}

/// The arguments of a line that stands there at most once.
fn header_line<'a>(ours: &'a Descriptor, keyword: &str) -> Option<Vec<&'a str>> {
    let mut lines = ours.header.0.iter().map(|line| line.split_ascii_whitespace());
    lines.find_map(|mut words| (words.next() == Some(keyword)).then(|| words.collect()))
}

/// Arti lists just those points beside ours that we leave out.
fn has_more_points(ours: &Descriptor, theirs: &HsDesc) -> bool {
    let points = theirs.intro_points();
    let mut rest = points.iter();
    let has_ours = ours.points.iter().all(|our| rest.any(|their| is_same_point(their, our)));
    has_ours && !ours.refused.is_empty() && points.len() == ours.points.len() + ours.refused.len()
}

fn points_differ(ours: &Descriptor, theirs: &HsDesc) -> bool {
    let points = theirs.intro_points();
    let same = points.len() == ours.points.len()
        && points.iter().zip(&ours.points).all(|(their, our)| is_same_point(their, our));
    !same && !has_more_points(ours, theirs)
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

/// What we say where a difference is meant.
enum Ours {
    /// We accept it, maybe without some points.
    Accept,
    /// We leave out points, whatever is wrong with them.
    LeaveOut,
    /// We leave out points, and with each one of these is wrong.
    LeaveOutFor(&'static [&'static str]),
    /// We refuse it for this.
    Refuse(&'static str),
}

impl Ours {
    fn is(&self, words: &str) -> bool {
        let accepted = words.strip_prefix("accepted");
        match self {
            Self::Accept => accepted.is_some(),
            Self::LeaveOut => accepted.is_some_and(|points| !points.is_empty()),
            Self::LeaveOutFor(faults) => accepted.is_some_and(|points| {
                let mut points = points.split(" without ").skip(1).peekable();
                points.peek().is_some() && points.all(|point| faults.contains(&point))
            }),
            Self::Refuse(fault) => words == *fault,
        }
    }
}

/// A difference that is meant: what we say, the beginning of Arti's reason (all of it, if Arti accepts), and what it is
/// about.
type Documented = (Ours, &'static [&'static str], &'static str);

/// All of them, as `docs/DECISIONS.md` lists them. Damage comes in pairs, and Arti stops at the first: so where it refuses
/// we may have left out a point for another reason.
const DOCUMENTED: &[Documented] = &[
    (Ours::LeaveOutFor(&["Syntax(Arguments)"]), AS_LEFT_OUT, "an argument too many in a point"),
    (Ours::LeaveOutFor(&["NoRelay"]), AS_LEFT_OUT, "a point that names no relay, or two"),
    (
        Ours::LeaveOutFor(&["LowOrderKey(\"onion-key\")", "LowOrderKey(\"enc-key\")"]),
        AS_LEFT_OUT,
        "a point with a key of low order",
    ),
    (Ours::LeaveOutFor(&["Syntax(Repeated(\"enc-key\"))"]), AS_LEFT_OUT, "encryption keys of two kinds in a point"),
    (Ours::LeaveOutFor(WHAT_ARTI_KEEPS), AS_LEFT_OUT, "points that are left out, each for one of these reasons"),
    (Ours::Refuse("Outer Syntax(Arguments)"), &["accepted"], "an argument too many in another line"),
    (Ours::Refuse("Middle Syntax(Arguments)"), &["accepted"], "an argument too many in another line"),
    (Ours::LeaveOut, IN_POINTS, "a point that cannot be read"),
    (Ours::Accept, &["invalid keyword on"], "a keyword of other letters"),
    (Ours::Accept, &["Empty line on"], "a blank line"),
    (
        Ours::Accept,
        &["unexpected NUL at", "bad object for entry at unknown position: Bad utf- in "],
        "something after a NUL byte",
    ),
    (Ours::Accept, &["missing entry at unknown position: no introduction points"], "no points"),
    (
        Ours::Accept,
        &[
            "bad argument for entry at unknown position: Couldn't parse integer",
            "bad argument for entry on line , byte : Onion service descriptor does not support ntor",
        ],
        "white space other than spaces and tabs",
    ),
    (Ours::Accept, &["unexpected entry on"], "a header line among the points"),
    (
        Ours::Accept,
        &["didn't find required entry at unknown position: No unique ntor onion key found."],
        "two onion keys in a point",
    ),
    (
        Ours::Accept,
        &["bad object for entry on line , byte : Mismatched subject key"],
        "an encryption key that its certificate does not name",
    ),
    (
        Ours::Accept,
        &["bad argument for entry on line , byte : Protocol versions: "],
        "a flow-control line with broken versions",
    ),
    (
        Ours::Accept,
        &["bad argument for entry on line , byte : Invalid base", "invalid base in object on"],
        "bits left over at the end of base64",
    ),
    (
        Ours::Accept,
        &["bad argument for entry on line , byte : Invalid HsDesc lifetime"],
        "a lifetime shorter than half an hour",
    ),
    (Ours::Refuse("Inner PowParams"), &["accepted"], "a malformed pow-params line"),
    (Ours::Refuse("Inner Syntax(NotFirst(\"create-formats\"))"), &["accepted"], "a line before the first one"),
    (Ours::Refuse("Middle Syntax(NotFirst(\"desc-auth-type\"))"), &["accepted"], "a line before the first one"),
    (Ours::Refuse("Inner TooManyPoints()"), &["accepted"], "more than twenty points"),
];

/// What Arti says where it keeps the points that we leave out.
const AS_LEFT_OUT: &[&str] = &["accepted with the points that we leave out"];

/// What is wrong with these.
const WHAT_ARTI_KEEPS: &[&str] = &[
    "LowOrderKey(\"enc-key\")",
    "LowOrderKey(\"onion-key\")",
    "NoRelay",
    "Syntax(Arguments)",
    "Syntax(Repeated(\"enc-key\"))",
];

/// What Arti says of lines in points; header lines can give none of these reasons where we accept them.
const IN_POINTS: &[&str] = &[
    "bad argument for entry on",
    "bad object for entry",
    "couldn't validate signature",
    "decoding error at",
    "didn't find required entry at",
    "duplicate entry on",
    "invalid base in object on",
    "missing object on",
    "too few arguments on line , byte : enc-key",
    "too few arguments on line , byte : introduction-point",
    "too few arguments on line , byte : onion-key",
    "unexpected object on",
];

/// The reason for a difference, if it is a documented one.
pub fn documented((ours, theirs): &(String, String)) -> Option<&'static str> {
    let refusal = theirs.split_once(" layer of an onion service descriptor").map(|(_, reason)| reason);
    let refusal = refusal.map(|reason| reason.trim_start_matches(['.', ':', ' ']));
    let is_theirs = |words: &&str| refusal.map_or(theirs == words, |reason| reason.starts_with(words));
    let found = DOCUMENTED.iter().find(|(our, their, _)| our.is(ours) && their.iter().any(is_theirs));
    found.map(|(_, _, reason)| *reason)
}

/// What documented differences are about.
pub fn all_documented() -> impl Iterator<Item = &'static str> {
    DOCUMENTED.iter().map(|(_, _, reason)| *reason)
}

/// For the fuzzer: a byte for the layer, and what stands in it.
///
/// # Panics
/// If the two do not agree, and that is not documented.
pub fn exercise(bytes: &[u8]) {
    static SEALER: LazyLock<Sealer> = LazyLock::new(Sealer::default);
    let Some((layer, text)) = bytes.split_first() else { return };
    if let Some(difference) = difference(&SEALER, &SEALER.sealed(*layer, text)) {
        let reason = documented(&difference);
        assert!(reason.is_some(), "not documented: we {}; Arti: {}", difference.0, difference.1);
    }
}
