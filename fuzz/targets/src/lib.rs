//! One function for each thing that reads foreign bytes. The fuzzer (`fuzz/fuzz_targets/`) calls them with whatever it
//! thinks of, `tests/corpus.rs` with what it has thought of before (`fuzz/corpus/`). They panic where we have a bug.

#![allow(clippy::missing_panics_doc, reason = "all of them, for a bug of ours")]

pub mod configuration;
pub mod control;
pub mod descriptor;
pub mod directory;
pub mod keys;
pub mod mesh;
pub mod node;

pub use rustbalance_core::{backup, cluster, invite, join};
pub use rustbalance_io::probe;

/// A target: the name of its program and of its corpus, and what it calls.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("backup", backup::exercise::exercise),
    ("certificate", descriptor::certificate),
    ("circuit_line", control::circuit_line),
    ("cluster_file", configuration::cluster_file),
    ("configuration", configuration::file),
    ("consensus", directory::consensus),
    ("control_reply", control::reply),
    ("descriptor", descriptor::whole),
    ("descriptor_inner", descriptor::inner),
    ("descriptor_middle", descriptor::middle),
    ("descriptor_outer", descriptor::outer),
    ("intro_point", descriptor::intro_point),
    ("invite", invite::exercise::exercise_text),
    ("invite_front", invite::exercise::exercise_front),
    ("invite_reply", invite::exercise::exercise_reply),
    ("invite_request", invite::exercise::exercise_request),
    ("join_reply", join::exercise::exercise_reply),
    ("join_request", join::exercise::exercise_request),
    ("keys", keys::keys),
    ("mesh_packet", mesh::packet),
    ("mesh_datagram", mesh::datagrams),
    ("microdesc", directory::microdescs),
    ("node", node::node),
    ("peer_datagram", cluster::exercise::exercise_datagrams),
    ("probe_answer", probe::exercise::answer),
    ("saved_state", cluster::exercise::exercise_saved),
    ("tor_dialogue", control::dialogue),
];
