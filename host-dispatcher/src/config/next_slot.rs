//! Boards at whose boot loader nothing is typed, because it has no console, or shall not be touched: the agent that runs
//! chooses the image that boots next, by a command of the board type's, and restarts the board.

use serde::Deserialize;

use super::boot_loader::{BootContext, BootFrom, BySlot, Partitions};
use super::template::{InBootLoader, NoValue, Template, TextIn};
use crate::job::event::Slot;

/// How the image that boots next is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextSlot {
    /// For a shell on the board: afterwards a restart boots that image.
    pub commands: BySlot<Template>,
    /// For a shell of the test image that has come up: takes the choice back, where it holds for more than one boot.
    pub undo: Option<Template>,
    /// What `{boot_part}` and its like stand for.
    pub partitions: Partitions,
    /// What `{bootargs}` stands for.
    pub kernel_args: BySlot<Template>,
}

impl NextSlot {
    /// The command that chooses `slot`. `board` and `run` fill `{board}` and `{run}`.
    ///
    /// # Errors
    /// A place for which there is no value.
    pub fn command(
        &self,
        slot: Slot,
        from: BootFrom,
        board: &str,
        run: &str,
    ) -> Result<String, NoValue> {
        self.expand(self.commands.get(slot), slot, from, board, run)
    }

    /// The command that takes the choice of the test image back, if there is one.
    ///
    /// # Errors
    /// A place for which there is no value.
    pub fn undo_command(&self, board: &str, run: &str) -> Result<Option<String>, NoValue> {
        let expand = |undo| self.expand(undo, Slot::Master, BootFrom::Master, board, run);
        self.undo.as_ref().map(expand).transpose()
    }

    fn expand(
        &self,
        text: &Template,
        slot: Slot,
        from: BootFrom,
        board: &str,
        run: &str,
    ) -> Result<String, NoValue> {
        let (partitions, kernel_args) = (self.partitions, &self.kernel_args);
        text.expand(&BootContext { board, run, partitions, kernel_args }.values(slot, from)?)
    }
}

/// `next_slot` as it stands in a board type file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NextSlotForm {
    master: TextIn<InBootLoader>,
    test: TextIn<InBootLoader>,
    undo: Option<TextIn<InBootLoader>>,
}

impl NextSlotForm {
    /// With what its places stand for, or the key that is wrong and why.
    pub(super) fn with(
        self,
        partitions: Partitions,
        kernel_args: BySlot<Template>,
    ) -> Result<NextSlot, (&'static str, String)> {
        let commands = BySlot { master: self.master.template, test: self.test.template };
        let undo = self.undo.map(|undo| undo.template);
        let texts = [
            ("master", Some(&commands.master)),
            ("test", Some(&commands.test)),
            ("undo", undo.as_ref()),
        ];
        for (key, text) in texts {
            if text.is_some_and(|text| text.source().len() > COMMAND_BYTES_MAX) {
                return Err((
                    key,
                    format!(
                        "at most {COMMAND_BYTES_MAX} bytes are expected: put the rest into a script of the master image"
                    ),
                ));
            }
        }
        Ok(NextSlot { commands, undo, partitions, kernel_args })
    }
}

/// A message to the agent has 4 KiB at most, and the kernel's arguments go into it.
const COMMAND_BYTES_MAX: usize = 2048;
