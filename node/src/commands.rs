//! One file per command.

mod backup;
mod clients;
mod config;
mod confirm;
mod descriptor;
mod drain;
mod effect;
mod encrypted;
mod init;
mod invite;
mod join;
mod key;
mod leave;
mod manual;
mod member;
mod order;
mod passphrase;
mod pause;
mod remove;
mod report;
mod run;
mod secret;
mod setup;
mod status;
mod step_down;
mod token;
mod tor;
mod verify;

use crate::args::{Cli, Command, Common};
use crate::config_file;
use crate::failure::{Exit, Failure};
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::status::Status;
use rustbalance_io::settings::Settings;

/// Runs the command.
///
/// # Errors
/// See [`Exit`].
pub fn run(cli: Cli) -> Result<(), Failure> {
    let mut common = cli.common;
    common.dir = std::path::absolute(&common.dir)
        .map_err(|error| Failure::usage(format!("--dir: {error}; name a directory")))?;
    match cli.command {
        Command::Init(args) => init::init(&common, &args),
        Command::Join(args) => join::join(&common, &args),
        Command::Invite(args) => invite::invite(&common, &args),
        Command::Run(args) => run::run(&common, &args),
        Command::Status(args) => status::status(&common, &args),
        Command::Verify(args) => verify::verify(&common, &args),
        Command::Descriptor(args) => descriptor::descriptor(&common, &args),
        Command::Config(args) => config::config(&common, &args),
        Command::Key(args) => key::key(&common, &args),
        Command::Tor(args) => tor::tor(&common, &args),
        Command::Clients(args) => clients::clients(&common, &args),
        Command::Drain(args) => drain::drain(&common, &args),
        Command::Undrain(args) => drain::undrain(&common, &args),
        Command::Weight(args) => order::weight(&common, &args),
        Command::Priority(args) => order::priority(&common, &args),
        Command::StepDown(args) => step_down::step_down(&common, &args),
        Command::Pause(args) => pause::pause(&common, &args),
        Command::Resume(args) => pause::resume(&common, &args),
        Command::Token(args) => token::token(&common, &args),
        Command::Remove(args) => remove::remove(&common, &args),
        Command::Leave(args) => leave::leave(&common, &args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::pages(&out),
    }
}

/// The settings of a node that was set up before.
fn settings(common: &Common) -> Result<Settings, Failure> {
    let file = common.config_file();
    config_file::load(&file, &common.dir)?.ok_or_else(|| {
        let way_out = "run `rustbalance init` or `rustbalance join` first, or name the right --dir or --config";
        Failure::usage(format!("{}: no such file; {way_out}", file.display()))
    })
}

/// The address that the running node serves.
fn served(status: &Status) -> Result<OnionAddress, Failure> {
    let bad = |error| Failure::new(Exit::Runtime, format!("the running node serves {:?}: {error}", status.address));
    status.address.parse().map_err(bad)
}
