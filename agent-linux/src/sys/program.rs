//! The program that this process runs, and the one that takes its place.

use super::file;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::execv;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;

/// The running one, for reading; wherever it lies, or lay.
pub(crate) fn own() -> io::Result<File> {
    file::open(OWN, file::READ)
}

/// A file in memory for another one (`man 2 memfd_create`; Linux 3.17).
pub(crate) fn in_memory() -> io::Result<File> {
    Ok(memfd_create(c"pumice-agent", MFdFlags::MFD_CLOEXEC)?.into())
}

/// This process goes on as that program, under the same number and with the same words. Returns only when the kernel
/// cannot execute it; then nothing has changed.
pub(crate) fn become_it(program: &File) {
    let words = fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<CString> = words
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|word| CString::from_vec_with_nul(word.to_vec()).ok())
        .collect();
    let number = crate::text::number(program.as_raw_fd() as u32);
    if let Ok(path) = CString::new(["/proc/self/fd/", &number].concat()) {
        let _ = execv(&path, &words);
    }
}

/// The running program (`man 5 proc`).
pub(crate) const OWN: &str = "/proc/self/exe";
