//! Why an image cannot be used.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::source::Packing;
use crate::store::StoreError;

/// Why an image cannot be used; one sentence.
#[derive(Debug)]
pub struct ImageError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
pub(super) enum Cause {
    Open(io::Error),
    NoFile,
    Empty,
    Read(io::Error),
    Unpack(Packing, io::Error),
    Changed,
    Digest {
        expected: String,
        found: String,
    },
    Damaged(&'static str, String),
    TooLarge(u64),
    Full(io::Error),
    OverLimit {
        taken: u64,
        limit: u64,
    },
    Store(StoreError),
    Write(io::Error),
    Cancelled,
    /// A whole sentence.
    Said(String),
    Unusable {
        why: String,
        mend: String,
    },
    Stopped,
}

impl ImageError {
    pub(super) fn new(path: &Path, cause: Cause) -> Self {
        Self { path: path.to_owned(), cause }
    }

    /// Whether the store or its disk is at fault, and not the image.
    pub fn is_of_store(&self) -> bool {
        matches!(
            self.cause,
            Cause::Full(_) | Cause::OverLimit { .. } | Cause::Store(_) | Cause::Write(_)
        )
    }

    /// The same of what people call otherwise: a URL and not where its file was downloaded to.
    pub(super) fn at(mut self, name: &str) -> Self {
        if !matches!(self.cause, Cause::Full(_) | Cause::OverLimit { .. } | Cause::Write(_)) {
            self.path = name.into();
        }
        self
    }
}

impl Cause {
    /// It is whole, and still cannot be used; what would help.
    pub(super) fn unusable(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Unusable { why: why.into(), mend: mend.into() }
    }

    /// A failed write into the store.
    pub(super) fn from_write(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full(error)
            }
            _ => Self::Write(error),
        }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Open(error) if error.kind() == ErrorKind::NotFound => {
                write!(f, "the image {path} is missing")
            }
            Cause::Open(error) => write!(f, "failed to open the image {path}: {error}"),
            Cause::NoFile => write!(f, "the image {path} is neither a file nor a block device"),
            Cause::Empty => write!(f, "the image {path} is empty"),
            Cause::Read(error) => write!(f, "failed to read the image {path}: {error}"),
            Cause::Unpack(packing, error) => {
                write!(
                    f,
                    "failed to unpack the image {path}: damaged or cut short {packing} data: {error}"
                )
            }
            Cause::Changed => write!(f, "the image {path} changed while it was read"),
            Cause::Digest { expected, found } => write!(
                f,
                "the image {path} has the SHA-256 {found} and not {expected}: correct sha256, or get it again"
            ),
            Cause::Damaged(what, why) => {
                write!(f, "the image {path}: damaged or cut short {what}: {why}: get it again")
            }
            Cause::TooLarge(bytes) => write!(
                f,
                "the image {path} would have {bytes} bytes or more; images have {} GiB at most",
                super::source::IMAGE_BYTES_MAX >> 30
            ),
            Cause::Unusable { why, mend } => {
                write!(f, "the image {path} cannot be used: {why}: {mend}")
            }
            Cause::Full(error) => write!(
                f,
                "failed to write {path}: the disk is full ({error}): make room (\"pumice images prune\"), or put \
                 the store elsewhere with --store"
            ),
            Cause::OverLimit { taken, limit } => write!(
                f,
                "the images in use in {path} would take {taken} bytes of disk, and all may take {limit}: wait for other \
                 runs to end, or give another store with --store"
            ),
            Cause::Store(error) => write!(f, "{error}"),
            Cause::Write(error) => write!(f, "failed to write {path}: {error}"),
            Cause::Cancelled => write!(f, "taking the image {path} was cancelled"),
            Cause::Said(sentence) => f.write_str(sentence),
            Cause::Stopped => write!(f, "reading the image {path} stopped by a fault in pumice"),
        }
    }
}

impl std::error::Error for ImageError {}
