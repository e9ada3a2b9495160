//! The line that tor writes before everything else on each connection it hands over, with `HiddenServiceExportCircuitID
//! haproxy` (tor's manual; version 1 of the PROXY protocol): by which circuit the client came.
//!
//! ```text
//! PROXY TCP6 fc00:dead:beef:4dad::HHHH:LLLL ::1 1234 80\r\n
//! ```
//! Of the first address the last 32 bits are tor's own number of the circuit. Nothing else in it means anything, says the
//! manual, so nothing else is looked at closer than its form demands.

use core::net::Ipv6Addr;

/// What such a line begins with.
const START: &[u8] = b"PROXY TCP6 ";
/// Longest line that the protocol allows, with its end.
const LINE_MAX: usize = 107;

/// A circuit of a client, as the tor that it ends at counts them from its start on: those of two tors, or before and after
/// a restart, may have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CircuitId(pub u32);

/// What the first bytes of a connection from tor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitLine {
    /// Perhaps the beginning of the line.
    Undecided,
    /// The line, and how many bytes it takes; what follows is the client's.
    Whole(CircuitId, usize),
    /// Anything else: the client's own.
    Missing,
}

impl CircuitLine {
    /// Looks at the first `bytes` of a connection.
    pub fn look(bytes: &[u8]) -> Self {
        if START.iter().zip(bytes).any(|(expected, byte)| byte != expected) {
            return Self::Missing;
        }
        match bytes.iter().take(LINE_MAX).position(|byte| *byte == b'\n') {
            Some(end) => bytes.get(..=end).and_then(circuit).map_or(Self::Missing, |id| Self::Whole(id, end + 1)),
            None if bytes.len() < LINE_MAX => Self::Undecided,
            None => Self::Missing,
        }
    }
}

fn circuit(line: &[u8]) -> Option<CircuitId> {
    let text = core::str::from_utf8(line.strip_prefix(START)?).ok()?.strip_suffix("\r\n")?;
    let mut words = text.split(' ');
    let mut word = || words.next();
    let from: Ipv6Addr = word()?.parse().ok()?;
    word()?.parse::<Ipv6Addr>().ok()?;
    word()?.parse::<u16>().ok()?;
    word()?.parse::<u16>().ok()?;
    let [.., a, b, c, d] = from.octets();
    word().is_none().then_some(CircuitId(u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(line: &str) -> Option<(u32, usize)> {
        match CircuitLine::look(line.as_bytes()) {
            CircuitLine::Whole(CircuitId(id), length) => Some((id, length)),
            CircuitLine::Undecided | CircuitLine::Missing => None,
        }
    }

    #[test]
    fn the_line_names_its_circuit() {
        // The first four are those of tor's own tests.
        for (line, id) in [
            ("PROXY TCP6 fc00:dead:beef:4dad::0:29a ::1 666 42\r\n", 666),
            ("PROXY TCP6 fc00:dead:beef:4dad::0:16 ::1 22 42\r\n", 22),
            ("PROXY TCP6 fc00:dead:beef:4dad::ffff:ffff ::1 65535 42\r\n", u32::MAX),
            ("PROXY TCP6 fc00:dead:beef:4dad::0:ffff ::1 65535 42\r\n", 0xFFFF),
            ("PROXY TCP6 fc00:dead:beef:4dad::1:0 ::1 0 80\r\n", 0x1_0000),
            ("PROXY TCP6 fc00:dead:beef:4dad::0:0 ::1 1 80\r\n", 0),
        ] {
            assert_eq!(whole(line), Some((id, line.len())), "{line:?}");
            let with_more = format!("{line}{line}GET / HTTP/1.1\r\n");
            assert_eq!(whole(&with_more), Some((id, line.len())), "one line is tor's, another is the client's");
            for end in 0..line.len() {
                assert_eq!(CircuitLine::look(&line.as_bytes()[..end]), CircuitLine::Undecided, "{line:?} to {end}");
            }
        }
    }

    #[test]
    fn anything_else_is_the_clients() {
        let long = format!("PROXY TCP6 {} ::1 1 80\r\n", "0".repeat(LINE_MAX));
        for bytes in [
            "G",
            "GET / HTTP/1.1\r\n",
            "PROXX",
            "\n",
            "PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\n",
            "PROXY UNKNOWN\r\n",
            "PROXY TCP6 \r\n",
            "PROXY TCP6 \n",
            "PROXY TCP6 ::1\r\n",
            "PROXY TCP6 ::1 ::1\r\n",
            "PROXY TCP6 ::1 ::1 1\r\n",
            "PROXY TCP6 ::1 ::1 1 80\n",
            "PROXY TCP6 ::1 ::1 1 80 2\r\n",
            "PROXY TCP6 ::1  ::1 1 80\r\n",
            "PROXY TCP6 ::1 ::1 1 65536\r\n",
            "PROXY TCP6 ::1 ::1 -1 80\r\n",
            "PROXY TCP6 ::1 10.0.0.1 1 80\r\n",
            "PROXY TCP6 fc00:dead:beef:4dad:::1 ::1 1 80\r\n",
            "PROXY TCP6 fc00:dead:beef:4dad::10000:1 ::1 1 80\r\n",
            "PROXY TCP6 caf\u{e9} ::1 1 80\r\n",
            &long,
        ] {
            assert_eq!(CircuitLine::look(bytes.as_bytes()), CircuitLine::Missing, "{bytes:?}");
        }
        assert_eq!(CircuitLine::look(&[START, &[0xFF, b'\r', b'\n']].concat()), CircuitLine::Missing);
    }

    #[test]
    fn one_that_does_not_end_is_waited_for_no_further_than_a_line_may_be_long() {
        let endless = [START, &[b'0'; LINE_MAX]].concat();
        assert_eq!(CircuitLine::look(&endless[..LINE_MAX - 1]), CircuitLine::Undecided);
        assert_eq!(CircuitLine::look(&endless[..LINE_MAX]), CircuitLine::Missing);
    }
}
