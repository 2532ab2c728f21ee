//! Sends one file by YMODEM-1K, as a boot loader receives it (`loady` of U-Boot, `rb` of lrzsz).
//!
//! Owns the dialogue from the receiver's first `C` to its answer to the empty header. Each block is sent until it is
//! acknowledged; a receiver that is silent, or that cancels, ends it with a sentence. Knows nothing of what is sent.
//!
//! What U-Boot does otherwise than the reference: it acknowledges the header without calling for data, and says `C`,
//! not NAK, of a block that was damaged. After 2 s of silence it throws away what comes until it is silent for another 2 s.
//!
//! Source: Chuck Forsberg, "XMODEM/YMODEM Protocol Reference" (1988), §§4-6, 8; U-Boot `common/xyzModem.c`.

use std::sync::Arc;

use agent_core::time::{Duration, Instant};
use crc::{CRC_16_XMODEM, Crc};

/// A file on its way to a receiver.
#[derive(Clone, Debug)]
pub struct Sender {
    name: String,
    content: Arc<[u8]>,
    state: State,
    /// Waits to be sent.
    out: Option<Vec<u8>>,
    sent_at: Instant,
    deadline: Instant,
    /// What is under way is sent again at the deadline.
    is_pausing: bool,
    /// Times that what is under way was sent again.
    repeats: u32,
    /// All of them.
    repeats_in_all: u64,
    before: u8,
    heard_at: Instant,
    failure: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for the receiver.
    Calling,
    /// The header is to be acknowledged.
    Header,
    /// It was; the receiver calls for data.
    HeaderDone,
    /// The block at this offset is to be acknowledged.
    Data(usize),
    /// The end is.
    End,
    /// It was; the receiver calls for another file.
    EndDone,
    /// That there is none is to be acknowledged.
    NoMore,
    /// All of it.
    Done,
}

/// How far a transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes were acknowledged.
    Running(u64),
    /// The receiver has the file.
    Done,
    /// It does not; a sentence says why.
    Failed(String),
}

impl Sender {
    /// Waits for a receiver that will call soon. `name` is cut to 100 bytes.
    pub fn new(now: Instant, name: &str, content: Arc<[u8]>) -> Self {
        let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
        Self {
            name: name[..end.unwrap_or(0)].replace('\0', "_"),
            content,
            state: State::Calling,
            out: None,
            sent_at: now,
            deadline: now + CALL_DEADLINE,
            is_pausing: false,
            repeats: 0,
            repeats_in_all: 0,
            before: b'\n',
            heard_at: now,
            failure: None,
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        match (&self.failure, self.state) {
            (Some(failure), _) => Progress::Failed(failure.clone()),
            (None, State::Done) => Progress::Done,
            (None, State::Calling | State::Header | State::HeaderDone) => Progress::Running(0),
            (None, State::Data(offset)) => Progress::Running(offset as u64),
            (None, _) => Progress::Running(self.content.len() as u64),
        }
    }

    /// How often something was sent again.
    pub fn repeats(&self) -> u64 {
        self.repeats_in_all
    }

    /// Whether the receiver has called for the file.
    pub fn is_called(&self) -> bool {
        self.state != State::Calling
    }

    /// Whether the receiver has all of the file, though it may not have said so of the end.
    pub fn is_complete(&self) -> bool {
        self.failure.is_none()
            && matches!(self.state, State::End | State::EndDone | State::NoMore | State::Done)
    }

    /// The receiver has sent this.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) {
        for byte in bytes {
            if self.is_over() {
                return;
            }
            // A call begins a line, or comes long after all else; in words it is a letter.
            let is_alone = now.since(self.heard_at) >= CALL_PAUSE;
            let is_call = matches!(self.before, b'\n' | b'\r') || is_alone;
            self.handle_byte(now, *byte, is_call);
            (self.before, self.heard_at) = (*byte, now);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_over() || now < self.deadline {
            return;
        }
        match self.state {
            _ if self.is_pausing => self.put(now),
            State::Calling => {
                self.fail("the receiver did not call for the file".to_owned());
            }
            // U-Boot does not call for it.
            State::HeaderDone => self.send_data(now, 0),
            // It has the file, and wants no other.
            State::EndDone | State::NoMore => self.state = State::Done,
            State::Header | State::Data(_) | State::End => self.repeat(now),
            State::Done => {}
        }
    }

    /// The next bytes for the line.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.take()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_over()).then_some(self.deadline)
    }

    /// Gives it up and tells the receiver, which then waits for commands again; as often as that is needed.
    pub fn cancel(&mut self) {
        if self.state != State::Done {
            self.fail("the transfer was cancelled".to_owned());
            self.out = Some([[CAN; CANCELS], [BACKSPACE; CANCELS]].concat());
        }
    }

    fn handle_byte(&mut self, now: Instant, byte: u8, is_call: bool) {
        // One may be noise.
        if byte == CAN && self.before == CAN {
            return self.fail("the receiver cancelled the transfer".to_owned());
        }
        // A receiver that begins sends some calls; those that come at once are of before.
        let is_late = now.since(self.sent_at) >= CALL_PAUSE;
        match (self.state, byte) {
            (State::Calling, CALL) if is_call => self.send(now, State::Header),
            // It has waited in vain.
            (State::Header | State::Data(0), CALL) if is_late => self.repeat(now),
            // All calls of the beginning are over: what came was damaged.
            (State::Data(1..) | State::End, CALL) => self.repeat(now),
            (State::Header, ACK) => self.wait(now, State::HeaderDone, FIRST_PAUSE),
            (State::HeaderDone, CALL) => self.send_data(now, 0),
            (State::Data(offset), ACK) => {
                self.send_data(now, (offset + BLOCK_BYTES).min(self.content.len()));
            }
            (State::End, ACK) => self.wait(now, State::EndDone, ANSWER_DEADLINE),
            (State::EndDone, CALL) => self.send(now, State::NoMore),
            (State::NoMore, ACK) => self.state = State::Done,
            (State::Header | State::Data(_) | State::End | State::NoMore, NAK) => self.repeat(now),
            _ => {}
        }
    }

    fn is_over(&self) -> bool {
        self.failure.is_some() || self.state == State::Done
    }

    fn send_data(&mut self, now: Instant, offset: usize) {
        let is_end = offset >= self.content.len();
        self.send(now, if is_end { State::End } else { State::Data(offset) });
    }

    fn send(&mut self, now: Instant, state: State) {
        self.state = state;
        self.repeats = 0;
        self.put(now);
    }

    fn wait(&mut self, now: Instant, state: State, period: Duration) {
        self.state = state;
        self.is_pausing = false;
        self.deadline = now + period;
    }

    fn repeat(&mut self, now: Instant) {
        // It will be sent anyway.
        if self.out.is_some() || self.is_pausing {
            return;
        }
        self.repeats += 1;
        self.repeats_in_all += 1;
        if self.repeats > REPEATS_MAX {
            let done = match self.progress() {
                Progress::Running(done) => done,
                _ => 0,
            };
            return self.fail(format!(
                "the receiver did not take the block behind byte {done}, which was sent {REPEATS_MAX} times"
            ));
        }
        if self.repeats == 1 {
            return self.put(now);
        }
        // A receiver that has lost its place takes the rest of a block for answers to its call.
        self.is_pausing = true;
        self.deadline = now + LEFTOVERS;
    }

    fn put(&mut self, now: Instant) {
        self.is_pausing = false;
        let block = match self.state {
            State::Header => {
                let mut header = self.name.clone().into_bytes();
                header.push(0);
                header.extend(self.content.len().to_string().bytes());
                block(0, &header, 0)
            }
            State::Data(offset) => {
                let end = (offset + BLOCK_BYTES).min(self.content.len());
                // The first block is number 1; the number wraps.
                let number = ((offset / BLOCK_BYTES + 1) & 0xFF) as u8;
                block(number, &self.content[offset..end], PADDING)
            }
            State::End => vec![EOT],
            State::NoMore => block(0, &[], 0),
            State::Calling | State::HeaderDone | State::EndDone | State::Done => return,
        };
        self.out = Some(block);
        self.sent_at = now;
        self.deadline = now + ANSWER_DEADLINE;
    }

    fn fail(&mut self, why: String) {
        (self.out, self.is_pausing) = (None, false);
        self.failure.get_or_insert(why);
    }
}

/// A block with its number, its complement and its check value. Short ones are padded to 128 bytes, others to 1024.
fn block(number: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let (first, bytes) =
        if content.len() <= SHORT_BYTES { (SOH, SHORT_BYTES) } else { (STX, BLOCK_BYTES) };
    let mut block = vec![first, number, !number];
    block.extend_from_slice(content);
    block.resize(3 + bytes, padding);
    let check = Crc::<u16>::new(&CRC_16_XMODEM).checksum(&block[3..]);
    block.extend(check.to_be_bytes());
    block
}

const SOH: u8 = 0x01;
const STX: u8 = 0x02;
const EOT: u8 = 0x04;
const ACK: u8 = 0x06;
const BACKSPACE: u8 = 0x08;
const NAK: u8 = 0x15;
const CAN: u8 = 0x18;
/// The receiver calls for blocks with a CRC.
const CALL: u8 = b'C';
/// Behind the last byte of a file (Ctrl-Z: of CP/M).
const PADDING: u8 = 0x1A;

const SHORT_BYTES: usize = 128;
/// YMODEM-1K.
const BLOCK_BYTES: usize = 1024;
/// Leaves room for the size in a header of 128 bytes.
const NAME_BYTES_MAX: usize = 100;
/// As lrzsz sends them: two are enough, and some may be lost.
const CANCELS: usize = 8;

/// A boot loader calls every second or two, from when its command is typed.
const CALL_DEADLINE: Duration = Duration::from_secs(30);
/// Calls of before the header have come by then.
const CALL_PAUSE: Duration = Duration::from_millis(800);
/// lrzsz calls for the first block at once, U-Boot not at all: it gives up after 2 s.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// A block of 1029 bytes takes 1.1 s at 9600 baud, and a receiver that has lost some of it waits for 2 s (U-Boot) before it says so.
const ANSWER_DEADLINE: Duration = Duration::from_secs(6);
/// The rest of a block has passed by then, at 9600 baud, and U-Boot does not throw away yet what comes.
const LEFTOVERS: Duration = Duration::from_millis(1_200);
/// The reference's: ten errors in a row are a dead line.
const REPEATS_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver as the reference describes it, which damages what it is told to.
    #[derive(Default)]
    struct Receiver {
        files: Vec<(String, Vec<u8>)>,
        size: usize,
        next: u8,
        is_open: bool,
        is_ended: bool,
    }

    impl Receiver {
        fn receive(&mut self, block: &[u8]) -> Vec<u8> {
            if block == [EOT] {
                // Once may be noise.
                let answer = if self.is_ended { vec![ACK, CALL] } else { vec![NAK] };
                self.is_ended = true;
                return answer;
            }
            let (content, check) = block[3..].split_at(block.len() - 5);
            assert_eq!(block[1], !block[2]);
            assert_eq!(block.len(), if block[0] == SOH { 133 } else { 1029 });
            let crc = Crc::<u16>::new(&CRC_16_XMODEM).checksum(content);
            if crc.to_be_bytes() != *check {
                return vec![NAK];
            }
            if block[1] == 0 && (!self.is_open || self.is_ended) {
                if content[0] == 0 {
                    return vec![ACK];
                }
                let mut parts = content.split(|byte| *byte == 0);
                let name = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
                let size = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
                self.size = size.parse().unwrap();
                self.files.push((name, Vec::new()));
                (self.next, self.is_open) = (1, true);
                return vec![ACK, CALL];
            }
            if block[1] == self.next {
                let file = &mut self.files.last_mut().unwrap().1;
                file.extend_from_slice(content);
                file.truncate(self.size);
                self.next = self.next.wrapping_add(1);
            }
            vec![ACK]
        }
    }

    const T: Instant = Instant::ZERO;

    fn content(bytes: usize) -> Arc<[u8]> {
        (0..bytes).map(|at| (at ^ at >> 8) as u8).collect()
    }

    /// Runs to the end; `damage` changes each block on its way.
    fn run(sender: &mut Sender, mut damage: impl FnMut(usize, &mut Vec<u8>)) -> Receiver {
        let mut receiver = Receiver::default();
        let mut now = T;
        sender.handle_bytes(now, b"## Ready for binary (ymodem) download to 0x40400000\r\nC");
        for count in 0..10_000 {
            if let Some(mut block) = sender.poll_transmit() {
                damage(count, &mut block);
                if !block.is_empty() {
                    let answer = receiver.receive(&block);
                    sender.handle_bytes(now, &answer);
                }
            } else if let Some(at) = sender.poll_timeout() {
                now = at;
                sender.handle_timeout(now);
            } else {
                return receiver;
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn files_of_any_size_arrive_whole() {
        for bytes in [0, 1, 127, 128, 129, 1023, 1024, 1025, 2048, 300_000] {
            let sent = content(bytes);
            let mut sender = Sender::new(T, "kernel", sent.clone());
            let receiver = run(&mut sender, |_, _| {});
            assert_eq!(sender.progress(), Progress::Done, "{bytes}");
            assert_eq!(receiver.files, [("kernel".to_owned(), sent.to_vec())]);
            assert_eq!(sender.repeats(), 1, "the end is said twice");
        }
    }

    #[test]
    fn damaged_and_lost_blocks_are_sent_again() {
        let sent = content(20_000);
        let mut sender = Sender::new(T, "kernel", sent.clone());
        let receiver = run(&mut sender, |count, block| match count % 5 {
            1 if block.len() > 1 => block[60] ^= 1,
            3 => block.clear(),
            _ => {}
        });
        assert_eq!(sender.progress(), Progress::Done);
        assert_eq!(receiver.files[0].1, *sent);
        assert!(sender.repeats() > 5, "{}", sender.repeats());
    }

    /// As U-Boot answers, from its source: no call behind the header, `C` for a damaged block, two ACKs for the end.
    #[test]
    fn u_boot_has_damaged_blocks_sent_again() {
        let sent = content(3000);
        let mut sender = Sender::new(T, "kernel", sent);
        sender.handle_bytes(T, b"at 115200 bps...\r\nC");
        assert_eq!(sender.poll_transmit().unwrap().len(), 133);
        sender.handle_bytes(T, &[ACK]);
        assert_eq!(sender.poll_transmit(), None, "lrzsz would call for it now");
        let t = sender.poll_timeout().unwrap();
        assert!(t < T + Duration::from_secs(2), "U-Boot's patience");
        sender.handle_timeout(t);
        assert_eq!(sender.poll_transmit().unwrap()[1], 1);
        sender.handle_bytes(t, &[ACK]);
        let second = sender.poll_transmit().unwrap();
        // Damaged once: at once again.
        sender.handle_bytes(t, &[CALL]);
        assert_eq!(sender.poll_transmit().unwrap(), second);
        // Twice: when the line is clear, however often it calls.
        sender.handle_bytes(t, &[CALL]);
        sender.handle_bytes(t, &[CALL, CALL]);
        assert_eq!(sender.poll_transmit(), None);
        let t = sender.poll_timeout().unwrap();
        sender.handle_timeout(t);
        assert_eq!(sender.poll_transmit().unwrap(), second);
        sender.handle_bytes(t, &[ACK]);
        assert_eq!(sender.poll_transmit().unwrap()[1], 3);
        sender.handle_bytes(t, &[ACK]);
        assert!(sender.is_complete());
        assert_eq!(sender.poll_transmit().unwrap(), [EOT]);
        sender.handle_bytes(t, &[CALL]);
        assert_eq!(sender.poll_transmit().unwrap(), [EOT], "it was damaged");
        sender.handle_bytes(t, &[ACK, ACK, CALL]);
        assert_eq!(sender.poll_transmit().unwrap().len(), 133);
        sender.handle_bytes(t, &[ACK]);
        assert_eq!((sender.progress(), sender.repeats()), (Progress::Done, 3));
    }

    #[test]
    fn calls_that_waited_are_one() {
        let mut sender = Sender::new(T, "a", content(10));
        sender.handle_bytes(T, b"\r\nCCCC");
        assert!(sender.poll_transmit().is_some());
        sender.handle_bytes(T, b"CC");
        assert_eq!(sender.poll_transmit(), None);
        let later = T + Duration::from_secs(2);
        sender.handle_bytes(later, b"C");
        assert!(sender.poll_transmit().is_some(), "the header was lost");
        // Words are no call.
        let mut sender = Sender::new(T, "a", content(10));
        sender.handle_bytes(T, b"## Unknown Command CC\r\n");
        assert_eq!(sender.state, State::Calling);
    }

    #[test]
    fn receivers_that_do_not_take_it() {
        let mut sender = Sender::new(T, "a", content(10));
        sender.handle_timeout(T + CALL_DEADLINE);
        let failed = |text: &str| Progress::Failed(text.to_owned());
        assert_eq!(sender.progress(), failed("the receiver did not call for the file"));
        assert_eq!(sender.poll_timeout(), None);

        let mut sender = Sender::new(T, "a", content(5000));
        run(&mut sender, |count, block| {
            if count >= 2 {
                block.clear();
            }
        });
        assert_eq!(
            sender.progress(),
            failed("the receiver did not take the block behind byte 1024, which was sent 10 times")
        );

        let mut sender = Sender::new(T, "a", content(5000));
        sender.handle_bytes(T, b"C");
        sender.handle_bytes(T, &[CAN, ACK, CAN]);
        assert_eq!(sender.progress(), Progress::Running(0), "one is noise");
        sender.handle_bytes(T, &[CAN]);
        assert_eq!(sender.progress(), failed("the receiver cancelled the transfer"));
    }

    #[test]
    fn a_transfer_is_given_up() {
        let mut sender = Sender::new(T, "a", content(5000));
        sender.handle_bytes(T, b"C");
        sender.cancel();
        assert_eq!(sender.poll_transmit().unwrap()[..3], [CAN; 3]);
        sender.handle_bytes(T, &[ACK, CALL, ACK]);
        assert_eq!(sender.poll_transmit(), None);
    }
}
