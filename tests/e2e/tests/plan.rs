//! The real agent with a plan and nobody at the line, as it is kept on a board: killed, signalled, with a watchdog.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use e2e::Noise;
use e2e::line::Line;
use e2e::program::{PATIENCE, built, is_alive, processes_with};
use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A plan on the disk of a board, and the line that its agent will serve.
struct Bench {
    line: Line,
}

impl Bench {
    /// Suites and what their `run.sh` does.
    fn new(watchdog_s: u8, tests: &[(&str, &str)]) -> Self {
        let line = Line::with_socket(Noise::default(), Noise::default());
        let bench = Self { line };
        fs::create_dir_all(bench.run()).unwrap();
        let item = |body: &[&[u8]]| {
            let body = body.concat();
            [&u16::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
        };
        // docs/protocol.md, Test plan; 60000 as a varint.
        let mut plan = item(&[b"\x02r1", &[watchdog_s]]);
        for (suite, script) in tests {
            plan.extend(item(&[&[suite.len() as u8], suite.as_bytes(), &[0xe0, 0xd4, 3, 0, 0]]));
            let folder = bench.run().join("tests").join(suite);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("run.sh"), script).unwrap();
        }
        fs::write(bench.run().join("plan"), plan).unwrap();
        bench
    }

    fn run(&self) -> PathBuf {
        self.line.root().join(".pumice/runs/r1")
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.run().join(name)).unwrap_or_default()
    }

    /// Event, suite and end of each line of the journal.
    fn journal(&self) -> Vec<String> {
        let lines = self.text("journal.ndjson");
        let words = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).expect("a whole line");
            let words = ["event", "suite", "end", "why"].map(|key| value[key].as_str());
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        lines.lines().map(words).collect()
    }

    /// The keeper, as the first process makes it.
    fn keeper(&self) -> Keeper {
        let root = self.line.root().display().to_string();
        let mut command = Command::new(built("pumice-agent"));
        command.arg0("@pumice-keeper").args(["--line", self.line.board_end(), "--root", &root]);
        command.args(["--run", "r1"]).stdin(Stdio::null());
        Keeper { child: command.spawn().unwrap(), root }
    }
}

/// A keeper that runs, with its agent.
struct Keeper {
    child: Child,
    root: String,
}

impl Keeper {
    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The agent that is kept now.
    fn agent(&self) -> i32 {
        let is_agent = |pid: &i32| *pid != self.pid();
        until("an agent", || processes_with(&self.root).into_iter().find(is_agent))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // First the keeper, or there would be another agent.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in processes_with(&self.root) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Looks again and again. A file tells nobody that it grew.
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    const PAUSE_MS: u16 = 20;
    for _ in 0..PATIENCE.as_millis() / u128::from(PAUSE_MS) {
        if let Some(found) = found() {
            return found;
        }
        poll(&mut [], PollTimeout::from(PAUSE_MS)).unwrap();
    }
    panic!("no {what}");
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn number(text: &str) -> Option<i32> {
    text.lines().next()?.parse().ok()
}

const DAEMON: &str = "setsid sleep 1000 >/dev/null 2>&1 & echo $!\n";

#[test]
fn a_kept_agent_goes_on_with_its_plan_and_leaves_nothing_behind() {
    // What is killed may still wait for its parent to look.
    let looks = "if grep -qs 'State:.[^Z]' /proc/$(cat ../";
    let waits = "/stdout.log)/status; then echo alive; fi\n";
    let bench = Bench::new(
        60,
        &[
            ("leaves", DAEMON),
            ("looks", &[looks, "leaves", waits].concat()),
            ("killed", &[DAEMON, "sleep 1000 & sleep 1000\n"].concat()),
            ("after", &[looks, "killed", waits, "exit 3\n"].concat()),
        ],
    );
    let watchdog = bench.line.root().join("dev/watchdog");
    fs::create_dir_all(watchdog.parent().unwrap()).unwrap();
    fs::write(&watchdog, "").unwrap();
    let keeper = bench.keeper();
    let first = keeper.agent();
    // What a test may send to all that there is.
    for pid in [first, keeper.pid()] {
        for each in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            signal(pid, each);
        }
    }
    until("second daemon", || number(&bench.text("tests/killed/stdout.log")));
    assert_eq!(keeper.agent(), first);
    let fed = fs::read(&watchdog).unwrap();
    assert!(!fed.is_empty() && fed.iter().all(|byte| *byte == 0), "{fed:?}");
    signal(first, Signal::SIGKILL);
    until("end of the plan", || bench.text("journal.ndjson").contains("plan_ended").then_some(()));
    assert_ne!(keeper.agent(), first);
    assert_eq!(
        bench.journal(),
        [
            "plan_started",
            "watchdog_failed",
            "test_started leaves",
            "test_ended leaves exited",
            "test_started looks",
            "test_ended looks exited",
            "test_started killed",
            "test_ended killed interrupted",
            "plan_resumed agent",
            "watchdog_failed",
            "test_started after",
            "test_ended after exited",
            "plan_ended",
        ]
    );
    let (left, killed) =
        (bench.text("tests/leaves/stdout.log"), bench.text("tests/killed/stdout.log"));
    assert_eq!(bench.text("tests/looks/stdout.log"), "", "the daemon of the test before is gone");
    assert_eq!(bench.text("tests/after/stdout.log"), "", "and that of the agent before");
    for text in [left, killed] {
        assert!(!is_alive(number(&text).unwrap()), "{text}");
    }
    until("letting go", || fs::read(&watchdog).unwrap().contains(&b'V').then_some(()));
}

#[test]
fn an_agent_is_started_again_however_often_it_dies() {
    let bench = Bench::new(0, &[]);
    let keeper = bench.keeper();
    let mut before = Vec::new();
    for _ in 0..3 {
        let agent = until("another agent", || {
            let found = processes_with(&keeper.root).into_iter();
            found.filter(|pid| *pid != keeper.pid()).find(|pid| !before.contains(pid))
        });
        signal(agent, Signal::SIGKILL);
        before.push(agent);
    }
    assert!(is_alive(keeper.pid()));
}
