//! The proxy between real sockets on this machine.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use rustbalance_io::proxy::{Connector, Counters, Proxy};
use rustbalance_io::settings::{ProxySettings, Target};
use smol::future::poll_once;

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// What tor says first on each connection: by which circuit the client came.
const LINE: &[u8] = b"PROXY TCP6 fc00:dead:beef:4dad::1:29a ::1 666 80\r\n";

/// A running proxy; stops when dropped.
struct Running {
    socket: PathBuf,
    counters: Arc<Counters>,
    _task: smol::Task<std::convert::Infallible>,
    _dir: tempfile::TempDir,
}

impl Running {
    fn start(target: Target, adjust: impl FnOnce(&mut ProxySettings)) -> Self {
        let mut settings =
            ProxySettings { connect_timeout: PATIENCE, idle_timeout: PATIENCE, ..ProxySettings::default() };
        adjust(&mut settings);
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("proxy.sock");
        let connector = Connector::new(target, Vec::new(), settings.connect_timeout);
        let proxy = Proxy::bind(socket.clone(), connector, &settings).unwrap();
        let counters = proxy.counters();
        Self { socket, counters, _task: smol::spawn(proxy.run()), _dir: dir }
    }

    /// As tor connects, and says what it knows.
    fn client(&self) -> UnixStream {
        let mut client = self.silent();
        // The proxy may have closed it already, which is for the test to see.
        let _ = client.write_all(LINE);
        client
    }

    /// As tor connects that lacks a line in its torrc.
    fn silent(&self) -> UnixStream {
        let client = UnixStream::connect(&self.socket).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// Waits until no connection is open.
    fn wait_idle(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.counters.active.load(Relaxed) > 0 {
            assert!(Instant::now() < deadline, "connections stay open");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A TCP application that handles each connection with `handle`, for as long as the test runs.
fn application(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap().to_string());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, handle) = (connection.unwrap(), handle.clone());
            connection.set_read_timeout(Some(PATIENCE)).unwrap();
            connection.set_write_timeout(Some(PATIENCE)).unwrap();
            thread::spawn(move || handle(connection));
        }
    });
    target
}

fn echo(mut connection: TcpStream) {
    let mut reader = connection.try_clone().unwrap();
    let _ = std::io::copy(&mut reader, &mut connection);
}

/// Speaks first.
fn greet_and_echo(mut connection: TcpStream) {
    let _ = connection.write_all(b"220 ready");
    echo(connection);
}

/// The client, once it has heard that.
fn greeted(mut client: UnixStream) -> UnixStream {
    let mut greeting = [0; 9];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready");
    client
}

fn read_all(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Bytes that show when one is lost, doubled or swapped.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64)
        .flat_map(|index| (index.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes())
        .take(length)
        .collect()
}

#[test]
fn bytes_come_back_unchanged_even_when_both_sides_are_slow() {
    let proxy = Running::start(application(echo), |_| {});
    let (client, block) = (proxy.client(), pattern(1 << 20));
    let mut writer = client.try_clone().unwrap();
    // While nobody reads, every buffer on the way fills up, until nothing more goes in.
    client.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut sent = 0;
    while let Ok(count) = writer.write(&block[sent % block.len()..]) {
        sent += count;
    }
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    let rest = block.iter().copied().cycle().skip(sent % block.len()).take(block.len()).collect::<Vec<_>>();
    let sender = thread::spawn(move || {
        writer.write_all(&rest).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let received = read_all(&client);
    sender.join().unwrap();
    assert_eq!(received.len(), sent + block.len());
    assert!(received.chunks(block.len()).all(|chunk| block.starts_with(chunk)));
    proxy.wait_idle();
    assert_eq!(proxy.counters.bytes_in.load(Relaxed), received.len() as u64);
    assert_eq!(proxy.counters.bytes_out.load(Relaxed), received.len() as u64);
}

#[test]
fn a_client_may_stop_sending_and_still_get_its_answer() {
    let proxy = Running::start(
        application(|mut connection| {
            let request = read_all(&connection);
            connection.write_all(&[b"answer to ", request.as_slice()].concat()).unwrap();
        }),
        |_| {},
    );
    let mut client = proxy.client();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), b"answer to question");
}

#[test]
fn a_server_may_stop_sending_and_still_get_the_rest() {
    let (received, result) = std::sync::mpsc::channel();
    let proxy = Running::start(
        application(move |mut connection| {
            connection.write_all(b"all I have to say").unwrap();
            connection.shutdown(Shutdown::Write).unwrap();
            received.send(read_all(&connection)).unwrap();
        }),
        |_| {},
    );
    let mut client = proxy.client();
    assert_eq!(read_all(&client), b"all I have to say");
    client.write_all(b"said after your end").unwrap();
    drop(client);
    assert_eq!(result.recv_timeout(PATIENCE).unwrap(), b"said after your end");
    proxy.wait_idle();
}

#[test]
fn a_server_may_speak_first() {
    let proxy = Running::start(application(|mut connection| connection.write_all(b"220 ready").unwrap()), |_| {});
    assert_eq!(read_all(proxy.client()), b"220 ready");
}

#[test]
fn what_tor_says_is_not_for_the_target_however_it_comes() {
    let proxy = Running::start(application(echo), |_| {});
    let request = b"GET / HTTP/1.1\r\n\r\n";
    let whole = [LINE, request].concat();
    for end in 0..=whole.len() {
        let mut client = proxy.silent();
        client.write_all(&whole[..end]).unwrap();
        // Read apart, for the most part.
        thread::yield_now();
        client.write_all(&whole[end..]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(client), request, "{end} bytes first");
    }
    proxy.wait_idle();
    assert_eq!(proxy.counters.bytes_in.load(Relaxed), ((whole.len() + 1) * request.len()) as u64);
}

#[test]
fn only_tors_own_line_is_taken_off() {
    let proxy = Running::start(application(echo), |_| {});
    let long = pattern(300_000);
    for said in [LINE, b"PROXY TCP4 10.0.0.1 10.0.0.2 1 80\r\n", b"PROXY ", b"P", b"\r\n", b"", &long] {
        let mut client = proxy.silent();
        let mut writer = client.try_clone().unwrap();
        let sent = [LINE, said].concat();
        let sender = thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        sender.join().unwrap();
        assert!(back == said, "{} bytes", said.len());
    }
}

#[test]
fn connections_of_which_tor_says_nothing_are_served_all_the_same() {
    let proxy = Running::start(application(greet_and_echo), |_| {});
    // With the beginning of a line, to be held back for a moment; with what never was one; with nothing.
    for said in [&LINE[..20], b"GET / HTTP/1.1\r\n\r\n", b""] {
        let mut client = greeted(proxy.silent());
        client.write_all(said).unwrap();
        let mut back = vec![0; said.len()];
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, said);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(client), b"");
    }
}

#[test]
fn a_line_that_comes_late_is_not_for_the_target_either() {
    let proxy = Running::start(application(greet_and_echo), |_| {});
    let mut client = greeted(proxy.silent());
    client.write_all(&[LINE, b"QUIT"].concat()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(client), b"QUIT");
}

#[test]
fn an_answer_arrives_although_the_server_did_not_read_the_whole_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.read_exact(&mut [0; 10]).unwrap();
        connection.write_all(b"413 too long").unwrap();
    });
    let proxy = Running::start(Target::Unix(path), |_| {});
    let mut client = proxy.client();
    let mut writer = client.try_clone().unwrap();
    let sender = thread::spawn(move || while writer.write_all(&[0; 4096]).is_ok() {});
    let mut answer = [0; 12];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"413 too long");
    drop(client);
    sender.join().unwrap();
}

#[test]
fn a_target_that_is_down_closes_the_client_at_once() {
    let vacant = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for target in [Target::Tcp(vacant.to_string()), Target::Unix("/nonexistent/app.sock".into())] {
        let proxy = Running::start(target, |_| {});
        assert_eq!(read_all(proxy.client()), b"");
        proxy.wait_idle();
        assert_eq!(proxy.counters.target_failed.load(Relaxed), 1);
        assert!(proxy.counters.refused().eq([("proxy_target_failed".to_owned(), 1)]));
    }
}

#[test]
fn a_target_that_does_not_answer_is_given_up_after_the_connect_timeout() {
    // Its backlog full, the listener accepts nobody.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let proxy = Running::start(Target::Unix(path), |settings| settings.connect_timeout = Duration::from_millis(100));
    let start = Instant::now();
    assert_eq!(read_all(proxy.client()), b"");
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_target_with_a_full_backlog_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let connector = Connector::new(Target::Unix(path), Vec::new(), PATIENCE);
    smol::block_on(async {
        let mut connecting = pin!(connector.connect(rustbalance_io::proxy::Isolation::unique()));
        assert!(poll_once(&mut connecting).await.is_none(), "there is a place in the backlog");
        listener.accept().unwrap();
        connecting.await.unwrap();
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_and_places_come_back() {
    let proxy = Running::start(application(echo), |settings| settings.max_connections = 2);
    let mut greeting = [0; 5];
    let mut greet =
        |client: &mut UnixStream| client.write_all(b"hello").and_then(|()| client.read_exact(&mut greeting)).is_ok();
    let mut inside = [proxy.client(), proxy.client()];
    assert!(inside.iter_mut().all(&mut greet));
    assert!(!greet(&mut proxy.client()));
    assert_eq!(proxy.counters.over_limit.load(Relaxed), 1);
    drop(inside);
    proxy.wait_idle();
    assert!(greet(&mut proxy.client()));
}

#[test]
fn only_connections_without_traffic_are_closed_for_idleness() {
    let limit = Duration::from_secs(5);
    let proxy = Running::start(application(echo), |settings| settings.idle_timeout = limit);
    let (start, silent) = (Instant::now(), proxy.client());
    let mut busy = proxy.client();
    let talker = thread::spawn(move || {
        while start.elapsed() < limit * 3 / 2 {
            busy.write_all(b"x").unwrap();
            busy.read_exact(&mut [0]).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(read_all(silent), b"");
    // The proxy counts whole milliseconds.
    assert!(start.elapsed() + Duration::from_millis(1) >= limit);
    talker.join().unwrap();
    proxy.wait_idle();
    assert_eq!(proxy.counters.accepted.load(Relaxed), 2);
    assert!(proxy.counters.idle_closed.load(Relaxed) >= 1);
}

#[test]
fn two_hundred_connections_at_once_do_not_mix() {
    let proxy = Running::start(application(echo), |_| {});
    let clients: Vec<_> = (0..200_u32).map(|number| (number, proxy.client())).collect();
    for (number, client) in &clients {
        (&*client).write_all(&pattern(100 + *number as usize)).unwrap();
    }
    for (number, client) in clients {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(client), pattern(100 + number as usize));
    }
    proxy.wait_idle();
    assert_eq!(proxy.counters.accepted.load(Relaxed), 200);
}

#[test]
fn the_socket_is_ours_alone_and_replaces_a_stale_one() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("proxy.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let connector = Connector::new(application(echo), Vec::new(), PATIENCE);
    let settings = ProxySettings {
        connect_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        max_connections: 1,
        ..ProxySettings::default()
    };
    let _proxy = Proxy::bind(socket.clone(), connector, &settings).unwrap();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
}
