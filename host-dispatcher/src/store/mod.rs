//! The run directory: what a run leaves behind; `docs/store.md` is its description.
//!
//! [`RunDir`](run_dir::RunDir) writes it while the run goes on; [`reader`] reads it again, whatever state it is in.
//! Names that come from a board become paths in [`names`] and nowhere else.

pub mod append;
pub mod find;
pub mod held;
pub mod lava_jobs;
pub mod log_index;
pub mod log_text;
pub mod names;
pub mod reader;
pub mod records;
mod reopen;
pub mod results;
pub mod run_dir;
pub mod timeline;
pub mod tokens;

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::redact::{Patterns, Redactor};

/// A file of a run directory could not be read or written.
#[derive(Debug)]
pub struct StoreError {
    /// What was tried: `write`, `create`, …
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl StoreError {
    /// Turns an I/O error into a [`StoreError`]; for `map_err`.
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {} {}: {}", self.action, self.path.display(), self.source)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A file that is there whole or not at all: written beside its place, synced, then renamed into it. Dropped before
/// [`WholeFile::commit`], it leaves what was there before.
#[derive(Debug)]
pub struct WholeFile {
    file: File,
    written_bytes: u64,
    temporary: PathBuf,
    place: PathBuf,
    committed: bool,
    redactor: Redactor,
}

impl WholeFile {
    /// Begins a file for `place`; the folder must exist.
    ///
    /// # Errors
    /// The temporary file cannot be made.
    pub fn begin(place: &Path) -> Result<Self, StoreError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(place.file_name().unwrap_or_default());
        name.push(".part");
        let temporary = place.with_file_name(name);
        let file = File::create(&temporary).map_err(StoreError::of("create", &temporary))?;
        let (place, redactor) = (place.to_owned(), Redactor::default());
        Ok(Self { file, written_bytes: 0, temporary, place, committed: false, redactor })
    }

    /// The same for a file that only its owner may read.
    ///
    /// # Errors
    /// As for [`Self::begin`].
    pub fn begin_private(place: &Path) -> Result<Self, StoreError> {
        let file = Self::begin(place)?;
        let mode = fs::Permissions::from_mode(0o600);
        file.file.set_permissions(mode).map_err(StoreError::of("protect", &file.temporary))?;
        Ok(file)
    }

    /// What is written from here on is written without these.
    #[must_use]
    pub fn without(mut self, hidden: &Arc<Patterns>) -> Self {
        self.redactor.hide(hidden);
        self
    }

    /// Appends to it.
    ///
    /// # Errors
    /// A failed write, or more than 4 GiB in all.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.written_bytes = self.written_bytes.saturating_add(bytes.len() as u64);
        let result = if self.written_bytes > WHOLE_FILE_BYTES_MAX {
            Err(io::Error::other("larger than 4 GiB"))
        } else {
            self.redactor.write_to(&mut self.file, bytes)
        };
        result.map_err(StoreError::of("write", &self.temporary))
    }

    /// Puts it in its place, on the disk, and returns the place.
    ///
    /// # Errors
    /// A failed sync or rename; what was there before stays.
    pub fn commit(mut self) -> Result<PathBuf, StoreError> {
        let held = self.redactor.finish();
        self.file.write_all(&held).map_err(StoreError::of("write", &self.temporary))?;
        self.file.sync_all().map_err(StoreError::of("sync", &self.temporary))?;
        fs::rename(&self.temporary, &self.place)
            .map_err(StoreError::of("rename", &self.temporary))?;
        self.committed = true;
        sync_folder(&self.place)?;
        Ok(self.place.clone())
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(self, bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes a whole file.
///
/// # Errors
/// As for [`WholeFile`].
pub fn write_whole(place: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = WholeFile::begin(place)?;
    file.write(bytes)?;
    file.commit().map(drop)
}

/// Writes a whole file that only its owner may read.
///
/// # Errors
/// As for [`WholeFile`].
pub fn write_private(place: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = WholeFile::begin_private(place)?;
    file.write(bytes)?;
    file.commit().map(drop)
}

/// Writes a value as a whole JSON file, for people too: indented, with a line end.
///
/// # Errors
/// As for [`WholeFile`].
pub fn write_json(place: &Path, value: &impl serde::Serialize) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| StoreError::of("encode", place)(io::Error::other(error)))?;
    bytes.push(b'\n');
    write_whole(place, &bytes)
}

/// A rename is on the disk only when the folder is.
pub(crate) fn sync_folder(file: &Path) -> Result<(), StoreError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(StoreError::of("sync", folder))
}

/// No file of a test is larger on purpose; a board that sends without end must not fill the lab's disk.
const WHOLE_FILE_BYTES_MAX: u64 = 4 << 30;
