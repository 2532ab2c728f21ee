//! What a [`Board`](super::Board) needs to know about its board, and how that follows from a lab file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agent_core::link::{Coding, LineConfig};
use agent_core::time::Duration;

use super::phase::Slot;
use crate::config::board_type;
use crate::config::boot_kind::{Echo, Status};
use crate::config::boot_loader::BootFrom;
use crate::config::connection::Connection;
use crate::config::lab;
use crate::config::power::{Power, Switch};
use crate::config::shell::Shell;
use crate::config::template::NoValue;

/// Everything that does not change in the life of a [`Board`](super::Board).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardSpec {
    /// The board's name in the lab.
    pub name: String,
    /// What is expected of the line that carries the agent's frames.
    pub line: LineConfig,
    /// The agent has a line of its own, and the console another.
    pub has_agent_line: bool,
    /// That line's speed in sessions, where that is another than `line.baud`; in bits a second.
    pub session_baud: Option<u32>,
    /// Whether bulk may go over the network: the shell knows where.
    pub has_side_lane: bool,
    /// How the power is switched.
    pub power: PowerSpec,
    /// The boot loader, if there is one that is to be driven.
    pub boot_loader: Option<BootLoaderSpec>,
    /// The commands by which the agent chooses the image that boots next, where nobody types at a boot loader.
    pub next_slot: Option<NextSlotSpec>,
    /// The text that shows that a kernel began.
    pub kernel_banner: String,
    /// Texts that show that a kernel died.
    pub panics: Vec<String>,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// The shell through which an agent is put there when none shows itself.
    pub shell: Option<Shell>,
    /// The lab's agents, by machine.
    pub agents: BTreeMap<String, PathBuf>,
    /// Starts (power on, power cycle, restart) that one goal may take.
    pub tries: u32,
}

/// How the power is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerSpec {
    /// Who switches.
    pub kind: PowerKind,
    /// How long the line must be silent to show that the power is off.
    pub settle: Duration,
    /// How much longer it then stays off in a cycle.
    pub delay: Duration,
    /// How long one try of the switch may take.
    pub deadline: Duration,
    /// How often a switch that failed is tried again.
    pub retries: u32,
    /// The pause before that.
    pub retry_delay: Duration,
}

/// Who switches the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerKind {
    /// Nobody.
    None,
    /// Opening the connection switches on, closing it switches off: an emulator.
    WithConnection,
    /// A child process of this dispatcher: the power is on while it runs.
    Held,
    /// A switch.
    Switch {
        /// It can switch off and on in one.
        has_cycle: bool,
    },
    /// A person, who is asked.
    Person,
}

impl PowerSpec {
    /// A board whose power needs neither time nor a second try.
    pub fn immediate(kind: PowerKind) -> Self {
        Self {
            kind,
            settle: Duration::ZERO,
            delay: Duration::ZERO,
            deadline: Duration::ZERO,
            retries: 0,
            retry_delay: Duration::ZERO,
        }
    }
}

impl PowerKind {
    /// Whether the power goes when this dispatcher does.
    pub fn ends_with_us(self) -> bool {
        matches!(self, Self::WithConnection | Self::Held)
    }

    /// Whether the power can be switched without a person.
    pub fn is_automatic(self) -> bool {
        !matches!(self, Self::None | Self::Person)
    }
}

/// A boot loader and what to type there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootLoaderSpec {
    /// The text that shows that it began, at the start of a line.
    pub banner: String,
    /// The text during which a key stops the automatic boot.
    pub autoboot: String,
    /// What to type then.
    pub interrupt: Vec<u8>,
    /// The text that shows that it waits for a command.
    pub prompt: String,
    /// A menu between the automatic boot and the prompt: its text, and what to type then.
    pub menu: Option<(String, Vec<u8>)>,
    /// Texts in the answer to a command that show that it failed.
    pub errors: Vec<String>,
    /// What ends a command.
    pub line_end: Vec<u8>,
    /// What throws away a command that was not ended, and brings a new prompt.
    pub cancel: Vec<u8>,
    /// Whether `; echo …$?` says how a command ended.
    pub asks_status: bool,
    /// Whether what is typed comes back.
    pub has_echo: bool,
    /// The pause after each character typed.
    pub character_delay: Option<Duration>,
    /// The commands that boot the master image; the last one starts the kernel.
    pub master: Vec<String>,
    /// The same for the test image. [`Board::set_boot_script`](super::Board::set_boot_script) changes either.
    pub test: Vec<String>,
}

/// For a shell on the board: afterwards a restart boots that image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextSlotSpec {
    /// The command for the master image.
    pub master: String,
    /// The command for the test image. [`Board::set_next_slot`](super::Board::set_next_slot) changes either.
    pub test: String,
}

/// How long each phase may take; see docs/board-lifecycle.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Waiting for any sign of a board of which nothing is known.
    pub listen: Duration,
    /// From power on to the boot loader's prompt.
    pub boot_loader: Duration,
    /// From a command at the boot loader to its prompt.
    pub command: Duration,
    /// From the last command to the kernel's banner.
    pub kernel: Duration,
    /// From the kernel's banner to a session.
    pub beacon: Duration,
}

impl BoardSpec {
    /// What the lab file says about a board. The test image boots from `testrootfs`, until the job says otherwise.
    ///
    /// # Errors
    /// A place in a boot command for which there is no value.
    pub fn from_lab(board: &lab::Board) -> Result<Self, NoValue> {
        let board_type = &board.board_type;
        let boot_loader = Self::boot_loader_of(board_type, &board.name)?;
        let next_slot = board_type.next_slot.as_ref().map(|next| {
            let command = |slot, from| next.command(slot, from, &board.name, "");
            Ok(NextSlotSpec {
                master: command(Slot::Master, BootFrom::Master)?,
                test: command(Slot::Test, BootFrom::TestRootfs)?,
            })
        });
        Ok(Self {
            name: board.name.clone(),
            line: line_config(&board_type.line, board.agents_connection()),
            has_agent_line: board.agent_connection.is_some(),
            session_baud: board.agents_connection().session_baud(),
            has_side_lane: board.side_lane.is_some(),
            power: PowerSpec::from(&board.power),
            boot_loader,
            next_slot: next_slot.transpose()?,
            kernel_banner: board_type.kernel_banner.clone(),
            panics: board_type.panics.clone(),
            deadlines: Deadlines::from(&board_type.deadlines),
            shell: board.shell.clone(),
            agents: board.agents.clone(),
            tries: TRIES,
        })
    }

    /// The boot loader of a board type, if it is to be driven, for a board of this name.
    ///
    /// # Errors
    /// A place in a boot command for which there is no value.
    pub fn boot_loader_of(
        board_type: &board_type::BoardType,
        board: &str,
    ) -> Result<Option<BootLoaderSpec>, NoValue> {
        let Some(boot) = &board_type.boot else { return Ok(None) };
        let loader = &boot.loader;
        let menu = loader.menu.clone().map(|menu| (menu.text, menu.keys.into_bytes()));
        Ok(Some(BootLoaderSpec {
            banner: loader.banner.clone(),
            autoboot: loader.autoboot.clone(),
            interrupt: loader.interrupt.clone().into_bytes(),
            prompt: loader.prompt.clone(),
            menu,
            errors: loader.errors.clone(),
            line_end: loader.line_end.clone().into_bytes(),
            cancel: loader.cancel.clone().into_bytes(),
            asks_status: loader.status == Status::Asked,
            has_echo: loader.echo == Echo::Checked,
            character_delay: loader.character_delay.map(duration),
            master: board_type.boot_script(Slot::Master, BootFrom::Master, board, "")?,
            test: board_type.boot_script(Slot::Test, BootFrom::TestRootfs, board, "")?,
        }))
    }
}

impl From<&Power> for PowerSpec {
    fn from(power: &Power) -> Self {
        let (switch, patience) = match power {
            Power::None => return Self::immediate(PowerKind::None),
            Power::WithConnection => return Self::immediate(PowerKind::WithConnection),
            Power::Switch(switch, patience) => (switch, patience),
        };
        Self {
            kind: match switch {
                Switch::Exec(_) => PowerKind::Held,
                Switch::Ask => PowerKind::Person,
                other => PowerKind::Switch { has_cycle: other.has_cycle() },
            },
            settle: duration(patience.settle),
            delay: duration(patience.delay),
            deadline: duration(patience.deadline),
            retries: patience.retries,
            retry_delay: duration(patience.retry_delay),
        }
    }
}

impl From<&board_type::Deadlines> for Deadlines {
    fn from(deadlines: &board_type::Deadlines) -> Self {
        Self {
            listen: LISTEN,
            boot_loader: duration(deadlines.boot_loader),
            command: duration(deadlines.command),
            kernel: duration(deadlines.kernel),
            beacon: duration(deadlines.beacon),
        }
    }
}

fn line_config(line: &board_type::Line, connection: &Connection) -> LineConfig {
    LineConfig { coding: coding(line), baud: connection.baud().unwrap_or(line.baud) }
}

pub(super) fn coding(line: &board_type::Line) -> Coding {
    match line.coding {
        board_type::Coding::TextSafe => Coding::TextSafe,
        board_type::Coding::Binary => Coding::Binary,
    }
}

fn duration(duration: std::time::Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// An agent without a session beacons every 2 s, and one whose host went away notices that within 7 s. The rest is
/// for boards that were just switched on by hand and are close to their agent.
pub const LISTEN: Duration = Duration::from_secs(20);

/// LAVA's `failure_retry` for boots is 3 in most farms: enough for a lost character, few enough for a dead board.
pub const TRIES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_lab_can_be_driven() {
        let lab = lab::Lab::embedded();
        let spec = BoardSpec::from_lab(&lab.boards[0]).unwrap();
        assert_eq!(spec.power.kind, PowerKind::WithConnection);
        assert_eq!(spec.line, LineConfig { coding: Coding::TextSafe, baud: 115_200 });
        let boot_loader = spec.boot_loader.unwrap();
        assert_eq!(boot_loader.prompt, "=> ");
        assert_ne!(boot_loader.master, boot_loader.test);
        assert!(boot_loader.master.last().unwrap().starts_with("bootz "));
    }
}
