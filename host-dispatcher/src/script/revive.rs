//! Brings up an agent on a board whose disk holds nothing that boots: kernel and initramfs go over the line, through the
//! boot loader, into memory.

use agent_core::time::Duration;

use super::{Bench, Either, Fault, race};
use crate::board::{Goal, Slot, Upload};
use crate::job::event::Event;

/// What is typed and sent.
#[derive(Clone, Debug)]
pub struct Revival {
    /// The boot loader's commands; the last one starts the kernel.
    pub commands: Vec<String>,
    /// The files that they receive.
    pub uploads: Vec<Upload>,
    /// The line's speed in bits a second.
    pub baud: u32,
    /// Its speed for the files, where that is another.
    pub fast_baud: Option<u32>,
}

impl Revival {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.uploads.iter().map(|upload| upload.content.len() as u64).sum()
    }

    /// What the line takes for so many of them.
    pub fn takes(&self, bytes: u64) -> Duration {
        let blocks = bytes.div_ceil(BLOCK_BYTES);
        // A start bit, 8 bits and a stop bit.
        let baud = self.fast_baud.unwrap_or(self.baud).max(1);
        let block_us = BLOCK_ON_LINE * 10 * 1_000_000 / u64::from(baud);
        Duration::from_micros(blocks.saturating_mul(block_us + TURN_US))
    }
}

impl Bench {
    /// Starts the board and sends it what it needs, until its agent has a session. A file that does not arrive is sent
    /// again, and a boot loader that loses its place is started again, as always. When the user interrupts it, the boot
    /// loader waits for commands afterwards.
    ///
    /// # Errors
    /// The board is broken, and why.
    pub async fn revive(&self, action: &str, revival: Revival) -> Result<(), Fault> {
        let total = revival.bytes();
        self.board(|board, _| {
            board.set_revival(revival.commands, revival.uploads, revival.fast_baud);
        });
        let mut told = 0;
        let showing = self.until(|| {
            let done = self.board(|board, _| board.sent_bytes())?;
            // Also when it begins again.
            if done.abs_diff(told) > total / STEPS {
                told = done;
                self.tell(Event::ActionProgress {
                    action: action.to_owned(),
                    done_bytes: done,
                    total_bytes: Some(total),
                });
            }
            None::<()>
        });
        let booting = async {
            // An agent that is up still is none in memory.
            self.reach(Goal::BootLoader).await?;
            self.reach(Goal::Up(Slot::Master)).await
        };
        let work = async {
            match race(booting, showing).await {
                Either::First(outcome) => outcome,
                Either::Second(()) => Ok(()),
            }
        };
        let outcome = self.cancelable(work).await;
        if outcome.is_err() && self.board(|board, _| board.is_loading()) {
            self.board(|board, now| {
                board.set_goal(now, Goal::BootLoader);
                board.drop_file(now);
            });
            let ended = self.until(|| (!self.board(|board, _| board.is_loading())).then_some(()));
            // Who does not want to wait for that says so once more.
            let _ = self.cancelable(async { Ok(self.within(DROP_LIMIT, ended).await) }).await;
        }
        outcome
    }
}

/// Content of a block of YMODEM-1K, ...
const BLOCK_BYTES: u64 = 1024;
/// ... and what of it is on the line, with the answer.
const BLOCK_ON_LINE: u64 = 1030;
/// From the end of a block to the beginning of the next: what an USB adapter holds back, and a boot loader needs to copy.
const TURN_US: u64 = 4_000;
/// So often progress is told.
const STEPS: u64 = 200;
/// A boot loader that waits for the rest of a block needs 5 s to hear that there is none, and it may not hear at once.
const DROP_LIMIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes_is_known_before() {
        let upload = Upload { command: 0, name: "kernel".into(), content: vec![0; 5 << 20].into() };
        let commands = Vec::new();
        let mut revival =
            Revival { commands, uploads: vec![upload], baud: 115_200, fast_baud: None };
        let seconds = |revival: &Revival| revival.takes(revival.bytes()).as_millis_ceil() / 1000;
        assert_eq!(seconds(&revival), 478);
        revival.fast_baud = Some(921_600);
        assert_eq!(seconds(&revival), 77);
        (revival.baud, revival.fast_baud) = (0, None);
        assert!(seconds(&revival) > 60, "never a division by nothing");
    }
}
