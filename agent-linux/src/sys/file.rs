//! Opening files and reading small ones. `std::fs` does the same at the price of 4 KiB of program: its options are
//! checked at run time, with messages.

use nix::fcntl::{OFlag, open as nix_open};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

/// For reading.
pub(crate) const READ: OFlag = OFlag::O_RDONLY;

/// For reading what may be anything, without waiting for it or being captured by it.
pub(crate) const READ_ANYTHING: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// For reading and writing.
pub(crate) const READ_WRITE: OFlag = OFlag::O_RDWR;

/// For reading and writing a terminal, without waiting for it or being captured by it.
pub(crate) const TERMINAL: OFlag = OFlag::O_RDWR.union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// For reading and writing a block device alone: fails with EBUSY when it is mounted or otherwise in use (`man 2 open`,
/// O_EXCL without O_CREAT).
pub(crate) const ALONE: OFlag = OFlag::O_RDWR.union(OFlag::O_EXCL);

/// For writing a fresh file, of mode 0600, in place of an older one, and for reading it back; never through a link.
pub(crate) const FRESH: OFlag =
    OFlag::O_RDWR.union(OFlag::O_CREAT).union(OFlag::O_TRUNC).union(OFlag::O_NOFOLLOW);

/// The same, of a name that nothing has yet.
pub(crate) const NEW: OFlag = FRESH.union(OFlag::O_EXCL);

/// For appending to a file, which is made with mode 0644 if it is not there.
pub(crate) const APPEND: OFlag = OFlag::O_WRONLY.union(OFlag::O_CREAT).union(OFlag::O_APPEND);

/// Opens a file, which children do not inherit.
pub(crate) fn open(path: impl AsRef<Path>, how: OFlag) -> io::Result<File> {
    open_path(path.as_ref(), how)
}

/// All that is in a file of at most [`SMALL_MAX`] bytes, what the kernel makes up in /proc and /sys included; of a
/// larger one its beginning. Nothing when it cannot be read.
pub(crate) fn read(path: impl AsRef<Path>) -> Vec<u8> {
    read_path(path.as_ref()).unwrap_or_default()
}

/// The same as text. What is no UTF-8 is replaced: nothing that is looked for is.
pub(crate) fn read_text(path: impl AsRef<Path>) -> String {
    String::from_utf8_lossy(&read(path)).into_owned()
}

/// The same, with the reason why it cannot be read.
pub(crate) fn read_path(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open_path(path, READ)?;
    let mut all = Vec::new();
    let mut piece = [0; 1024];
    while all.len() < SMALL_MAX {
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        all.extend_from_slice(&piece[..length]);
    }
    Ok(all)
}

/// Writes into one of the kernel's files.
pub(crate) fn write(path: &str, text: &str) -> io::Result<()> {
    open(path, OFlag::O_WRONLY)?.write_all(text.as_bytes())
}

/// Bytes that wait in a pipe.
pub(crate) fn queued(pipe: impl AsFd) -> usize {
    let mut count = 0;
    // SAFETY: the kernel fills a number that lives here.
    #[allow(unsafe_code)]
    let told = unsafe { get_queued(pipe.as_fd().as_raw_fd(), &raw mut count) };
    told.ok().and_then(|_| usize::try_from(count).ok()).unwrap_or(0)
}

nix::ioctl_read_bad!(get_queued, nix::libc::FIONREAD, nix::libc::c_int);

fn open_path(path: &Path, how: OFlag) -> io::Result<File> {
    let mode = if how.contains(OFlag::O_APPEND) { 0o644 } else { 0o600 };
    let how = how | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE;
    Ok(File::from(nix_open(path, how, Mode::from_bits_truncate(mode))?))
}

/// Enough for the mount table of a machine with a thousand mounts.
const SMALL_MAX: usize = 128 * 1024;
