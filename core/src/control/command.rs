//! Commands as bytes, CRLF included. One function per command; quoting done here.

use core::fmt::Display;

use super::quote::quote;
use crate::id::RelayFingerprint;
use crate::onion::address::OnionAddress;

/// `SETEVENTS a b c`.
pub fn set_events(names: &[&str]) -> Vec<u8> {
    command("SETEVENTS", names)
}

/// `GETINFO key`.
pub fn get_info(keys: &[&str]) -> Vec<u8> {
    command("GETINFO", keys)
}

/// `GETCONF key`.
pub fn get_conf(keys: &[&str]) -> Vec<u8> {
    command("GETCONF", keys)
}

/// `SETCONF key=value ...`, values quoted.
pub fn set_conf(pairs: &[(&str, &str)]) -> Vec<u8> {
    command("SETCONF", pairs.iter().map(|(key, value)| format!("{key}={}", quote(value.as_bytes()))))
}

/// `+HSPOST SERVER=.. HSADDRESS=..` with the descriptor dot-stuffed.
///
/// Both arguments always: without SERVER tor picks the wrong HSDirs, without HSADDRESS it never answers.
pub fn hs_post(server: RelayFingerprint, address: &OnionAddress, descriptor: &str) -> Vec<u8> {
    let mut bytes = command("+HSPOST", [format!("SERVER={server}"), format!("HSADDRESS={}", address.host())]);
    bytes.reserve(descriptor.len() + descriptor.len() / 32); // a CR for each line of 64
    for line in descriptor.lines() {
        if line.starts_with('.') {
            bytes.push(b'.');
        }
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b".\r\n");
    bytes
}

/// `HSFETCH address SERVER=..`.
pub fn hs_fetch(address: &OnionAddress, server: Option<RelayFingerprint>) -> Vec<u8> {
    let server = server.map(|server| format!("SERVER={server}"));
    command("HSFETCH", [address.host()].into_iter().chain(server))
}

/// `CLOSECIRCUIT id`.
pub fn close_circuit(circuit: &str) -> Vec<u8> {
    command("CLOSECIRCUIT", [circuit])
}

/// `SIGNAL name`.
pub fn signal(name: &str) -> Vec<u8> {
    command("SIGNAL", [name])
}

/// `TAKEOWNERSHIP`.
pub fn take_ownership() -> Vec<u8> {
    command("TAKEOWNERSHIP", [""; 0])
}

/// The only writer of command lines: whatever the words hold, it is one line.
fn command<Word: Display>(keyword: &str, words: impl IntoIterator<Item = Word>) -> Vec<u8> {
    let mut line = keyword.to_owned();
    for word in words {
        line.push(' ');
        line.push_str(&word.to_string());
    }
    line.retain(|character| !matches!(character, '\r' | '\n'));
    line.push_str("\r\n");
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::transcript::Transcript;

    #[test]
    fn writes_one_line_per_command() {
        assert_eq!(set_events(&["CIRC", "HS_DESC"]), b"SETEVENTS CIRC HS_DESC\r\n");
        assert_eq!(get_info(&["version"]), b"GETINFO version\r\n");
        assert_eq!(get_conf(&["TestingTorNetwork"]), b"GETCONF TestingTorNetwork\r\n");
        assert_eq!(close_circuit("6"), b"CLOSECIRCUIT 6\r\n");
        assert_eq!(signal("NEWNYM"), b"SIGNAL NEWNYM\r\n");
        assert_eq!(take_ownership(), b"TAKEOWNERSHIP\r\n");
        assert_eq!(get_info(&["a\r\nQUIT"]), b"GETINFO aQUIT\r\n");
    }

    #[test]
    fn quotes_configuration_values() {
        assert_eq!(
            set_conf(&[("Nickname", "a b"), ("ContactInfo", "\"x\"\r\nQUIT")]),
            b"SETCONF Nickname=\"a b\" ContactInfo=\"\\\"x\\\"\\015\\012QUIT\"\r\n"
        );
    }

    fn recorded(name: &str) -> (Transcript, OnionAddress, RelayFingerprint) {
        let transcript = Transcript::load(name);
        let address = transcript.text("onion").parse().unwrap();
        let text = String::from_utf8_lossy(&transcript.client);
        let (_, server) = text.split_once("SERVER=").unwrap();
        let server = RelayFingerprint::from_hex(&server[..40]).unwrap();
        (transcript, address, server)
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn posts_as_recorded() {
        let (transcript, address, server) = recorded("hspost");
        let descriptor = transcript.text("descriptor");
        assert!(descriptor.contains("\n.hidden one\n..two\n"), "it has lines to stuff");
        assert!(contains(&transcript.client, &hs_post(server, &address, &descriptor)));
    }

    #[test]
    fn fetches_as_recorded() {
        let (transcript, address, server) = recorded("hsfetch-getinfo");
        assert!(contains(&transcript.client, &hs_fetch(&address, Some(server))));
        assert_eq!(hs_fetch(&address, None), format!("HSFETCH {}\r\n", address.host()).into_bytes());
    }
}
