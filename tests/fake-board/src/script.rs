//! What the programs of a fake board do: a command line, and what happens when it is run.

use agent_core::time::Duration;
use agent_core::wire::codec;
use agent_core::wire::node::{NODE_CALL_MAX, NodeCall};
use agent_core::wire::test_signal::{SIGNAL_MAX, TestSignal};
use std::collections::BTreeMap;

/// One thing that a program does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Prints on standard output.
    Out(Vec<u8>),
    /// Prints on standard error.
    Err(Vec<u8>),
    /// Copies standard input to standard output until it ends.
    Copy,
    /// Sends a packet to the test's socket and waits for the answer.
    Tell(Vec<u8>),
    /// Takes its time.
    Wait(Duration),
    /// Runs until it is killed.
    Hang,
    /// From now on TERM does nothing.
    IgnoreTerm,
    /// The kernel logs a line.
    Kernel(String),
    /// A record of this priority (facility × 8 + level) comes into the kernel's log.
    Log(u16, String),
    /// Text is written to the console, by whomever.
    Print(String),
    /// Prints to /dev/console.
    Console(String),
    /// The kernel panics.
    Panic(String),
    /// The board resets, as by a watchdog.
    Reset,
    /// The board restarts in order, as by reboot(8).
    Restart,
    /// The agent is killed, and started anew by its keeper, who ends all that it ran.
    KillAgent,
    /// Leaves a process behind that holds the pipes open.
    LeaveBehind,
    /// Ends with this status.
    Exit(u8),
}

/// What a command does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub(crate) steps: Vec<Step>,
    pub(crate) os_error: Option<i32>,
}

impl Program {
    /// One that ends at once with status 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that cannot be started.
    pub fn not_startable(os_error: i32) -> Self {
        Self { steps: Vec::new(), os_error: Some(os_error) }
    }

    /// ... and then does this.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// ... and then prints on standard output.
    #[must_use]
    pub fn out(self, text: impl AsRef<[u8]>) -> Self {
        self.then(Step::Out(text.as_ref().to_vec()))
    }

    /// ... and then prints on standard error.
    #[must_use]
    pub fn err(self, text: impl AsRef<[u8]>) -> Self {
        self.then(Step::Err(text.as_ref().to_vec()))
    }

    /// ... and then tells the agent.
    #[must_use]
    pub fn tell(self, signal: &TestSignal<'_>) -> Self {
        let mut buffer = [0; SIGNAL_MAX];
        let packet = codec::encode(signal, &mut buffer).expect("a signal fits");
        self.then(Step::Tell(packet.to_vec()))
    }

    /// ... and then calls the other boards, and waits for the answer.
    #[must_use]
    pub fn call(self, call: &NodeCall<'_>) -> Self {
        let mut buffer = [0; NODE_CALL_MAX];
        let packet = codec::encode(call, &mut buffer).expect("a call fits");
        self.then(Step::Tell(packet.to_vec()))
    }

    /// ... and then waits.
    #[must_use]
    pub fn wait_ms(self, ms: u64) -> Self {
        self.then(Step::Wait(Duration::from_millis(ms)))
    }

    /// ... and then ends.
    #[must_use]
    pub fn exit(self, status: u8) -> Self {
        self.then(Step::Exit(status))
    }
}

/// The programs of a board.
#[derive(Clone, Debug)]
pub struct Script {
    commands: BTreeMap<String, Program>,
    suites: BTreeMap<String, Program>,
}

impl Default for Script {
    /// `true`, `false`, `cat` and `sleep 3600`.
    fn default() -> Self {
        let mut script = Self { commands: BTreeMap::new(), suites: BTreeMap::new() };
        script.command("true", Program::new());
        script.command("false", Program::new().exit(1));
        script.command("cat", Program::new().then(Step::Copy));
        script.command("sleep 3600", Program::new().then(Step::Hang));
        script
    }
}

impl Script {
    /// What `line`, the words of an exec with spaces between them, does.
    pub fn command(&mut self, line: &str, program: Program) {
        self.commands.insert(line.to_owned(), program);
    }

    /// What the test of a suite does. Without it, the lines of its `run.sh` that are commands of this script are run
    /// one after the other, up to the first that fails, and all other lines do nothing.
    pub fn suite(&mut self, name: &str, program: Program) {
        self.suites.insert(name.to_owned(), program);
    }

    pub(crate) fn find_command(&self, argv: &[u8]) -> Program {
        let words: Vec<_> = argv.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let line = words[..words.len().saturating_sub(1)].join(" ");
        let inner = words.get(..3).filter(|words| words[..2] == ["/bin/sh", "-c"]);
        let found = self.commands.get(&line).or_else(|| self.commands.get(inner?[2].as_ref()));
        found.cloned().unwrap_or_else(|| Program::not_startable(ENOENT))
    }

    pub(crate) fn find_suite(&self, name: &str, run_sh: &[u8]) -> Program {
        if let Some(program) = self.suites.get(name) {
            return program.clone();
        }
        let mut whole = Program::new();
        for line in String::from_utf8_lossy(run_sh).lines() {
            let Some(program) = self.commands.get(line.trim()) else { continue };
            for step in &program.steps {
                if *step != Step::Exit(0) {
                    whole.steps.push(step.clone());
                }
            }
        }
        whole
    }
}

pub(crate) const ENOENT: i32 = 2;
