//! Real sockets on this machine: an application behind the proxy, and a client that speaks as it likes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use rustbalance_core::WgPublicKey;
use rustbalance_core::cluster::NodeKeypair;
use rustbalance_core::invite::Invite;
use rustbalance_core::invite::exchange::Guest;
use rustbalance_core::invite::pace::{CIRCUIT_BURST, CIRCUIT_REQUEST_EVERY};
use rustbalance_core::time::Wall;

use super::*;
use crate::entropy;
use crate::keys::MasterKey;
use crate::proxy::fed::fed;
use crate::proxy::{Connector, Proxy};
use crate::settings::{ProxySettings, Target};

/// The door counts whole milliseconds, at both ends of a wait.
const ROUNDED: Duration = Duration::from_millis(5);

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    socket: PathBuf,
    door: Arc<Door>,
    _task: smol::Task<std::convert::Infallible>,
    _dir: tempfile::TempDir,
}

impl Running {
    fn start(target: Target) -> Self {
        let settings = ProxySettings {
            connect_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            max_connections: 16,
            ..ProxySettings::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("proxy.sock");
        let connector = Connector::new(target, Vec::new(), settings.connect_timeout);
        let proxy = Proxy::bind(socket.clone(), connector, &settings).unwrap();
        let door = proxy.door();
        Self { socket, door, _task: smol::spawn(proxy.run()), _dir: dir }
    }

    /// A client by a circuit that nobody else has.
    fn client(&self) -> UnixStream {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.client_by(&line(NEXT.fetch_add(1, Relaxed)))
    }

    /// A client of whose circuit tor says this.
    fn client_by(&self, line: &[u8]) -> UnixStream {
        let mut client = UnixStream::connect(&self.socket).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(line).unwrap();
        client
    }

    /// What the client gets for `parts`, sent one after the other; it stays open for more.
    fn send(&self, parts: &[&[u8]]) -> Vec<u8> {
        Self::send_by(self.client(), parts)
    }

    fn send_by(mut client: UnixStream, parts: &[&[u8]]) -> Vec<u8> {
        // Read apart or together, as it happens.
        for part in parts {
            client.write_all(part).unwrap();
        }
        client.shutdown(Shutdown::Write).unwrap();
        read_all(client)
    }

    /// Opens the door to one invite, and answers whoever has it with `answer`.
    fn invite(&self, answer: Option<&'static [u8]>) -> Vec<u8> {
        let rng = &mut entropy::rng().unwrap();
        let address = MasterKey::generate().unwrap().address();
        let invite = Invite::new(address, 80, Wall::from_secs(u64::MAX), rng);
        let guest = Guest::new(&invite, NodeKeypair::from_seed(&[1; 32]), WgPublicKey([1; 32]), None, rng);
        self.door.open(vec![invite.id().path()]);
        let knocks = self.door.knocks().clone();
        thread::spawn(move || {
            while let Ok(knock) = knocks.recv_blocking() {
                knock.answer.send_blocking(answer.map(<[u8]>::to_vec)).unwrap();
            }
        });
        guest.request().to_vec()
    }
}

/// As tor names a circuit.
fn line(circuit: u32) -> Vec<u8> {
    let (high, low) = (circuit >> 16, circuit & 0xFFFF);
    format!("PROXY TCP6 fc00:dead:beef:4dad::{high:x}:{low:x} ::1 {low} 80\r\n").into_bytes()
}

/// The same at a path that is nobody's, one letter off.
fn at_another_path(request: &[u8]) -> Vec<u8> {
    let mut almost = request.to_vec();
    almost[20] = if almost[20] == b'a' { b'b' } else { b'a' };
    almost
}

/// Whom the door takes a client for that sends `parts`, each of them once all before it was read.
fn received(door: &Door, parts: &[&[u8]]) -> Entrant {
    let is_known = AtomicBool::new(false);
    fed(parts, async |ours| door.receive(ours, Opening { circuit: None, held: Vec::new() }, &is_known).await)
}

/// An application that greets, then sends back all it gets.
fn application(greeting: &'static [u8]) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap().to_string());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            thread::spawn(move || {
                let mut reader = connection.try_clone().unwrap();
                _ = connection.write_all(greeting);
                _ = std::io::copy(&mut reader, &mut connection);
                _ = connection.shutdown(Shutdown::Write);
            });
        }
    });
    target
}

fn read_all(mut from: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_invited_node_is_answered_however_its_request_arrives() {
    let proxy = Running::start(application(b""));
    let request = proxy.invite(Some(b"welcome"));
    assert_eq!(proxy.send(&[&request]), b"welcome");
    let bytes: Vec<&[u8]> = request.chunks(7).collect();
    assert_eq!(proxy.send(&bytes), b"welcome");
}

#[test]
fn a_request_is_known_in_pieces_of_any_size_and_what_is_none_is_held_back_whole() {
    let proxy = Running::start(application(b""));
    let request = proxy.invite(Some(b"welcome"));
    let almost = at_another_path(&request);
    for size in [3, 7, 100] {
        let pieces = |bytes: &'static [u8]| bytes.chunks(size).collect::<Vec<_>>();
        let Entrant::Guest(answer) = received(&proxy.door, &pieces(request.clone().leak())) else {
            panic!("a client, in pieces of {size}")
        };
        assert_eq!(answer, b"welcome");
        let Entrant::Client(held) = received(&proxy.door, &pieces(almost.clone().leak())) else {
            panic!("a guest, in pieces of {size}")
        };
        assert!(held.len() > 20 && almost.starts_with(&held), "{size}");
    }
}

#[test]
fn everything_else_reaches_the_target_byte_for_byte() {
    let proxy = Running::start(application(b""));
    let request = proxy.invite(Some(b"welcome"));
    let almost = at_another_path(&request);
    let long = [&b"POST /"[..], &vec![b'x'; 100_000]].concat();
    let cases: [&[u8]; 6] =
        [b"", b"GET / HTTP/1.1\r\n\r\n", b"POST /abc HTTP/1.1\r\n\r\n", &almost, &long, &[0xFF; 3000]];
    for case in cases {
        assert!(proxy.send(&[case]) == case, "{}", String::from_utf8_lossy(case));
        let parts: Vec<&[u8]> = case.chunks(4096.min(case.len() / 3 + 1)).collect();
        assert!(proxy.send(&parts) == case, "{} in parts", String::from_utf8_lossy(case));
    }
    // Half a request, and then the client's end.
    assert!(proxy.send(&[&request[..10]]) == request[..10]);
    assert!(proxy.send(&[&request[..request.len() - 1]]) == request[..request.len() - 1]);
}

#[test]
fn a_request_that_proves_nothing_goes_to_the_target_whole() {
    let proxy = Running::start(application(b""));
    let request = proxy.invite(None);
    assert!(proxy.send(&[&request]) == request);
}

#[test]
fn a_server_that_speaks_first_waits_for_nothing_and_an_invited_node_is_answered_after_it() {
    let proxy = Running::start(application(b"220 hello\r\n"));
    let request = proxy.invite(Some(b"welcome"));
    let mut client = proxy.client();
    let begun = Instant::now();
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");
    assert!(begun.elapsed() < FORM_WITHIN);
    client.write_all(&request).unwrap();
    assert_eq!(read_all(client), b"welcome");
}

#[test]
fn a_client_that_stops_in_the_middle_of_a_word_is_held_back_for_a_moment_only() {
    let proxy = Running::start(application(b""));
    proxy.invite(Some(b"welcome"));
    let mut client = proxy.client();
    let begun = Instant::now();
    client.write_all(b"POST /").unwrap();
    let mut echo = [0; 6];
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"POST /");
    let held = begun.elapsed();
    assert!(held + ROUNDED >= FORM_WITHIN && held < Duration::from_secs(60), "{held:?}");
    client.write_all(b"and the rest").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(client), b"and the rest");
}

#[test]
fn a_client_that_drips_what_might_become_a_request_is_held_back_no_longer() {
    let proxy = Running::start(application(b""));
    proxy.invite(Some(b"welcome"));
    let mut client = proxy.client();
    let mut dripping = client.try_clone().unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let begun = Instant::now();
    let drip = thread::spawn(move || {
        b"POST /aaaaaaaaaaaaaaa".iter().all(|byte| {
            dripping.write_all(&[*byte]).unwrap();
            stopped.recv_timeout(Duration::from_millis(300)) == Err(RecvTimeoutError::Timeout)
        })
    });
    client.read_exact(&mut [0]).unwrap();
    assert!(begun.elapsed() + ROUNDED >= FORM_WITHIN);
    drop(stop);
    let has_dripped_all = drip.join().unwrap();
    assert!(!has_dripped_all, "it was held back for as long as it dripped");
}

#[test]
fn with_a_dead_target_invited_nodes_are_answered_and_clients_are_closed() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Running::start(Target::Tcp(free.to_string()));
    let request = proxy.invite(Some(b"welcome"));
    assert_eq!(proxy.send(&[&request]), b"welcome");
    let mut client = proxy.client();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // Closed with what it sent unread: an end, or a reset.
    assert_eq!(client.read(&mut [0; 10]).unwrap_or(0), 0);
    // One that waits for the server to speak is closed, too.
    assert_eq!(proxy.client().read(&mut [0; 10]).unwrap_or(0), 0);
}

#[test]
fn with_a_target_that_ends_every_connection_invited_nodes_are_answered_and_clients_see_the_end() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Running::start(Target::Tcp(target.local_addr().unwrap().to_string()));
    thread::spawn(move || target.incoming().for_each(drop));
    let request = proxy.invite(Some(b"welcome"));
    assert_eq!(proxy.send(&[&request]), b"welcome");
    let mut client = proxy.client();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.read(&mut [0; 10]).unwrap_or(0), 0);
    assert_eq!(proxy.client().read(&mut [0; 10]).unwrap_or(0), 0, "one that says nothing");
}

#[test]
fn without_invites_no_connection_is_looked_at() {
    let proxy = Running::start(application(b""));
    let request = proxy.invite(Some(b"welcome"));
    proxy.door.open(Vec::new());
    assert!(proxy.send(&[&request]) == request);
}

#[test]
fn one_circuit_has_only_a_few_requests_looked_at_and_the_others_are_the_targets() {
    let proxy = Running::start(application(b""));
    let request = proxy.invite(Some(b"welcome"));
    let almost = at_another_path(&request);
    let pieces: Vec<&[u8]> = request.chunks(7).collect();
    // Circuits that differ in one half of their number, and those that tor does not name.
    for circuit in [line(1 << 16 | 1), line(2 << 16 | 1), line(2 << 16 | 2), Vec::new()] {
        let ask = |parts: &[&[u8]]| Running::send_by(proxy.client_by(&circuit), parts);
        let passed_on = || proxy.door.counters.guest_over_limit.load(Relaxed);
        let (begun, before) = (Instant::now(), passed_on());
        for _ in 0..20 {
            assert!(ask(&[&almost]) == almost, "what names no invite does not count");
        }
        assert_eq!(ask(&pieces), b"welcome", "many pieces are one request");
        for _ in 1..CIRCUIT_BURST {
            assert_eq!(ask(&[&request]), b"welcome");
        }
        let answers: Vec<_> = (0..20).map(|_| ask(&[&request])).collect();
        let welcomed = answers.iter().filter(|answer| **answer == b"welcome").count() as u64;
        assert!(welcomed <= begun.elapsed().as_secs() / CIRCUIT_REQUEST_EVERY.as_secs(), "{welcomed} more");
        assert!(answers.iter().all(|answer| *answer == b"welcome" || *answer == request));
        assert_eq!(passed_on() - before, 20 - welcomed);
    }
}

#[test]
fn beyond_its_limit_the_beginning_of_a_request_is_passed_on_as_if_it_named_no_invite() {
    let proxy = Running::start(application(b""));
    let request = proxy.invite(Some(b"welcome"));
    let half = &request[..request.len() - 1];
    let begun = Instant::now();
    for _ in 0..=CIRCUIT_BURST {
        let mut client = proxy.client_by(&line(7));
        client.write_all(half).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(read_all(client) == half);
    }
    let mut client = proxy.client_by(&line(7));
    client.write_all(half).unwrap();
    let mut back = vec![0; half.len()];
    client.read_exact(&mut back).unwrap();
    assert!(back == half && begun.elapsed() < REQUEST_WITHIN, "{:?}", begun.elapsed());
}
