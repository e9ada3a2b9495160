//! For fuzzing and for ordinary tests: any bytes as an invite, past its checksum, and as what is first said on a
//! connection, past the path that only the invited know.

use rand_core::SeedableRng as _;

use super::front::{Look, REQUEST_MAX, answer, answered, look, request};
use super::{CHECKSUM_LENGTH, Invite, InviteError, InviteName, InvitePath, LENGTH, PREFIX, checksum};
use crate::onion::address::OnionAddress;
use crate::onion::base32;
use crate::onion::key::HsIdKeypair;
use crate::rng::Rng;
use crate::time::Wall;

pub use super::exchange::exercise::{exercise_reply, exercise_request, samples};

/// Bytes before the checksum.
const KNOWN_LENGTH: usize = LENGTH - CHECKSUM_LENGTH;
/// Letters that say nothing of the checksum.
const KNOWN_LETTERS: usize = KNOWN_LENGTH * 8 / 5;
/// Before the length in an answer.
const ANSWER_START: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ";

/// A service whose key never changes.
pub(super) fn master() -> HsIdKeypair {
    HsIdKeypair::from_seed(&[7; 32])
}

/// An invite to it that never changes.
pub(super) fn invite() -> Invite {
    let expires = Wall::from_secs(1_700_003_600);
    Invite::new(OnionAddress::new(master().public()), 80, expires, &mut Rng::seed_from_u64(1))
}

/// `bytes` as an invite and as its name; as an invite with its checksum mended; and as what is encoded in one.
///
/// # Panics
/// If what was read is not what would be written: that would be a bug of ours.
pub fn exercise_text(bytes: &[u8]) {
    let text = &*String::from_utf8_lossy(bytes);
    if let Ok(name) = text.parse::<InviteName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    _ = read(text);
    if let Some(mended) = mended(text) {
        assert!(matches!(read(&mended), Ok(()) | Err(InviteError::Address)), "{mended}");
    }
    let written = written(bytes.get(..KNOWN_LENGTH).unwrap_or(bytes));
    let expected: &[_] = match bytes.len() {
        KNOWN_LENGTH.. => &[Ok(()), Err(InviteError::Address)],
        _ => &[Err(InviteError::Truncated)],
    };
    assert!(expected.contains(&read(&written)), "{written}");
}

fn read(text: &str) -> Result<(), InviteError> {
    let invite: Invite = text.parse()?;
    let (line, expires) = (invite.expose_line(), invite.expires());
    assert_eq!(*line, text.trim().to_ascii_lowercase());
    assert!(invite.port() > 0 && invite.address().id().is_valid());
    assert_eq!(invite.check_expiry(expires), Err(InviteError::Expired(expires.as_secs())));
    let again: Invite = line.parse()?;
    assert_eq!((again.id(), again.expires()), (invite.id(), expires));
    assert_eq!((again.address(), again.port()), (invite.address(), invite.port()));
    Ok(())
}

/// `text` with another checksum, and as it is but for that.
fn mended(text: &str) -> Option<String> {
    let (prefix, body) = text.trim().split_at_checked(PREFIX.len())?;
    let bytes: [u8; LENGTH] = base32::decode(body).ok()?;
    let written = written(bytes.get(..KNOWN_LENGTH)?);
    let is_prefix = prefix.eq_ignore_ascii_case(PREFIX);
    is_prefix
        .then(|| Some([prefix, body.get(..KNOWN_LETTERS)?, written.get(PREFIX.len() + KNOWN_LETTERS..)?].concat()))?
}

/// `known` with its checksum, as text.
fn written(known: &[u8]) -> String {
    [PREFIX, &base32::encode(&[known, &checksum(known)].concat())].concat()
}

/// `bytes` as what is first said on a connection, and as what follows the first line of a request; as all that came
/// back, and as what follows the beginning of an answer; and as what stands in request and answer.
///
/// # Panics
/// If what was said is taken for something else once more of it has come, or what is written is not read: that would be
/// a bug of ours.
pub fn exercise_front(bytes: &[u8]) {
    let path = invite().id().path();
    let line = [b"POST /", path.as_bytes(), b" HTTP/1.1\r\n"].concat();
    for said in [bytes, &[&line, bytes].concat()] {
        look_on(said, path);
    }
    let asked = request("host", &path, bytes);
    let whole = Look::Request { path, body: bytes };
    assert_eq!(look(&asked, &[path]), if asked.len() > REQUEST_MAX { Look::Other } else { whole });
    for came in [bytes, &[ANSWER_START, bytes].concat()] {
        hear_on(came);
    }
    let sent = answer(bytes);
    assert_eq!(answered(&sent), Some(bytes));
    if !bytes.windows(ANSWER_START.len()).any(|window| window == ANSWER_START) {
        assert_eq!(answered(&[bytes, &sent].concat()), Some(bytes), "behind a greeting");
    }
}

/// Looks at `bytes` as one after the other comes.
fn look_on(bytes: &[u8], path: InvitePath) {
    let mut before = Look::Undecided;
    for said in prefixes(bytes) {
        let seen = look(said, &[path]);
        let may_follow = match before {
            Look::Undecided => !matches!(seen, Look::Request { .. }),
            Look::Known => seen != Look::Undecided,
            Look::Request { .. } | Look::Other => seen == Look::Other,
        };
        assert!(may_follow, "{before:?}, then {seen:?}");
        let unknown = look(said, &[]);
        assert_eq!(unknown, if seen == Look::Undecided { seen } else { Look::Other }, "whoever is invited");
        if let Look::Request { path: shown, body } = seen {
            assert!(shown == path && said.ends_with(body) && said.len() <= REQUEST_MAX);
        }
        before = seen;
    }
}

/// Reads `bytes` as an answer as one after the other comes.
fn hear_on(bytes: &[u8]) {
    let whole = answered(bytes);
    assert!(whole.is_none_or(|body| answered(&answer(body)) == Some(body)));
    let mut parts = prefixes(bytes).map(answered).skip_while(Option::is_none);
    assert!(parts.all(|part| part == whole), "once it is whole it stays as it is");
}

fn prefixes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..=bytes.len()).filter_map(|end| bytes.get(..end))
}

/// An invite as text, and what is encoded in it, to begin from.
pub fn text_samples() -> Option<[Vec<u8>; 2]> {
    let line = invite().expose_line();
    let bytes: [u8; LENGTH] = base32::decode(line.get(PREFIX.len()..)?).ok()?;
    Some([line.as_bytes().to_vec(), bytes.get(..KNOWN_LENGTH)?.to_vec()])
}

/// A request and an answer, to begin from, each also without what is put before it.
pub fn front_samples() -> [Vec<u8>; 4] {
    let (asked, answer) = (request("host.onion", &invite().id().path(), b"body"), answer(b"sealed"));
    let headers = asked.split_inclusive(|byte| *byte == b'\n').skip(1).collect::<Vec<_>>().concat();
    let rest = answer.strip_prefix(ANSWER_START).unwrap_or_default().to_vec();
    [asked, headers, answer, rest]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_good_and_damaged_ones_do_no_harm() {
        let [line, known] = text_samples().unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!((read(&line), written(&known)), (Ok(()), line.clone()));
        let path = invite().id().path();
        let [asked, headers, answer, rest] = front_samples();
        assert!(asked.ends_with(&headers) && look(&asked, &[path]) == Look::Request { path, body: b"body" });
        assert!(!rest.is_empty() && answered(&answer) == Some(b"sealed"));
        for bytes in [line.into_bytes(), known, asked, headers, answer, rest] {
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x15;
                exercise_text(&damaged);
                exercise_front(&damaged);
            }
        }
    }

    #[test]
    fn a_spoilt_checksum_is_mended_and_nothing_else_is() {
        let line = invite().expose_line();
        let (kept, _) = line.split_at(PREFIX.len() + KNOWN_LETTERS + 1);
        let spoilt = format!(" {}aaaaaaaaa\n", kept.to_uppercase());
        assert_eq!(read(&spoilt), Err(InviteError::Checksum));
        let mended = mended(&spoilt).unwrap();
        assert_eq!((read(&mended), mended.to_lowercase()), (Ok(()), line.to_string()));
        assert!(mended.starts_with(&line[..kept.len() - 1].to_uppercase()));
    }
}
