//! A process without a free file descriptor. On its own, since the limit is the whole process'.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use rustbalance_io::proxy::{Connector, Proxy};
use rustbalance_io::settings::{ProxySettings, Target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, Socket, Type};

#[test]
fn the_proxy_waits_for_descriptors_without_spinning_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("proxy.sock");
    let settings = ProxySettings {
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        max_connections: 100,
        ..ProxySettings::default()
    };
    let target = Target::Unix(dir.path().join("nobody.sock"));
    let connector = Connector::new(target, Vec::new(), settings.connect_timeout);
    let proxy = Proxy::bind(socket.clone(), connector, &settings).unwrap();
    let counters = proxy.counters();
    let running = smol::spawn(proxy.run());
    // Everything that needs a descriptor once and for all has it afterwards.
    UnixStream::connect(&socket).unwrap().read_to_end(&mut Vec::new()).unwrap();
    let clients: Vec<_> = (0..10).map(|_| Socket::new(Domain::UNIX, Type::STREAM, None).unwrap()).collect();

    let enough = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: enough.maximum }).unwrap();
    for client in &clients {
        client.connect(&SockAddr::unix(&socket).unwrap()).unwrap();
    }
    let before = cpu_time();
    thread::sleep(Duration::from_millis(500));
    let spent = cpu_time().saturating_sub(before);
    let accepted = counters.accepted.load(Relaxed);
    setrlimit(Resource::Nofile, enough).unwrap();

    assert_eq!(accepted, 1);
    assert!(spent < Duration::from_millis(100), "{spent:?}");
    for mut client in clients {
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    drop(running);
}

/// What this process has used.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}
