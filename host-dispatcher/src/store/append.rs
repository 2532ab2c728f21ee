//! Files that only grow, up to a bound, and the end of which may be kept for what must not be missing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::StoreError;

/// A file that is appended to; one write a call, so that a crash tears at most the last one. Beyond its bound it
/// counts what it drops, and says so once in the file.
#[derive(Debug)]
pub struct Append {
    file: File,
    path: PathBuf,
    left_bytes: u64,
    dropped: Dropped,
    /// What stands once behind the last that was kept.
    mark: &'static [u8],
}

/// What a full file has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Writes: lines, where each is one.
    pub records: u64,
    /// Their length.
    pub bytes: u64,
}

impl Append {
    /// Makes the file; it must not exist.
    ///
    /// # Errors
    /// It exists, or cannot be made.
    pub fn create(path: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(StoreError::of("create", path))?;
        let (path, dropped) = (path.to_owned(), Dropped::default());
        Ok(Self { file, path, left_bytes: bytes_max, dropped, mark: FULL })
    }

    /// Goes on with a file that is there.
    ///
    /// # Errors
    /// It is not there, or cannot be opened.
    pub fn reopen(path: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        let file = OpenOptions::new().append(true).open(path);
        let file = file.map_err(StoreError::of("open", path))?;
        let length = file.metadata().map_err(StoreError::of("read", path))?.len();
        let left_bytes = bytes_max.saturating_sub(length);
        Ok(Self {
            file,
            path: path.to_owned(),
            left_bytes,
            dropped: Dropped::default(),
            mark: FULL,
        })
    }

    /// The same, without a mark of its own when it is full: its lines are read by programs, and its owner says it in one.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn create_unmarked(path: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        Ok(Self { mark: &[], ..Self::create(path, bytes_max)? })
    }

    /// [`Self::reopen`] for a file of [`Self::create_unmarked`].
    ///
    /// # Errors
    /// As for [`Self::reopen`].
    pub fn reopen_unmarked(path: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        Ok(Self { mark: &[], ..Self::reopen(path, bytes_max)? })
    }

    /// Appends all of `bytes`, or counts them as dropped.
    ///
    /// # Errors
    /// A failed write.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let has_room = self.dropped == Dropped::default();
        let was_kept = has_room && self.write_if_room(bytes, 0)?;
        if has_room && !was_kept {
            self.file.write_all(self.mark).map_err(StoreError::of("write", &self.path))?;
        }
        if !has_room {
            self.count(bytes);
        }
        Ok(())
    }

    /// Appends all of `bytes` if so many bytes are free behind it, else counts them as dropped; whether it did.
    ///
    /// # Errors
    /// A failed write.
    pub fn write_if_room(&mut self, bytes: &[u8], reserve: u64) -> Result<bool, StoreError> {
        let left = self.left_bytes.checked_sub(bytes.len() as u64);
        let Some(left) = left.filter(|left| *left >= reserve) else {
            self.count(bytes);
            return Ok(false);
        };
        self.left_bytes = left;
        self.file.write_all(bytes).map_err(StoreError::of("write", &self.path))?;
        Ok(true)
    }

    /// Holds `flock` on the file as long as the value lives: the mark that somebody writes here. A file system without
    /// locks leaves it unmarked.
    pub fn mark(&self) {
        // Nobody but a follower's question, which takes microseconds, can be in the way of a file that is new.
        let _ = self.file.lock();
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// A failed sync.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(StoreError::of("sync", &self.path))
    }

    /// What was dropped because the file was full.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    fn count(&mut self, bytes: &[u8]) {
        self.dropped.records += 1;
        self.dropped.bytes = self.dropped.bytes.saturating_add(bytes.len() as u64);
    }
}

/// What stands at the end of a file that is full.
const FULL: &[u8] = b"\n[the file is full: what follows was not kept]\n";
