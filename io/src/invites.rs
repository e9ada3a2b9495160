//! Invites, from the operator's side: what a running node is told about who may join through tor.

use std::path::Path;

use rustbalance_core::cluster::{InviteStatus, NewInvite};
use rustbalance_core::invite::{Invite, InviteName};
use rustbalance_core::onion::address::OnionAddress;
use rustbalance_core::time::Wall;

use crate::clock;
use crate::entropy::{self, EntropyError};
use crate::status::{self, Answer, Request, StatusError, ask, unexpected};

/// A new invite, that no cluster knows of yet, good for `secs`.
///
/// # Errors
/// No randomness.
pub fn generate(address: OnionAddress, port: u16, secs: u64) -> Result<Invite, EntropyError> {
    let expires = Wall::from_secs(clock::now().wall.as_secs().saturating_add(secs));
    Ok(Invite::new(address, port, expires, &mut entropy::rng()?))
}

/// The invites that the node of `dir` knows of.
///
/// # Errors
/// See [`StatusError`].
pub fn list(dir: &Path) -> Result<Vec<InviteStatus>, StatusError> {
    let (answer, _) = ask(dir, &Request::Invites)?;
    if let Answer::Invites(invites) = answer { Ok(invites) } else { Err(unexpected(answer)) }
}

/// Has the node of `dir`, and with it the cluster, let in whoever shows the invite `new`.
///
/// # Errors
/// See [`StatusError`]; `NotInForce` leaves open whether it comes.
pub fn make(dir: &Path, new: &NewInvite) -> Result<(), StatusError> {
    let (name, expires) = (new.name.to_string(), new.expires);
    let is_it = |invite: &InviteStatus| invite.name == name && invite.expires == expires;
    status::change(dir, &Request::Invite { new: new.clone() }, || Ok(list(dir)?.iter().any(is_it)))
}

/// Has nobody let in with that invite any more.
///
/// # Errors
/// See [`StatusError`]; `NotInForce` leaves open whether it comes.
pub fn revoke(dir: &Path, name: &InviteName) -> Result<(), StatusError> {
    let text = name.to_string();
    let is_revoked = |invite: &InviteStatus| invite.name == text && invite.state == "revoked";
    status::change(dir, &Request::RevokeInvite { name: name.clone() }, || Ok(list(dir)?.iter().any(is_revoked)))
}
