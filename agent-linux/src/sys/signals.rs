//! Signals as something to read. They stay blocked in the agent; children get an empty mask ([`super::child`]), and
//! as nothing is ever ignored or handled, there is nothing else for them to inherit.

use super::errno::{OsResult, done};
use super::file::File;
use nix::libc::{self, c_int};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::ptr;

/// The signals that the agent takes: ended children, and the requests to end of a shell or an init.
pub(crate) struct Signals {
    file: File,
}

/// What signals came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Came {
    /// A child has ended (or several: the kernel does not count).
    pub(crate) child: bool,
    /// SIGTERM or SIGINT.
    pub(crate) end: bool,
}

impl Signals {
    /// Blocks and collects them. SIGHUP is taken and dropped: a line that hangs up is reopened.
    pub(crate) fn new() -> OsResult<Self> {
        let taken = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP];
        let set: u64 = taken.iter().map(|signal| 1 << (signal - 1)).sum();
        change_mask(libc::SIG_BLOCK, set);
        let how = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // SAFETY: the kernel reads a set of signals, 8 bytes; the descriptor is new, and nobody else's.
        #[allow(unsafe_code)]
        unsafe {
            let fd = libc::syscall(libc::SYS_signalfd4, -1, &raw const set, size_of_val(&set), how);
            Ok(Self { file: File::own(done(fd)?) })
        }
    }

    /// For polling.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Takes all that have come.
    pub(crate) fn take(&mut self) -> Came {
        let mut came = Came::default();
        // `struct signalfd_siginfo` (`man 2 signalfd`), which begins with the signal's number.
        let mut info = [0; 128];
        while self.file.read(&mut info) == Ok(info.len()) {
            let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
            came.child |= number == libc::SIGCHLD;
            came.end |= matches!(number, libc::SIGTERM | libc::SIGINT);
        }
        came
    }
}

/// Blocks all that can be blocked.
pub(super) fn block_all() {
    change_mask(libc::SIG_BLOCK, !0);
}

/// Lets all come.
pub(super) fn block_none() {
    change_mask(libc::SIG_SETMASK, 0);
}

/// Without what the C library does for programs with threads: there `set` has 8 bytes for the kernel, too.
fn change_mask(how: c_int, set: u64) {
    // SAFETY: the kernel reads 8 bytes. It refuses only what is not in this file.
    #[allow(unsafe_code)]
    unsafe {
        let before = ptr::null_mut::<u8>();
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, before, size_of_val(&set));
    }
}
