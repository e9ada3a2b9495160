//! What a connection begins with: tor's line about the circuit, which is for us alone, and then the client's own bytes.
//!
//! Tor writes the line as soon as it has connected, so nobody waits for it; and nothing does: the target is connected to,
//! and what it says first is passed on, meanwhile. A connection without the line is served all the same. Only a tor that
//! somebody else runs can lack it: one whose torrc is from before this node's version must not cost the visitors their
//! pages until somebody adds a line. Invited nodes have less of it, since all such connections count as one circuit's.

use std::io;
use std::time::Duration;

use async_io::Async;
use rustbalance_core::time::Mono;
use rustbalance_core::tor::{CircuitId, CircuitLine};
use smol::future::FutureExt as _;
use socket2::Socket;

use super::pump;
use crate::clock;

/// How long first bytes that might become the line are held back in all. Tor writes it in one piece.
const LINE_WITHIN: Duration = Duration::from_secs(1);

/// The beginning of a connection.
pub(super) struct Opening {
    /// By which circuit the client came; none if tor does not say.
    pub circuit: Option<CircuitId>,
    /// What the client has said already.
    pub held: Vec<u8>,
}

impl Opening {
    /// Reads until it is clear whether the line is there, and takes it off.
    ///
    /// # Errors
    /// Reading failed.
    pub(super) async fn read(client: &Async<Socket>) -> io::Result<Self> {
        let (mut held, mut until) = (Vec::new(), None);
        loop {
            match CircuitLine::look(&held) {
                CircuitLine::Whole(circuit, length) => {
                    held.drain(..length);
                    return Ok(Self { circuit: Some(circuit), held });
                }
                CircuitLine::Missing => break,
                CircuitLine::Undecided if held.is_empty() => {}
                CircuitLine::Undecided => until = until.or_else(|| Some(clock::mono().plus(LINE_WITHIN))),
            }
            if !read_on(client, &mut held, until).await? {
                break;
            }
        }
        Ok(Self { circuit: None, held })
    }

    /// Whether the client has said something without tor having said by which circuit it came.
    pub(super) fn lacks_its_line(&self) -> bool {
        self.circuit.is_none() && !self.held.is_empty()
    }
}

/// Adds what comes next to `held`. False if that is nothing: `until` has come first, or the client's end.
pub(super) async fn read_on(client: &Async<Socket>, held: &mut Vec<u8>, until: Option<Mono>) -> io::Result<bool> {
    let read = client.read_with(|socket| pump::read_onto(socket, held));
    let late = async {
        clock::sleep_until(until).await;
        Ok(0)
    };
    Ok(read.or(late).await? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fed::fed;

    const LINE: &[u8] = b"PROXY TCP6 fc00:dead:beef:4dad::1:29a ::1 666 80\r\n";
    const ONE: Option<CircuitId> = Some(CircuitId(0x1_029A));

    /// The circuit, and what is held of `bytes` that come in pieces of `size`.
    fn opened(bytes: &[u8], size: usize) -> (Option<CircuitId>, Vec<u8>) {
        let parts: Vec<&[u8]> = bytes.chunks(size).collect();
        let Opening { circuit, held } = fed(&parts, Opening::read);
        (circuit, held)
    }

    #[test]
    fn the_line_is_taken_off_in_pieces_of_any_size_and_what_follows_is_kept() {
        let bytes = [LINE, b"GET / HTTP/1.1\r\n\r\n"].concat();
        for size in 1..=bytes.len() {
            let (circuit, held) = opened(&bytes, size);
            assert_eq!(circuit, ONE, "pieces of {size}");
            let read = LINE.len().div_ceil(size) * size;
            assert!(held == bytes[LINE.len()..read.min(bytes.len())], "pieces of {size}: not one read more");
        }
    }

    #[test]
    fn what_is_no_line_is_kept_whole() {
        for bytes in [&b"PROXY TCP6 ::1 ::1 1 65536\r\n"[..], b"PROXX", b"PROXY", &[b'P'; 200], &LINE[..LINE.len() - 1]]
        {
            for size in [1, 3, 200] {
                let (circuit, held) = opened(bytes, size);
                assert_eq!(circuit, None);
                assert!(!held.is_empty() && bytes.starts_with(&held));
            }
        }
        // The client's end before its line did.
        assert_eq!(opened(&LINE[..20], 7), (None, LINE[..20].to_vec()));
        assert_eq!(opened(b"", 1), (None, Vec::new()));
    }

    #[test]
    fn a_line_is_missed_only_by_who_has_spoken() {
        let lacks = |parts: &[&[u8]]| fed(parts, Opening::read).lacks_its_line();
        assert!(lacks(&[b"GET"]) && lacks(&[&LINE[..5]]));
        assert!(!lacks(&[]) && !lacks(&[LINE]) && !lacks(&[LINE, b"GET"]));
    }
}
