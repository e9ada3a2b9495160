//! Arti and we agree about every descriptor that was damaged after decryption, sealed and signed again, but for what
//! `docs/DECISIONS.md` lists. Each campaign's seed is printed, `RUSTBALANCE_SEED` replays one.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "whatever fails, fails the test")]
#![expect(clippy::print_stdout, reason = "a failed case must be replayable")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand_core::{Rng as _, SeedableRng as _};
use rustbalance_core::hsdesc::exercise::Sealer;
use rustbalance_core::rng::Rng;
use rustbalance_testing::arti::difference::{all_documented, difference, documented, exercise};

/// Damaged descriptors a campaign.
const CASES: u32 = 2_000;
/// Lines that stand in descriptors, and one that does not.
const LINES: &[&str] = &[
    "unknown-line with arguments",
    "create2-formats 2 3",
    "create2-formats 3",
    "intro-auth-required ed25519",
    "single-onion-service",
    "flow-control 1-2 31",
    "flow-control 1 0",
    "pow-params v1 SfuEIYSuqRb5YUmpNI1+hKVLgPMvaLbIy8hqGVOCYmM 30 2027-01-01T00:00:00",
    "pow-params v2 x",
    "introduction-point",
    "enc-key ntor AAAA",
    "legacy-key",
    "descriptor-lifetime 20",
    "revision-counter 7",
    "desc-auth-type x25519",
    "auth-client AAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA",
];
/// What may stand in the place of an argument.
const WORDS: &[&str] =
    &["", "0", "1", "2", "-1", "+1", "4", "29", "30", "720", "721", "4294967296", "x25519", "ntor", "AAAA="];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/arti")
}

/// The layers of whole descriptors, to be damaged.
fn layers() -> Vec<(u8, String)> {
    let paths = fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path());
    // What the fuzzer found has a hash for its name.
    let whole = paths.filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().contains(&b'-')));
    let parts = whole
        .map(|path| fs::read(path).unwrap())
        .filter_map(|bytes| Some((bytes[0], String::from_utf8(bytes[1..].to_vec()).ok()?)));
    let sealer = Sealer::default();
    parts.filter(|(layer, text)| sealer.open(&sealer.sealed(*layer, text.as_bytes())).is_ok()).collect()
}

/// One or two changes of lines and words.
fn damaged(text: &str, rng: &mut Rng) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for _ in 0..1 + rng.next_u32() % 2 {
        let below = |bound: usize, rng: &mut Rng| rng.next_u32() as usize % bound.max(1);
        // Most lines are base64: take one with a keyword half of the time.
        let mut at = below(lines.len(), rng);
        if rng.next_u32().is_multiple_of(2) {
            at = (0..lines.len())
                .cycle()
                .skip(at)
                .take(lines.len())
                .find(|at| lines[*at].contains(['-', ' ']))
                .unwrap_or(at);
        }
        match rng.next_u32() % 9 {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => {
                let other = below(lines.len(), rng);
                lines.swap(at, other);
            }
            3 | 4 => lines.insert(at, LINES[below(LINES.len(), rng)].to_owned()),
            5 | 6 => {
                let mut words: Vec<&str> = lines[at].split(' ').collect();
                let word = below(words.len(), rng);
                words[word] = WORDS[below(WORDS.len(), rng)];
                lines[at] = words.join(" ");
            }
            7 => lines[at].push_str(" more"),
            _ => {
                let mut letters: Vec<char> = lines[at].chars().collect();
                if !letters.is_empty() {
                    let letter = below(letters.len(), rng);
                    letters[letter] = ['A', 'z', '/', '=', '-', ' ', '7'][below(7, rng)];
                }
                lines[at] = letters.into_iter().collect();
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.join("\n")
}

#[test]
fn both_accept_or_both_refuse_but_for_what_is_documented() {
    let seed = std::env::var("RUSTBALANCE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or_else(|| std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
    println!("RUSTBALANCE_SEED={seed}");
    let (mut rng, sealer, layers) = (Rng::seed_from_u64(seed), Sealer::default(), layers());
    assert!(layers.len() > 4, "{}", layers.len());
    let (mut found, mut accepted) = (BTreeSet::new(), 0);
    for _ in 0..CASES {
        let (layer, text) = &layers[rng.next_u32() as usize % layers.len()];
        let text = damaged(text, &mut rng);
        let sealed = sealer.sealed(*layer, text.as_bytes());
        accepted += u32::from(sealer.open(&sealed).is_ok());
        let difference = difference(&sealer, &sealed).filter(|difference| documented(difference).is_none());
        if let Some((ours, theirs)) = difference
            && found.insert((ours.clone(), theirs.clone()))
        {
            println!("we: {ours}; Arti: {theirs}; in\n{text}\n");
        }
    }
    println!("{accepted} of {CASES} were accepted by us");
    assert!(found.is_empty(), "{} differences that are not documented", found.len());
    assert!(accepted > CASES / 10, "too much damage to say anything");
}

#[test]
fn the_fuzzers_corpus_shows_no_other_difference() {
    for entry in fs::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        exercise(&fs::read(path).unwrap());
    }
}

#[test]
fn each_documented_difference_is_one() {
    let sealer = Sealer::default();
    let (_, good) = layers().into_iter().find(|(layer, text)| *layer == 3 && text.contains("pow-params")).unwrap();
    let pow = good.lines().find(|line| line.starts_with("pow-params")).unwrap();
    let point = good.lines().find(|line| line.starts_with("introduction-point")).unwrap();
    let onion_key = good.lines().find(|line| line.starts_with("onion-key")).unwrap();
    let flow = good.lines().find(|line| line.starts_with("flow-control")).unwrap();
    let enc_key = good.lines().find(|line| line.starts_with("enc-key ntor")).unwrap();
    let two_kinds = format!("enc-key other AAAA\n{enc_key}");
    // The last letter holds two bits more than 32 bytes have.
    let (kept, last) = enc_key.strip_suffix('=').unwrap().split_at(enc_key.len() - 2);
    let left_over = format!("{kept}{}=", char::from(last.as_bytes()[0] + 1));
    let (before_last, last_point) = good.split_at(good.rfind("introduction-point").unwrap());
    let no_relay = good.replacen(point, "introduction-point AA==", 1);
    let (before, after) = no_relay.rsplit_once("\nauth-key\n").unwrap();
    let several = format!("{before}\nauth-key more\n{after}");
    let other_key = "an encryption key that its certificate does not name";
    let of_inner = [
        (good.replacen(point, &format!("{point} more"), 1), "an argument too many in a point"),
        (no_relay, "a point that names no relay, or two"),
        (
            good.replacen(onion_key, &format!("onion-key ntor {}=", "A".repeat(43)), 1),
            "a point with a key of low order",
        ),
        (several, "points that are left out, each for one of these reasons"),
        (good.replacen("auth-key\n", "auth-kex\n", 1), "a point that cannot be read"),
        (good.split_once("introduction-point").unwrap().0.to_owned(), "no points"),
        (good.replacen("formats 2", "formats \x0c2", 1), "white space other than spaces and tabs"),
        (good.replacen("control 1-2 31", "control 1-2\r31 x", 1), "white space other than spaces and tabs"),
        (good.replacen(pow, "un.known line", 1), "a keyword of other letters"),
        (format!("{}{flow}\n", good.replacen(&format!("{flow}\n"), "", 1)), "a header line among the points"),
        (good.replacen(pow, "pow-params v1 AAAA 1", 1), "a malformed pow-params line"),
        (good.replacen(onion_key, &format!("{onion_key}\n{onion_key}"), 1), "two onion keys in a point"),
        (good.replacen("flow-control 1-2 ", "flow-control x ", 1), "a flow-control line with broken versions"),
        (good.replacen(enc_key, "enc-key ntor BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 1), other_key),
        (good.replacen(enc_key, &two_kinds, 1), "encryption keys of two kinds in a point"),
        (good.replacen(enc_key, &left_over, 1), "bits left over at the end of base64"),
        (good.replacen(pow, &format!("\n{pow}"), 1), "a blank line"),
        (format!("{good}\0unknown-line\n"), "something after a NUL byte"),
        (format!("unknown-line\n{good}"), "a line before the first one"),
        (format!("{before_last}{}", last_point.repeat(21)), "more than twenty points"),
    ];
    assert_eq!(difference(&sealer, &sealer.sealed(3, good.as_bytes())), None);
    let of_layer = |layer: u8| layers().into_iter().find(|(of, _)| *of == layer).unwrap().1;
    let more = |layer: u8, keyword: &str| {
        let good = of_layer(layer);
        let line = good.lines().find(|line| line.starts_with(keyword)).unwrap();
        good.replacen(&format!("\n{line}\n"), &format!("\n{line} more\n"), 1)
    };
    let of_others = [
        (1, more(1, "revision-counter"), "an argument too many in another line"),
        (2, more(2, "encrypted"), "an argument too many in another line"),
        (1, of_layer(1).replacen("lifetime 180", "lifetime 29", 1), "a lifetime shorter than half an hour"),
        (2, format!("unknown-line\n{}", of_layer(2)), "a line before the first one"),
    ];
    let mut shown = BTreeSet::new();
    for (layer, damaged, expected) in
        of_inner.map(|(damaged, expected)| (3, damaged, expected)).into_iter().chain(of_others)
    {
        let found = difference(&sealer, &sealer.sealed(layer, damaged.as_bytes()));
        assert_eq!(found.as_ref().and_then(documented), Some(expected), "{found:?}");
        shown.insert(expected);
    }
    assert_eq!(shown, all_documented().collect());
}
