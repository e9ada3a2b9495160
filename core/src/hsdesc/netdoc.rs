//! Line syntax of tor's documents (dir-spec `[metaformat]`): keyword lines, some followed by a base64 object.

use core::fmt;
use core::str::FromStr;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};

/// White space within a line. As for tor, form feed and vertical tab are none.
const SPACE: [char; 3] = [' ', '\t', '\r'];
/// What tor passes over within base64: vertical tab, too.
const SPACE_IN_BASE64: [char; 4] = [' ', '\t', '\r', '\x0b'];

/// Characters of base64 per line of an object.
const OBJECT_LINE_LENGTH: usize = 64;

/// Reads and writes many bytes at once where the processor can.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
type Bulk = base64::engine::Simd;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Bulk = GeneralPurpose;

/// Base64 with padding, as tor writes keys, link specifiers and objects.
pub(super) static BASE64_PADDED: LazyLock<Bulk> = LazyLock::new(|| bulk(GeneralPurposeConfig::new()));
/// Base64 without padding, as tor writes signatures and `auth-client` arguments.
pub(super) const BASE64_UNPADDED: GeneralPurpose = general_purpose::STANDARD_NO_PAD;
/// Reads both, and like tor ignores the bits left over.
static BASE64_TOLERANT: LazyLock<Bulk> = LazyLock::new(|| {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    bulk(config.with_decode_allow_trailing_bits(true))
});

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn bulk(config: GeneralPurposeConfig) -> Bulk {
    Bulk::standard(config)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn bulk(config: GeneralPurposeConfig) -> Bulk {
    Bulk::new(&base64::alphabet::STANDARD, config)
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SyntaxFault {
    /// This line is missing; reported for the document's last line.
    Missing(&'static str),
    /// This line stands there more often than it may.
    Repeated(&'static str),
    /// This line must be the first one.
    NotFirst(&'static str),
    /// This line must be the last one.
    NotLast(&'static str),
    /// Too few or too many arguments.
    Arguments,
    /// An object where none belongs.
    UnexpectedObject,
    /// No object, or one with another label than this.
    NoObject(&'static str),
    /// A broken `-----BEGIN` line, or an `-----END` line that does not match it.
    ObjectLabel,
    /// No `-----END` line.
    UnterminatedObject,
    /// Characters outside base64.
    Base64,
}

impl fmt::Display for SyntaxFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(keyword) => write!(f, "the line \"{keyword}\" is missing"),
            Self::Repeated(keyword) => write!(f, "the line \"{keyword}\" stands there too often"),
            Self::NotFirst(keyword) => write!(f, "the first line is not \"{keyword}\""),
            Self::NotLast(keyword) => write!(f, "the last line is not \"{keyword}\""),
            Self::Arguments => f.write_str("the line has too few or too many arguments"),
            Self::UnexpectedObject => f.write_str("an object follows where none belongs"),
            Self::NoObject(label) => write!(f, "no object {label} follows"),
            Self::ObjectLabel => f.write_str("an object's BEGIN and END lines are broken or do not match"),
            Self::UnterminatedObject => f.write_str("an object has no END line"),
            Self::Base64 => f.write_str("not base64"),
        }
    }
}

/// A fault and its line, 1-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// 1-based.
    pub line: usize,
    /// What is wrong there.
    pub fault: SyntaxFault,
}

/// One keyword line with its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The first word.
    pub keyword: &'a str,
    /// 1-based.
    pub line: usize,
    /// The line with it, as it stands there.
    pub first_line: &'a str,
    /// All its lines as they stand there, without white space at the end.
    pub text: &'a str,
    arguments: &'a str,
    object: Option<Object<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Object<'a> {
    label: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Item<'a> {
    /// Exactly `N` arguments and no object.
    pub fn args<const N: usize>(&self) -> Result<[&'a str; N], SyntaxError> {
        let args = self.first_args()?;
        if self.all_args().count() > N { Err(self.error(SyntaxFault::Arguments)) } else { Ok(args) }
    }

    /// The first `N` arguments; more may follow, but no object.
    pub fn first_args<const N: usize>(&self) -> Result<[&'a str; N], SyntaxError> {
        if self.object.is_some() {
            return Err(self.error(SyntaxFault::UnexpectedObject));
        }
        self.leading_args()
    }

    /// The first `N` arguments, whatever else follows.
    pub fn leading_args<const N: usize>(&self) -> Result<[&'a str; N], SyntaxError> {
        let mut args = [""; N];
        let mut found = self.all_args();
        for arg in &mut args {
            *arg = found.next().ok_or(self.error(SyntaxFault::Arguments))?;
        }
        Ok(args)
    }

    /// Every argument.
    pub fn all_args(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.arguments.split(SPACE).filter(|argument| !argument.is_empty())
    }

    /// All that follows the keyword, for a line whose single argument that is to tor (`CONCAT_ARGS`).
    pub fn rest(&self) -> &'a str {
        self.arguments
    }

    /// The bytes of its object, which must be labelled `label`; no arguments.
    pub fn lone_object(&self, label: &'static str) -> Result<&[u8], SyntaxError> {
        if self.all_args().next().is_some() { Err(self.error(SyntaxFault::Arguments)) } else { self.object(label) }
    }

    /// The bytes of its object, which must be labelled `label`; any arguments.
    pub fn object(&self, label: &'static str) -> Result<&[u8], SyntaxError> {
        match &self.object {
            Some(object) if object.label == label => Ok(&object.bytes),
            Some(_) | None => Err(self.error(SyntaxFault::NoObject(label))),
        }
    }

    /// Label and length (bytes) of its object, if it has one.
    pub fn object_shape(&self) -> Option<(&'a str, usize)> {
        self.object.as_ref().map(|object| (object.label, object.bytes.len()))
    }

    fn error(&self, fault: SyntaxFault) -> SyntaxError {
        SyntaxError { line: self.line, fault }
    }
}

/// Takes a document apart. Blank lines are skipped, the last line needs no newline.
pub fn parse(text: &str) -> Result<Vec<Item<'_>>, SyntaxError> {
    let mut items = Vec::new();
    parse_into(&mut items, text)?;
    Ok(items)
}

/// [`parse`] that leaves in `items` what stands before an error.
pub fn parse_into<'a>(items: &mut Vec<Item<'a>>, text: &'a str) -> Result<(), SyntaxError> {
    let mut lines = Lines { text, at: 0, number: 0 };
    while let Some((start, whole_line)) = lines.next() {
        let (line, number) = (whole_line.trim_start_matches(SPACE), lines.number);
        if line.is_empty() {
            continue;
        }
        let (keyword, arguments) = line.split_once(SPACE).unwrap_or((line, ""));
        let arguments = arguments.trim_start_matches(SPACE);
        let object = read_object(&mut lines)?;
        let text = text.get(start..lines.at).unwrap_or_default().trim_ascii_end();
        items.push(Item { keyword, line: number, first_line: whole_line, text, arguments, object });
    }
    Ok(())
}

/// The number (1-based) of the line that the byte at `offset` is on.
pub fn line_at(text: &[u8], offset: usize) -> usize {
    text.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// Some consecutive items of a document.
#[derive(Clone, Copy)]
pub struct Section<'d, 'a>(pub &'d [Item<'a>]);

impl<'d, 'a> Section<'d, 'a> {
    /// The first item, which must be the only one with `keyword`.
    pub fn first(&self, keyword: &'static str) -> Result<&'d Item<'a>, SyntaxError> {
        let item = self.one(keyword)?;
        let is_first = self.0.first().is_some_and(|first| first.line == item.line);
        if is_first { Ok(item) } else { Err(item.error(SyntaxFault::NotFirst(keyword))) }
    }

    /// The last item, which must be the only one with `keyword`.
    pub fn last(&self, keyword: &'static str) -> Result<&'d Item<'a>, SyntaxError> {
        let item = self.one(keyword)?;
        let is_last = self.0.last().is_some_and(|last| last.line == item.line);
        if is_last { Ok(item) } else { Err(item.error(SyntaxFault::NotLast(keyword))) }
    }

    /// The only item with `keyword`.
    pub fn one(&self, keyword: &'static str) -> Result<&'d Item<'a>, SyntaxError> {
        self.at_most_one(keyword)?.ok_or_else(|| self.missing(keyword))
    }

    /// The only item with `keyword`, if there is one.
    pub fn at_most_one(&self, keyword: &'static str) -> Result<Option<&'d Item<'a>>, SyntaxError> {
        let mut found = self.all(keyword);
        let item = found.next();
        match found.next() {
            Some(second) => Err(second.error(SyntaxFault::Repeated(keyword))),
            None => Ok(item),
        }
    }

    /// At least one item with `keyword`.
    pub fn some(&self, keyword: &'static str) -> Result<impl Iterator<Item = &'d Item<'a>>, SyntaxError> {
        let mut found = self.all(keyword).peekable();
        if found.peek().is_none() { Err(self.missing(keyword)) } else { Ok(found) }
    }

    /// Every item with `keyword`.
    pub fn all(&self, keyword: &'static str) -> impl Iterator<Item = &'d Item<'a>> + use<'d, 'a> {
        self.0.iter().filter(move |item| item.keyword == keyword)
    }

    fn missing(&self, keyword: &'static str) -> SyntaxError {
        SyntaxError { line: self.0.last().map_or(1, |item| item.line), fault: SyntaxFault::Missing(keyword) }
    }
}

/// A number as tor reads it with `strtoul`: white space and a plus may stand before it, nothing after it.
pub(super) fn number<T: FromStr>(text: &str) -> Option<T> {
    text.trim_start_matches(['\t', '\r', '\x0b', '\x0c']).parse().ok()
}

/// Decodes base64 with or without padding into exactly `N` bytes.
pub(super) fn decode_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode_base64_vec(text)?.try_into().ok()
}

/// Decodes base64 with or without padding.
pub(super) fn decode_base64_vec(text: &str) -> Option<Vec<u8>> {
    BASE64_TOLERANT.decode(text).ok()
}

/// Room for an object of so many bytes: large ones are written in one go, where growing would copy them.
pub(super) const fn object_room(bytes: usize) -> usize {
    let base64 = bytes.div_ceil(3) * 4;
    base64 + base64 / OBJECT_LINE_LENGTH + 128
}

/// Appends an object with its BEGIN and END lines.
pub(super) fn push_object(out: &mut String, label: &str, bytes: &[u8]) {
    let base64 = BASE64_PADDED.encode(bytes);
    out.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = base64.as_str();
    while let Some((line, tail)) = rest.split_at_checked(OBJECT_LINE_LENGTH) {
        out.extend([line, "\n"]);
        rest = tail;
    }
    if !rest.is_empty() {
        out.extend([rest, "\n"]);
    }
    out.extend(["-----END ", label, "-----\n"]);
}

/// Walks a text line by line.
#[derive(Clone, Copy)]
struct Lines<'a> {
    text: &'a str,
    /// Start of the next line, bytes.
    at: usize,
    /// Number of the line returned last, 1-based.
    number: usize,
}

impl<'a> Lines<'a> {
    /// The next line with its start, without its newline.
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let start = self.at;
        let line = self.peek()?;
        self.at = (start + line.len() + 1).min(self.text.len());
        self.number += 1;
        Some((start, line))
    }

    fn peek(&self) -> Option<&'a str> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        Some(rest.split_once('\n').map_or(rest, |(line, _)| line))
    }
}

/// The object that begins at the next line that is not blank, if one does.
fn read_object<'a>(lines: &mut Lines<'a>) -> Result<Option<Object<'a>>, SyntaxError> {
    let text_of = |line: &'a str| line.trim_start_matches(SPACE);
    while lines.peek().is_some_and(|line| text_of(line).is_empty()) {
        lines.next();
    }
    let begin = lines.peek().and_then(|line| text_of(line).strip_prefix("-----BEGIN "));
    let Some(begin) = begin else { return Ok(None) };
    lines.next();
    let (first, body) = (lines.number, *lines);
    let label = begin.strip_suffix("-----").ok_or(SyntaxError { line: first, fault: SyntaxFault::ObjectLabel })?;
    let mut base64 = String::new();
    while let Some((_, line)) = lines.next() {
        if let Some(end) = line.strip_prefix("-----END ") {
            if end.strip_suffix("-----") != Some(label) {
                return Err(SyntaxError { line: lines.number, fault: SyntaxFault::ObjectLabel });
            }
            let bytes = decode_base64_vec(&base64);
            let bytes = bytes.ok_or_else(|| SyntaxError {
                line: no_base64(body, lines.number).unwrap_or(first),
                fault: SyntaxFault::Base64,
            })?;
            return Ok(Some(Object { label, bytes }));
        }
        if is_one_word(line) {
            base64.push_str(line);
        } else {
            base64.extend(line.split(SPACE_IN_BASE64));
        }
    }
    Err(SyntaxError { line: lines.number, fault: SyntaxFault::UnterminatedObject })
}

/// The first line of an object's `body`, which ends before line `end`, with a character outside base64.
fn no_base64(mut body: Lines<'_>, end: usize) -> Option<usize> {
    let is_base64 =
        |letter: char| letter.is_ascii_alphanumeric() || "+/=".contains(letter) || SPACE_IN_BASE64.contains(&letter);
    while let Some((_, line)) = body.next().filter(|_| body.number < end) {
        if !line.chars().all(is_base64) {
            return Some(body.number);
        }
    }
    None
}

/// Whether it certainly has no white space. Every byte is looked at, which goes by many at once: objects are long.
fn is_one_word(line: &str) -> bool {
    line.bytes().fold(true, |so_far, byte| so_far & (byte > b' '))
}

#[cfg(test)]
mod tests;
