//! Waiting for descriptors: `ppoll(2)`, for its deadline in less than milliseconds.

use nix::libc::{self, timespec};
use nix::poll::{PollFd, PollFlags};
use std::os::fd::BorrowedFd;
use std::ptr;

/// What is waited for; made anew for every wait, as interests change with each.
pub(crate) struct Interests<'fd, T> {
    fds: Vec<PollFd<'fd>>,
    tokens: Vec<T>,
}

/// Something happened to a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready<T> {
    /// Whose descriptor.
    pub(crate) token: T,
    /// There is something to read, an end or an error included; otherwise there is only room to write.
    pub(crate) readable: bool,
}

/// Waits for nothing but time.
pub(crate) fn pause(us: u64) {
    wait(&mut [], Some(us));
}

impl<'fd, T: Copy> Interests<'fd, T> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { fds: Vec::with_capacity(16), tokens: Vec::with_capacity(16) }
    }

    /// Waits for `fd` too.
    pub(crate) fn add(&mut self, token: T, fd: BorrowedFd<'fd>, read: bool, write: bool) {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, read);
        flags.set(PollFlags::POLLOUT, write);
        self.fds.push(PollFd::new(fd, flags));
        self.tokens.push(token);
    }

    /// Waits until something is ready or `timeout_us` is over (`None`: for ever) and appends to `ready`.
    pub(crate) fn wait(mut self, timeout_us: Option<u64>, ready: &mut Vec<Ready<T>>) {
        if !wait(&mut self.fds, timeout_us) {
            return;
        }
        let ended = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        for (fd, token) in self.fds.iter().zip(&self.tokens) {
            let found = fd.revents().unwrap_or(PollFlags::empty());
            if !found.is_empty() {
                ready.push(Ready {
                    token: *token,
                    readable: found.intersects(PollFlags::POLLIN | ended),
                });
            }
        }
    }
}

/// Whether any got ready.
fn wait(fds: &mut [PollFd<'_>], timeout_us: Option<u64>) -> bool {
    let time = timeout_us.map(|us| timespec {
        tv_sec: (us / 1_000_000) as _,
        tv_nsec: (us % 1_000_000 * 1000) as _,
    });
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    let (at, count) = (fds.as_mut_ptr().cast(), fds.len() as _);
    // An interrupted wait is one in which nothing got ready; there is no other error with good descriptors.
    // SAFETY: a `PollFd` is a `struct pollfd`, and the kernel fills as many as there are.
    #[allow(unsafe_code)]
    let ready = unsafe { libc::ppoll(at, count, time, ptr::null()) };
    ready > 0
}
