//! One file per command.

mod clients;
mod config;
mod descriptor;
mod drain;
mod effect;
mod init;
mod join;
mod leave;
mod remove;
mod report;
mod run;
mod setup;
mod status;
mod token;
mod verify;

use crate::args::{Cli, Command, Common};
use crate::config_file;
use crate::failure::{Exit, Failure};
use rustbalance_io::settings::Settings;

/// Runs the command.
///
/// # Errors
/// See [`Exit`].
pub fn run(cli: Cli) -> Result<(), Failure> {
    let mut common = cli.common;
    common.dir = std::path::absolute(&common.dir)
        .map_err(|error| Failure::new(Exit::Usage, format!("--dir: {error}; name a directory")))?;
    match cli.command {
        Command::Init(args) => init::init(&common, &args),
        Command::Join(args) => join::join(&common, &args),
        Command::Run => run::run(&common),
        Command::Status(args) => status::status(&common, &args),
        Command::Verify(args) => verify::verify(&common, &args),
        Command::Descriptor(args) => descriptor::descriptor(&common, &args),
        Command::Config(args) => config::config(&common, &args),
        Command::Clients(args) => clients::clients(&common, &args),
        Command::Drain(args) => drain::drain(&common, &args),
        Command::Undrain(args) => drain::undrain(&common, &args),
        Command::Token(args) => token::token(&common, &args),
        Command::Remove(args) => remove::remove(&common, &args),
        Command::Leave => leave::leave(&common),
    }
}

/// The settings of a node that was set up before.
fn settings(common: &Common) -> Result<Settings, Failure> {
    let file = common.config_file();
    config_file::load(&file, &common.dir)?.ok_or_else(|| {
        let way_out = "run `rustbalance init` or `rustbalance join` first, or name the right --dir or --config";
        Failure::new(Exit::Usage, format!("{}: no such file; {way_out}", file.display()))
    })
}
