//! The kinds of values a key can take. Each reader returns `None` for what is not allowed; the key says what is.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbalance_core::onion::address::OnionAddress;
use rustbalance_io::settings::Target;
use rustbalance_io::tor::check_options;
use toml::Value;

/// Longest node name, bytes.
pub const NAME_MAX: usize = 32;
/// Longest `HOST:PORT` that is told to other nodes, bytes.
const ENDPOINT_MAX: usize = 64;
/// Longest path of a unix socket, bytes (Linux `sun_path` less its end mark).
const UNIX_PATH_MAX: usize = 107;
/// Units of durations, largest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A whole number in `range`.
pub fn integer<T: TryFrom<i64> + PartialOrd>(value: &Value, range: RangeInclusive<T>) -> Option<T> {
    T::try_from(value.as_integer()?).ok().filter(|number| range.contains(number))
}

/// A duration such as `"250ms"`, `"10s"`, `"5m"`, `"1h"`, `"7d"`, its bounds written the same way.
pub fn duration(value: &Value, min: &str, max: &str) -> Option<Duration> {
    let duration = parse_duration(value.as_str()?)?;
    (parse_duration(min)? <= duration && duration <= parse_duration(max)?).then_some(duration)
}

/// The shortest way to write `duration`; milliseconds are the finest unit.
pub fn show_duration(duration: Duration) -> Value {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, length) = UNITS.into_iter().find(|(_, length)| ms % length == 0 && ms > 0).unwrap_or(("ms", 1));
    Value::String(format!("{}{unit}", ms / length))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let (_, length) = UNITS.into_iter().find(|(unit, _)| text.strip_suffix(unit) == Some(digits))?;
    let count: u64 = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())??;
    Some(Duration::from_millis(count.checked_mul(length)?))
}

/// A node name.
pub fn name(value: &Value) -> Option<String> {
    let name = value.as_str()?;
    let fits = (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    fits.then(|| name.into())
}

/// `IP:PORT` to listen on.
pub fn listen(value: &Value) -> Option<SocketAddr> {
    value.as_str()?.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

/// `HOST:PORT` that other nodes reach.
pub fn endpoint(value: &Value) -> Option<String> {
    value.as_str().filter(|text| is_endpoint(text)).map(str::to_owned)
}

/// Whether `text` is a `HOST:PORT` that a node's record can carry.
pub fn is_endpoint(text: &str) -> bool {
    text.len() <= ENDPOINT_MAX && split_host_port(text).is_some()
}

/// `HOST:PORT`, `unix:/path` or `ADDRESS.onion:PORT`.
pub fn target(value: &Value) -> Option<Target> {
    let text = value.as_str()?;
    if let Some(path) = text.strip_prefix("unix:") {
        let fits = Path::new(path).is_absolute() && path.len() <= UNIX_PATH_MAX;
        return fits.then(|| Target::Unix(PathBuf::from(path)));
    }
    let (host, port) = split_host_port(text)?;
    if !host.to_ascii_lowercase().ends_with(".onion") {
        return Some(Target::Tcp(text.into()));
    }
    // `www.<address>.onion` is the same service: tor ignores what comes before the address.
    let address = host.rsplit('.').nth(1)?;
    address.parse::<OnionAddress>().ok()?;
    Some(Target::Onion { host: host.to_ascii_lowercase(), port })
}

/// How [`target`] writes it.
pub fn show_target(target: &Target) -> String {
    match target {
        Target::Tcp(text) => text.clone(),
        Target::Unix(path) => format!("unix:{}", path.display()),
        Target::Onion { host, port } => format!("{host}:{port}"),
    }
}

/// A program: a path, or a name to look up.
pub fn program(value: &Value) -> Option<PathBuf> {
    value.as_str().filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// Lines for the torrc, none of them empty or one that RustBalance sets itself.
pub fn tor_options(value: &Value) -> Option<Vec<String>> {
    let line = |value: &Value| value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned);
    let lines: Vec<String> = value.as_array()?.iter().map(line).collect::<Option<_>>()?;
    check_options(&lines).is_ok().then_some(lines)
}

/// What stands in the file, short and on one line.
pub fn excerpt(text: &str) -> String {
    const MAX: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.len() == text.len() && line.len() <= MAX {
        return line.into();
    }
    format!("{}...", prefix(line, MAX))
}

/// As many whole characters of `text` as fit into `max` bytes.
pub fn prefix(text: &str, max: usize) -> &str {
    let end = text.char_indices().map(|(at, letter)| at + letter.len_utf8()).take_while(|end| *end <= max).last();
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Host (IPv6 in brackets) and port, both present.
fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let port = port.bytes().all(|digit| digit.is_ascii_digit()).then(|| port.parse().ok())??;
    (host_fits && port != 0).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn durations_read_back_and_keep_their_bounds() {
        for written in ["250ms", "10s", "5m", "1h", "7d"] {
            let duration = duration(&text(written), "1ms", "7d").expect(written);
            assert_eq!(show_duration(duration), text(written));
        }
        for bad in ["", "s", "10", "-1s", "+1s", "1 s", "1.5s", "1S", "1w", "0ms", "8d", "99999999999999999999s"] {
            assert_eq!(duration(&text(bad), "1ms", "7d"), None, "{bad}");
        }
        assert_eq!(duration(&Value::Integer(10), "1ms", "7d"), None);
    }

    #[test]
    fn targets_read_back() {
        for (written, target) in [
            ("127.0.0.1:80", Target::Tcp("127.0.0.1:80".into())),
            ("[::1]:80", Target::Tcp("[::1]:80".into())),
            ("web.internal:8080", Target::Tcp("web.internal:8080".into())),
            ("unix:/run/web.sock", Target::Unix("/run/web.sock".into())),
        ] {
            assert_eq!(super::target(&text(written)), Some(target.clone()), "{written}");
            assert_eq!(show_target(&target), written);
        }
    }

    #[test]
    fn bad_targets_are_refused() {
        for bad in ["", ":80", "host", "host:", "host:0", "host:65536", "host:+1", "::1:80", "[::g]:80", "a b:80"] {
            assert_eq!(target(&text(bad)), None, "{bad}");
        }
        for bad in ["unix:", "unix:relative", "http://127.0.0.1:80", ".onion:80"] {
            assert_eq!(target(&text(bad)), None, "{bad}");
        }
    }

    #[test]
    fn endpoints_fit_a_record() {
        assert!(endpoint(&text("[2001:db8::1]:7900")).is_some());
        assert!(endpoint(&text(&format!("{}:1", "a".repeat(62)))).is_some());
        assert!(endpoint(&text(&format!("{}:1", "a".repeat(63)))).is_none());
    }

    #[test]
    fn excerpts_are_short_and_on_one_line() {
        assert_eq!(excerpt("[1, 2]"), "[1, 2]");
        assert_eq!(excerpt("[\n1\n]"), "[...");
        assert_eq!(excerpt(&"é".repeat(60)).chars().count(), 33);
    }
}
