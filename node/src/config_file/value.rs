//! The kinds of values a key can take. Each reader returns `None` for what is not allowed; the key says what is.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustbalance_core::onion::address::OnionAddress;
use rustbalance_io::settings::{ControlAddress, ProbeRequest, Statuses, Target};
use rustbalance_io::tor::check_options;
use toml::Value;

/// Longest node name, bytes.
pub const NAME_MAX: usize = 32;
/// Longest `HOST:PORT` that is told to other nodes, bytes.
const ENDPOINT_MAX: usize = 64;
/// Longest path of a unix socket, bytes (Linux `sun_path` less its end mark).
const UNIX_PATH_MAX: usize = 107;
/// Longest path that is asked for, and longest `Host` that is named, bytes.
const REQUEST_PART_MAX: usize = 255;
/// What HTTP has as statuses (RFC 9110 section 15).
const STATUSES: Statuses = Statuses { first: 100, last: 599 };
/// Units of durations, largest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A whole number in `range`.
pub fn integer<T: TryFrom<i64> + PartialOrd>(value: &Value, range: RangeInclusive<T>) -> Option<T> {
    T::try_from(value.as_integer()?).ok().filter(|number| range.contains(number))
}

/// `"auto"`, or a whole number in `range`.
pub fn auto_or_integer<T: TryFrom<i64> + PartialOrd>(value: &Value, range: RangeInclusive<T>) -> Option<Option<T>> {
    if value.as_str() == Some("auto") { Some(None) } else { integer(value, range).map(Some) }
}

/// A duration such as `"250ms"`, `"10s"`, `"5m"`, `"1h"`, `"7d"`, its bounds written the same way.
pub fn duration(value: &Value, min: &str, max: &str) -> Option<Duration> {
    let duration = parse_duration(value.as_str()?)?;
    (parse_duration(min)? <= duration && duration <= parse_duration(max)?).then_some(duration)
}

/// `"off"`, or a [`duration`].
pub fn off_or_duration(value: &Value, min: &str, max: &str) -> Option<Option<Duration>> {
    if value.as_str() == Some("off") { Some(None) } else { duration(value, min, max).map(Some) }
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
        return unix_path(path).map(Target::Unix);
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

/// The path of a unix socket.
fn unix_path(path: &str) -> Option<PathBuf> {
    let fits = Path::new(path).is_absolute() && path.len() <= UNIX_PATH_MAX;
    fits.then(|| PathBuf::from(path))
}

/// `unix:/path`, or `IP:PORT` that no other machine reaches: what goes there is not encrypted.
pub fn control(value: &Value) -> Option<ControlAddress> {
    let text = value.as_str()?;
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path).map(ControlAddress::Unix);
    }
    listen(value).filter(|address| address.ip().is_loopback()).map(ControlAddress::Tcp)
}

/// An absolute path.
pub fn absolute_path(value: &Value) -> Option<PathBuf> {
    value.as_str().map(PathBuf::from).filter(|path| path.is_absolute())
}

/// An absolute path that stands in a torrc as it is.
pub fn torrc_path(value: &Value) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    unix_path(value.as_str()?).filter(|path| path.as_os_str().as_encoded_bytes().iter().copied().all(plain))
}

/// How [`target`] writes it.
pub fn show_target(target: &Target) -> String {
    match target {
        Target::Tcp(text) => text.clone(),
        Target::Unix(path) => format!("unix:{}", path.display()),
        Target::Onion { host, port } => format!("{host}:{port}"),
    }
}

/// `"connect"`, or `"http:/path"` with a path as it stands in a request.
pub fn probe(value: &Value) -> Option<ProbeRequest> {
    let text = value.as_str()?;
    if text == "connect" {
        return Some(ProbeRequest::Connect);
    }
    let path = text.strip_prefix("http:")?;
    let is_absolute = path.starts_with('/') && !path.starts_with("//");
    let fits = is_absolute && path.len() <= REQUEST_PART_MAX && path.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| ProbeRequest::Http(path.into()))
}

/// How [`probe`] writes it.
pub fn show_probe(request: &ProbeRequest) -> String {
    match request {
        ProbeRequest::Connect => "connect".into(),
        ProbeRequest::Http(path) => format!("http:{path}"),
    }
}

/// A status of HTTP, as a number too, or a range of them.
pub fn statuses(value: &Value) -> Option<Statuses> {
    if let Some(status) = integer(value, STATUSES.first..=STATUSES.last) {
        return Some(Statuses { first: status, last: status });
    }
    let text = value.as_str()?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let statuses = Statuses { first: status(first)?, last: status(last)? };
    (statuses.first <= statuses.last).then_some(statuses)
}

fn status(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|digit| digit.is_ascii_digit());
    digits.then(|| text.parse().ok())?.filter(|status| STATUSES.contains(*status))
}

/// A `Host` header: a name or address (IPv6 in brackets), with or without a port.
pub fn host(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let has_port = text.rsplit_once(':').is_some_and(|(host, _)| !host.ends_with(':') && !text.ends_with(']'));
    let whole = if has_port { text.to_owned() } else { format!("{text}:80") };
    (text.len() <= REQUEST_PART_MAX && split_host_port(&whole).is_some()).then(|| text.into())
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
    fn off_is_no_duration_and_durations_keep_their_bounds() {
        let read = |written: &str| off_or_duration(&text(written), "1d", "365d");
        assert_eq!((read("off"), read("30d")), (Some(None), Some(Some(Duration::from_secs(30 * 86_400)))));
        for bad in ["Off", "", "12h", "366d", "0d"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn auto_is_no_number_and_numbers_keep_their_bounds() {
        assert_eq!(auto_or_integer::<u8>(&text("auto"), 3..=20), Some(None));
        assert_eq!(auto_or_integer::<u8>(&Value::Integer(3), 3..=20), Some(Some(3)));
        for bad in [text("Auto"), text("3"), Value::Integer(2), Value::Integer(21)] {
            assert_eq!(auto_or_integer::<u8>(&bad, 3..=20), None, "{bad}");
        }
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
    fn probes_read_back_and_bad_ones_are_refused() {
        for written in ["connect", "http:/", "http:/health?full=1"] {
            assert_eq!(probe(&text(written)).map(|request| show_probe(&request)).as_deref(), Some(written));
        }
        let long = format!("http:/{}", "a".repeat(REQUEST_PART_MAX));
        for bad in ["", "Connect", "http", "http:", "http:health", "http://host/", "http:/a b", "http:/\r\nX: 1", &long]
        {
            assert_eq!(probe(&text(bad)), None, "{bad}");
        }
    }

    #[test]
    fn statuses_read_back_and_bad_ones_are_refused() {
        for written in ["200", "200-399", "100-599"] {
            assert_eq!(statuses(&text(written)).map(|statuses| statuses.to_string()).as_deref(), Some(written));
        }
        assert_eq!(statuses(&Value::Integer(204)), Some(Statuses { first: 204, last: 204 }));
        for bad in ["", "-", "200-", "-299", "99", "600", "299-200", "200-600", "+20", "200-299-399", "2xx", "0200"] {
            assert_eq!(statuses(&text(bad)), None, "{bad}");
        }
        assert_eq!(statuses(&Value::Integer(600)), None);
    }

    #[test]
    fn hosts_have_a_port_or_none() {
        for good in ["web", "www.example.net:8080", "[::1]", "[::1]:80", "127.0.0.1"] {
            assert_eq!(host(&text(good)).as_deref(), Some(good));
        }
        for bad in ["", "a b", "a:", "a:0", "a:b", "::1", "[::1", "a\r\nX: 1", &"a".repeat(REQUEST_PART_MAX + 1)] {
            assert_eq!(host(&text(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_control_address_is_on_this_machine() {
        assert_eq!(control(&text("unix:/run/tor/control")), Some(ControlAddress::Unix("/run/tor/control".into())));
        for written in ["127.0.0.1:9051", "[::1]:9051"] {
            assert_eq!(control(&text(written)).map(|address| address.to_string()).as_deref(), Some(written));
        }
        for bad in ["", "unix:control", "/run/tor/control", "192.0.2.1:9051", "0.0.0.0:9051", "127.0.0.1:0", "tor:9051"]
        {
            assert_eq!(control(&text(bad)), None, "{bad}");
        }
    }

    #[test]
    fn paths_for_a_torrc_need_no_quotes() {
        assert!(torrc_path(&text("/var/lib/tor/rust-balance_1.x")).is_some());
        for bad in ["", "relative", "/a b", "/a#b", "/a\"b", "/a\nb"] {
            assert_eq!(torrc_path(&text(bad)), None, "{bad}");
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
