//! `rustbalance verify`.

use std::time::Duration;

use rustbalance_core::status::{PublicationStatus, SlotStatus, Status};
use serde::Serialize;

use super::effect::{self, Look};
use super::member;
use super::status::render;
use crate::args::{Common, Verify};
use crate::failure::{Exit, Failure};
use crate::output;

/// The proof; `--json` prints it as it is.
#[derive(Serialize)]
struct Proof<'a> {
    /// With `.onion`.
    address: &'a str,
    /// Every HSDir has what it should have, as far as it can be asked.
    proven: bool,
    /// Why not, if so.
    reason: Option<String>,
    /// Introduction points in the plan.
    points: usize,
    /// Per slot and HSDir.
    slots: &'a [SlotStatus],
}

/// Says whether what is published is what should be, and waits until it is if asked to.
///
/// # Errors
/// No node runs there; or (exit code 6) it is not, or not in time.
pub fn verify(common: &Common, args: &Verify) -> Result<(), Failure> {
    let within = if args.wait { Duration::from_secs(args.timeout) } else { Duration::ZERO };
    let proven = effect::poll(within, |look| {
        let status = rustbalance_io::status::status(&common.dir)?;
        let reason = why_not(&status);
        if reason.is_some() && look == Look::Early && !is_left_to_tor(&status) {
            return Ok(None);
        }
        let text = if args.json { output::to_json(&proof(&status, &reason))? } else { page(&status, &reason) };
        output::line(&text)?;
        reason.map_or(Ok(Some(())), |reason| Err(Failure::new(Exit::No, format!("not proven: {reason}"))))
    });
    proven.map(drop)
}

fn proof<'a>(status: &'a Status, reason: &Option<String>) -> Proof<'a> {
    Proof {
        address: &status.address,
        proven: reason.is_none(),
        reason: reason.clone(),
        points: status.publication.points.len(),
        slots: &status.publication.slots,
    }
}

/// Whether the node is alone and its tor publishes by itself: then there is nothing that could be waited for.
fn is_left_to_tor(status: &Status) -> bool {
    status.role == "alone" && status.mode == "native"
}

/// What is missing to the proof.
fn why_not(status: &Status) -> Option<String> {
    let PublicationStatus { waiting, proven, slots, .. } = &status.publication;
    match (status.role.as_str(), waiting) {
        (_, None) if *proven => return None,
        _ if is_left_to_tor(status) => {
            let way_out = "look at what HSDirs hold with `rustbalance descriptor show --live`";
            return Some(format!("this node is alone, so its tor publishes by itself; {way_out}"));
        }
        ("follower", _) => {
            let holder = status.members.iter().find(|member| Some(&member.node) == status.holder.as_ref());
            let holder = holder.map_or("none at the moment", member::name);
            return Some(format!("another node publishes ({holder}); run this there"));
        }
        (_, Some(waiting)) => return Some(waiting.clone()),
        (_, None) => {}
    }
    let lacking = slots.iter().flat_map(|slot| slot.hsdirs.iter().map(move |hsdir| (slot, hsdir)));
    let lacking = lacking.filter(|(slot, hsdir)| hsdir.state != if slot.current { "verified" } else { "confirmed" });
    let named: Vec<_> =
        lacking.map(|(slot, hsdir)| format!("{} is {} ({} slot)", hsdir.relay, hsdir.state, slot.slot)).collect();
    let way_out = "wait a little (--wait); what stays so for minutes is in the log with its reason";
    Some(match named.as_slice() {
        [] => format!("nothing is published yet; {way_out}"),
        [only] => format!("one HSDir lacks it: {only}; {way_out}"),
        [first, ..] => format!("{} HSDirs lack it, {first} among them; {way_out}", named.len()),
    })
}

fn page(status: &Status, reason: &Option<String>) -> String {
    let PublicationStatus { points, slots, .. } = &status.publication;
    let verdict = if reason.is_none() { "proven" } else { "not proven" };
    let mut parts = vec![format!("{}: {verdict}, {} introduction points\n", status.address, points.len())];
    parts.extend(slots.iter().map(|slot| render::hsdirs(slot, output::is_coloured())));
    parts.join("\n").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_whose_name_nobody_has_heard_is_named_by_its_id() {
        let member = serde_json::json!({
            "node": "0c".repeat(32), "name": "", "liveness": "live", "since_ms": 0, "state": "", "priority": 0, "weight": 0,
            "introduction_points": 0, "planned_points": 0, "tor_ready": false, "target_up": false,
        });
        let member = serde_json::from_value(member).expect("a member");
        let role = "follower".to_owned();
        let status = Status { role, holder: Some("0c".repeat(32)), members: vec![member], ..Status::default() };
        assert!(why_not(&status).is_some_and(|why| why.contains("another node publishes (0c0c0c0c)")));
    }

    /// Why nothing is proven with these states on a slot that clients do not read.
    fn lacking(states: &[&str]) -> String {
        let hsdir = |(number, state): (usize, &&str)| {
            serde_json::json!({
                "relay": format!("relay{number}"), "state": state, "failure": null, "confirmed_ms": null, "verified_ms": null,
            })
        };
        let hsdirs: Vec<_> = states.iter().enumerate().map(hsdir).collect();
        let slot = serde_json::json!({
            "slot": "first", "period": 1, "current": false, "revision": null, "hsdirs": hsdirs,
        });
        let slots = vec![serde_json::from_value(slot).expect("a slot")];
        let publication = PublicationStatus { slots, ..PublicationStatus::default() };
        let why = why_not(&Status { role: "holder".to_owned(), publication, ..Status::default() });
        why.and_then(|why| why.split(';').next().map(str::to_owned)).unwrap_or_default()
    }

    #[test]
    fn hsdirs_that_lack_it_are_counted_and_the_first_is_named() {
        assert_eq!(lacking(&[]), "nothing is published yet");
        assert_eq!(lacking(&["confirmed", "refused"]), "one HSDir lacks it: relay1 is refused (first slot)");
        let two = "2 HSDirs lack it, relay0 is sent (first slot) among them";
        assert_eq!(lacking(&["sent", "confirmed", "wanted"]), two);
    }
}
