//! What arrives on the mesh's socket.

pub use rustbalance_io::mesh::exercise::{datagrams, packet};
