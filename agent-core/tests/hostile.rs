//! Bytes from a line are hostile: whatever they are, no decoder, link or agent panics.

use agent_core::agent::plan::PlanReader;
use agent_core::agent::{Agent, Config, Event, Op, Pipe, Role};
use agent_core::link::frame::{Frame, Kind};
use agent_core::link::{Beacon, Coding, Hello, HelloAck, HostLink, LINE_MAX, LineConfig, coding};
use agent_core::time::{Duration, Instant};
use agent_core::wire::method::REGISTRY;
use agent_core::wire::node::NodeCall;
use agent_core::wire::record::{Record, split_counted};
use agent_core::wire::{Envelope, Failure, FailureKind, codec, request, response};
use proptest::collection::vec;
use proptest::prelude::*;

macro_rules! decode_all {
    ($bytes:expr; $($body:ty),* $(,)?) => {
        $(let _ = codec::decode::<$body>($bytes); let _ = codec::decode_prefix::<$body>($bytes);)*
    };
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..200)) {
        decode_all!(&bytes;
            request::Info, request::Clock, request::Follow, request::Exec<'_>, request::Signal,
            request::Get<'_>, request::Put<'_>, request::List<'_>, request::Path<'_>,
            request::Partition<'_>, request::BlockTree<'_>, request::BlockPlan<'_>,
            response::BlockTree,
            request::Mount<'_>, request::Inject<'_>, request::Reboot, request::TestStatus,
            response::Done, response::Info<'_>, response::Clock, response::Exit,
            response::Got<'_>, response::Listed, response::Entry<'_>, response::Stat,
            response::Partition<'_>, response::Written, response::Hash<'_>,
            response::Mounted<'_>, response::Injected, response::TestStatus<'_>, request::NodeCall, request::NodeAnswer<'_>,
            response::NodeCall<'_>, NodeCall<'_>,
            Failure<'_>, Hello, HelloAck, Record<'_>,
        );
        let _ = Envelope::parse(&bytes);
        let _ = Record::parse(&bytes);
        let _ = split_counted(&bytes);
        let _ = Frame::parse(&bytes);
        let _ = Beacon::find(&bytes);
        if let Ok((_, mut reader)) = PlanReader::new(&bytes) {
            while let Ok(Some(_)) = reader.test() {}
        }
    }

    #[test]
    fn no_bytes_make_a_link_panic(
        pieces in vec(prop_oneof![
            vec(any::<u8>(), 0..300),
            (0u8..=5, any::<bool>(), any::<bool>(), vec(any::<u8>(), 0..60)).prop_map(
                |(kind, from_board, is_binary, body)| line(kind, from_board, is_binary, 0, 0, &body),
            ),
        ], 0..8),
    ) {
        let (line, mut now) = (LINE, Instant::ZERO);
        let mut host = Box::new(HostLink::host(line, 1));
        let beacon = BEACON.to_line();
        host.handle_input(now, beacon.as_bytes(), &mut |_| {});
        for piece in &pieces {
            now = now + Duration::from_millis(100);
            host.handle_input(now, piece, &mut |_| {});
            while host.poll_event().is_some() {}
            let mut out = [0; LINE_MAX];
            while host.poll_transmit(now, &mut out).is_some() {}
            host.handle_timeout(now);
        }
    }

    #[test]
    fn no_message_makes_an_agent_panic(
        bodies in vec(body(), 1..12),
        reports in vec((0u8..9, 0u8..12, vec(any::<u8>(), 0..64)), 0..12),
    ) {
        let mut board = Board::in_session();
        let mut reports = reports.iter();
        for body in &bodies {
            board.data(body);
            for (kind, op, bytes) in reports.by_ref().take(2) {
                board.report(*kind, Op(*op), bytes);
            }
        }
    }
}

/// A chunk of a DATA frame: a message with a method that exists and a body of random bytes, a message that is none,
/// or chunks of any kind.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let methods: Vec<u16> = REGISTRY.iter().map(|row| row.method.0).collect();
    prop_oneof![
        4 => (proptest::sample::select(methods), vec(any::<u8>(), 0..80)).prop_map(|(method, body)| {
            let mut chunk = vec![1 << 5];
            chunk.extend((body.len() as u16 + 6).to_le_bytes());
            chunk.extend(method.to_le_bytes());
            chunk.extend([1, 0, 0, 0]);
            chunk.extend(body);
            chunk
        }),
        1 => vec(any::<u8>(), 0..80).prop_map(|bytes| [&[1 << 5], &bytes[..]].concat()),
        1 => vec(any::<u8>(), 0..80),
    ]
}

/// An agent, and as much of a host as it takes to be listened to.
struct Board {
    now: Instant,
    agent: Box<Agent>,
    seq: u8,
    tag: u8,
}

impl Board {
    fn in_session() -> Self {
        let Beacon { boot_id, nonce, coding, .. } = BEACON;
        let config = Config { boot_id, nonce, role: Role::Master, coding, baud: LINE.baud };
        let agent = Box::new(Agent::new(Instant::ZERO, config));
        let mut board = Self { now: Instant::ZERO, agent, seq: 0, tag: 0 };
        board.open();
        board
    }

    fn open(&mut self) {
        let hello = Hello { version_min: 1, version_max: 1, nonce: 7, window: 8, capabilities: 0 };
        let mut body = [0; 32];
        let body = codec::encode(&hello, &mut body).unwrap();
        self.agent.handle_line(self.now, &line(2, false, true, 0, 0, body));
        let bytes =
            [&BEACON.boot_id[..], &BEACON.nonce.to_le_bytes(), &7u32.to_le_bytes()].concat();
        self.tag = (agent_core::link::crc::crc32c(&bytes) as u8).max(1);
        self.seq = 0;
        self.drain();
    }

    fn data(&mut self, body: &[u8]) {
        self.now = self.now + Duration::from_millis(20);
        let frame = line(0, false, true, self.tag, self.seq, body);
        self.agent.handle_line(self.now, &frame);
        self.seq = self.seq.wrapping_add(1);
        self.drain();
    }

    fn report(&mut self, kind: u8, op: Op, bytes: &[u8]) {
        let event = match kind {
            0 => Event::Opened { op, size: u64::MAX, mode: 0 },
            1 => Event::Bytes { op, bytes },
            2 => Event::Committed { op },
            3 => Event::Failed {
                op,
                failure: Failure {
                    kind: FailureKind::OS,
                    os_error: 5,
                    text: "é".repeat(99).leak(),
                },
            },
            4 => Event::Output { op, pipe: Pipe::Stderr, bytes },
            5 => Event::InputTaken { op, bytes: bytes.len() },
            6 => Event::Exited { op, exit: response::Exit::default() },
            7 => Event::Kernel { record: bytes },
            _ => Event::RunFileFailed { os_error: 28 },
        };
        self.agent.handle_event(self.now, event);
        self.drain();
    }

    fn drain(&mut self) {
        for _ in 0..1000 {
            if self.agent.poll_effect(self.now).is_none() {
                let mut out = [0; LINE_MAX];
                while self.agent.poll_transmit(self.now, &mut out).is_some() {}
                self.agent.handle_timeout(self.now);
                if self.agent.poll_effect(self.now).is_none() {
                    return;
                }
            }
        }
        panic!("effects without end");
    }
}

/// A whole frame.
fn line(kind: u8, from_board: bool, is_binary: bool, tag: u8, seq: u8, body: &[u8]) -> Vec<u8> {
    let kinds = [Kind::Data, Kind::Ack, Kind::Hello, Kind::HelloAck, Kind::Ping, Kind::Reset];
    let kind = kinds[usize::from(kind)];
    let frame = Frame { kind, from_board, tag, ack: 0, sack: None, seq, body };
    let mut content = [0; agent_core::link::frame::CONTENT_MAX];
    let length = frame.emit(&mut content);
    let coding = if is_binary { Coding::Binary } else { Coding::TextSafe };
    let mut out = [0; LINE_MAX];
    let used = coding::encode(coding, &content[..length], &mut out);
    out[..used].to_vec()
}

const LINE: LineConfig = LineConfig { coding: Coding::TextSafe, baud: 115_200 };

const BEACON: Beacon = Beacon { boot_id: [3; 16], nonce: 99, role: 0, coding: Coding::TextSafe };
