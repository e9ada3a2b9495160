//! What two descriptors say differently. Lines and sizes do not count, nor the order of points.

use std::collections::BTreeMap;

use rustbalance_core::hsdesc::{CertShown, Examination, PointShown, PowShown};
use rustbalance_core::time::Wall;
use serde::Serialize;

/// One thing that differs; `None`: not there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    what: String,
    first: Option<String>,
    second: Option<String>,
}

/// Everything that differs.
pub fn between(first: &Examination, second: &Examination) -> Vec<Difference> {
    let (mut first, mut second) = (facts(first), facts(second));
    let mut differences = Vec::new();
    let names: Vec<_> = first.keys().chain(second.keys()).cloned().collect();
    for what in names {
        let (first, second) = (first.remove(&what), second.remove(&what));
        if first != second {
            differences.push(Difference { what, first, second });
        }
    }
    differences.sort_by(|a, b| a.what.cmp(&b.what));
    differences
}

/// As a page for people.
pub fn page(first: &str, second: &str, differences: &[Difference]) -> String {
    if differences.is_empty() {
        return format!("{first} and {second} say the same");
    }
    let mut text = format!("- {first}\n+ {second}\n");
    for Difference { what, first, second } in differences {
        text.push_str(&format!("\n{what}\n"));
        for (sign, value) in [('-', first), ('+', second)] {
            if let Some(value) = value {
                text.push_str(&format!("  {sign} {value}\n"));
            }
        }
    }
    text.trim_end().to_owned()
}

/// What a descriptor says, by name.
fn facts(examination: &Examination) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut fact = |what: &str, value: String| _ = facts.insert(what.to_owned(), value);
    if let Some(outer) = examination.outer.as_ref().and_then(|layer| layer.content.as_ref()) {
        fact("outer layer: lifetime", format!("{} min", outer.lifetime_minutes));
        fact("outer layer: revision counter", outer.revision.to_string());
        if let Some(period) = outer.period {
            fact("outer layer: time period", format!("{}, of {} min", period.number, period.length_minutes));
        }
        outer.signing_cert.iter().for_each(|shown| fact("outer layer: signing key", cert(shown)));
    }
    if let Some(middle) = examination.middle.as_ref().and_then(|layer| layer.content.as_ref()) {
        fact("middle layer: auth-client lines", middle.auth_clients.to_string());
        fact("middle layer: the given client", if middle.client_listed { "listed" } else { "not listed" }.to_owned());
    }
    if let Some(inner) = examination.inner.as_ref().and_then(|layer| layer.content.as_ref()) {
        fact("inner layer: header", inner.header.join(" | "));
        inner.pow.iter().for_each(|shown| fact("inner layer: proof of work", pow(shown)));
        for shown in &inner.points {
            let relay = shown.relay.as_deref().unwrap_or("no relay");
            let key = shown.auth_cert.as_ref().map_or("unreadable", |cert| &cert.key);
            fact(&format!("introduction point {key} on {relay}"), point(shown));
        }
    }
    let faults: Vec<_> = examination.faults.iter().map(|fault| fault.text.as_str()).collect();
    if !faults.is_empty() {
        fact("wrong", faults.join(" | "));
    }
    facts
}

fn pow(pow: &PowShown) -> String {
    format!("seed {}, effort {}, until {}", pow.seed, pow.effort, Wall::from_secs(pow.expires))
}

fn point(point: &PointShown) -> String {
    let PointShown { link_specifiers, onion_key, auth_cert, enc_key, enc_cert, refused, .. } = point;
    let mut parts = link_specifiers.clone();
    parts.extend(onion_key.iter().map(|key| format!("ntor {key}")));
    parts.extend(auth_cert.iter().map(|shown| format!("session key {}", cert(shown))));
    parts.extend(enc_key.iter().map(|key| format!("encryption key {key}")));
    parts.extend(enc_cert.iter().map(|shown| format!("certified {}", cert(shown))));
    parts.extend(refused.iter().map(|fault| format!("left out: {}", fault.text)));
    parts.join(", ")
}

fn cert(cert: &CertShown) -> String {
    format!("{} (type {:#04x}, expires {})", cert.key, cert.kind, rustbalance_core::time::Wall::from_secs(cert.expires))
}
