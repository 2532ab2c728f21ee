//! The settings of the serial line behind a server (RFC 2217): what is asked for, and what the server says.
//!
//! Written and read without IAC doubling and without the frame of a subnegotiation, which `mod.rs` adds and takes off.

use super::{Readiness, Refusal};
use crate::board::line_quality::UartErrors;
use crate::config::connection::is_rate;

/// The client's commands; a server answers with the number 100 higher.
const SIGNATURE: u8 = 0;
const SET_BAUDRATE: u8 = 1;
const SET_DATASIZE: u8 = 2;
const SET_PARITY: u8 = 3;
const SET_STOPSIZE: u8 = 4;
const SET_CONTROL: u8 = 5;
const NOTIFY_LINESTATE: u8 = 6;
const FLOWCONTROL_SUSPEND: u8 = 8;
const FLOWCONTROL_RESUME: u8 = 9;
const SET_LINESTATE_MASK: u8 = 10;
const SET_MODEMSTATE_MASK: u8 = 11;
const PURGE_DATA: u8 = 12;
const ANSWER: u8 = 100;

/// Values of SET-CONTROL.
const NO_FLOW_CONTROL: u8 = 1;
const BREAK_ON: u8 = 5;
const BREAK_OFF: u8 = 6;

/// Values of PURGE-DATA: what waits at the server to be sent on the line.
const PURGE_TRANSMIT: u8 = 2;

/// Bits of NOTIFY-LINESTATE.
const OVERRUN: u8 = 2;
const PARITY_ERROR: u8 = 4;
const FRAMING_ERROR: u8 = 8;

/// The line's settings, as far as they are known.
#[derive(Clone, Debug)]
pub(super) struct ComPort {
    /// The last rate that the server has confirmed; at first the one that is wanted.
    baud: u32,
    /// The rate that is asked for and not confirmed.
    asked: Option<u32>,
    /// Requests for a rate without their answer. Only the last one's answer counts.
    unanswered: u32,
    outcome: Option<Result<(), String>>,
    refusal: Option<Refusal>,
    is_open: bool,
    is_suspended: bool,
    errors: UartErrors,
    /// What the server calls itself.
    signature: String,
}

/// What a message is made of: its command and its value.
pub(super) type Message = (u8, Vec<u8>);

impl ComPort {
    pub(super) fn new(baud: u32) -> Self {
        Self {
            baud,
            asked: None,
            unanswered: 0,
            outcome: None,
            refusal: None,
            is_open: false,
            is_suspended: false,
            errors: UartErrors::default(),
            signature: String::new(),
        }
    }

    /// The server knows RFC 2217: the settings to ask for. Once.
    pub(super) fn open(&mut self) -> Vec<Message> {
        if std::mem::replace(&mut self.is_open, true) {
            return Vec::new();
        }
        let mut messages = vec![
            (SIGNATURE, Vec::new()),
            (SET_DATASIZE, vec![DATA_BITS]),
            (SET_PARITY, vec![NO_PARITY]),
            (SET_STOPSIZE, vec![STOP_BITS]),
            (SET_CONTROL, vec![NO_FLOW_CONTROL]),
            (SET_LINESTATE_MASK, vec![OVERRUN | PARITY_ERROR | FRAMING_ERROR]),
            // Boards toggle modem lines, and nobody here asks for them.
            (SET_MODEMSTATE_MASK, vec![0]),
            // What somebody has typed before is not said to this board.
            (PURGE_DATA, vec![PURGE_TRANSMIT]),
        ];
        // Last, so that its answer comes behind all others.
        messages.push(self.ask_baud(self.baud));
        messages
    }

    /// The server does not know RFC 2217, or not any more.
    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.refusal.get_or_insert(Refusal::NoComPort);
    }

    /// Asks for another rate.
    pub(super) fn ask_baud(&mut self, baud: u32) -> Message {
        self.asked = Some(baud);
        self.outcome = None;
        self.unanswered = self.unanswered.saturating_add(1);
        (SET_BAUDRATE, baud.to_be_bytes().to_vec())
    }

    /// Whether the rate that was asked for last is set; `None` while that is not known.
    pub(super) fn take_outcome(&mut self) -> Option<Result<(), String>> {
        self.outcome.take()
    }

    /// The answer did not come in time: back to the rate before.
    pub(super) fn give_baud_up(&mut self) -> Message {
        let message = self.ask_baud(self.baud);
        self.asked = None;
        message
    }

    pub(super) fn set_break(is_on: bool) -> Message {
        (SET_CONTROL, vec![if is_on { BREAK_ON } else { BREAK_OFF }])
    }

    /// The server said something; what to answer.
    pub(super) fn handle(&mut self, message: &[u8]) -> Option<Message> {
        let (&command, value) = message.split_first()?;
        let command = command.checked_sub(ANSWER)?;
        match (command, value) {
            (SIGNATURE, []) => Some((SIGNATURE, OWN_SIGNATURE.as_bytes().to_vec())),
            (SIGNATURE, text) => {
                let is_plain = |byte: &u8| (b' '..=b'~').contains(byte);
                let plain = text.iter().copied().filter(is_plain).take(SIGNATURE_MAX);
                self.signature = plain.map(char::from).collect();
                None
            }
            (SET_BAUDRATE, &[a, b, c, d]) => self.handle_baud(u32::from_be_bytes([a, b, c, d])),
            (SET_DATASIZE, &[bits]) => self.expect(bits, DATA_BITS, "data bits"),
            (SET_PARITY, &[parity]) => self.expect(parity, NO_PARITY, "parity"),
            (SET_STOPSIZE, &[bits]) => self.expect(bits, STOP_BITS, "stop bits"),
            (NOTIFY_LINESTATE, &[state]) => {
                let is_set = |bit: u8| u32::from(state & bit != 0);
                let errors = &mut self.errors;
                errors.overruns = errors.overruns.saturating_add(is_set(OVERRUN));
                errors.errors = errors.errors.saturating_add(is_set(PARITY_ERROR | FRAMING_ERROR));
                None
            }
            (FLOWCONTROL_SUSPEND | FLOWCONTROL_RESUME, []) => {
                self.is_suspended = command == FLOWCONTROL_SUSPEND;
                None
            }
            _ => None,
        }
    }

    pub(super) fn readiness(&self, is_late: bool) -> Readiness {
        match &self.refusal {
            Some(refusal) => Readiness::Refused(self.name_server(&refusal.to_string())),
            None if self.is_open && self.unanswered == 0 => Readiness::Ready,
            None if is_late && self.is_open => {
                Readiness::Refused(self.name_server("it does not say at which speed the line runs"))
            }
            None if is_late => Readiness::Refused(Refusal::NoComPort.to_string()),
            None => Readiness::Waiting,
        }
    }

    /// Whether the server asked for a pause.
    pub(super) fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// What the server's UART has lost or misread, as far as the server tells: each notice is counted once.
    pub(super) fn errors(&self) -> UartErrors {
        self.errors
    }

    /// A problem, and who has it.
    pub(super) fn name_server(&self, problem: &str) -> String {
        match self.signature.as_str() {
            "" => problem.to_owned(),
            name => format!("{problem} (the server is {name})"),
        }
    }

    fn handle_baud(&mut self, rate: u32) -> Option<Message> {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered > 0 {
            return None;
        }
        let wanted = self.asked.take()?;
        if is_rate(rate, wanted) {
            self.baud = wanted;
            self.outcome = Some(Ok(()));
            return None;
        }
        let refusal = Refusal::Baud { rate, wanted };
        if wanted == self.baud {
            self.refusal.get_or_insert(refusal);
            return None;
        }
        let back = self.give_baud_up();
        self.outcome = Some(Err(self.name_server(&refusal.to_string())));
        Some(back)
    }

    fn expect(&mut self, value: u8, wanted: u8, what: &'static str) -> Option<Message> {
        if value != wanted {
            self.refusal.get_or_insert(Refusal::Setting { what, value, wanted });
        }
        None
    }
}

/// 8N1, as every line here.
const DATA_BITS: u8 = 8;
const NO_PARITY: u8 = 1;
const STOP_BITS: u8 = 1;

const OWN_SIGNATURE: &str = concat!("pumice ", env!("CARGO_PKG_VERSION"));

/// Enough of a server's name for a message.
const SIGNATURE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> ComPort {
        let mut port = ComPort::new(115_200);
        assert_eq!(port.readiness(false), Readiness::Waiting);
        assert_eq!(port.open().last(), Some(&(SET_BAUDRATE, vec![0, 1, 0xC2, 0])));
        assert!(port.open().is_empty());
        port
    }

    fn baud(rate: u32) -> Vec<u8> {
        [&[101][..], &rate.to_be_bytes()].concat()
    }

    #[test]
    fn a_server_that_does_as_it_is_told() {
        let mut port = opened();
        for answer in
            [&[102, 8][..], &[103, 1], &[104, 1], &[105, 1], &[110, 14], &[111, 0], &[112, 2]]
        {
            assert_eq!(port.handle(answer), None);
            assert_eq!(port.readiness(false), Readiness::Waiting);
        }
        // A divided clock's true rate is near enough.
        assert_eq!(port.handle(&baud(115_384)), None);
        assert_eq!(port.readiness(false), Readiness::Ready);
        assert_eq!(port.take_outcome(), Some(Ok(())));
        assert_eq!(port.handle(&[100]).unwrap().0, SIGNATURE);
    }

    #[test]
    fn a_base_rate_that_is_refused_says_who_does() {
        let mut port = opened();
        port.handle(b"\x64ser\x1b2net\xff");
        assert_eq!(port.handle(&baud(9600)), None);
        let Readiness::Refused(why) = port.readiness(false) else { panic!("refused") };
        assert_eq!(
            why,
            "the line runs at 9600 baud and not at 115200: choose a rate that the server can do (the server is ser2net)"
        );
    }

    #[test]
    fn a_session_s_rate_that_is_refused_is_taken_back() {
        let mut port = opened();
        port.handle(&baud(115_200));
        port.take_outcome();
        port.ask_baud(921_600);
        assert_eq!(port.take_outcome(), None);
        let back = port.handle(&baud(460_800)).unwrap();
        assert_eq!(back, (SET_BAUDRATE, vec![0, 1, 0xC2, 0]));
        assert!(port.take_outcome().unwrap().unwrap_err().starts_with("the line runs at 460800"));
        // The next wish does not take the answer to that for its own.
        port.ask_baud(230_400);
        port.handle(&baud(115_200));
        assert_eq!(port.take_outcome(), None);
        port.handle(&baud(230_400));
        assert_eq!(port.take_outcome(), Some(Ok(())));
        // Nor does an answer that is late.
        port.ask_baud(460_800);
        assert_eq!(port.give_baud_up(), (SET_BAUDRATE, 230_400_u32.to_be_bytes().to_vec()));
        port.handle(&baud(460_800));
        port.handle(&baud(230_400));
        assert_eq!(port.take_outcome(), None);
        assert_eq!(port.readiness(true), Readiness::Ready);
    }

    #[test]
    fn other_settings_are_refused() {
        let mut port = opened();
        port.handle(&[102, 7]);
        let expected =
            "the line has 7 data bits and not 8: free it from other settings at the server";
        assert_eq!(port.readiness(false), Readiness::Refused(expected.into()));
        assert!(matches!(ComPort::new(9600).readiness(true), Readiness::Refused(_)));
        assert!(matches!(opened().readiness(true), Readiness::Refused(_)));
    }

    #[test]
    fn line_states_are_counted() {
        let mut port = opened();
        for state in [0, 0x60, 2, 4, 8, 12, 14, 16] {
            port.handle(&[106, state]);
        }
        // Modem lines tell nothing of it; what is too short or unknown tells nothing at all.
        for message in [&[107, 0xFF][..], &[106], &[], &[5], &[200, 1], &[101, 1]] {
            assert_eq!(port.handle(message), None);
        }
        assert_eq!(port.errors(), UartErrors { overruns: 2, errors: 4 });
    }

    #[test]
    fn a_server_may_ask_for_a_pause() {
        let mut port = opened();
        port.handle(&[108]);
        assert!(port.is_suspended());
        port.handle(&[109]);
        assert!(!port.is_suspended());
    }
}
