//! torut, another control-port library, as the independent oracle of our codec: the recorded connections and a live tor
//! read the same with both, as far as torut can read them. It caps a reply at 1 MiB, refuses bytes outside ASCII and
//! leaves data blocks dot-stuffed.

#![expect(clippy::unwrap_used, reason = "whatever fails, fails the test")]

mod offline_tor;

use std::collections::BTreeSet;
use std::future::{Ready, ready};
use std::io::Cursor;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use offline_tor::OfflineTor;
use proptest::prelude::*;
use rustbalance_core::control::auth::{self, ProtocolInfo};
use rustbalance_core::control::command;
use rustbalance_core::control::quote::{quote, unquote};
use rustbalance_core::control::reply::{Line, Reader, Reply};
use torut::control::{AsyncEvent, AuthenticatedConn, Conn, ConnError, TorAuthMethod, UnauthenticatedConn};

/// A reply as torut gives it: status and lines.
type Told = (u16, Vec<String>);

/// Runs a future over memory, which is never pending.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory does not block"),
    }
}

fn torut_reads(bytes: &[u8]) -> Vec<Told> {
    let mut connection = Conn::new(Cursor::new(bytes));
    let mut replies = Vec::new();
    while let Ok(reply) = now(connection.receive_data()) {
        replies.push(reply);
    }
    assert_eq!(connection.into_inner().position(), bytes.len() as u64, "torut reads it all");
    replies
}

fn we_read(bytes: &[u8]) -> Vec<Reply> {
    let mut reader = Reader::default();
    reader.push(bytes);
    std::iter::from_fn(|| reader.next_reply().unwrap()).collect()
}

/// Our reply in torut's form: the data block behind its line, stuffed again, CRLF between lines.
fn as_told(reply: &Reply) -> Told {
    let line = |line: &Line| {
        let mut text = String::from_utf8(line.text.clone()).unwrap();
        for data in String::from_utf8_lossy(line.data.as_deref().unwrap_or_default()).split_terminator('\n') {
            text.push_str("\r\n");
            text.push_str(if data.starts_with('.') { "." } else { "" });
            text.push_str(data);
        }
        text
    };
    (reply.status, reply.lines.iter().map(line).collect())
}

fn transcripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../core/testdata/ctor/control")
}

fn recorded(name: &str, side: &str) -> Vec<u8> {
    std::fs::read(transcripts().join(name).join(side)).unwrap()
}

#[test]
fn recorded_connections_read_the_same() {
    let names: BTreeSet<_> =
        std::fs::read_dir(transcripts()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 17);
    for name in names {
        let name = name.to_str().unwrap();
        let bytes = recorded(name, "server.bin");
        assert_eq!(we_read(&bytes).iter().map(as_told).collect::<Vec<_>>(), torut_reads(&bytes), "{name}");
    }
}

#[test]
fn protocol_information_is_understood_the_same() {
    for name in ["auth-odd-path", "auth-cookie", "auth-safecookie", "service-start"] {
        let server = recorded(name, "server.bin");
        // torut writes its command over the first bytes, then reads on behind them.
        let ours = auth::protocol_info();
        let stream = Cursor::new([vec![0; ours.len()], server.clone()].concat());
        let mut connection = UnauthenticatedConn::new(stream);
        let theirs = now(connection.load_protocol_info()).unwrap().clone();
        let info = ProtocolInfo::parse(&we_read(&server)[0]).unwrap();
        let cookie_file = info.cookie_file.map(|path| String::from_utf8(path).unwrap());
        assert_eq!(cookie_file.as_deref(), theirs.cookie_file.as_deref(), "{name}");
        assert_eq!(info.tor_version.as_deref(), Some(&*theirs.tor_version), "{name}");
        let methods = info.methods.iter().map(|method| method.parse::<TorAuthMethod>().unwrap());
        assert_eq!(methods.collect::<std::collections::HashSet<_>>(), theirs.auth_methods, "{name}");
        assert!(recorded(name, "client.bin").starts_with(&ours), "{name}");
    }
}

type Handler = fn(AsyncEvent<'static>) -> Ready<Result<(), ConnError>>;

#[test]
fn single_line_values_are_understood_the_same() {
    let replies = we_read(&recorded("getinfo", "server.bin"));
    let keys = ["version", "network-liveness", "uptime", "consensus/valid-after", "net/listeners/control", "dormant"];
    for key in keys {
        let reply = replies.iter().find(|reply| reply.value(key).is_some()).unwrap();
        let value = reply.value(key).unwrap();
        let alone = [b"250-", key.as_bytes(), b"=", value, b"\r\n250 OK\r\n"].concat();
        let ours = command::get_info(&[key]);
        let mut stream = Cursor::new([vec![0; ours.len()], alone].concat());
        let mut connection: AuthenticatedConn<_, Handler> = Conn::new(&mut stream).into();
        connection.set_async_event_handler(Some(|_| ready(Ok(()))));
        assert_eq!(now(connection.get_info(key)).unwrap().as_bytes(), value, "{key}");
        assert!(stream.get_ref().starts_with(&ours), "both ask the same way");
    }
}

/// Sends the commands one by one and gives every byte heard.
fn converse(tor: &mut OfflineTor, commands: &[Vec<u8>]) -> Vec<u8> {
    let mut heard = Vec::new();
    for (command, answers) in commands.iter().zip(1..) {
        tor.send(command);
        while we_read(&heard).iter().filter(|reply| !reply.is_event()).count() < answers {
            heard.extend(tor.hear());
        }
    }
    heard
}

#[test]
fn a_live_tors_answers_read_the_same() {
    let mut tor = OfflineTor::start();
    let heard = converse(
        &mut tor,
        &[
            command::get_info(&["version", "circuit-status", "config/names", "md/all", "consensus/valid-after"]),
            command::get_info(&["no-such-key"]),
            command::get_conf(&["PublishHidServDescriptors", "Nickname", "CookieAuthFile"]),
            command::set_conf(&[("ContactInfo", "\"quoted\" \\ caf\u{e9}\nnext line")]),
            command::get_conf(&["ContactInfo"]),
            command::set_events(&["CIRC", "CIRC_MINOR", "HS_DESC", "HS_DESC_CONTENT", "STATUS_CLIENT"]),
            command::signal("NEWNYM"),
            command::close_circuit("1"),
        ],
    );
    let replies = we_read(&heard);
    assert_eq!(replies.iter().map(as_told).collect::<Vec<_>>(), torut_reads(&heard));
    let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [250, 552, 250, 250, 250, 250, 250, 552]);
    let contact = replies.iter().find_map(|reply| reply.value("ContactInfo")).unwrap();
    let (contact, _) = unquote(contact).unwrap();
    assert_eq!(contact, "\"quoted\" \\ caf\u{e9}\nnext line".as_bytes(), "what we quote, tor and we read back");
}

#[test]
fn what_torut_cannot_read_we_can() {
    let consensus = [b"250+x=\r\n".to_vec(), b"r relay\r\n".repeat(400_000), b".\r\n250 OK\r\n".to_vec()].concat();
    for bytes in [consensus.as_slice(), b"250 caf\xc3\xa9\r\n"] {
        assert!(now(Conn::new(Cursor::new(bytes)).receive_data()).is_err());
        assert_eq!(we_read(bytes).len(), 1);
    }
}

proptest! {
    #[test]
    fn torut_reads_what_we_quote(text in any::<String>()) {
        let quoted = quote(text.as_bytes());
        let (end, value) = torut::utils::unquote_string(&quoted);
        prop_assert_eq!(end, Some(quoted.len() - 1));
        prop_assert_eq!(value.unwrap(), text);
    }

    /// Without digits: torut writes NUL as `\0`, and `\0` before a `1` would read as `\01`.
    #[test]
    fn we_read_what_torut_quotes(text in "[^0-9]*") {
        let quoted = torut::utils::quote_string(text.as_bytes());
        prop_assert_eq!(unquote(quoted.as_bytes()), Some((text.into_bytes(), &b""[..])));
    }
}
