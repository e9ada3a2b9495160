//! Base32 as tor writes it (RFC 4648 without padding): addresses, and keys of authorised clients.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Lower case. May be of a secret, so the text is wiped; its length is known, so it is never copied.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity((bytes.len() * 8).div_ceil(5)));
    let (mut pending, mut bits) = (0_u32, 0);
    for byte in bytes {
        pending = (pending << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.extend(letter(pending >> bits));
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.extend(letter(pending << (5 - bits)));
    }
    text
}

fn letter(value: u32) -> Option<char> {
    ALPHABET.get(value as usize & 31).map(|letter| char::from(*letter))
}

/// Reads `N` bytes, in upper or lower case. Bits beyond the last whole byte are not looked at, as tor does not.
///
/// # Errors
/// [`Base32Error::Length`] comes before [`Base32Error::Letter`].
pub(crate) fn decode<const N: usize>(text: &str) -> Result<[u8; N], Base32Error> {
    if text.len() != (N * 8).div_ceil(5) {
        return Err(Base32Error::Length);
    }
    let mut bytes = [0; N];
    let mut to = bytes.iter_mut();
    let (mut pending, mut bits) = (0_u32, 0);
    for letter in text.bytes() {
        let value = match letter.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return Err(Base32Error::Letter),
        };
        pending = (pending << 5) | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            if let Some(byte) = to.next() {
                *byte = (pending >> bits) as u8;
            }
            pending &= (1 << bits) - 1;
        }
    }
    Ok(bytes)
}

/// Why a text is not so many bytes in base32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base32Error {
    /// Too short or too long.
    Length,
    /// A letter that base32 does not have.
    Letter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4648_examples_come_out_in_lower_case() {
        for (bytes, text) in
            [("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foob", "mzxw6yq"), ("foobar", "mzxw6ytboi")]
        {
            assert_eq!(*encode(bytes.as_bytes()), text);
        }
        assert_eq!(decode::<6>("MZXW6ytboi"), Ok(*b"foobar"));
        assert_eq!(decode::<1>("my"), Ok(*b"f"));
        assert_eq!(decode::<1>("mya"), Err(Base32Error::Length));
        assert_eq!(decode::<1>("m1"), Err(Base32Error::Letter));
    }
}
