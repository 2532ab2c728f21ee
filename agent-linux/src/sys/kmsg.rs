//! /dev/kmsg: one record a read (kernel: Documentation/ABI/testing/dev-kmsg).

use super::errno::{Errno, OsResult};
use super::file::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd};

/// Longest record in bytes that the kernel gives out: PRINTK_MESSAGE_MAX (CONSOLE_EXT_LOG_MAX before 6.4), which is
/// 8192 where it was larger than 2048. A shorter buffer would get EINVAL.
#[allow(dead_code, reason = "rustc 1.85 does not see the use in an assertion at compile time")]
pub(crate) const RECORD_MAX: usize = 8192;

/// The open kernel log.
pub(crate) struct Kmsg {
    file: File,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// One record of so many bytes.
    Record(usize),
    /// The ring buffer has overwritten records that were to be read next.
    Gap,
    /// Nothing more for now.
    Nothing,
}

impl Kmsg {
    /// Opens it; reading begins with the first record that there still is.
    pub(crate) fn open() -> OsResult<Self> {
        Ok(Self { file: file::open("/dev/kmsg", file::READ_ANYTHING)? })
    }

    /// Opens it for writing, too; reading begins with what is written from now on.
    pub(crate) fn open_at_end() -> OsResult<Self> {
        let how = file::READ_WRITE | file::READ_ANYTHING;
        let file = file::open("/dev/kmsg", how)?;
        file.end()?;
        Ok(Self { file })
    }

    /// Writes one record: `<priority>text`. The kernel stamps it before this returns.
    pub(crate) fn write(&mut self, record: &[u8]) -> OsResult<()> {
        self.file.write_all(record)
    }

    /// For polling.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Back to the first record that there still is.
    pub(crate) fn rewind(&mut self) {
        self.file.rewind();
    }

    /// Reads one record.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Found {
        match self.file.read(buffer) {
            Ok(0) => Found::Nothing,
            Ok(length) => Found::Record(length),
            // EINVAL, a record longer than the buffer: the kernel has stepped over it.
            Err(Errno::EPIPE | Errno::EINVAL) => Found::Gap,
            Err(_) => Found::Nothing,
        }
    }
}
