//! Why an image cannot be used.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::source::Packing;

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
    Shorter,
    Changed,
    Digest { expected: String, found: String },
    Damaged(&'static str, String),
    TooLarge(u64),
    Unusable { why: String, mend: String },
    Stopped,
}

impl ImageError {
    pub(super) fn new(path: &Path, cause: Cause) -> Self {
        Self { path: path.to_owned(), cause }
    }
}

impl Cause {
    /// It is whole, and still cannot be used; what would help.
    pub(super) fn unusable(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Unusable { why: why.into(), mend: mend.into() }
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
            Cause::Shorter | Cause::Changed => {
                write!(f, "the image {path} changed while it was read")
            }
            Cause::Digest { expected, found } => write!(
                f,
                "the image {path} has the SHA-256 {found} (of its unpacked bytes) and not {expected}: \
                 correct sha256, or get the image again"
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
            Cause::Stopped => write!(f, "reading the image {path} stopped by a fault in pumice"),
        }
    }
}

impl std::error::Error for ImageError {}
