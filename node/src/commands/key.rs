//! `rustbalance key`.

use std::path::Path;

use rustbalance_core::cluster::Access;
use rustbalance_io::clients::import::access_beside;
use rustbalance_io::keys::MasterKey;
use rustbalance_io::store::Store;

use super::{backup, confirm, encrypted, secret};
use crate::args::{Common, Export, Import, Key, Out, OutFormat, Unlock};
use crate::failure::Failure;
use crate::output;

/// Shows the address' key, brings it from one format into another, or encrypts the keys.
///
/// # Errors
/// A bad key, an address that is not confirmed, something where the key would go.
pub fn key(common: &Common, args: &Key) -> Result<(), Failure> {
    match args {
        Key::Show { file, unlock, json } => show(common, file.as_deref(), unlock, *json),
        Key::Export(args) => export(common, args),
        Key::Import(args) => import(args),
        Key::Backup(args) => backup::make(common, args),
        Key::Restore(args) => backup::restore(common, args),
        Key::Encrypt(args) => encrypted::encrypt(common, args),
        Key::Decrypt(args) => encrypted::decrypt(common, args),
        Key::Passphrase(args) => encrypted::change_passphrase(common, args),
    }
}

fn show(common: &Common, file: Option<&Path>, unlock: &Unlock, json: bool) -> Result<(), Failure> {
    let key = file.map_or_else(|| own(common, unlock), |file| Ok(secret::master_key(file)?))?;
    let (address, format) = (key.address(), key.format());
    if json {
        let (address, format) = (address.to_string(), format.to_string());
        return output::json(&serde_json::json!({ "address": address, "format": format }));
    }
    output::line(&format!("{address}  ({format})"))
}

fn export(common: &Common, args: &Export) -> Result<(), Failure> {
    write(&own(common, &args.unlock)?, &args.out, args.format)?;
    say_what_is_missing(Store::new(&common.dir).access().ok());
    Ok(())
}

fn import(args: &Import) -> Result<(), Failure> {
    let key = secret::master_key(&args.file)?;
    confirm::address(key.address(), &args.confirm)?;
    write(&key, &args.out, args.format)?;
    say_what_is_missing(if secret::is_stdin(&args.file) { Some(Access::Open) } else { access_beside(&args.file).ok() });
    Ok(())
}

/// Who may connect is in no format. `None`: nobody can say who that is.
fn say_what_is_missing(access: Option<Access>) {
    if access != Some(Access::Open) {
        output::note(
            "who may connect to the address is not in there: a tor that publishes it by itself lets everybody in, unless it \
             has the clients' files in its authorized_clients",
        );
    }
}

/// The key of the node in the state directory, whether it runs or not.
fn own(common: &Common, unlock: &Unlock) -> Result<MasterKey, Failure> {
    Ok(encrypted::open(common, unlock)?.master_key()?)
}

fn write(key: &MasterKey, Out { out, to_terminal }: &Out, format: OutFormat) -> Result<(), Failure> {
    if secret::is_stdin(out) {
        return print(key, format, *to_terminal);
    }
    match format.file() {
        Some(format) => key.export(out, format)?,
        None => key.export_service(out)?,
    }
    output::line(&format!("{}: the key of {}; whoever has it can be the service", out.display(), key.address()))
}

fn print(key: &MasterKey, format: OutFormat, to_terminal: bool) -> Result<(), Failure> {
    let text = "--out -: a directory cannot be printed; choose another --format";
    let format = format.file().ok_or_else(|| Failure::usage(text))?;
    if !to_terminal {
        output::refuse_terminal("--out -", "the secret would stay there; name a file, or add --to-terminal")?;
    }
    let bytes = key.to_file(format)?;
    output::note(&format!("the key of {}; whoever has it can be the service", key.address()));
    output::bytes(&bytes)
}
