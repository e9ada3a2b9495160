//! `rustbalance remove`.

use rustbalance_core::NodeId;
use rustbalance_core::status::{MemberStatus, Status};
use rustbalance_io::status::Request;

use super::effect;
use crate::args::{Common, Remove};
use crate::failure::{Exit, Failure};
use crate::output;

/// Fewest digits of a node id that name a node.
const DIGITS_MIN: usize = 8;

/// Takes a node off the roster.
///
/// # Errors
/// No node runs there, the name fits none or several members, or the running node itself.
pub fn remove(common: &Common, args: &Remove) -> Result<(), Failure> {
    let status = rustbalance_io::status::status(&common.dir)?;
    let member = find(&status, &args.node)?;
    let node = NodeId::from_hex(&member.node)
        .ok_or_else(|| Failure::new(Exit::Runtime, format!("`{}` is no node id; report this as a bug", member.node)))?;
    rustbalance_io::status::order(&common.dir, Request::Remove { node })?;
    let members = effect::wait(&common.dir, effect::AT_ONCE, "the removal is in force", |status| {
        let is_out = status.members.iter().all(|listed| listed.node != member.node);
        is_out.then_some(status.members.len())
    })?;
    if args.json {
        return output::json(&serde_json::json!({ "removed": member.node, "members": members }));
    }
    output::line(&format!(
        "{} ({}) is no member any more; members left: {members}\n\
         it still has the key of the address: wipe or switch off its machine\n\
         the cluster token was replaced: whoever joins needs a copy of the new keys/cluster_token",
        member.name, args.node
    ))
}

/// The one member of that name, or whose node id begins so.
fn find<'a>(status: &'a Status, wanted: &str) -> Result<&'a MemberStatus, Failure> {
    let digits = wanted.to_ascii_lowercase();
    let begins = |member: &MemberStatus| digits.len() >= DIGITS_MIN && member.node.starts_with(&digits);
    let fitting: Vec<_> = status.members.iter().filter(|member| member.name == wanted || begins(member)).collect();
    let usage = |text: String| Err(Failure::new(Exit::Usage, text));
    match fitting[..] {
        [member] if member.node == status.node => {
            usage(format!("{wanted} is the node that is asked; to take it out, run `rustbalance leave` there"))
        }
        [member] => Ok(member),
        [] => usage(format!("no member has the name {wanted}, or a node id that begins so; see `rustbalance status`")),
        _ => {
            let ids: Vec<_> = fitting.iter().map(|member| member.node.chars().take(DIGITS_MIN).collect()).collect();
            let ids: Vec<String> = ids;
            usage(format!("{wanted} fits {} members; name one by its node id: {}", ids.len(), ids.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: &str, name: &str) -> MemberStatus {
        MemberStatus {
            node: node.repeat(32),
            name: name.to_owned(),
            liveness: "live".to_owned(),
            since_ms: 0,
            state: "active".to_owned(),
            priority: 100,
            introduction_points: 3,
            planned_points: 3,
            tor_ready: true,
            target_up: true,
        }
    }

    #[test]
    fn a_node_is_named_by_its_name_or_the_start_of_its_id_if_that_is_clear() {
        let members = vec![member("0a", "web1"), member("0b", "web2"), member("0c", "twin"), member("0d", "twin")];
        let status = Status { node: "0a".repeat(32), members, ..Status::default() };
        let found =
            |wanted: &str| find(&status, wanted).map(|member| member.name.as_str()).map_err(|failure| failure.lines);
        assert_eq!(found("web2"), Ok("web2"));
        assert_eq!(found("0B0b0b0b"), Ok("web2"));
        assert_eq!(found("0c0c0c0c0c"), Ok("twin"));
        let says =
            |wanted: &str, text: &str| assert!(found(wanted).is_err_and(|lines| lines[0].contains(text)), "{wanted}");
        says("web1", "rustbalance leave");
        says("web3", "no member has the name web3");
        says("0b0b0b", "no member");
        says("twin", "fits 2 members; name one by its node id: 0c0c0c0c, 0d0d0d0d");
    }
}
