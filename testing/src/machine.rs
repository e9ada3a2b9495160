//! Machines on which nothing was installed yet: this one's files seen through an overlay, in namespaces of their own.
//! Needs root.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustbalance_core::status::Status;

use crate::process::Process;
use crate::tor_net::{Shape, TorNet};
use crate::wait::{self, Answer};

/// The checkout.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Begins a script that runs in a mount namespace of its own, as a machine before anything was installed: what is written
/// to it is seen by nobody else, and is gone with its last process. `$PROGRAM` is the `rustbalance` to deploy, `$ROOT` the
/// checkout, `$WORLD` a directory for what is written, if it is not to be `/mnt`.
pub const FRESH: &str = r#"
set -eu
ip link set lo up
world=${WORLD:-/mnt}
mount -t tmpfs world "$world"
for part in etc usr lib var; do
    [ -d "/$part" ] && [ ! -L "/$part" ] || continue
    mkdir "$world/$part" "$world/$part.work"
    mount -t overlay overlay -o "lowerdir=/$part,upperdir=$world/$part,workdir=$world/$part.work" "/$part"
done
mount -t tmpfs shm /dev/shm
cp "$PROGRAM" "$world/rustbalance"
sha256sum "$world/rustbalance" >"$world/rustbalance.sha256"
deploy() { sh "$ROOT/testing/deploy.sh" "$@"; }
key=/var/lib/rustbalance/keys/hs_ed25519_secret_key
"#;

/// `unshare`, to be completed with a command: mounts, network and processes of its own, which end with it.
pub fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command
}

/// The network of all machines.
pub const SUBNET: [u8; 3] = [10, 77, 0];
/// The first machine's address is the one after it.
const MACHINE_HOST: u8 = 200;
/// Where their meshes listen.
const MESH_PORT: u16 = 7900;

/// Where what the machines have in common is: the bridge, and the tor network's relays.
pub fn outside() -> Ipv4Addr {
    host(1)
}

fn host(number: u8) -> Ipv4Addr {
    let [a, b, c] = SUBNET;
    Ipv4Addr::new(a, b, c, number)
}

/// The bridge's own address. Without one it has the lowest of its ports', another one when that machine dies, and the others
/// would not reach it for half a minute.
const BRIDGE: &str = "02:00:00:00:00:01";

/// Makes the bridge, with the addresses of a tor network of this shape. For a program in a network namespace of its own.
///
/// # Errors
/// What `ip` says.
pub fn make_bridge(shape: &Shape) -> Result<()> {
    let addresses: String = std::iter::once(1)
        .chain(TorNet::hosts(shape))
        .map(|number| format!("ip addr add {}/24 dev machines\n", host(number)))
        .collect();
    shell(&format!(
        "set -e\nip link set lo up\nip link add machines address {BRIDGE} type bridge\n{addresses}ip link set machines up\n"
    ))?;
    Ok(())
}

/// A machine with an address of its own, on the bridge.
pub struct Machine {
    /// What its application says.
    pub name: String,
    /// `HOST:PORT` of its mesh.
    pub endpoint: String,
    /// Holds its namespaces.
    alive: Process,
    /// Its first process, as this program sees it.
    pid: u32,
    world: PathBuf,
    node: Option<Process>,
}

impl Machine {
    /// Machine `number`, with a configuration for the tor network and the application at `target`, and no node yet.
    ///
    /// # Errors
    /// If a namespace, an overlay or the network link cannot be had, with what was said.
    pub fn start(net: &TorNet, number: u8, name: &str, program: &Path, target: &str) -> Result<Self> {
        let world = net.dir_of(name);
        fs::create_dir(&world)?;
        let mut command = unshare();
        command.args(["sh", "-c"]).arg(format!("{FRESH}touch \"$world/ready\"\nexec sleep infinity"));
        command.env("ROOT", ROOT).env("PROGRAM", program).env("WORLD", &world);
        let alive = Process::spawn(name, &mut command, &net.dir_of(&format!("{name}.machine.log")))?;
        let endpoint = format!("{}:{MESH_PORT}", host(MACHINE_HOST + number));
        let mut machine =
            Self { name: name.into(), endpoint, pid: alive.pid(), alive, world: world.clone(), node: None };
        machine.pid = machine.wait_ready()?;
        machine.plug_in(number)?;
        let options: String = net.client_torrc_lines().iter().map(|line| format!("    {line:?},\n")).collect();
        let endpoint = &machine.endpoint;
        let config = format!(
            "name = {name:?}\n[mesh]\nendpoint = \"{endpoint}\"\n[service]\ntarget = \"{target}\"\n[tor]\noptions = [\n{options}]\n"
        );
        machine.put("config", &config)?;
        machine.run("install -D -m 644 \"$world/config\" /var/lib/rustbalance/rustbalance.toml")?;
        Ok(machine)
    }

    /// The pid of its first process.
    fn wait_ready(&mut self) -> Result<u32> {
        let unshare = self.alive.pid();
        wait::until(&format!("machine {}", self.name), Duration::from_secs(20), || {
            let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap_or_default();
            let first = children.split_whitespace().next().and_then(|pid| pid.parse::<u32>().ok());
            // Its files are seen by itself alone.
            let ready =
                first.filter(|pid| Path::new(&format!("/proc/{pid}/root{}/ready", self.world.display())).exists());
            Ok(Answer::from_option(ready, || self.alive.log_tail(5)))
        })
    }

    fn plug_in(&self, number: u8) -> Result<()> {
        let (pid, address) = (self.pid, host(MACHINE_HOST + number));
        shell(&format!(
            "ip link add m{number} type veth peer name eth0 netns {pid} && ip link set m{number} master machines up"
        ))?;
        self.run(&format!("ip addr add {address}/24 dev eth0 && ip link set eth0 up"))?;
        Ok(())
    }

    /// Leaves a file there as `$world/name`, which only its root can read.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, name: &str, text: &str) -> Result<()> {
        let file = PathBuf::from(format!("/proc/{}/root{}", self.pid, self.world.display())).join(name);
        fs::write(&file, text).with_context(|| file.display().to_string())?;
        use std::os::unix::fs::PermissionsExt as _;
        Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?)
    }

    /// Runs a script as its root, with `$world`, `deploy` and `rustbalance` (as the node's user), to its end. Returns what
    /// it printed.
    ///
    /// # Errors
    /// With what it said, if it fails.
    pub fn run(&self, script: &str) -> Result<String> {
        let output = self.command(script).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {script}: {}: {}", self.name, output.status, said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    fn command(&self, script: &str) -> Command {
        const KNOWN: &str = r#"
set -eu
cd /
deploy() { sh "$ROOT/testing/deploy.sh" "$@"; }
rustbalance() { runuser -u rustbalance -- rustbalance "$@"; }
"#;
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--mount", "--net", "--pid", "sh", "-c"]);
        command.arg(format!("{KNOWN}{script}")).env("ROOT", ROOT).env("world", &self.world);
        command
    }

    /// What systemd would start.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_node(&mut self, net: &TorNet) -> Result<()> {
        let script = r#"
            sed -n 's/^ExecStart=//p' /lib/systemd/system/rustbalance.service >"$world/start"
            chmod 644 "$world/start"
            exec runuser -u rustbalance -- sh "$world/start"
        "#;
        let log = net.dir_of(&format!("{}.log", self.name));
        self.node = Some(Process::spawn(&self.name, &mut self.command(script), &log)?);
        Ok(())
    }

    /// Everything on it ends at once.
    pub fn kill(&mut self) {
        self.alive.kill();
        self.node = None;
    }

    /// Waits until its node has stopped by itself.
    ///
    /// # Errors
    /// If it has not within `limit`, or did not in good order.
    pub fn wait_stopped(&mut self, limit: Duration) -> Result<()> {
        let mut node = self.node.take().with_context(|| format!("{}: no node runs", self.name))?;
        let status = node.wait_exit(limit)?;
        ensure!(status.success(), "{}: {status}: {}", self.name, node.log_tail(5));
        Ok(())
    }

    /// `rustbalance status --json`, until `fact` holds.
    ///
    /// # Errors
    /// After `limit`: with the reason that `fact` gave and the end of the log.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        fact: impl Fn(&Status) -> Result<(), String>,
    ) -> Result<Status> {
        let log = || self.node.as_ref().map(|node| node.log_tail(15)).unwrap_or_default();
        let outcome = wait::until(&format!("{}: {what}", self.name), limit, || {
            let status: Status = match self.run("rustbalance status --json") {
                Ok(text) => serde_json::from_str(&text)?,
                Err(error) => return Ok(Answer::NotYet(format!("{error:#}"))),
            };
            Ok(fact(&status).map_or_else(Answer::NotYet, |()| Answer::Ready(status)))
        });
        outcome.with_context(log)
    }
}

/// A script of this program's own.
fn shell(script: &str) -> Result<()> {
    let output = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
