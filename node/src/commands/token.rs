//! `rustbalance token`.

use std::path::Path;

use rustbalance_io::keys::write_new_secret;
use rustbalance_io::status::Request;
use rustbalance_io::store::Store;

use super::secret::is_stdin;
use super::{effect, encrypted};
use crate::args::{Common, Token, Unlock, Waiting};
use crate::failure::{Exit, Failure};
use crate::output;

/// Replaces the cluster token, or writes it into a file.
///
/// # Errors
/// No node there, or none that runs; the new token does not get onto its disk; something where the file would go.
pub fn token(common: &Common, args: &Token) -> Result<(), Failure> {
    match args {
        Token::Rotate { waiting, json } => rotate(common, *waiting, *json),
        Token::Export { out, to_terminal, unlock } => export(common, out, *to_terminal, unlock),
    }
}

fn export(common: &Common, out: &Path, to_terminal: bool, unlock: &Unlock) -> Result<(), Failure> {
    if is_stdin(out) && !to_terminal {
        output::refuse_terminal("--out -", "the secret would stay there; name a file, or add --to-terminal")?;
    }
    let token = encrypted::open(common, unlock)?.token()?;
    if is_stdin(out) {
        return output::bytes(&token.to_file());
    }
    write_new_secret(out, &token.to_file())?;
    output::line(&format!("{}: the cluster token; whoever has it and the address' key can join", out.display()))
}

fn rotate(common: &Common, waiting: Waiting, json: bool) -> Result<(), Failure> {
    let store = Store::new(&common.dir);
    let file = store.token_file();
    let read = || std::fs::read(&file).map(zeroize::Zeroizing::new);
    let failed = |why: &dyn std::fmt::Display| Failure::new(Exit::State, format!("{}: {why}", file.display()));
    let before = read().map_err(|error| failed(&format!("{error}; run this as the user the node runs as")))?;
    rustbalance_io::status::order(&common.dir, Request::Rotate)?;
    let changed = || (!read().is_ok_and(|now| now == before)).then_some(());
    effect::poll(effect::AT_ONCE, |_| Ok(changed()))?.ok_or_else(|| {
        failed(&"the new token is in force but not there; the node tries again: its log says what is in the way")
    })?;
    let known = effect::known(effect::everywhere(&common.dir, waiting)?);
    if json {
        return output::json(&serde_json::json!({ "token_file": file }));
    }
    let copy = match store.is_encrypted() {
        true => "what `rustbalance token export` writes".to_owned(),
        false => format!("a copy of {}", file.display()),
    };
    output::line(&format!("the old token admits nobody any more; whoever joins needs {copy}{known}"))
}
