//! Authorised clients, from the operator's side: what a running node is told about who may connect to the address.

pub(crate) mod directory;

use core::time::Duration;
use std::path::Path;

use rustbalance_core::cluster::{Access, AccessChange};
use rustbalance_core::onion::client::HsClientDescEncKeypair;

use crate::clock;
use crate::entropy;
use crate::keys::KeyError;
use crate::status::{Answer, Request, StatusError, ask, unexpected};

/// A change is on the node's disk within this, or something is wrong with the disk.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);
/// How often to look whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A new client's pair.
///
/// # Errors
/// No randomness.
pub fn generate() -> Result<HsClientDescEncKeypair, KeyError> {
    Ok(HsClientDescEncKeypair::generate(&mut entropy::rng()?))
}

/// Who may connect, as the node of `dir` knows it.
///
/// # Errors
/// See [`StatusError`].
pub fn access(dir: &Path) -> Result<Access, StatusError> {
    let (answer, _) = ask(dir, &Request::Access)?;
    if let Answer::Access(access) = answer { Ok(access) } else { Err(unexpected(answer)) }
}

/// Has the node of `dir` change who may connect, and waits until the change is on its disk and in force.
///
/// # Errors
/// See [`StatusError`]; `NotInForce` leaves open whether it comes.
pub fn change(dir: &Path, change: &AccessChange) -> Result<(), StatusError> {
    let request = Request::ChangeAccess { changes: vec![change.clone()] };
    let by = clock::mono().plus(IN_FORCE_WITHIN);
    let mut accepted = false;
    while !accepted || !is_in_force(&access(dir)?, change) {
        if !accepted {
            let (answer, _) = ask(dir, &request)?;
            accepted = matches!(answer, Answer::Accepted(_));
            if !accepted && answer != Answer::Busy {
                return Err(unexpected(answer));
            }
        }
        if clock::mono() >= by {
            return Err(StatusError::NotInForce);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn is_in_force(access: &Access, change: &AccessChange) -> bool {
    match change {
        AccessChange::Add(name, key) => access.clients().any(|client| client == (name, *key)),
        AccessChange::Remove(name) => access.clients().all(|(other, _)| other != name),
        AccessChange::Open => !access.is_restricted(),
    }
}
