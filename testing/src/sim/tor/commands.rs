//! What the model of a tor answers to its controller.

use std::sync::Arc;

use memchr::memmem;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::time::Wall;

use super::TorModel;
use crate::sim::network::TorNetwork;

/// What a tor does in answer to its node.
#[derive(Debug)]
pub enum Effect {
    /// Bytes to the node.
    Reply(Arc<[u8]>),
    /// The circuit behind the point of this key is closed.
    Close([u8; 32]),
    /// An upload is on its way to this HSDir.
    Upload(RelayFingerprint, Arc<str>),
    /// A fetch is on its way to this HSDir.
    Fetch(RelayFingerprint),
}

impl TorModel {
    /// Bytes from the node at unix time `wall`.
    pub fn handle(&mut self, bytes: &[u8], network: &mut TorNetwork, wall: Wall) -> Vec<Effect> {
        self.pending.extend_from_slice(bytes);
        let mut effects = Vec::new();
        while let Some(command) = self.next_command() {
            self.answer(&command, network, wall, &mut effects);
        }
        effects
    }

    /// The next whole command: one line, or for `+` commands everything up to the lone dot.
    fn next_command(&mut self) -> Option<String> {
        let (end, kept) = if self.pending.starts_with(b"+") { ("\r\n.\r\n", 2) } else { ("\r\n", 0) };
        let length = memmem::find(&self.pending, end.as_bytes())?;
        let rest = self.pending.split_off(length + end.len());
        let mut command = core::mem::replace(&mut self.pending, rest);
        command.truncate(length + kept);
        Some(String::from_utf8(command).expect("our commands are ASCII"))
    }

    fn answer(&mut self, command: &str, network: &mut TorNetwork, wall: Wall, effects: &mut Vec<Effect>) {
        let (word, arguments) = command.split_once(' ').unwrap_or((command, ""));
        let server = || {
            let server = arguments.split(['\r', ' ']).find_map(|word| word.strip_prefix("SERVER="));
            server.and_then(RelayFingerprint::from_hex).expect("uploads and fetches name their HSDir")
        };
        let reply = |text: &str| Effect::Reply(text.as_bytes().into());
        match word {
            "GETINFO" => effects.push(Effect::Reply(self.getinfo(arguments, network, wall))),
            "GETCONF" => effects.push(reply(&format!("250 {arguments}=0\r\n"))),
            "SETCONF" => {
                effects.push(reply("250 OK\r\n"));
                if let Some(value) = arguments.strip_prefix("PublishHidServDescriptors=") {
                    let event = self.set_publishing(value.trim_matches('"') == "1");
                    effects.extend(event.map(|event| Effect::Reply(event.into())));
                }
            }
            "+HSPOST" => {
                let (_, body) = arguments.split_once("\r\n").unwrap_or((arguments, ""));
                effects.extend([reply("250 OK\r\n"), Effect::Upload(server(), self.posted(body))]);
            }
            "HSFETCH" => effects.extend([reply("250 OK\r\n"), Effect::Fetch(server())]),
            "CLOSECIRCUIT" => {
                let closed = self.circuits.iter().position(|(number, _)| number.to_string() == arguments);
                let closed = closed.and_then(|at| self.points.get(at)).map(|point| Effect::Close(point.auth_key));
                effects.push(reply(if closed.is_some() { "250 OK\r\n" } else { "552 Unknown circuit\r\n" }));
                effects.extend(closed);
            }
            "SETEVENTS" => effects.push(reply("250 OK\r\n")),
            other => effects.push(reply(&format!("510 Unrecognized command \"{other}\"\r\n"))),
        }
    }

    /// The descriptor in an upload: most often that of the one before.
    fn posted(&mut self, body: &str) -> Arc<str> {
        if let Some((known, text)) = &self.posted
            && known == body
        {
            return text.clone();
        }
        let text: Arc<str> = unstuff(body).into();
        self.posted = Some((body.to_owned(), text.clone()));
        text
    }

    fn getinfo(&mut self, arguments: &str, network: &mut TorNetwork, wall: Wall) -> Arc<[u8]> {
        let secs = wall.as_secs() - self.lag_secs;
        if self.bootstrapped {
            // The long ones are kept, as they are asked for again and again.
            match arguments {
                "dir/status-vote/current/consensus-microdesc" => return network.hour(secs).consensus_reply.clone(),
                "md/all" => return network.microdescs_reply(),
                _ => {}
            }
            if arguments.strip_prefix("hs/service/desc/id/").is_some_and(|host| host == self.host) {
                return self.descriptor(network, wall);
            }
        }
        let lines: Vec<_> = arguments.split(' ').map(|key| self.info(key, secs)).collect();
        // One key without an answer spoils the whole reply, as in tor.
        match lines.iter().find(|line| line.starts_with("55")) {
            Some(refusal) => refusal.as_bytes().into(),
            None => (lines.concat() + "250 OK\r\n").as_bytes().into(),
        }
    }

    fn info(&self, key: &str, secs: u64) -> String {
        let line = |value: &str| format!("250-{key}={value}\r\n");
        match key {
            "status/bootstrap-phase" if self.bootstrapped => {
                line("NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY=\"Done\"")
            }
            "status/bootstrap-phase" => line("NOTICE BOOTSTRAP PROGRESS=5 TAG=conn SUMMARY=\"Connecting\""),
            "process/pid" => line(&self.process.to_string()),
            _ if !self.bootstrapped => format!("551 Not yet: {key}\r\n"),
            "consensus/valid-after" => line(&Wall::from_secs(TorNetwork::valid_after(secs)).to_string()),
            "circuit-status" if self.circuits.is_empty() => line(""),
            "circuit-status" => {
                let circuits = self.circuits.iter().map(|circuit| self.circuit(*circuit, "BUILT") + "\r\n");
                format!("250+{key}=\r\n{}.\r\n", circuits.collect::<String>())
            }
            _ => format!("552 Unrecognized key \"{key}\"\r\n"),
        }
    }
}

/// Undoes dot-stuffing and CRLF.
fn unstuff(body: &str) -> String {
    let mut text = String::with_capacity(body.len());
    for line in body.lines() {
        text.push_str(line.strip_prefix('.').unwrap_or(line));
        text.push('\n');
    }
    text
}
