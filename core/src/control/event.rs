//! Events we subscribe to, typed (control-spec `[asynchronous-events]`). Unknown events and fields are ignored.

use super::quote::{Word, words};
use super::reply::{Line, Reply};
use crate::id::RelayFingerprint;

/// An asynchronous event (650).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `HS_DESC`.
    HsDesc(HsDesc),
    /// `HS_DESC_CONTENT`.
    HsDescContent {
        /// 56 characters.
        address: String,
        /// The HSDir.
        hsdir: Option<RelayFingerprint>,
        /// The descriptor; empty if not found.
        content: Vec<u8>,
    },
    /// `CIRC` and `CIRC_MINOR`.
    Circ(Circ),
    /// `STREAM`.
    Stream(Stream),
    /// `STATUS_CLIENT`.
    StatusClient {
        /// `BOOTSTRAP`, `CONSENSUS_ARRIVED`, ...
        action: String,
        /// `KEY=value` arguments.
        args: Vec<(String, String)>,
    },
    /// `CONF_CHANGED`: options that have another value now, by whomever it was set.
    ConfChanged(Vec<(String, String)>),
    /// Anything else, by name.
    Other(String),
}

/// `HS_DESC` (control-spec `[HS_DESC]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HsDesc {
    /// What happened.
    pub action: HsDescAction,
    /// 56 characters or `UNKNOWN`.
    pub address: String,
    /// The HSDir, if named.
    pub hsdir: Option<RelayFingerprint>,
    /// `REASON=`.
    pub reason: Option<String>,
    /// The descriptor's blinded key in base64, if named.
    pub descriptor_id: Option<String>,
}

/// `Action` of `HS_DESC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "control-spec's own words")]
pub enum HsDescAction {
    Requested,
    Received,
    Upload,
    Uploaded,
    Failed,
    Created,
    Ignore,
    Other,
}

/// A circuit, from `CIRC`, `CIRC_MINOR` or one line of `GETINFO circuit-status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circ {
    /// Circuit id.
    pub id: String,
    /// `LAUNCHED`, `BUILT`, `EXTENDED`, `FAILED`, `CLOSED`, or the minor event's word.
    pub status: String,
    /// The path's relays, in order.
    pub path: Vec<RelayFingerprint>,
    /// `PURPOSE=`.
    pub purpose: Option<String>,
    /// `HS_STATE=`.
    pub hs_state: Option<String>,
    /// `REND_QUERY=`: the service's 56 characters.
    pub rend_query: Option<String>,
}

impl Circ {
    /// One line of `GETINFO circuit-status`; `None` if it is malformed.
    pub fn parse(line: &str) -> Option<Self> {
        Self::from_words(words(line.as_bytes()))
    }

    fn from_words<'a>(mut words: impl Iterator<Item = Word<'a>>) -> Option<Self> {
        let (id, status) = (bare(words.next()?)?, bare(words.next()?)?);
        let (path, purpose, hs_state, rend_query) = (Vec::new(), None, None, None);
        let mut circuit = Self { id, status, path, purpose, hs_state, rend_query };
        for word in words {
            match word.key {
                None if word.value.starts_with(b"$") => {
                    circuit.path = word.text().split(',').map(RelayFingerprint::from_hex).collect::<Option<_>>()?;
                }
                Some("PURPOSE") => circuit.purpose = Some(word.text()),
                Some("HS_STATE") => circuit.hs_state = Some(word.text()),
                Some("REND_QUERY") => circuit.rend_query = Some(word.text()),
                _ => {}
            }
        }
        Some(circuit)
    }

    /// An introduction circuit of the service `address`, established or not, open or not.
    pub fn is_intro(&self, address: &str) -> bool {
        self.purpose.as_deref() == Some("HS_SERVICE_INTRO") && self.rend_query.as_deref() == Some(address)
    }

    /// An open, established introduction circuit of the service `address`.
    pub fn is_established_intro(&self, address: &str) -> bool {
        self.is_intro(address) && self.hs_state.as_deref() == Some("HSSI_ESTABLISHED") && !self.is_gone()
    }

    /// `CLOSED` or `FAILED`.
    pub fn is_gone(&self) -> bool {
        matches!(self.status.as_str(), "CLOSED" | "FAILED")
    }
}

/// A stream that tor opened, for an application or for itself (control-spec `[STREAM]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Stream id.
    pub id: String,
    /// `NEW`, `SUCCEEDED`, `CLOSED`, ...
    pub status: String,
    /// The relay that it is to end at, where that is said: `address.$FINGERPRINT.exit:port`.
    pub relay: Option<RelayFingerprint>,
    /// `PURPOSE=`, said of new streams only.
    pub purpose: Option<String>,
}

impl Stream {
    fn from_words<'a>(mut words: impl Iterator<Item = Word<'a>>) -> Option<Self> {
        let (id, status, _circuit, target) =
            (bare(words.next()?)?, bare(words.next()?)?, words.next()?, words.next()?.text());
        let relay = target.split('.').find(|label| label.starts_with('$')).and_then(RelayFingerprint::from_hex);
        let purpose = words.find(|word| word.key == Some("PURPOSE")).map(|word| word.text());
        Some(Self { id, status, relay, purpose })
    }

    /// A directory document (of tor's own, or a descriptor) is to be uploaded to this relay.
    pub fn uploads_to(&self) -> Option<RelayFingerprint> {
        self.relay.filter(|_| self.status == "NEW" && self.purpose.as_deref() == Some("DIR_UPLOAD"))
    }

    /// `CLOSED`, or `FAILED` for good.
    pub fn is_gone(&self) -> bool {
        matches!(self.status.as_str(), "CLOSED" | "FAILED")
    }
}

/// Reads a 650 reply; `None` if it is malformed.
pub fn parse(reply: &Reply) -> Option<Event> {
    let line = reply.lines.first().filter(|_| reply.is_event())?;
    let mut words = words(&line.text);
    let name = bare(words.next()?)?;
    match name.as_str() {
        "HS_DESC" => HsDesc::from_words(words).map(Event::HsDesc),
        "HS_DESC_CONTENT" => {
            let (address, _descriptor_id, hsdir) = (bare(words.next()?)?, words.next()?, words.next()?);
            let content = line.data.clone().filter(|data| data != b"\n").unwrap_or_default();
            Some(Event::HsDescContent { address, hsdir: RelayFingerprint::from_hex(&hsdir.text()), content })
        }
        "CIRC" | "CIRC_MINOR" => Circ::from_words(words).map(Event::Circ),
        "STREAM" => Stream::from_words(words).map(Event::Stream),
        "STATUS_CLIENT" => {
            let (_severity, action) = (words.next()?, bare(words.next()?)?);
            Some(Event::StatusClient { action, args: pairs(words) })
        }
        "CONF_CHANGED" => Some(Event::ConfChanged(reply.lines.iter().skip(1).filter_map(option).collect())),
        _ => Some(Event::Other(name)),
    }
}

/// `Option=value`; what ends the event, and an option without a value, is none.
fn option(line: &Line) -> Option<(String, String)> {
    let (name, value) = core::str::from_utf8(&line.text).ok()?.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

/// Percent in the value of `GETINFO status/bootstrap-phase`: `NOTICE BOOTSTRAP PROGRESS=.. ..`.
pub fn bootstrap_phase(value: &[u8]) -> Option<u8> {
    bootstrap_progress(&pairs(words(value)))
}

/// Percent in the arguments of a `BOOTSTRAP` event, or of the phase that `GETINFO` gives.
pub(crate) fn bootstrap_progress(args: &[(String, String)]) -> Option<u8> {
    let (_, progress) = args.iter().find(|(key, _)| key == "PROGRESS")?;
    progress.parse().ok().filter(|percent| *percent <= 100)
}

/// The `KEY=value` words of `words`.
pub(crate) fn pairs<'a>(words: impl Iterator<Item = Word<'a>>) -> Vec<(String, String)> {
    words.filter_map(|word| Some((word.key?.to_owned(), word.text()))).collect()
}

/// A word that is no `KEY=value`.
fn bare(word: Word<'_>) -> Option<String> {
    word.key.is_none().then(|| word.text())
}

impl HsDesc {
    /// `Action HSAddress AuthType HsDir [DescriptorID] [REASON=] ...`.
    fn from_words<'a>(mut words: impl Iterator<Item = Word<'a>>) -> Option<Self> {
        let action = match &*words.next()?.value {
            b"REQUESTED" => HsDescAction::Requested,
            b"RECEIVED" => HsDescAction::Received,
            b"UPLOAD" => HsDescAction::Upload,
            b"UPLOADED" => HsDescAction::Uploaded,
            b"FAILED" => HsDescAction::Failed,
            b"CREATED" => HsDescAction::Created,
            b"IGNORE" => HsDescAction::Ignore,
            _ => HsDescAction::Other,
        };
        let (address, _auth_type, hsdir) = (bare(words.next()?)?, words.next()?, words.next()?);
        let hsdir = RelayFingerprint::from_hex(&hsdir.text());
        let mut event = Self { action, address, hsdir, reason: None, descriptor_id: None };
        for word in words {
            match word.key {
                None => event.descriptor_id = event.descriptor_id.or_else(|| Some(word.text())),
                Some("REASON") => event.reason = Some(word.text()),
                Some(_) => {}
            }
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::transcript::{Transcript, read};
    use std::collections::BTreeMap;

    fn events(name: &str) -> Vec<Event> {
        let replies = Transcript::load(name).replies();
        replies.iter().filter(|reply| reply.is_event()).map(|reply| parse(reply).unwrap()).collect()
    }

    fn one(line: &[u8]) -> Option<Event> {
        parse(&read([line, b"\r\n"])[0])
    }

    #[test]
    fn every_recorded_event_is_understood() {
        for (name, transcript) in Transcript::all() {
            for reply in transcript.replies().iter().filter(|reply| reply.is_event()) {
                let event = parse(reply);
                let known = matches!(&event, Some(Event::Other(name)) if name == "NETWORK_LIVENESS");
                assert!(known || !matches!(event, None | Some(Event::Other(_))), "{name}: {reply}");
            }
        }
    }

    #[test]
    fn uploads_name_their_hsdir_and_the_reason_of_failure() {
        let mut seen = BTreeMap::<String, usize>::new();
        for event in events("hspost") {
            let Event::HsDesc(event) = event else { panic!("{event:?}") };
            assert!(event.hsdir.is_some());
            *seen.entry(format!("{:?} {:?}", event.action, event.reason)).or_default() += 1;
        }
        let expected = [("Failed Some(\"UPLOAD_REJECTED\")", 1), ("Uploaded None", 11)];
        assert_eq!(seen, expected.map(|(key, count)| (key.to_owned(), count)).into());
    }

    #[test]
    fn fetched_content_is_the_descriptor_or_empty() {
        let transcript = Transcript::load("hsfetch-getinfo");
        let contents: Vec<_> = events("hsfetch-getinfo")
            .into_iter()
            .filter_map(|event| if let Event::HsDescContent { content, .. } = event { Some(content) } else { None })
            .collect();
        assert_eq!(contents, [transcript.text("descriptor").into_bytes(), vec![], vec![]]);
    }

    #[test]
    fn changed_options_are_named_with_their_values() {
        let event = b"650-CONF_CHANGED\r\n650-PublishHidServDescriptors=0\r\n650-Nickname\r\n650-Log=a=b\r\n650 OK";
        let expected = [("PublishHidServDescriptors", "0"), ("Log", "a=b")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(one(event), Some(Event::ConfChanged(expected.into())));
    }

    #[test]
    fn follows_introduction_circuits() {
        let address = Transcript::load("service-start").text("onion");
        let mut established = BTreeMap::new();
        let mut closed = Vec::new();
        for event in events("service-start") {
            let Event::Circ(circuit) = event else { continue };
            if circuit.is_established_intro(&address) {
                established.insert(circuit.id, circuit.path.last().copied());
            } else if circuit.is_gone() && established.remove(&circuit.id).is_some() {
                closed.push(circuit.id);
            }
        }
        assert_eq!(closed, ["6"]);
        let from_status = Transcript::load("service-start").replies().iter().rev().find_map(|reply| {
            let text = reply.value("circuit-status")?.to_vec();
            let circuits = String::from_utf8(text).unwrap();
            Some(circuits.lines().filter(|line| Circ::parse(line).unwrap().is_established_intro(&address)).count())
        });
        assert_eq!(from_status, Some(6), "three for each of the two descriptors");
        assert_eq!(established.len(), 6, "one closed, one new");
    }

    #[test]
    fn uploads_are_told_by_their_streams() {
        let stream = |line: &str| match one(line.as_bytes()) {
            Some(Event::Stream(stream)) => stream,
            other => panic!("{other:?}"),
        };
        let relay = RelayFingerprint([0xab; 20]);
        for address in ["10.0.0.9", "[fc00::9]"] {
            let target = format!("{address}.${relay}.exit:9001");
            let new = stream(&format!("650 STREAM 77 NEW 0 {target} PURPOSE=DIR_UPLOAD CLIENT_PROTOCOL=UNKNOWN"));
            assert_eq!((new.uploads_to(), new.is_gone(), new.id.as_str()), (Some(relay), false, "77"));
            let fetch = stream(&format!("650 STREAM 78 NEW 0 {target} PURPOSE=DIR_FETCH"));
            assert_eq!(fetch.uploads_to(), None);
            let closed = stream(&format!("650 STREAM 77 CLOSED 0 {target} REASON=END REMOTE_REASON=DONE"));
            assert_eq!((closed.uploads_to(), closed.is_gone(), closed.id), (None, true, new.id));
        }
        let visitor = stream("650 STREAM 79 NEW 0 example.com:443 SOURCE_ADDR=127.0.0.1:4000 PURPOSE=USER");
        assert_eq!((visitor.relay, visitor.uploads_to()), (None, None));
    }

    #[test]
    fn reads_bootstrap_and_consensus_news() {
        let news: Vec<_> = events("service-start")
            .into_iter()
            .filter_map(
                |event| if let Event::StatusClient { action, args } = event { Some((action, args)) } else { None },
            )
            .collect();
        let progress: Vec<_> = news.iter().filter_map(|(_, args)| bootstrap_progress(args)).collect();
        assert!(progress.is_sorted() && progress.last() == Some(&100), "{progress:?}");
        assert!(news.iter().any(|(action, _)| action == "CONSENSUS_ARRIVED"));
        assert!(news.iter().any(|(_, args)| args.contains(&("SUMMARY".into(), "Connecting to a relay".into()))));
    }

    #[test]
    fn malformed_events_are_refused_and_unknown_ones_named() {
        for bad in [
            &b"650 HS_DESC"[..],
            b"650 HS_DESC UPLOADED x",
            b"650 CIRC 1",
            b"650 CIRC 1 BUILT $AB~x",
            b"650 STREAM 1 NEW 0",
            b"650 STATUS_CLIENT NOTICE",
            b"250 OK",
        ] {
            assert_eq!(one(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(one(b"650 BW 1 2"), Some(Event::Other("BW".to_owned())));
        let unnamed = one(b"650 HS_DESC CREATED x UNKNOWN UNKNOWN id").unwrap();
        assert!(matches!(unnamed, Event::HsDesc(HsDesc { hsdir: None, action: HsDescAction::Created, .. })));
    }
}
