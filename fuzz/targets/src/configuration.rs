//! Files that operators write, or a node itself.

use std::path::Path;

use rustbalance_io::store::ClusterFile;
use rustbalance_node::config_file::{KEYS, parse, render};

/// The configuration: what is read can be written and read again.
pub fn file(bytes: &[u8]) {
    let dir = Path::new("/dir");
    let Ok(settings) = parse(&String::from_utf8_lossy(bytes), dir) else { return };
    let values: Vec<_> = KEYS.iter().filter_map(|key| Some((key, (key.get)(&settings)?))).collect();
    match parse(&render(&values), dir) {
        Ok(again) => KEYS.iter().for_each(|key| assert_eq!((key.get)(&again), (key.get)(&settings), "{}", key.name)),
        Err(problems) => panic!("{problems:?}"),
    }
}

/// `cluster.json`.
pub fn cluster_file(bytes: &[u8]) {
    let Ok(file) = ClusterFile::parse(bytes) else { return };
    assert_eq!(ClusterFile::parse(file.to_text().as_bytes()), Ok(file));
}
