//! The serial line as the poll loop sees it: frames go out whole, the terminal stays raw, and a line that hung up is
//! opened again.

use crate::sys::errno::{Errno, OsResult};
use crate::sys::path as paths;
use crate::sys::poll;
use crate::sys::tty::{LineErrors, Tty, TtyError};
use crate::sys::{clock, file};
use agent_core::agent::LINE_MAX;
use agent_core::time::{Duration, Instant};
use embedded_io::{Read as _, Write as _, WriteReady as _};
use std::os::fd::{AsFd as _, BorrowedFd};

/// The line, open or not.
pub(crate) struct Line {
    path: String,
    baud: Option<u32>,
    tty: Option<Tty>,
    /// The frame that the terminal has not taken whole.
    frame: Box<[u8]>,
    written: usize,
    length: usize,
    /// The terminal has no room; it is waited for.
    is_full: bool,
    opened_at: Instant,
    checked_at: Instant,
    retry_at: Instant,
    /// A pseudo-terminal that hung up. Its other end is closed, and whoever makes the next one may get its number: what
    /// has this path then is somebody else's line.
    is_gone: bool,
    /// How often somebody else had set the terminal up.
    repairs: u32,
    /// Counters of the UART when it was first opened, which run since boot.
    errors_at_start: LineErrors,
}

impl Line {
    /// Opens it.
    pub(crate) fn open(path: String, baud: Option<u32>, now: Instant) -> OsResult<Self> {
        let tty = Tty::open(&path, baud, QUEUE_LIMIT)?;
        let errors_at_start = tty.errors();
        Ok(Self { errors_at_start, tty: Some(tty), ..Self::closed(path, baud, now) })
    }

    /// Whether it is one of the kernel's consoles, whatever it is called here. A device that is not there yet is none.
    pub(crate) fn is_console(&self) -> bool {
        let device = |path: &str| paths::stat(path).map(|found| found.device);
        let Ok(line) = device(&self.path) else { return false };
        // As /dev/console is one of its own.
        let names = ["console ", &file::read_text(CONSOLE)].concat();
        names
            .split_ascii_whitespace()
            .any(|name| device(&["/dev/", name].concat()).is_ok_and(|console| console == line))
    }

    /// One that will be opened when it can be.
    pub(crate) fn closed(path: String, baud: Option<u32>, now: Instant) -> Self {
        Self {
            path,
            baud,
            tty: None,
            frame: vec![0; LINE_MAX].into_boxed_slice(),
            written: 0,
            length: 0,
            is_full: false,
            is_gone: false,
            repairs: 0,
            opened_at: now,
            checked_at: now,
            retry_at: now + RETRY_AFTER,
            errors_at_start: LineErrors::default(),
        }
    }

    /// Bits a second.
    pub(crate) fn baud(&self) -> u32 {
        self.baud.unwrap_or_else(|| self.tty.as_ref().map_or(115_200, Tty::baud))
    }

    /// Sets another rate, once what was written has left; from here on it is the line's own. A line that is not open
    /// is opened with it. The rate is as it was after an error.
    pub(crate) fn set_baud(&mut self, now: Instant, baud: u32) -> OsResult<()> {
        let until = now + DRAIN_MAX;
        // What the kernel had no room for, too.
        while self.room(now).is_none() && self.tty.is_some() && clock::now() < until {
            poll::pause(DRAIN_PAUSE);
        }
        if let Some(tty) = &mut self.tty {
            tty.set_baud(baud, until)?;
        }
        self.baud = Some(baud);
        Ok(())
    }

    /// Whether it leads to a program on this machine: then this is somebody's workstation, and no board.
    pub(crate) fn is_pseudo_terminal(&self) -> bool {
        self.path.starts_with("/dev/pts/")
    }

    /// What the UART lost since the start.
    pub(crate) fn errors(&self) -> LineErrors {
        let now = self.tty.as_ref().map(Tty::errors).unwrap_or_default();
        LineErrors {
            overruns: now.overruns.saturating_sub(self.errors_at_start.overruns),
            errors: now.errors.saturating_sub(self.errors_at_start.errors),
        }
    }

    /// For polling, and whether room to write is waited for.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.tty.as_ref().map(|tty| (tty.as_fd(), self.is_full))
    }

    /// When [`Self::tend`] has something to do by itself.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        match &self.tty {
            None => Some(self.retry_at),
            Some(_) if self.is_settling() => Some(self.checked_at + CHECK_SETTLING_AFTER),
            Some(_) => None,
        }
    }

    fn is_settling(&self) -> bool {
        self.checked_at.since(self.opened_at) < SETTLE_TIME
    }

    /// How often somebody else had set the terminal up differently.
    pub(crate) fn repairs(&self) -> u32 {
        self.repairs
    }

    /// Repairs a terminal that somebody else set up differently, and opens one that hung up. An error means that it
    /// will never come back.
    pub(crate) fn tend(&mut self, now: Instant) -> OsResult<()> {
        let check_after = if self.is_settling() { CHECK_SETTLING_AFTER } else { CHECK_AFTER };
        match &mut self.tty {
            Some(tty) if now.since(self.checked_at) >= check_after => {
                self.checked_at = now;
                match tty.repair() {
                    Ok(is_repaired) => self.repairs += u32::from(is_repaired),
                    Err(_) => self.lose(now),
                }
            }
            None if self.is_gone => return Err(Errno::ENOTCONN),
            None if now >= self.retry_at => {
                self.retry_at = now + RETRY_AFTER;
                // An error is a console whose driver is loaded later, a gadget that will be plugged in again.
                if let Ok(tty) = Tty::open(&self.path, self.baud, QUEUE_LIMIT) {
                    self.tty = Some(tty);
                    (self.opened_at, self.checked_at) = (now, now);
                }
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Reads what has come.
    pub(crate) fn read(&mut self, now: Instant, buffer: &mut [u8]) -> usize {
        match self.tty.as_mut().map(|tty| tty.read(buffer)) {
            // A hung-up terminal (vhangup, or the other end of a pseudo-terminal gone) reads as ended.
            Some(Ok(0)) => self.lose(now),
            Some(Ok(length)) => return length,
            Some(Err(error)) => self.take_error(now, &error),
            None => {}
        }
        0
    }

    /// Writes what is left over, then says where the next frame may be put: nowhere while the kernel holds two.
    pub(crate) fn room(&mut self, now: Instant) -> Option<&mut [u8]> {
        self.is_full = false;
        if self.length > self.written && self.is_settling() {
            // Whatever is answered to this frame must not be echoed.
            let repaired = self.tty.as_mut().map(Tty::repair);
            if repaired.is_some_and(|repaired| repaired.is_err()) {
                self.lose(now);
            }
        }
        while self.written < self.length {
            let tty = self.tty.as_mut()?;
            match tty.write(&self.frame[self.written..self.length]) {
                Ok(written) => self.written += written,
                Err(error) => {
                    self.take_error(now, &error);
                    self.is_full = self.tty.is_some();
                    return None;
                }
            }
        }
        self.is_full = !self.tty.as_mut()?.write_ready().unwrap_or(true);
        (!self.is_full).then_some(&mut *self.frame)
    }

    /// The frame in what [`Self::room`] gave has this length; it is written by the next call of it.
    pub(crate) fn send(&mut self, length: usize) {
        self.written = 0;
        self.length = length.min(self.frame.len());
    }

    fn take_error(&mut self, now: Instant, error: &TtyError) {
        if !error.would_block() {
            self.lose(now);
        }
    }

    fn lose(&mut self, now: Instant) {
        self.tty = None;
        // A frame cut in two is noise at the other end; the link sends it again.
        self.length = 0;
        self.written = 0;
        self.is_gone = self.is_pseudo_terminal();
        self.retry_at = if self.is_gone { now } else { now + RETRY_AFTER };
    }
}

/// The device of the console: the last of those that the kernel's `console=` named, which is also /dev/console.
pub(crate) fn console() -> Option<String> {
    let names = file::read_text(CONSOLE);
    let names = names.trim_ascii_end();
    let start = names.bytes().rposition(|byte| byte == b' ').map_or(0, |space| space + 1);
    let name = &names[start..];
    (!name.is_empty()).then(|| ["/dev/", name].concat())
}

/// Where the kernel tells which terminals are consoles.
pub(crate) const CONSOLE: &str = "/sys/class/tty/console/active";

/// With one frame or less in the kernel's queue another may follow: two at most. More would only make the next
/// urgent one wait.
const QUEUE_LIMIT: usize = LINE_MAX;

/// How often the terminal's settings are looked at, at most: often enough that an init which resets its console
/// costs a frame or two.
const CHECK_AFTER: Duration = Duration::from_millis(100);

/// The same within [`SETTLE_TIME`]: a terminal that echoes writes the dispatcher's frames into the console's text.
const CHECK_SETTLING_AFTER: Duration = Duration::from_millis(10);

/// Two frames of the longest kind take 1.5 s at 9600 baud.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// In µs: how often a line that drains is looked at.
const DRAIN_PAUSE: u64 = 2_000;

/// How long a line that hung up is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// So long after the start the settings are looked at even when nothing comes: the real init sets up its console
/// meanwhile, and a terminal in canonical mode keeps to itself what comes.
const SETTLE_TIME: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tty::tests::pty;

    #[test]
    fn the_next_pseudo_terminal_of_that_number_is_another_line() {
        let now = clock::now();
        let (master, path) = pty();
        let mut line = Line::open(path, None, now).unwrap();
        assert!(line.tend(now).is_ok());
        drop(master);
        // Most likely of the number that has just become free.
        let (_next, _) = pty();
        assert_eq!(line.read(now, &mut [0; 16]), 0);
        assert_eq!(line.retry_at(), Some(now));
        assert!(line.tend(now).is_err() && line.tend(now + RETRY_AFTER).is_err());
        assert!(line.interest().is_none());
    }
}
