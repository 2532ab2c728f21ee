//! The program that this process runs, and the one that takes its place.

use super::errno::{OsResult, done};
use super::file::{self, File};
use nix::libc::{self, c_char, c_uint};
use std::os::fd::AsRawFd as _;
use std::ptr;

/// The running one, for reading, wherever it lies, or lay; and its size in bytes.
pub(crate) fn own() -> OsResult<(File, u64)> {
    let own = file::open(OWN, file::READ)?;
    let size = own.found()?.size;
    Ok((own, size))
}

/// A file in memory for another one (`man 2 memfd_create`; Linux 3.17).
#[allow(unsafe_code)]
pub(crate) fn in_memory() -> OsResult<File> {
    let flags: c_uint = libc::MFD_CLOEXEC;
    // SAFETY: a constant text; the system call takes nothing else by address.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"pumice-agent".as_ptr(), flags) };
    let fd = done(fd)?;
    // SAFETY: it is new, and nobody else's.
    Ok(unsafe { File::own(fd) })
}

/// This process goes on as that program, under the same number and with the same words. Returns only when the kernel
/// cannot execute it; then nothing has changed.
#[allow(unsafe_code)]
pub(crate) fn become_it(program: &File) {
    // Each ends with a NUL.
    let words = file::read("/proc/self/cmdline");
    let mut pointers: Vec<*const c_char> = Vec::new();
    let mut start = 0;
    for (at, byte) in words.iter().enumerate() {
        if *byte == 0 {
            pointers.push(words[start..].as_ptr().cast());
            start = at + 1;
        }
    }
    pointers.push(ptr::null());
    let number = crate::text::number(program.as_raw_fd() as u32);
    let path = ["/proc/self/fd/", &number, "\0"].concat();
    // SAFETY: the path and each word end with a NUL, the list with a null pointer, and all of them outlive the call.
    unsafe { libc::execv(path.as_ptr().cast(), pointers.as_ptr()) };
}

/// The running program (`man 5 proc`).
pub(crate) const OWN: &str = "/proc/self/exe";
