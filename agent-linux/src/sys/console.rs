//! What user space prints to /dev/console, taken from the line (`man 2 ioctl_console`, TIOCCONS; the kernel's
//! drivers/tty/tty_io.c).
//!
//! The kernel sends it to the pseudo-terminal's slave and keeps that open; its own messages stay on the line. When the
//! master is closed, whether by us or because this process died, the slave is hung up, and with it goes the redirection
//! (`__tty_hangup`). A program that prints waits for nothing but this process, and that only when 64 KiB have not been
//! taken.

use super::errno::{Errno, OsResult};
use super::file::{self, File};
use super::terminal;
use nix::libc;
use std::os::fd::{AsFd as _, BorrowedFd};

/// The redirection, for as long as this lives.
#[derive(Debug)]
pub(crate) struct UserConsole {
    master: File,
}

impl UserConsole {
    /// Begins it.
    ///
    /// # Errors
    /// No pseudo-terminal (its file system may not be mounted yet), no right to do it, or EBUSY: somebody else has
    /// redirected it.
    pub(crate) fn open() -> OsResult<Self> {
        let master = file::open("/dev/ptmx", file::TERMINAL)?;
        let unlocked: libc::c_int = 0;
        // The peer blocks: who prints more than there is room for must wait a moment, and not get an error.
        let how = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: the kernel reads one int; the peer's descriptor is new and ours.
        #[allow(unsafe_code)]
        let slave = unsafe {
            master.control(libc::TIOCSPTLCK as u32, (&raw const unlocked).addr())?;
            File::own(master.control(libc::TIOCGPTPEER as u32, how as usize)?)
        };
        // Byte by byte as it was printed.
        let mut settings = terminal::settings(&slave)?;
        terminal::make_raw(&mut settings);
        terminal::set(&slave, libc::TCSANOW, &settings)?;
        // SAFETY: TIOCCONS takes no argument.
        #[allow(unsafe_code)]
        unsafe {
            slave.control(libc::TIOCCONS as u32, 0)?;
        }
        Ok(Self { master })
    }

    /// For polling.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// Reads what was printed, without waiting; 0 when there is nothing. An error means that the redirection is over.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> OsResult<usize> {
        match self.master.read(buffer) {
            Err(Errno::EAGAIN) => Ok(0),
            other => other,
        }
    }
}
