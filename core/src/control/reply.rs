//! The incremental reader: bytes in, any split; complete replies out (control-spec `[replies]`).

use core::fmt;

/// Longest line, bytes, without CRLF. Tor's own stay below a few kB, data blocks' lines included.
pub const LINE_MAX: usize = 1 << 20;
/// Largest reply, bytes: a real consensus is 3 MB, all microdescriptors 6 MB.
pub const REPLY_MAX: usize = 32 << 20;

/// One line of a reply: text after the status code and separator, and its data block if it was a `+` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Text, without CRLF. Raw bytes: tor may send any.
    pub text: Vec<u8>,
    /// The data block, dot-unstuffed, lines ending in LF.
    pub data: Option<Vec<u8>>,
}

/// A complete reply, synchronous or (status 6xx) an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 250, 551, 650, ...
    pub status: u16,
    /// At least one.
    pub lines: Vec<Line>,
}

impl Reply {
    /// Status 6xx.
    pub fn is_event(&self) -> bool {
        self.status / 100 == 6
    }

    /// Status 2xx: tor did it.
    pub fn is_ok(&self) -> bool {
        self.status / 100 == 2
    }

    /// The value of `key=` in a GETINFO/GETCONF reply, from text or data block.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.lines.iter().find_map(|line| {
            let text = line.text.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
            Some(line.data.as_deref().unwrap_or(text))
        })
    }
}

/// The status and the last line's text, without control characters, for people: `554 Invalid descriptor`.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.lines.last().map_or(&[][..], |line| &line.text);
        let printable = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        let text: String = String::from_utf8_lossy(text).chars().map(printable).collect();
        write!(f, "{} {text}", self.status)
    }
}

/// The peer broke the protocol; the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// Longer than [`LINE_MAX`] or [`REPLY_MAX`].
    TooLong,
    /// Not `DDD` and one of space, `-`, `+`.
    BadLine,
    /// Lines of one reply with different codes.
    MixedStatus,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "tor's reply is longer than any real one",
            Self::BadLine => "tor's reply does not begin with a status code: is this a control port?",
            Self::MixedStatus => "tor's reply changes its status code half-way",
        })
    }
}

impl std::error::Error for ReplyError {}

/// Turns bytes into replies. Bounded: a line at most 1 MiB, a reply at most 32 MiB. Linear in the bytes pushed.
#[derive(Default)]
pub struct Reader {
    /// Bytes not yet consumed are those from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// No line ends before this offset.
    searched: usize,
    partial: Partial,
    failed: Option<ReplyError>,
}

/// The reply under way.
#[derive(Default)]
struct Partial {
    status: Option<u16>,
    lines: Vec<Line>,
    /// The last line's data block is still open.
    in_data: bool,
    /// Bytes held, with an allowance per line, so that many tiny lines are bounded as well.
    size: usize,
}

impl Reader {
    /// Takes bytes in, any split. Drain [`next_reply`](Self::next_reply) between pushes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        self.compact();
        if self.buffer.len().saturating_add(bytes.len()) > REPLY_MAX {
            self.fail(ReplyError::TooLong);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next complete reply or event, `None` if more bytes are needed.
    ///
    /// # Errors
    /// The peer broke the protocol. The reader stays failed.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        self.next_reply_with(|_, _| false)
    }

    /// The same for who reads long data blocks as they come, so that they are not held: `take` gets the text that a block
    /// follows and one of its lines after the other, each as in [`Line`] but for its LF. The lines that it says it took are
    /// missing in the reply.
    ///
    /// # Errors
    /// As for [`next_reply`](Self::next_reply).
    pub fn next_reply_with(&mut self, mut take: impl FnMut(&[u8], &[u8]) -> bool) -> Result<Option<Reply>, ReplyError> {
        while self.failed.is_none() {
            let Some(end) = self.line_end() else {
                if self.buffer.len() - self.start > LINE_MAX {
                    return Err(self.fail(ReplyError::TooLong));
                }
                self.compact();
                return Ok(None);
            };
            let line = self.buffer.get(self.start..end).unwrap_or_default();
            let complete = self.partial.take_line(line, &mut take);
            self.start = end + CRLF.len();
            self.searched = self.start;
            match complete {
                Ok(Some(reply)) => return Ok(Some(reply)),
                Ok(None) => {}
                Err(error) => return Err(self.fail(error)),
            }
        }
        self.failed.map_or(Ok(None), Err)
    }

    /// Where the current line's CRLF begins. A lone LF or CR is content.
    fn line_end(&mut self) -> Option<usize> {
        while let Some(found) = memchr::memchr(b'\n', self.buffer.get(self.searched..)?) {
            let newline = self.searched + found;
            self.searched = newline + 1;
            let line = self.buffer.get(self.start..newline)?;
            if line.last() == Some(&b'\r') {
                return Some(newline - 1);
            }
        }
        self.searched = self.buffer.len();
        None
    }

    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
    }

    fn fail(&mut self, error: ReplyError) -> ReplyError {
        *self = Self { failed: Some(error), ..Self::default() };
        error
    }
}

const CRLF: &[u8] = b"\r\n";

impl Partial {
    /// One line without CRLF; the whole reply if it was its last.
    fn take_line(
        &mut self,
        line: &[u8],
        take: &mut impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Reply>, ReplyError> {
        self.size += line.len() + if self.in_data { 1 } else { size_of::<Line>() };
        if line.len() > LINE_MAX || self.size > REPLY_MAX {
            return Err(ReplyError::TooLong);
        }
        if self.in_data { self.take_data(line, take) } else { self.take_text(line) }
    }

    fn take_data(
        &mut self,
        line: &[u8],
        take: &mut impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Reply>, ReplyError> {
        if line == b"." {
            self.in_data = false;
        } else if let Some(Line { text, data: Some(data) }) = self.lines.last_mut() {
            let line = line.strip_prefix(b".").unwrap_or(line);
            if !take(text, line) {
                data.extend_from_slice(line);
                data.push(b'\n');
            }
        }
        Ok(None)
    }

    fn take_text(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let (&[a, b, c, separator], text) = line.split_first_chunk().ok_or(ReplyError::BadLine)?;
        let mut status = 0;
        for digit in [a, b, c] {
            let digit = char::from(digit).to_digit(10).ok_or(ReplyError::BadLine)?;
            status = status * 10 + digit as u16;
        }
        if *self.status.get_or_insert(status) != status {
            return Err(ReplyError::MixedStatus);
        }
        self.in_data = separator == b'+';
        self.lines.push(Line { text: text.to_vec(), data: self.in_data.then(Vec::new) });
        match separator {
            b'-' | b'+' => Ok(None),
            b' ' => Ok(Some(Reply { status, lines: core::mem::take(self).lines })),
            _ => Err(ReplyError::BadLine),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<Reply>, ReplyError> {
        let (mut reader, mut replies) = (Reader::default(), Vec::new());
        for chunk in chunks {
            reader.push(chunk.as_ref());
            while let Some(reply) = reader.next_reply()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Reply>, ReplyError> {
        let whole = read_all([bytes]);
        assert_eq!(whole, read_all(bytes.chunks(1)), "byte by byte");
        whole
    }

    #[test]
    fn joins_lines_and_data_blocks_of_one_reply() {
        let replies = read(b"250-a=1\r\n250+b=\r\nx\r\n..y\r\n.z\r\n\r\n.\r\n250 OK\r\n650 E\r\n").unwrap();
        let [reply, event] = replies.as_slice() else { panic!("{replies:?}") };
        assert_eq!(reply.value("a"), Some(&b"1"[..]));
        assert_eq!(reply.value("b"), Some(&b"x\n.y\nz\n\n"[..]));
        assert_eq!(reply.value("OK"), None);
        assert!(reply.is_ok() && !reply.is_event());
        assert!(event.is_event() && !event.is_ok());
    }

    #[test]
    fn a_block_that_is_read_as_it_comes_is_not_held() {
        let bytes = b"250+long=\r\nx\r\n..y\r\n.\r\n250+short=\r\nz\r\n.\r\n250 OK\r\n";
        let (mut reader, mut taken) = (Reader::default(), Vec::new());
        let mut replies = Vec::new();
        for byte in bytes {
            reader.push(&[*byte]);
            let take = |text: &[u8], line: &[u8]| {
                let is_long = text == b"long=";
                taken.extend(is_long.then(|| line.to_vec()));
                is_long
            };
            replies.extend(reader.next_reply_with(take).unwrap());
        }
        assert_eq!(taken, [&b"x"[..], b".y"]);
        let [reply] = replies.as_slice() else { panic!("{replies:?}") };
        assert_eq!((reply.value("long"), reply.value("short")), (Some(&b""[..]), Some(&b"z\n"[..])));
    }

    #[test]
    fn a_block_that_is_not_held_is_bounded_all_the_same() {
        let mut reader = Reader::default();
        reader.push(b"250+x=\r\n");
        let chunk = b"0123456789\r\n".repeat(1 << 12);
        let ended = (0..=REPLY_MAX / (11 << 12)).find_map(|_| {
            reader.push(&chunk);
            reader.next_reply_with(|_, _| true).err()
        });
        assert_eq!(ended, Some(ReplyError::TooLong));
    }

    #[test]
    fn keeps_raw_bytes_and_lone_line_feeds() {
        let replies = read(b"250 caf\xc3\xa9 \xff\n\r.\r\n").unwrap();
        assert_eq!(replies[0].lines[0].text, b"caf\xc3\xa9 \xff\n\r.");
    }

    #[test]
    fn refuses_what_no_tor_sends_and_stays_failed() {
        for (bytes, error) in [
            (&b"25 OK\r\n"[..], ReplyError::BadLine),
            (b"250\r\n", ReplyError::BadLine),
            (b"+50 OK\r\n", ReplyError::BadLine),
            (b"250=OK\r\n", ReplyError::BadLine),
            (b"HTTP/1.1 200 OK\r\n", ReplyError::BadLine),
            (b"250-a\r\n251 b\r\n", ReplyError::MixedStatus),
        ] {
            assert_eq!(read(bytes), Err(error), "{}", bytes.escape_ascii());
            let mut reader = Reader::default();
            reader.push(bytes);
            assert_eq!(reader.next_reply(), Err(error));
            reader.push(b"250 OK\r\n");
            assert_eq!(reader.next_reply(), Err(error));
        }
    }

    #[test]
    fn bounds_lines_and_replies() {
        let line = vec![b'x'; LINE_MAX];
        let fits = [b"250 ", &line[4..], b"\r\n"].concat();
        assert_eq!(read_all(fits.chunks(1000)).unwrap().len(), 1);
        let endless = [b"250 ", line.as_slice()].concat();
        assert_eq!(read_all(endless.chunks(1000)), Err(ReplyError::TooLong));
        let tiny = b"250-\r\n".repeat(REPLY_MAX / size_of::<Line>());
        assert_eq!(read_all(tiny.chunks(64 << 10)), Err(ReplyError::TooLong));
        let block = [b"250+x=\r\n".to_vec(), b"0123456789\r\n".repeat(REPLY_MAX / 11)].concat();
        assert_eq!(read_all(block.chunks(64 << 10)), Err(ReplyError::TooLong));
    }

    /// A reader that looked at a block again for every chunk would take hours here.
    #[test]
    fn large_block_in_small_chunks_takes_linear_time() {
        let body = b"r relay0 AAAA 2026-11-23 15:07:00 127.0.0.1\r\n".repeat(110_000);
        let long = vec![b'x'; LINE_MAX - 1];
        let bytes = [b"250+consensus=\r\n", body.as_slice(), b"\r\n", &long, b"\r\n.\r\n250 OK\r\n"].concat();
        let replies = read_all(bytes.chunks(3)).unwrap();
        assert_eq!(replies[0].value("consensus").unwrap().len(), body.len() - 110_000 + 1 + LINE_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_give_the_same_answer_at_every_split(
            bytes in prop::collection::vec(prop::sample::select(&b"2560 -+.\r\n\xff="[..]), 0..200),
            cuts in prop::collection::vec(1_usize..9, 1..40),
        ) {
            let mut rest = bytes.as_slice();
            let chunks = cuts.iter().cycle().map_while(|&cut| {
                let (chunk, left) = rest.split_at(cut.min(rest.len()));
                rest = left;
                (!chunk.is_empty()).then_some(chunk)
            });
            prop_assert_eq!(read_all([&bytes]), read_all(chunks));
        }

        #[test]
        fn data_blocks_survive_dot_stuffing(lines in prop::collection::vec("[.a]{0,4}", 0..9)) {
            let mut bytes = b"250+k=\r\n".to_vec();
            for line in &lines {
                let stuffing = if line.starts_with('.') { "." } else { "" };
                bytes.extend(format!("{stuffing}{line}\r\n").into_bytes());
            }
            bytes.extend(b".\r\n250 OK\r\n");
            let data: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let replies = read_all([bytes]).unwrap();
            prop_assert_eq!(replies[0].value("k"), Some(data.as_bytes()));
        }
    }
}
