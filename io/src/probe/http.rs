//! One request of HTTP/1.1, of whose answer only the status counts.

use std::io::{self, Read as _};

use async_io::Async;
use socket2::Socket;

use crate::proxy::write_all;

/// Longest first line of an answer, bytes; what applications send is shorter than 100.
const STATUS_LINE_MAX: usize = 1024;

/// Asks for `path`; the answer's status, or `None` if it is not HTTP. Of the answer no more than this many bytes are read:
/// [`STATUS_LINE_MAX`].
pub(super) async fn get(stream: &Async<Socket>, path: &str, host: &str) -> io::Result<Option<u16>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rustbalance\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    write_all(stream, request.as_bytes(), || ()).await?;
    let mut buffer = [0; STATUS_LINE_MAX];
    let mut filled = 0;
    loop {
        let (read, room) = buffer.split_at_mut(filled);
        if let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            return Ok(status(read.split_at(end).0));
        }
        if room.is_empty() {
            return Ok(None);
        }
        match stream.read_with(|mut socket| socket.read(room)).await? {
            0 if filled == 0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
            0 => return Ok(None),
            count => filled += count,
        }
    }
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
