//! Telnet between the host and a serial server (RFC 854, 855, 856, 857, 858), with the settings of the line (RFC 2217).
//!
//! ```text
//!   line's bytes ──▶ encode ──▶ ┐          ┌ ──▶ the server
//!   set_baud, start_break ────▶ │  Telnet  │
//!   line's bytes ◀── decode ◀── ┘          └ ◀── the server
//!                poll_transmit: offers, answers, settings, in order behind what was encoded
//! ```
//!
//! Pure: bytes in, bytes out, no clock. Nothing depends on how the bytes are cut, and all that a server can make this
//! keep is bounded: [`ANSWERS_MAX`], [`SUBNEGOTIATION_KEPT`].

mod com_port;
mod option;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::board::line_quality::UartErrors;
use com_port::{ComPort, Message};
use option::{BINARY, COM_PORT, DO, DONT, IAC, Options, WILL, WONT};

/// This end of one connection.
#[derive(Clone, Debug)]
pub struct Telnet {
    options: Options,
    com_port: Option<ComPort>,
    state: State,
    /// The last byte of the line was a CR, behind which a NUL is no byte of the line.
    after_cr: bool,
    /// The beginning of a subnegotiation, and how long it is.
    subnegotiation: Vec<u8>,
    subnegotiation_length: usize,
    answers: Vec<u8>,
    malformed: u64,
}

/// Where in the protocol the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data,
    /// Behind IAC.
    Command,
    /// Behind this verb.
    Verb(u8),
    Subnegotiation,
    /// Behind IAC in one.
    SubnegotiationCommand,
}

/// Whether a line behind a server can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not everything was answered.
    Waiting,
    /// It can.
    Ready,
    /// It cannot, and why.
    Refused(String),
}

/// Why a server's line cannot be used, or not at a speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NoComPort,
    Baud { rate: u32, wanted: u32 },
    Setting { what: &'static str, value: u8, wanted: u8 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoComPort => f.write_str(
                "the server does not do RFC 2217: write telnet:// or tcp://, or have it do so (ser2net: telnet(rfc2217))",
            ),
            Self::Baud { rate, wanted } => write!(
                f,
                "the line runs at {rate} baud and not at {wanted}: choose a rate that the server can do"
            ),
            Self::Setting { what, value, wanted } => write!(
                f,
                "the line has {value} {what} and not {wanted}: free it from other settings at the server"
            ),
        }
    }
}

impl Telnet {
    /// A connection that was just made. With `baud` the server is told the line's settings by RFC 2217.
    pub fn new(baud: Option<u32>) -> Self {
        let mut answers = Vec::new();
        Self {
            options: Options::ask(baud.is_some(), &mut answers),
            com_port: baud.map(ComPort::new),
            state: State::Data,
            after_cr: false,
            subnegotiation: Vec::new(),
            subnegotiation_length: 0,
            answers,
            malformed: 0,
        }
    }

    /// Takes bytes from the server and leaves those of the line at the beginning of `buffer`; returns how many.
    pub fn decode(&mut self, buffer: &mut [u8]) -> usize {
        let mut kept = 0;
        for index in 0..buffer.len() {
            if let Some(byte) = self.read(buffer[index]) {
                buffer[kept] = byte;
                kept += 1;
            }
        }
        kept
    }

    /// Adds bytes of the line to `out` in the form for the server: at most twice as many.
    pub fn encode(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let is_binary = self.options.is_own(BINARY);
        for byte in bytes {
            out.push(*byte);
            match *byte {
                IAC => out.push(IAC),
                // Alone it would mean "to the start of the line", or begin a new one (RFC 854, p. 11).
                CR if !is_binary => out.push(NUL),
                _ => {}
            }
        }
    }

    /// What is to be sent to the server beside the line's bytes, at most [`ANSWERS_MAX`].
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        (!self.answers.is_empty()).then(|| std::mem::take(&mut self.answers))
    }

    /// Whether the line can be used. `is_late`: what has not been answered by now is not waited for, or refused.
    pub fn readiness(&self, is_late: bool) -> Readiness {
        match &self.com_port {
            Some(com_port) => match com_port.readiness(is_late) {
                Readiness::Ready if self.options.is_open(BINARY) && !is_late => Readiness::Waiting,
                readiness => readiness,
            },
            None if self.options.is_open(BINARY) && !is_late => Readiness::Waiting,
            None => Readiness::Ready,
        }
    }

    /// Whether the line's speed can be set.
    pub fn has_baud(&self) -> bool {
        self.com_port.is_some()
    }

    /// Asks the server for another speed, behind what was encoded. The outcome comes from [`Self::take_baud_outcome`].
    pub fn set_baud(&mut self, baud: u32) {
        if let Some(com_port) = &mut self.com_port {
            let message = com_port.ask_baud(baud);
            self.push(&message);
        }
    }

    /// Whether the speed that was asked for last is set; `None` as long as the server has not said it. An error is a
    /// sentence; the speed is as it was.
    pub fn take_baud_outcome(&mut self) -> Option<Result<(), String>> {
        self.com_port.as_mut()?.take_outcome()
    }

    /// The server has not answered in time: asks for the speed before, without waiting for that.
    pub fn give_baud_up(&mut self) -> String {
        let Some(com_port) = &mut self.com_port else { return String::new() };
        let message = com_port.give_baud_up();
        let why = com_port.name_server("the server gave no answer to another speed");
        self.push(&message);
        why
    }

    /// Begins a BREAK on the line, behind what was encoded. Without RFC 2217 its length is the server's.
    pub fn start_break(&mut self) {
        match self.com_port {
            Some(_) => self.push(&ComPort::set_break(true)),
            None => self.answer(&[IAC, BREAK]),
        }
    }

    /// Ends it.
    pub fn end_break(&mut self) {
        if self.com_port.is_some() {
            self.push(&ComPort::set_break(false));
        }
    }

    /// Whether the server takes bytes of the line now; it may ask for a pause.
    pub fn may_send(&self) -> bool {
        !self.com_port.as_ref().is_some_and(ComPort::is_suspended)
    }

    /// What the server's UART has lost or misread since the connection was made; `None` without RFC 2217.
    pub fn uart_errors(&self) -> Option<UartErrors> {
        self.com_port.as_ref().map(ComPort::errors)
    }

    /// Things that the server said and that mean nothing, and answers for which there was no room.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// A byte of the line, if this one ends in one.
    fn read(&mut self, byte: u8) -> Option<u8> {
        match self.state {
            State::Data if byte == IAC => self.state = State::Command,
            State::Data => {
                let is_padding = std::mem::take(&mut self.after_cr) && byte == NUL;
                self.after_cr = byte == CR && !self.options.is_far(BINARY);
                return (!is_padding).then_some(byte);
            }
            State::Command => {
                self.state = State::Data;
                match byte {
                    IAC => {
                        self.after_cr = false;
                        return Some(IAC);
                    }
                    WILL | WONT | DO | DONT => self.state = State::Verb(byte),
                    SUBNEGOTIATION => {
                        self.state = State::Subnegotiation;
                        self.subnegotiation.clear();
                        self.subnegotiation_length = 0;
                    }
                    // Keepalives, "are you there", "go ahead": to answer one would be to type on the line.
                    _ => {}
                }
            }
            State::Verb(verb) => {
                self.state = State::Data;
                self.negotiate(verb, byte);
            }
            State::Subnegotiation if byte == IAC => self.state = State::SubnegotiationCommand,
            State::Subnegotiation => self.keep(byte),
            State::SubnegotiationCommand if byte == IAC => {
                self.state = State::Subnegotiation;
                self.keep(IAC);
            }
            State::SubnegotiationCommand if byte == SUBNEGOTIATION_END => {
                self.state = State::Data;
                self.end_subnegotiation();
            }
            State::SubnegotiationCommand => {
                // Its end was left out: it means nothing, and this is a command of its own.
                self.malformed += 1;
                self.state = State::Command;
                return self.read(byte);
            }
        }
        None
    }

    fn negotiate(&mut self, verb: u8, code: u8) {
        if let Some(answer) = self.options.hear(verb, code) {
            self.answer(&answer);
        }
        if code != COM_PORT {
            return;
        }
        match (verb, &mut self.com_port) {
            (DO, Some(com_port)) => com_port.open().iter().for_each(|message| self.push(message)),
            (DONT, Some(com_port)) => com_port.close(),
            _ => {}
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.subnegotiation.len() < SUBNEGOTIATION_KEPT {
            self.subnegotiation.push(byte);
        }
        self.subnegotiation_length += 1;
        if self.subnegotiation_length > SUBNEGOTIATION_MAX {
            self.malformed += 1;
            self.state = State::Data;
        }
    }

    fn end_subnegotiation(&mut self) {
        let answer = match (self.subnegotiation.split_first(), &mut self.com_port) {
            (Some((&COM_PORT, message)), Some(com_port)) => com_port.handle(message),
            _ => None,
        };
        if let Some(message) = answer {
            self.push(&message);
        }
    }

    fn push(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        push(&mut bytes, message);
        self.answer(&bytes);
    }

    fn answer(&mut self, bytes: &[u8]) {
        if self.answers.len() + bytes.len() <= ANSWERS_MAX {
            self.answers.extend_from_slice(bytes);
        } else {
            self.malformed += 1;
        }
    }
}

/// A message in the frame of a subnegotiation.
fn push(out: &mut Vec<u8>, (command, value): &Message) {
    out.extend([IAC, SUBNEGOTIATION, COM_PORT, *command]);
    for byte in value {
        out.push(*byte);
        if *byte == IAC {
            out.push(IAC);
        }
    }
    out.extend([IAC, SUBNEGOTIATION_END]);
}

const SUBNEGOTIATION_END: u8 = 240;
const BREAK: u8 = 243;
const SUBNEGOTIATION: u8 = 250;
const CR: u8 = b'\r';
const NUL: u8 = 0;

/// Answers that wait to be sent. A server that asks for more without reading them gets none to the rest.
pub const ANSWERS_MAX: usize = 4096;
/// What is kept of a subnegotiation: the longest that means something is a signature.
pub const SUBNEGOTIATION_KEPT: usize = 256;
/// A subnegotiation that is still longer has lost its end; what follows is the line's again.
pub const SUBNEGOTIATION_MAX: usize = 4096;
