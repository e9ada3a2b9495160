//! Authorised clients, from the operator's side: what a running node is told about who may connect to the address.

mod auth_file;
pub(crate) mod directory;
pub mod import;

use std::fs;
use std::path::Path;

use rustbalance_core::DurableKind;
use rustbalance_core::cluster::{Access, AccessChange};
use rustbalance_core::onion::client::HsClientDescEncKeypair;

use crate::entropy;
use crate::keys::KeyError;
use crate::status::{self, Answer, Request, StatusError, ask, unexpected};
use crate::store::{Store, StoreError};

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

impl Store {
    /// Who may connect, as the node here has it on its disk, whether it runs or not.
    ///
    /// # Errors
    /// It cannot be read, or does not verify.
    pub fn access(&self) -> Result<Access, StoreError> {
        let path = self.durable_file(DurableKind::Roster);
        let roster = fs::read(&path).map_err(StoreError::io("read", &path))?;
        let access = Access::on_disk(self.cluster()?.cluster, &roster);
        let why = "it does not verify, so nobody knows who may connect to the address";
        access.ok_or_else(|| StoreError::Damaged { path, why: why.to_owned() })
    }
}

/// What is wrong in `DIR/authorized_clients` of the node of `dir`, each with the way out, as of its last look.
///
/// # Errors
/// See [`StatusError`].
pub fn problems(dir: &Path) -> Result<Vec<String>, StatusError> {
    match ask(dir, &Request::ClientFiles)? {
        (Answer::ClientFiles(problems), _) => Ok(problems),
        // It still runs the release from before, which does not know the question.
        (Answer::Error(_), _) => Ok(Vec::new()),
        (answer, _) => Err(unexpected(answer)),
    }
}

/// Has the node of `dir` change who may connect, and waits until the change is on its disk and in force.
///
/// # Errors
/// See [`StatusError`]; `NotInForce` leaves open whether it comes.
pub fn change(dir: &Path, change: &AccessChange) -> Result<(), StatusError> {
    let request = Request::ChangeAccess { changes: vec![change.clone()] };
    status::change(dir, &request, || Ok(is_in_force(&access(dir)?, change)))
}

fn is_in_force(access: &Access, change: &AccessChange) -> bool {
    match change {
        AccessChange::Add(name, key) => access.clients().any(|client| client == (name, *key)),
        AccessChange::Remove(name) => access.clients().all(|(other, _)| other != name),
        AccessChange::Open => !access.is_restricted(),
    }
}
