//! Where a tor belongs to somebody else: what this node must not do with it, and says instead.

use super::{Node, Shutdown};
use crate::cluster::{AccessChange, Role};
use crate::output::Event;
use crate::time::Now;
use crate::tor::Tor;

/// How an operator gets rid of a tor's other services.
const PART: &str = "move them to another tor, or take this service's lines out of that tor's torrc";

impl Node {
    /// Whether the tor's introduction points may be published with those of others: not where tor's own publishing
    /// cannot be turned off.
    pub(super) fn may_offer(&self, now: Now, tor: &Tor) -> bool {
        !tor.has_company() || self.cluster.view(now).role == Role::Alone
    }

    /// Native publishing of a tor that is somebody else's: off, for this node publishes itself; and at the end as it was
    /// found, where that neither works against other members nor opens what is closed.
    pub(super) fn publish_attached(&mut self, now: Now) {
        if !self.is_attached {
            return;
        }
        let view = self.cluster.view(now);
        let may = matches!(self.shutdown, Shutdown::Stopped | Shutdown::Withdrawn)
            && view.role == Role::Alone
            && !view.access.is_restricted();
        for tor in &mut self.tors {
            let native = may && tor.attachment().is_some_and(|attachment| attachment.published);
            tor.want_native(native, &mut self.out);
        }
    }

    /// Whether a tor that publishes by itself, and never reads our list of clients, would let in everybody all the same.
    pub(super) fn would_fail_open(&self, changes: &[AccessChange]) -> bool {
        self.tors.iter().any(Tor::has_company) && changes.iter().any(|change| matches!(change, AccessChange::Add(..)))
    }

    /// Says what keeps a tor of somebody else's from being used in full, when that changes.
    pub(super) fn tell_of_attached(&mut self, now: Now) {
        let words = self.tors.iter().find_map(|tor| self.hindrance(now, tor));
        if self.attached_said != words {
            if let Some(words) = &words {
                self.out.event(Event::Warning(words.clone()));
            }
            self.attached_said = words;
        }
    }

    fn hindrance(&self, now: Now, tor: &Tor) -> Option<String> {
        let others = tor.attachment()?.others.join(", ");
        let mut effects = Vec::new();
        if !self.may_offer(now, tor) {
            effects.push(
                "this node offers no introduction points, and its tor publishes the address by itself, against the others",
            );
        } else if tor.has_company() && self.cluster.admission_waiting() {
            effects.push("a node asks to join and has to wait");
        }
        if tor.has_company() && self.cluster.view(now).access.is_restricted() {
            effects.push("its tor lets in everybody, though the address is for authorised clients alone");
        }
        (!effects.is_empty()).then(|| {
            let effects = effects.join("; ");
            format!("tor also serves {others}, which publishing for a cluster would silence: {effects}; {PART}")
        })
    }

    /// For operators, one line each.
    pub(super) fn tors_in_words(&self, now: Now) -> Vec<String> {
        let words = self.tors.iter().zip(&self.watchdogs).map(|(tor, watchdog)| {
            let troubles = tor.unfit().iter().cloned().chain(self.hindrance(now, tor));
            [watchdog.words(now.mono, tor.state())].into_iter().chain(troubles).collect::<Vec<_>>().join("; ")
        });
        words.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::exercise::Pair;
    use crate::cluster::{Access, CommandError};
    use crate::id::TorId;
    use crate::input::{Command, ControlInput, Input, Rejected};
    use crate::join::found;
    use crate::node::{Config, Saved};
    use crate::onion::client::HsClientDescEncKeypair;
    use crate::onion::key::{HsId, HsIdKeypair};
    use crate::output::{DurableKind, Output, Stop};
    use crate::rng::Seed;
    use crate::time::{Mono, Wall};
    use crate::tor::Attachment;

    const NOW: Now = Now { mono: Mono::from_ms(10_000), wall: Wall::from_secs(1_795_446_825) };

    /// A node, and what it has wished of its tor.
    struct Attached {
        node: Node,
        now: Now,
        commands: Vec<String>,
        warnings: Vec<String>,
        stopped: Option<Stop>,
    }

    impl Attached {
        /// Of the roster `saved`, whose tor has these `others`.
        fn new(saved: &Saved, others: &[&str]) -> Self {
            let master = HsIdKeypair::generate(&mut Seed::new([1; 32]).fork("master"));
            let config = Config { master, cluster: Pair::default().config(1), tors: 1, is_attached: true, points: 20 };
            let node = Node::new(config, saved, &Seed::new([2; 32]), NOW).unwrap();
            let mut attached = Self { node, now: NOW, commands: Vec::new(), warnings: Vec::new(), stopped: None };
            // The files of authorised clients are mostly written before tor has been looked at.
            attached.take(Input::Tick).unwrap();
            assert_eq!(attached.node.status(NOW).mode, "merged");
            let others = others.iter().map(|&other| other.to_owned()).collect();
            let attachment = Attachment { others, published: true };
            attached.take(Input::Control(TorId(0), ControlInput::Attached(&attachment))).unwrap();
            attached
        }

        fn take(&mut self, input: Input<'_>) -> Result<(), Rejected> {
            let result = self.node.handle(self.now, input);
            while let Some(output) = self.node.poll_output() {
                if let Output::Control(_, command) = output {
                    self.commands.push(String::from_utf8(command).unwrap());
                } else if let Output::Event(Event::Warning(words)) = output {
                    self.warnings.push(words);
                } else if let Output::Stopped(why) = output {
                    self.stopped = Some(why);
                } else if let Output::Persist { id, .. } = output {
                    self.node.handle(self.now, Input::Done { id, result: Ok(()) }).unwrap();
                }
            }
            result
        }

        /// Is told to stop, and has its time.
        fn stop(&mut self) {
            self.take(Input::Command(Command::Shutdown)).unwrap();
            for _ in 0..50 {
                let Some((next, _)) = self.node.next_timeout().filter(|_| self.stopped.is_none()) else { break };
                self.now.mono = self.now.mono.max(next);
                self.take(Input::Tick).unwrap();
            }
            assert_eq!(self.stopped, Some(Stop::Commanded));
        }

        /// What native publishing was set to, in order.
        fn set(&self) -> Vec<&str> {
            let value = |command: &'_ String| command.starts_with("SETCONF PublishHidServDescriptors=");
            self.commands.iter().filter(|command| value(command)).filter_map(|set| set.get(35..36)).collect()
        }
    }

    /// The roster of a cluster of one.
    fn alone() -> Saved {
        let pair = Pair::default();
        let founded = found(pair.first(), pair.config(1).wg, HsId([5; 32]), &Access::Open);
        BTreeMap::from([(DurableKind::Roster, founded.roster)])
    }

    fn add_client() -> Command {
        let key = HsClientDescEncKeypair::from_bytes(&[3; 32]).public();
        Command::ChangeAccess(vec![AccessChange::Add("alice".parse().unwrap(), key)])
    }

    #[test]
    fn a_node_alone_publishes_itself_and_leaves_tor_as_it_was() {
        let mut attached = Attached::new(&alone(), &[]);
        let answers = b"250 OK\r\n250 TestingTorNetwork=1\r\n250 OK\r\n";
        attached.take(Input::Control(TorId(0), ControlInput::Bytes(answers))).unwrap();
        assert_eq!((attached.set(), attached.node.status(NOW).mode.as_str()), (vec!["0"], "merged"));
        attached.stop();
        assert_eq!(attached.set(), ["0", "1"]);
        assert_eq!(attached.warnings, [""; 0]);
    }

    #[test]
    fn a_member_of_several_leaves_native_publishing_off() {
        let mut attached = Attached::new(&Pair::default().saved(), &[]);
        let answers = b"250 OK\r\n250 TestingTorNetwork=1\r\n250 OK\r\n";
        attached.take(Input::Control(TorId(0), ControlInput::Bytes(answers))).unwrap();
        attached.stop();
        assert_eq!(attached.set(), ["0"]);
    }

    #[test]
    fn with_other_services_nothing_is_set_and_a_member_of_several_offers_nothing_and_names_them() {
        let attached = Attached::new(&alone(), &["/var/lib/tor/blog"]);
        assert_eq!((attached.set(), attached.warnings.len()), (vec![], 0));
        assert_eq!(attached.node.status(NOW).mode, "native");
        let attached = Attached::new(&Pair::default().saved(), &["/var/lib/tor/blog"]);
        assert!(attached.set().is_empty());
        assert!(attached.warnings.iter().any(|words| words.contains("also serves /var/lib/tor/blog")));
        let status = attached.node.status(NOW);
        assert!(status.tors[0].contains("also serves /var/lib/tor/blog"), "{:?}", status.tors);
        assert!(!status.tors[0].contains("everybody"));
        let tor = &attached.node.tors[0];
        assert!(!attached.node.may_offer(NOW, tor) && !attached.node.record().tor_ready);
    }

    #[test]
    fn the_address_is_not_restricted_where_tor_would_publish_it_for_everybody() {
        let refused = Err(Rejected::Command(CommandError::Attached));
        for roster in [alone(), Pair::default().saved()] {
            let mut attached = Attached::new(&roster, &["/var/lib/tor/blog"]);
            assert_eq!(attached.take(Input::Command(add_client())), refused);
        }
        let mut attached = Attached::new(&alone(), &[]);
        assert_eq!(attached.take(Input::Command(add_client())), Ok(()));
        assert_eq!(attached.set(), ["0"]);
    }
}
