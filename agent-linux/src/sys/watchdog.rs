//! The hardware watchdog (kernel: Documentation/watchdog/watchdog-api.rst).

use super::errno::OsResult;
use super::file::{self, File};
use nix::libc::c_int;

/// An open watchdog: from its opening on it restarts the board, also when this process is gone, unless it is fed or let
/// go of.
#[derive(Debug)]
pub(crate) struct Watchdog {
    file: File,
    /// It restarts the board when it was not fed for so many seconds.
    pub(crate) seconds: u16,
}

impl Watchdog {
    /// Opens the one at `path` and sets its time. With the watchdog comes why it does not have the time that was asked
    /// for; it has another then, which is respected.
    ///
    /// # Errors
    /// There is none, or somebody else has it (EBUSY).
    pub(crate) fn open(path: &str, seconds: u16) -> OsResult<(Self, OsResult<()>)> {
        let file = file::open(path, file::READ_WRITE)?;
        let mut time = c_int::from(seconds);
        // SAFETY: the kernel reads and writes an int.
        #[allow(unsafe_code)]
        let set = unsafe { file.control(WDIOC_SETTIMEOUT, (&raw mut time).addr()) };
        if set.is_err() {
            time = UNKNOWN_S;
            // SAFETY: the kernel writes an int.
            #[allow(unsafe_code)]
            let _ = unsafe { file.control(WDIOC_GETTIMEOUT, (&raw mut time).addr()) };
        }
        let seconds = u16::try_from(time.max(1)).unwrap_or(u16::MAX);
        Ok((Self { file, seconds }, set.map(drop)))
    }

    /// It begins anew to wait.
    pub(crate) fn feed(&self) {
        // There is nothing better to be done than to feed it again.
        let _ = self.file.write(b"\0");
    }

    /// Stops it, where the kernel lets it be stopped (CONFIG_WATCHDOG_NOWAYOUT).
    pub(crate) fn let_go(self) {
        let _ = self.file.write(b"V");
    }
}

/// Of a watchdog that does not tell its time: shorter than that of any in use.
const UNKNOWN_S: c_int = 3;

// include/uapi/linux/watchdog.h: _IOWR('W', 6, int) and _IOR('W', 7, int), as of ARM and x86.
const WDIOC_SETTIMEOUT: u32 = 0xC004_5706;
const WDIOC_GETTIMEOUT: u32 = 0x8004_5707;
