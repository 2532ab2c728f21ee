//! A process of the fake board: plays a [`Program`] with pipes that hold as much as the kernel's.

use crate::script::{Program, Step};
use agent_core::agent::{Op, Pipe, STDIN_WINDOW};
use agent_core::time::Instant;
use agent_core::wire::response::Exit;
use std::collections::VecDeque;

/// What a pipe holds (pipe(7)).
const PIPE_MAX: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) op: Op,
    /// Name of its suite when it is a test.
    pub(crate) suite: Option<String>,
    steps: VecDeque<Step>,
    started_at: Instant,
    wake_at: Option<Instant>,
    stdout: Output,
    stderr: Output,
    input: VecDeque<u8>,
    has_input_ended: bool,
    ignores_term: bool,
    leaves_behind: bool,
    exit: Option<Exit>,
    is_reaped: bool,
    /// It has told the agent something.
    is_waiting: bool,
}

#[derive(Debug, Default)]
struct Output {
    bytes: VecDeque<u8>,
    is_end_told: bool,
}

/// What a program does to the board.
#[derive(Debug)]
pub(crate) enum Deed {
    Log(u16, String),
    Print(String),
    Console(String),
    Panic(String),
    Reset,
    Tell(Vec<u8>),
    Restart,
    KillAgent,
}

impl Child {
    pub(crate) fn new(now: Instant, op: Op, suite: Option<String>, program: Program) -> Self {
        Self {
            op,
            suite,
            steps: program.steps.into(),
            started_at: now,
            wake_at: None,
            stdout: Output::default(),
            stderr: Output::default(),
            input: VecDeque::new(),
            has_input_ended: false,
            ignores_term: false,
            leaves_behind: false,
            exit: None,
            is_reaped: false,
            is_waiting: false,
        }
    }

    /// Plays on as far as it can; what it does to the board comes back and must be done before the next call.
    pub(crate) fn play(&mut self, now: Instant) -> Option<Deed> {
        while self.exit.is_none() && !self.is_waiting {
            let Some(step) = self.steps.front_mut() else {
                self.end(now, Exit::EXITED, 0);
                break;
            };
            match step {
                Step::Out(bytes) | Step::Err(bytes) if bytes.is_empty() => {}
                Step::Out(bytes) => {
                    if !self.stdout.take(bytes) {
                        break;
                    }
                    continue;
                }
                Step::Err(bytes) => {
                    if !self.stderr.take(bytes) {
                        break;
                    }
                    continue;
                }
                Step::Copy => {
                    let mut bytes = self.input.make_contiguous().to_vec();
                    self.stdout.take(&mut bytes);
                    self.input = bytes.into();
                    if !self.has_input_ended || !self.input.is_empty() {
                        break;
                    }
                }
                Step::Wait(time) => {
                    let until = *self.wake_at.get_or_insert(now + *time);
                    if now < until {
                        break;
                    }
                    self.wake_at = None;
                }
                Step::Hang => break,
                Step::IgnoreTerm => self.ignores_term = true,
                Step::LeaveBehind => self.leaves_behind = true,
                Step::Exit(status) => {
                    let status = *status;
                    self.end(now, Exit::EXITED, status);
                    break;
                }
                Step::Kernel(text) => {
                    let deed = Deed::Log(6, std::mem::take(text));
                    self.steps.pop_front();
                    return Some(deed);
                }
                Step::Log(priority, text) => {
                    let deed = Deed::Log(*priority, std::mem::take(text));
                    self.steps.pop_front();
                    return Some(deed);
                }
                Step::Print(text) => {
                    let deed = Deed::Print(std::mem::take(text));
                    self.steps.pop_front();
                    return Some(deed);
                }
                Step::Tell(packet) => {
                    let deed = Deed::Tell(std::mem::take(packet));
                    self.steps.pop_front();
                    self.is_waiting = true;
                    return Some(deed);
                }
                Step::Console(text) => {
                    let deed = Deed::Console(std::mem::take(text));
                    self.steps.pop_front();
                    return Some(deed);
                }
                Step::Panic(text) => return Some(Deed::Panic(std::mem::take(text))),
                Step::Reset => return Some(Deed::Reset),
                Step::Restart => return Some(Deed::Restart),
                Step::KillAgent => return Some(Deed::KillAgent),
            }
            self.steps.pop_front();
        }
        None
    }

    /// The agent has answered.
    pub(crate) fn handle_answer(&mut self) {
        self.is_waiting = false;
    }

    /// Bytes that wait in a pipe.
    pub(crate) fn waiting(&self, pipe: Pipe) -> usize {
        match pipe {
            Pipe::Stdout => self.stdout.bytes.len(),
            Pipe::Stderr => self.stderr.bytes.len(),
        }
    }

    pub(crate) fn signal(&mut self, now: Instant, signal: u8) {
        if self.exit.is_none() && !(signal == SIGTERM && self.ignores_term) {
            self.end(now, Exit::SIGNALED, signal);
        }
    }

    /// Takes bytes for its input and returns how many went into the pipe: all, for the agent sends no more than fit.
    pub(crate) fn input(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        assert!(self.input.len() <= STDIN_WINDOW, "more input than the window");
    }

    /// Bytes of its input that wait.
    pub(crate) fn input_waiting(&self) -> usize {
        self.input.len()
    }

    pub(crate) fn end_input(&mut self) {
        self.has_input_ended = true;
    }

    /// Up to `max` bytes of an output; `Some` of nothing once, at its end.
    pub(crate) fn read(&mut self, pipe: Pipe, max: usize) -> Option<Vec<u8>> {
        let is_ended = self.exit.is_some() && !self.leaves_behind;
        let output = match pipe {
            Pipe::Stdout => &mut self.stdout,
            Pipe::Stderr => &mut self.stderr,
        };
        if output.bytes.is_empty() {
            let is_end = is_ended && !output.is_end_told;
            output.is_end_told |= is_end;
            return is_end.then(Vec::new);
        }
        let count = output.bytes.len().min(max);
        (count > 0).then(|| output.bytes.drain(..count).collect())
    }

    /// How it ended, once.
    pub(crate) fn reap(&mut self) -> Option<Exit> {
        let exit = self.exit.filter(|_| !self.is_reaped)?;
        self.is_reaped = true;
        Some(exit)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at.filter(|_| self.exit.is_none())
    }

    fn end(&mut self, now: Instant, end: u8, code: u8) {
        let elapsed_us = now.since(self.started_at).as_micros();
        let (user_us, system_us, max_rss_kib) = (elapsed_us / 2, elapsed_us / 4, 512);
        self.exit = Some(Exit { end, code, user_us, system_us, max_rss_kib, elapsed_us });
    }
}

impl Output {
    /// Moves what fits out of `bytes`; whether anything did.
    fn take(&mut self, bytes: &mut Vec<u8>) -> bool {
        let count = bytes.len().min(PIPE_MAX - self.bytes.len());
        self.bytes.extend(bytes.drain(..count));
        count > 0
    }
}

const SIGTERM: u8 = 15;
