//! The single steps by which files change on the disk, each a call to the system. A test can have any of them
//! [fail](super::failing).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

#[cfg(test)]
use super::failing;

pub(crate) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(test)]
    failing::step()?;
    options.open(path)
}

pub(crate) fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    failing::write_step(file, bytes)?;
    file.write_all(bytes)
}

/// Puts zeros in the place of all that is in it.
pub(crate) fn write_zeros(mut file: &File) -> io::Result<()> {
    #[cfg(test)]
    failing::step()?;
    let length = file.metadata()?.len();
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut file).map(drop)
}

pub(crate) fn truncate(file: &File) -> io::Result<()> {
    #[cfg(test)]
    failing::step()?;
    file.set_len(0)
}

pub(crate) fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    if failing::is_round() {
        return failing::step();
    }
    file.sync_all()
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    if failing::is_round() {
        return failing::step();
    }
    File::open(dir)?.sync_all()
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    failing::step()?;
    fs::rename(from, to)
}

/// Has the two change places.
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    #[cfg(test)]
    failing::step()?;
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

pub(crate) fn create_dir(builder: &DirBuilder, dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    failing::step()?;
    builder.create(dir)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(test)]
    failing::step()?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    failing::step()?;
    fs::remove_file(path)
}

pub(crate) fn remove_dir_all(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    failing::step()?;
    fs::remove_dir_all(dir)
}
