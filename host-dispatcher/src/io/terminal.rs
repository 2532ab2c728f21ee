//! The terminal that `pumice` itself runs on: raw mode for the console, its size, and its input as a source of the loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::sys;

/// Raw mode: every key goes through, Ctrl-C too, and nothing is echoed. Ends with this value, and before the message of
/// a panic.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Switches standard input to raw mode. `None` if it is no terminal: then there is nothing to switch.
    ///
    /// # Errors
    /// The terminal refused, because it is gone.
    pub fn enter() -> io::Result<Option<Self>> {
        let Ok(before) = tcgetattr(io::stdin()) else { return Ok(None) };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        restore_before_panics();
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(before);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was before [`RawMode::enter`]; for an exit that runs no destructors. May be called at
/// any time.
pub fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &before);
    }
}

/// Columns and rows of the terminal that is standard output.
pub fn size() -> Option<(u16, u16)> {
    sys::window_size(io::stdout())
}

fn restore_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            next(panic);
        }));
    });
}

static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Input that never blocks the loop, and whose descriptor stays as it is: O_NONBLOCK would also be the shell's, which
/// shares it.
#[derive(Debug)]
pub(super) struct Input {
    descriptor: OwnedFd,
    kind: Kind,
    ready: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A terminal, a pipe, a socket: ready when the loop is told so.
    Polled,
    /// A file or `/dev/null`: epoll refuses them (EPERM), and a read never waits.
    AlwaysReady,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputRead {
    Nothing,
    Bytes(usize),
    End,
}

impl Input {
    pub(super) fn register(
        input: impl AsFd,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let descriptor = input.as_fd().try_clone_to_owned()?;
        let raw = descriptor.as_raw_fd();
        match registry.register(&mut SourceFd(&raw), token, Interest::READABLE) {
            Ok(()) => Ok(Self { descriptor, kind: Kind::Polled, ready: false }),
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {
                Ok(Self { descriptor, kind: Kind::AlwaysReady, ready: true })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn deregister(&mut self, registry: &Registry) {
        if self.kind == Kind::Polled {
            let _ = registry.deregister(&mut SourceFd(&self.descriptor.as_raw_fd()));
        }
    }

    /// The loop was told that there is something.
    pub(super) fn mark_ready(&mut self) {
        self.ready = true;
    }

    /// Whether a read may give something.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Reads once, and only if that cannot block.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> InputRead {
        if !self.ready {
            return InputRead::Nothing;
        }
        if self.kind == Kind::Polled {
            let mut asked = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
            if !matches!(poll(&mut asked, PollTimeout::ZERO), Ok(1..)) {
                self.ready = false;
                return InputRead::Nothing;
            }
        }
        match nix::unistd::read(&self.descriptor, buffer) {
            // A terminal's hang-up is EIO.
            Ok(0) | Err(Errno::EIO) => InputRead::End,
            Ok(bytes) => InputRead::Bytes(bytes),
            Err(Errno::EINTR | Errno::EAGAIN) => InputRead::Nothing,
            Err(_) => InputRead::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Write, pipe};

    use mio::Poll;

    use super::*;

    fn read_all(input: impl AsFd) -> Vec<u8> {
        let mut poll = Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(4);
        let mut input = Input::register(input, poll.registry(), Token(0)).unwrap();
        let mut all = Vec::new();
        let mut buffer = [0; 7];
        loop {
            match input.read(&mut buffer) {
                InputRead::Bytes(bytes) => all.extend_from_slice(&buffer[..bytes]),
                InputRead::End => return all,
                InputRead::Nothing => {
                    poll.poll(&mut events, None).unwrap();
                    input.mark_ready();
                }
            }
        }
    }

    #[test]
    fn pipes_are_read_to_their_end() {
        let (reader, mut writer) = pipe().unwrap();
        let typing = std::thread::spawn(move || {
            for _ in 0..100 {
                writer.write_all(b"twelve bytes").unwrap();
            }
        });
        assert_eq!(read_all(reader), b"twelve bytes".repeat(100));
        typing.join().unwrap();
    }

    #[test]
    fn what_epoll_refuses_is_read_all_the_same() {
        assert_eq!(read_all(File::open("/dev/null").unwrap()), b"");
        let folder = super::super::test_folder::TestFolder::new();
        let path = folder.path().join("typed");
        std::fs::write(&path, "a file as input").unwrap();
        assert_eq!(read_all(File::open(path).unwrap()), b"a file as input");
    }
}
