//! A file on its way to a command of the boot loader that receives it: the line's speed for it, the transfer by YMODEM,
//! and how it is given up.
//!
//! U-Boot's `loady ADDRESS RATE` announces the other speed, turns to it, and waits for Enter; afterwards it announces the
//! old one, turns back, and waits for Escape (U-Boot `cmd/load.c`). Its announcements are all that tells when to turn.
//! Knows neither prompt nor commands: that is the [`Driver`](super::boot_loader::Driver)'s.

use std::sync::Arc;

use super::ymodem::{Progress, Sender};
use agent_core::time::{Duration, Instant};

/// A file that a command receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The command, from 0.
    pub command: usize,
    /// What it is, for people and for the header.
    pub name: String,
    /// Its bytes.
    pub content: Arc<[u8]>,
}

/// A file on its way.
#[derive(Clone, Debug)]
pub(super) struct Loading {
    sender: Sender,
    /// The speed for the transfer, where that is another than the line's; in bits a second.
    fast_baud: Option<u32>,
    /// Whether the line has that speed now.
    is_fast: bool,
    turn: Option<Turn>,
    key: Option<u8>,
    speed_failure: Option<String>,
}

/// The boot loader has changed its speed, and waits for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    key: u8,
    /// So often it was typed.
    typed: u32,
    /// When it is, or is again.
    at: Instant,
}

impl Loading {
    /// The command has been typed. With `fast_baud`, it was told so.
    pub(super) fn new(now: Instant, upload: &Upload, fast_baud: Option<u32>) -> Self {
        Self {
            sender: Sender::new(now, &upload.name, Arc::clone(&upload.content)),
            fast_baud,
            is_fast: false,
            turn: None,
            key: None,
            speed_failure: None,
        }
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        self.sender.progress()
    }

    /// Whether the boot loader has all of it, though it may not have said so of the end.
    pub(super) fn is_complete(&self) -> bool {
        self.sender.is_complete()
    }

    /// The line's speed, where that is another than its own.
    pub(super) fn baud(&self) -> Option<u32> {
        self.fast_baud.filter(|_| self.is_fast)
    }

    /// Why the boot loader cannot be understood any more, if so.
    pub(super) fn speed_failure(&self) -> Option<&str> {
        self.speed_failure.as_deref()
    }

    /// The boot loader has sent this.
    pub(super) fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.sender.handle_bytes(now, bytes);
        // It has gone on; a key too many would be typed at its prompt.
        if self.turn.is_some_and(|turn| turn.typed > 0) {
            self.turn = None;
        }
    }

    /// ... and that was a line of text.
    pub(super) fn handle_line(&mut self, now: Instant, line: &str) {
        let (key, is_fast) = match () {
            () if line.contains(PRESS_ENTER) => (b'\r', true),
            () if line.contains(PRESS_ESCAPE) => (0x1B, false),
            () => return,
        };
        if self.fast_baud.is_some() {
            self.is_fast = is_fast;
            self.turn = Some(Turn { key, typed: 0, at: now + TURN_PAUSE });
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.turn {
            Some(turn) if now >= turn.at && turn.typed >= KEYS_MAX => {
                let baud = self.fast_baud.unwrap_or_default();
                let to = if self.is_fast { "to" } else { "back from" };
                let why = format!("it gave no answer after the turn {to} {baud} baud");
                (self.turn, self.is_fast, self.speed_failure) = (None, false, Some(why));
            }
            Some(turn) if now >= turn.at => {
                self.key = Some(turn.key);
                (turn.typed, turn.at) = (turn.typed + 1, now + KEY_EVERY);
            }
            // What it waits for is no file yet.
            Some(_) => {}
            None => self.sender.handle_timeout(now),
        }
    }

    /// The next key to type.
    pub(super) fn poll_key(&mut self) -> Option<u8> {
        self.key.take()
    }

    /// The next bytes of the transfer.
    pub(super) fn poll_block(&mut self) -> Option<Vec<u8>> {
        self.sender.poll_transmit()
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.turn.map_or_else(|| self.sender.poll_timeout(), |turn| Some(turn.at))
    }

    /// Tells the boot loader that no more will come.
    pub(super) fn cancel(&mut self) {
        self.sender.cancel();
    }
}

/// Of `## Switch baudrate to 921600 bps and press ENTER ...`.
const PRESS_ENTER: &str = "bps and press ENTER";
/// The same for the way back.
const PRESS_ESCAPE: &str = "bps and press ESC";
/// U-Boot lets its text leave for 50 ms, turns, and waits as long again.
const TURN_PAUSE: Duration = Duration::from_millis(200);
/// A key that was lost is typed again.
const KEY_EVERY: Duration = Duration::from_secs(1);
/// After so many the two speeds are not the same.
const KEYS_MAX: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const T: Instant = Instant::ZERO;

    fn loading(fast_baud: Option<u32>) -> Loading {
        let upload = Upload { command: 0, name: "kernel".into(), content: [7; 10].into() };
        Loading::new(T, &upload, fast_baud)
    }

    fn pass(loading: &mut Loading) -> Instant {
        let at = loading.poll_timeout().unwrap();
        loading.handle_timeout(at);
        at
    }

    #[test]
    fn the_speed_is_turned_as_it_is_announced() {
        let mut loading = loading(Some(921_600));
        loading.handle_line(T, "## Switch baudrate to 921600 bps and press ENTER ...");
        assert_eq!((loading.baud(), loading.poll_key()), (Some(921_600), None));
        let at = pass(&mut loading);
        assert!(at >= T + Duration::from_millis(100), "U-Boot does not read before");
        assert_eq!(loading.poll_key(), Some(b'\r'));
        pass(&mut loading);
        assert_eq!(loading.poll_key(), Some(b'\r'), "the first was lost");
        let at = loading.poll_timeout().unwrap();
        loading.handle_bytes(
            at,
            b"## Ready for binary (ymodem) download to 0x0 at 921600 bps...\r\nC",
        );
        assert!(loading.poll_block().is_some());
        loading.handle_line(at, "## Switch baudrate to 115200 bps and press ESC ...");
        assert_eq!(loading.baud(), None);
        pass(&mut loading);
        assert_eq!(loading.poll_key(), Some(0x1B));
        loading.handle_bytes(at, b"=");
        assert_eq!(loading.poll_key(), None);
        assert_ne!(loading.poll_timeout(), Some(at + KEY_EVERY), "no key at the prompt");
    }

    #[test]
    fn a_speed_that_does_not_come_is_told() {
        let mut loading = loading(Some(921_600));
        loading.handle_line(T, "## Switch baudrate to 921600 bps and press ENTER ...");
        for _ in 0..KEYS_MAX {
            pass(&mut loading);
            assert_eq!(loading.poll_key(), Some(b'\r'));
        }
        pass(&mut loading);
        assert_eq!(loading.baud(), None);
        let why = loading.speed_failure().unwrap();
        assert_eq!(why, "it gave no answer after the turn to 921600 baud");
    }

    #[test]
    fn no_speed_is_turned_that_was_not_asked_for() {
        let mut loading = loading(None);
        loading.handle_line(T, "## Switch baudrate to 921600 bps and press ENTER ...");
        assert_eq!((loading.baud(), loading.turn), (None, None));
    }
}
