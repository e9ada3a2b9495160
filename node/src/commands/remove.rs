//! `rustbalance remove`.

use rustbalance_io::status::Request;

use super::{effect, member};
use crate::args::{Common, Remove};
use crate::failure::{Exit, Failure};
use crate::output;

/// Takes a node off the roster.
///
/// # Errors
/// No node runs there, the name fits none or several members, or the running node itself, or it is the last that serves.
pub fn remove(common: &Common, args: &Remove) -> Result<(), Failure> {
    let status = rustbalance_io::status::status(&common.dir)?;
    let member = member::find(&status, &args.node)?;
    if member.node == status.node {
        let text = format!("{} is the node that is asked; to take it out, run `rustbalance leave` there", args.node);
        return Err(Failure::usage(text));
    }
    if !args.force && member::serves(member) && !member::another_serves(&status, &member.node) {
        let text = "no other node serves clients now; start or undrain another one first, or remove it all the same with \
                    --force";
        return Err(Failure::new(Exit::Runtime, text));
    }
    rustbalance_io::status::order(&common.dir, Request::Remove { node: member::id(member)? })?;
    let members = effect::wait(&common.dir, effect::AT_ONCE, "the removal is in force", |status| {
        let is_out = status.members.iter().all(|listed| listed.node != member.node);
        is_out.then_some(status.members.len())
    })?;
    let known = effect::known(effect::everywhere(&common.dir, args.waiting)?);
    if args.json {
        return output::json(&serde_json::json!({ "removed": member.node, "members": members }));
    }
    output::line(&format!(
        "{} ({}) is no member any more; members left: {members}{known}\n\
         it still has the key of the address: wipe or switch off its machine\n\
         the cluster token was replaced: whoever joins needs a copy of the new keys/cluster_token",
        member::name(member),
        member::short(&member.node)
    ))
}
