//! An onion service of a plain tor, as people ran it before, or still do beside us.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::tor::Tor;
use crate::tor_net::TorNet;
use crate::web::Web;

/// For it to bootstrap, and to end.
const LIMIT: Duration = Duration::from_secs(180);

/// A service of a plain tor, with a web application of its own that answers the service's name.
pub struct Plain {
    tor: Tor,
    service: PathBuf,
    _web: Web,
}

impl Plain {
    /// Starts it, with a new key, or that in the directory `service`.
    ///
    /// # Errors
    /// If its tor does not bootstrap.
    pub fn start(net: &TorNet, name: &str, service: Option<&Path>) -> Result<Self> {
        let service = service.map_or_else(|| net.dir_of(&format!("{name}-service")), Path::to_path_buf);
        Self::start_with(net, name, service, &[])
    }

    /// Starts it as a backend of the service `master`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_behind(net: &TorNet, name: &str, master: &str) -> Result<Self> {
        let service = net.dir_of(&format!("{name}-service"));
        DirBuilder::new().mode(0o700).create(&service)?;
        be_instance(&service, master)?;
        Self::start_with(net, name, service, &[INSTANCE])
    }

    /// Starts one that has the key in the directory `service`, that of `address`, and introduction points, but publishes
    /// nothing: whoever has their descriptor finds it, in whatever time period.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_silent(net: &TorNet, name: &str, service: &Path, address: &str) -> Result<Self> {
        be_instance(service, address)?;
        Self::start_with(net, name, service.to_path_buf(), &[INSTANCE, "PublishHidServDescriptors 0"])
    }

    fn start_with(net: &TorNet, name: &str, service: PathBuf, lines: &[&str]) -> Result<Self> {
        let web = Web::start(name)?;
        let mut torrc = net.client_torrc_lines();
        torrc.push("SocksPort 0".into());
        torrc.push(format!("HiddenServiceDir {}", service.display()));
        torrc.push(format!("HiddenServicePort 80 {}", web.target()));
        torrc.extend(lines.iter().map(|line| (*line).to_owned()));
        let tor = Tor::start(net.binary(), name, &net.dir_of(name), &torrc)?;
        tor.wait_bootstrapped(LIMIT)?;
        Ok(Self { tor, service, _web: web })
    }

    /// Its tor.
    pub fn tor(&self) -> &Tor {
        &self.tor
    }

    /// Its `HiddenServiceDir`.
    pub fn service(&self) -> &Path {
        &self.service
    }

    /// With `.onion`.
    ///
    /// # Errors
    /// If its tor has written none.
    pub fn address(&self) -> Result<String> {
        Ok(fs::read_to_string(self.service.join("hostname"))?.trim().to_owned())
    }

    /// As an operator stops it.
    ///
    /// # Errors
    /// If it goes on.
    pub fn stop(mut self) -> Result<()> {
        self.tor.process().signal(Signal::TERM);
        self.tor.process().wait_exit(LIMIT).map(|_| ())
    }
}

/// What tor wants to know of a service whose descriptor is another's work, with [`be_instance`].
const INSTANCE: &str = "HiddenServiceOnionBalanceInstance 1";

fn be_instance(service: &Path, address: &str) -> Result<()> {
    Ok(fs::write(service.join("ob_config"), format!("MasterOnionAddress {address}\n"))?)
}
