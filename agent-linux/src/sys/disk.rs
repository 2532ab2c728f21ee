//! Disks, partitions and file systems.

use super::errno::{Errno, OsResult, done};
use super::file::File;
use super::path;
use nix::libc::{self, c_int};
use std::os::fd::AsRawFd as _;

/// Free bytes of the file system that holds `path`, those reserved for root not counted.
#[allow(unsafe_code)]
pub(crate) fn free_bytes(path: &str) -> OsResult<u64> {
    let path = path::text(path.as_bytes())?;
    // SAFETY: plain data, for which zeros are a value.
    let mut found: libc::statfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a NUL, and the C library fills what has its layout.
    done(unsafe { libc::statfs64(path.as_ptr().cast(), &raw mut found) }.into())?;
    // The width of both differs between C libraries.
    #[allow(clippy::unnecessary_cast)]
    Ok((found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
}

/// Makes `length` bytes at `offset` read as zeros, in the best way there is.
pub(crate) fn zero(file: &File, is_device: bool, offset: u64, length: u64) -> OsResult<()> {
    let done =
        if is_device { zero_device(file, offset, length) } else { zero_file(file, offset, length) };
    if done.is_ok() {
        return Ok(());
    }
    // Ranges that are not whole sectors, file systems without holes.
    let zeros = [0; 8 * 1024];
    let (mut at, end) = (offset, offset + length);
    while at < end {
        let part = (end - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..part as usize], at)?;
        at += part;
    }
    Ok(())
}

/// Makes `length` bytes at `offset` of a block device read as zeros, in the way the device does it best (BLKZEROOUT).
/// Both must be multiples of its sector size.
fn zero_device(device: &File, offset: u64, length: u64) -> OsResult<()> {
    let range = [offset, length];
    // SAFETY: the kernel reads two u64.
    #[allow(unsafe_code)]
    unsafe {
        device.control(BLKZEROOUT, (&raw const range).addr())?;
    }
    Ok(())
}

/// Makes `length` bytes at `offset` of a file read as zeros without writing them, where its file system can.
fn zero_file(file: &File, offset: u64, length: u64) -> OsResult<()> {
    allocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, length)
}

/// Sets aside room for `length` bytes at `offset`, behind the file's end too, without making it longer: what is written
/// there finds room on a full disk. Not every file system can (ext2 and ext3 cannot).
pub(crate) fn reserve(file: &File, offset: u64, length: u64) -> OsResult<()> {
    allocate(file, libc::FALLOC_FL_KEEP_SIZE, offset, length)
}

/// What is beyond the longest file is below 0 for the kernel, which refuses it.
fn allocate(file: &File, how: c_int, offset: u64, length: u64) -> OsResult<()> {
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    let told = unsafe { libc::fallocate64(file.as_raw_fd(), how, offset as _, length as _) };
    done(told.into()).map(drop)
}

/// Drops what the page cache has of a file or device, after writing it out: what is read then is what is stored.
pub(crate) fn drop_cache(file: &File, is_device: bool) {
    if is_device {
        // SAFETY: BLKFLSBUF takes no argument. It needs rights that opening the device for writing did not; without
        // them the advice below does nearly the same.
        #[allow(unsafe_code)]
        let _ = unsafe { file.control(BLKFLSBUF, 0) };
    }
    let _ = file.sync_all();
    // SAFETY: plain numbers.
    #[allow(unsafe_code)]
    unsafe {
        libc::posix_fadvise64(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
    }
}

/// Whether a block device is write-protected (BLKROGET). It can be opened for writing all the same, and fails with the first
/// write, as if that were not permitted.
pub(crate) fn is_read_only(device: &File) -> bool {
    let mut told: c_int = 0;
    // SAFETY: the kernel fills a number that lives here.
    #[allow(unsafe_code)]
    let done = unsafe { device.control(BLKROGET, (&raw mut told).addr()) };
    done.is_ok() && told != 0
}

/// Mounts, or with `again` changes how it is mounted. `data`: options of the file system's own.
pub(crate) fn mount(
    device: &str,
    target: &str,
    kind: &str,
    read_only: bool,
    again: bool,
    data: &str,
) -> OsResult<()> {
    let flags = if read_only { libc::MS_RDONLY } else { 0 };
    mount_with(device, target, kind, if again { flags | libc::MS_REMOUNT } else { flags }, data)
}

/// Mounts, with any flags of `mount(2)`.
pub(super) fn mount_with(
    device: &str,
    target: &str,
    kind: &str,
    flags: libc::c_ulong,
    data: &str,
) -> OsResult<()> {
    let mut texts = [const { Vec::new() }; 4];
    for (place, text) in texts.iter_mut().zip([device, target, kind, data]) {
        *place = path::text(text.as_bytes())?;
    }
    let [device, target, kind, data] = texts.each_ref().map(|text| text.as_ptr().cast());
    // SAFETY: texts that end with a NUL and live until it is done.
    #[allow(unsafe_code)]
    let mounted = unsafe { libc::mount(device, target, kind, flags, data.cast()) };
    done(mounted.into()).map(drop)
}

/// Mounts a file system in memory, if this process may.
#[cfg(test)]
pub(crate) fn mount_small(target: &str, options: &str) -> bool {
    mount_with("tmpfs", target, "tmpfs", 0, options).is_ok()
}

/// Unmounts.
pub(crate) fn unmount(target: &str) -> OsResult<()> {
    let target = path::text(target.as_bytes())?;
    // SAFETY: a text that ends with a NUL.
    #[allow(unsafe_code)]
    let unmounted = unsafe { libc::umount2(target.as_ptr().cast(), libc::UMOUNT_NOFOLLOW) };
    done(unmounted.into()).map(drop)
}

/// Writes out the file system that holds `file`.
pub(crate) fn sync_file_system(file: &File) -> OsResult<()> {
    // SAFETY: a plain number.
    #[allow(unsafe_code)]
    done(unsafe { libc::syncfs(file.as_raw_fd()) }.into()).map(drop)
}

/// Whether a mount failed because the device holds another kind of file system, or the kernel knows none of that kind.
pub(crate) fn is_other_kind(error: Errno) -> bool {
    matches!(error, Errno::EINVAL | Errno::ENODEV | Errno::EUCLEAN)
}

/// Major and minor number of a device number, as in `/proc/self/mountinfo`.
pub(crate) fn major_minor(device: u64) -> (u32, u32) {
    // The type of a device number differs between C libraries.
    (libc::major(device as libc::dev_t) as u32, libc::minor(device as libc::dev_t) as u32)
}

// include/uapi/linux/fs.h: _IO(0x12, …).
const BLKROGET: u32 = 0x125E;
const BLKFLSBUF: u32 = 0x1261;
const BLKZEROOUT: u32 = 0x127F;
