//! An introduction point: what a node reports and what a descriptor lists.

use base64::Engine as _;
use curve25519_dalek::edwards::CompressedEdwardsY;

use super::error::{PointError, PointFault};
use super::inner::Listed;
use super::netdoc::{self, BASE64_PADDED, Item, Section, decode_base64, decode_base64_vec};
use super::outer::CERT_LABEL;
use crate::id::RelayFingerprint;
use crate::onion::cert::{CertType, UnverifiedCert};
use crate::onion::key::sound_x25519;
use crate::onion::low_order;
use crate::onion::signature::SharedSigner;
use crate::shared;
use crate::time::Wall;

/// The longest [`IntroPoint::link_specifiers`], bytes. Tor itself writes at most 85.
pub const LINK_SPECIFIERS_LENGTH_MAX: usize = 255;

const LEGACY_IDENTITY: u8 = 2;

/// Keys and link specifiers of one introduction point; about 190 bytes on the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
pub struct IntroPoint {
    /// Link specifiers as in the descriptor: NSPEC, then type, length, body each. At most 255 bytes.
    pub link_specifiers: Vec<u8>,
    /// `KP_ntor` of the relay.
    pub onion_key: [u8; 32],
    /// `KP_hs_ipt_sid`, ed25519.
    pub auth_key: [u8; 32],
    /// `KP_hss_ntor`, x25519.
    pub enc_key: [u8; 32],
}

impl IntroPoint {
    /// The relay, from its legacy identity link specifier; `None` makes the point unusable.
    ///
    /// There must be exactly one such specifier, it must not be zero, and all specifiers must parse.
    pub fn relay(&self) -> Option<RelayFingerprint> {
        relay(&self.link_specifiers)
    }

    /// Whether all three keys are curve points and none is of low order (zero among them).
    pub fn has_sound_keys(&self) -> bool {
        shared::answer(&[b"sound", &self.auth_key, &self.onion_key, &self.enc_key], || {
            let auth_key = CompressedEdwardsY(self.auth_key).decompress();
            auth_key.is_some_and(|point| !point.is_small_order())
                && [self.onion_key, self.enc_key].into_iter().all(|key| sound_x25519(key).is_some())
        })
    }

    /// The descriptor's lines, with both certificates.
    pub(super) fn encode(&self, auth_cert: &[u8], enc_cert: &[u8]) -> String {
        let [link_specifiers, onion_key, enc_key] =
            [&self.link_specifiers[..], &self.onion_key, &self.enc_key].map(|field| BASE64_PADDED.encode(field));
        let mut text = String::with_capacity(2 * netdoc::object_room(auth_cert.len()) + link_specifiers.len() + 256);
        text.extend(["introduction-point ", &link_specifiers, "\nonion-key ntor ", &onion_key, "\nauth-key\n"]);
        netdoc::push_object(&mut text, CERT_LABEL, auth_cert);
        text.extend(["enc-key ntor ", &enc_key, "\nenc-key-cert\n"]);
        netdoc::push_object(&mut text, CERT_LABEL, enc_cert);
        text
    }
}

/// A well-formed point whose certificates have not been looked at yet.
pub(super) struct UnverifiedPoint<'a> {
    pub link_specifiers: Vec<u8>,
    pub onion_key: [u8; 32],
    pub enc_key: [u8; 32],
    /// `auth-key`.
    pub auth_cert: UnverifiedCert<'a>,
    /// `enc-key-cert`.
    pub enc_cert: UnverifiedCert<'a>,
    lines: PointLines,
}

/// Where it says what.
struct PointLines {
    link_specifiers: usize,
    onion_key: usize,
    auth_key: usize,
    enc_key: usize,
    enc_cert: usize,
}

impl<'a> UnverifiedPoint<'a> {
    /// Reads one point's lines.
    pub fn parse(section: Section<'a, '_>) -> Result<Self, PointError> {
        let specifiers = section.one("introduction-point")?;
        let [base64] = specifiers.args()?;
        let link_specifiers = decode_base64_vec(base64).filter(|bytes| parse_link_specifiers(bytes).is_some());
        let link_specifiers = link_specifiers.ok_or(error(specifiers, PointFault::LinkSpecifiers))?;
        let auth_key = section.one("auth-key")?;
        let auth_cert = parse_cert(auth_key, "auth-key", auth_key.lone_object(CERT_LABEL)?)?;
        let enc_cert_item = section.one("enc-key-cert")?;
        let enc_cert = parse_cert(enc_cert_item, "enc-key-cert", enc_cert_item.object(CERT_LABEL)?)?;
        let mut onion_key = None;
        for item in section.all("onion-key") {
            let [kind, base64] = item.leading_args()?;
            if kind == "ntor" {
                let key = decode_base64(base64).ok_or(error(item, PointFault::Key("onion-key")))?;
                onion_key = Some((key, item.line));
            }
        }
        let (onion_key, onion_key_line) = onion_key.ok_or(error(specifiers, PointFault::NoNtor("onion-key")))?;
        let enc_key_item = section.one("enc-key")?;
        let ["ntor", base64] = enc_key_item.leading_args()? else {
            return Err(error(enc_key_item, PointFault::NoNtor("enc-key")));
        };
        let enc_key = decode_base64(base64).ok_or(error(enc_key_item, PointFault::Key("enc-key")))?;
        let lines = PointLines {
            link_specifiers: specifiers.line,
            onion_key: onion_key_line,
            auth_key: auth_key.line,
            enc_key: enc_key_item.line,
            enc_cert: enc_cert_item.line,
        };
        Ok(Self { link_specifiers, onion_key, enc_key, auth_cert, enc_cert, lines })
    }

    /// As [`IntroPoint::relay`].
    pub fn relay(&self) -> Option<RelayFingerprint> {
        relay(&self.link_specifiers)
    }

    /// What it says, whether that is certified or not.
    pub fn into_point(self) -> IntroPoint {
        let Self { link_specifiers, onion_key, enc_key, auth_cert, .. } = self;
        IntroPoint { link_specifiers, onion_key, auth_key: auth_cert.key(), enc_key }
    }

    /// What keeps it from being used: first what tor looks at, then what tor notices only when it uses it.
    fn check(
        &self,
        signer: &[u8; 32],
        now: Wall,
        [auth_is_signed, enc_is_signed]: [bool; 2],
    ) -> Result<(), PointError> {
        let Self { link_specifiers, onion_key, enc_key, auth_cert, enc_cert, lines } = self;
        let fault = |line, fault| PointError { line, fault };
        let auth = auth_cert.verify_with(CertType::IntroAuth, signer, now, || auth_is_signed);
        let auth = auth.map_err(|error| fault(lines.auth_key, PointFault::Cert("auth-key", error)))?;
        // Like tor we do not compare this certificate's key with `enc-key`.
        let enc = enc_cert.verify_with(CertType::IntroEnc, signer, now, || enc_is_signed);
        enc.map_err(|error| fault(lines.enc_cert, PointFault::Cert("enc-key-cert", error)))?;
        if relay(link_specifiers).is_none() {
            return Err(fault(lines.link_specifiers, PointFault::NoRelay));
        }
        for (line, keyword, is_low_order) in [
            (lines.onion_key, "onion-key", low_order::x25519(onion_key)),
            (lines.auth_key, "auth-key", low_order::ed25519(&auth.key)),
            (lines.enc_key, "enc-key", low_order::x25519(enc_key)),
        ] {
            if is_low_order {
                return Err(fault(line, PointFault::LowOrderKey(keyword)));
            }
        }
        Ok(())
    }
}

/// Checks all points that could be read, their certificates together.
pub(super) fn verify_all(listed: &mut [Listed<'_>], signer: &SharedSigner, now: Wall) {
    let readable = listed.iter().filter_map(|listed| listed.point.as_ref());
    let signed: Vec<_> = readable.flat_map(|point| [point.auth_cert.signed(), point.enc_cert.signed()]).collect();
    let good = signer.verify_all(&signed);
    let mut good = good.as_chunks().0.iter();
    for Listed { point, refused, .. } in listed {
        if let Some(point) = point {
            let are_signed = good.next().copied().unwrap_or_default();
            *refused = point.check(signer.as_bytes(), now, are_signed).err();
        }
    }
}

fn parse_cert<'a>(item: &Item<'_>, keyword: &'static str, bytes: &'a [u8]) -> Result<UnverifiedCert<'a>, PointError> {
    UnverifiedCert::parse(bytes).map_err(|why| error(item, PointFault::Cert(keyword, why)))
}

fn error(item: &Item<'_>, fault: PointFault) -> PointError {
    PointError { line: item.line, fault }
}

fn relay(link_specifiers: &[u8]) -> Option<RelayFingerprint> {
    let specifiers = parse_link_specifiers(link_specifiers)?;
    let mut identities = specifiers.iter().filter(|(kind, _)| *kind == LEGACY_IDENTITY);
    let (Some((_, identity)), None) = (identities.next(), identities.next()) else { return None };
    let identity = <[u8; 20]>::try_from(*identity).ok()?;
    (identity != [0; 20]).then_some(RelayFingerprint(identity))
}

/// Type and body of each specifier; `None` if one of a known type has the wrong length or bytes are left over.
pub(super) fn parse_link_specifiers(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    if bytes.len() > LINK_SPECIFIERS_LENGTH_MAX {
        return None;
    }
    let (&count, mut rest) = bytes.split_first()?;
    let mut specifiers = Vec::new();
    for _ in 0..count {
        let (&[kind, length], tail) = rest.split_first_chunk()?;
        let (body, tail) = tail.split_at_checked(usize::from(length))?;
        let is_well_formed = match kind {
            0 => body.len() == 4 + 2,
            1 => body.len() == 16 + 2,
            LEGACY_IDENTITY => body.len() == 20,
            3 => body.len() == 32,
            _ => true,
        };
        if !is_well_formed {
            return None;
        }
        specifiers.push((kind, body));
        rest = tail;
    }
    rest.is_empty().then_some(specifiers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    fn point(link_specifiers: Vec<u8>) -> IntroPoint {
        let mut base_point = [0; 32];
        base_point[0] = 9;
        let auth_key = SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
        IntroPoint { link_specifiers, onion_key: base_point, auth_key, enc_key: base_point }
    }

    fn specifiers(list: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![list.len() as u8];
        for (kind, body) in list {
            bytes.extend([*kind, body.len() as u8]);
            bytes.extend(*body);
        }
        bytes
    }

    #[test]
    fn the_relay_is_the_one_legacy_identity() {
        let (address, identity) = ([127, 0, 0, 1, 1, 187], [0xAB; 20]);
        let relay = |list: &[(u8, &[u8])]| point(specifiers(list)).relay();
        assert_eq!(relay(&[(0, &address), (2, &identity), (77, &[])]), Some(RelayFingerprint(identity)));
        assert_eq!(relay(&[(0, &address)]), None);
        assert_eq!(relay(&[(2, &identity), (2, &identity)]), None);
        assert_eq!(relay(&[(2, &[0; 20])]), None);
        assert_eq!(relay(&[(2, &identity), (0, &address[..5])]), None);
    }

    #[test]
    fn link_specifiers_fill_their_bytes_exactly() {
        let good = specifiers(&[(0, &[1; 6]), (1, &[1; 18]), (2, &[1; 20]), (3, &[1; 32])]);
        assert!(point(good.clone()).relay().is_some());
        for length in 0..good.len() {
            assert_eq!(point(good[..length].to_vec()).relay(), None, "{length}");
        }
        assert_eq!(point([good, vec![0]].concat()).relay(), None);
        assert_eq!(point(specifiers(&[(2, &[1; 20]), (9, &[0; 231])])).relay(), None, "longer than the limit");
    }

    #[test]
    fn zero_and_low_order_keys_are_unsound() {
        let good = point(vec![0]);
        assert!(good.has_sound_keys());
        assert!(!IntroPoint { auth_key: [0; 32], ..good.clone() }.has_sound_keys());
        assert!(!IntroPoint { onion_key: [0; 32], ..good.clone() }.has_sound_keys());
        let mut one = [0; 32];
        one[0] = 1;
        assert!(!IntroPoint { enc_key: one, ..good }.has_sound_keys());
    }
}
