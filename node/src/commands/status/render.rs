//! The status as a page for people.

use rustbalance_core::status::{
    AccessStatus, HostStatus, HsDirStatus, MemberStatus, PublicationStatus, SlotStatus, Status,
};

use super::table::{Cell, Tone, cell, columns, heading, plain};
use crate::commands::member;

/// The whole page.
pub fn page(status: &Status, colour: bool) -> String {
    let mut parts = vec![head(status, colour), members(status, colour)];
    parts.extend(mesh(status, colour));
    parts.push(plan(status, colour));
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
        row("node", plain(format!("{} ({})", status.name, member::short(&status.node)))),
        row("role", plain(format!("{}{epoch}", status.role))),
    ];
    if status.role != "alone" {
        rows.push(row("publisher", plain(holder)));
    }
    rows.push(row("publishing", plain(&status.mode)));
    rows.push(row("target", target));
    rows.extend(clock(status).map(|clock| row("clock", plain(clock))));
    rows.extend(machine(&status.host).map(|machine| row("machine", plain(machine))));
    rows.push(row("access", plain(access(&status.access))));
    if status.presence != "in" {
        let presence = match status.presence.as_str() {
            "out" => "out of service: introduction circuits that clients know are closed",
            _ => "going out of service",
        };
        rows.push(row("presence", cell(presence, Tone::Waiting)));
    }
    for order in &status.ordered {
        rows.push(row("ordered", cell(order, Tone::Waiting)));
    }
    if let Some(left) = status.stood_down_ms {
        rows.push(row("ordered", cell(format!("step-down, for {} more", age(left)), Tone::Waiting)));
    }
    if let Some(paused) = &status.paused {
        let by = member_name(&status.members, &paused.by);
        let text = format!("by {by}, for {} more: nobody is taken out for being down or unwell", age(paused.left_ms));
        rows.push(row("PAUSED", cell(text, Tone::Bad)));
    }
    for warning in &status.warnings {
        rows.push(row("WARNING", cell(warning, Tone::Bad)));
    }
    for tor in &status.tors {
        rows.push(row("tor", cell(tor, if tor == "ready" { Tone::Good } else { Tone::Waiting })));
    }
    format!("{}  (RustBalance {})\n{}", status.address, status.version, columns(&rows, colour))
}

/// This machine's clock, if another's is known.
fn clock(status: &Status) -> Option<String> {
    let ahead_ms = status.clock.ahead_ms?;
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let whose = if status.clock.others == 1 { "the other" } else { "the others" };
    Some(format!("{} {side} {whose}", seconds(ahead_ms.unsigned_abs())))
}

/// What is used of this machine and what is left, as far as it is known.
fn machine(host: &HostStatus) -> Option<String> {
    let of = |max: Option<String>| max.map(|max| format!(" of {max}")).unwrap_or_default();
    let files =
        host.files.map(|files| format!("{files}{} file handles", of(host.files_max.map(|max| max.to_string()))));
    let memory = host.memory_bytes.map(|used| format!("{}{} memory", size(used), of(host.memory_max_bytes.map(size))));
    let disk = host.disk_free_bytes.map(|free| format!("{} free on disk", size(free)));
    let known: Vec<String> = [files, memory, disk].into_iter().flatten().collect();
    (!known.is_empty()).then(|| known.join(", "))
}

/// The way to the other members, if there are any.
fn mesh(status: &Status, colour: bool) -> Option<String> {
    let others: Vec<_> = status.members.iter().filter(|member| member.node != status.node).collect();
    if others.is_empty() {
        return None;
    }
    let mut rows = vec![heading(["NAME", "HEARD", "HANDSHAKE", "CLOCK"])];
    rows.extend(others.into_iter().map(|member| {
        let clock = member.clock_ahead_ms.map(|ms| {
            let sign = if ms <= -100 { '-' } else { '+' };
            format!("{sign}{}", seconds(ms.unsigned_abs()))
        });
        vec![
            plain(member::name(member)),
            ago(member.heard_ms),
            ago(member.handshake_ms),
            plain(clock.as_deref().unwrap_or("-")),
        ]
    }));
    Some(format!("Mesh\n{}", columns(&rows, colour)))
}

fn members(status: &Status, colour: bool) -> String {
    let mut rows = vec![heading([
        "NAME", "NODE", "LIVENESS", "FOR", "STATE", "PRIORITY", "WEIGHT", "TOR", "TARGET", "POINTS", "PLANNED", "SHARE",
    ])];
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
            plain(format!("{}{role}", member::name(member))),
            plain(member::short(&member.node)),
            cell(&member.liveness, liveness),
            plain(if member.node == status.node { "-".into() } else { age(member.since_ms) }),
            plain(if known { &member.state } else { "?" }),
            plain(member.priority),
            plain(member.weight),
            fact(member.tor_ready, "ready", "waiting"),
            fact(member.target_up, "up", "down"),
            plain(member.introduction_points),
            plain(member.planned_points),
            plain(status.publication.shares.get(&member.node).map_or_else(|| "-".into(), |share| percent(*share))),
        ]);
    }
    format!("Members\n{}", columns(&rows, colour))
}

fn plan(status: &Status, colour: bool) -> String {
    let PublicationStatus { points, left_out, descriptors, confirmed, proven, waiting, pow, .. } = &status.publication;
    let state = match waiting {
        Some(reason) => reason,
        None if *proven => "proven: confirmed by every HSDir of both slots, and given back by those clients ask",
        None if *confirmed => "confirmed by every HSDir of both slots",
        None => "being uploaded",
    };
    let spread = if *descriptors > 1 { format!(" in {descriptors} different descriptors") } else { String::new() };
    let mut text = format!("Plan: {}{spread}; {state}\n", counted(points.len(), "introduction point"));
    if !points.is_empty() {
        let mut rows = vec![heading(["NAME", "POINT", "RELAY"])];
        for point in points {
            let name = member_name(&status.members, &point.node);
            rows.push(vec![plain(name), plain(member::short(&point.auth_key)), plain(&point.relay)]);
        }
        text.push_str(&columns(&rows, colour));
    }
    for reason in left_out {
        text.push_str(&format!("  left out: {reason}\n"));
    }
    if let Some(words) = pow {
        text.push_str(&format!("  proof of work: {words}\n"));
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
    vec![
        plain(&hsdir.relay),
        cell(&hsdir.state, tone),
        ago(hsdir.confirmed_ms),
        ago(hsdir.verified_ms),
        plain(hsdir.failure.as_deref().unwrap_or("-")),
    ]
}

fn member_name(members: &[MemberStatus], node: &str) -> String {
    let found = members.iter().find(|member| member.node == node);
    found.map_or(member::short(node), member::name).to_owned()
}

/// Who may connect, in words.
pub fn access(access: &AccessStatus) -> String {
    match (access.restricted, access.clients) {
        (false, _) => "open to everybody".to_owned(),
        (true, 0) => "closed: there is no authorised client".to_owned(),
        (true, clients) => format!("restricted to {}", counted(clients, "authorised client")),
    }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Of a million, in percent.
fn percent(per_million: u32) -> String {
    format!("{}.{} %", per_million / 10_000, per_million % 10_000 / 1000)
}

fn ago(ms: Option<u64>) -> Cell {
    plain(ms.map_or_else(|| "-".into(), |ms| format!("{} ago", age(ms))))
}

/// Seconds and tenths.
fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// Bytes in MiB, or in GiB from ten of them.
fn size(bytes: u64) -> String {
    let mib = bytes / (1024 * 1024);
    if mib < 10 * 1024 { format!("{mib} MiB") } else { format!("{} GiB", mib / 1024) }
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
    use rustbalance_core::status::{AccessStatus, ClockStatus, PauseStatus, PlannedPoint};

    fn member(node: &str, name: &str, liveness: &str) -> MemberStatus {
        MemberStatus {
            node: node.repeat(32),
            name: name.into(),
            liveness: liveness.into(),
            since_ms: 61_000,
            state: if name.is_empty() { "" } else { "active" }.into(),
            priority: 100,
            weight: 100,
            introduction_points: 3,
            planned_points: 1,
            tor_ready: true,
            target_up: false,
            heard_ms: Some(400),
            handshake_ms: (!name.is_empty()).then_some(61_000),
            clock_ahead_ms: Some(-1_250),
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
            sessions: 3,
            clock: ClockStatus { ahead_ms: Some(1_250), others: 1 },
            host: HostStatus {
                files: Some(37),
                files_max: Some(8448),
                memory_bytes: Some(25 << 20),
                memory_max_bytes: None,
                disk_free_bytes: Some(12 << 30),
            },
            warnings: vec!["the disk is full".into()],
            access: AccessStatus { restricted: true, clients: 2 },
            presence: "out".into(),
            ordered: vec!["drain".into(), "weight 50".into()],
            stood_down_ms: Some(61_000),
            paused: Some(PauseStatus { by: "aa".repeat(32), left_ms: 3_600_000 }),
            orders: Vec::new(),
            unheard: Vec::new(),
            unsaved: Vec::new(),
            members: vec![member("aa", "one", "live"), member("bb", "", "unknown")],
            publication: PublicationStatus {
                period: None,
                points: vec![PlannedPoint { node: "aa".repeat(32), auth_key: "cc".repeat(32), relay: "DD".repeat(20) }],
                left_out: vec!["bbbbbbbb: relay already used".into()],
                descriptors: 6,
                shares: [("aa".repeat(32), 1_000_000)].into(),
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
                pow: Some("in the descriptors".into()),
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
  clock       1.2 s ahead of the other
  machine     37 of 8448 file handles, 25 MiB memory, 12 GiB free on disk
  access      restricted to 2 authorised clients
  presence    out of service: introduction circuits that clients know are closed
  ordered     drain
  ordered     weight 50
  ordered     step-down, for 1 min more
  PAUSED      by one, for 1 h more: nobody is taken out for being down or unwell
  WARNING     the disk is full
  tor         ready

Members
  NAME                        NODE      LIVENESS  FOR    STATE   PRIORITY  WEIGHT  TOR    TARGET  POINTS  PLANNED  SHARE
  one (publisher, this node)  aaaaaaaa  live      -      active  100       100     ready  down    3       1        100.0 %
  bbbbbbbb                    bbbbbbbb  unknown   1 min  ?       100       100     ?      ?       3       1        -

Mesh
  NAME      HEARD    HANDSHAKE  CLOCK
  bbbbbbbb  0 s ago  -          -1.2 s

Plan: 1 introduction point in 6 different descriptors; being uploaded
  NAME  POINT     RELAY
  one   cccccccc  DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD
  left out: bbbbbbbb: relay already used
  proof of work: in the descriptors

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
