//! Child processes: the emulator at a line's other end, and commands that switch power.
//!
//! Each is a process group of its own, dies with the dispatcher, and is always reaped. Stopping is SIGTERM, then
//! SIGKILL after [`TERM_GRACE`], and never blocks: the owner calls [`Child::handle_timeout`] and [`Child::poll_exit`].

use std::io::{self, ErrorKind, Read, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};

use agent_core::time::{Duration, Instant};
use mio::net::UnixStream;
use mio::unix::pipe::Receiver;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::sys;

/// A child process and the last words of its output.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    program: String,
    group: Pid,
    /// Standard error; of a command also standard output.
    output: Receiver,
    last_words: LastWords,
    kind: Kind,
    stop: Stop,
    ended: Option<ExitStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing of its group may outlive it: it is the board, or its power.
    Board,
    /// What it started in the background is meant to go on.
    Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// Nothing was sent yet: the child may be about to end by itself.
    TermAt(Instant),
    KillAt(Instant),
    Killed,
}

impl Child {
    /// Starts a program whose standard input and output are a line, and gives the line's other end.
    ///
    /// # Errors
    /// A sentence that names the program.
    pub(super) fn spawn_line(argv: &[String]) -> Result<(Self, UnixStream), String> {
        let ends = || -> io::Result<_> {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            Ok((
                UnixStream::from_std(ours),
                OwnedFd::from(theirs.try_clone()?),
                OwnedFd::from(theirs),
            ))
        };
        let (ours, stdin, stdout) = ends().map_err(|error| cannot_start(argv, &error))?;
        let child = Self::spawn(argv, Kind::Board, stdin.into(), Some(stdout.into()))?;
        Ok((child, ours))
    }

    /// Starts a program without input that holds a board's power while it runs.
    ///
    /// # Errors
    /// A sentence that names the program.
    pub(super) fn spawn_holder(argv: &[String]) -> Result<Self, String> {
        Self::spawn(argv, Kind::Board, Stdio::null(), None)
    }

    /// Starts a command without input.
    ///
    /// # Errors
    /// A sentence that names the program.
    pub(super) fn spawn_command(argv: &[String]) -> Result<Self, String> {
        Self::spawn(argv, Kind::Command, Stdio::null(), None)
    }

    fn spawn(
        argv: &[String],
        kind: Kind,
        stdin: Stdio,
        stdout: Option<Stdio>,
    ) -> Result<Self, String> {
        let Some((program, arguments)) = argv.split_first() else {
            return Err("a command without words cannot be started".into());
        };
        let failed = |error: io::Error| cannot_start(argv, &error);
        let (reader, writer) = pipe().map_err(failed)?;
        let output = Receiver::from(OwnedFd::from(reader));
        output.set_nonblocking(true).map_err(failed)?;
        let stdout = match stdout {
            Some(stdout) => stdout,
            None => writer.try_clone().map_err(failed)?.into(),
        };
        let mut command = Command::new(program);
        command.args(arguments).process_group(0).stdin(stdin).stdout(stdout).stderr(writer);
        sys::die_with_parent(&mut command);
        let process = command.spawn().map_err(failed)?;
        Ok(Self {
            group: Pid::from_raw(process.id().cast_signed()),
            process,
            program: program.clone(),
            output,
            last_words: LastWords::default(),
            kind,
            stop: Stop::No,
            ended: None,
        })
    }

    /// The source to register with the loop; [`Child::handle_output`] when it is readable.
    pub(super) fn output(&mut self) -> &mut Receiver {
        &mut self.output
    }

    /// Reads what there is; only its end is kept. True if there may be more (a child that never pauses).
    pub(super) fn handle_output(&mut self) -> bool {
        let mut piece = [0; 4096];
        for _ in 0..OUTPUT_READS_PER_TURN {
            match self.output.read(&mut piece) {
                Ok(0) => return false,
                Ok(bytes) => self.last_words.push(&piece[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Ends the child, unless that was asked for already.
    pub(super) fn stop(&mut self, now: Instant) {
        if matches!(self.stop, Stop::No | Stop::TermAt(_)) {
            // The group is gone only when the child is, which poll_exit tells.
            let _ = killpg(self.group, Signal::SIGTERM);
            self.stop = Stop::KillAt(now + TERM_GRACE);
        }
    }

    /// Ends the child if it has not ended by itself after [`TERM_GRACE`].
    pub(super) fn stop_soon(&mut self, now: Instant) {
        if self.stop == Stop::No {
            self.stop = Stop::TermAt(now + TERM_GRACE);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self.stop {
            Stop::TermAt(at) if at <= now => self.stop(now),
            Stop::KillAt(at) if at <= now => {
                let _ = killpg(self.group, Signal::SIGKILL);
                self.stop = Stop::Killed;
            }
            _ => {}
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.stop {
            Stop::TermAt(at) | Stop::KillAt(at) => Some(at),
            Stop::No | Stop::Killed => None,
        }
    }

    /// Reaps the child if it has ended. Its status and last words are a sentence, `Ok` for exit status 0.
    pub(super) fn poll_exit(&mut self) -> Option<Result<(), String>> {
        if self.ended.is_none() {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            if matches!(waitid(Id::Pid(self.group), flags), Ok(WaitStatus::StillAlive)) {
                return None;
            }
            // Before the child is reaped its number cannot be another group's.
            if self.kind == Kind::Board || self.stop != Stop::No {
                let _ = killpg(self.group, Signal::SIGKILL);
            }
            self.ended = self.process.try_wait().ok()?;
        }
        let status = self.ended?;
        self.handle_output();
        let how = match (status.code(), status.signal()) {
            (Some(0), _) => return Some(Ok(())),
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(number)) => match Signal::try_from(number) {
                Ok(signal) => format!("signal {signal}"),
                Err(_) => format!("signal {number}"),
            },
            (None, None) => "an unknown status".into(),
        };
        let words = self.last_words.to_string();
        let colon = if words.is_empty() { "" } else { ": " };
        Some(Err(format!("{} ended with {how}{colon}{words}", self.program)))
    }

    /// The end of its output, at most 2 KiB.
    pub(super) fn last_output(&self) -> String {
        String::from_utf8_lossy(&self.last_words.0).into_owned()
    }

    pub(super) fn program(&self) -> &str {
        &self.program
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = killpg(self.group, Signal::SIGKILL);
            let _ = self.process.wait();
        }
    }
}

/// The last bytes of a child's output.
#[derive(Debug, Default)]
struct LastWords(Vec<u8>);

impl LastWords {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(LAST_WORDS_MAX)..]);
        let surplus = self.0.len().saturating_sub(LAST_WORDS_MAX);
        self.0.drain(..surplus);
    }
}

impl std::fmt::Display for LastWords {
    /// The last lines that hold something, on one line, without control characters.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        let mut lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .rev()
            .take(LAST_LINES_MAX)
            .collect();
        lines.reverse();
        let words: String = lines.join(" / ").chars().filter(|c| !c.is_control()).collect();
        f.write_str(&words)
    }
}

fn cannot_start(argv: &[String], error: &io::Error) -> String {
    let program = argv.first().map_or("", String::as_str);
    let package = PACKAGES.iter().find(|(name, _)| *name == program).map(|(_, package)| package);
    match (error.kind(), package) {
        (ErrorKind::NotFound, Some(package)) => {
            format!("{program}: not found: install the package {package}")
        }
        (ErrorKind::NotFound, None) => {
            format!("{program}: not found: install it, or write its path")
        }
        (ErrorKind::PermissionDenied, _) => format!("{program}: not executable: {error}"),
        _ => format!("failed to start {program}: {error}"),
    }
}

/// QEMU writes what its caches hold and ends in some milliseconds; a power command that ignores SIGTERM hangs.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// The words of an error are at the end of the output; more than this is a log.
const LAST_WORDS_MAX: usize = 2048;
/// What a sentence can hold of it.
const LAST_LINES_MAX: usize = 3;
/// So that a child that prints without end does not hold up the loop: 64 KiB, as much as a pipe holds.
const OUTPUT_READS_PER_TURN: usize = 16;
/// Programs whose Debian packages are not named as they are.
const PACKAGES: [(&str, &str); 3] = [
    ("qemu-system-arm", "qemu-system-arm"),
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("qemu-img", "qemu-utils"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_few() {
        let mut words = LastWords::default();
        words.push(&[b'x'; 10_000]);
        words.push(b"\n\none\ntwo\x1b[0m\r\n\nthree \n");
        assert!(words.0.len() <= LAST_WORDS_MAX);
        assert_eq!(words.to_string(), "one / two[0m / three");
    }
}
