//! Children: what a child still has to be given, what it says, and how it ends.

use crate::problem::{Outcome, Problem};
use crate::sys::child::{self, Ended, Start, Started};
use crate::sys::directory::is_directory;
use crate::sys::errno::Errno;
use crate::sys::file::{self, File};
use crate::text;
use agent_core::agent::STDIN_WINDOW;
use agent_core::time::Instant;
use agent_core::wire::FailureKind;
use agent_core::wire::response::Exit;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd};

/// A child with its pipes.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    started: Instant,
    has_ended: bool,
    /// Standard input, output, error, as far as they are piped and have not ended.
    pipes: [Option<File>; 3],
    /// Input that the pipe has not taken.
    input: Vec<u8>,
    /// The pipe is closed when it has taken everything.
    input_ends: bool,
}

/// Index of an output pipe.
pub(crate) const STDOUT: usize = 1;
/// Index of the other.
pub(crate) const STDERR: usize = 2;

/// What came out of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// So many bytes; 0 when it has ended.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
}

impl Child {
    /// Starts a command. The words are those of [`Start`].
    pub(crate) fn start(
        argv: &[u8],
        environment: &[u8],
        more_environment: &[u8],
        directory: &str,
        piped: [bool; 3],
        cgroup: Option<&CStr>,
        now: Instant,
    ) -> Outcome<Self> {
        let is_words = |words: &[u8]| words.is_empty() || words.ends_with(&[0]);
        let Ok(path) = CString::new(if directory.is_empty() { "/" } else { directory }) else {
            return Err(Problem::new(FailureKind::BAD_MESSAGE, "cwd"));
        };
        if argv.is_empty() || !is_words(argv) || !is_words(more_environment) {
            return Err(Problem::new(FailureKind::BAD_MESSAGE, "argv or env"));
        }
        let start = Start {
            argv,
            environment,
            more_environment,
            directory: &path,
            piped,
            is_apart: true,
            has_own_group: true,
            cgroup,
        };
        match child::start(&start) {
            Ok(Started { pid, pipes }) => Ok(Self {
                pid,
                started: now,
                has_ended: false,
                pipes,
                input: Vec::new(),
                input_ends: false,
            }),
            Err(error) => {
                let program = argv.split(|byte| *byte == 0).next().unwrap_or_default();
                let program = text::lossy(program);
                // Whether it is the program or the directory that is not there, the errno does not tell.
                let is_directory = is_directory(directory_or_root(directory));
                Err(Problem::os(error, if is_directory { &program } else { directory }))
            }
        }
    }

    /// Takes input and returns how much the pipe has taken of what there is; all of it when nobody reads it any more.
    pub(crate) fn input(&mut self, bytes: &[u8]) -> usize {
        if self.pipes[0].is_none() {
            return bytes.len();
        }
        // The core sends no more than the window; what goes beyond it would be a fault in the core, and is dropped
        // rather than stored.
        let room = STDIN_WINDOW.saturating_sub(self.input.len());
        self.input.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.feed()
    }

    /// Closes the input when it is all taken.
    pub(crate) fn end_input(&mut self) {
        self.input_ends = true;
        self.feed();
    }

    /// Writes waiting input and returns how much of it was taken.
    pub(crate) fn feed(&mut self) -> usize {
        let Some(pipe) = &self.pipes[0] else { return 0 };
        let mut taken = 0;
        while taken < self.input.len() {
            match pipe.write(&self.input[taken..]) {
                Ok(length) => taken += length,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(_) => {
                    // The child has closed it: it wants no more, and the stream must not wait for it.
                    taken = self.input.len();
                    self.input_ends = true;
                }
            }
        }
        self.input.drain(..taken);
        if self.input_ends && self.input.is_empty() {
            self.pipes[0] = None;
        }
        taken
    }

    /// Input pipe, while it is waited for.
    pub(crate) fn hungry_pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipes[0].as_ref().filter(|_| !self.input.is_empty()).map(|pipe| pipe.as_fd())
    }

    /// Output pipe, until it has ended.
    pub(crate) fn output_pipe(&self, index: usize) -> Option<BorrowedFd<'_>> {
        self.pipes[index].as_ref().map(|pipe| pipe.as_fd())
    }

    /// Bytes of output that wait in a pipe.
    pub(crate) fn waiting(&self, index: usize) -> usize {
        self.pipes[index].as_ref().map_or(0, File::queued)
    }

    /// Reads output.
    pub(crate) fn read(&mut self, index: usize, buffer: &mut [u8]) -> Output {
        let Some(pipe) = &self.pipes[index] else { return Output::Nothing };
        match pipe.read(buffer) {
            Ok(length) if length > 0 => Output::Bytes(length),
            Err(error) if error.is_for_later() => Output::Nothing,
            Ok(_) | Err(_) => {
                self.pipes[index] = None;
                Output::Bytes(0)
            }
        }
    }

    /// Signals its process group, as long as there may be one.
    pub(crate) fn signal(&self, signal: u8) {
        child::signal_group(self.pid, signal);
    }

    /// Its process id, until it has ended.
    pub(crate) fn pid(&self) -> Option<i32> {
        (!self.has_ended).then_some(self.pid)
    }

    /// It has ended, and was reaped.
    pub(crate) fn handle_end(&mut self, now: Instant, ended: Ended) -> Exit {
        let Ended { code, signaled, user_us, system_us, max_rss_kib } = ended;
        self.has_ended = true;
        Exit {
            end: if signaled { Exit::SIGNALED } else { Exit::EXITED },
            code,
            user_us,
            system_us,
            max_rss_kib,
            elapsed_us: now.since(self.started).as_micros(),
        }
    }

    /// Gives it up: kills it with its group if it still runs.
    pub(crate) fn give_up(&self) {
        // Else its group may have a new owner.
        if !self.has_ended {
            child::signal_group(self.pid, child::KILL);
        }
    }
}

/// `NAME=value` words, each ended by a NUL, of this process, with defaults for what every shell script expects: an
/// agent that the kernel started has nearly none.
pub(crate) fn environment() -> Vec<u8> {
    // In the very form that is needed, and the agent changes nothing in its own.
    let mut words = file::read("/proc/self/environ");
    for (name, default) in [(&b"PATH="[..], PATH), (b"HOME=", b"HOME=/root\0")] {
        if !child::words(&words).any(|word| word.starts_with(name)) {
            words.extend_from_slice(default);
        }
    }
    words
}

const PATH: &[u8] = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0";

fn directory_or_root(directory: &str) -> &str {
    if directory.is_empty() { "/" } else { directory }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str, piped: [bool; 3]) -> Child {
        let argv = ["sh\0-c\0", script, "\0"].concat();
        Child::start(argv.as_bytes(), &environment(), b"", "", piped, None, Instant::ZERO).unwrap()
    }

    fn wait(child: &mut Child) -> Exit {
        let ended = child::wait(child.pid, true).unwrap();
        child.handle_end(Instant::from_micros(5), ended)
    }

    fn read_all(child: &mut Child, index: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match child.read(index, &mut buffer) {
                Output::Bytes(0) => return all,
                Output::Bytes(length) => all.extend_from_slice(&buffer[..length]),
                Output::Nothing => {
                    child.feed();
                }
            }
        }
    }

    #[test]
    fn input_comes_back_as_output() {
        let mut child = start("cat; echo end >&2", [true; 3]);
        let text = vec![b'x'; STDIN_WINDOW];
        let taken = child.input(&text);
        assert!(taken > 0 && taken <= text.len());
        child.end_input();
        assert_eq!(read_all(&mut child, STDOUT), text);
        assert_eq!(read_all(&mut child, STDERR), b"end\n");
        let exit = wait(&mut child);
        assert_eq!((exit.end, exit.code, exit.elapsed_us), (Exit::EXITED, 0, 5));
        assert_eq!(child.pid(), None);
    }

    #[test]
    fn input_that_nobody_reads_is_taken() {
        let mut child = start("exec <&-; echo closed; sleep 60", [true, true, false]);
        assert_eq!(child.read(STDERR, &mut [0; 4]), Output::Nothing);
        while child.read(STDOUT, &mut [0; 16]) == Output::Nothing {}
        assert_eq!(child.input(b"abc"), 3);
        assert_eq!(child.input(b"def"), 3);
        child.give_up();
        assert_eq!(child::wait(child.pid, true).unwrap().code, child::KILL);
    }

    #[test]
    fn what_cannot_start_says_what_was_missing() {
        let problem = |argv: &[u8], cwd: &str| {
            Child::start(argv, &environment(), b"", cwd, [false; 3], None, Instant::ZERO)
                .unwrap_err()
        };
        assert_eq!(problem(b"no-such\0", "").text, "no-such");
        assert_eq!(problem(b"true\0", "/proc/no-such").text, "/proc/no-such");
        assert_eq!(problem(b"true", "").kind, FailureKind::BAD_MESSAGE);
        assert_eq!(problem(b"", "").kind, FailureKind::BAD_MESSAGE);
    }
}
