//! Files that only grow, up to a bound.

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
    dropped_bytes: u64,
}

impl Append {
    /// Makes the file; it must not exist.
    ///
    /// # Errors
    /// It exists, or cannot be made.
    pub fn create(path: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.map_err(StoreError::of("create", path))?;
        Ok(Self { file, path: path.to_owned(), left_bytes: bytes_max, dropped_bytes: 0 })
    }

    /// Appends all of `bytes`, or counts them as dropped.
    ///
    /// # Errors
    /// A failed write.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let length = bytes.len() as u64;
        if self.dropped_bytes == 0 && length <= self.left_bytes {
            self.left_bytes -= length;
            return self.file.write_all(bytes).map_err(StoreError::of("write", &self.path));
        }
        let first = self.dropped_bytes == 0;
        self.dropped_bytes = self.dropped_bytes.saturating_add(length);
        if first {
            self.file.write_all(FULL).map_err(StoreError::of("write", &self.path))
        } else {
            Ok(())
        }
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

    /// Bytes that were dropped because the file was full.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }
}

/// What stands at the end of a file that is full.
const FULL: &[u8] = b"\n[the file is full: what follows was not kept]\n";
