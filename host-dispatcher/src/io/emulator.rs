//! An emulated board's files: its folder, which one dispatcher at a time uses, and its disk, an overlay on an image.
//!
//! Reads and writes files and runs `qemu-img` (some 20 ms), before the board's first connection. Guarantees that an
//! overlay is never used on another base than it was made for, and that the base is never written to.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::lock;
use crate::config::board_type::Emulator;
use crate::config::template::{Placeholder, Values};
use crate::config::value::Name;

/// Where the files of all boards lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// What outlives a run: `$PUMICE_STATE`, or `pumice` in `$XDG_STATE_HOME` or `~/.local/state`.
    pub state: PathBuf,
    /// What `{images}` stands for, unless the lab says so: `pumice/images` in `$XDG_CACHE_HOME` or `~/.cache`.
    pub images: PathBuf,
}

/// A board's folder, locked for this process as long as the value lives.
#[derive(Debug)]
pub struct BoardFolder {
    name: String,
    path: PathBuf,
    lock: File,
}

impl Folders {
    /// The folders that the environment names.
    ///
    /// # Errors
    /// Neither a folder nor a home is named.
    pub fn from_environment() -> Result<Self, String> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let folder =
            |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let xdg = |name: &str, at_home: &str| {
            folder(name).or_else(|| Some(folder("HOME")?.join(at_home)))
        };
        let unknown = || "no folder for the boards' files is known: set HOME".to_owned();
        let state = folder("PUMICE_STATE")
            .or_else(|| Some(xdg("XDG_STATE_HOME", ".local/state")?.join("pumice")))
            .ok_or_else(unknown)?;
        let images = xdg("XDG_CACHE_HOME", ".cache").ok_or_else(unknown)?.join("pumice/images");
        Ok(Self { state, images })
    }
}

impl BoardFolder {
    /// Makes and locks a board's folder.
    ///
    /// # Errors
    /// Another process uses the board, which the sentence names, or the folder cannot be made.
    pub fn claim(folders: &Folders, board: &Name) -> Result<Self, String> {
        let path = folders.state.join("boards").join(board.as_str());
        let failed = |error| format!("failed to make the folder {}: {error}", path.display());
        fs::create_dir_all(&path).map_err(failed)?;
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"));
        let lock = options.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { name: board.as_str().to_owned(), path, lock }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "board {board} is in use by {}",
                lock::describe(lock::flock_holder(&lock))
            )),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the places in the words of the board's connection stand for. Makes the disk of an emulator, or makes it
    /// anew when its base is another than before.
    ///
    /// # Errors
    /// A ConfigurationError's sentence: the base is missing, or `qemu-img` is or fails.
    pub fn values(&self, folders: &Folders, emulator: Option<&Emulator>) -> Result<Values, String> {
        self.values_with("qemu-img", folders, emulator)
    }

    fn values_with(
        &self,
        qemu_img: &str,
        folders: &Folders,
        emulator: Option<&Emulator>,
    ) -> Result<Values, String> {
        let values = Values::new()
            .with(Placeholder::Board, &self.name)
            .with(Placeholder::Images, text(&folders.images)?)
            .with(Placeholder::State, text(&self.path)?);
        let Some(emulator) = emulator else { return Ok(values) };
        let base = emulator.disk_base.expand(&values).map_err(|error| error.to_string())?;
        let disk = self.overlay(qemu_img, Path::new(&base))?;
        Ok(values.with(Placeholder::Disk, text(&disk)?))
    }

    /// The overlay on `base`. A base that was written anew in place is another base: the overlay's blocks are
    /// differences to what was there before.
    fn overlay(&self, qemu_img: &str, base: &Path) -> Result<PathBuf, String> {
        let missing = |error| match error {
            ErrorKind::NotFound => {
                let mend = "run ci/demo or cross/bake-image qemu-virt-armv7";
                format!("the disk image {} is missing: {mend}", base.display())
            }
            error => format!("failed to read the disk image {}: {error}", base.display()),
        };
        let canonical = base.canonicalize().map_err(|error| missing(error.kind()))?;
        let metadata = canonical.metadata().map_err(|error| missing(error.kind()))?;
        if !metadata.is_file() {
            return Err(format!("the disk image {} is no file", base.display()));
        }
        let mark = format!(
            "{}\n{} bytes, inode {}, written {}.{:09}\n",
            text(&canonical)?,
            metadata.len(),
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        let [disk, mark_path, new] =
            ["disk.qcow2", "disk.base", "disk.qcow2.new"].map(|name| self.path.join(name));
        if disk.is_file() && fs::read(&mark_path).is_ok_and(|known| known == mark.as_bytes()) {
            return Ok(disk);
        }
        let failed = |error: std::io::Error| format!("failed to make {}: {error}", disk.display());
        // Without a mark a disk is nobody's: a crash in between makes it anew.
        match fs::remove_file(&mark_path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let output = Command::new(qemu_img)
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .args([&canonical, &new])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => "qemu-img: not found: install the package qemu-utils".into(),
                _ => failed(error),
            })?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(format!("qemu-img failed to make {}: {}", disk.display(), words.trim()));
        }
        fs::rename(&new, &disk).map_err(failed)?;
        File::create(&mark_path)
            .and_then(|mut file| file.write_all(mark.as_bytes()))
            .map_err(failed)?;
        Ok(disk)
    }
}

impl Drop for BoardFolder {
    fn drop(&mut self) {
        // A child that is just being started may hold a copy of the descriptor for a moment, and the lock with it.
        let _ = self.lock.unlock();
    }
}

/// QEMU's options end at a comma, and a path goes into them.
fn text(path: &Path) -> Result<&str, String> {
    path.to_str().filter(|text| !text.contains([',', '\n'])).ok_or_else(|| {
        format!("{} cannot be a board's folder: QEMU takes no commas in it", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::super::test_folder::TestFolder;
    use super::*;
    use crate::config::template::Template;

    /// A `qemu-img` that writes its arguments into the file that is its last one.
    const FAKE: &str = "#!/bin/sh\nfor last; do :; done\necho \"$@\" > \"$last\"\necho made >> \"$(dirname \"$0\")/log\"\n";

    struct Lab {
        folder: TestFolder,
        folders: Folders,
        emulator: Emulator,
    }

    impl Lab {
        fn new() -> Self {
            let folder = TestFolder::new();
            let folders = Folders {
                state: folder.path().join("state"),
                images: folder.path().join("images"),
            };
            fs::create_dir_all(&folders.images).unwrap();
            let fake = folder.path().join("qemu-img");
            // Written by another process: a descriptor of ours could just then be inherited by another test's child,
            // and a file that is open for writing cannot be started.
            let write = "printf %s \"$1\" > \"$0\" && chmod +x \"$0\"";
            assert!(
                Command::new("sh")
                    .args(["-c", write])
                    .arg(&fake)
                    .arg(FAKE)
                    .status()
                    .unwrap()
                    .success()
            );
            let base = Template::parse("{images}/master.img", &[Placeholder::Images]).unwrap();
            Self { folder, folders, emulator: Emulator { disk_base: base } }
        }

        fn values(&self, board: &BoardFolder) -> Result<Values, String> {
            let fake = self.folder.path().join("qemu-img");
            board.values_with(fake.to_str().unwrap(), &self.folders, Some(&self.emulator))
        }

        fn times_made(&self) -> usize {
            fs::read_to_string(self.folder.path().join("log")).unwrap_or_default().lines().count()
        }
    }

    fn name() -> Name {
        "qemu-01".parse().unwrap()
    }

    #[test]
    fn an_overlay_lasts_as_long_as_its_base() {
        let lab = Lab::new();
        let base = lab.folders.images.join("master.img");
        fs::write(&base, "one").unwrap();
        let board = BoardFolder::claim(&lab.folders, &name()).unwrap();
        let values = lab.values(&board).unwrap();
        let disk = board.path().join("disk.qcow2");
        assert_eq!(values.get(Placeholder::Disk), disk.to_str());
        let words = fs::read_to_string(&disk).unwrap();
        let canonical = base.canonicalize().unwrap();
        assert!(
            words.starts_with(&format!("create -q -f qcow2 -F raw -b {} ", canonical.display())),
            "{words}"
        );
        lab.values(&board).unwrap();
        assert_eq!(lab.times_made(), 1);

        fs::write(&base, "another").unwrap();
        lab.values(&board).unwrap();
        assert_eq!(lab.times_made(), 2, "the base was written anew in place");

        fs::rename(&base, lab.folders.images.join("moved.img")).unwrap();
        std::os::unix::fs::symlink("moved.img", &base).unwrap();
        lab.values(&board).unwrap();
        assert_eq!(lab.times_made(), 3, "the base is another file");

        fs::remove_file(board.path().join("disk.base")).unwrap();
        lab.values(&board).unwrap();
        assert_eq!(lab.times_made(), 4, "nobody knows what it is an overlay of");
    }

    #[test]
    fn what_is_missing_is_named_with_the_mend() {
        let lab = Lab::new();
        let board = BoardFolder::claim(&lab.folders, &name()).unwrap();
        let error = lab.values(&board).unwrap_err();
        assert!(
            error.ends_with(
                "master.img is missing: run ci/demo or cross/bake-image qemu-virt-armv7"
            ),
            "{error}"
        );
        fs::write(lab.folders.images.join("master.img"), "one").unwrap();
        let error =
            board.values_with("/no/qemu-img", &lab.folders, Some(&lab.emulator)).unwrap_err();
        assert_eq!(error, "qemu-img: not found: install the package qemu-utils");
        let error = board.values_with("/bin/false", &lab.folders, Some(&lab.emulator)).unwrap_err();
        assert!(error.starts_with("qemu-img failed to make "), "{error}");
    }

    #[test]
    fn a_board_has_one_user() {
        let lab = Lab::new();
        let first = BoardFolder::claim(&lab.folders, &name()).unwrap();
        let refused = BoardFolder::claim(&lab.folders, &name()).unwrap_err();
        assert!(refused.starts_with("board qemu-01 is in use by "), "{refused}");
        drop(first);
        BoardFolder::claim(&lab.folders, &name()).unwrap();
    }

    #[test]
    fn folders_come_from_the_environment() {
        let folders = |variables: &[(&str, &str)]| {
            Folders::from_variables(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
            })
        };
        let home = folders(&[("HOME", "/home/u"), ("XDG_CACHE_HOME", "")]).unwrap();
        assert_eq!(home.state, Path::new("/home/u/.local/state/pumice"));
        assert_eq!(home.images, Path::new("/home/u/.cache/pumice/images"));
        let xdg = folders(&[("XDG_STATE_HOME", "/s"), ("XDG_CACHE_HOME", "/c")]).unwrap();
        assert_eq!((xdg.state, xdg.images), ("/s/pumice".into(), "/c/pumice/images".into()));
        let own = folders(&[("HOME", "/home/u"), ("PUMICE_STATE", "/p")]).unwrap();
        assert_eq!(own.state, Path::new("/p"));
        assert!(folders(&[]).unwrap_err().contains("set HOME"));
    }
}
