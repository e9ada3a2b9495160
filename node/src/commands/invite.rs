//! `rustbalance invite`.

use std::io::IsTerminal as _;

use rustbalance_core::cluster::NewInvite;
use rustbalance_core::invite::{Invite, InviteName};
use rustbalance_core::time::Wall;
use rustbalance_io::invites;
use serde_json::json;

use super::status::table::{Tone, cell, columns, heading, plain};
use super::{effect, member, served, settings};
use crate::args::{self, Change, Common, InviteCommand};
use crate::failure::Failure;
use crate::output;

/// Makes, shows or revokes invites.
///
/// # Errors
/// A bad name or duration; no node runs there; it refuses, and says why.
pub fn invite(common: &Common, args: &args::Invite) -> Result<(), Failure> {
    match &args.command {
        None => make(common, args),
        Some(InviteCommand::List { json }) => list(common, *json),
        Some(InviteCommand::Revoke { name, change }) => revoke(common, name, *change),
    }
}

/// The invite is printed when it is in force, and not before: what is printed works.
fn make(common: &Common, args: &args::Invite) -> Result<(), Failure> {
    let status = rustbalance_io::status::status(&common.dir)?;
    let invite = invites::generate(served(&status)?, settings(common)?.service.port, args.expires.as_secs())?;
    let name = match &args.name {
        Some(name) => parse_name(name)?,
        None => default_name(&invite)?,
    };
    let new = NewInvite { id: invite.id(), name, uses: args.uses, expires: invite.expires().as_secs() };
    invites::make(&common.dir, &new)?;
    // It is good already: the line is printed also if not all nodes get to know it in time.
    let known = effect::everywhere(&common.dir, args.change.waiting).map(drop);
    let line = invite.expose_line();
    if args.change.json {
        let (name, uses, expires) = (new.name.to_string(), new.uses, new.expires);
        output::json(&json!({ "invite": *line, "name": name, "uses": uses, "expires": expires }))?;
        return known;
    }
    if status.access.restricted {
        output::note(
            "the address is for authorised clients alone: the new machine needs the key of one, too; make it with \
             `rustbalance clients add NAME`, and give it to `join` with --client-key-file",
        );
    } else if std::io::stdout().is_terminal() {
        output::note(&format!(
            "a secret: whoever has this line can join, {} of them, until {}; put it into a file with mode 600 on the new \
             machine, and run `rustbalance join --invite-file FILE --target TARGET` there",
            new.uses,
            until(new.expires)
        ));
    }
    output::line(&line)?;
    known
}

fn revoke(common: &Common, name: &str, args: Change) -> Result<(), Failure> {
    let name = parse_name(name)?;
    invites::revoke(&common.dir, &name)?;
    let known = effect::known(effect::everywhere(&common.dir, args.waiting)?);
    if args.json {
        return output::json(&json!({ "revoked": name.to_string() }));
    }
    output::line(&format!("{name}: lets nobody in any more; who has joined with it stays{known}"))
}

fn list(common: &Common, json: bool) -> Result<(), Failure> {
    let invites = invites::list(&common.dir)?;
    if json {
        return output::json(&json!({ "invites": invites }));
    }
    if invites.is_empty() {
        return output::line("nobody is invited; make an invite with `rustbalance invite`");
    }
    let mut rows = vec![heading(["NAME", "STATE", "USED", "OF", "GOOD UNTIL", "MADE BY"])];
    rows.extend(invites.iter().map(|invite| {
        let tone = if invite.state == "open" { Tone::Good } else { Tone::Faint };
        let cells =
            [plain(invite.used), plain(invite.uses), plain(until(invite.expires)), plain(member::short(&invite.by))];
        [plain(&invite.name), cell(&invite.state, tone)].into_iter().chain(cells).collect()
    }));
    output::line(columns(&rows, output::is_coloured()).trim_end())
}

fn until(expires: u64) -> String {
    format!("{} UTC", Wall::from_secs(expires))
}

fn default_name(invite: &Invite) -> Result<InviteName, Failure> {
    let digits: String = invite.id().0.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    parse_name(&format!("invite-{digits}"))
}

fn parse_name(name: &str) -> Result<InviteName, Failure> {
    name.parse().map_err(|error| Failure::usage(format!("{name:?}: {error}; choose another name")))
}
