//! Where a board is, where its owner wants it, and the one step to do next: the table of `docs/board-lifecycle.md`.
//!
//! [`next`] knows nothing of how a step is done, of deadlines or of tries: [`Board`](super::Board) carries steps out,
//! counts them, and turns what goes wrong into [`Phase::Broken`].

use std::fmt;

use super::spec::Deadlines;
pub use crate::job::event::Slot;
use agent_core::time::Duration;

/// Where a board is, as far as the evidence goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing is known. Left by a beacon or a banner, or by switching the power.
    Unknown,
    /// The power is off: the switch said so, and the line is silent.
    Off,
    /// Power was put on, or a restart was asked for. Left by the boot loader's prompt, a kernel's banner, or a beacon.
    PoweringOn,
    /// The boot loader's prompt has been seen. Left by a kernel's banner, a beacon, or the boot loader's own banner.
    BootLoader,
    /// This image's kernel runs, and its agent has no session. Left by a session, a boot loader's banner, or a panic.
    Booting(Slot),
    /// The agent of this image has a session. Left by its end, a banner, or a panic.
    Up(Slot),
    /// It went wrong, and nothing more is tried until there is a new goal.
    Broken(Cause),
}

/// Where the owner wants the board. A goal stands until the next one: a board that leaves it is brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Goal {
    /// Power off.
    Off,
    /// At the boot loader's prompt.
    BootLoader,
    /// In a session with the agent of this image.
    Up(Slot),
    /// In a session with whatever agent answers. Nothing is ever typed for it.
    AnyUp,
}

/// One step on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing: the board is where it shall be.
    Rest,
    /// Wait for evidence, at most until the phase's deadline.
    Listen,
    /// Switch the power on.
    PowerOn,
    /// Switch the power off.
    PowerOff,
    /// Switch the power off and on.
    PowerCycle,
    /// Stop the automatic boot.
    Interrupt,
    /// Type the commands that boot this image.
    Boot(Slot),
    /// Ask the agent to restart the board.
    Restart,
}

/// What broke a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The goal needs power to be switched, and it cannot be.
    NoPower,
    /// Switching the power failed.
    PowerFailed,
    /// The line cannot be reached.
    NoConnection,
    /// The board went off by itself.
    WentOff,
    /// Nothing that is known came before the deadline.
    Silent,
    /// The boot loader gave no prompt, or a command failed there.
    BootLoader,
    /// The boot command was given, and no kernel spoke.
    NoKernel,
    /// A kernel spoke, and no agent had a session before the deadline.
    NoAgent,
    /// The session ended, and the agent did not come back before the deadline.
    AgentLost,
    /// A kernel panicked.
    Panic,
    /// The board reset itself on its way.
    Reset,
    /// The other image came up.
    WrongImage,
    /// The agent did not restart the board.
    RestartFailed,
    /// The agent speaks no version of the link that this dispatcher speaks.
    Incompatible,
}

/// The step that leads from `phase` towards `goal`.
pub fn next(phase: Phase, goal: Goal) -> Action {
    match (phase, goal) {
        (Phase::Off, Goal::Off) => Action::Rest,
        (_, Goal::Off) => Action::PowerOff,

        (Phase::Unknown, Goal::AnyUp) => Action::Listen,
        (Phase::Unknown, _) => Action::PowerCycle,

        (Phase::Off, _) => Action::PowerOn,

        (Phase::PoweringOn, Goal::AnyUp) => Action::Listen,
        (Phase::PoweringOn, _) => Action::Interrupt,

        (Phase::BootLoader, Goal::BootLoader) => Action::Rest,
        (Phase::BootLoader, Goal::Up(slot)) => Action::Boot(slot),
        // It waits for a key, and for this goal nothing is typed.
        (Phase::BootLoader, Goal::AnyUp) => Action::PowerCycle,

        (Phase::Booting(is), Goal::Up(wanted)) if is == wanted => Action::Listen,
        (Phase::Booting(_), Goal::AnyUp) => Action::Listen,
        (Phase::Booting(_), _) => Action::PowerCycle,

        (Phase::Up(is), Goal::Up(wanted)) if is == wanted => Action::Rest,
        (Phase::Up(_), Goal::AnyUp) => Action::Rest,
        (Phase::Up(_), _) => Action::Restart,

        (Phase::Broken(_), _) => Action::PowerCycle,
    }
}

impl Phase {
    /// How long the board may stay in this phase on its way elsewhere; `None` where something else has a deadline:
    /// switches (off), the commands (boot loader), the link's keepalives (up).
    pub fn deadline(self, deadlines: &Deadlines) -> Option<Duration> {
        match self {
            Self::Unknown => Some(deadlines.listen),
            Self::PoweringOn => Some(deadlines.boot_loader),
            Self::Booting(_) => Some(deadlines.beacon),
            Self::Off | Self::BootLoader | Self::Up(_) | Self::Broken(_) => None,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Off => f.write_str("off"),
            Self::PoweringOn => f.write_str("powering on"),
            Self::BootLoader => f.write_str("boot loader"),
            Self::Booting(slot) => write!(f, "booting {}", slot.as_str()),
            Self::Up(slot) => write!(f, "up {}", slot.as_str()),
            Self::Broken(_) => f.write_str("broken"),
        }
    }
}

impl Goal {
    /// The way to an agent: a board that can be booted is started into its master image; where nobody can, whatever agent
    /// answers is taken.
    pub fn agent(can_boot: bool) -> Self {
        if can_boot { Self::Up(Slot::Master) } else { Self::AnyUp }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::BootLoader => f.write_str("boot loader"),
            Self::Up(slot) => write!(f, "up {}", slot.as_str()),
            Self::AnyUp => f.write_str("any up"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rest => f.write_str("rest"),
            Self::Listen => f.write_str("listen"),
            Self::PowerOn => f.write_str("power on"),
            Self::PowerOff => f.write_str("power off"),
            Self::PowerCycle => f.write_str("power cycle"),
            Self::Interrupt => f.write_str("interrupt"),
            Self::Boot(slot) => write!(f, "boot {}", slot.as_str()),
            Self::Restart => f.write_str("restart"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPower => "the power cannot be switched",
            Self::PowerFailed => "switching the power failed",
            Self::NoConnection => "the line cannot be reached",
            Self::WentOff => "the board went off",
            Self::Silent => "nothing known came from the board",
            Self::BootLoader => "the boot loader failed",
            Self::NoKernel => "no kernel spoke after the boot command",
            Self::NoAgent => "no agent came up",
            Self::AgentLost => "the agent fell silent",
            Self::Panic => "the kernel panicked",
            Self::Reset => "the board reset itself while booting",
            Self::WrongImage => "the other image came up",
            Self::RestartFailed => "the agent did not restart the board",
            Self::Incompatible => "the agent speaks another version",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOALS: [Goal; 5] =
        [Goal::Off, Goal::BootLoader, Goal::Up(Slot::Master), Goal::Up(Slot::Test), Goal::AnyUp];

    const PHASES: [Phase; 9] = [
        Phase::Unknown,
        Phase::Off,
        Phase::PoweringOn,
        Phase::BootLoader,
        Phase::Booting(Slot::Master),
        Phase::Booting(Slot::Test),
        Phase::Up(Slot::Master),
        Phase::Up(Slot::Test),
        Phase::Broken(Cause::Silent),
    ];

    /// The longest way: up → restart → interrupt → boot → listen → rest.
    const STEPS_MAX: usize = 5;

    /// Where a step leads when it goes well. An image boots by itself when nothing is typed: the master image.
    fn well(phase: Phase, action: Action) -> Phase {
        match action {
            Action::Rest => phase,
            Action::Listen => match phase {
                Phase::Booting(slot) => Phase::Up(slot),
                Phase::PoweringOn => Phase::Booting(Slot::Master),
                Phase::Unknown => Phase::Up(Slot::Master),
                other => panic!("nothing to hear in phase {other}"),
            },
            Action::PowerOn | Action::PowerCycle | Action::Restart => Phase::PoweringOn,
            Action::PowerOff => Phase::Off,
            Action::Interrupt => Phase::BootLoader,
            Action::Boot(slot) => Phase::Booting(slot),
        }
    }

    fn reached(phase: Phase, goal: Goal) -> bool {
        match goal {
            Goal::Off => phase == Phase::Off,
            Goal::BootLoader => phase == Phase::BootLoader,
            Goal::Up(slot) => phase == Phase::Up(slot),
            Goal::AnyUp => matches!(phase, Phase::Up(_)),
        }
    }

    #[test]
    fn every_goal_is_reached_from_every_phase() {
        for start in PHASES {
            for goal in GOALS {
                let mut phase = start;
                let mut steps = 0;
                while !reached(phase, goal) {
                    assert!(steps < STEPS_MAX, "{start} to {goal}: still {phase}");
                    phase = well(phase, next(phase, goal));
                    steps += 1;
                }
                assert_eq!(next(phase, goal), Action::Rest);
            }
        }
    }

    #[test]
    fn rest_is_only_where_the_goal_is_reached() {
        for phase in PHASES {
            for goal in GOALS {
                assert_eq!(
                    next(phase, goal) == Action::Rest,
                    reached(phase, goal),
                    "{phase}, {goal}"
                );
            }
        }
    }

    /// Whatever happens instead of what was meant, there is a next step, and a way of at most `STEPS_MAX` from there;
    /// a board that always does the wrong thing is stopped by the count of tries, since every such way has a start.
    #[test]
    fn a_wrong_turn_costs_a_try() {
        for goal in GOALS {
            for wrong in PHASES {
                let action = next(wrong, goal);
                let on_the_way = match (wrong, goal) {
                    (Phase::PoweringOn | Phase::BootLoader, Goal::BootLoader | Goal::Up(_)) => true,
                    (Phase::Unknown | Phase::PoweringOn | Phase::Booting(_), Goal::AnyUp) => true,
                    (Phase::Booting(is), Goal::Up(wanted)) => is == wanted,
                    (phase, goal) => reached(phase, goal),
                };
                let is_start = matches!(
                    action,
                    Action::PowerOn | Action::PowerOff | Action::PowerCycle | Action::Restart
                );
                assert_eq!(is_start, !on_the_way, "{wrong}, {goal}: {action}");
            }
        }
    }

    #[test]
    fn nothing_is_typed_for_any_agent() {
        for phase in PHASES {
            let action = next(phase, Goal::AnyUp);
            assert!(!matches!(action, Action::Interrupt | Action::Boot(_)), "{phase}");
        }
    }

    /// The table in the document has one row a phase, one column a goal, and says what the code does.
    #[test]
    fn the_document_says_the_same() {
        let document = include_str!("../../../docs/board-lifecycle.md");
        let cells = |line: &str| -> Vec<String> {
            line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let mut lines = document.lines().skip_while(|line| !line.starts_with("| phase \\ goal |"));
        let goals: Vec<String> = GOALS.iter().map(Goal::to_string).collect();
        assert_eq!(cells(lines.next().expect("the table"))[1..], goals);
        let rows: Vec<Vec<String>> =
            lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect();
        let expected: Vec<Vec<String>> = PHASES
            .iter()
            .map(|phase| {
                let actions = GOALS.iter().map(|goal| next(*phase, *goal).to_string());
                std::iter::once(phase.to_string()).chain(actions).collect()
            })
            .collect();
        assert_eq!(rows, expected);
    }
}
