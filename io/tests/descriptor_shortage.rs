//! A process without a free file descriptor. On its own, since the limit is the whole process'.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use rustbalance_io::proxy::{Connector, Proxy};
use rustbalance_io::settings::{ProxySettings, Target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata};

/// How often the proxy warns that it cannot accept; that is all it warns of here.
struct Warnings(Sender<()>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target() == "rustbalance_io::proxy"
    }
    fn event(&self, _: &Event<'_>) {
        // Nobody counts them at the end.
        _ = self.0.send(());
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn the_proxy_waits_for_descriptors_without_spinning_and_goes_on() {
    let (to_warned, warned) = mpsc::channel();
    tracing::subscriber::set_global_default(Warnings(to_warned)).unwrap();
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

    let begun = Instant::now();
    let enough = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: enough.maximum }).unwrap();
    for client in &clients {
        client.connect(&SockAddr::unix(&socket).unwrap()).unwrap();
    }
    let tries = 6;
    let waited = (0..tries).try_for_each(|_| warned.recv_timeout(Duration::from_secs(20)));
    let spent = begun.elapsed();
    let accepted = counters.accepted.load(Relaxed);
    setrlimit(Resource::Nofile, enough).unwrap();

    waited.unwrap();
    assert_eq!(accepted, 1);
    assert!(spent >= (tries - 1) * Duration::from_millis(100), "{tries} tries within {spent:?}");
    for mut client in clients {
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    drop(running);
}
