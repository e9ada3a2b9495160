//! The health probe against a real socket that comes and goes.

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustbalance_core::TargetHealth;
use rustbalance_io::probe;
use rustbalance_io::proxy::Connector;
use rustbalance_io::settings::Target;
use smol::channel::Receiver;
use smol::future::FutureExt as _;
use socket2::{Domain, SockAddr, Socket, Type};

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn changes_of_the_targets_health_are_reported_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let connector = Connector::new(Target::Unix(path.clone()), dir.path().join("socks.sock"), PATIENCE);
    let (changes, reports) = smol::channel::unbounded();
    let watch = smol::spawn(probe::watch(connector, Duration::from_millis(5), 3, changes));
    assert_eq!(next(&reports), Some(TargetHealth::Down));
    for _ in 0..3 {
        let application = UnixListener::bind(&path).unwrap();
        assert_eq!(next(&reports), Some(TargetHealth::Up));
        // Some more probes, all answered.
        for _ in 0..3 {
            drop(application.accept().unwrap());
        }
        drop(application);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(next(&reports), Some(TargetHealth::Down));
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
    let connector = Connector::new(Target::Unix(path), dir.path().join("socks.sock"), Duration::from_secs(3600));
    let (changes, reports) = smol::channel::unbounded();
    let _watch = smol::spawn(probe::watch(connector, Duration::from_millis(50), 3, changes));
    assert_eq!(next(&reports), Some(TargetHealth::Down));
}

fn next(reports: &Receiver<TargetHealth>) -> Option<TargetHealth> {
    smol::block_on(async { reports.recv().await.ok() }.or(async {
        smol::Timer::after(PATIENCE).await;
        None
    }))
}
