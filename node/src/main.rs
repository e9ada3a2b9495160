//! `rustbalance`: reads the command line and the configuration, then hands over to the shell in `rustbalance-io`.

mod args;
mod commands;
mod logging;
mod output;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use rustbalance_node::{config_file, failure};

use crate::args::Cli;
use crate::failure::Failure;

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => logging::start(&cli.common).and_then(|()| commands::run(cli)),
        Err(error) if error.use_stderr() => Err(usage(&error)),
        Err(help) => output::line(help.render().to_string().trim_end()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            for line in &failure.lines {
                // What tor or the system says may have several lines. Nobody is left to tell if standard error is gone.
                let _ = writeln!(stderr, "rustbalance: {}", line.trim().replace('\n', " "));
            }
            failure.exit.into()
        }
    }
}

/// Clap's explanation on one line, without its usage block.
fn usage(error: &clap::Error) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("no command given; see rustbalance --help");
    }
    let text = error.render().to_string();
    let said = text.split("\n\nUsage:").next().unwrap_or_default();
    let said =
        said.strip_prefix("error: ").unwrap_or(said).split("\n\nFor more information").next().unwrap_or_default();
    let words: Vec<_> = said.split_whitespace().collect();
    Failure::usage(format!("{}; see rustbalance --help", words.join(" ")))
}
