//! Files: reading one, putting one in place whole or not at all, and removing.

use crate::problem::{Outcome, Problem, about};
use crate::sys::errno::OsResult;
use crate::sys::file::File;
use crate::sys::path::{self as paths, Found};
use crate::sys::{directory, disk, file};
use crate::text;
use agent_core::wire::FailureKind;
use agent_core::wire::response::Stat;

/// Opens a regular file for reading. Anything else is refused: a pipe or a terminal could make the agent wait.
pub(crate) fn open(path: &str) -> Outcome<(File, Found)> {
    absolute(path)?;
    let file = file::open(path, file::READ_ANYTHING).map_err(about(path))?;
    let found = file.found().map_err(about(path))?;
    if found.is_file() { Ok((file, found)) } else { Err(Problem::refused("not a file")) }
}

/// Kind, size and permissions, of a link itself.
pub(crate) fn stat(path: &str) -> Outcome<Stat> {
    absolute(path)?;
    Ok(stat_of(&paths::link_stat(path).map_err(about(path))?))
}

/// As it travels.
pub(crate) fn stat_of(found: &Found) -> Stat {
    let kind = if found.is_file() {
        Stat::FILE
    } else if found.is_directory() {
        Stat::DIRECTORY
    } else if found.is_link() {
        Stat::LINK
    } else {
        Stat::OTHER
    };
    Stat { kind, size: found.size, mode: found.mode() }
}

/// Removes a file, or a directory with all that is in it.
pub(crate) fn remove(path: &str) -> Outcome<()> {
    absolute(path)?;
    if path.bytes().all(|byte| byte == b'/') {
        return Err(Problem::refused("/"));
    }
    let found = paths::link_stat(path).map_err(about(path))?;
    let removed =
        if found.is_directory() { directory::remove_all(path) } else { paths::remove_file(path) };
    removed.map_err(about(path))
}

/// Refuses a path that depends on where the agent was started.
pub(crate) fn absolute(path: &str) -> Outcome<()> {
    if path.starts_with('/') {
        return Ok(());
    }
    Err(Problem { text: path.to_owned(), ..Problem::refused("") })
}

/// A file that is being put: bytes go into a temporary one beside it, which is renamed when all are there and
/// synced. Dropped before that, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Put {
    file: File,
    temporary: String,
    path: String,
    mode: u32,
    is_in_place: bool,
}

impl Put {
    /// Makes the directories and the temporary file, if there is room for `size` bytes. `number` keeps puts of the
    /// same file apart.
    pub(crate) fn open(path: &str, mode: u32, size: u64, number: u8) -> Outcome<Self> {
        absolute(path)?;
        let end = path.bytes().rposition(|byte| byte != b'/').map_or(0, |last| last + 1);
        let path = &path[..end];
        let (directory, name) = split_name(path);
        if matches!(name, "" | "." | "..") {
            return Err(Problem::refused(path));
        }
        directory::make_all(directory).map_err(about(path))?;
        if disk::free_bytes(directory).map_err(about(path))? < size {
            return Err(Problem::new(FailureKind::TOO_LARGE, path));
        }
        let temporary = [directory, ".", name, ".pumice-", &text::number(number)].concat();
        let file = file::open(&temporary, file::FRESH).map_err(about(path))?;
        Ok(Self { file, temporary, mode, is_in_place: false, path: path.to_owned() })
    }

    /// What is written to, beside its place.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Appends.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.file.write_all(bytes).map_err(about(&self.path))
    }

    /// Syncs the bytes, puts the file in place, and syncs that.
    pub(crate) fn commit(&mut self) -> Outcome<()> {
        self.commit_io().map_err(about(&self.path))
    }

    fn commit_io(&mut self) -> OsResult<()> {
        self.file.set_mode(self.mode & 0o7777)?;
        self.file.sync_all()?;
        paths::rename(&self.temporary, &self.path)?;
        self.is_in_place = true;
        sync_directory(split_name(&self.path).0)
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        if !self.is_in_place {
            // Nothing can be done about one that stays; its name says whose it is.
            let _ = paths::remove_file(&self.temporary);
        }
    }
}

/// What stands behind the last slash of a path.
pub(crate) fn file_name(path: &[u8]) -> &[u8] {
    behind_last(path, b'/')
}

/// What stands behind the last space of a line.
pub(crate) fn last_word(line: &[u8]) -> &[u8] {
    behind_last(line, b' ')
}

#[inline(never)]
fn behind_last(text: &[u8], mark: u8) -> &[u8] {
    &text[text.iter().rposition(|byte| *byte == mark).map_or(0, |at| at + 1)..]
}

/// The directory that a path leads to, with the slash at its end, and the name in it.
pub(crate) fn split_name(path: &str) -> (&str, &str) {
    path.split_at(path.len() - file_name(path.as_bytes()).len())
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &str) -> OsResult<()> {
    file::open(path, file::READ)?.sync_all()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// A directory of a test's own, empty.
    pub(crate) fn directory(test: &str) -> PathBuf {
        let name = ["pumice-agent-", test, "-", &std::process::id().to_string()].concat();
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_put_appears_whole_when_it_is_committed() {
        let directory = directory("put");
        let path = directory.join("new/dir/file");
        let mut put = Put::open(path.to_str().unwrap(), 0o754, 10, 3).unwrap();
        put.write(b"hello ").unwrap();
        assert_eq!(names(&directory.join("new/dir")), [".file.pumice-3"]);
        put.write(b"world").unwrap();
        put.commit().unwrap();
        drop(put);
        assert_eq!(names(&directory.join("new/dir")), ["file"]);
        assert_eq!(fs::read(&path).unwrap(), b"hello world");
        let stat = stat(path.to_str().unwrap()).unwrap();
        assert_eq!(stat, Stat { kind: Stat::FILE, size: 11, mode: 0o754 });
        remove(directory.to_str().unwrap()).unwrap();
        assert!(!directory.exists());
    }

    #[test]
    fn a_put_that_is_given_up_leaves_the_old_file() {
        let directory = directory("abort");
        let path = directory.join("file");
        fs::write(&path, "old").unwrap();
        let mut put = Put::open(path.to_str().unwrap(), 0o644, 1, 0).unwrap();
        put.write(b"new").unwrap();
        drop(put);
        assert_eq!(names(&directory), ["file"]);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_kind() {
        let directory = directory("refuse");
        let path = directory.join("file");
        let text = path.to_str().unwrap();
        assert_eq!(Put::open(text, 0, u64::MAX, 0).unwrap_err().kind, FailureKind::TOO_LARGE);
        assert_eq!(Put::open("/", 0, 0, 0).unwrap_err().kind, FailureKind::REFUSED);
        assert_eq!(Put::open("x", 0, 0, 0).unwrap_err().kind, FailureKind::REFUSED);
        assert_eq!(open(text).unwrap_err().kind, FailureKind::NOT_FOUND);
        assert_eq!(open("/dev/null").unwrap_err().kind, FailureKind::REFUSED);
        assert_eq!(open("/tmp").unwrap_err().kind, FailureKind::REFUSED);
        assert_eq!(stat(text).unwrap_err().os_error, 2);
        assert_eq!(remove("//").unwrap_err().kind, FailureKind::REFUSED);
        fs::remove_dir_all(directory).unwrap();
    }
}
