//! Which tor it is.

use core::fmt;

/// `MAJOR.MINOR.MICRO.PATCHLEVEL`, without the status tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TorVersion([u32; 4]);

impl TorVersion {
    /// The oldest that this program was made for.
    pub const OLDEST: Self = Self([0, 4, 8, 0]);

    /// Reads what `GETINFO version` or, after its first words, `tor --version` says; a tag and more may follow.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
        let mut parts = text.get(..end)?.trim_end_matches('.').split('.').map(str::parse);
        let mut version = [0; 4];
        for (index, part) in version.iter_mut().enumerate() {
            match parts.next() {
                Some(number) => *part = number.ok()?,
                None if index == 3 => {}
                None => return None,
            }
        }
        parts.next().is_none().then_some(Self(version))
    }
}

impl fmt::Display for TorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, micro, patch] = self.0;
        write!(f, "{major}.{minor}.{micro}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_tor_says_them() {
        let parse = |text: &str| TorVersion::parse(text).map(|version| version.0);
        assert_eq!(parse("0.4.9.11.\nThis build of Tor"), Some([0, 4, 9, 11]));
        assert_eq!(parse("0.4.8.1-alpha (git-7f7c6dd).\n"), Some([0, 4, 8, 1]));
        assert_eq!(parse("1.2.3"), Some([1, 2, 3, 0]));
        for text in ["", "0.4.", "0.4.8.1.2", "0.4..8", "0.4.99999999999", "tor 0.4.8.1"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(TorVersion([0, 4, 7, 16]) < TorVersion::OLDEST && TorVersion([0, 5, 0, 0]) > TorVersion::OLDEST);
    }
}
