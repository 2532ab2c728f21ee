//! Directories: what is in them, making them, and removing them with all that is in them. The standard library does the
//! same over the C library's `opendir`, which brings the C library's allocator with it.

use super::errno::{Errno, OsResult, done};
use super::file::{self, File};
use super::path;
use nix::fcntl::OFlag;
use nix::libc;
use std::os::fd::AsRawFd as _;

/// An open directory, read to its end once.
#[derive(Debug)]
pub(crate) struct Directory {
    file: File,
    /// Records of the kernel's: `struct linux_dirent64` (`man 2 getdents`).
    records: Box<[u8]>,
    /// Those from `next` to `end` have not been read.
    next: usize,
    end: usize,
}

impl Directory {
    /// Opens one.
    pub(crate) fn open(path: impl AsRef<[u8]>) -> OsResult<Self> {
        Ok(Self::of(file::open(path, OFlag::O_DIRECTORY)?))
    }

    fn of(file: File) -> Self {
        Self { file, records: vec![0; RECORDS_LEN].into_boxed_slice(), next: 0, end: 0 }
    }

    /// The name of the next entry, in the file system's order, without `.` and `..`; `None` at the end.
    pub(crate) fn next(&mut self) -> OsResult<Option<&[u8]>> {
        let name = loop {
            if self.next >= self.end {
                let (records, length) = (self.records.as_mut_ptr(), self.records.len());
                // SAFETY: the kernel fills no more than the length of what is ours.
                #[allow(unsafe_code)]
                let filled = unsafe {
                    libc::syscall(libc::SYS_getdents64, self.file.as_raw_fd(), records, length)
                };
                let filled = done(filled)?;
                if filled == 0 {
                    return Ok(None);
                }
                (self.next, self.end) = (0, filled);
            }
            let record = &self.records[self.next..self.end];
            let length = usize::from(u16::from_ne_bytes([record[16], record[17]]));
            let name = &record[NAME_AT..length];
            let name = &name[..name.iter().position(|byte| *byte == 0).unwrap_or(name.len())];
            let start = self.next + NAME_AT;
            self.next += length;
            if !matches!(name, b"." | b"..") {
                break start..start + name.len();
            }
        };
        Ok(Some(&self.records[name]))
    }
}

/// Makes a directory, and those above it that are missing; one that is there is no error.
pub(crate) fn make_all(path: &str) -> OsResult<()> {
    let mut made = Ok(());
    for (end, _) in path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/') {
        // What is wrong with it the next one finds, too.
        let _ = path::make_directory(&path[..end]);
    }
    if !path.is_empty() {
        made = path::make_directory(path);
    }
    if made.is_err() && is_directory(path) { Ok(()) } else { made }
}

/// Whether there is a directory, or a link to one.
pub(crate) fn is_directory(path: &str) -> bool {
    path::stat(path).is_ok_and(|found| found.is_directory())
}

/// Removes a directory with all that is in it. Links are removed, never followed, whoever puts them there meanwhile.
///
/// # Errors
/// The first entry that cannot be removed, or more levels than files may be open.
pub(crate) fn remove_all(path: &str) -> OsResult<()> {
    empty(file::open(path, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)?)?;
    path::remove_directory(path)
}

fn empty(file: File) -> OsResult<()> {
    let mut directory = Directory::of(file);
    while let Some(name) = directory.next()? {
        let (name, at) = (name.to_vec(), directory.file.as_raw_fd());
        match path::remove_at(at, &name, 0) {
            // Gone is what it should be.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::EISDIR) => {
                empty(file::open_at(at, &name, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)?)?;
                path::remove_at(at, &name, libc::AT_REMOVEDIR)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Bytes of names that are read at a time; the longest name takes 280.
const RECORDS_LEN: usize = 2048;

/// Where the name stands in a record: behind inode, offset, length and kind.
const NAME_AT: usize = 8 + 8 + 2 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::directory;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_name_comes_once() {
        let top = directory("names");
        let mut expected: Vec<Vec<u8>> = vec![b"\xff".to_vec(), b"x".repeat(255)];
        expected.extend((0..300).map(|number: u32| number.to_string().into_bytes()));
        for name in &expected {
            fs::write(top.join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        }
        let mut found = Vec::new();
        let mut entries = Directory::open(top.to_str().unwrap()).unwrap();
        while let Some(name) = entries.next().unwrap() {
            found.push(name.to_vec());
        }
        assert!(entries.next().unwrap().is_none(), "the end stays the end");
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        assert!(
            Directory::open(top.join("1").to_str().unwrap()).is_err(),
            "a file is no directory"
        );
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn directories_are_made_up_to_the_last() {
        let top = directory("make");
        let path = [top.to_str().unwrap(), "//a/b/c/"].concat();
        for _ in 0..2 {
            make_all(&path).unwrap();
            assert!(is_directory(&path));
        }
        fs::write(top.join("file"), "").unwrap();
        let below = |name: &str| [top.to_str().unwrap(), "/file", name].concat();
        assert_eq!(make_all(&below("")).unwrap_err(), Errno::EEXIST);
        assert_eq!(make_all(&below("/a/b")).unwrap_err(), Errno::new(libc::ENOTDIR));
        make_all("/").unwrap();
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_tree_is_removed_and_what_its_links_lead_to_stays() {
        let top = directory("remove");
        let kept = top.join("kept");
        fs::create_dir_all(kept.join("in")).unwrap();
        let tree = top.join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        for number in 0..200 {
            fs::write(tree.join("a/b").join(["file-", &number.to_string()].concat()), "").unwrap();
        }
        symlink(&kept, tree.join("a/link")).unwrap();
        symlink("/no/such", tree.join("a/b/broken")).unwrap();
        let tree_text = tree.to_str().unwrap();
        remove_all(tree_text).unwrap();
        assert!(!tree.exists() && kept.join("in").exists());
        assert_eq!(remove_all(tree_text).unwrap_err(), Errno::ENOENT);
        symlink(&kept, &tree).unwrap();
        assert!(remove_all(tree_text).is_err(), "a link is no directory");
        assert!(kept.join("in").exists());
        fs::remove_dir_all(top).unwrap();
    }
}
