//! `rustbalance token`.

use std::time::Instant;

use rustbalance_io::status::Request;
use rustbalance_io::store::Store;

use super::effect;
use crate::args::{Common, Token};
use crate::failure::{Exit, Failure};
use crate::output;

/// Replaces the cluster token.
///
/// # Errors
/// No node runs there, or the new token does not get onto its disk.
pub fn token(common: &Common, args: &Token) -> Result<(), Failure> {
    let Token::Rotate { json } = args;
    let file = Store::new(&common.dir).token_file();
    let read = || std::fs::read(&file).map(zeroize::Zeroizing::new);
    let failed = |why: &dyn std::fmt::Display| Failure::new(Exit::State, format!("{}: {why}", file.display()));
    let before = read().map_err(|error| failed(&format!("{error}; run this as the user the node runs as")))?;
    rustbalance_io::status::order(&common.dir, Request::Rotate)?;
    let end = Instant::now() + effect::AT_ONCE;
    while read().is_ok_and(|now| now == before) {
        if Instant::now() >= end {
            return Err(failed(&"the new token does not get there; look at the node's log"));
        }
        std::thread::sleep(effect::ASK_EVERY);
    }
    if *json {
        return output::json(&serde_json::json!({ "token_file": file }));
    }
    let text = "the old token admits nobody any more; whoever joins needs a copy of";
    output::line(&format!("{text} {}", file.display()))
}
