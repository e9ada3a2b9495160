//! A node from start to stop.

use core::time::Duration;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_io::Async;
use rustbalance_core::cluster::ClusterConfig;
use rustbalance_core::join::check_member;
use rustbalance_core::node::{Config, Saved};
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::passphrase::Passphrase;
use rustbalance_core::{DurableKind, Node, Stop};
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;

use crate::clients;
use crate::driver::{Channels, Driver, Ending};
use crate::entropy;
use crate::probe::{self, Probe};
use crate::proxy::{Connector, Proxy};
use crate::settings::{AttachSettings, Settings};
use crate::signals::{OurSignals, Wanted};
use crate::store::{ClusterFile, Secrets, Store};
use crate::tor::runtime::RuntimeDir;
use crate::tor::{self, Supervisors, TorError, TorPaths, Tors, attach};
use crate::{clock, host, mesh, status};
use parts::Parts;

mod error;
mod parts;

pub use error::RunError;

/// Pieces of up to 64 KiB that tor said and that may wait; tor waits with the rest.
const TOR_INPUTS: usize = 4;
/// Time tor has to exit at the end; beyond it is killed.
const TOR_STOPS_WITHIN: Duration = Duration::from_secs(10);

/// What a running node takes over from a configuration that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// See [`Settings`].
    pub weight: u16,
    /// See [`Settings`].
    pub priority: u8,
}

/// What comes of reading the configuration again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// These shares hold from now on; what has changed, a line each.
    Changed(Shares, Vec<String>),
    /// It is wrong: all stays as it is. Why, a line each.
    Refused(Vec<String>),
}

/// Reads the configuration again.
pub type Reload = Box<dyn FnMut() -> Reloaded + Send>;

/// Runs the node of `settings.dir` until SIGTERM, SIGINT, or an operator's word; at SIGHUP it calls `reload`. After a signal
/// open sessions go on until `proxy.drain_limit` is over, or until a second one. On return a tor of our own is gone, the sockets are removed, and the next node may start.
///
/// With an encrypted state it needs the `passphrase`.
///
/// # Errors
/// What kept it from starting, or what it cannot run without.
pub fn run(settings: Settings, passphrase: Option<Passphrase>, reload: Reload) -> Result<(), RunError> {
    let mut store = Store::new(&settings.dir).with_tors(settings.tor.instances);
    let _lock = store.open()?;
    if let Some(passphrase) = passphrase {
        store = store.unlock(&passphrase)?;
    }
    let secrets = Secrets::read(&store)?;
    let cluster = store.cluster()?;
    let saved = store.saved()?;
    check_membership(&settings, &secrets, &cluster, &saved)?;
    // It goes when the node has stopped.
    let runtime = in_memory(&store, &settings)?;
    if let Some(runtime) = &runtime {
        store = store.with_runtime_dir(runtime.path().to_owned());
    }
    let tors = TorPaths::all(&store)?;
    let store = Arc::new(store);
    if settings.tor.attach.control.is_some() {
        attach::check_files(&settings.tor.attach)?;
        tor::paths::remove_own_service(&settings.dir, &settings.tor.attach.service_dir);
    } else {
        tor::check_binary(&settings.tor)?;
        tor::check_options(&settings.tor.options).map_err(TorError::from)?;
    }
    tor::paths::remove_surplus(&settings.dir, settings.tor.instances);
    let sockets = Sockets::bind(&settings, &store, &secrets, &tors)?;
    let node = node(&settings, &secrets, &cluster, &saved)?;
    let address = secrets.master.address();
    tracing::info!(%address, node = %secrets.node.keypair().id(), "starting");
    drop(secrets);
    let proxy_socket = proxy_socket(&settings)?;
    let result = smol::block_on(serve(Arc::new(settings), Arc::clone(&store), address, cluster, node, sockets, reload));
    let of_tors = tors.into_iter().flat_map(|paths| [paths.control_socket, paths.socks_socket]);
    for socket in of_tors.chain([proxy_socket, store.status_socket()]) {
        if let Err(error) = status::remove(&socket) {
            tracing::debug!(%error, socket = %socket.display(), "socket stays");
        }
    }
    result
}

/// Where tor's copy of the key lies, if that must be in memory. What a node that was killed left there goes.
fn in_memory(store: &Store, settings: &Settings) -> Result<Option<RuntimeDir>, TorError> {
    if store.is_encrypted() && settings.tor.attach.control.is_none() {
        return RuntimeDir::create(settings).map(Some);
    }
    if let Err(error) = RuntimeDir::remove_stale(settings) {
        // Mostly the place is another user's, and so has nothing of ours.
        tracing::debug!(%error, "nothing removed");
    }
    Ok(None)
}

/// Everything that can be in somebody else's use, bound before anything starts.
struct Sockets {
    mesh: (mesh::Mesh, mesh::MeshTask),
    status: status::Server,
    proxy: Proxy,
    probe: Probe,
    signals: OurSignals,
}

impl Sockets {
    fn bind(settings: &Settings, store: &Store, secrets: &Secrets, tors: &[TorPaths]) -> Result<Self, RunError> {
        let address = settings.mesh.listen;
        let first_index = u32::from_le_bytes(*entropy::secret()?.first_chunk().unwrap_or(&[0; 4]));
        let mesh = UdpSocket::bind(address)
            .and_then(|socket| mesh::new(socket, secrets.wireguard.secret(), first_index))
            .map_err(|source| RunError::Mesh { address, source })?;
        let path = store.status_socket();
        let status = status::Server::bind(&path).map_err(|source| RunError::Status { path, source })?;
        let target = settings.service.target.clone();
        let through = tors.iter().map(|paths| paths.socks_socket.clone()).collect();
        let connector = Connector::new(target, through, settings.proxy.connect_timeout);
        let proxy = Proxy::bind(proxy_socket(settings)?, connector.clone(), &settings.proxy)?;
        if settings.tor.attach.control.is_some() {
            attach::share(&settings.tor.attach.proxy_socket)?;
        }
        let host = probe::default_host(&settings.service.target, &secrets.master.address());
        let probe = Probe::new(&connector, &settings.proxy.probe, &host);
        let signals = OurSignals::new().map_err(RunError::Signals)?;
        Ok(Self { mesh, status, proxy, probe, signals })
    }
}

/// Where tor hands over the service's connections.
fn proxy_socket(settings: &Settings) -> Result<PathBuf, TorError> {
    match &settings.tor.attach {
        AttachSettings { control: Some(_), proxy_socket, .. } => Ok(proxy_socket.clone()),
        AttachSettings { control: None, .. } => TorPaths::new(&settings.dir).map(|paths| paths.proxy_socket),
    }
}

/// As many as clients accept ([`NUM_INTRO_POINT_MAX`](rustbalance_core::hsdesc::NUM_INTRO_POINT_MAX)).
const POINTS_AUTO: u8 = 20;

fn check_membership(
    settings: &Settings,
    secrets: &Secrets,
    cluster: &ClusterFile,
    saved: &Saved,
) -> Result<(), RunError> {
    let node = (secrets.node.keypair().id(), secrets.wireguard.public());
    let roster = saved.get(&DurableKind::Roster).map_or(&[][..], Vec::as_slice);
    check_member(node, secrets.master.address().id(), (cluster.cluster, cluster.genesis), roster)
        .map_err(|why| RunError::NotAMember { dir: settings.dir.clone(), why })
}

fn node(settings: &Settings, secrets: &Secrets, cluster: &ClusterFile, saved: &Saved) -> Result<Node, RunError> {
    let config = Config {
        master: secrets.master.keypair()?,
        cluster: ClusterConfig {
            keypair: secrets.node.keypair(),
            wg: secrets.wireguard.public(),
            cluster: cluster.cluster,
            genesis: cluster.genesis,
            token: secrets.token.token(),
            priority: settings.priority,
            weight: settings.weight,
            name: settings.name.clone(),
            contact: settings.mesh.endpoint.clone(),
            token_age_max: settings.cluster.token_rotation,
        },
        tors: settings.tor.instances,
        is_attached: settings.tor.attach.control.is_some(),
        points: settings.publish.points.unwrap_or(POINTS_AUTO),
    };
    Ok(Node::new(config, saved, &entropy::seed()?, clock::now())?)
}

async fn serve(
    settings: Arc<Settings>,
    store: Arc<Store>,
    address: OnionAddress,
    cluster: ClusterFile,
    node: Node,
    sockets: Sockets,
    reload: Reload,
) -> Result<(), RunError> {
    let Sockets { mesh: (mesh, mesh_task), status, proxy, probe, signals } = sockets;
    let (to_tors, tors) = smol::channel::bounded(TOR_INPUTS);
    let (to_target, target) = smol::channel::bounded(1);
    let (to_host, host) = smol::channel::bounded(1);
    let (to_questions, questions) = smol::channel::bounded(1);
    let (keep, kept) = smol::channel::bounded::<Async<UnixStream>>(16);
    let (to_stop, stop) = smol::channel::bounded(2);
    let (to_reload, reloaded) = smol::channel::bounded(1);

    let Tors { commands: tor_commands, supervisors } = tor::supervise_all(&settings, &store, address, &to_tors);
    let (proxy_counters, door) = (proxy.counters(), proxy.door());
    let mut parts = Parts::new();
    parts.spawn("mesh", mesh_task.run());
    parts.spawn("target's probe", probe.watch(to_target));
    parts.spawn("machine's watcher", host::watch(settings.dir.clone(), to_host));
    let client_files = clients::directory::Problems::default();
    parts.spawn(
        "authorized_clients' watcher",
        clients::directory::watch(store.authorized_clients(), client_files.clone(), to_questions.clone()),
    );
    parts.spawn("status socket", status.run(to_questions, keep));
    parts.spawn("signal handler", forward(signals, to_stop.clone(), reload, to_reload));
    parts.spawn("proxy", async move { match proxy.run().await {} });
    let channels = Channels {
        mesh,
        tors,
        tor_commands,
        proxy: proxy_counters,
        door,
        target,
        host,
        client_files,
        questions,
        reloaded,
        stop,
    };
    let driver = Driver::new(node, store, cluster.joined_through, settings.proxy.drain_limit, channels);
    let result = until_stopped(driver.run(), supervisors, &parts, &to_stop, &settings.dir).await;
    drop(parts);
    // Only now do operators who asked for the stop see their connections close.
    drop::<Receiver<_>>(kept);
    result
}

/// The driver's end closes the tors' command channels, at which they are stopped. A supervisor's unforeseen end ends the
/// node; that of a part asks the driver for an orderly stop, and so hands the lease over as far as what is left can. On
/// return, whatever the outcome, no tor of ours is left.
async fn until_stopped(
    driver: impl Future<Output = Stop>,
    mut tors: Supervisors,
    parts: &Parts,
    to_stop: &Sender<Ending>,
    dir: &Path,
) -> Result<(), RunError> {
    let mut ended_part = None;
    let driven = async { Ok(driver.await) };
    let part_ends = async {
        ended_part = Some(parts.ended().await);
        _ = to_stop.try_send(Ending::Prompt);
        core::future::pending().await
    };
    let tor_ends = async { Err(tors.ended().await) };
    // The driver is dropped at the end of this, also when it is not the first to end.
    let ended = driven.or(part_ends).or(tor_ends).await;
    let stopped = tors.stop(TOR_STOPS_WITHIN).await;
    let stop = match ended {
        Ok(stop) => stop,
        Err(ended) => return ended.and(stopped).map_err(RunError::Tor),
    };
    stopped?;
    match (ended_part, stop) {
        (Some(part), _) => Err(RunError::PartEnded(part)),
        (None, Stop::DuplicateIdentity) => Err(RunError::DuplicateIdentity(dir.to_owned())),
        (None, Stop::Commanded) => Ok(()),
    }
}

async fn forward(mut signals: OurSignals, stop: Sender<Ending>, mut reload: Reload, reloaded: Sender<Shares>) {
    let mut ending = Ending::Patient;
    while let Ok(wanted) = signals.next().await {
        match wanted {
            Wanted::Stop => {
                tracing::info!("told to stop");
                // A third signal changes nothing.
                _ = stop.try_send(ending);
                ending = Ending::Prompt;
            }
            Wanted::Reload => {
                match reload() {
                    Reloaded::Changed(shares, changes) => {
                        changes.iter().for_each(|change| tracing::info!("configuration: {change}"));
                        // The newest replaces one that still waits.
                        _ = reloaded.force_send(shares);
                    }
                    Reloaded::Refused(why) => {
                        why.iter().for_each(|why| tracing::warn!("{why}"));
                        tracing::warn!("configuration: not read again: all settings stay as they are");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_ends_or_panics_stops_the_node_in_order() {
        for (name, panics) in [("mesh", false), ("proxy", true)] {
            let mut parts = Parts::new();
            parts.spawn("signal handler", core::future::pending());
            parts.spawn(name, async move { assert!(!panics, "as a bug would") });
            let (to_stop, stop) = smol::channel::bounded(1);
            let (commands, from_core) = smol::channel::bounded::<()>(1);
            let mut tors = Supervisors::default();
            tors.spawn(async move {
                // As tor's supervisor, until the driver drops its end.
                while from_core.recv().await.is_ok() {}
                Ok(())
            });
            let driver = async move {
                stop.recv().await.expect("the order to stop");
                drop(commands);
                Stop::Commanded
            };
            let dir = Path::new("/");
            let error = smol::block_on(until_stopped(driver, tors, &parts, &to_stop, dir)).unwrap_err();
            assert!(matches!(error, RunError::PartEnded(part) if part == name), "{error}");
        }
    }

    #[test]
    fn when_one_tor_cannot_be_run_the_node_ends_once_the_others_have_stopped() {
        let (commands, from_core) = smol::channel::bounded::<()>(1);
        let (running, stopped) = smol::channel::bounded::<()>(1);
        let mut tors = Supervisors::default();
        tors.spawn(async move {
            let _running = running;
            while from_core.recv().await.is_ok() {}
            for _ in 0..100 {
                smol::future::yield_now().await;
            }
            Ok(())
        });
        tors.spawn(async { Err(TorError::NotAttached) });
        let driver = async move {
            let _commands = commands;
            core::future::pending().await
        };
        let (to_stop, _stop) = smol::channel::bounded(1);
        let ended = smol::block_on(until_stopped(driver, tors, &Parts::new(), &to_stop, Path::new("/")));
        assert!(matches!(ended, Err(RunError::Tor(TorError::NotAttached))), "{ended:?}");
        assert!(stopped.is_closed());
    }
}
