//! The operating system: the only files that name `nix`, and the only ones with `unsafe`, each use with its reason.
//! They hold no policy: one call does one thing and says what the kernel said.

pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod console;
pub(crate) mod directory;
pub(crate) mod disk;
pub(crate) mod errno;
pub(crate) mod file;
pub(crate) mod identity;
pub(crate) mod init;
pub(crate) mod kmsg;
pub(crate) mod leftovers;
#[cfg_attr(test, allow(dead_code, reason = "tests have threads, and the standard memory"))]
pub(crate) mod memory;
pub(crate) mod output;
pub(crate) mod path;
pub(crate) mod poll;
pub(crate) mod power;
pub(crate) mod program;
pub(crate) mod signals;
#[cfg(all(not(test), target_arch = "arm", target_env = "musl"))]
mod small_libc;
pub(crate) mod socket;
#[cfg(not(test))]
mod start;
mod terminal;
pub(crate) mod tty;
pub(crate) mod watchdog;
