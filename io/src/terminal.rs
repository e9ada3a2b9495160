//! Asking for a passphrase on the terminal, which does not show it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// What is longer is cut off, and so refused as too long.
const LINE_MAX: usize = 1024;

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    /// Single keys, too, and no signals: who stops us with Ctrl-C shall find the terminal as it was.
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // If it is gone there is nothing to restore.
        _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Asks for a line on the terminal of this process, whatever standard input is.
///
/// # Errors
/// There is no terminal; or whoever sits there has pressed Ctrl-C or Ctrl-D: `Interrupted`.
pub fn ask_secret(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    // First silent, then the question: who answers at once is not shown either.
    let silent = Silent::new(&terminal)?;
    let mut screen = silent.terminal;
    write!(screen, "{question}: ")?;
    let line = read_line(silent.terminal);
    writeln!(screen)?;
    line
}

fn read_line(mut keys: impl io::Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room from the start: a buffer that grows leaves its old place as it was.
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
    let mut key = Zeroizing::new([0]);
    loop {
        if keys.read(&mut *key)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match *key {
            [b'\n' | b'\r'] => return Ok(line),
            [0x03 | 0x04] => return Err(io::ErrorKind::Interrupted.into()),
            // Backspace takes a whole character back.
            [0x08 | 0x7f] => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            // Ctrl-U: all of it.
            [0x15] => line.clear(),
            [byte] if line.len() < LINE_MAX => line.push(byte),
            [_] => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_a_line() {
        for (keys, line) in [
            ("correct\r", "correct"),
            ("correct\u{7f}\u{8}k\n", "correk"),
            ("gr\u{fc}\u{7f}\u{7f}\u{7f}\u{7f}a\n", "a"),
            ("wrong\u{15}right\nmore", "right"),
        ] {
            assert_eq!(read_line(keys.as_bytes()).unwrap().as_slice(), line.as_bytes(), "{keys:?}");
        }
        assert_eq!(
            read_line("x".repeat(2000).as_bytes()).map_err(|error| error.kind()),
            Err(io::ErrorKind::UnexpectedEof)
        );
        assert_eq!(read_line([&[b'x'; 2000][..], b"\n"].concat().as_slice()).unwrap().len(), LINE_MAX);
    }

    #[test]
    fn who_stops_it_gives_no_line() {
        for keys in ["corr\u{3}", "corr\u{4}ect\n"] {
            assert_eq!(read_line(keys.as_bytes()).err().map(|error| error.kind()), Some(io::ErrorKind::Interrupted));
        }
    }
}
