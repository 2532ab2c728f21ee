//! Listing a directory tree in memory that does not grow with it: one open directory a level, one path.

use crate::files;
use crate::problem::{Outcome, Problem, about};
use crate::sys::directory::Directory;
use crate::sys::path as paths;
use crate::text;
use agent_core::wire::FailureKind;
use agent_core::wire::codec;
use agent_core::wire::response::Entry;

/// A listing under way.
#[derive(Debug)]
pub(crate) struct Listing {
    is_recursive: bool,
    /// The open directories, each with the length of its path in `path`.
    levels: Vec<(Directory, usize)>,
    /// Path of the current directory, with a slash at its end.
    path: Vec<u8>,
    /// So many bytes of it are not part of the names that are listed.
    top: usize,
    /// An entry that did not fit the last time.
    waiting: Vec<u8>,
    /// What could not be listed.
    left_out: u32,
}

impl Listing {
    /// Begins with the directory `path`.
    pub(crate) fn open(path: &str, is_recursive: bool) -> Outcome<Self> {
        files::absolute(path)?;
        let directory = Directory::open(path).map_err(about(path))?;
        let path = [path.as_bytes(), b"/"].concat();
        Ok(Self {
            is_recursive,
            levels: vec![(directory, path.len())],
            top: path.len(),
            path,
            waiting: Vec::with_capacity(COUNTED_MAX),
            left_out: 0,
        })
    }

    /// Writes as many whole counted entries into `out` as fit, which is at least one when `out` has
    /// [`COUNTED_MAX`] bytes; 0 at the end.
    ///
    /// Directories come before what is in them, otherwise in the order of the file system. Those that are deeper
    /// than [`DEPTH_MAX`] are named and not entered.
    ///
    /// # Errors
    /// At the end, when names were left out because their path is longer than an entry can hold, or because a
    /// directory could not be read. All others have been listed by then.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Outcome<usize> {
        let mut used = 0;
        loop {
            if self.waiting.is_empty() && !self.advance() {
                break;
            }
            let Some(place) = out.get_mut(used..used + self.waiting.len()) else { break };
            place.copy_from_slice(&self.waiting);
            used += self.waiting.len();
            self.waiting.clear();
        }
        if used == 0 && self.left_out > 0 {
            let text = [&text::number(self.left_out), " entries could not be listed"].concat();
            return Err(Problem::new(FailureKind::TOO_LARGE, &text));
        }
        Ok(used)
    }

    /// Encodes the next entry into `waiting`; `false` at the end.
    fn advance(&mut self) -> bool {
        while let Some((directory, length)) = self.levels.last_mut() {
            self.path.truncate(*length);
            match directory.next() {
                Ok(Some(name)) => {
                    self.path.extend_from_slice(name);
                    if self.take() {
                        return true;
                    }
                    self.left_out += 1;
                }
                Err(_) => {
                    // It would give the same error for ever.
                    self.left_out += 1;
                    self.levels.pop();
                }
                Ok(None) => {
                    self.levels.pop();
                }
            }
        }
        false
    }

    /// Encodes the entry at `path` and goes down into it; `false` when it cannot be listed.
    fn take(&mut self) -> bool {
        // Of a link itself. What was removed meanwhile is left out too: a listing that leaves out nothing is exact.
        let Ok(found) = paths::link_stat(&self.path) else { return false };
        let stat = files::stat_of(&found);
        let name = &self.path[self.top..];
        let body = Entry { path: name, kind: stat.kind, size: stat.size, mode: stat.mode };
        let mut buffer = [0; COUNTED_MAX - 2];
        let Ok(bytes) = codec::encode(&body, &mut buffer) else { return false };
        self.waiting.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        self.waiting.extend_from_slice(bytes);
        if self.is_recursive && found.is_directory() && self.levels.len() < DEPTH_MAX {
            match Directory::open(&self.path) {
                Ok(directory) => {
                    self.path.push(b'/');
                    self.levels.push((directory, self.path.len()));
                }
                Err(_) => self.left_out += 1,
            }
        }
        true
    }
}

/// Longest counted entry in bytes: what every read has room for.
const COUNTED_MAX: usize = 600;

/// Levels of directories, and so directories open at a time.
const DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::wire::record::split_counted;
    use agent_core::wire::response::Stat;
    use std::fs;
    use std::path::Path;

    fn list(path: &Path, is_recursive: bool, max: usize) -> (Vec<(String, u8)>, Option<Problem>) {
        let mut listing = Listing::open(path.to_str().unwrap(), is_recursive).unwrap();
        let mut found = Vec::new();
        let mut buffer = vec![0; max];
        let problem = loop {
            match listing.read(&mut buffer) {
                Ok(0) => break None,
                Ok(length) => {
                    let mut rest = &buffer[..length];
                    while let Some(body) = split_counted(rest) {
                        let entry: Entry<'_> = codec::decode(body).unwrap();
                        found.push((String::from_utf8(entry.path.to_vec()).unwrap(), entry.kind));
                        rest = &rest[body.len() + 2..];
                    }
                    assert!(rest.is_empty());
                }
                Err(problem) => break Some(problem),
            }
        };
        found.sort();
        (found, problem)
    }

    #[test]
    fn a_tree_is_listed_once_and_whole() {
        let top = files::tests::directory("list");
        fs::create_dir_all(top.join("a/b")).unwrap();
        for name in ["x", "a/y", "a/b/z"] {
            fs::write(top.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/", top.join("l")).unwrap();
        let all = [
            ("a", Stat::DIRECTORY),
            ("a/b", Stat::DIRECTORY),
            ("a/b/z", Stat::FILE),
            ("a/y", Stat::FILE),
            ("l", Stat::LINK),
            ("x", Stat::FILE),
        ]
        .map(|(path, kind)| (path.to_owned(), kind));
        assert_eq!(list(&top, true, 600), (all.to_vec(), None));
        assert_eq!(list(&top, true, 16_384), (all.to_vec(), None));
        let (found, _) = list(&top, false, 600);
        assert_eq!(
            found.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
            ["a", "l", "x"]
        );
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn paths_that_are_too_long_are_said_at_the_end() {
        let top = files::tests::directory("long");
        let long = "n".repeat(200);
        let deep = [long.as_str(); 3].join("/");
        fs::create_dir_all(top.join(&deep)).unwrap();
        fs::write(top.join("short"), "").unwrap();
        let (found, problem) = list(&top, true, 600);
        assert_eq!(found.len(), 3);
        assert_eq!(problem.unwrap().kind, FailureKind::TOO_LARGE);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn many_entries_in_small_pieces() {
        let top = files::tests::directory("many");
        for number in 0..300 {
            fs::write(top.join(number.to_string()), "").unwrap();
        }
        assert_eq!(list(&top, false, 601).0.len(), 300);
        let deep = vec!["d"; 20].join("/");
        fs::create_dir_all(top.join(&deep)).unwrap();
        assert_eq!(list(&top, true, 4000).0.len(), 300 + DEPTH_MAX);
        fs::remove_dir_all(top).unwrap();
    }
}
