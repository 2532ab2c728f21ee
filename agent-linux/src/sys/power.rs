//! Restarting and stopping the board, and how loud its kernel is on the console.

use super::file;
use nix::sys::reboot::{RebootMode, reboot};

/// Writes out everything.
pub(crate) fn sync() {
    nix::unistd::sync();
}

/// Writes out everything, then restarts or stops the board. Returns when the kernel refuses.
pub(crate) fn restart(power_off: bool) {
    sync();
    let how = if power_off { RebootMode::RB_POWER_OFF } else { RebootMode::RB_AUTOBOOT };
    let _ = reboot(how);
}

/// The console level: `/proc/sys/kernel/printk`, whose first number it is.
#[derive(Debug)]
pub(crate) struct ConsoleLevel {
    found: Option<String>,
}

impl ConsoleLevel {
    /// Remembers the one that is set now.
    pub(crate) fn remember() -> Self {
        let text = file::read_text(PRINTK);
        Self { found: text.split_ascii_whitespace().next().map(str::to_owned) }
    }

    /// For machines whose console is none of the agent's business.
    pub(crate) fn untouchable() -> Self {
        Self { found: None }
    }

    /// Only emergencies (`true`), or as it was found.
    pub(crate) fn quiet(&self, quiet: bool) {
        if let Some(found) = &self.found {
            // A kernel that cannot be quieted costs line time, no more.
            let _ = file::write(PRINTK, if quiet { "1" } else { found });
        }
    }
}

const PRINTK: &str = "/proc/sys/kernel/printk";
