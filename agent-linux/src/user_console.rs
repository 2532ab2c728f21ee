//! When the user console is taken from the line, and what becomes of it.

use crate::run_files::RunFiles;
use crate::sys::console::UserConsole;
use agent_core::agent::{Agent, Event, USER_CONSOLE_MAX};
use agent_core::time::{Duration, Instant};
use std::os::fd::BorrowedFd;

/// See the module.
pub(crate) struct Redirection {
    console: Option<UserConsole>,
    /// So often it may still fail before /dev/console stays on the line.
    tries_left: u8,
    retry_at: Instant,
}

impl Redirection {
    /// None yet, and on what is no board never: the console there is none of the agent's business.
    pub(crate) fn new(is_board: bool) -> Self {
        let tries_left = if is_board { TRIES } else { 0 };
        Self { console: None, tries_left, retry_at: Instant::ZERO }
    }

    /// Begins or ends it. What was printed and not read when it ends is lost: nobody wants it.
    pub(crate) fn tend(&mut self, now: Instant, is_wanted: bool) {
        if !is_wanted {
            self.console = None;
        } else if self.console.is_none() && self.tries_left > 0 && now >= self.retry_at {
            self.console = UserConsole::open().ok();
            if self.console.is_none() {
                self.tries_left -= 1;
                self.retry_at = now + RETRY_AFTER;
            }
        }
    }

    /// For polling.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.console.as_ref().map(UserConsole::fd)
    }

    /// Takes what was printed: into the file first, then to the core. Returns whether there was anything.
    pub(crate) fn take(&mut self, now: Instant, files: &mut RunFiles, agent: &mut Agent) -> bool {
        let mut buffer = [0; USER_CONSOLE_MAX];
        let length = match self.console.as_mut().map(|console| console.read(&mut buffer)) {
            Some(Ok(length)) => length,
            // Hung up by somebody else.
            Some(Err(_)) => {
                self.console = None;
                0
            }
            None => 0,
        };
        if length == 0 {
            return false;
        }
        let bytes = &buffer[..length];
        let captured = files.capture_console(bytes);
        let offset = captured.offset;
        if let Err(error) = captured.written {
            let os_error = error.number();
            agent.handle_event(now, Event::RunFileFailed { os_error });
        }
        if captured.is_full {
            agent.handle_event(now, Event::UserConsoleFull);
        }
        agent.handle_event(now, Event::UserConsole { offset, bytes });
        true
    }
}

/// The file system of pseudo-terminals is mounted by the real init, soon.
const TRIES: u8 = 40;

/// How often it is tried, at most.
const RETRY_AFTER: Duration = Duration::from_millis(250);
