//! What systemd is told by a service of type `notify`. Where nobody asks for it, nothing is said.

use core::time::Duration;

use rustbalance_core::time::Mono;
use sd_notify::NotifyState;

/// What systemd sets for the service, and tor must not take for itself.
pub(crate) const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// Our end.
#[derive(Debug)]
pub(crate) struct Systemd {
    /// Half of the time after which it takes us for stuck, if it watches.
    every: Option<Duration>,
    alive_at: Mono,
}

impl Systemd {
    /// As the environment says.
    pub fn from_env() -> Self {
        Self { every: sd_notify::watchdog_enabled().map(|limit| limit / 2), alive_at: Mono::default() }
    }

    /// The node runs in this role: its sockets are bound and its tor is being started.
    pub fn ready(&self, role: &str) {
        say(&[NotifyState::Ready, NotifyState::Status(role)]);
    }

    /// What `systemctl status` shows.
    pub fn status(&self, text: &str) {
        say(&[NotifyState::Status(text)]);
    }

    /// The node is on its way out.
    pub fn stopping(&self) {
        say(&[NotifyState::Stopping]);
    }

    /// The loop goes round: to be called at least once a second.
    pub fn alive(&mut self, now: Mono) {
        if self.every.is_some_and(|every| now >= self.alive_at.plus(every)) {
            self.alive_at = now;
            say(&[NotifyState::Watchdog]);
        }
    }
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
