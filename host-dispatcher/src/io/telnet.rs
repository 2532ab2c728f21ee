//! A line behind a serial server: the codec of [`crate::telnet`] on a TCP stream.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use agent_core::time::{Duration, Instant};
use mio::net::TcpStream;

use super::connection::TWO_FRAMES;
use crate::board::line_quality::UartErrors;
use crate::telnet::{ANSWERS_MAX, Readiness, Telnet};

/// An open connection.
#[derive(Debug)]
pub(super) struct TelnetLine {
    stream: TcpStream,
    codec: Telnet,
    /// For the server, in its form; at most [`PENDING_MAX`].
    pending: VecDeque<u8>,
    /// The server is asked for a speed, and so long it may take.
    baud_until: Option<Instant>,
}

impl TelnetLine {
    /// On a stream that is connected; with `baud` the server is told the line's settings.
    pub(super) fn new(stream: TcpStream, baud: Option<u32>) -> Self {
        Self { stream, codec: Telnet::new(baud), pending: VecDeque::new(), baud_until: None }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn readiness(&self, is_late: bool) -> Readiness {
        self.codec.readiness(is_late)
    }

    pub(super) fn has_baud(&self) -> bool {
        self.codec.has_baud()
    }

    pub(super) fn uart_errors(&self) -> Option<UartErrors> {
        self.codec.uart_errors()
    }

    /// Bytes in the server's form; [`Self::decode`] makes them the line's.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    /// Leaves the line's bytes at the beginning of `bytes` and returns how many.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> usize {
        self.codec.decode(bytes)
    }

    /// Takes bytes of the line as long as there is room; `WouldBlock` when there is none.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if !self.pending.is_empty() || !self.codec.may_send() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(TWO_FRAMES);
        let mut encoded = Vec::with_capacity(2 * taken);
        self.codec.encode(&bytes[..taken], &mut encoded);
        self.pending.extend(encoded);
        self.flush()?;
        Ok(taken)
    }

    /// Sends what waits, as far as the kernel takes it now.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        loop {
            if self.pending.len() <= PENDING_MAX - ANSWERS_MAX
                && let Some(answers) = self.codec.poll_transmit()
            {
                self.pending.extend(answers);
            }
            let (next, _) = self.pending.as_slices();
            if next.is_empty() {
                self.pending.shrink_to(TWO_FRAMES);
                return Ok(());
            }
            match self.stream.write(next) {
                Ok(bytes) => drop(self.pending.drain(..bytes)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for a speed, and at further calls whether it is set; else `Ok(false)`.
    ///
    /// # Errors
    /// A sentence; the speed is as it was.
    pub(super) fn set_baud(&mut self, baud: u32, now: Instant) -> Result<bool, String> {
        let Some(until) = self.baud_until else {
            self.codec.set_baud(baud);
            self.baud_until = Some(now + ANSWER_TIME);
            return Ok(false);
        };
        let outcome = self
            .codec
            .take_baud_outcome()
            .or_else(|| (now >= until).then(|| Err(self.codec.give_baud_up())));
        if outcome.is_some() {
            self.baud_until = None;
        }
        outcome.map_or(Ok(false), |outcome| outcome.map(|()| true))
    }

    pub(super) fn start_break(&mut self) {
        self.codec.start_break();
    }

    pub(super) fn end_break(&mut self) {
        self.codec.end_break();
    }
}

/// Two frames, each of whose bytes is doubled, and the codec's answers.
const PENDING_MAX: usize = 2 * TWO_FRAMES + ANSWERS_MAX;
/// A server answers in a network's round trip. Longer than this both ends of a session would try different speeds
/// (`board::baud`).
const ANSWER_TIME: Duration = Duration::from_secs(2);
