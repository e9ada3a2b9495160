//! Asking on the terminal before something that cannot be taken back.

use std::io::{IsTerminal as _, Write as _};

use rustbalance_core::onion::address::OnionAddress;

use crate::args::Confirm;
use crate::failure::{Exit, Failure};
use crate::output;

/// Asks `question`, which ends with what to type: `yes`.
///
/// # Errors
/// The answer is another; or there is no terminal to ask on, and the message is `unasked`.
pub fn ask(question: &str, unasked: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(unasked));
    }
    let mut stderr = std::io::stderr();
    // If nobody sees the question the answer is not `yes` either.
    _ = write!(stderr, "{question} Type yes: ");
    _ = stderr.flush();
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        Ok(_) | Err(_) => Err(Failure::usage("not confirmed; nothing was changed")),
    }
}

/// Shows the address and sees that it is the one that is meant.
///
/// # Errors
/// It is another, or nobody has said so.
pub fn address(address: OnionAddress, confirm: &Confirm) -> Result<(), Failure> {
    if let Some(text) = &confirm.address {
        let wanted: OnionAddress = text.parse().map_err(|error| {
            Failure::usage(format!("--address {text:?}: {error}; copy the address from where it is used"))
        })?;
        let text = format!("the key is of {address}, not of {wanted}; nothing was written; give the right key");
        return if wanted == address { Ok(()) } else { Err(Failure::new(Exit::State, text)) };
    }
    if confirm.yes {
        output::note(&format!("the key is of {address}"));
        return Ok(());
    }
    let unasked = format!("the key is of {address}; confirm that with --address {address}, or with --yes");
    ask(&format!("the key is of {address}; is that the one you mean?"), &unasked)
}
