//! Signals as something to read. They stay blocked in the agent; children get an empty mask ([`super::child`]), and
//! as nothing is ever ignored or handled, there is nothing else for them to inherit.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The signals that the agent takes: ended children, and the requests to end of a shell or an init.
pub(crate) struct Signals {
    fd: SignalFd,
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
    pub(crate) fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self { fd: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// For polling.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes all that have come.
    pub(crate) fn take(&mut self) -> Came {
        let mut came = Came::default();
        while let Ok(Some(signal)) = self.fd.read_signal() {
            let number = signal.ssi_signo as i32;
            came.child |= number == Signal::SIGCHLD as i32;
            came.end |= number == Signal::SIGTERM as i32 || number == Signal::SIGINT as i32;
        }
        came
    }
}
