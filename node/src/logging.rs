//! Logs go to standard error; standard output carries only what was asked for.

use tracing_subscriber::EnvFilter;

use crate::args::{Common, LogFormat};
use crate::failure::Failure;

/// Comes before what is asked for, which may replace it. boringtun warns of every peer that is away; the mesh reports
/// that better.
const BASE: &str = "boringtun=off";

/// Starts logging.
///
/// # Errors
/// The filter does not parse.
pub fn start(common: &Common) -> Result<(), Failure> {
    let filter = filter(common.log_level.as_deref())?;
    // A line that cannot be written is lost. Told of it, the library would say so on standard error too, and panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match common.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The flag, else `RUST_LOG`, else `info`.
fn filter(flag: Option<&str>) -> Result<EnvFilter, Failure> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.is_empty());
    let (source, text) = match (flag, from_environment.as_deref()) {
        (Some(text), _) => ("--log-level", text),
        (None, Some(text)) => (EnvFilter::DEFAULT_ENV, text),
        (None, None) => ("", "info"),
    };
    EnvFilter::try_new(format!("{BASE},{text}")).map_err(|error| {
        let way_out = "use error, warn, info, debug, trace or directives such as info,rustbalance_io=debug";
        Failure::usage(format!("{source} {text:?}: {error}; {way_out}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boringtun_is_silent_unless_asked_for() {
        let shown = |flag| filter(Some(flag)).map(|filter| filter.to_string()).map_err(|failure| failure.lines);
        assert_eq!(shown("trace"), Ok("boringtun=off,trace".into()));
        assert_eq!(shown("info,boringtun=debug"), Ok("boringtun=debug,info".into()));
    }
}
