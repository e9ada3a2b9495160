//! A machine joins through tor with one line, and nobody else gets anything out of it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustbalance_core::WgPublicKey;
use rustbalance_core::cluster::NodeKeypair;
use rustbalance_core::invite::Invite;
use rustbalance_core::invite::exchange::Guest;
use rustbalance_core::invite::pace::CIRCUIT_BURST;
use rustbalance_core::rng::Seed;
use rustbalance_testing::client::Client;
use rustbalance_testing::cluster::write_secret;
use rustbalance_testing::wait::{self, Answer};
use rustbalance_testing::web::NOT_FOUND;

use crate::mistakes::{NETWORK, STATE};
use crate::{AFTER_A_KILL, LONG, Scenario};

/// From `join` to its report: a tor that starts, one visit to the service.
const INVITED: Duration = Duration::from_secs(45);
/// For one answer of the service.
const ANSWER: Duration = Duration::from_secs(30);
/// Of the invite that a node joins with.
const NAME: &str = "second";

impl Scenario<'_> {
    /// The second node knows nothing but an invite of the first.
    pub fn node_is_invited(&mut self) -> Result<()> {
        self.report.step("node2 joins through tor with an invite, in two attempts");
        let file = self.cluster.invite(0, NAME)?;
        let (mut begun, mut admitted) = (Instant::now(), Vec::new());
        let used = format!("has joined with the invite {NAME}");
        let (number, was_killed) = self.cluster.add_invited_again(&file, (0, &used), INVITED, |cluster| {
            let status = cluster.node(0)?.status()?;
            admitted = status.members.into_iter().map(|member| member.node).filter(|id| *id != status.node).collect();
            begun = Instant::now();
            Ok(())
        })?;
        self.report.in_time("an invited node is let in", begun.elapsed(), INVITED);
        let attempts = if was_killed { "its first attempt was killed" } else { "there was nothing left to kill" };
        self.report.note(&format!("when the member had noted that the invite is used {attempts}"));
        let again = self.cluster.node(number)?.report.node.clone();
        let detail = format!("{admitted:?}, then {again}");
        self.report.expect("it is the one member that the invite was used for", admitted == [again], &detail);
        self.has_joined(number)?;
        let members = self.cluster.node(0)?.status()?.members.len();
        self.report.expect("there is no third member", members == number + 1, &format!("{members} members"));
        let list = self.cluster.node(number)?.ask(&["invite", "list", "--json"])?;
        self.report.expect("the new node knows that its invite is used", list.contains("\"used\""), &list);
        Ok(())
    }

    /// The third node has an invite of the first, which is out of service when it comes: another one lets it in.
    pub fn node_is_let_in_by_another(&mut self) -> Result<()> {
        self.report.step("node3 joins through tor with an invite of node1, which is drained");
        const NAME: &str = "third";
        let (file, relays) = (self.cluster.invite(0, NAME)?, self.relays_of(0)?);
        wait::until("the other node to know the invite", LONG, || {
            let list = self.cluster.node(1)?.ask(&["invite", "list", "--json"])?;
            Ok(Answer::from_option(list.contains(NAME).then_some(()), || list))
        })?;
        self.cluster.node(0)?.ask(&["drain", "--wait"])?;
        self.goes_out(0, &relays)?;
        let begun = Instant::now();
        let number = self.cluster.add_invited(&file)?;
        self.report.in_time("an invited node is let in", begun.elapsed(), INVITED);
        let says = |number: usize| -> Result<bool> {
            let log = fs::read_to_string(self.cluster.node(number)?.log())?;
            Ok(log.contains(&format!("has joined with the invite {NAME}")))
        };
        let by = [says(0)?, says(1)?];
        self.report.expect("by the node that did not make the invite", by == [false, true], &format!("{by:?}"));
        self.cluster.node(0)?.ask(&["undrain", "--wait"])?;
        // It had just started, and has opened nearly as many introduction circuits as it may in five minutes.
        self.replace_tor(0)?;
        self.regular_visitors("while node1 was drained and its tor replaced", AFTER_A_KILL)?;
        self.has_joined(number)
    }

    /// Used, revoked, damaged: one clear line each. Strangers: what the application says to anybody.
    pub fn invites_are_refused(&mut self) -> Result<()> {
        let used = self.net.dir_of(&format!("invite-{NAME}"));
        self.invited_is_refused("a used invite", &used, NETWORK)?;
        let open = self.cluster.invite(0, "open")?;
        self.strangers_get_the_applications_answer(&fs::read_to_string(&open)?)?;
        self.cluster.node(1)?.ask(&["invite", "revoke", "open"])?;
        self.invited_is_refused("a revoked invite", &open, NETWORK)?;
        let cut = self.net.dir_of("invite-cut");
        let text = fs::read_to_string(&open)?;
        write_secret(&cut, text.get(..60).context("a short invite")?)?;
        self.invited_is_refused("an invite that was cut off", &cut, STATE)
    }

    fn invited_is_refused(&mut self, what: &str, invite: &std::path::Path, code: i32) -> Result<()> {
        let dir = self.new_dir(what)?;
        fs::copy(self.cluster.node(0)?.dir.join("rustbalance.toml"), dir.join("rustbalance.toml"))?;
        let mut command = Command::new(self.cluster.binary());
        command.args(["join", "--log-level", "error", "--invite-file"]).arg(invite).arg("--dir").arg(&dir);
        self.is_refused(what, command, code)?;
        let none = !dir.join("keys").exists();
        self.report.expect(&format!("{what}: there is no node"), none, &dir.display().to_string());
        Ok(())
    }

    /// While an invite is open: a path that is nobody's, and the invite's own with a proof that is none, once and too often.
    fn strangers_get_the_applications_answer(&mut self, line: &str) -> Result<()> {
        let invite: Invite = line.parse()?;
        let keypair = NodeKeypair::from_seed(&[7; 32]);
        let guest = Guest::new(&invite, keypair, WgPublicKey([7; 32]), None, &mut Seed::new([7; 32]).fork("guest"));
        let mut forged = guest.request().to_vec();
        if let Some(last) = forged.last_mut() {
            *last ^= 1;
        }
        let stranger = format!("POST /{} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "a2".repeat(16));
        let client = Client::start(self.net, "stranger")?;
        let address = self.cluster.address()?.to_owned();
        for (circuit, (what, request)) in (0..)
            .zip([("a path that is nobody's", stranger.as_bytes()), ("an invite's path without its proof", &forged)])
        {
            let answer = client.say(&address, 80, circuit, ANSWER, request);
            let is_404 = answer.as_ref().is_ok_and(|answer| answer == NOT_FOUND);
            self.report.expect(
                &format!("{what}: the application's own answer, exactly"),
                is_404,
                &format!("{answer:?}"),
            );
        }
        let too_often = (0..2 * CIRCUIT_BURST).filter(|_| {
            let answer = client.say(&address, 80, 1, ANSWER, &forged);
            answer.is_ok_and(|answer| answer == NOT_FOUND)
        });
        let answered = too_often.count();
        let what = format!("{answered} of {} more by one circuit", 2 * CIRCUIT_BURST);
        self.report.expect("the same answer, however often", answered == 2 * CIRCUIT_BURST as usize, &what);
        // They came to whichever node that circuit leads to.
        let mut rejected = BTreeMap::new();
        for node in self.cluster.running() {
            rejected.extend(self.cluster.node(node)?.status()?.rejected);
        }
        let is_limited = rejected.contains_key("proxy_guest_over_limit");
        self.report.expect("tor says by which circuit they came", is_limited, &format!("{rejected:?}"));
        self.cluster.wait_for(0, "the node to go on", LONG, |_| Ok(()))?;
        Ok(())
    }
}
