//! Telling an invited node's request from everything else that reaches the service, and the dress in which request and
//! answer travel: HTTP/1.1, so that a service of web pages has nothing to wonder at.
//!
//! ```text
//! POST /<path> HTTP/1.1   then header lines, one of them Content-Length, and the body
//! ```
//! How long the first bytes of a connection are held back depends on their form alone, never on which paths there are: a
//! prober who feels its way letter by letter learns nothing.

use super::InvitePath;

/// Longest request, head and body.
pub const REQUEST_MAX: usize = 2048;
/// Longest answer, with whatever a service that speaks first has said before it.
pub const ANSWER_MAX: usize = 1 << 20;

const METHOD: &[u8] = b"POST /";
const VERSION: &[u8] = b" HTTP/1.1\r\n";
/// Of the first line.
const LINE_LENGTH: usize = METHOD.len() + InvitePath::LENGTH + VERSION.len();
const HEAD_END: &[u8] = b"\r\n\r\n";
const LENGTH_HEADER: &str = "content-length";
const ANSWER_START: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: ";

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// Perhaps the first line of a request; more of it must come soon.
    Undecided,
    /// The path is one of an invite; the rest must come.
    Known,
    /// A whole request.
    Request {
        /// Of which invite.
        path: InvitePath,
        /// Its body.
        body: &'a [u8],
    },
    /// Anything else: for the service.
    Other,
}

/// Looks at the first `bytes` of a connection while there are invites with these `paths`.
pub fn look<'a>(bytes: &'a [u8], paths: &[InvitePath]) -> Look<'a> {
    if !bytes.iter().take(LINE_LENGTH).enumerate().all(|(at, byte)| has_form(at, *byte)) {
        return Look::Other;
    }
    let Some((line, rest)) = bytes.split_at_checked(LINE_LENGTH) else { return Look::Undecided };
    let given = line.get(METHOD.len()..).and_then(|line| line.first_chunk());
    let given = given.map(|given| InvitePath(*given));
    // All are compared, each in constant time.
    let known = paths.iter().filter(|path| given.as_ref() == Some(*path)).fold(None, |_, path| Some(*path));
    let Some(path) = known else { return Look::Other };
    match body(rest) {
        _ if bytes.len() > REQUEST_MAX => Look::Other,
        Body::Whole(body) => Look::Request { path, body },
        Body::Unfinished => Look::Known,
        Body::Bad => Look::Other,
    }
}

fn has_form(at: usize, byte: u8) -> bool {
    let after_path = at.checked_sub(METHOD.len() + InvitePath::LENGTH);
    match (METHOD.get(at), after_path.and_then(|at| VERSION.get(at))) {
        (Some(expected), _) | (None, Some(expected)) => byte == *expected,
        (None, None) => byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte),
    }
}

enum Body<'a> {
    Whole(&'a [u8]),
    Unfinished,
    Bad,
}

/// The body after the header lines in `rest`.
fn body(rest: &[u8]) -> Body<'_> {
    // The first line's own end is the beginning of the empty line if there are no headers; then there is no length either.
    let Some((head, body)) = split(rest, HEAD_END) else { return Body::Unfinished };
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| core::str::from_utf8(line).ok());
    let mut lengths = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(LENGTH_HEADER).then(|| length(value.trim()))
    });
    match (lengths.next(), lengths.next()) {
        (Some(Some(length)), None) if body.len() == length => Body::Whole(body),
        (Some(Some(length)), None) if body.len() < length && length <= REQUEST_MAX => Body::Unfinished,
        _ => Body::Bad,
    }
}

/// Digits alone (RFC 9110 section 8.6): a sign, which Rust takes, is none.
fn length(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What stands before and after the first `mark`.
fn split<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    let (before, rest) = bytes.split_at_checked(at)?;
    Some((before, rest.get(mark.len()..)?))
}

/// A request with this body, to be sent as it is.
pub(super) fn request(host: &str, path: &InvitePath, body: &[u8]) -> Vec<u8> {
    let headers = format!(
        "Host: {host}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [METHOD, path.as_bytes(), VERSION, headers.as_bytes(), body].concat()
}

/// An answer with this body, to be sent as it is.
pub(super) fn answer(body: &[u8]) -> Vec<u8> {
    [ANSWER_START, format!("{}\r\nConnection: close\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// The body of the answer in all that came; a service that speaks first has said something before it.
pub(super) fn answered(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = split(bytes, ANSWER_START)?;
    let (head, body) = split(rest, HEAD_END)?;
    let length = length(core::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?)?;
    body.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invite::InviteId;

    fn path(n: u8) -> InvitePath {
        InviteId([n; 32]).path()
    }

    #[test]
    fn a_request_is_known_by_its_path_and_waited_for_to_its_end() {
        let (paths, sent) = ([path(1), path(2)], request("example.onion", &path(2), b"body"));
        for end in 0..LINE_LENGTH {
            assert_eq!(look(&sent[..end], &paths), Look::Undecided, "{end} bytes");
        }
        for end in LINE_LENGTH..sent.len() {
            assert_eq!(look(&sent[..end], &paths), Look::Known, "{end} bytes");
        }
        assert_eq!(look(&sent, &paths), Look::Request { path: path(2), body: b"body" });
    }

    #[test]
    fn how_long_bytes_are_held_back_does_not_depend_on_the_paths_there_are() {
        let (known, unknown) = (request("h", &path(1), b"b"), request("h", &path(9), b"b"));
        for end in 0..LINE_LENGTH {
            assert_eq!(look(&known[..end], &[path(1)]), look(&unknown[..end], &[path(1)]));
        }
        assert_eq!(look(&unknown, &[path(1)]), Look::Other);
        assert_eq!(look(&known, &[]), Look::Other);
    }

    #[test]
    fn anything_else_is_for_the_service_as_soon_as_it_differs() {
        let other =
            |bytes: &[u8]| assert_eq!(look(bytes, &[path(1)]), Look::Other, "{}", String::from_utf8_lossy(bytes));
        for text in ["G", "GET / HTTP/1.1\r\n", "PO ", "POST /a ", "POST /A", "POST /1", "SSH-2.0-", "\u{16}\u{3}\u{1}"]
        {
            other(text.as_bytes());
        }
        let sent = request("h", &path(1), b"body");
        other(&[&sent[..], b"more"].concat());
        other(&[&sent[..LINE_LENGTH - 3], b"0\r\n"].concat());
        let line = &sent[..LINE_LENGTH];
        for headers in ["\r\n\r\n", "Host: h\r\n\r\nbody"] {
            other(&[line, headers.as_bytes()].concat());
        }
        for length in ["x", "9999", "+4", "-4", "4 4", ""] {
            other(&[line, format!("Content-Length: {length}\r\n\r\nbody").as_bytes()].concat());
        }
        other(&[line, b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nb"].concat());
        other(&[line, &[b'x'; REQUEST_MAX]].concat());
        assert_eq!(look(b"", &[path(1)]), Look::Undecided);
    }

    #[test]
    fn an_answer_is_found_behind_a_greeting_and_nowhere_else() {
        let sent = answer(b"sealed");
        assert_eq!(answered(&sent), Some(&b"sealed"[..]));
        assert_eq!(answered(&[b"220 mail.example ESMTP\r\n", &sent[..]].concat()), Some(&b"sealed"[..]));
        for end in 0..sent.len() {
            assert_eq!(answered(&sent[..end]), None, "{end} bytes");
        }
        assert_eq!(answered(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), None);
        assert_eq!(answered(&[ANSWER_START, b"+6\r\n\r\nsealed"].concat()), None);
    }
}
