//! The test language: a fake board and a host's link on a line without delay, in virtual time.

use agent_core::agent::plan::{self, Header, Test};
use agent_core::link::{
    Beacon, CloseReason, Coding, Event, HostLink, LINE_MAX, LineConfig, Priority,
};
use agent_core::time::{Duration, Instant};
use agent_core::wire::record::Record;
use agent_core::wire::{
    Envelope, Failure, FailureKind, Method, codec, envelope, request, response,
};
use fake_board::{FakeBoard, Options};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) struct Bench {
    pub(crate) now: Instant,
    pub(crate) board: FakeBoard,
    pub(crate) host: Box<HostLink>,
    pub(crate) console: Vec<u8>,
    pub(crate) streams: BTreeMap<u8, Incoming>,
    pub(crate) closed: Vec<CloseReason>,
    pub(crate) beacon: Option<Beacon>,
    /// Streams whose bytes nobody reads.
    pub(crate) stalled: BTreeSet<u8>,
    stalled_bytes: BTreeMap<u8, usize>,
    is_cut: bool,
    inbox: Vec<u8>,
    answers: BTreeMap<u32, (Method, Vec<u8>)>,
    outgoing: BTreeMap<u8, (VecDeque<u8>, bool)>,
    next_request: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_finished: bool,
    pub(crate) is_reset: bool,
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A board whose agent runs at once.
pub(crate) fn generic() -> Options {
    Options { has_boot_loader: false, ..Options::default() }
}

impl Bench {
    /// A board in a session.
    pub(crate) fn up(options: Options) -> Self {
        let mut bench = Self::off(options);
        bench.board.power_on(bench.now);
        bench.run_for(secs(3));
        assert!(bench.host.is_open(), "no session");
        bench
    }

    /// A board without power.
    pub(crate) fn off(options: Options) -> Self {
        let line = LineConfig { coding: Coding::TextSafe, baud: options.baud };
        Self {
            now: Instant::from_micros(1_000_000),
            board: FakeBoard::new(options),
            host: new_host(line),
            console: Vec::new(),
            streams: BTreeMap::new(),
            closed: Vec::new(),
            beacon: None,
            stalled: BTreeSet::new(),
            stalled_bytes: BTreeMap::new(),
            is_cut: false,
            inbox: Vec::new(),
            answers: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            next_request: 1,
        }
    }

    /// Nothing goes over the line from now on, or everything again.
    pub(crate) fn cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }

    pub(crate) fn type_at(&mut self, text: &str) {
        self.board.handle_line(self.now, text.as_bytes());
        self.pump();
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.pump();
        while self.now < end {
            let next = [self.board.poll_timeout(), self.host.poll_timeout()];
            let next = next.into_iter().flatten().min().unwrap_or(end);
            // A deadline that does not move would be an idle loop of a real agent.
            let soonest = self.now + Duration::from_micros(100);
            self.now = next.max(soonest).min(end);
            self.board.handle_timeout(self.now);
            self.host.handle_timeout(self.now);
            self.pump();
        }
    }

    pub(crate) fn pump(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(bytes) = self.board.poll_transmit(self.now) {
                if !self.is_cut {
                    let console = &mut self.console;
                    self.host.handle_input(self.now, &bytes, &mut |text| console.extend(text));
                    if bytes.windows(7).any(|window| window == b"U-Boot ") {
                        // As a dispatcher does: whatever it still said would stop the countdown.
                        self.host.mute(self.now);
                    }
                }
                is_idle = false;
            }
            while self.take_event() {
                is_idle = false;
            }
            for (stream, (bytes, is_end)) in &mut self.outgoing {
                let taken = self.host.write(*stream, bytes.make_contiguous());
                bytes.drain(..taken);
                if bytes.is_empty() && *is_end {
                    self.host.finish(*stream);
                    *is_end = false;
                }
            }
            let mut frame = [0; LINE_MAX];
            while let Some(length) = self.host.poll_transmit(self.now, &mut frame) {
                if !self.is_cut {
                    self.board.handle_line(self.now, &frame[..length]);
                }
                is_idle = false;
            }
            if is_idle {
                return;
            }
        }
    }

    fn take_event(&mut self) -> bool {
        let Some(event) = self.host.poll_event() else { return false };
        match event {
            Event::Beacon(beacon) => self.beacon = Some(beacon),
            Event::Opened(_) => self.inbox.clear(),
            Event::Closed(reason) => self.closed.push(reason),
            Event::Incompatible(version) => {
                panic!("an agent of this tree speaks version {version}")
            }
            Event::Data { stream: 0, bytes } => {
                self.inbox.extend(bytes);
                let count = bytes.len();
                self.host.grant(0, count);
                while let Some((envelope, used)) = Envelope::parse(&self.inbox).unwrap() {
                    let answer = (envelope.method, envelope.body.to_vec());
                    let before = self.answers.insert(envelope.request, answer);
                    assert!(before.is_none(), "request {} answered twice", envelope.request);
                    self.inbox.drain(..used);
                }
            }
            Event::Data { stream, bytes } => {
                self.streams.entry(stream).or_default().bytes.extend(bytes);
                let count = bytes.len();
                if self.stalled.contains(&stream) {
                    *self.stalled_bytes.entry(stream).or_default() += count;
                } else {
                    self.host.grant(stream, count);
                }
            }
            Event::Finished { stream } => {
                assert_ne!(stream, 0, "the end of the messages");
                self.streams.entry(stream).or_default().is_finished = true;
            }
            Event::Reset { stream } => self.streams.entry(stream).or_default().is_reset = true,
        }
        true
    }

    /// Reads on where nobody read.
    pub(crate) fn unstall(&mut self, stream: u8) {
        self.stalled.remove(&stream);
        let count = self.stalled_bytes.remove(&stream).unwrap_or(0);
        self.host.grant(stream, count);
    }

    pub(crate) fn open(&mut self, stream: u8) {
        self.streams.insert(stream, Incoming::default());
        self.outgoing.remove(&stream);
        assert!(
            self.host.open(stream, Priority::Interactive),
            "stream {stream}, {:?}",
            self.closed
        );
    }

    pub(crate) fn send(&mut self, stream: u8, bytes: &[u8], is_end: bool) {
        let (waiting, end) = self.outgoing.entry(stream).or_default();
        waiting.extend(bytes);
        *end |= is_end;
    }

    pub(crate) fn ask<T: Serialize>(&mut self, method: Method, body: &T) -> u32 {
        let mut buffer = [0; 4096];
        let request = self.next_request;
        self.next_request += 1;
        let bytes = envelope::encode(method, request, body, &mut buffer).unwrap();
        assert_eq!(self.host.write(0, bytes), bytes.len());
        request
    }

    pub(crate) fn is_answered(&self, request: u32) -> bool {
        self.answers.contains_key(&request)
    }

    /// The answer, which must have come and be of that method.
    pub(crate) fn answer<'a, T: Deserialize<'a>>(&'a self, request: u32, method: Method) -> T {
        let (of, body) = self.answers.get(&request).expect("no answer");
        if *of == Method::FAILED {
            panic!("failed: {}", codec::decode::<Failure<'_>>(body).unwrap());
        }
        assert_eq!(*of, method);
        codec::decode(body).unwrap()
    }

    pub(crate) fn failure(&self, request: u32) -> Failure<'_> {
        let (of, body) = self.answers.get(&request).expect("no answer");
        assert_eq!(*of, Method::FAILED, "it was to fail");
        codec::decode(body).unwrap()
    }

    pub(crate) fn failure_kind(&self, request: u32) -> FailureKind {
        self.failure(request).kind
    }

    pub(crate) fn exec(&mut self, line: &str, streams: [u8; 3], timeout_ms: u32) -> u32 {
        for stream in streams {
            if stream != 0 {
                self.open(stream);
            }
        }
        self.exec_on(line, streams, timeout_ms)
    }

    /// On streams as they are.
    pub(crate) fn exec_on(&mut self, line: &str, streams: [u8; 3], timeout_ms: u32) -> u32 {
        let argv: Vec<u8> =
            line.split(' ').flat_map(|word| [word, "\0"]).collect::<String>().into();
        let [stdin, stdout, stderr] = streams;
        let (env, cwd) = (&b""[..], "");
        let exec = request::Exec { argv: &argv, env, cwd, stdin, stdout, stderr, timeout_ms };
        self.ask(Method::EXEC, &exec)
    }

    pub(crate) fn exit(&self, request: u32) -> (u8, u8) {
        let exit: response::Exit = self.answer(request, Method::EXEC);
        (exit.end, exit.code)
    }

    pub(crate) fn put(
        &mut self,
        path: &str,
        stream: u8,
        bytes: &[u8],
        size: u64,
        sha256: &[u8],
    ) -> u32 {
        self.open(stream);
        let request =
            self.ask(Method::PUT, &request::Put { path, stream, mode: 0o600, size, sha256 });
        self.send(stream, bytes, true);
        request
    }

    pub(crate) fn follow(&mut self, stream: u8) {
        self.open(stream);
        self.ask(Method::FOLLOW, &request::Follow { stream, kernel_from: 0 });
    }

    /// Source, sequence and text of what came on a stream of records.
    pub(crate) fn records(&self, stream: u8) -> Vec<(u8, u64, String)> {
        let mut rest = self.streams[&stream].bytes.as_slice();
        let mut records = Vec::new();
        while let Some((record, used)) = Record::parse(rest).unwrap() {
            let text = String::from_utf8_lossy(record.text).into_owned();
            records.push((record.source, record.sequence, text));
            rest = &rest[used..];
        }
        records
    }

    pub(crate) fn status(&mut self) -> (u8, u32, u32, String) {
        let request = self.ask(Method::TEST_STATUS, &request::TestStatus {});
        self.run_for(Duration::from_millis(50));
        let status: response::TestStatus<'_> = self.answer(request, Method::TEST_STATUS);
        (status.state, status.ended, status.total, status.problem.to_owned())
    }
}

/// On a stack frame of its own: a link is large, and a debug build copies it several times on its way out.
#[inline(never)]
fn new_host(line: LineConfig) -> Box<HostLink> {
    Box::new(HostLink::host(line, 7))
}

pub(crate) fn plan_bytes(run: &str, tests: &[(&str, u32)]) -> Vec<u8> {
    let tests: Vec<_> = tests.iter().map(|(suite, timeout_ms)| (*suite, *timeout_ms, 0)).collect();
    plan_with(&Header { run, watchdog_s: 0 }, &tests)
}

/// Suite, timeout in ms and flags of each test.
pub(crate) fn plan_with(header: &Header<'_>, tests: &[(&str, u32, u8)]) -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut bytes = plan::encode_counted(header, &mut buffer).unwrap().to_vec();
    for &(suite, timeout_ms, flags) in tests {
        let test = Test { suite, timeout_ms, step_timeout_ms: 0, flags };
        bytes.extend_from_slice(plan::encode_counted(&test, &mut buffer).unwrap());
    }
    bytes
}
