//! Locks that other programs see too, and who holds them.
//!
//! The lock that counts is `flock` on the open file: the kernel drops it with its holder. The UUCP lock file
//! (`/run/lock/LCK..ttyUSB0`, of ser2net, minicom and others) is read always and written where the folder lets us.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::stat::{major, minor};
use nix::unistd::Pid;

/// A UUCP lock file of ours, removed on drop.
#[derive(Debug)]
pub(super) struct UucpLock {
    path: PathBuf,
}

impl UucpLock {
    /// Where UUCP lock files lie (FHS 3.0 §5.9).
    pub(super) const FOLDER: &str = "/run/lock";

    /// The lock file of a device, named by its own name and not by a link's. `None` for what is not a serial device:
    /// a pseudo-terminal's number means nothing to others.
    pub(super) fn path_for(folder: &Path, device: &Path) -> Option<PathBuf> {
        let device = device.canonicalize().unwrap_or_else(|_| device.to_owned());
        if device.starts_with("/dev/pts") {
            return None;
        }
        Some(folder.join(format!("LCK..{}", device.file_name()?.to_str()?)))
    }

    /// The living process that a lock file names, if there is one. Our own number is an old one's: `flock` tells two
    /// users in one process apart, and in a container every dispatcher may be process 1.
    pub(super) fn holder(path: &Path) -> Option<u32> {
        let mut text = fs::read(path).ok()?;
        text.truncate(64);
        let written = match <[u8; 4]>::try_from(text.as_slice()) {
            // The binary form of old UUCPs; four digits and no newline do not occur in the other one.
            Ok(number) if !text.iter().all(u8::is_ascii_graphic) => i32::from_ne_bytes(number),
            _ => std::str::from_utf8(&text).ok()?.split_whitespace().next()?.parse().ok()?,
        };
        let alive =
            written > 0 && matches!(kill(Pid::from_raw(written), None), Ok(()) | Err(Errno::EPERM));
        u32::try_from(written).ok().filter(|pid| alive && *pid != std::process::id())
    }

    /// Writes the lock file, over one whose process is gone. `None` where that is not possible: the lock that counts
    /// is another.
    pub(super) fn take(path: PathBuf) -> Option<Self> {
        let own = path.with_file_name(format!("LTMP.pumice.{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).open(&own).ok()?;
        let written = writeln!(file, "{:>10}", std::process::id());
        // A link appears with its content, so that nobody ever reads half a number.
        let linked = written.and_then(|()| match fs::hard_link(&own, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                fs::hard_link(&own, &path)
            }
            result => result,
        });
        let _ = fs::remove_file(&own);
        linked.ok().map(|()| Self { path })
    }
}

impl Drop for UucpLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The process that holds `flock` on this file, where `/proc/locks` shows it.
pub(super) fn flock_holder(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    let place =
        format!("{:02x}:{:02x}:{}", major(metadata.dev()), minor(metadata.dev()), metadata.ino());
    // The kernel counts lines from one read to the next: when another lock ends between two, a line is left out.
    (0..LOOKS).find_map(|_| holder_in(&fs::read_to_string("/proc/locks").ok()?, &place))
}

/// `process 1234 (ser2net)`, or as much of it as is known.
pub(super) fn describe(holder: Option<u32>) -> String {
    let Some(pid) = holder else { return "another process".into() };
    if pid == std::process::id() {
        return "this process".into();
    }
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}

/// A line reads `1: FLOCK  ADVISORY  WRITE 1234 00:05:123 0 EOF`; waiting ones have `->` after the number.
fn holder_in(locks: &str, place: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, _, pid, at, ..] if at == place => pid.parse().ok(),
            _ => None,
        }
    })
}

/// How often the list of locks is read before the holder is called unknown.
const LOOKS: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::test_folder::TestFolder;
    use super::*;

    #[test]
    fn a_lock_file_comes_and_goes() {
        let folder = TestFolder::new();
        let path = UucpLock::path_for(folder.path(), Path::new("/dev/ttyNone0")).unwrap();
        assert_eq!(path.file_name().unwrap(), "LCK..ttyNone0");
        let lock = UucpLock::take(path.clone()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{:>10}\n", std::process::id()));
        drop(lock);
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_lock_file_of_the_living_counts() {
        let folder = TestFolder::new();
        let path = folder.path().join("LCK..ttyNone0");
        for (content, holder) in [
            (b"         1\n".as_slice(), Some(1)),
            (&1_i32.to_ne_bytes(), Some(1)),
            (b"2147483647\n", None),
            (b"-1\n", None),
            (b"0\n", None),
            (b"", None),
            (b"who?", None),
            (format!("{}\n", std::process::id()).as_bytes(), None),
        ] {
            fs::write(&path, content).unwrap();
            assert_eq!(UucpLock::holder(&path), holder, "{content:?}");
        }
        assert!(UucpLock::take(path).is_some(), "an old lock file is written over");
    }

    #[test]
    fn pseudo_terminals_have_no_lock_file() {
        assert_eq!(UucpLock::path_for(Path::new("/x"), Path::new("/dev/pts/3")), None);
    }

    #[test]
    fn the_kernel_names_the_holder() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:05:99 0 EOF\n2: FLOCK  ADVISORY  WRITE 12 00:05:99 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 00:05:98 0 EOF\n";
        assert_eq!(holder_in(locks, "00:05:99"), Some(12));
        assert_eq!(holder_in(locks, "00:05:98"), None);
        assert_eq!(describe(Some(std::process::id())), "this process");
    }
}
