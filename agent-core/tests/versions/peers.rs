//! Peers of another age against today's code: one that knows less than version 1 has come to, one that knows more, and one
//! of another major version. Their frames are written by hand; nothing of today's encoders decides what they say.

use agent_core::agent::{Agent, Call, Config, Effect, Role};
use agent_core::link::coding::{self, Coding, SymbolReader, decode_cobs};
use agent_core::link::crc::crc32c;
use agent_core::link::frame::{Frame, Kind};
use agent_core::link::{
    Beacon, CloseReason, Event, GOODBYE, HelloAck, LINE_MAX, LineConfig, Link, Priority, VERSION,
    WRAPS,
};
use agent_core::time::{Duration, Instant};
use agent_core::wire::record::Record;
use agent_core::wire::{Envelope, Failure, FailureKind, Method, codec, response};

type BoardLink = Link<16, 16, 4096>;

const LINE: LineConfig = LineConfig { coding: Coding::TextSafe, baud: 115_200 };

const BEACON: Beacon = Beacon { boot_id: [3; 16], nonce: 99, role: 0, coding: Coding::TextSafe };

const DATA: u8 = 0;
const ACK: u8 = 1;
const HELLO: u8 = 2;
const HELLO_ACK: u8 = 3;
const FROM_BOARD: u8 = 0x80;

/// Of a stream's data that fills the frame.
const CHUNK: u8 = 1 << 5;

/// One frame on the line, text-safe, which either end reads from either peer.
fn frame(control: u8, tag: u8, ack: u8, rest: &[u8]) -> Vec<u8> {
    let mut content = [&[control, tag, ack], rest].concat();
    content.extend(crc32c(&content).to_le_bytes());
    let mut out = [0; LINE_MAX];
    let length = coding::encode(Coding::TextSafe, &content, &mut out);
    out[..length].to_vec()
}

/// The content of a frame in either coding; the zero before a text-safe one is skipped.
fn content(line: &[u8]) -> Vec<u8> {
    let line = if line.get(1) == Some(&coding::OPEN) { &line[1..] } else { line };
    let mut inner = line[1..line.len() - 1].to_vec();
    if line[0] == coding::OPEN {
        let mut symbols = SymbolReader::default();
        return inner.iter().filter_map(|symbol| symbols.push(*symbol)).collect();
    }
    let length = decode_cobs(&mut inner).expect("a binary frame");
    inner.truncate(length);
    inner
}

fn tag(host_nonce: u32) -> u8 {
    let nonce = BEACON.nonce.to_le_bytes();
    let bytes = [&BEACON.boot_id[..], &nonce, &host_nonce.to_le_bytes()].concat();
    (crc32c(&bytes) as u8).max(1)
}

/// One of today's ends, and everything that it told.
struct End<const WINDOW: usize> {
    now: Instant,
    link: Box<Link<WINDOW, 16, 4096>>,
    bytes: Vec<u8>,
    told: Vec<String>,
}

impl<const WINDOW: usize> End<WINDOW> {
    fn new(link: Box<Link<WINDOW, 16, 4096>>) -> Self {
        Self { now: Instant::ZERO, link, bytes: Vec::new(), told: Vec::new() }
    }

    /// These bytes come; what it says to them.
    fn hears(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.now = self.now + Duration::from_millis(20);
        self.link.handle_input(self.now, bytes, &mut |_| {});
        self.link.handle_timeout(self.now);
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::Data { stream, bytes } => {
                    self.bytes.extend_from_slice(bytes);
                    let count = bytes.len();
                    self.link.grant(stream, count);
                }
                Event::Opened(peer) => {
                    self.told.push(format!("opened {} {}", peer.version, peer.capabilities));
                }
                Event::Incompatible(version) => self.told.push(format!("incompatible {version}")),
                Event::Beacon(_) => self.told.push("beacon".into()),
                other => self.told.push(format!("{other:?}")),
            }
        }
        self.says()
    }

    fn says(&mut self) -> Vec<Vec<u8>> {
        let mut out = [0; LINE_MAX];
        let mut said = Vec::new();
        while let Some(length) = self.link.poll_transmit(self.now, &mut out) {
            said.push(out[..length].to_vec());
        }
        said
    }

    /// More frames than numbers, in both directions, with a peer whose check values never tell how often they wrapped.
    fn carries_plain_frames(&mut self, from_peer: u8, tag: u8) {
        assert!(self.link.open(3, Priority::Bulk));
        let (mut seq, mut expected, mut received) = (0u8, 0u8, Vec::new());
        let (mut sent, mut written) = (Vec::new(), Vec::new());
        for round in 0..700u32 {
            let piece = [round as u8, (round >> 8) as u8, 0xA5];
            if self.link.room(3) >= piece.len() {
                assert_eq!(self.link.write(3, &piece), piece.len());
                written.extend_from_slice(&piece);
            }
            // Credit for all that there will be, as an absolute offset: 2100.
            let body = [&[seq][..], &[2 << 6 | 3, 0xB4, 0x10, CHUNK | 3], &piece].concat();
            let said = self.hears(&frame(from_peer | DATA, tag, expected, &body));
            sent.extend_from_slice(&piece);
            seq = seq.wrapping_add(1);
            for line in said {
                let content = content(&line);
                let frame = Frame::parse(&content).expect("a check value as in the first turn");
                assert_eq!((frame.tag, frame.from_board), (tag, from_peer == 0));
                if frame.kind == Kind::Data && frame.seq == expected {
                    expected = expected.wrapping_add(1);
                    received.extend(chunks_of(3, frame.body));
                }
            }
        }
        assert_eq!(self.bytes, sent);
        // The last one may still wait for its acknowledgement.
        assert!(written.starts_with(&received) && received.len() > 3 * 600, "{}", received.len());
        assert!(self.link.stats().damaged_frames == 0, "{}", self.link.stats());
    }
}

/// The bytes of a stream in a body that has data of no other.
fn chunks_of(stream: u8, body: &[u8]) -> Vec<u8> {
    let (mut at, mut bytes) = (0, Vec::new());
    let varint = |at: &mut usize| {
        let (mut number, mut shift) = (0usize, 0);
        loop {
            let byte = body[*at];
            *at += 1;
            number |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    };
    while at < body.len() {
        let head = body[at];
        at += 1;
        match head >> 6 {
            0 => {
                let is_last = head & CHUNK != 0;
                let length = if is_last { body.len() - at } else { varint(&mut at) };
                assert_eq!(head & 31, stream);
                bytes.extend_from_slice(&body[at..at + length]);
                at += length;
            }
            2 => drop(varint(&mut at)),
            _ => {}
        }
    }
    bytes
}

fn board() -> End<16> {
    End::new(Box::new(BoardLink::board(Instant::ZERO, LINE, BEACON)))
}

fn host() -> End<32> {
    End::new(Box::new(Link::host(LINE, 7)))
}

/// The nonce in a host's hello.
fn nonce_of(said: &[Vec<u8>]) -> u32 {
    let content = content(said.last().expect("a hello"));
    assert_eq!(content[0], HELLO);
    codec::decode::<agent_core::link::Hello>(&content[3..]).unwrap().nonce
}

/// A HELLO_ACK of so many fields: version, boot id, nonce, host nonce, role, window, capabilities.
fn hello_ack(version: u8, host_nonce: u32, fields: usize, tail: &[u8]) -> Vec<u8> {
    let all = HelloAck {
        version,
        boot_id: BEACON.boot_id,
        nonce: BEACON.nonce,
        host_nonce,
        role: 0,
        window: 16,
        capabilities: 0,
    };
    let mut buffer = [0; 64];
    let body = codec::encode(&all, &mut buffer).unwrap();
    // The last three take a byte each.
    frame(FROM_BOARD | HELLO_ACK, 0, 0, &[&body[..body.len() - (7 - fields)], tail].concat())
}

#[test]
fn an_older_host() {
    // Versions and nonce, no more; it has room for one frame, and no capability.
    for hello in [&[1, 1, 7][..], &[1, 1, 7, 16], &[1, 1, 7, 16, 0]] {
        let mut board = board();
        let said = board.hears(&frame(HELLO, 0, 0, hello));
        assert_eq!(board.told, ["opened 1 0"]);
        let answers = said.iter().filter(|line| line[0] == coding::OPEN);
        let kinds: Vec<u8> = answers.map(|line| content(line)[0]).collect();
        assert_eq!(kinds, [FROM_BOARD | HELLO_ACK]);
        board.carries_plain_frames(0, tag(7));
    }
}

#[test]
fn an_older_board() {
    for fields in 4..=7 {
        let mut host = host();
        let nonce = nonce_of(&host.hears(BEACON.to_line().as_bytes()));
        host.hears(&hello_ack(1, nonce, fields, &[]));
        assert_eq!(host.told, ["beacon", "opened 1 0"]);
        host.carries_plain_frames(FROM_BOARD, tag(nonce));
        // It would not understand a goodbye.
        host.link.say_goodbye(host.now);
        assert_eq!(host.says(), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn a_newer_host() {
    let mut board = board();
    let capabilities = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    let hello = [&[1, 9, 7, 16][..], &capabilities, b"fields of tomorrow"].concat();
    board.hears(&frame(HELLO, 0, 0, &hello));
    assert_eq!(board.told, [format!("opened 1 {}", WRAPS | GOODBYE)]);
    for kind in 7..=15 {
        board.hears(&frame(kind, tag(7), 0, b"anything"));
    }
    assert_eq!(board.link.stats().unknown, 9);
    assert!(board.link.is_open());
}

#[test]
fn a_newer_board() {
    let mut host = host();
    let said = BEACON.to_line().trim().rsplit_once(" #").unwrap().0.to_owned();
    let said = format!("{said} speed=fast colour=blue");
    let beacon = format!("\r\n{said} #{:08x}\r\n", crc32c(said.as_bytes()));
    let nonce = nonce_of(&host.hears(beacon.as_bytes()));
    let capabilities = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    host.hears(&hello_ack(1, nonce, 6, &[&capabilities[..], b"fields of tomorrow"].concat()));
    assert_eq!(host.told, ["beacon", &format!("opened 1 {}", WRAPS | GOODBYE)]);
    for kind in 7..=15 {
        host.hears(&frame(FROM_BOARD | kind, tag(nonce), 0, b"anything"));
    }
    assert_eq!((host.link.stats().unknown, host.told.len()), (9, 2));
    assert!(host.link.is_open());
}

#[test]
fn messages_of_a_newer_host_and_of_an_older_one() {
    let config = Config {
        boot_id: BEACON.boot_id,
        nonce: BEACON.nonce,
        role: Role::Master,
        coding: BEACON.coding,
        baud: LINE.baud,
    };
    let mut agent = Box::new(Agent::new(Instant::ZERO, config));
    let mut now = Instant::ZERO;
    let mut hears = |agent: &mut Agent, line: &[u8]| {
        now = now + Duration::from_millis(20);
        agent.handle_line(now, line);
        now
    };
    hears(&mut agent, &frame(HELLO, 0, 0, &[1, 9, 7, 16]));
    let message = |method: u16, request: u8, body: &[u8]| {
        let mut message = (body.len() as u16 + 6).to_le_bytes().to_vec();
        message.extend(method.to_le_bytes());
        message.extend([request, 0, 0, 0]);
        message.extend(body);
        message
    };
    // Fields that this agent does not know; fields that an older host does not send (all of them); a method of tomorrow.
    let longer = message(Method::CLOCK.0, 1, b"\x07 and more");
    let shorter = message(Method::CLOCK.0, 2, b"");
    let unknown = message(0x7ABC, 3, b"anything");
    let body = [&[0, CHUNK][..], &longer, &shorter, &unknown].concat();
    let at = hears(&mut agent, &frame(DATA, tag(7), 0, &body));
    let mut clocks = Vec::new();
    while let Some(effect) = agent.poll_effect(at) {
        if let Effect::Call { request, call: Call::Clock(clock) } = effect {
            clocks.push((request, clock.host_us));
        }
    }
    assert_eq!(clocks, [(1, 7), (2, 0)]);
    let mut out = [0; LINE_MAX];
    let mut messages = Vec::new();
    while let Some(length) = agent.poll_transmit(at, &mut out) {
        let content = content(&out[..length]);
        let frame = Frame::parse(&content).unwrap();
        if frame.kind == Kind::Data {
            messages.extend(chunks_of(0, frame.body));
        }
    }
    let (answer, _) = Envelope::parse(&messages).unwrap().expect("an answer");
    assert_eq!((answer.method, answer.request), (Method::FAILED, 3));
    assert_eq!(codec::decode::<Failure<'_>>(answer.body).unwrap().kind, FailureKind::UNSUPPORTED);
}

#[test]
fn answers_and_records_of_a_newer_agent() {
    // What a host reads of them: longer bodies, a failure and a source that it has no name for.
    let exit = [response::Exit::EXITED, 3, 1, 1, 1, 1, 0xFF, 0xFF];
    assert_eq!(codec::decode::<response::Exit>(&exit).unwrap().code, 3);
    let failure: Failure<'_> = codec::decode(b"\x64\x02\x05later and more").unwrap();
    assert_eq!((failure.kind, failure.text), (FailureKind(100), "later"));
    let record = b"\x0c\x00\xc8\x06\x01\x02\x03\x04text+++";
    let (record, used) = Record::parse(record).unwrap().unwrap();
    assert_eq!((record.source, record.sequence, record.text, used), (200, 3, &b"text"[..], 14));
}

/// Each is told once, whatever it repeats, and nothing else comes of it.
#[test]
fn an_agent_of_the_next_major_version() {
    let told = [format!("incompatible {}", VERSION + 1)];

    let mut host = host();
    let said = format!("@pumice{} anything=new", VERSION + 1);
    let beacon = format!("\r\n{said} #{:08x}\r\n", crc32c(said.as_bytes()));
    for _ in 0..3 {
        assert_eq!(host.hears(beacon.as_bytes()), Vec::<Vec<u8>>::new(), "it would not understand");
    }
    assert_eq!(host.told, told);

    // Majors count from 0 in a frame's first byte: 1 is the next.
    let mut host = self::host();
    for _ in 0..3 {
        host.hears(&frame(FROM_BOARD | 0x10 | HELLO_ACK, 0, 0, b"anything"));
    }
    assert_eq!(host.told, told);

    let mut host = self::host();
    let nonce = nonce_of(&host.hears(BEACON.to_line().as_bytes()));
    for _ in 0..3 {
        host.hears(&hello_ack(VERSION + 1, nonce, 7, &[]));
    }
    assert_eq!(host.told, ["beacon", &told[0]]);
    assert!(!host.link.is_open());
}

#[test]
fn a_host_of_the_next_major_version() {
    let mut board = board();
    let said = board.hears(&frame(HELLO, 0, 0, &[VERSION + 1, 9, 7, 16, 0]));
    let answer = said.iter().find(|line| line[0] == coding::OPEN).expect("an answer");
    let answer = content(answer);
    assert_eq!(answer[0], FROM_BOARD | HELLO_ACK);
    let answer: HelloAck = codec::decode(&answer[3..]).unwrap();
    assert_eq!((answer.version, answer.host_nonce), (VERSION, 7));
    assert!(board.told.is_empty() && !board.link.is_open(), "it says what it speaks, no more");
    // And an older dispatcher still reaches it.
    board.hears(&frame(HELLO, 0, 0, &[1, 1, 8, 16, 0]));
    assert_eq!(board.told, ["opened 1 0"]);
    assert_ne!(board.link.stats().unknown, 0);
    board.link.abandon(board.now);
    board.hears(&frame(ACK, tag(8), 0, &[]));
    assert_eq!(board.told[1], format!("{:?}", Event::Closed(CloseReason::Protocol)));
}
