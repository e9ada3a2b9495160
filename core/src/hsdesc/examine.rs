//! A descriptor as people look at it: everything that can be read of it, and everything that is wrong with it.
//!
//! It is read as [`open`](super::open) reads it, but on past what a client would stop at (an expired certificate, a bad
//! signature, too many points), as long as there is something to decrypt.

use serde::Serialize;

use super::inner::Listed;
use super::intro::{UnverifiedPoint, parse_link_specifiers};
use super::netdoc::{self, Item};
use super::{DescriptorError, DescriptorFault, Key, Layer, Part, PointFault, PowParams, Reader, read};
use crate::id::hex;
use crate::onion::cert::{CertType, UnverifiedCert};
use crate::onion::client::HsClientDescEncKeypair;
use crate::onion::key::{HsId, HsIdKeypair};
use crate::onion::period::TimePeriod;
use crate::onion::revision::{RevisionCipher, RevisionCounter};
use crate::status::PeriodStatus;
use crate::time::Wall;

/// What was read, layer by layer. Keys and digests are lower-case hexadecimal, relay fingerprints upper-case, times
/// unix seconds, lines 1-based in their own layer, bytes counted from the start of their layer.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Examination {
    /// Its length.
    pub bytes: usize,
    /// What HSDirs read.
    pub outer: Option<LayerShown<OuterShown>>,
    /// Who may read the inner layer.
    pub middle: Option<LayerShown<MiddleShown>>,
    /// The introduction points.
    pub inner: Option<LayerShown<InnerShown>>,
    /// What a client objects to, worst last: after the last one nothing could be read, if `complete` is false.
    pub faults: Vec<FaultShown<DescriptorFault>>,
    /// Every layer was read to its end.
    pub complete: bool,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerShown<T> {
    /// What its lines mean; `None` if they could not be understood.
    #[serde(flatten)]
    pub content: Option<T>,
    /// Its lines, up to the first one that breaks the syntax.
    pub lines: Vec<LineShown>,
}

/// A line with its object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineShown {
    /// 1-based.
    pub line: usize,
    /// Without the object.
    pub text: String,
    /// What follows the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectShown>,
}

/// An object, of which only the shape is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectShown {
    /// `MESSAGE`, `ED25519 CERT`.
    pub label: String,
    /// Its decoded length.
    pub bytes: usize,
}

/// The outer layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OuterShown {
    /// `descriptor-lifetime`.
    pub lifetime_minutes: u32,
    /// `revision-counter`.
    pub revision: u64,
    /// The seconds that tor encrypted into it; see [`Examination::count_seconds`].
    pub revision_seconds: Option<u32>,
    /// `None` if it is none of those offered.
    pub period: Option<PeriodStatus>,
    /// `descriptor-signing-key-cert`: its signer is the blinded key.
    pub signing_cert: Option<CertShown>,
}

/// A certificate, good or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertShown {
    /// What it certifies: `descriptor signing key`, `introduction point session key`, `introduction point encryption
    /// key`, or `unknown`.
    pub certifies: &'static str,
    /// Its type.
    pub kind: u8,
    /// The certified key.
    pub key: String,
    /// The key that it says it was signed with.
    pub signer: Option<String>,
    /// Until when.
    pub expires: u64,
}

/// The middle layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MiddleShown {
    /// `desc-auth-ephemeral-key`.
    pub ephemeral_key: String,
    /// `auth-client` lines; tor writes random ones where nobody needs one.
    pub auth_clients: usize,
    /// One of them is for the given client key.
    pub client_listed: bool,
}

/// The inner layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InnerShown {
    /// Lines before the points, without `pow-params`.
    pub header: Vec<String>,
    /// Proof of work, if offered.
    pub pow: Option<PowShown>,
    /// In order, bad ones among them.
    pub points: Vec<PointShown>,
}

/// Proof of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PowShown {
    /// What puzzles are made of.
    pub seed: String,
    /// The effort that clients begin with.
    pub effort: u32,
    /// Until when.
    pub expires: u64,
}

/// An introduction point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PointShown {
    /// Where it begins.
    pub line: usize,
    /// The relay's fingerprint.
    pub relay: Option<String>,
    /// `ipv4 10.0.0.1:9001`, `ipv6 [::1]:9001`, `legacy_id HEX`, `ed25519_id HEX`, or `type N HEX`.
    pub link_specifiers: Vec<String>,
    /// `KP_ntor`.
    pub onion_key: Option<String>,
    /// `auth-key`.
    pub auth_cert: Option<CertShown>,
    /// `KP_hss_ntor`.
    pub enc_key: Option<String>,
    /// `enc-key-cert`.
    pub enc_cert: Option<CertShown>,
    /// Why clients leave it out, if so.
    pub refused: Option<FaultShown<PointFault>>,
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultShown<F> {
    /// In which layer.
    pub layer: Layer,
    /// On which line.
    pub line: usize,
    /// Where that line begins.
    pub byte: usize,
    /// What.
    pub fault: F,
    /// In words, with the place.
    pub text: String,
}

/// Reads as much of `text` as can be read, as a descriptor of `id` for one of `periods`. `client` matters where client
/// authorisation is on.
pub fn examine(
    text: &[u8],
    id: HsId,
    periods: &[TimePeriod],
    client: Option<&HsClientDescEncKeypair>,
    now: Wall,
) -> Examination {
    let mut examiner = Examiner::default();
    examiner.shown.bytes = text.len();
    match read(text, &Key { id, periods, client }, now, &mut examiner) {
        Ok(_) => examiner.shown.complete = true,
        Err(error) => examiner.note(error),
    }
    examiner.shown
}

impl Examination {
    /// Whether a client would use it as it is: it reads all of it, objects to nothing, and leaves no point out.
    pub fn is_good(&self) -> bool {
        let points = self.inner.iter().filter_map(|inner| inner.content.as_ref()).flat_map(|inner| &inner.points);
        self.complete && self.faults.is_empty() && points.into_iter().all(|point| point.refused.is_none())
    }

    /// Fills in [`OuterShown::revision_seconds`], for who has the service's key.
    pub fn count_seconds(&mut self, master: &HsIdKeypair) {
        let Some(outer) = self.outer.as_mut().and_then(|outer| outer.content.as_mut()) else { return };
        let Some(PeriodStatus { number, length_minutes }) = outer.period else { return };
        let cipher = RevisionCipher::new(&master.blind(TimePeriod { number, length_minutes }));
        outer.revision_seconds = Some(cipher.n_at_most(RevisionCounter(outer.revision)));
    }
}

/// Notes all it sees, and goes on.
#[derive(Default)]
struct Examiner {
    shown: Examination,
    /// The layer that was seen last, and where its lines begin.
    layer: Option<Layer>,
    line_starts: Vec<usize>,
}

impl Examiner {
    fn note(&mut self, error: DescriptorError) {
        let DescriptorError { layer, line, fault } = error;
        self.shown.faults.push(FaultShown {
            layer,
            line,
            byte: self.byte(layer, line),
            fault,
            text: error.to_string(),
        });
    }

    /// Where that line begins. What is wrong with a layer before its text is known is on its first line.
    fn byte(&self, layer: Layer, line: usize) -> usize {
        let starts = if self.layer == Some(layer) { self.line_starts.as_slice() } else { &[] };
        line.checked_sub(1).and_then(|index| starts.get(index)).copied().unwrap_or(0)
    }

    fn outer(&mut self) -> Option<&mut OuterShown> {
        self.shown.outer.as_mut()?.content.as_mut()
    }
}

impl Reader for Examiner {
    fn sees(&mut self, part: Part<'_>) {
        match part {
            Part::Text(layer, text) => {
                self.layer = Some(layer);
                let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
                self.line_starts = core::iter::once(0).chain(breaks).collect();
                let lines = lines(text);
                match layer {
                    Layer::Outer => self.shown.outer = Some(LayerShown { content: None, lines }),
                    Layer::Middle => self.shown.middle = Some(LayerShown { content: None, lines }),
                    Layer::Inner => self.shown.inner = Some(LayerShown { content: None, lines }),
                }
            }
            Part::Outer(outer) => {
                let cert = UnverifiedCert::parse(&outer.signing_cert).ok();
                let content = OuterShown {
                    lifetime_minutes: outer.lifetime,
                    revision: outer.revision.0,
                    revision_seconds: None,
                    period: None,
                    signing_cert: cert.as_ref().map(show_cert),
                };
                self.shown.outer.iter_mut().for_each(|layer| layer.content = Some(content.clone()));
            }
            Part::Period(TimePeriod { number, length_minutes }) => {
                let period = PeriodStatus { number, length_minutes };
                self.outer().into_iter().for_each(|outer| outer.period = Some(period));
            }
            Part::Middle(middle, client_listed) => {
                let content = MiddleShown {
                    ephemeral_key: hex(&middle.ephemeral_key),
                    auth_clients: middle.clients.len(),
                    client_listed,
                };
                self.shown.middle.iter_mut().for_each(|layer| layer.content = Some(content.clone()));
            }
            Part::Inner(inner) => {
                let points = inner.points.iter().map(|listed| self.show_point(listed)).collect();
                let show = |PowParams { seed, effort, expires }| PowShown { seed: hex(&seed), effort, expires };
                let content = InnerShown { header: inner.header.0.clone(), pow: inner.pow.map(show), points };
                self.shown.inner.iter_mut().for_each(|layer| layer.content = Some(content.clone()));
            }
        }
    }

    fn objects(&mut self, error: DescriptorError) -> Result<(), DescriptorError> {
        self.note(error);
        Ok(())
    }
}

impl Examiner {
    fn show_point(&self, listed: &Listed<'_>) -> PointShown {
        let Listed { line, point, refused } = listed;
        let refused = refused.map(|error| FaultShown {
            layer: Layer::Inner,
            line: error.line,
            byte: self.byte(Layer::Inner, error.line),
            fault: error.fault,
            text: error.to_string(),
        });
        let said = |say: fn(&UnverifiedPoint<'_>) -> String| point.as_ref().map(say);
        PointShown {
            line: *line,
            relay: point.as_ref().and_then(UnverifiedPoint::relay).map(|relay| relay.to_string()),
            link_specifiers: point.as_ref().map(|point| link_specifiers(&point.link_specifiers)).unwrap_or_default(),
            onion_key: said(|point| hex(&point.onion_key)),
            auth_cert: point.as_ref().map(|point| show_cert(&point.auth_cert)),
            enc_key: said(|point| hex(&point.enc_key)),
            enc_cert: point.as_ref().map(|point| show_cert(&point.enc_cert)),
            refused,
        }
    }
}

fn lines(text: &str) -> Vec<LineShown> {
    let mut items: Vec<Item<'_>> = Vec::new();
    // An error is told by whoever reads the layer.
    let _ = netdoc::parse_into(&mut items, text);
    let shown = items.iter().map(|item| LineShown {
        line: item.line,
        text: item.first_line.trim().to_owned(),
        object: item.object_shape().map(|(label, bytes)| ObjectShown { label: label.to_owned(), bytes }),
    });
    shown.collect()
}

fn show_cert(cert: &UnverifiedCert<'_>) -> CertShown {
    let known = [
        (CertType::DescSigning, "descriptor signing key"),
        (CertType::IntroAuth, "introduction point session key"),
        (CertType::IntroEnc, "introduction point encryption key"),
    ];
    let name = known.into_iter().find(|(kind, _)| kind.code() == cert.kind()).map_or("unknown", |(_, name)| name);
    CertShown {
        certifies: name,
        kind: cert.kind(),
        key: hex(&cert.key()),
        signer: cert.signer().map(|signer| hex(&signer)),
        expires: cert.expires().as_secs(),
    }
}

fn link_specifiers(bytes: &[u8]) -> Vec<String> {
    let specifiers = parse_link_specifiers(bytes).unwrap_or_default();
    specifiers.into_iter().map(|(kind, body)| link_specifier(kind, body)).collect()
}

fn link_specifier(kind: u8, body: &[u8]) -> String {
    let address = body.split_last_chunk().map(|(address, port)| (address, u16::from_be_bytes(*port)));
    if let (0, Some((address, port))) = (kind, address)
        && let Ok(address) = <[u8; 4]>::try_from(address)
    {
        format!("ipv4 {}:{port}", core::net::Ipv4Addr::from(address))
    } else if let (1, Some((address, port))) = (kind, address)
        && let Ok(address) = <[u8; 16]>::try_from(address)
    {
        format!("ipv6 [{}]:{port}", core::net::Ipv6Addr::from(address))
    } else {
        match kind {
            2 => format!("legacy_id {}", hex(body).to_uppercase()),
            3 => format!("ed25519_id {}", hex(body)),
            _ => format!("type {kind} {}", hex(body)),
        }
    }
}
