//! A service that tor publishes all by itself: what we compute of ring, counter and layout is what tor uses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rand_core::SeedableRng as _;
use rustbalance_core::control::command;
use rustbalance_core::control::event::{Event, HsDescAction};
use rustbalance_core::hsdesc::{
    CertShown, Content, Descriptor, Examination, LineShown, SigningKeys, build, examine, open,
};
use rustbalance_core::hsdir::ring::Ring;
use rustbalance_core::id::RelayFingerprint;
use rustbalance_core::onion::key::HsIdKeypair;
use rustbalance_core::onion::period::Slot;
use rustbalance_core::onion::revision::RevisionCipher;
use rustbalance_core::rng::Rng;
use rustbalance_core::time::Wall;

use crate::control::Control;
use crate::hsdir;

/// From the service's start to its last upload.
const UPLOADED: Duration = Duration::from_secs(90);
/// New services, if the ring changes while the first one is uploaded.
const TRIES: usize = 3;
const SLOTS: [Slot; 2] = [Slot::First, Slot::Second];

/// Where tor uploaded a descriptor, by blinded key in base64.
type Uploads = BTreeMap<String, BTreeSet<RelayFingerprint>>;

/// A service that tor makes up and publishes.
struct Native {
    id: String,
    key: HsIdKeypair,
    /// Unix seconds before it was started.
    begun: u64,
    uploads: Uploads,
    ring: Ring,
}

/// What was compared, whether it is equal, and what was found.
pub type Comparison = (&'static str, bool, String);

/// Has the tor behind `control` publish a service, and compares.
///
/// # Errors
/// Tor does not answer, or the ring changes again and again.
pub fn compare(control: &mut Control) -> Result<[Comparison; 3]> {
    control.command(&command::set_events(&["HS_DESC"]))?;
    let mut native = None;
    for _ in 0..TRIES {
        native = Native::start(control)?;
        if native.is_some() {
            break;
        }
    }
    let native = native.context("the ring changes again and again")?;
    let text = control.get_info(&format!("hs/service/desc/id/{}", native.id))?;
    control.command(format!("DEL_ONION {}\r\n", native.id).as_bytes())?;

    let expected = native.expected();
    let counts: Vec<_> = expected.values().map(BTreeSet::len).collect();
    let detail = format!("{counts:?} of {} relays", native.ring.relays());
    let uploads = ("tor uploads to the HSDirs of our ring, in both slots", native.uploads == expected, detail);
    let (good, detail) = native.counter(&text)?;
    let counter = ("tor's counter is the second that it was made in", good, detail);
    let difference = native.layout(&text)?;
    let what = "ours of the same content has its layout, lifetime and certificates";
    let layout = (what, difference.is_none(), difference.unwrap_or_default());
    Ok([uploads, counter, layout])
}

impl Native {
    /// Starts a service and waits for its uploads; `None` if the ring has changed meanwhile.
    fn start(control: &mut Control) -> Result<Option<Self>> {
        let (ring, begun) = (hsdir::ring(control)?, unix_secs());
        let added = control.command(b"ADD_ONION NEW:ED25519-V3 Port=80,127.0.0.1:9\r\n")?;
        let value = |key| Ok::<_, anyhow::Error>(std::str::from_utf8(added.value(key).context(key)?)?.to_owned());
        let (id, secret) = (value("ServiceID")?, value("PrivateKey")?);
        let secret = STANDARD.decode(secret.trim_start_matches("ED25519-V3:"))?;
        let key = HsIdKeypair::from_tor_file(&[&b"== ed25519v1-secret: type0 ==\0\0\0"[..], &secret].concat())?;
        let mut native = Self { id, key, begun, uploads: Uploads::new(), ring };
        let deadline = Instant::now() + UPLOADED;
        while native.uploads != native.expected() {
            let Some(event) = control.event(deadline)? else { break };
            let Event::HsDesc(event) = event else { continue };
            if let (HsDescAction::Upload, true, Some(hsdir)) = (event.action, event.address == native.id, event.hsdir) {
                let blind = event.descriptor_id.context("an upload without a blinded key")?;
                native.uploads.entry(blind).or_default().insert(hsdir);
            }
        }
        Ok((hsdir::ring(control)? == native.ring || native.uploads == native.expected()).then_some(native))
    }

    /// Where our ring says that tor uploads.
    fn expected(&self) -> Uploads {
        let uploads = SLOTS.map(|slot| {
            let blind = self.key.blind(self.ring.slot_period(slot)).public();
            let store = self.ring.responsible(slot, blind).store;
            (STANDARD_NO_PAD.encode(blind.0), store.into_iter().collect())
        });
        uploads.into()
    }

    /// Whether the counter in `text` is exactly that of a second since the service was started.
    fn counter(&self, text: &[u8]) -> Result<(bool, String)> {
        let periods = SLOTS.map(|slot| self.ring.slot_period(slot));
        let read = open(text, self.key.public(), &periods, None, Wall::from_secs(unix_secs()))?;
        let slot = SLOTS.into_iter().find(|slot| self.ring.slot_period(*slot) == read.period).context("a slot")?;
        let cipher = RevisionCipher::new(&self.key.blind(read.period));
        let n = cipher.n_at_most(read.revision);
        let made = self.ring.params().counter_origin(self.ring.valid_after(), slot) + u64::from(n) - 1;
        let is_exact = cipher.counter(n) == Some(read.revision);
        let good = is_exact && (self.begun..=unix_secs()).contains(&made);
        let after = i128::from(made) - i128::from(self.begun);
        Ok((good, format!("made {after} s after the service was asked for, exact: {is_exact}")))
    }

    /// The first difference, if any, from a descriptor of ours with the same content: another shape of a line, or another
    /// lifetime, or a certificate of another kind or with another end.
    fn layout(&self, text: &[u8]) -> Result<Option<String>> {
        let (periods, now) = (SLOTS.map(|slot| self.ring.slot_period(slot)), unix_secs());
        let read = open(text, self.key.public(), &periods, None, Wall::from_secs(now))?;
        let examined = |text: &[u8]| examine(text, self.key.public(), &periods, None, Wall::from_secs(now));
        let theirs = examined(text);
        // Tor made its certificates at some time in between, so that only an hour's edge makes the two differ.
        let (earliest, latest) = (self.build(&read, self.begun)?, self.build(&read, now)?);
        for ours in [&earliest, &latest] {
            ensure!(ours.len() == text.len(), "{} bytes, tor's has {}", ours.len(), text.len());
        }
        let (earliest, latest) = (examined(earliest.as_bytes()), examined(latest.as_bytes()));
        Ok(first_line(&theirs, &latest)?.or(first_meaning(&theirs, &earliest, &latest)?))
    }

    /// Ours with the content of `read`, at `now`.
    fn build(&self, read: &Descriptor, now: u64) -> Result<String> {
        let (blind, mut rng, now) = (self.key.blind(read.period), Rng::seed_from_u64(now), Wall::from_secs(now));
        let content = Content {
            blind: &blind,
            subcredential: self.key.public().subcredential(blind.public()),
            revision: read.revision,
            header: &read.header,
            pow: read.pow.as_ref(),
            points: &read.points,
            clients: &[],
            now,
        };
        Ok(build(&mut SigningKeys::new(&blind, &mut rng, now), &content, &mut rng)?)
    }
}

/// The first line that has another shape.
fn first_line(theirs: &Examination, ours: &Examination) -> Result<Option<String>> {
    let (theirs, ours) = (lines(theirs), lines(ours));
    ensure!(theirs.len() > 40, "tor's has only {} lines", theirs.len());
    let differs = theirs.iter().zip(&ours).find(|(theirs, ours)| shape(theirs) != shape(ours));
    let differs = differs.map(|(theirs, ours)| format!("tor {theirs:?}, we {ours:?}"));
    let count = || format!("tor {} lines, we {}", theirs.len(), ours.len());
    Ok(differs.or_else(|| (theirs.len() != ours.len()).then(count)))
}

/// Another lifetime, or the first certificate of another kind or whose end does not lie between those of ours.
fn first_meaning(theirs: &Examination, earliest: &Examination, latest: &Examination) -> Result<Option<String>> {
    let (their_certs, first, last) = (certs(theirs)?, certs(earliest)?, certs(latest)?);
    ensure!(their_certs.len() > 2, "tor's has only {} certificates", their_certs.len());
    ensure!(their_certs.len() == last.len(), "tor {} certificates, we {}", their_certs.len(), last.len());
    let differs = |cert: &CertShown, first: &CertShown, last: &CertShown| {
        cert.kind != last.kind || !(first.expires..=last.expires).contains(&cert.expires)
    };
    let mut all = their_certs.iter().zip(first.iter().zip(&last));
    let differs = all.find(|(cert, (first, last))| differs(cert, first, last));
    let differs = differs.map(|(cert, (first, last))| format!("tor {cert:?}, we {first:?} to {last:?}"));
    let lifetime = |shown: &Examination| Some(shown.outer.as_ref()?.content.as_ref()?.lifetime_minutes);
    let (their_lifetime, our_lifetime) = (lifetime(theirs), lifetime(latest));
    let lifetimes = || format!("a lifetime of {their_lifetime:?} minutes, ours {our_lifetime:?}");
    Ok(differs.or_else(|| (their_lifetime.is_none() || their_lifetime != our_lifetime).then(lifetimes)))
}

/// The signing key's certificate, then the points' two each.
fn certs(shown: &Examination) -> Result<Vec<CertShown>> {
    let outer = shown.outer.as_ref().and_then(|layer| layer.content.as_ref()).context("an outer layer")?;
    let inner = shown.inner.as_ref().and_then(|layer| layer.content.as_ref()).context("an inner layer")?;
    let points = inner.points.iter().flat_map(|point| [&point.auth_cert, &point.enc_cert]);
    let certs = std::iter::once(&outer.signing_cert).chain(points);
    certs.map(|cert| cert.clone().context("a certificate")).collect()
}

/// All layers' lines.
fn lines(shown: &Examination) -> Vec<LineShown> {
    let outer = shown.outer.iter().flat_map(|layer| &layer.lines);
    let middle = shown.middle.iter().flat_map(|layer| &layer.lines);
    let inner = shown.inner.iter().flat_map(|layer| &layer.lines);
    outer.chain(middle).chain(inner).cloned().collect()
}

/// Where a line stands, its keyword, length and padding of its other words, and its object's label and length.
type Shape = (usize, String, Vec<(usize, usize)>, Option<(String, usize)>);

fn shape(line: &LineShown) -> Shape {
    let mut words = line.text.split(' ');
    let keyword = words.next().unwrap_or_default().to_owned();
    let words = words.map(|word| (word.len(), word.chars().rev().take_while(|letter| *letter == '=').count()));
    let object = line.object.as_ref().map(|object| (object.label.clone(), object.bytes));
    (line.line, keyword, words.collect(), object)
}

fn unix_secs() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}
