//! A command that the dispatcher runs.

use super::AgentLink;
use super::child::Child;
use super::effect::{Op, Pipe};
use super::queue::{Queue, Queued};
use crate::time::{Duration, Instant};
use crate::wire::request;
use crate::wire::response::Exit;

/// A command in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exec {
    stdin: u8,
    stdout: u8,
    stderr: u8,
    child: Child,
}

impl Exec {
    /// Its streams are open already.
    pub(super) fn new(now: Instant, exec: &request::Exec<'_>) -> Self {
        let timeout = Duration::from_millis(u64::from(exec.timeout_ms));
        let mut child = Child::new(now, (exec.timeout_ms > 0).then_some(timeout));
        for (stream, pipe) in [(exec.stdout, Pipe::Stdout), (exec.stderr, Pipe::Stderr)] {
            if stream == 0 {
                child.handle_pipe_end(pipe);
            }
        }
        Self { stdin: exec.stdin, stdout: exec.stdout, stderr: exec.stderr, child }
    }

    /// The stream of one of its outputs; 0 when nobody wants it.
    pub(super) fn output(&self, pipe: Pipe) -> u8 {
        match pipe {
            Pipe::Stdout => self.stdout,
            Pipe::Stderr => self.stderr,
        }
    }

    /// Whether `stream` is its standard input.
    pub(super) fn is_input(&self, stream: u8) -> bool {
        stream != 0 && stream == self.stdin
    }

    /// Whether `stream` is any of its streams.
    pub(super) fn has(&self, stream: u8) -> bool {
        stream != 0 && [self.stdin, self.stdout, self.stderr].contains(&stream)
    }

    /// It printed something, or (empty) closed a pipe.
    pub(super) fn handle_output(
        &mut self,
        now: Instant,
        pipe: Pipe,
        bytes: &[u8],
        link: &mut AgentLink,
    ) {
        let stream = self.output(pipe);
        if bytes.is_empty() {
            self.child.handle_pipe_end(pipe);
        } else {
            self.child.handle_output(now, bytes.len());
        }
        // Without a stream nobody wants it; stream 0 is that of the messages.
        match bytes {
            _ if stream == 0 => {}
            [] => link.finish(stream),
            _ => {
                link.write(stream, bytes);
            }
        }
    }

    /// It has taken so many bytes of its input.
    pub(super) fn handle_input_taken(&mut self, bytes: usize, link: &mut AgentLink) {
        if self.stdin != 0 {
            link.grant(self.stdin, bytes);
        }
    }

    /// Its process has ended.
    pub(super) fn handle_exit(&mut self, now: Instant, exit: Exit) {
        self.child.handle_exit(now, exit);
    }

    /// The dispatcher gave up a stream: what its pipe brings is dropped.
    pub(super) fn handle_reset(&mut self, stream: u8) {
        for own in [&mut self.stdin, &mut self.stdout, &mut self.stderr] {
            if *own == stream {
                *own = 0;
            }
        }
    }

    /// How its process ended, once it has, whatever its pipes still hold.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.child.exit()
    }

    /// Signals that are due, and how it ended once it is over.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        op: Op,
        link: &mut AgentLink,
        queue: &mut Queue,
    ) -> Option<Exit> {
        if let Some(signal) = self.child.signal_due(now) {
            queue.push(Queued::Signal { op, signal });
        }
        let is_held_up = [Pipe::Stdout, Pipe::Stderr].into_iter().any(|pipe| {
            let stream = self.output(pipe);
            stream != 0 && self.child.is_open(pipe) && link.room(stream) == 0
        });
        if is_held_up {
            self.child.hold(now);
        }
        let exit = self.child.ended(now)?;
        self.close_streams(link);
        Some(exit)
    }

    /// Ends its outputs behind what waits in them, and forgets its input.
    pub(super) fn close_streams(&self, link: &mut AgentLink) {
        for stream in [self.stdout, self.stderr] {
            if stream != 0 {
                link.finish(stream);
            }
        }
        link.close_stream(self.stdin);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.child.poll_timeout()
    }
}
