//! The configuration file: TOML in, [`Settings`] out. Every mistake is reported, each with its line and the way out.

mod attach;
mod default;
mod key;
mod load;
mod value;

use std::fmt;
use std::path::Path;

use rustbalance_io::settings::{ProbeRequest, Settings};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use default::{MESH_PORT, settings as defaults};
pub use key::{KEYS, Key};
pub use load::load;
pub use value::{duration, is_endpoint, show_target};

/// Keys that mean nothing to a probe that only connects.
const HTTP_PROBE: [&str; 2] = ["proxy.probe_status", "proxy.probe_host"];

/// One mistake in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1; `None` if the mistake has no place.
    pub line: Option<usize>,
    /// What is wrong and what to do, without the file's name.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Reads `text` over the defaults of `dir`.
///
/// # Errors
/// All mistakes, in the order of the file; never empty.
pub fn parse(text: &str, dir: &Path) -> Result<Settings, Vec<Problem>> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        vec![Problem { line, message: format!("not TOML: {}; correct the line", error.message()) }]
    })?;
    let mut reader = Reader { text, settings: defaults(dir), problems: Vec::new() };
    reader.table("", document.get_ref());
    reader.relations();
    reader.problems.sort_by_key(|problem| problem.line);
    if reader.problems.is_empty() { Ok(reader.settings) } else { Err(reader.problems) }
}

/// Sets `key` from a flag's `value`.
///
/// # Errors
/// Says what is allowed; `settings` are unchanged.
pub fn set(settings: &mut Settings, key: &Key, value: &toml::Value) -> Result<(), String> {
    (key.set)(settings, value).ok_or_else(|| format!("{value} is not allowed; use {}", key.allowed))
}

/// The text of a new file that sets these keys.
pub fn render(values: &[(&Key, toml::Value)]) -> String {
    let mut text =
        String::from("# This node's configuration. Every key is optional; docs/CONFIG.md explains them all.\n");
    let mut section = "";
    for key in KEYS {
        let Some((_, value)) = values.iter().find(|(given, _)| given.name == key.name) else { continue };
        let (next, leaf) = key.name.split_once('.').unwrap_or(("", key.name));
        if next != section {
            text.push_str(&format!("\n[{next}]\n"));
            section = next;
        }
        text.push_str(&format!("{leaf} = {value}\n"));
    }
    text
}

struct Reader<'a> {
    text: &'a str,
    settings: Settings,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Reads one table, `prefix` being its name with a dot, or nothing for the document itself.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (leaf, value) in table {
            let name = format!("{prefix}{}", leaf.get_ref());
            if let Some(key) = KEYS.iter().find(|key| key.name == name) {
                self.value(key, value);
            } else if prefix.is_empty() && sections().any(|section| section == name) {
                match value.get_ref().as_table() {
                    Some(inner) => self.table(&format!("{name}."), inner),
                    None => self.problem(leaf.span().start, format!("{name}: is a section; write [{name}]")),
                }
            } else {
                let problem = if prefix.is_empty() && value.get_ref().is_table() {
                    format!("[{name}]: unknown section; did you mean [{}]?", nearest(&name, sections()))
                } else {
                    format!("{name}: unknown key; did you mean {}?", nearest(&name, KEYS.iter().map(|key| key.name)))
                };
                self.problem(leaf.span().start, problem);
            }
        }
    }

    fn value(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) {
        let read = toml::Value::deserialize(value.clone().into_deserializer())
            .ok()
            .and_then(|value| (key.set)(&mut self.settings, &value));
        if read.is_none() {
            let given = value::excerpt(self.text.get(value.span()).unwrap_or_default());
            let message = format!("{}: {given} is not allowed; use {}", key.name, key.allowed);
            self.problem(value.span().start, message);
        }
    }

    /// What holds between keys, each of them allowed.
    fn relations(&mut self) {
        for message in attach::contradictions(&self.settings) {
            self.problems.push(Problem { line: None, message });
        }
        if self.settings.proxy.probe.request == ProbeRequest::Connect {
            for key in default::changed(&self.settings, &HTTP_PROBE) {
                let message =
                    format!("{key}: applies to a probe with HTTP: set proxy.probe to \"http:/path\", or remove it");
                self.problems.push(Problem { line: None, message });
            }
        }
        let pow = &self.settings.service.pow;
        if pow.queue_burst < pow.queue_rate {
            let (rate, burst) = (pow.queue_rate, pow.queue_burst);
            let message =
                format!("service.pow_queue_burst: {burst} is less than service.pow_queue_rate, {rate}; raise it");
            self.problems.push(Problem { line: None, message });
        }
        if pow.enabled && self.settings.tor.instances > 1 {
            let message = format!(
                "tor.instances: {} tors cannot serve with service.pow, whose puzzles are checked by the one tor that sets \
                 them; set tor.instances to 1, or service.pow to false",
                self.settings.tor.instances
            );
            self.problems.push(Problem { line: None, message });
        }
    }

    fn problem(&mut self, at: usize, message: String) {
        self.problems.push(Problem { line: Some(line_of(self.text, at)), message });
    }
}

/// Names of sections; some come more than once.
fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| Some(key.name.split_once('.')?.0))
}

/// The candidate most like `name`: in full, and by its last part, for a key in the wrong section.
fn nearest(name: &str, candidates: impl Iterator<Item = &'static str>) -> &'static str {
    let name = name.to_lowercase();
    let leaf = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness =
        |candidate: &str| strsim::jaro_winkler(&name, candidate) + strsim::jaro_winkler(&leaf(&name), &leaf(candidate));
    candidates.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default()
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Settings, String> {
        parse(text, Path::new("/dir"))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn empty_file_gives_the_defaults() {
        let settings = parsed("").expect("every key is optional");
        for key in KEYS {
            assert_eq!((key.get)(&settings), (key.get)(&defaults(Path::new("/dir"))), "{}", key.name);
        }
    }

    #[test]
    fn every_key_reads_back_its_own_value() {
        for key in KEYS {
            let mut settings = defaults(Path::new("/dir"));
            let Some(value) = (key.get)(&settings) else { continue };
            assert_eq!(set(&mut settings, key, &value), Ok(()), "{}", key.name);
            assert_eq!((key.get)(&settings), Some(value), "{}", key.name);
        }
    }

    #[test]
    fn rendered_file_reads_back() {
        let text =
            "name = \"a \\\"b\\\"\"\nweight = 7\n[mesh]\nendpoint = \"host:1\"\n[service]\ntarget = \"unix:/a\"\n";
        let settings = parsed(text).expect("valid");
        let values: Vec<_> = KEYS.iter().filter_map(|key| Some((key, (key.get)(&settings)?))).collect();
        let again = parsed(&render(&values)).expect("what we write is valid");
        for key in KEYS {
            assert_eq!((key.get)(&again), (key.get)(&settings), "{}", key.name);
        }
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_one() {
        for (text, expected) in [
            ("\n[mesh]\nlisten_addr = 1", "line 3: mesh.listen_addr: unknown key; did you mean mesh.listen?"),
            ("target = 'a:1'", "line 1: target: unknown key; did you mean service.target?"),
            ("[proxi]\nx = 1", "line 1: [proxi]: unknown section; did you mean [proxy]?"),
            ("prority = 1", "line 1: prority: unknown key; did you mean priority?"),
            ("proxy.idle-timeout = '1s'", "line 1: proxy.idle-timeout: unknown key; did you mean proxy.idle_timeout?"),
        ] {
            assert_eq!(parsed(text).map(|_| ()), Err(expected.into()), "{text}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_in_order() {
        let text = "weight = 0\nmesh = 3\n[service]\nport = 'x'\nintroduction_points = 21\n[proxy]\nidle_timeout = 3\n";
        assert_eq!(
            parsed(text).map(|_| ()).unwrap_err(),
            "line 1: weight: 0 is not allowed; use 1 to 1000\n\
             line 2: mesh: is a section; write [mesh]\n\
             line 4: service.port: 'x' is not allowed; use 1 to 65535\n\
             line 5: service.introduction_points: 21 is not allowed; use 3 to 20\n\
             line 7: proxy.idle_timeout: 3 is not allowed; use a duration from \"1s\" to \"7d\""
        );
    }

    #[test]
    fn a_burst_below_the_rate_is_refused_whichever_of_the_two_is_set() {
        for (text, burst, rate) in [("pow_queue_rate = 2501", 2500, 2501), ("pow_queue_burst = 249", 249, 250)] {
            let expected =
                format!("service.pow_queue_burst: {burst} is less than service.pow_queue_rate, {rate}; raise it");
            assert_eq!(parsed(&format!("[service]\n{text}\n")).map(|_| ()), Err(expected));
        }
        assert!(parsed("[service]\npow_queue_rate = 1\npow_queue_burst = 1\n").is_ok());
    }

    #[test]
    fn keys_of_a_probe_with_http_are_refused_with_one_that_only_connects() {
        for key in ["probe_status = '204'", "probe_host = 'web'"] {
            let refused = parsed(&format!("[proxy]\n{key}\n")).map(|_| ()).unwrap_err();
            assert!(refused.contains("applies to a probe with HTTP: set proxy.probe"), "{refused}");
            assert!(parsed(&format!("[proxy]\n{key}\nprobe = 'http:/'\n")).is_ok(), "{key}");
        }
    }

    #[test]
    fn proof_of_work_and_several_tors_exclude_each_other() {
        let said = |instances: u8, pow: bool| {
            parsed(&format!("[service]\npow = {pow}\n[tor]\ninstances = {instances}\n")).map(|_| ())
        };
        assert_eq!((said(1, true), said(8, false)), (Ok(()), Ok(())));
        let refused = said(2, true).unwrap_err();
        assert!(refused.contains("set tor.instances to 1, or service.pow to false"), "{refused}");
        assert!(said(9, false).unwrap_err().contains("tor.instances: 9 is not allowed; use 1 to 8"));
    }

    #[test]
    fn broken_toml_names_the_line() {
        let problem = parsed("weight = 1\nname = \"a\n").map(|_| ()).unwrap_err();
        assert!(problem.starts_with("line 2: not TOML: "), "{problem}");
    }
}
