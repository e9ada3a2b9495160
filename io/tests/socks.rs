//! The proxy's way to an onion target: tor's SOCKS port, played by the test.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use rustbalance_io::proxy::{Connector, Isolation};
use rustbalance_io::settings::Target;

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// An onion target.
const HOST: &str = "targetonion.onion";

/// Runs a scripted SOCKS server for one connection, which `then` continues; returns what the client sent.
fn socks_server(
    reply: &'static [u8],
    then: impl FnOnce(UnixStream) + Send + 'static,
) -> (tempfile::TempDir, Connector, thread::JoinHandle<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socks.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut take = |length: usize, answer: &[u8]| {
            let mut bytes = vec![0; length];
            connection.read_exact(&mut bytes).unwrap();
            connection.write_all(answer).unwrap();
            bytes
        };
        let mut sent = take(3, &[5, 2]);
        sent.extend(take(1 + 1 + 8 + 1 + 8, &[1, 0]));
        sent.extend(take(4 + 1 + HOST.len() + 2, reply));
        then(connection);
        sent
    });
    let target = Target::Onion { host: HOST.to_owned(), port: 0x1234 };
    (dir, Connector::new(target, vec![path], PATIENCE), server)
}

/// A SOCKS server that refuses so many connections and grants all further ones; it counts them.
fn patchy_socks_server(path: &Path, refusals: usize) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&count);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let nth = counts.fetch_add(1, Relaxed);
            connection.read_exact(&mut [0; 3]).unwrap();
            connection.write_all(&[5, 2]).unwrap();
            connection.read_exact(&mut [0; 1 + 1 + 8 + 1 + 8]).unwrap();
            connection.write_all(&[1, 0]).unwrap();
            connection.read_exact(&mut [0; 4 + 1 + HOST.len() + 2]).unwrap();
            let code = if nth < refusals { 1 } else { 0 };
            connection.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        }
    });
    count
}

#[test]
fn another_tor_stands_in_for_one_that_is_dead_mute_or_refuses_until_it_fails_itself() {
    let dir = tempfile::tempdir().unwrap();
    let [dead, mute, refuses, works] = ["dead", "mute", "refuses", "works"].map(|name| dir.path().join(name));
    let _never_accepts = UnixListener::bind(&mute).unwrap();
    let asked = [patchy_socks_server(&refuses, 1), patchy_socks_server(&works, 0)];
    let counts = || asked.each_ref().map(|count| count.load(Relaxed));
    let target = Target::Onion { host: HOST.to_owned(), port: 80 };
    let limit = Duration::from_secs(3);
    let connector = Connector::new(target, vec![dead, mute, refuses, works.clone()], limit);
    let connect = || smol::block_on(connector.connect(Isolation::unique()));
    connect().unwrap();
    assert_eq!(counts(), [1, 1]);
    connect().unwrap();
    assert_eq!(counts(), [1, 2], "the one that worked is asked first");
    std::fs::remove_file(works).unwrap();
    connect().unwrap();
    assert_eq!(counts(), [2, 2], "all others are asked then, that which refused too");
}

#[test]
fn onion_targets_are_asked_for_by_name_with_isolation() {
    let mut users = Vec::new();
    let same = Isolation::unique();
    for isolation in [Isolation::unique(), Isolation::unique(), same, same] {
        let (_dir, connector, server) = socks_server(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0], drop);
        smol::block_on(connector.connect(isolation)).unwrap();
        let sent = server.join().unwrap();
        assert_eq!(sent[..3], [5, 1, 2]);
        assert_eq!(sent[22..], [b"\x05\x01\x00\x03\x11targetonion.onion", [0x12, 0x34].as_slice()].concat());
        users.push(sent[3..22].to_vec());
    }
    assert!(users[0] != users[1] && users[1] != users[2] && users[2] == users[3]);
}

#[test]
fn what_follows_the_socks_reply_belongs_to_the_connection() {
    for reply in [
        [5, 0, 0, 1, 1, 2, 3, 4, 5, 6].as_slice(),
        b"\x05\x00\x00\x03\x04name\x00\x50",
        b"\x05\x00\x00\x04sixteen bytes...\x00\x50",
    ] {
        let (_dir, connector, server) = socks_server(reply, |mut connection| connection.write_all(b"first").unwrap());
        let stream = smol::block_on(connector.connect(Isolation::unique())).unwrap();
        server.join().unwrap();
        let mut stream = stream.into_inner().unwrap();
        stream.set_nonblocking(false).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"first");
    }
}

#[test]
fn a_socks_refusal_says_what_is_wrong_with_the_target() {
    for (reply, words) in [
        ([5, 0xF0, 0, 1].as_slice(), "no descriptor"),
        (&[5, 5, 0, 1], "refused"),
        (&[5, 0x99, 0, 1], "0x99"),
        (&[5, 0, 0, 9], "not SOCKS5"),
        (&[4, 0, 0, 1], "not SOCKS5"),
    ] {
        let (_dir, connector, server) = socks_server(reply, drop);
        let error = smol::block_on(connector.connect(Isolation::unique())).err().unwrap();
        server.join().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
}
