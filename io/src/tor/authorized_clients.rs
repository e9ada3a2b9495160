//! Tor's `authorized_clients`: a directory whose files say who may connect. No file means everybody, so what should be
//! there is written before anything else is removed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::store::{StoreError, atomic, create_private_dir, step};

/// Makes `dir` hold exactly the files of `lines`, each a name, a space and its content, as the core puts them
/// ([`DurableKind::AuthorizedClients`](rustbalance_core::DurableKind)). Files that are right already are not touched.
///
/// # Errors
/// The disk refused; a file may be new or old, and one that should go may still be there.
pub(crate) fn write(dir: &Path, lines: &str) -> Result<(), StoreError> {
    create_private_dir(dir)?;
    let mut wanted = BTreeSet::new();
    for (name, content) in lines.lines().filter_map(|line| line.split_once(' ')) {
        let path = dir.join(name);
        let content = format!("{content}\n");
        if fs::read(&path).ok().as_deref() != Some(content.as_bytes()) {
            atomic::replace(&path, content.as_bytes())?;
        }
        wanted.insert(OsString::from(name));
    }
    for entry in fs::read_dir(dir).map_err(StoreError::io("read", dir))? {
        let entry = entry.map_err(StoreError::io("read", dir))?;
        if !wanted.contains(&entry.file_name()) {
            step::remove_file(&entry.path()).map_err(StoreError::io("remove", &entry.path()))?;
        }
    }
    atomic::sync_dir(dir).map_err(StoreError::unsynced(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn the_directory_holds_what_it_should_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("hs/authorized_clients");
        let file = |name: &str, content: &str| (name.to_owned(), content.to_owned());
        write(&dir, "_own.auth descriptor:x25519:A\nbob.auth descriptor:x25519:B\n").unwrap();
        let both = [file("_own.auth", "descriptor:x25519:A\n"), file("bob.auth", "descriptor:x25519:B\n")];
        assert_eq!(files(&dir), both);
        fs::write(dir.join("mallory.auth"), "descriptor:x25519:M\n").unwrap();
        write(&dir, "_own.auth descriptor:x25519:A\nbob.auth descriptor:x25519:C\n").unwrap();
        assert_eq!(files(&dir), [both[0].clone(), file("bob.auth", "descriptor:x25519:C\n")]);
        write(&dir, "").unwrap();
        assert_eq!(files(&dir), []);
    }

    #[test]
    fn nothing_is_removed_where_something_cannot_be_written() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("authorized_clients");
        write(&dir, "bob.auth descriptor:x25519:B\n").unwrap();
        fs::create_dir(dir.join("carol.auth")).unwrap();
        assert!(write(&dir, "carol.auth descriptor:x25519:C\n").is_err());
        assert!(dir.join("bob.auth").exists());
    }

    #[test]
    fn whatever_step_fails_every_file_is_whole_and_the_address_never_open_to_everybody() {
        let line = |name: &str, key: char| format!("{name}.auth descriptor:x25519:{}", key.to_string().repeat(52));
        let old = [line("_own", 'A'), line("bob", 'B'), line("carol", 'C')];
        let new = [line("_own", 'D'), line("bob", 'B'), line("dave", 'E')];
        crate::store::failing::at_every_step(|trouble| {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("authorized_clients");
            write(&dir, &old.join("\n")).unwrap();
            _ = trouble.strike_at(|| write(&dir, &new.join("\n")));
            let read = |(name, text): (String, String)| format!("{name} {}", text.trim_end());
            let is_read = |(name, _): &(String, String)| name.ends_with(".auth");
            let is: Vec<_> = files(&dir).into_iter().filter(is_read).map(read).collect();
            assert!(is.iter().any(|file| file.starts_with("_own")), "{is:?}");
            assert!(is.iter().all(|file| old.contains(file) || new.contains(file)), "{is:?}");
            write(&dir, &new.join("\n")).unwrap();
            assert_eq!(files(&dir).into_iter().map(read).collect::<Vec<_>>(), new);
        });
    }
}
