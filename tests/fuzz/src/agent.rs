//! The agent between a host that asks anything and a board that answers anything: it asks of its board only what makes
//! sense, loses no effect, answers a request at most once, and in the end a new host is served.
//!
//! The first byte is the setting (bit 0: test agent, bit 1: with a plan, bit 2: a line of its own, bit 3: the plan is
//! the input's, bit 4: its journal too); steps follow, see [`World::step`].

mod board;

use crate::direct::{Owner, Told, talk};
use crate::forge::{self, Forged};
use agent_core::agent::plan::{Header, Test, encode_counted};
use agent_core::agent::{Agent, Config, Journal, Role};
use agent_core::link::{Coding, LineConfig, Link, Priority};
use agent_core::time::{Duration, Instant};
use agent_core::wire::method::REGISTRY;
use agent_core::wire::node::{NODE_CALL_MAX, NodeCall};
use agent_core::wire::test_signal::{SIGNAL_MAX, TestSignal};
use agent_core::wire::{Envelope, Method, codec};
use arbitrary::Unstructured;
use board::Board;
use std::collections::BTreeSet;

pub(crate) fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(setting) = input.arbitrary::<u8>() else { return };
    let mut world = World::new(setting, &mut input);
    world.pass(Duration::from_millis(50));
    for _ in 0..STEPS_MAX {
        if world.board.is_rebooted || input.is_empty() || world.step(&mut input).is_err() {
            break;
        }
        world.pass(Duration::from_micros(100));
        world.read_answers();
    }
    if !world.board.is_rebooted {
        world.assert_recovers();
    }
}

type Host = Owner<32, 20>;

struct World {
    now: Instant,
    host: Host,
    board: Board,
    next_request: u32,
    /// Requests of this session that have no answer yet.
    asked: BTreeSet<u32>,
    /// Bytes of stream 0 that were read as messages.
    answers_read: usize,
    sessions: usize,
    /// Bytes went to the agent that no host wrote: they may have been frames.
    is_forged: bool,
}

impl World {
    fn new(setting: u8, input: &mut Unstructured<'_>) -> Self {
        let coding = if setting & 4 == 0 { Coding::TextSafe } else { Coding::Binary };
        let role = if setting & 1 == 0 { Role::Master } else { Role::Test };
        let config = Config { boot_id: [3; 16], nonce: 99, role, coding, baud: BAUD };
        let mut board = Board::new(Agent::new(Instant::ZERO, config));
        if setting & 3 == 3 {
            let plan = if setting & 8 == 0 {
                usual_plan()
            } else {
                bytes(input).unwrap_or_default().to_vec()
            };
            let mut journal = Journal::new();
            if setting & 16 != 0 {
                journal.push(bytes(input).unwrap_or_default());
            }
            board.start_plan(Instant::ZERO, &plan, &journal);
        }
        Self {
            now: Instant::ZERO,
            host: Owner::new(Link::host(LineConfig { coding, baud: BAUD }, 5)),
            board,
            next_request: 1,
            asked: BTreeSet::new(),
            answers_read: 0,
            sessions: 0,
            is_forged: false,
        }
    }

    fn pass(&mut self, time: Duration) {
        talk(&mut self.now, &mut self.host, &mut self.board, time, |_, board| board.is_rebooted);
    }

    /// Does the next thing of the input.
    fn step(&mut self, input: &mut Unstructured<'_>) -> arbitrary::Result<()> {
        match input.arbitrary::<u8>()? % 13 {
            0 => {
                self.is_forged = true;
                let bytes = forge::piece(input, None)?;
                self.board.hear_forged(self.now, &bytes);
            }
            12 => {
                // A host that says what no host says, in this session. It acknowledges nothing: what this end would
                // then no longer repeat, the real host would wait for in vain.
                self.is_forged = true;
                let mut forged = Forged::new(input)?;
                (forged.frame.from_board, forged.frame.ack, forged.frame.sack) = (false, 0, None);
                forged.frame.tag = self.host.tag().unwrap_or_default();
                self.board.hear_forged(self.now, &forged.line());
            }
            1 => {
                let method = Method(u16::from_le_bytes(input.arbitrary()?));
                self.ask(method, bytes(input)?);
            }
            2 => {
                let row = usize::from(input.arbitrary::<u8>()?) % REGISTRY.len();
                self.ask(REGISTRY[row].method, bytes(input)?);
            }
            3 => {
                let stream = self.stream(input)?;
                self.host.link.write(stream, bytes(input)?);
            }
            4 => {
                let tenths = u64::from(input.arbitrary::<u8>()?);
                self.pass(Duration::from_millis(100 * tenths));
            }
            5 | 6 => {
                let [op, what]: [u8; 2] = input.arbitrary()?;
                self.board.report(self.now, op, what);
            }
            7 => {
                let record = bytes(input)?;
                self.board.kernel(self.now, record);
            }
            8 => {
                let (how, stream) = (input.arbitrary::<u8>()?, self.stream(input)?);
                match how % 3 {
                    0 => self.host.link.finish(stream),
                    1 => self.host.link.reset(stream),
                    _ => self.host.link.close_stream(stream),
                }
            }
            9 => match input.arbitrary::<u8>()? % 4 {
                0 => self.new_host(),
                1 => self.host.link.mute(self.now),
                2 => self.host.link.abandon(self.now),
                _ => {
                    // Bytes that are no message on stream 0.
                    self.host.link.write(0, bytes(input)?);
                }
            },
            10 => {
                let stream = self.stream(input)?;
                // More than a message holds, as of a put or a plan.
                let [length, what]: [u16; 2] = input.arbitrary()?;
                self.host.link.write(stream, &vec![what as u8; usize::from(length)]);
            }
            11 if input.ratio(1, 2)? => {
                let client = input.arbitrary()?;
                if input.arbitrary()? {
                    self.board.tell(self.now, client, bytes(input)?);
                } else if input.arbitrary()? {
                    let mut buffer = [0; 2 * NODE_CALL_MAX];
                    let call = NodeCall {
                        kind: input.int_in_range(NodeCall::SEND..=NodeCall::SYNC)?,
                        id: input.arbitrary()?,
                        data: bytes(input)?,
                    };
                    if let Ok(packet) = codec::encode(&call, &mut buffer) {
                        self.board.tell(self.now, client, packet);
                    }
                } else {
                    let mut buffer = [0; SIGNAL_MAX];
                    let signal = TestSignal {
                        kind: input.int_in_range(1..=10)?,
                        result: input.int_in_range(0..=3)?,
                        name: input.arbitrary()?,
                        text: input.arbitrary()?,
                        step: input.arbitrary()?,
                        ..TestSignal::default()
                    };
                    if let Ok(packet) = codec::encode(&signal, &mut buffer) {
                        self.board.tell(self.now, client, packet);
                    }
                }
            }
            _ => self.board.disturb(self.now, input.arbitrary()?),
        }
        Ok(())
    }

    fn ask(&mut self, method: Method, body: &[u8]) {
        let mut message = Vec::new();
        message.extend((body.len() as u16 + 6).to_le_bytes());
        message.extend(method.0.to_le_bytes());
        message.extend(self.next_request.to_le_bytes());
        message.extend(body);
        if self.host.link.is_open() && self.host.link.room(0) >= message.len() {
            self.host.link.write(0, &message);
            self.asked.insert(self.next_request);
            self.next_request += 1;
        }
    }

    fn stream(&mut self, input: &mut Unstructured<'_>) -> arbitrary::Result<u8> {
        let stream = input.arbitrary::<u8>()? % 32;
        if stream != 0 && !self.host.received.contains_key(&stream) {
            self.host.link.open(stream, Priority::Interactive);
            self.host.received.insert(stream, Vec::new());
        }
        Ok(stream.max(1))
    }

    fn new_host(&mut self) {
        let line = LineConfig { coding: Coding::TextSafe, baud: BAUD };
        self.host = Owner::new(Link::host(line, 77 + self.next_request));
        self.sessions = 0;
        self.asked.clear();
    }

    /// What the agent said on stream 0 are answers, each to a request of this session that had none.
    fn read_answers(&mut self) {
        let sessions = self.host.told.iter().filter(|told| **told == Told::Opened).count();
        if sessions != self.sessions {
            // What was asked meanwhile may belong to either session.
            (self.sessions, self.answers_read) = (sessions, 0);
            self.asked.clear();
            self.is_forged = true;
        }
        let Some(received) = self.host.received.get(&0) else { return };
        while let Some((envelope, used)) = Envelope::parse(&received[self.answers_read..])
            .expect("the agent says what is no message")
        {
            self.answers_read += used;
            let is_asked = self.asked.remove(&envelope.request);
            assert!(is_asked || self.is_forged, "an answer to nothing: {envelope:?}");
        }
    }

    /// A host that starts now gets its session and its answer.
    fn assert_recovers(mut self) {
        self.new_host();
        self.pass(RECOVERS_WITHIN);
        if self.board.is_rebooted {
            return;
        }
        assert!(self.host.link.is_open(), "no session: {:?}", self.host.told);
        self.read_answers();
        self.ask(Method::TEST_STATUS, &[]);
        let request = *self.asked.last().expect("room for a request");
        let answers_read = self.answers_read;
        talk(&mut self.now, &mut self.host, &mut self.board, RECOVERS_WITHIN, |host, _| {
            host.received.get(&0).is_some_and(|received| received.len() > answers_read + 8)
        });
        self.read_answers();
        assert!(!self.asked.contains(&request), "no answer");
    }
}

/// As many bytes as the next one says.
fn bytes<'i>(input: &mut Unstructured<'i>) -> arbitrary::Result<&'i [u8]> {
    forge::bytes(input, 255)
}

fn usual_plan() -> Vec<u8> {
    let mut buffer = [0; 128];
    let mut plan =
        encode_counted(&Header { run: "r1", watchdog_s: 0 }, &mut buffer).expect("room").to_vec();
    for (suite, timeout_ms) in [("smoke", 3_000), ("boot", 1), ("long", 60_000)] {
        plan.extend_from_slice(
            encode_counted(&Test { suite, timeout_ms, step_timeout_ms: 0, flags: 0 }, &mut buffer)
                .expect("room"),
        );
    }
    plan
}

const BAUD: u32 = 115_200;

/// Things that happen in one input.
const STEPS_MAX: usize = 80;

/// Two silences (6.5 s each), two beacons (2 s each), and hellos.
const RECOVERS_WITHIN: Duration = Duration::from_secs(20);
