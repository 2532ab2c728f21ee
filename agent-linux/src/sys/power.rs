//! Restarting and stopping the board, how loud its kernel is on the console, and whether it obeys what comes there.

use super::file;
use nix::libc;

/// Writes out everything.
pub(crate) fn sync() {
    // SAFETY: it takes nothing.
    #[allow(unsafe_code)]
    unsafe {
        libc::sync();
    }
}

/// Writes out everything, then restarts or stops the board. Returns when the kernel refuses.
pub(crate) fn restart(power_off: bool) {
    sync();
    let how = if power_off { libc::RB_POWER_OFF } else { libc::RB_AUTOBOOT };
    // SAFETY: a plain number.
    #[allow(unsafe_code)]
    unsafe {
        libc::reboot(how);
    }
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

/// The commands that the kernel takes from its console behind a BREAK: `/proc/sys/kernel/sysrq`.
#[derive(Debug, Default)]
pub(crate) struct Sysrq {
    /// What was found, while none is taken.
    found: Option<String>,
}

impl Sysrq {
    /// Takes none (`true`), or those that were taken before.
    pub(crate) fn guard(&mut self, is_guarded: bool) {
        // A kernel without it obeys nothing anyway.
        if !is_guarded {
            if let Some(found) = self.found.take() {
                let _ = file::write(SYSRQ, &found);
            }
        } else if self.found.is_none() {
            let found = file::read_text(SYSRQ);
            let found = found.trim_ascii_end();
            if !found.is_empty() && file::write(SYSRQ, "0").is_ok() {
                self.found = Some(found.to_owned());
            }
        }
    }
}

const SYSRQ: &str = "/proc/sys/kernel/sysrq";

const PRINTK: &str = "/proc/sys/kernel/printk";
