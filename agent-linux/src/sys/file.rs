//! Open files, and reading small ones. `std::fs` does the same at the price of 10 KiB of program: its options are checked
//! at run time, with messages, and its errors are more than numbers.

use super::errno::{Errno, OsResult, done};
use super::path::{self, Found};
use crate::text;
use nix::fcntl::OFlag;
use nix::libc::{self, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

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

/// An open file, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct File(OwnedFd);

impl File {
    /// Reads what there is, at most a buffer full; 0 at the end.
    #[allow(unsafe_code)]
    pub(crate) fn read(&self, buffer: &mut [u8]) -> OsResult<usize> {
        // SAFETY: the kernel fills no more than the buffer's length.
        done(unsafe { libc::read(self.number(), buffer.as_mut_ptr().cast(), buffer.len()) } as _)
    }

    /// The same from a place in it.
    #[allow(unsafe_code)]
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> OsResult<usize> {
        let (to, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: see `read`.
        done(unsafe { libc::pread64(self.number(), to, length, offset as _) } as _)
    }

    /// A whole buffer full; EIO when it ends before.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> OsResult<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => return Err(Errno::EIO),
                Ok(length) => filled += length,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes as much as there is room for.
    #[allow(unsafe_code)]
    pub(crate) fn write(&self, bytes: &[u8]) -> OsResult<usize> {
        // SAFETY: the kernel reads no more than the length.
        done(unsafe { libc::write(self.number(), bytes.as_ptr().cast(), bytes.len()) } as _)
    }

    /// Writes all.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> OsResult<()> {
        write_whole(bytes, &mut |rest, _| self.write(rest))
    }

    /// Writes all to a place in it.
    #[allow(unsafe_code)]
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> OsResult<()> {
        write_whole(bytes, &mut |rest, written| {
            let (from, at) = (rest.as_ptr().cast(), offset + written as u64);
            // SAFETY: see `write`.
            done(unsafe { libc::pwrite64(self.number(), from, rest.len(), at as _) } as _)
        })
    }

    /// Makes it durable with all that is known of it.
    #[allow(unsafe_code)]
    pub(crate) fn sync_all(&self) -> OsResult<()> {
        // SAFETY: a plain number.
        done(unsafe { libc::fsync(self.number()) }.into()).map(drop)
    }

    /// Makes its bytes durable.
    #[allow(unsafe_code)]
    pub(crate) fn sync_data(&self) -> OsResult<()> {
        // SAFETY: a plain number.
        done(unsafe { libc::fdatasync(self.number()) }.into()).map(drop)
    }

    /// What is known of it.
    pub(crate) fn found(&self) -> OsResult<Found> {
        path::stat_of(self.number())
    }

    /// Cuts it off behind its first `length` bytes, or makes it so long.
    #[allow(unsafe_code)]
    pub(crate) fn cut(&self, length: u64) -> OsResult<()> {
        // SAFETY: plain numbers.
        done(unsafe { libc::ftruncate64(self.number(), length as _) }.into()).map(drop)
    }

    /// Sets permission bits.
    #[allow(unsafe_code)]
    pub(crate) fn set_mode(&self, mode: u32) -> OsResult<()> {
        // SAFETY: plain numbers.
        done(unsafe { libc::fchmod(self.number(), mode) }.into()).map(drop)
    }

    /// Goes to its end, and tells where that is.
    pub(crate) fn end(&self) -> OsResult<u64> {
        self.seek(libc::SEEK_END)
    }

    /// Goes to its beginning.
    pub(crate) fn rewind(&self) {
        // That cannot fail.
        let _ = self.seek(libc::SEEK_SET);
    }

    #[allow(unsafe_code)]
    fn seek(&self, from: i32) -> OsResult<u64> {
        // SAFETY: plain numbers.
        let at = unsafe { libc::lseek64(self.number(), 0, from) };
        u64::try_from(at).map_err(|_| Errno::last())
    }

    /// ioctl(2), with a number or an address.
    ///
    /// # Safety
    /// It must be what `request` expects.
    #[allow(unsafe_code)]
    pub(super) unsafe fn control(&self, request: u32, argument: usize) -> OsResult<usize> {
        // The type of a request differs between C libraries.
        // SAFETY: the caller's promise.
        done(unsafe { libc::ioctl(self.number(), request as _, argument) }.into())
    }

    /// Bytes that wait in a pipe.
    pub(crate) fn queued(&self) -> usize {
        self.count(libc::FIONREAD as u32)
    }

    /// Bytes that wait in a terminal to leave, as far as the kernel tells.
    pub(super) fn queued_out(&self) -> usize {
        self.count(libc::TIOCOUTQ as u32)
    }

    fn count(&self, request: u32) -> usize {
        let mut count: c_int = 0;
        // SAFETY: the kernel fills a number that lives here.
        #[allow(unsafe_code)]
        let told = unsafe { self.control(request, (&raw mut count).addr()) };
        told.ok().and_then(|_| usize::try_from(count).ok()).unwrap_or(0)
    }

    /// Another descriptor of it.
    #[allow(unsafe_code)]
    pub(crate) fn try_clone(&self) -> OsResult<Self> {
        // SAFETY: plain numbers.
        let other = done(unsafe { libc::fcntl(self.number(), libc::F_DUPFD_CLOEXEC, 3) }.into())?;
        // SAFETY: it is new, and nobody else's.
        Ok(unsafe { Self::own(other) })
    }

    /// # Safety
    /// The descriptor is open, and nobody else's.
    #[allow(unsafe_code)]
    pub(super) unsafe fn own(fd: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.number()
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> Self {
        file.0
    }
}

/// Opens a file, which children do not inherit.
pub(crate) fn open(path: impl AsRef<[u8]>, how: OFlag) -> OsResult<File> {
    open_at(libc::AT_FDCWD, path.as_ref(), how)
}

/// The same by a name in an open directory.
pub(super) fn open_at(at: RawFd, path: &[u8], how: OFlag) -> OsResult<File> {
    let mode = if how.contains(OFlag::O_APPEND) { 0o644 } else { 0o600 };
    let how = how | OFlag::O_CLOEXEC | OFlag::O_LARGEFILE;
    // SAFETY: plain numbers; the descriptor is new, and nobody else's.
    #[allow(unsafe_code)]
    unsafe {
        Ok(File::own(path::call(libc::SYS_openat, at, path, how.bits() as usize, mode)?))
    }
}

/// All that is in a file of at most [`SMALL_MAX`] bytes, what the kernel makes up in /proc and /sys included; of a
/// larger one its beginning. Nothing when it cannot be read.
pub(crate) fn read(path: impl AsRef<[u8]>) -> Vec<u8> {
    read_path(path.as_ref()).unwrap_or_default()
}

/// The same as text. What is no UTF-8 is replaced: nothing that is looked for is.
pub(crate) fn read_text(path: impl AsRef<[u8]>) -> String {
    text::lossy(&read(path))
}

/// The same, with the reason why it cannot be read.
pub(crate) fn read_path(path: &[u8]) -> OsResult<Vec<u8>> {
    let file = open(path, READ)?;
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
pub(crate) fn write(path: &str, text: &str) -> OsResult<()> {
    open(path, OFlag::O_WRONLY)?.write_all(text.as_bytes())
}

/// Calls `write` with the rest, and how much is written before it, until there is none.
fn write_whole(
    bytes: &[u8],
    write: &mut dyn FnMut(&[u8], usize) -> OsResult<usize>,
) -> OsResult<()> {
    let mut written = 0;
    while written < bytes.len() {
        match write(&bytes[written..], written) {
            Ok(0) => return Err(Errno::EIO),
            Ok(length) => written += length,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Enough for the mount table of a machine with a thousand mounts.
const SMALL_MAX: usize = 128 * 1024;
