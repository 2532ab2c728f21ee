//! Partitions by label: those of `--partition`, then those whose partition table says so.

use crate::files;
use crate::options::is_plain_name;
use crate::problem::{Outcome, Problem, about};
use crate::sys::directory::Directory;
use crate::sys::errno::{Errno, OsResult};
use crate::sys::file::File;
use crate::sys::path as paths;
use crate::sys::{disk, file};
use crate::text::{lossy, number};
use agent_core::wire::FailureKind;

/// Finds partitions.
#[derive(Debug)]
pub(crate) struct Partitions {
    /// Label and path of each `--partition`.
    given: Vec<(String, String)>,
}

/// What a label stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A block device.
    Device,
    /// A file given by `--partition`.
    File,
    /// A directory given by `--partition`: counts as mounted there.
    Directory,
}

/// A partition that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its device, or the path that was given.
    pub(crate) path: String,
    /// What that is.
    pub(crate) kind: Kind,
    /// Mounted anywhere.
    pub(crate) is_mounted: bool,
    /// ... by a file system that writes to it.
    pub(crate) is_mounted_to_write: bool,
}

impl Partitions {
    /// With those given on the command line.
    pub(crate) fn new(given: Vec<(String, String)>) -> Self {
        Self { given }
    }

    /// Looks a label up.
    pub(crate) fn find(&self, label: &str) -> Outcome<Partition> {
        let given = self.given.iter().find(|(name, _)| name == label).map(|(_, path)| path.clone());
        let mut path = given;
        if path.is_none() {
            each_labeled(&mut |name, device| {
                // Of two that share a label neither is meant; the first is what every other tool takes.
                if name == label && path.is_none() {
                    path = Some(["/dev/", device].concat());
                }
            });
        }
        let Some(path) = path else { return Err(Problem::new(FailureKind::NOT_FOUND, label)) };
        let found = paths::stat(&path).map_err(about(&path))?;
        let kind = if found.is_directory() {
            Kind::Directory
        } else if found.is_device() {
            Kind::Device
        } else if found.is_file() {
            Kind::File
        } else {
            return Err(Problem::refused(&path));
        };
        let (is_mounted, is_mounted_to_write) = match kind {
            Kind::Device => mounts(&mount_table(), disk::major_minor(found.device)),
            Kind::File => (false, false),
            Kind::Directory => (true, true),
        };
        Ok(Partition { path, kind, is_mounted, is_mounted_to_write })
    }

    /// All labels, each ended by a NUL, at most `max` bytes.
    pub(crate) fn labels(&self, max: usize) -> Vec<u8> {
        let mut labels = Vec::new();
        let mut add = |label: &str, _: &str| {
            if labels.len() + label.len() < max {
                labels.extend_from_slice(label.as_bytes());
                labels.push(0);
            }
        };
        for (label, path) in &self.given {
            add(label, path);
        }
        each_labeled(&mut add);
        labels
    }
}

impl Partition {
    /// Size in bytes; 0 of a directory.
    pub(crate) fn size(&self) -> Outcome<u64> {
        match self.kind {
            Kind::Directory => Ok(0),
            _ => Ok(self.open_to_read()?.1),
        }
    }

    /// Opens it for reading, past what the page cache has, and tells its size.
    pub(crate) fn open_to_read(&self) -> Outcome<(File, u64)> {
        self.with_size(file::open(&self.path, file::READ_ANYTHING))
    }

    /// Opens it for writing, alone; refuses what is write-protected before anything is sent for it.
    pub(crate) fn open_to_write(&self, label: &str) -> Outcome<(File, u64)> {
        if label == MASTER {
            return Err(Problem::refused("the master image is never written by its own agent"));
        }
        if self.kind == Kind::Directory {
            return Err(Problem::refused("a partition given as a directory cannot be written"));
        }
        if self.is_mounted {
            return Err(Problem::new(FailureKind::BUSY, &self.path));
        }
        let how = if self.kind == Kind::Device { file::ALONE } else { file::READ_WRITE };
        let opened = self.with_size(file::open(&self.path, how))?;
        if disk::is_read_only(&opened.0) {
            // As devices say that do tell when they are opened.
            return Err(Problem::os(Errno::EROFS, &self.path));
        }
        Ok(opened)
    }

    fn with_size(&self, file: OsResult<File>) -> Outcome<(File, u64)> {
        let file = file.map_err(about(&self.path))?;
        let size = file.end().map_err(about(&self.path))?;
        Ok((file, size))
    }
}

/// What is mounted where, as the kernel tells it.
pub(crate) fn mount_table() -> String {
    file::read_text("/proc/self/mountinfo")
}

/// Whether something is mounted at `path` (`man 5 proc_pid_mountinfo`: the fifth field, with octal escapes that no path
/// of ours needs).
pub(crate) fn is_mount_point(table: &str, path: &str) -> bool {
    table.lines().any(|line| line.split(' ').nth(4) == Some(path))
}

/// Whether a device is mounted, and whether it may be written to by that: the options of the file system itself stand
/// last in a line, whatever those of one mount point are.
fn mounts(table: &str, (major, minor): (u32, u32)) -> (bool, bool) {
    let numbers = [&number(major), ":", &number(minor)].concat();
    let of_it = |line: &&str| line.split(' ').nth(2) == Some(numbers.as_str());
    let is_writable = |line: &str| {
        let options = files::last_word(line.as_bytes());
        options != b"ro" && !options.starts_with(b"ro,")
    };
    let mut lines = table.lines().filter(of_it).peekable();
    (lines.peek().is_some(), lines.any(is_writable))
}

/// Calls `f` with label and device name of every labeled partition.
fn each_labeled(f: &mut dyn FnMut(&str, &str)) {
    let Ok(mut entries) = Directory::open("/sys/class/block") else { return };
    while let Ok(Some(name)) = entries.next() {
        let path = ["/sys/class/block/", &lossy(name), "/uevent"].concat();
        let text = file::read_text(path);
        if let Some((label, device)) = parse_uevent(&text) {
            f(label, device);
        }
    }
}

/// Label and device name from a block device's `uevent`. Labels that could be taken for a path are none.
fn parse_uevent(text: &str) -> Option<(&str, &str)> {
    let value = |key| text.lines().find_map(|line| line.strip_prefix(key));
    let label = value("PARTNAME=")?;
    is_plain_name(label).then_some((label, value("DEVNAME=")?))
}

/// The label that is never written.
const MASTER: &str = "master";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_uevent_names_label_and_device() {
        let text =
            "MAJOR=254\nMINOR=3\nDEVNAME=vda3\nDEVTYPE=partition\nPARTN=3\nPARTNAME=testrootfs\n";
        assert_eq!(parse_uevent(text), Some(("testrootfs", "vda3")));
        assert_eq!(parse_uevent("DEVNAME=vda\nDEVTYPE=disk\n"), None);
        assert_eq!(parse_uevent("DEVNAME=vda\nPARTNAME=../etc\n"), None);
        assert_eq!(parse_uevent("DEVNAME=vda\nPARTNAME=EFI System\n"), None);
    }

    #[test]
    fn mounts_are_known_by_number_and_place() {
        let table = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
                     30 22 254:13 / /run/pumice/mnt/testrootfs rw - ext4 /dev/vda13 ro,errors=continue\n";
        assert_eq!(mounts(table, (254, 1)), (true, true));
        assert_eq!(mounts(table, (254, 13)), (true, false));
        assert_eq!([(254, 3), (25, 41)].map(|numbers| mounts(table, numbers).0), [false; 2]);
        assert!(is_mount_point(table, "/run/pumice/mnt/testrootfs"));
        assert!(!is_mount_point(table, "/run/pumice/mnt/test"));
    }

    /// What `f` says of the write-protected device over a file of a MiB; nothing where this process may not make one.
    fn on_read_only_device<T>(file: &std::path::Path, f: impl FnOnce(&str) -> T) -> Option<T> {
        let losetup = |words: &[&std::ffi::OsStr]| {
            let done = std::process::Command::new("losetup").args(words).output().ok()?;
            let device = String::from_utf8(done.stdout).ok()?.trim().to_owned();
            done.status.success().then_some(device)
        };
        fs::write(file, vec![7; 1 << 20]).unwrap();
        let words = ["--read-only", "--find", "--show"].map(std::ffi::OsStr::new);
        let device = losetup(&[&words[..], &[file.as_os_str()]].concat())?;
        let said = f(&device);
        losetup(&["--detach".as_ref(), device.as_ref()]);
        Some(said)
    }

    /// Needs the right to make devices; without, there is none to refuse.
    #[test]
    fn a_write_protected_device_is_refused_by_name_and_can_be_read() {
        let top = files::tests::directory("partitions-read-only");
        let disk = top.join("disk");
        on_read_only_device(&disk, |device| {
            let partitions = Partitions::new(vec![("testboot".to_owned(), device.to_owned())]);
            let found = partitions.find("testboot").unwrap();
            assert_eq!((found.kind, found.size()), (Kind::Device, Ok(1 << 20)));
            let refused = found.open_to_write("testboot").unwrap_err();
            let Problem { kind, os_error, text } = refused;
            assert_eq!((kind, os_error, text.as_str()), (FailureKind::OS, 30, device));
        });
        assert!(fs::read(&disk).unwrap() == vec![7; 1 << 20]);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn what_was_given_is_found_and_guarded() {
        let top = files::tests::directory("partitions");
        let file = top.join("disk");
        fs::write(&file, vec![0; 4096]).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let partitions = Partitions::new(vec![
            ("testrootfs".to_owned(), file.clone()),
            ("master".to_owned(), file.clone()),
            ("tree".to_owned(), top.to_str().unwrap().to_owned()),
        ]);
        let found = partitions.find("testrootfs").unwrap();
        assert_eq!((found.kind, found.is_mounted, found.size()), (Kind::File, false, Ok(4096)));
        assert!(found.open_to_write("testrootfs").is_ok());
        let kind = |found: Outcome<(File, u64)>| found.unwrap_err().kind;
        let refused = partitions.find("master").unwrap().open_to_write("master");
        assert_eq!(kind(refused), FailureKind::REFUSED);
        let tree = partitions.find("tree").unwrap();
        assert_eq!((tree.kind, tree.is_mounted), (Kind::Directory, true));
        assert_eq!(kind(tree.open_to_write("tree")), FailureKind::REFUSED);
        assert_eq!(partitions.find("none").unwrap_err().kind, FailureKind::NOT_FOUND);
        assert!(partitions.labels(100).starts_with(b"testrootfs\0master\0tree\0"));
        assert!(partitions.labels(12).len() <= 12);
        fs::remove_dir_all(top).unwrap();
    }
}
