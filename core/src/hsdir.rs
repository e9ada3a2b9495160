//! The HSDir ring, computed here from the microdescriptor consensus (rend-spec `[HASHRING]`).

pub mod consensus;
pub mod microdesc;
pub mod ring;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Directory documents write base64 with padding in some places and without in others.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Exactly `N` bytes (at most 32) of base64.
fn decode_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut buffer = [0; 36];
    let length = BASE64.decode_slice(text, &mut buffer).ok()?;
    buffer.get(..length)?.try_into().ok()
}
