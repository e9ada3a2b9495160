//! The health probe against real sockets.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustbalance_core::TargetHealth::{self, Down, Up};
use rustbalance_io::probe::Probe;
use rustbalance_io::proxy::Connector;
use rustbalance_io::settings::{ProbeRequest, ProbeSettings, Statuses, Target};
use smol::Task;
use smol::channel::Receiver;
use smol::future::FutureExt as _;
use socket2::{Domain, SockAddr, Socket, Type};

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// As long as a probe may take where it is to fail for taking too long.
const SHORT: Duration = Duration::from_millis(50);

fn every(interval: Duration) -> ProbeSettings {
    ProbeSettings { interval, ..ProbeSettings::default() }
}

fn asking(path: &str, interval: Duration) -> ProbeSettings {
    ProbeSettings { request: ProbeRequest::Http(path.to_owned()), ..every(interval) }
}

fn watch(target: Target, socks: Vec<PathBuf>, settings: &ProbeSettings) -> (Task<()>, Receiver<TargetHealth>) {
    let (changes, reports) = smol::channel::unbounded();
    let probe = Probe::new(&Connector::new(target, socks, PATIENCE), settings, "address.onion");
    (smol::spawn(probe.watch(changes)), reports)
}

fn next(reports: &Receiver<TargetHealth>) -> Option<TargetHealth> {
    smol::block_on(async { reports.recv().await.ok() }.or(async {
        smol::Timer::after(PATIENCE).await;
        None
    }))
}

#[test]
fn changes_of_the_targets_health_are_reported_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let (watch, reports) = watch(Target::Unix(path.clone()), Vec::new(), &every(Duration::from_millis(5)));
    assert_eq!(next(&reports), Some(Down));
    for _ in 0..3 {
        let application = UnixListener::bind(&path).unwrap();
        assert_eq!(next(&reports), Some(Up));
        // Some more probes, all answered.
        for _ in 0..3 {
            drop(application.accept().unwrap());
        }
        drop(application);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(next(&reports), Some(Down));
    }
    assert!(reports.is_empty());
    drop(reports);
    let _application = UnixListener::bind(&path).unwrap();
    smol::block_on(watch);
}

#[test]
fn a_target_that_hangs_is_down_after_an_interval() {
    // Its backlog full, the listener accepts nobody.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let (_watch, reports) = watch(Target::Unix(path), Vec::new(), &every(SHORT));
    assert_eq!(next(&reports), Some(Down));
}

/// Tor's SOCKS port, for one connection to the onion target: it, and the credentials that it came with.
fn socks(listener: &UnixListener, is_reachable: bool) -> io::Result<(UnixStream, [u8; 19])> {
    let (mut client, _) = listener.accept()?;
    let (mut greeting, mut credentials, mut request) = ([0; 3], [0; 19], [0; 5 + "target.onion".len() + 2]);
    client.read_exact(&mut greeting)?;
    client.write_all(&[5, 2])?;
    client.read_exact(&mut credentials)?;
    client.write_all(&[1, 0])?;
    client.read_exact(&mut request)?;
    client.write_all(&[5, if is_reachable { 0 } else { 4 }, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok((client, credentials))
}

#[test]
fn probes_of_an_onion_target_share_a_circuit_until_one_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socks.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let target = Target::Onion { host: "target.onion".to_owned(), port: 80 };
    let (_watch, reports) = watch(target, vec![path], &every(Duration::from_millis(5)));
    let circuits =
        [true, true, false, true, true, false, false].map(|is_reachable| socks(&listener, is_reachable).unwrap().1);
    assert_eq!(next(&reports), Some(Up));
    let is_same: Vec<bool> = circuits.windows(2).map(|pair| pair[0] == pair[1]).collect();
    assert_eq!(is_same, [true, true, false, true, true, false]);
    assert!(reports.is_empty(), "one failure, or two, mean nothing");
}

/// Reads a request; its lines, without the empty one.
fn request(client: impl Read) -> Vec<String> {
    BufReader::new(client).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect()
}

/// A web application that serves each connection with `serve`, after the request, until the test ends.
fn application(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            request(&client);
            serve(client);
        }
    });
    Target::Tcp(address)
}

fn answering(answer: &'static [u8]) -> Target {
    application(move |mut client| drop(client.write_all(answer)))
}

/// The first outcome of probing `target` for a page.
fn outcome(target: Target, interval: Duration) -> Option<TargetHealth> {
    let (_watch, reports) = watch(target, Vec::new(), &asking("/", interval));
    next(&reports)
}

#[test]
fn the_status_of_the_page_says_whether_the_application_is_well() {
    for (answer, health) in [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".as_slice(), Up),
        (b"HTTP/1.0 204\r\n\r\n", Up),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", Up),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Down),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", Down),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Down),
        (b"HTTP/1.1 20", Down),
        (b"SSH-2.0-OpenSSH_9.9\r\n", Down),
        (b"\x15\x03\x03\x00\x02\x02\x46\n", Down),
        (b"", Down),
    ] {
        assert_eq!(outcome(answering(answer), PATIENCE), Some(health), "{}", answer.escape_ascii());
    }
}

#[test]
fn a_line_without_an_end_is_not_read_to_it() {
    let endless = application(|mut client| while client.write_all(&[b'a'; 4096]).is_ok() {});
    assert_eq!(outcome(endless, PATIENCE), Some(Down));
}

#[test]
fn an_application_that_takes_connections_and_says_nothing_is_down_after_an_interval() {
    let silent = application(|mut client| drop(client.read(&mut [0])));
    assert_eq!(outcome(silent, SHORT), Some(Down));
}

#[test]
fn an_answer_that_only_drips_is_down_after_an_interval() {
    let dripping = application(|mut client| {
        while client.write_all(b"H").is_ok() {
            thread::sleep(SHORT / 10);
        }
    });
    assert_eq!(outcome(dripping, SHORT), Some(Down));
}

#[test]
fn an_answer_in_pieces_is_put_together() {
    let piecemeal = application(|mut client| {
        client.set_nodelay(true).unwrap();
        for byte in b"HTTP/1.1 200 OK\r\n\r\n" {
            // The probe hangs up once it has the line.
            _ = client.write_all(&[*byte]);
        }
    });
    assert_eq!(outcome(piecemeal, PATIENCE), Some(Up));
}

#[test]
fn a_unix_socket_is_asked_for_the_page_of_the_configured_host() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    for (host, named) in [(None, "address.onion"), (Some("www.example.net:8080"), "www.example.net:8080")] {
        let settings = ProbeSettings {
            host: host.map(str::to_owned),
            statuses: Statuses { first: 418, last: 418 },
            ..asking("/health?full=1", PATIENCE)
        };
        let (_watch, reports) = watch(Target::Unix(path.clone()), Vec::new(), &settings);
        let (mut client, _) = listener.accept().unwrap();
        let lines = request(&client);
        assert_eq!(lines[..2], ["GET /health?full=1 HTTP/1.1".to_owned(), format!("Host: {named}")]);
        assert!(lines.contains(&"Connection: close".to_owned()), "{lines:?}");
        client.write_all(b"HTTP/1.1 418 I'm a teapot\r\n\r\n").unwrap();
        assert_eq!(next(&reports), Some(Up));
    }
}

#[test]
fn an_application_is_back_only_after_as_many_good_answers_in_a_row_as_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socks.sock");
    let listener = UnixListener::bind(&path).unwrap();
    // Through tor, so that an answer may take longer than the pause until the next probe.
    let target = Target::Onion { host: "target.onion".to_owned(), port: 80 };
    let settings = ProbeSettings { failures: 1, successes: 2, ..asking("/", Duration::from_millis(5)) };
    let (_watch, reports) = watch(target, vec![path], &settings);
    for (status, health) in [(200, Some(Up)), (503, Some(Down)), (200, None), (503, None), (200, None), (200, Some(Up))]
    {
        let (mut client, _) = socks(&listener, true).unwrap();
        request(&client);
        assert!(reports.is_empty(), "before {status}");
        write!(client, "HTTP/1.1 {status} \r\n\r\n").unwrap();
        if health.is_some() {
            assert_eq!(next(&reports), health, "{status}");
        }
    }
}
