//! One request of HTTP/1.1, of whose answer only the status counts.

use std::io::{self, Read as _};

use async_io::Async;
use socket2::Socket;

use crate::proxy::write_all;

/// Longest first line of an answer, bytes; what applications send is shorter than 100.
pub(super) const STATUS_LINE_MAX: usize = 1024;
/// What an application may say before its answer, in interim ones (RFC 9110 section 15.2), bytes.
pub(super) const INTERIM_MAX: usize = 16 * 1024;

/// Asks for `path`; the answer's status, or `None` if it is not HTTP. No more of the answer is read than that takes.
pub(super) async fn get(stream: &Async<Socket>, path: &str, host: &str) -> io::Result<Option<u16>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rustbalance\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    write_all(stream, request.as_bytes(), || ()).await?;
    let (mut answer, mut room) = (Vec::new(), [0; STATUS_LINE_MAX]);
    loop {
        if let Some(status) = final_status(&answer) {
            return Ok(status);
        }
        match stream.read_with(|mut socket| socket.read(&mut room)).await? {
            0 if answer.is_empty() => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
            }
            0 => return Ok(None),
            count => answer.extend(room.iter().take(count)),
        }
    }
}

/// The status of the first answer that is not an interim one; `Some(None)` if there will be none, `None` if more is needed.
pub(super) fn final_status(mut answer: &[u8]) -> Option<Option<u16>> {
    let read = answer.len();
    loop {
        let Some(end) = answer.iter().position(|byte| *byte == b'\n') else {
            return (answer.len() > STATUS_LINE_MAX || read > INTERIM_MAX).then_some(None);
        };
        let (line, rest) = answer.split_at(end);
        match status(line).filter(|_| end <= STATUS_LINE_MAX) {
            // 101 ends HTTP on this connection.
            Some(100 | 102..=199) => {}
            status => return Some(status),
        }
        match head_end(rest).and_then(|end| rest.get(end..)) {
            Some(next) => answer = next,
            None => return (read > INTERIM_MAX).then_some(None),
        }
    }
}

/// Where the head ends in `rest`, which begins with the end of its first line: after an empty line. A lone LF is an end of
/// line, too (RFC 9112 section 2.2).
fn head_end(rest: &[u8]) -> Option<usize> {
    (1..rest.len()).find_map(|at| match rest.split_at(at) {
        ([.., b'\n'], [b'\n', ..]) => Some(at + 1),
        ([.., b'\n'], [b'\r', b'\n', ..]) => Some(at + 2),
        _ => None,
    })
}

/// The status in `HTTP/1.1 200 OK` (RFC 9112 section 4), whose end of line is cut off or is `\r`.
fn status(line: &[u8]) -> Option<u16> {
    let [minor, b' ', hundreds, tens, units, rest @ ..] = line.strip_prefix(b"HTTP/1.")? else { return None };
    let ends = rest.first().is_none_or(|next| b" \r".contains(next));
    let code = [*hundreds, *tens, *units];
    let is_http = minor.is_ascii_digit() && ends && code.iter().all(u8::is_ascii_digit);
    is_http.then(|| code.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_answers_are_passed_over() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
        assert_eq!(
            final_status(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/1.1 500\r\n"),
            Some(Some(200))
        );
        let answers = format!("HTTP/1.1 100 Continue\r\n\r\n{early}HTTP/1.1 404 Not Found\r\n");
        assert_eq!(final_status(answers.as_bytes()), Some(Some(404)));
        for end in 0..answers.len() - 1 {
            assert_eq!(final_status(&answers.as_bytes()[..end]), None, "{end}");
        }
        for answers in [answers.replace('\r', ""), answers.replacen('\r', "", 2)] {
            assert_eq!(final_status(answers.as_bytes()), Some(Some(404)), "{answers}");
        }
        assert_eq!(final_status(b"HTTP/1.1 101 Switching Protocols\r\n"), Some(Some(101)));
        assert_eq!(final_status(early.repeat(INTERIM_MAX / early.len() + 1).as_bytes()), Some(None));
        assert_eq!(final_status(&[b'x'; STATUS_LINE_MAX + 1]), Some(None));
    }

    #[test]
    fn a_status_is_read_from_its_line_alone() {
        for (line, code) in
            [("HTTP/1.1 200 OK\r", 200), ("HTTP/1.0 404", 404), ("HTTP/1.1 503 \r", 503), ("HTTP/1.1 204\r", 204)]
        {
            assert_eq!(status(line.as_bytes()), Some(code), "{line}");
        }
        for line in
            ["", "HTTP/1.1", "HTTP/1.1 20", "HTTP/1.1 2000", "HTTP/1.1 2x0 OK", "HTTP/2 200", "http/1.1 200", "SSH-2.0"]
        {
            assert_eq!(status(line.as_bytes()), None, "{line}");
        }
    }
}
