//! QuotedString and the words of a line (control-spec `[Note: QuotedStrings]`).

use std::borrow::Cow;

/// `"..."` with backslash escapes, octal for everything that is not printable ASCII: any value is safe in a command.
pub fn quote(value: &[u8]) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for &byte in value {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\{byte:03o}")),
        }
    }
    quoted.push('"');
    quoted
}

/// Reads the QuotedString that `text` begins with; gives its value and what follows it.
/// `None` if it does not begin with a quote, never ends, or holds an octal escape above 377.
pub fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut value = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((value, rest)),
            b'\\' => {
                let (byte, after) = unescape(rest)?;
                value.push(byte);
                rest = after;
            }
            _ => value.push(byte),
        }
    }
}

/// What follows a backslash.
fn unescape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, rest) = text.split_first()?;
    match first {
        b'0'..=b'7' => {
            let length = text.iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
            let (digits, rest) = text.split_at_checked(length)?;
            let value = digits.iter().fold(0_u16, |value, digit| value * 8 + u16::from(digit - b'0'));
            Some((u8::try_from(value).ok()?, rest))
        }
        b'n' => Some((b'\n', rest)),
        b'r' => Some((b'\r', rest)),
        b't' => Some((b'\t', rest)),
        _ => Some((first, rest)),
    }
}

/// One word of a line: bare, or `KEY=value` with the value unquoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// `KEY` of `KEY=value`.
    pub key: Option<&'a str>,
    /// The value, or the bare word.
    pub value: Cow<'a, [u8]>,
}

impl Word<'_> {
    /// The value as text; bytes that are no UTF-8 become U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.value).into_owned()
    }
}

/// Splits a line at spaces outside quotes. A quote that never ends is taken as it stands.
pub fn words(line: &[u8]) -> impl Iterator<Item = Word<'_>> {
    let mut rest = line;
    core::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let (key, value) = split_key(rest);
        if let Some((value, after)) = unquote(value).filter(|(_, after)| after.first().is_none_or(|next| *next == b' '))
        {
            rest = after;
            return Some(Word { key, value: Cow::Owned(value) });
        }
        let length = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (value, after) = value.split_at_checked(length)?;
        rest = after;
        (key.is_some() || !value.is_empty()).then_some(Word { key, value: Cow::Borrowed(value) })
    })
}

/// `KEY=` in front, where KEY is of capital letters, digits, `_` and `-` or mixed-case letters (`Tor=`).
fn split_key(word: &[u8]) -> (Option<&str>, &[u8]) {
    let length = word.iter().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count();
    match word.split_at_checked(length) {
        Some((key, value)) if length > 0 => match (core::str::from_utf8(key), value.strip_prefix(b"=")) {
            (Ok(key), Some(value)) => (Some(key), value),
            _ => (None, word),
        },
        _ => (None, word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_tors_octal_escapes() {
        let (value, rest) = unquote(br#""odd \"q\" back\\slash caf\303\251" X=1"#).unwrap();
        assert_eq!(value, "odd \"q\" back\\slash café".as_bytes());
        assert_eq!(rest, b" X=1");
    }

    #[test]
    fn refuses_broken_strings() {
        for bad in [&b""[..], b"a", b"\"", b"\"a", b"\"a\\", b"\"\\400\"", b"\"a\\\""] {
            assert_eq!(unquote(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn quoting_leaves_nothing_that_ends_a_command() {
        assert_eq!(quote(b"a\r\nQUIT \"\\"), r#""a\015\012QUIT \"\\""#);
    }

    #[test]
    fn splits_words_outside_quotes() {
        let found: Vec<_> = words(br#"NOTICE  BOOTSTRAP PROGRESS=5 SUMMARY="To a relay" $AB~x E= Q="open"#)
            .map(|word| (word.key, word.text()))
            .collect();
        let expected = [
            (None, "NOTICE"),
            (None, "BOOTSTRAP"),
            (Some("PROGRESS"), "5"),
            (Some("SUMMARY"), "To a relay"),
            (None, "$AB~x"),
            (Some("E"), ""),
            (Some("Q"), "\"open"),
        ];
        assert_eq!(found, expected.map(|(key, text)| (key, text.to_owned())));
    }

    proptest! {
        #[test]
        fn unquote_undoes_quote(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let quoted = quote(&value);
            prop_assert!(quoted.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(unquote(quoted.as_bytes()), Some((value, &b""[..])));
        }

        #[test]
        fn any_line_splits_without_panic(line in prop::collection::vec(prop::sample::select(&b"A= \"\\7$x\xff"[..]), 0..40)) {
            prop_assert!(words(&line).count() <= line.len());
        }
    }
}
