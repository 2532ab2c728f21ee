//! Standard output and standard error, unbuffered. The standard library's are behind locks and buffers, which are much
//! program for a few lines of text.

use super::errno::OsResult;
use super::file::File;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;

/// Standard output.
pub(crate) const STDOUT: RawFd = 1;

/// Standard error.
pub(crate) const STDERR: RawFd = 2;

/// Writes text, or as much of it as can be: nobody is left to be told that nobody listens.
pub(crate) fn print(fd: RawFd, text: &str) {
    let _ = write(fd, text.as_bytes());
}

/// Writes all bytes.
pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> OsResult<()> {
    // SAFETY: the descriptor is only lent, and open as long as the process lives (see `super::start`).
    #[allow(unsafe_code)]
    let file = ManuallyDrop::new(unsafe { File::own(fd as usize) });
    file.write_all(bytes)
}
