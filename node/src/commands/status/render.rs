//! The status as a page for people.

use rustbalance_core::status::{HsDirStatus, MemberStatus, PublicationStatus, SlotStatus, Status};

use super::table::{Cell, Tone, cell, columns, heading, plain};

/// The whole page.
pub fn page(status: &Status, colour: bool) -> String {
    let mut parts = vec![head(status, colour), members(status, colour), plan(status, colour)];
    parts.extend(status.publication.slots.iter().map(|slot| hsdirs(slot, colour)));
    if !status.rejected.is_empty() {
        let rows: Vec<_> = status.rejected.iter().map(|(name, count)| vec![plain(name), plain(count)]).collect();
        parts.push(format!("Refused inputs\n{}", columns(&rows, colour)));
    }
    parts.join("\n").trim_end().to_owned()
}

fn head(status: &Status, colour: bool) -> String {
    let epoch = if status.epoch == 0 { String::new() } else { format!(", epoch {}", status.epoch) };
    let holder = match &status.holder {
        Some(holder) if *holder == status.node => "this node".into(),
        Some(holder) => member_name(&status.members, holder),
        None => "none".into(),
    };
    let target = cell(&status.target, if status.target == "up" { Tone::Good } else { Tone::Bad });
    let row = |label: &str, value: Cell| vec![cell(label, Tone::Faint), value];
    let mut rows = vec![
        row("node", plain(format!("{} ({})", status.name, short(&status.node)))),
        row("role", plain(format!("{}{epoch}", status.role))),
    ];
    if status.role != "alone" {
        rows.push(row("publisher", plain(holder)));
    }
    rows.push(row("publishing", plain(&status.mode)));
    rows.push(row("target", target));
    let access = match (status.access.restricted, status.access.clients) {
        (false, _) => "open to everybody".to_owned(),
        (true, 0) => "closed: there is no authorised client".to_owned(),
        (true, clients) => format!("restricted to {}", counted(clients, "authorised client")),
    };
    rows.push(row("access", plain(access)));
    for tor in &status.tors {
        rows.push(row("tor", cell(tor, if tor == "ready" { Tone::Good } else { Tone::Waiting })));
    }
    format!("{}  (RustBalance {})\n{}", status.address, status.version, columns(&rows, colour))
}

fn members(status: &Status, colour: bool) -> String {
    let mut rows =
        vec![heading(["NAME", "NODE", "LIVENESS", "FOR", "STATE", "PRIORITY", "TOR", "TARGET", "POINTS", "PLANNED"])];
    for member in &status.members {
        let role = match (status.holder.as_ref() == Some(&member.node), member.node == status.node) {
            (true, true) => " (publisher, this node)",
            (true, false) => " (publisher)",
            (false, true) => " (this node)",
            (false, false) => "",
        };
        let liveness = match member.liveness.as_str() {
            "live" => Tone::Good,
            "down" => Tone::Bad,
            _ => Tone::Waiting,
        };
        // Without a record nothing is known of a member but whether it is heard.
        let known = !member.state.is_empty();
        let fact = |good: bool, yes: &str, no: &str| match (known, good) {
            (false, _) => cell("?", Tone::Waiting),
            (true, true) => cell(yes, Tone::Good),
            (true, false) => cell(no, Tone::Bad),
        };
        rows.push(vec![
            plain(format!("{}{role}", name_of(member))),
            plain(short(&member.node)),
            cell(&member.liveness, liveness),
            plain(if member.node == status.node { "-".into() } else { age(member.since_ms) }),
            plain(if known { &member.state } else { "?" }),
            plain(member.priority),
            fact(member.tor_ready, "ready", "waiting"),
            fact(member.target_up, "up", "down"),
            plain(member.introduction_points),
            plain(member.planned_points),
        ]);
    }
    format!("Members\n{}", columns(&rows, colour))
}

fn plan(status: &Status, colour: bool) -> String {
    let PublicationStatus { points, left_out, confirmed, proven, waiting, .. } = &status.publication;
    let state = match waiting {
        Some(reason) => reason,
        None if *proven => "proven: confirmed by every HSDir of both slots, and given back by those clients ask",
        None if *confirmed => "confirmed by every HSDir of both slots",
        None => "being uploaded",
    };
    let mut text = format!("Plan: {}; {state}\n", counted(points.len(), "introduction point"));
    if !points.is_empty() {
        let mut rows = vec![heading(["NAME", "POINT", "RELAY"])];
        for point in points {
            let name = member_name(&status.members, &point.node);
            rows.push(vec![plain(name), plain(short(&point.auth_key)), plain(&point.relay)]);
        }
        text.push_str(&columns(&rows, colour));
    }
    for reason in left_out {
        text.push_str(&format!("  left out: {reason}\n"));
    }
    text
}

/// The HSDirs of one slot.
pub fn hsdirs(slot: &SlotStatus, colour: bool) -> String {
    let has_plan = |hsdir: &&HsDirStatus| matches!(hsdir.state.as_str(), "confirmed" | "verified");
    let confirmed = slot.hsdirs.iter().filter(has_plan).count();
    let current = if slot.current { ", the one clients fetch now" } else { "" };
    let revision = slot.revision.map_or_else(|| "none yet".into(), |revision| revision.to_string());
    let mut text = format!(
        "Slot {}: time period {}{current}; {confirmed} of {} HSDirs confirmed, revision {revision}\n",
        slot.slot,
        slot.period,
        slot.hsdirs.len()
    );
    let mut rows = vec![heading(["HSDIR", "STATE", "CONFIRMED", "VERIFIED", "LAST FAILURE"])];
    rows.extend(slot.hsdirs.iter().map(hsdir));
    text.push_str(&columns(&rows, colour));
    text
}

fn hsdir(hsdir: &HsDirStatus) -> Vec<Cell> {
    let tone = match hsdir.state.as_str() {
        "confirmed" | "verified" => Tone::Good,
        "refused" | "gone" | "stale" | "foreign" => Tone::Bad,
        _ => Tone::Waiting,
    };
    let ago = |ms: Option<u64>| plain(ms.map_or_else(|| "-".into(), |ms| format!("{} ago", age(ms))));
    vec![
        plain(&hsdir.relay),
        cell(&hsdir.state, tone),
        ago(hsdir.confirmed_ms),
        ago(hsdir.verified_ms),
        plain(hsdir.failure.as_deref().unwrap_or("-")),
    ]
}

/// The first 8 hex digits, as logs write node ids.
fn short(hex: &str) -> &str {
    hex.get(..8).unwrap_or(hex)
}

fn name_of(member: &MemberStatus) -> &str {
    if member.name.is_empty() { short(&member.node) } else { &member.name }
}

fn member_name(members: &[MemberStatus], node: &str) -> String {
    let found = members.iter().find(|member| member.node == node);
    found.map_or(short(node), name_of).to_owned()
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// An age in its largest whole unit.
fn age(ms: u64) -> String {
    let secs = ms / 1000;
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min", secs / 60),
        3600..172_800 => format!("{} h", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustbalance_core::status::{AccessStatus, PlannedPoint};

    fn member(node: &str, name: &str, liveness: &str) -> MemberStatus {
        MemberStatus {
            node: node.repeat(32),
            name: name.into(),
            liveness: liveness.into(),
            since_ms: 61_000,
            state: if name.is_empty() { "" } else { "active" }.into(),
            priority: 100,
            introduction_points: 3,
            planned_points: 1,
            tor_ready: true,
            target_up: false,
        }
    }

    fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            address: "abc.onion".into(),
            node: "aa".repeat(32),
            name: "one".into(),
            role: "holder".into(),
            epoch: 7,
            holder: Some("aa".repeat(32)),
            mode: "merged".into(),
            tors: vec!["ready".into()],
            target: "up".into(),
            access: AccessStatus { restricted: true, clients: 2 },
            members: vec![member("aa", "one", "live"), member("bb", "", "unknown")],
            publication: PublicationStatus {
                period: None,
                points: vec![PlannedPoint { node: "aa".repeat(32), auth_key: "cc".repeat(32), relay: "DD".repeat(20) }],
                left_out: vec!["bbbbbbbb: relay already used".into()],
                slots: vec![SlotStatus {
                    slot: "first".into(),
                    period: 20_515,
                    current: true,
                    revision: Some(99),
                    hsdirs: vec![
                        HsDirStatus {
                            relay: "EE".repeat(20),
                            state: "verified".into(),
                            failure: None,
                            confirmed_ms: Some(1500),
                            verified_ms: Some(1100),
                        },
                        HsDirStatus {
                            relay: "FF".repeat(20),
                            state: "sent".into(),
                            failure: Some("timeout".into()),
                            confirmed_ms: None,
                            verified_ms: None,
                        },
                    ],
                }],
                confirmed: false,
                proven: false,
                waiting: None,
            },
            rejected: [("peer: stale".to_owned(), 4)].into(),
        }
    }

    #[test]
    fn page_of_a_publisher() {
        let expected = "\
abc.onion  (RustBalance 0.1.0)
  node        one (aaaaaaaa)
  role        holder, epoch 7
  publisher   this node
  publishing  merged
  target      up
  access      restricted to 2 authorised clients
  tor         ready

Members
  NAME                        NODE      LIVENESS  FOR    STATE   PRIORITY  TOR    TARGET  POINTS  PLANNED
  one (publisher, this node)  aaaaaaaa  live      -      active  100       ready  down    3       1
  bbbbbbbb                    bbbbbbbb  unknown   1 min  ?       100       ?      ?       3       1

Plan: 1 introduction point; being uploaded
  NAME  POINT     RELAY
  one   cccccccc  DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD
  left out: bbbbbbbb: relay already used

Slot first: time period 20515, the one clients fetch now; 1 of 2 HSDirs confirmed, revision 99
  HSDIR                                     STATE     CONFIRMED  VERIFIED  LAST FAILURE
  EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE  verified  1 s ago    1 s ago   -
  FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF  sent      -          -         timeout

Refused inputs
  peer: stale  4";
        assert_eq!(page(&status(), false), expected);
    }

    #[test]
    fn page_of_a_node_alone_says_that_tor_publishes() {
        let mut status = status();
        status.role = "alone".into();
        status.mode = "native".into();
        status.holder = None;
        let waiting = Some("this node is alone: its tor publishes by itself".to_owned());
        status.publication = PublicationStatus { waiting, ..PublicationStatus::default() };
        let page = page(&status, false);
        assert!(
            page.contains("Plan: 0 introduction points; this node is alone: its tor publishes by itself"),
            "{page}"
        );
        assert!(!page.contains("publisher "), "{page}");
    }
}
