//! What is done by a path. The standard library does the same, with a piece of code for each call and each length of a
//! path.

use super::errno::{Errno, OsResult, done};
use nix::libc::{self, c_int, c_long};
use std::os::fd::RawFd;

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    kind_and_mode: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Number of the device that it stands for, if it stands for one.
    pub(crate) device: u64,
    /// Number of the device that it lies on, and its own there.
    pub(crate) place: (u64, u64),
}

impl Found {
    /// A regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind() == libc::S_IFREG
    }

    /// A directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// A symbolic link.
    pub(crate) fn is_link(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }

    /// A block device.
    pub(crate) fn is_device(&self) -> bool {
        self.kind() == libc::S_IFBLK
    }

    /// Permission bits.
    pub(crate) fn mode(&self) -> u32 {
        self.kind_and_mode & 0o7777
    }

    fn kind(&self) -> u32 {
        self.kind_and_mode & libc::S_IFMT
    }
}

/// Of what the path leads to.
pub(crate) fn stat(path: impl AsRef<[u8]>) -> OsResult<Found> {
    stat_at(libc::AT_FDCWD, path.as_ref(), 0)
}

/// The same, of a link itself.
pub(crate) fn link_stat(path: impl AsRef<[u8]>) -> OsResult<Found> {
    stat_at(libc::AT_FDCWD, path.as_ref(), libc::AT_SYMLINK_NOFOLLOW)
}

/// Of an open file.
pub(super) fn stat_of(fd: RawFd) -> OsResult<Found> {
    stat_at(fd, b"", libc::AT_EMPTY_PATH)
}

/// Whether there is something.
pub(crate) fn exists(path: impl AsRef<[u8]>) -> bool {
    stat(path).is_ok()
}

/// Removes what is no directory.
pub(crate) fn remove_file(path: impl AsRef<[u8]>) -> OsResult<()> {
    remove_at(libc::AT_FDCWD, path.as_ref(), 0)
}

/// Removes an empty directory.
pub(crate) fn remove_directory(path: impl AsRef<[u8]>) -> OsResult<()> {
    remove_at(libc::AT_FDCWD, path.as_ref(), libc::AT_REMOVEDIR)
}

/// Removes an entry of an open directory; `how`: AT_REMOVEDIR of a directory, or nothing.
pub(super) fn remove_at(at: RawFd, name: &[u8], how: c_int) -> OsResult<()> {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    unsafe { call(libc::SYS_unlinkat, at, name, how as usize, 0) }.map(drop)
}

/// Makes a directory.
pub(crate) fn make_directory(path: &str) -> OsResult<()> {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    unsafe { call(libc::SYS_mkdirat, libc::AT_FDCWD, path.as_bytes(), 0o777, 0) }.map(drop)
}

/// Sets permission bits.
pub(crate) fn set_mode(path: &str, mode: u32) -> OsResult<()> {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    unsafe { call(libc::SYS_fchmodat, libc::AT_FDCWD, path.as_bytes(), mode as usize, 0) }.map(drop)
}

/// Where a link leads to; of a path longer than the kernel has any its beginning.
pub(crate) fn read_link(path: &str) -> OsResult<Vec<u8>> {
    let mut target = vec![0; PATH_MAX];
    let (at, room) = (target.as_mut_ptr() as usize, target.len());
    // SAFETY: the kernel fills no more than there is room for.
    #[allow(unsafe_code)]
    let length = unsafe { call(libc::SYS_readlinkat, libc::AT_FDCWD, path.as_bytes(), at, room) }?;
    target.truncate(length);
    Ok(target)
}

/// Makes a link that leads to `target`.
pub(crate) fn link(target: &[u8], path: &str) -> OsResult<()> {
    let (target, path) = (text(target)?, text(path.as_bytes())?);
    // SAFETY: texts that end with a NUL.
    #[allow(unsafe_code)]
    let made = unsafe { libc::symlink(target.as_ptr().cast(), path.as_ptr().cast()) };
    done(made.into()).map(drop)
}

/// Gives a file another name, in place of what had it.
pub(crate) fn rename(from: &str, to: &str) -> OsResult<()> {
    let (from, to) = (text(from.as_bytes())?, text(to.as_bytes())?);
    // SAFETY: texts that end with a NUL.
    #[allow(unsafe_code)]
    let renamed = unsafe { libc::rename(from.as_ptr().cast(), to.as_ptr().cast()) };
    done(renamed.into()).map(drop)
}

/// A system call that has a descriptor and a path, and up to two words more.
///
/// # Safety
/// The words must be what the call expects: numbers, or addresses of what it may read or fill.
#[allow(unsafe_code)]
pub(super) unsafe fn call(
    number: c_long,
    at: RawFd,
    path: &[u8],
    one: usize,
    two: usize,
) -> OsResult<usize> {
    let path = text(path)?;
    // SAFETY: the caller's promise; the path ends with a NUL.
    done(unsafe { libc::syscall(number, at, path.as_ptr(), one, two) })
}

/// The text as the operating system reads it, with a NUL behind it; one that has a NUL in it is none (EINVAL).
pub(super) fn text(text: &[u8]) -> OsResult<Vec<u8>> {
    if text.contains(&0) { Err(Errno::EINVAL) } else { Ok([text, b"\0"].concat()) }
}

fn stat_at(at: RawFd, path: &[u8], how: c_int) -> OsResult<Found> {
    // SAFETY: plain data, for which zeros are a value.
    #[allow(unsafe_code)]
    let mut found: libc::stat64 = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills what has its layout.
    #[allow(unsafe_code)]
    unsafe { call(SYS_STAT, at, path, (&raw mut found).addr(), how as usize) }?;
    // The widths differ between machines.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    Ok(Found {
        kind_and_mode: found.st_mode,
        size: found.st_size as u64,
        device: found.st_rdev as u64,
        place: (found.st_dev as u64, found.st_ino as u64),
    })
}

/// That which fills a `stat64`, of which 32-bit ARM's is as long as the kernel's own.
#[cfg(target_arch = "arm")]
const _: () = assert!(size_of::<libc::stat64>() == 104);
#[cfg(target_pointer_width = "32")]
const SYS_STAT: c_long = libc::SYS_fstatat64;
#[cfg(target_pointer_width = "64")]
const SYS_STAT: c_long = libc::SYS_newfstatat;

/// Longest path of the kernel's, with its NUL.
const PATH_MAX: usize = 4096;
