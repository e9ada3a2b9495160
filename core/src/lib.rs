//! The deterministic, sans-IO core of RustBalance.
//!
//! [`Node`] is the whole node without its world. Feed it one [`Input`], drain [`Node::poll_output`] until `None`,
//! read [`Node::next_timeout`], repeat. Time, randomness and bytes come in as arguments; the same inputs give the
//! same outputs, byte for byte. The shell (`rustbalance-io`) and the simulator drive the very same type.

pub mod backup;
pub mod cluster;
pub mod control;
pub mod health;
pub mod hsdesc;
pub mod hsdir;
pub mod id;
pub mod input;
pub mod invite;
pub mod join;
mod mac;
mod memo;
pub mod merge;
pub mod node;
pub mod onion;
pub mod output;
pub mod passphrase;
pub mod publish;
pub mod rng;
pub mod sabotage;
pub mod sealed;
mod sealing;
pub mod shared;
pub mod spread;
pub mod state_key;
pub mod status;
pub mod time;
pub mod tor;
mod write_failures;

pub use health::HostFacts;
pub use id::{ClusterId, EffectId, NodeId, TorId, WgPublicKey};
pub use input::{Command, ControlInput, EffectError, Input, Rejected, TargetHealth};
pub use node::{Config, ConfigError, Node, Saved};
pub use output::{Durable, DurableKind, Event, Outbox, Output, Peer, Stop, TimerName};
