//! The core's `Tor` over the control connection of a real tor that stays offline: the replies it gets there are those
//! its scripted tests assume.

#![expect(clippy::unwrap_used, reason = "whatever fails, fails the test")]

mod offline_tor;

use std::sync::Arc;
use std::time::{Duration, Instant};

use offline_tor::OfflineTor;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::onion::client::HsClientDescEncKeypair;
use rustbalance_core::time::{Mono, Now, Wall};
use rustbalance_core::tor::{Native, Tor, TorEvent, TorState, UploadFailure};
use rustbalance_core::{ControlInput, Event, Outbox, Output, TorId};
use rustix::process::{Pid, Signal, kill_process};

/// A throwaway service's, which this tor does not run.
const ADDRESS: &str = "keqsj423unpjexv7ybp36gldbaeh7m7slda2udtlxh2vkpvj3hp3zuid";

/// The core's side and tor's, joined.
struct Joined {
    tor: Tor,
    out: Outbox,
    peer: OfflineTor,
    started: Instant,
    /// By how much the core's clock is ahead, so that nobody has to wait.
    ahead: Duration,
    states: Vec<TorState>,
    warnings: Vec<String>,
}

impl Joined {
    fn start() -> Self {
        let address: OnionAddress = ADDRESS.parse().unwrap();
        let (tor, peer) = (
            Tor::new(TorId(0), address.id(), Arc::new(HsClientDescEncKeypair::from_bytes(&[8; 32]))),
            OfflineTor::start(),
        );
        let (states, warnings, ahead) = (Vec::new(), Vec::new(), Duration::ZERO);
        let started = Instant::now();
        let mut joined = Self { tor, out: Outbox::default(), peer, started, ahead, states, warnings };
        joined.tor.handle(joined.now(), ControlInput::Connected, &mut joined.out).unwrap();
        joined
    }

    fn now(&self) -> Now {
        let mono_ms = u64::try_from((self.started.elapsed() + self.ahead).as_millis()).unwrap();
        Now { mono: Mono::from_ms(mono_ms), wall: Wall::from_secs(1_795_446_825) }
    }

    /// Carries bytes both ways until `done`. Tor always answers, else reading gives up and fails.
    fn run_until(&mut self, mut done: impl FnMut(&mut Tor) -> bool) {
        while !done(&mut self.tor) {
            while let Some(output) = self.out.pop() {
                if let Output::Control(_, bytes) = &output {
                    self.peer.send(bytes);
                } else if let Output::Event(Event::Tor(_, state)) = output {
                    self.states.push(state);
                } else if let Output::Event(Event::Warning(text)) = output {
                    self.warnings.push(text);
                } else {
                    panic!("{output:?}");
                }
            }
            let bytes = self.peer.hear();
            self.tor.handle(self.now(), ControlInput::Bytes(&bytes), &mut self.out).unwrap();
        }
    }
}

#[test]
fn publishing_follows_the_wish() {
    let mut joined = Joined::start();
    for (on, native) in [(false, Native::Off), (true, Native::On), (false, Native::Off)] {
        joined.tor.want_native(on, &mut joined.out);
        assert_eq!(joined.tor.native(), Native::Unknown);
        joined.run_until(|tor| tor.native() == native);
    }
    assert_eq!(joined.states, [TorState::Bootstrapping(0)]);
    assert!(joined.tor.facts().ring.is_none() && joined.tor.facts().valid_after.is_none());
    assert!(joined.warnings.is_empty(), "{:?}", joined.warnings);
}

#[test]
fn what_tor_forgets_as_it_reads_its_configuration_again_is_set_back() {
    let mut joined = Joined::start();
    joined.tor.want_native(false, &mut joined.out);
    joined.run_until(|tor| tor.native() == Native::Off);
    kill_process(Pid::from_child(&joined.peer.child), Signal::HUP).unwrap();
    joined.run_until(|tor| tor.native() == Native::On);
    joined.ahead = Duration::from_secs(1);
    joined.tor.tick(joined.now(), &mut joined.out);
    joined.run_until(|tor| tor.native() == Native::Off);
    assert_eq!(joined.warnings.len(), 1, "{:?}", joined.warnings);
}

#[test]
fn what_tor_refuses_ends_at_once() {
    let mut joined = Joined::start();
    let nobody = RelayFingerprint([0xFF; 20]);
    let descriptor =
        String::from_utf8(include_bytes!("../../core/testdata/ctor/cases/plain-3ip/descriptor.txt").to_vec());
    for (text, refusal) in [
        (descriptor.unwrap().as_str(), format!("552 Server \"{nobody}\" not found")),
        ("no descriptor\n", format!("552 Server \"{nobody}\" not found")),
    ] {
        joined.tor.upload(joined.now(), nobody, text, &mut joined.out);
        let mut event = None;
        joined.run_until(|tor| {
            event = tor.poll_event();
            event.is_some()
        });
        assert_eq!(event, Some(TorEvent::UploadFailed(nobody, UploadFailure::Refused(refusal))));
    }
    joined.tor.fetch(joined.now(), nobody, &mut joined.out);
    let mut event = None;
    joined.run_until(|tor| {
        event = tor.poll_event();
        event.is_some()
    });
    assert_eq!(event, Some(TorEvent::Fetched(nobody, None)));
    assert!(joined.warnings.is_empty(), "{:?}", joined.warnings);
}
