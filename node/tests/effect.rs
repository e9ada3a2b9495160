//! What changes the whole cluster says what came of it, for people and for programs, and waits for all live nodes if
//! asked to. Two nodes, with real tors that may not use the network.

mod common;

use common::Run;
use common::node::Node;
use serde_json::{Value, json};

/// A client's public key.
const KEY: &str = "OM7TGIVRYMY6PFX6GAC6ATRTA5U6WW6U7A4ZNHQDI6OVL52XVV2Q";

fn assert_says(run: &Run, text: &str) {
    let whole = format!("{text}; known to all live nodes: 2\n");
    assert_eq!((run.code, run.stdout.as_str()), (0, whole.as_str()), "{}", run.stderr);
}

fn said(run: &Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON")
}

#[test]
fn what_changes_the_cluster_is_shown_and_can_be_waited_for() {
    let (member, other) = (Node::new(), Node::unfounded());
    let _member = member.start();
    let joined = other.run(&[&member.join_command()[..], &["--json"]].concat());
    let id = said(&joined)["node"].as_str().expect("text").to_owned();
    let _other = other.start();
    let knows = |node: &Node, args: &[&str], what: &str| node.run(args).stdout.contains(what);
    member.wait("they hear each other", |node| {
        let status = said(&node.run(&["status", "--json"]));
        let members = status["members"].as_array().expect("members");
        members.iter().all(|member| member["liveness"] == "live")
    });

    let invited = said(&member.run(&["invite", "--name", "web3", "--wait", "--json"]));
    assert_eq!((&invited["name"], &invited["uses"]), (&json!("web3"), &json!(1)));
    assert!(knows(&other, &["invite", "list"], "web3"), "it was waited for");
    let revoked = member.run(&["invite", "revoke", "web3", "--wait"]);
    assert_says(&revoked, "web3: lets nobody in any more; who has joined with it stays");
    assert!(knows(&other, &["invite", "list"], "revoked"));
    assert_eq!(said(&other.run(&["invite", "revoke", "web3", "--json"])), json!({ "revoked": "web3" }));

    let added = member.run(&["clients", "add", "bob", "--public-key", KEY, "--wait"]);
    assert_says(&added, "bob may connect, and nobody else but the clients in `clients list`");
    assert!(knows(&other, &["clients", "list"], KEY));
    let added = said(&other.run(&["clients", "add", "alice", "--wait", "--json"]));
    let secret = added["auth_private"].as_str().expect("a line");
    assert!(added["added"] == "alice" && secret.contains(":descriptor:x25519:"));
    assert!(knows(&member, &["clients", "list"], added["public_key"].as_str().expect("a key")));
    assert_eq!(said(&member.run(&["clients", "remove", "alice", "--json"])), json!({ "removed": "alice" }));
    let removed = member.run(&["clients", "remove", "bob", "--wait"]);
    assert_says(&removed, "bob may not connect any more; nor may anybody else: no client is left");
    assert_says(&member.run(&["clients", "open", "--wait"]), "everybody may connect who knows the address");
    assert_eq!(said(&member.run(&["clients", "open", "--json"])), json!({ "restricted": false }));

    let rotated = member.run(&["token", "rotate", "--wait"]);
    assert!(rotated.stdout.ends_with("keys/cluster_token; known to all live nodes: 2\n"), "{}", rotated.stderr);
    let removed = member.run(&["remove", &id[..8], "--wait"]);
    assert!(removed.stdout.contains("members left: 1; known to all live nodes: 1\n"), "{}", removed.stderr);
}
