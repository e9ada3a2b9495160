//! A descriptor as a page for people.

use rustbalance_core::hsdesc::{CertShown, InnerShown, LayerShown, MiddleShown, OuterShown, PointShown};
use rustbalance_core::time::Wall;

use super::Shown;
use super::source::Decoder;

/// Width of the labels.
const LABEL: usize = 20;

/// The whole page.
pub fn page(shown: &Shown, decoder: &Decoder) -> String {
    let examination = &shown.examination;
    let verdict = match (shown.good, examination.faults.is_empty()) {
        (true, _) => "good: clients use all of it",
        (false, true) => "bad: clients leave points out",
        (false, false) => "bad: clients refuse it; the end says why",
    };
    let mut page = Page { text: String::new(), now: decoder.now };
    page.line(&format!("Descriptor of {}", shown.address));
    page.row("from", &format!("{}, {} bytes", shown.source, examination.bytes));
    page.row("verdict", verdict);
    if let Some(layer) = &examination.outer {
        page.layer("Outer layer: what HSDirs read", layer, Page::outer);
    }
    if let Some(layer) = &examination.middle {
        let has_key = decoder.client().is_some();
        page.layer("Middle layer: who may read on", layer, |page, middle| page.middle(middle, has_key));
    }
    if let Some(layer) = &examination.inner {
        page.layer("Inner layer: how to reach the service", layer, Page::inner);
    }
    if !examination.faults.is_empty() {
        page.line("\nWrong");
        for fault in &examination.faults {
            page.line(&format!("  {} (that line begins at byte {})", fault.text, fault.byte));
        }
    }
    page.text.trim_end().to_owned()
}

struct Page {
    text: String,
    now: Wall,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn row(&mut self, label: &str, value: &str) {
        self.line(&format!("  {label:LABEL$}{value}"));
    }

    /// What a layer means, or if that is not known its lines.
    fn layer<T>(&mut self, title: &str, layer: &LayerShown<T>, show: impl FnOnce(&mut Self, &T)) {
        self.line(&format!("\n{title}"));
        match &layer.content {
            Some(content) => show(self, content),
            None => {
                for line in &layer.lines {
                    let object = line.object.as_ref();
                    let object = object.map(|object| format!(" [{}, {} bytes]", object.label, object.bytes));
                    self.line(&format!("  line {:4}  {}{}", line.line, line.text, object.unwrap_or_default()));
                }
            }
        }
    }

    fn outer(&mut self, outer: &OuterShown) {
        self.row("lifetime", &format!("{} min", outer.lifetime_minutes));
        let period = outer.period.map_or_else(
            || "none of those tried; say which with --period".to_owned(),
            |period| format!("{}, of {} min", period.number, period.length_minutes),
        );
        self.row("time period", &period);
        let seconds = outer.revision_seconds.map(|seconds| format!(", which stands for second {seconds}"));
        self.row("revision counter", &format!("{}{}", outer.revision, seconds.unwrap_or_default()));
        if let Some(cert) = &outer.signing_cert {
            self.cert("signing key", cert);
        }
    }

    fn middle(&mut self, middle: &MiddleShown, has_key: bool) {
        self.row("ephemeral key", &middle.ephemeral_key);
        let listed = match (has_key, middle.client_listed) {
            (false, _) => "",
            (true, true) => ", the given key's among them",
            (true, false) => ", none of them the given key's",
        };
        self.row("auth-client lines", &format!("{}{listed}", middle.auth_clients));
    }

    fn inner(&mut self, inner: &InnerShown) {
        inner.header.iter().for_each(|line| self.line(&format!("  {line}")));
        if let Some(pow) = &inner.pow {
            let until = Wall::from_secs(pow.expires);
            self.row("proof of work", &format!("effort {} to begin with, seed {} until {until}", pow.effort, pow.seed));
        }
        for (number, point) in (1..).zip(&inner.points) {
            self.point(number, point);
        }
        if inner.points.is_empty() {
            self.line("  no introduction point");
        }
    }

    fn point(&mut self, number: usize, point: &PointShown) {
        let relay = point.relay.as_deref().unwrap_or("no relay");
        self.line(&format!("\nIntroduction point {number}, line {}: {relay}", point.line));
        if let Some(refused) = &point.refused {
            self.row("left out", &format!("{} (that line begins at byte {})", refused.text, refused.byte));
        }
        point.link_specifiers.iter().for_each(|specifier| self.row("link specifier", specifier));
        if let Some(key) = &point.onion_key {
            self.row("ntor key", key);
        }
        if let Some(cert) = &point.auth_cert {
            self.cert("session key", cert);
        }
        if let Some(key) = &point.enc_key {
            self.row("encryption key", key);
        }
        if let Some(cert) = &point.enc_cert {
            self.cert("encryption cert for", cert);
        }
    }

    fn cert(&mut self, label: &str, cert: &CertShown) {
        self.row(label, &format!("{} (certificate of type {:#04x}, {})", cert.key, cert.kind, cert.certifies));
        self.row("  signed by", cert.signer.as_deref().unwrap_or("nobody it names"));
        let (expires, now) = (Wall::from_secs(cert.expires), self.now.as_secs());
        let when = match cert.expires.checked_sub(now) {
            Some(left) => format!("in {} h", left / 3600),
            None => format!("{} h ago", (now - cert.expires) / 3600),
        };
        self.row("  expires", &format!("{expires} UTC, {when}"));
    }
}
