//! Members by the names that operators give them.

use rustbalance_core::NodeId;
use rustbalance_core::status::{MemberStatus, Status};

use crate::failure::{Exit, Failure};

/// Fewest digits of a node id that name a node.
const DIGITS_MIN: usize = 8;

/// The one member of that name, or whose node id begins so.
///
/// # Errors
/// None, or several.
pub fn find<'a>(status: &'a Status, wanted: &str) -> Result<&'a MemberStatus, Failure> {
    let digits = wanted.to_ascii_lowercase();
    let begins = |member: &MemberStatus| digits.len() >= DIGITS_MIN && member.node.starts_with(&digits);
    let fitting: Vec<_> = status.members.iter().filter(|member| member.name == wanted || begins(member)).collect();
    let usage = |text: String| Err(Failure::usage(text));
    match fitting[..] {
        [member] => Ok(member),
        [] => usage(format!("no member has the name {wanted}, or a node id that begins so; see `rustbalance status`")),
        _ => {
            let ids: Vec<&str> = fitting.iter().map(|member| short(&member.node)).collect();
            usage(format!("{wanted} fits {} members; name one by its node id: {}", ids.len(), ids.join(", ")))
        }
    }
}

/// Whether clients are sent to it, as far as the asked node knows.
pub fn serves(member: &MemberStatus) -> bool {
    member.liveness == "live" && member.state == "active" && member.tor_ready && member.target_up
}

/// Whether they are sent to any other than `node`, a node id.
pub fn another_serves(status: &Status, node: &str) -> bool {
    status.members.iter().any(|other| other.node != node && serves(other))
}

/// Its name, or how its node id begins as long as nobody has heard its name.
pub fn name(member: &MemberStatus) -> &str {
    if member.name.is_empty() { short(&member.node) } else { &member.name }
}

/// How an id begins: enough to name it, as logs write it.
pub fn short(hex: &str) -> &str {
    hex.get(..DIGITS_MIN).unwrap_or(hex)
}

/// Its node id.
///
/// # Errors
/// The node says what is none.
pub fn id(member: &MemberStatus) -> Result<NodeId, Failure> {
    let why = || Failure::new(Exit::Runtime, format!("`{}` is no node id; report this as a bug", member.node));
    NodeId::from_hex(&member.node).ok_or_else(why)
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
            weight: 100,
            introduction_points: 3,
            planned_points: 3,
            tor_ready: true,
            target_up: true,
            heard_ms: None,
            handshake_ms: None,
            clock_ahead_ms: None,
        }
    }

    #[test]
    fn only_live_active_and_well_nodes_serve_beside_another() {
        let well = member("0b", "web2");
        let is_beside = |change: fn(&mut MemberStatus)| {
            let mut other = well.clone();
            change(&mut other);
            another_serves(
                &Status { members: vec![member("0a", "web1"), other], ..Status::default() },
                &"0a".repeat(32),
            )
        };
        assert!(is_beside(|_| ()));
        assert!(!is_beside(|other| other.liveness = "down".to_owned()));
        assert!(!is_beside(|other| other.state = "draining".to_owned()));
        assert!(!is_beside(|other| other.tor_ready = false) && !is_beside(|other| other.target_up = false));
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
        says("web3", "no member has the name web3");
        says("0b0b0b", "no member");
        says("twin", "fits 2 members; name one by its node id: 0c0c0c0c, 0d0d0d0d");
    }
}
