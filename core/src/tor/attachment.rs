//! A tor that somebody else runs, as it was found: whether it serves the address as a node needs it, and what else it
//! serves. The questions are read-only; nobody but its owner changes its services.

use std::collections::BTreeSet;

use super::TorVersion;
use super::publishing::OPTION as PUBLISH;
use crate::control::command;
use crate::control::event::Circ;
use crate::control::quote::unquote;
use crate::control::reply::Reply;

/// Other services that are named; a tor may have any number.
const OTHERS_NAMED: usize = 8;
/// The beginning of a service's lines.
const SERVICE_DIR: &str = "HiddenServiceDir";

/// A tor that can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Its other services: directories, and addresses with `.onion`; at most some.
    pub others: Vec<String>,
    /// Whether it published by itself when this process of it was first seen.
    pub published: bool,
}

/// What must be in its configuration.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The service's 56 characters.
    pub host: String,
    /// The service's `HiddenServiceDir`.
    pub dir: String,
    /// The other lines of that service: option and value, without quotes around either.
    pub service: Vec<(String, String)>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether it can be used; else what is wrong, one sentence each, with the line to add.
    pub verdict: Result<Attachment, Vec<String>>,
    /// Its process id.
    pub process: Option<u64>,
}

impl Wanted {
    /// The questions, one command each, to be asked one after the other.
    pub fn questions() -> [Vec<u8>; 6] {
        [
            command::get_info(&["version"]),
            command::get_info(&["process/pid"]),
            command::get_conf(&["DormantTimeoutEnabled", PUBLISH]),
            command::get_conf(&["HiddenServiceOptions"]),
            command::get_info(&["onions/detached"]),
            command::get_info(&["circuit-status"]),
        ]
    }

    /// Judges the answers.
    pub fn judge(&self, answers: &[Reply]) -> Found {
        let value = |key: &str| answers.iter().filter(|reply| reply.is_ok()).find_map(|reply| reply.value(key));
        let text = |key: &str| value(key).map(|value| String::from_utf8_lossy(value).into_owned());
        let services = services(answers);
        let (ours, theirs): (Vec<_>, Vec<_>) =
            services.into_iter().partition(|service| same_dir(&service.dir, &self.dir));
        let mut others: BTreeSet<String> = theirs.into_iter().map(|service| service.dir).collect();
        others.extend(text("onions/detached").unwrap_or_default().lines().map(onion));
        // Those that end with somebody's control connection show by their circuits alone.
        others.extend(text("circuit-status").unwrap_or_default().lines().filter_map(service_of).map(onion));
        others.remove("");
        others.remove(&onion(&self.host));
        let others: Vec<_> = others.into_iter().take(OTHERS_NAMED).collect();

        let published = text(PUBLISH).as_deref() != Some("0");
        let mut wrong = Vec::new();
        let version = text("version").unwrap_or_default();
        if version.is_empty() {
            wrong.push("tor does not tell its version: at least 0.4.8 is needed; see its log".to_owned());
        } else if TorVersion::parse(&version).is_none_or(|version| version < TorVersion::OLDEST) {
            wrong.push(format!("tor {version} is too old: at least 0.4.8 is needed; install that"));
        }
        if text("DormantTimeoutEnabled").as_deref() != Some("0") {
            wrong.push("tor would fall asleep: add the line `DormantTimeoutEnabled 0` to its torrc".to_owned());
        }
        match ours.as_slice() {
            [ours] => wrong.extend(self.missing(ours)),
            _ => wrong.push(format!(
                "tor has no service in {}: add what `rustbalance tor lines` prints to its torrc, and reload it",
                self.dir
            )),
        }
        if !others.is_empty() && !published {
            wrong.push(format!(
                "{PUBLISH} is 0, which silences {}, too: take that line out of tor's torrc if it is there, and restart tor",
                others.join(", ")
            ));
        }
        let verdict = if wrong.is_empty() { Ok(Attachment { others, published }) } else { Err(wrong) };
        Found { verdict, process: text("process/pid").and_then(|pid| pid.parse().ok()) }
    }

    /// What our service lacks, each with its line.
    fn missing(&self, service: &Service) -> impl Iterator<Item = String> {
        let is_there = |(option, value): &&(String, String)| {
            service.lines.iter().any(|(name, found)| name.eq_ignore_ascii_case(option) && plain(found) == *value)
        };
        self.service.iter().filter(move |line| !is_there(line)).map(|(option, value)| {
            format!("{option} of {} is not what it should be: its line is `{option} {value}`", self.dir)
        })
    }
}

/// One service of the configuration.
struct Service {
    dir: String,
    lines: Vec<(String, String)>,
}

/// The services in the answers, in the order of the torrc.
fn services(answers: &[Reply]) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    let lines = answers.iter().filter(|reply| reply.is_ok()).flat_map(|reply| &reply.lines);
    for line in lines.filter(|line| line.data.is_none()) {
        let text = String::from_utf8_lossy(&line.text);
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| name.starts_with("HiddenService")) else {
            continue;
        };
        if name.eq_ignore_ascii_case(SERVICE_DIR) {
            services.push(Service { dir: value.to_owned(), lines: Vec::new() });
        } else if let Some(service) = services.last_mut() {
            service.lines.push((name.to_owned(), value.to_owned()));
        }
    }
    services
}

fn same_dir(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// The value without the quotes that tor allows around the path of a unix socket.
fn plain(value: &str) -> String {
    let Some((before, path)) = value.split_once("unix:") else { return value.to_owned() };
    match unquote(path.as_bytes()) {
        Some((path, [])) => format!("{before}unix:{}", String::from_utf8_lossy(&path)),
        _ => value.to_owned(),
    }
}

/// The service that a circuit is of.
fn service_of(line: &str) -> Option<String> {
    let circuit = Circ::parse(line)?;
    circuit.rend_query.filter(|_| circuit.purpose.is_some_and(|purpose| purpose.starts_with("HS_SERVICE_")))
}

fn onion(host: impl AsRef<str>) -> String {
    match host.as_ref() {
        "" => String::new(),
        host => format!("{host}.onion"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::reply::Reader;

    const HOST: &str = "dbj6lvx6ilzhqxguu4pn2qrb4kewhsz3mlvqzrbyoai3hj4ygn42wayd";
    const OTHER: &str = "lekyjq3zquyjqhxxzgk3tslpvreagvwyczu2m3ea7kz5yfquviyhorid";

    fn wanted() -> Wanted {
        let line = |option: &str, value: &str| (option.to_owned(), value.to_owned());
        let service = vec![
            line("HiddenServicePort", "80 unix:/run/rust balance/proxy.sock"),
            line("HiddenServiceOnionBalanceInstance", "1"),
        ];
        Wanted { host: HOST.to_owned(), dir: "/var/lib/tor/rustbalance".to_owned(), service }
    }

    /// What a good tor says, with `from` replaced by `to`.
    fn found(from: &str, to: &str) -> Found {
        let good = "250-version=0.4.9.11\r\n250 OK\r\n\
            250-process/pid=12\r\n250 OK\r\n\
            250-DormantTimeoutEnabled=0\r\n250 PublishHidServDescriptors=1\r\n\
            250-HiddenServiceDir=/var/lib/tor/rustbalance/\r\n\
            250-HiddenServicePort=80 unix:\"/run/rust balance/proxy.sock\"\r\n\
            250 HiddenServiceOnionBalanceInstance=1\r\n\
            250-onions/detached=\r\n250 OK\r\n\
            250-circuit-status=\r\n250 OK\r\n";
        assert!(good.contains(from), "{from}");
        let mut reader = Reader::default();
        reader.push(good.replacen(from, to, 1).as_bytes());
        let answers: Vec<_> = core::iter::from_fn(|| reader.next_reply().unwrap()).collect();
        assert_eq!(answers.len(), Wanted::questions().len());
        wanted().judge(&answers)
    }

    #[test]
    fn a_tor_with_our_lines_and_nothing_else_is_fit() {
        let attachment = Attachment { others: vec![], published: true };
        assert_eq!(found("version", "version"), Found { verdict: Ok(attachment), process: Some(12) });
        let off = found("Descriptors=1", "Descriptors=0").verdict;
        assert_eq!(off, Ok(Attachment { others: vec![], published: false }));
    }

    #[test]
    fn what_is_missing_is_named_with_its_line() {
        for (from, to, words) in [
            ("0.4.9.11", "0.4.7.16", "tor 0.4.7.16 is too old"),
            ("250-version=0.4.9.11\r\n250 OK", "510 no", "does not tell its version"),
            ("Enabled=0", "Enabled=1", "`DormantTimeoutEnabled 0`"),
            ("Instance=1", "Instance=0", "`HiddenServiceOnionBalanceInstance 1`"),
            ("80 unix", "81 unix", "`HiddenServicePort 80 unix:/run/rust balance/proxy.sock`"),
            ("rustbalance/", "elsewhere", "`rustbalance tor lines`"),
        ] {
            let wrong = found(from, to).verdict.unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].contains(words), "{wrong:?}");
        }
    }

    #[test]
    fn other_services_are_named_however_they_were_added() {
        let circuit = format!("4 BUILT PURPOSE=HS_SERVICE_INTRO HS_STATE=HSSI_ESTABLISHED REND_QUERY={OTHER}");
        let visited = format!("5 BUILT PURPOSE=HS_CLIENT_REND HS_STATE=HSCR_JOINED REND_QUERY={OTHER}");
        let ours = format!("6 BUILT PURPOSE=HS_SERVICE_INTRO REND_QUERY={HOST}");
        let onion = format!("{OTHER}.onion");
        for (from, to, others) in [
            ("250 HiddenServiceOnion", "250-HiddenServiceDir=/x\r\n250 HiddenServiceOnion".to_owned(), None),
            ("250-HiddenServiceDir", "250-HiddenServiceDir=/x\r\n250-HiddenServiceDir".to_owned(), Some("/x")),
            ("detached=", format!("detached={OTHER}"), Some(onion.as_str())),
            ("circuit-status=", format!("circuit-status={circuit}"), Some(&onion)),
            ("circuit-status=", format!("circuit-status={visited}"), Some("")),
            ("circuit-status=", format!("circuit-status={ours}"), Some("")),
        ] {
            let verdict = found(from, &to).verdict;
            let named = verdict.as_ref().ok().map(|attachment| attachment.others.join(" "));
            assert_eq!(named.as_deref(), others, "{to}: {verdict:?}");
        }
    }

    #[test]
    fn a_tor_that_publishes_nothing_does_not_suit_its_other_services() {
        let mut reader = Reader::default();
        reader.push(b"250-PublishHidServDescriptors=0\r\n250-HiddenServiceDir=/x\r\n250 OK\r\n");
        let answer = reader.next_reply().unwrap().unwrap();
        let wrong = wanted().judge(&[answer]).verdict.unwrap_err();
        assert!(wrong.iter().any(|words| words.contains("silences /x")), "{wrong:?}");
    }
}
