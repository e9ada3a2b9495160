//! Base32 as onion addresses and client keys have it: RFC 4648's alphabet in lower case, without padding.

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why a text is not that many bytes in base32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base32Error {
    /// Too few or too many characters.
    Length,
    /// A character outside base32.
    Character,
}

/// The characters of `bytes`.
pub(crate) fn encode(bytes: impl IntoIterator<Item = u8>) -> String {
    let mut text = String::new();
    let (mut pending, mut bits) = (0_u32, 0);
    let mut push = |index: u32| text.extend(ALPHABET.get(index as usize & 31).map(|&letter| char::from(letter)));
    for byte in bytes {
        pending = (pending << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(pending >> bits);
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        push(pending << (5 - bits));
    }
    text
}

/// Writes what `text` stands for, in lower or upper case, into all of `bytes`. Bits left over are ignored.
///
/// # Errors
/// See [`Base32Error`]; `bytes` may be filled in part.
pub(crate) fn decode(text: &str, bytes: &mut [u8]) -> Result<(), Base32Error> {
    if text.len() != (bytes.len() * 8).div_ceil(5) {
        return Err(Base32Error::Length);
    }
    let mut to = bytes.iter_mut();
    let (mut pending, mut bits) = (0_u32, 0);
    for letter in text.bytes() {
        let value = match letter.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return Err(Base32Error::Character),
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_in_any_case() {
        for length in [0, 1, 5, 32, 35] {
            let bytes: Vec<u8> = (0..length).map(|n| 0xA5 ^ (n * 7)).collect();
            let text = encode(bytes.iter().copied());
            for text in [text.clone(), text.to_uppercase()] {
                let mut read = vec![0; bytes.len()];
                assert_eq!(decode(&text, &mut read), Ok(()));
                assert_eq!(read, bytes);
            }
        }
        assert_eq!(encode(*b"foobar"), "mzxw6ytboi", "RFC 4648");
    }

    #[test]
    fn other_lengths_and_characters_are_refused() {
        assert_eq!(decode("a", &mut [0; 32]), Err(Base32Error::Length));
        assert_eq!(decode("a1", &mut [0]), Err(Base32Error::Character));
        assert_eq!(decode("aü", &mut [0]), Err(Base32Error::Length));
    }
}
