//! Signals as events of the loop.
//!
//! signal-hook and not signalfd: a signalfd needs its signals blocked in every thread, and the blocked mask is inherited
//! by every child (std resets it no longer since Rust 1.66); a handler is reset by exec. One crate, one byte in a pipe.

use std::io;

use mio::{Interest, Registry, Token};
use nix::libc;
use signal_hook_mio::v1_0;

/// A signal that the owner decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C. What a second one means is the owner's business.
    Interrupt,
    /// A service manager wants the process to end.
    Terminate,
    /// The terminal went away.
    Hangup,
    /// The terminal's window has another size.
    WindowChange,
}

/// What arrived: signals for the owner, and whether a child may have ended.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) signals: Vec<Signal>,
    pub(super) child: bool,
}

/// The signals of this process.
pub(super) struct Signals(v1_0::Signals);

impl Signals {
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Self> {
        let mut signals = v1_0::Signals::new([
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGHUP,
            libc::SIGWINCH,
            libc::SIGCHLD,
        ])?;
        registry.register(&mut signals, token, Interest::READABLE)?;
        Ok(Self(signals))
    }

    pub(super) fn take(&mut self) -> Arrived {
        let mut arrived = Arrived::default();
        for number in self.0.pending() {
            match number {
                libc::SIGINT => arrived.signals.push(Signal::Interrupt),
                libc::SIGTERM => arrived.signals.push(Signal::Terminate),
                libc::SIGHUP => arrived.signals.push(Signal::Hangup),
                libc::SIGWINCH => arrived.signals.push(Signal::WindowChange),
                libc::SIGCHLD => arrived.child = true,
                _ => {}
            }
        }
        arrived
    }
}
