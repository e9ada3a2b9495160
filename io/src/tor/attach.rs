//! A tor that somebody else runs: looked at, and used only while its configuration is as it should be. It is asked and told
//! about descriptors and circuits, and its own publishing is switched where it has no other service; its services are its
//! owner's, and it lives on when the node ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use rustbalance_core::TorId;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::tor::{Attachment, Found, Wanted};
use rustix::fs::Mode;
use smol::channel::{Receiver, Sender};
use smol::future::FutureExt as _;
use tracing::{debug, warn};

use super::connection::{self, ConnectError, ControlAccess, Dialogue};
use super::link::{Link, Parting};
use super::restarts::Backoff;
use super::{TorCommand, TorError, TorInput, torrc};
use crate::entropy;
use crate::settings::{AttachSettings, Settings};
use crate::store::StoreError;
use crate::{clock, keys};

/// How often a tor that is used is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon one that cannot be used is looked at again: its owner may be mending it.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What the torrc of the tor that `settings` name must have for the service at `address`.
pub fn wanted(settings: &Settings, address: OnionAddress) -> Wanted {
    let AttachSettings { service_dir, proxy_socket, .. } = &settings.tor.attach;
    let port = format!("{} unix:{}", settings.service.port, proxy_socket.display());
    let options = torrc::service_options(&settings.service);
    let service = [("HiddenServicePort", port)].into_iter().chain(options);
    Wanted {
        host: address.host(),
        dir: service_dir.display().to_string(),
        service: service.map(|(option, value)| (option.to_owned(), value)).collect(),
    }
}

/// Looks at the tor for the service at `address` once. Inside: how it can be used, or why it cannot be, a line each.
///
/// # Errors
/// The password's file cannot be used.
pub fn check(settings: &Settings, address: OnionAddress) -> Result<Result<Attachment, Vec<String>>, TorError> {
    check_files(&settings.tor.attach)?;
    let mut attached = Attached::new(settings, address)?;
    Ok(smol::block_on(attached.look()))
}

/// Checks what must be right before a node starts.
///
/// # Errors
/// The password's file cannot be read, or others can read it, too.
pub(crate) fn check_files(settings: &AttachSettings) -> Result<(), TorError> {
    settings.password_file.as_deref().map(keys::read_secret_file).transpose()?;
    Ok(())
}

/// Lets tor connect to the proxy: the socket is for our user and the group that it has from its directory.
///
/// # Errors
/// The system refuses.
pub(crate) fn share(proxy_socket: &Path) -> Result<(), TorError> {
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
    let refused = |error: rustix::io::Errno| StoreError::io("share", proxy_socket)(error.into());
    Ok(rustix::fs::chmod(proxy_socket, mode).map_err(refused)?)
}

/// Keeps the core connected to the tor, for the service at `address`, for ever. Returns when `from_core` closes; tor stays.
///
/// # Errors
/// The settings name no such tor.
pub async fn supervise(
    settings: Arc<Settings>,
    address: OnionAddress,
    to_core: Sender<(TorId, TorInput)>,
    from_core: Receiver<TorCommand>,
) -> Result<(), TorError> {
    let mut link = Link::new(TorId(0), to_core, from_core);
    let mut attached = Attached::new(&settings, address)?;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5), Duration::from_secs(10));
    loop {
        let started = clock::mono();
        let Some(looked) = link.unless_stopped(attached.look()).await else { return Ok(()) };
        let pause = match looked {
            Ok(attachment) => {
                if attached.serve(&mut link, attachment).await.is_none() {
                    return Ok(());
                }
                backoff.after(clock::mono().since(started))
            }
            Err(reasons) => {
                if link.tell(TorInput::Unfit(reasons)).await.is_none() {
                    return Ok(());
                }
                LOOK_AGAIN
            }
        };
        if link.unless_stopped(Timer::after(pause)).await.is_none() {
            return Ok(());
        }
    }
}

struct Attached {
    name: String,
    access: ControlAccess,
    wanted: Wanted,
    /// The process that was last seen, and whether it published by itself when it was first seen.
    process: Option<(u64, bool)>,
}

impl Attached {
    fn new(settings: &Settings, address: OnionAddress) -> Result<Self, TorError> {
        let attach = &settings.tor.attach;
        let access = ControlAccess::attached(attach).ok_or(TorError::NotAttached)?;
        let name = attach.control.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(Self { name, access, wanted: wanted(settings, address), process: None })
    }

    /// Asks what has to be known, on a connection for that alone.
    async fn look(&mut self) -> Result<Attachment, Vec<String>> {
        let way_out = "is it running, and may this user use its control socket and read its cookie?";
        let found = self.ask().await.map_err(|error| vec![format!("tor at {}: {error}; {way_out}", self.name)])?;
        let mut attachment = found.verdict?;
        let known = self.process.filter(|(process, _)| Some(*process) == found.process);
        if known.is_none() && attachment.published && attachment.others.is_empty() {
            warn!(
                "PublishHidServDescriptors is not 0 in the tor at {}: without that line it publishes by itself whenever it \
                 starts or is reloaded, also against the other nodes; `rustbalance tor lines` prints it",
                self.name
            );
        }
        attachment.published = known.map_or(attachment.published, |(_, published)| published);
        self.process = found.process.map(|process| (process, attachment.published));
        Ok(attachment)
    }

    async fn ask(&self) -> Result<Found, ConnectError> {
        let nonce = entropy::secret()?;
        let mut dialogue = Dialogue::new(connection::open(&self.access, *nonce).await?);
        let mut answers = Vec::new();
        for question in Wanted::questions() {
            answers.push(connection::within_limit(dialogue.ask(&question)).await?);
        }
        Ok(self.wanted.judge(&answers))
    }

    /// One control connection for the core, until it closes or tor is no longer what it was.
    async fn serve(&mut self, link: &mut Link, attachment: Attachment) -> Option<()> {
        let opened = async { connection::open(&self.access, *entropy::secret()?).await };
        let stream = match link.unless_stopped(opened).await? {
            Ok(stream) => stream,
            Err(error) => {
                debug!("control connection not opened: {error}");
                return Some(());
            }
        };
        let news = attachment.clone();
        let changed = async {
            loop {
                Timer::after(LOOK_EVERY).await;
                // One that cannot be asked now is none that has changed: the session itself tells.
                if self.ask().await.is_ok_and(|found| !same(&found, &attachment)) {
                    return Some(Parting::Connection("tor's services have changed".to_owned()));
                }
            }
        };
        match link.session(stream, |connection| TorInput::Attached(connection, news)).or(changed).await? {
            Parting::Connection(reason) | Parting::Tor(reason) => debug!("control connection closed: {reason}"),
        }
        link.tell(TorInput::Closed).await
    }
}

/// Whether tor is still as it was and as we set it: one that has read its torrc again may publish by itself again.
fn same(found: &Found, before: &Attachment) -> bool {
    let is_as_set = |now: &Attachment| !now.published || !now.others.is_empty();
    found.verdict.as_ref().is_ok_and(|now| now.others == before.others && is_as_set(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tor_has_changed_when_its_services_have_or_when_it_publishes_by_itself_again() {
        let [alone, shared] = [&[][..], &["/var/lib/tor/blog".to_owned()]];
        let is_same = |others: &[String], published, before: &[String]| {
            let found = Attachment { others: others.to_vec(), published };
            let before = Attachment { others: before.to_vec(), published: true };
            same(&Found { verdict: Ok(found), process: None }, &before)
        };
        assert!(is_same(alone, false, alone) && is_same(shared, true, shared));
        assert!(!is_same(alone, true, alone), "it was reloaded");
        assert!(!is_same(shared, true, alone) && !is_same(alone, false, shared));
        assert!(!same(&Found { verdict: Err(Vec::new()), process: None }, &Attachment::default()));
    }
}
