//! v3 onion service descriptors: outer, middle and inner layer, in C tor's own layout
//! (rend-spec `[HS-DESC]`). Encode and parse stand side by side in each layer's file.
//!
//! What a tor client refuses is refused here, what it accepts is accepted; the exceptions and their reasons are in
//! `docs/DECISIONS.md` (A descriptor is judged as a tor client judges it).
//!
//! Whether an HSDir already stores a newer revision is beyond a parser.

mod client;
mod client_key;
mod crypt;
mod error;
mod examine;
#[doc(hidden)]
pub mod exercise;
mod inner;
mod intro;
mod middle;
mod netdoc;
mod outer;
mod pow;
mod signing;

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use crate::onion::client::{HsClientDescEncKey, HsClientDescEncKeypair};
use crate::onion::key::{HsBlindId, HsBlindIdKeypair, HsId, Subcredential};
use crate::onion::period::TimePeriod;
use crate::onion::revision::RevisionCounter;
use crate::time::Wall;
use client::{cookie_for, random};
pub use client_key::{ClientKey, ClientKeyError};
use crypt::{Cookie, CryptError, LayerCipher};
pub use error::{BuildError, DescriptorError, DescriptorFault, Layer, PointError, PointFault};
pub use examine::{
    CertShown, Examination, FaultShown, InnerShown, LayerShown, LineShown, MiddleShown, ObjectShown, OuterShown,
    PointShown, PowShown, examine,
};
use inner::{Inner, Listed};
pub use intro::{IntroPoint, LINK_SPECIFIERS_LENGTH_MAX};
use middle::Middle;
pub use netdoc::SyntaxFault;
use outer::UnverifiedOuter;
pub use pow::{Harvest, PowOffer, PowParams};
pub use signing::SigningKeys;

/// Introduction points a client accepts.
pub const NUM_INTRO_POINT_MAX: usize = 20;
/// Largest descriptor an HSDir takes, bytes.
pub const DESCRIPTOR_SIZE_MAX: usize = 49_999;

/// The inner layer's lines before the first introduction point, in order, as tor wrote them
/// (`create2-formats`, `flow-control`, `single-onion-service`, ...). `pow-params` never stands here: see [`PowParams`].
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct InnerHeader(pub Vec<String>);

/// Everything a descriptor is made of.
pub struct Content<'a> {
    /// The period's blinded key.
    pub blind: &'a HsBlindIdKeypair,
    /// `N_hs_subcred` of that period.
    pub subcredential: Subcredential,
    /// Revision counter.
    pub revision: RevisionCounter,
    /// Lines before the points.
    pub header: &'a InnerHeader,
    /// Proof of work, if offered: of the one tor that has all the points, whose keys are of this period.
    pub pow: Option<&'a PowParams>,
    /// 1..=20 points, no relay twice, their keys sound ([`IntroPoint::has_sound_keys`]): who takes a point in checks
    /// that once.
    pub points: &'a [IntroPoint],
    /// Authorised clients; none means open to all.
    pub clients: &'a [HsClientDescEncKey],
    /// For certificates.
    pub now: Wall,
}

/// Builds, encrypts and signs. What two calls with the same arguments differ in is what `rng` gives them, the salts of the
/// encryption alone: tor, too, encrypts anew for each HSDir.
///
/// # Errors
/// See [`BuildError`]; `keys` keeps at most the certificates made so far, which stay valid.
pub fn build(keys: &mut SigningKeys, content: &Content<'_>, rng: &mut impl CryptoRng) -> Result<String, BuildError> {
    check(keys, content)?;
    keys.renew(content.blind, content.now);
    let points = keys.certify(content.points, content.now)?;
    let inner = inner::encode(content.header, content.pow, points.iter().copied());

    let blind = content.blind.public();
    let layers = Layers { blind, subcredential: content.subcredential, revision: content.revision };
    let authorisation = keys.authorise(content.clients, content.subcredential);
    let middle = Middle {
        ephemeral_key: authorisation.ephemeral_key,
        ephemeral_key_line: 0,
        clients: authorisation.lines.clone(),
        encrypted: layers.inner(authorisation.cookie.as_ref()).encrypt(random(rng), inner.as_bytes()),
        encrypted_line: 0,
    };
    let superencrypted = layers.middle().encrypt(random(rng), &middle.encode());
    let text = outer::encode(keys, content.revision, &superencrypted);
    if text.len() > DESCRIPTOR_SIZE_MAX {
        return Err(BuildError::TooLarge(text.len()));
    }
    Ok(text)
}

/// A descriptor, verified and decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its revision counter.
    pub revision: RevisionCounter,
    /// Which of the periods offered to [`open`] it is for.
    pub period: TimePeriod,
    /// Lines before the points, without `pow-params`.
    pub header: InnerHeader,
    /// Proof of work, if offered.
    pub pow: Option<PowParams>,
    /// The points, in order, without the refused ones.
    pub points: Vec<IntroPoint>,
    /// Points left out, as tor does with those whose lines are broken or whose certificates are bad or expired.
    pub refused: Vec<PointError>,
    /// Authorised clients alone can open it, and the one it was opened as is one of them.
    pub restricted: bool,
}

/// Reads only the plaintext revision counter: the cheap change detector.
pub fn peek_revision(text: &[u8]) -> Option<RevisionCounter> {
    let digits = text
        .split(|&byte| byte == b'\n')
        .take_while(|line| *line != b"superencrypted")
        .find_map(|line| line.strip_prefix(b"revision-counter "))?;
    core::str::from_utf8(digits).ok()?.trim_ascii().parse().ok().map(RevisionCounter)
}

/// Parses, verifies and decrypts `text` as a descriptor of `id` for one of `periods`.
/// `client` matters where client authorisation is on, and there alone.
///
/// # Errors
/// See [`DescriptorFault`]. A client that is not authorised gets [`DescriptorFault::Mac`] in the middle layer.
pub fn open(
    text: &[u8],
    id: HsId,
    periods: &[TimePeriod],
    client: Option<&HsClientDescEncKeypair>,
    now: Wall,
) -> Result<Descriptor, DescriptorError> {
    read(text, &Key { id, periods, client }, now, &mut Client)
}

/// What is needed to read a descriptor.
struct Key<'a> {
    id: HsId,
    periods: &'a [TimePeriod],
    client: Option<&'a HsClientDescEncKeypair>,
}

/// Who reads a descriptor: is shown its parts one after the other, and judges what is wrong.
trait Reader {
    /// The next part.
    fn sees(&mut self, _part: Part<'_>) {}

    /// Whether a fault that does not keep one from reading on is a reason to stop.
    fn objects(&mut self, error: DescriptorError) -> Result<(), DescriptorError>;
}

/// What a [`Reader`] is shown, in this order.
enum Part<'a> {
    /// The text of a layer.
    Text(Layer, &'a str),
    Outer(&'a UnverifiedOuter<'a>),
    Period(TimePeriod),
    /// And whether it lists the client.
    Middle(&'a Middle, bool),
    Inner(&'a Inner<'a>),
}

/// A tor client objects to everything.
struct Client;

impl Reader for Client {
    fn objects(&mut self, error: DescriptorError) -> Result<(), DescriptorError> {
        Err(error)
    }
}

/// Reads layer by layer, as far as `reader` wants to and the descriptor can be read.
fn read(text: &[u8], key: &Key<'_>, now: Wall, reader: &mut impl Reader) -> Result<Descriptor, DescriptorError> {
    let text = until_nul(text);
    if text.len() > DESCRIPTOR_SIZE_MAX {
        let line = netdoc::line_at(text, DESCRIPTOR_SIZE_MAX);
        let fault = DescriptorFault::TooLarge(text.len());
        reader.objects(DescriptorError { layer: Layer::Outer, line, fault })?;
    }
    let text = utf8(text, Layer::Outer)?;
    reader.sees(Part::Text(Layer::Outer, text));
    let outer = UnverifiedOuter::parse(text)?;
    reader.sees(Part::Outer(&outer));
    let blind = outer.blind()?;
    let Key { id, periods, client } = *key;
    let period = *periods.iter().find(|period| id.blind(**period) == Some(blind)).ok_or(outer.other_identity())?;
    reader.sees(Part::Period(period));
    let outer = outer.verify(blind, now, reader)?;

    let subcredential = id.subcredential(blind);
    let layers = Layers { blind, subcredential, revision: outer.revision };
    let middle = decrypt(&layers.middle(), &outer.superencrypted, (Layer::Outer, outer.superencrypted_line))?;
    let middle = utf8(until_nul(&middle), Layer::Middle)?;
    reader.sees(Part::Text(Layer::Middle, middle));
    let middle = Middle::parse(middle)?;
    if let Some(error) = middle.open_secret().filter(|_| client.is_some()) {
        reader.objects(error)?;
    }
    let cookie = client.and_then(|secret| cookie_for(&middle, secret, subcredential));
    reader.sees(Part::Middle(&middle, cookie.is_some()));
    let inner = decrypt(&layers.inner(cookie.as_ref()), &middle.encrypted, (Layer::Middle, middle.encrypted_line))?;
    let inner = utf8(until_nul(&inner), Layer::Inner)?;
    reader.sees(Part::Text(Layer::Inner, inner));
    let items = Inner::parse(inner)?;
    let inner = Inner::read(&items, &outer.signing_key, now, reader)?;
    reader.sees(Part::Inner(&inner));

    let Inner { header, pow, points } = inner;
    let refused = points.iter().filter_map(|listed| listed.refused).collect();
    let good = points.into_iter().filter(|listed| listed.refused.is_none());
    let points = good.filter_map(|Listed { point, .. }| point).map(intro::UnverifiedPoint::into_point).collect();
    let restricted = cookie.is_some();
    Ok(Descriptor { revision: outer.revision, period, header, pow, points, refused, restricted })
}

/// What the encryption of both layers depends on.
struct Layers {
    blind: HsBlindId,
    subcredential: Subcredential,
    revision: RevisionCounter,
}

impl Layers {
    fn middle(&self) -> LayerCipher<'static> {
        self.cipher("hsdir-superencrypted-data", None)
    }

    fn inner<'a>(&self, cookie: Option<&'a Cookie>) -> LayerCipher<'a> {
        self.cipher("hsdir-encrypted-data", cookie)
    }

    fn cipher<'a>(&self, string_constant: &'static str, cookie: Option<&'a Cookie>) -> LayerCipher<'a> {
        let Self { blind, subcredential, revision } = *self;
        LayerCipher { string_constant, blind, cookie, subcredential, revision }
    }
}

/// The text of an encrypted layer with its padding; `place` says where the blob stands.
fn decrypt(cipher: &LayerCipher<'_>, blob: &[u8], place: (Layer, usize)) -> Result<Vec<u8>, DescriptorError> {
    let (layer, line) = place;
    cipher.decrypt(blob).map_err(|error| {
        let fault = match error {
            CryptError::TooShort => DescriptorFault::TooShort,
            CryptError::Mac => DescriptorFault::Mac,
        };
        DescriptorError { layer, line, fault }
    })
}

fn utf8(text: &[u8], layer: Layer) -> Result<&str, DescriptorError> {
    core::str::from_utf8(text).map_err(|error| {
        let line = netdoc::line_at(text, error.valid_up_to());
        DescriptorError { layer, line, fault: DescriptorFault::NotUtf8 }
    })
}

/// Like tor we read up to the first NUL, in every layer.
fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Everything that can be wrong before any key is used.
fn check(keys: &SigningKeys, content: &Content<'_>) -> Result<(), BuildError> {
    if keys.blind() != content.blind.public() {
        return Err(BuildError::OtherPeriod);
    }
    if content.points.is_empty() {
        return Err(BuildError::NoPoints);
    }
    if content.points.len() > NUM_INTRO_POINT_MAX {
        return Err(BuildError::TooManyPoints(content.points.len()));
    }
    let relays = content.points.iter().map(|point| point.relay().ok_or(BuildError::NoRelay));
    if relays.collect::<Result<BTreeSet<_>, _>>()?.len() < content.points.len() {
        return Err(BuildError::RelayTwice);
    }
    if inner::header_is_sound(content.header) { Ok(()) } else { Err(BuildError::BadHeader) }
}

#[cfg(test)]
mod tests;
