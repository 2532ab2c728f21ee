//! Sessions of released agents, byte by byte and with their times, against today's code.
//!
//! `recordings/` has for each released version what board and host wrote. Today's host must read the recorded board as a
//! host did then, and today's agent must answer the recorded host in the same sense; a newer agent may say more, and
//! refuses what was retired since. **A recording is never edited**, and this test makes one only where there is none:
//! `PUMICE_RECORD=1 cargo test -p fake-board --test recorded`.

use agent_core::link::coding::{self, SymbolReader};
use agent_core::link::frame::{CONTENT_MAX, Frame, Kind};
use agent_core::link::{Coding, Event, Hello, HelloAck, HostLink, LINE_MAX, LineConfig, Priority};
use agent_core::time::Instant;
use agent_core::wire::record::{Record, split_counted};
use agent_core::wire::{
    Envelope, Failure, FailureKind, Method, codec, envelope, request, response,
};
use fake_board::{FakeBoard, Options, Program};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn services() {
    every_recording(&SERVICES);
}

/// A host that offers no capability: frames without wraps, more of them than there are numbers.
#[test]
fn no_capabilities() {
    every_recording(&NO_CAPABILITIES);
}

/// What the host does, and what must come of it. Both belong to the recordings: they do not change either.
struct Scenario {
    name: &'static str,
    has_capabilities: bool,
    /// ms from power on.
    ends_at: u64,
    /// What the owner of the host does at each ms.
    acts: fn(&mut Host, u64),
    /// Of the first agent, which knew every method that is asked for; see [`after_retirement`].
    expected: fn() -> String,
}

/// What comes of it with an agent of a version after 0.1.0, and with today's: `block-hash` was retired, so it is refused,
/// and everything else is as it was.
fn after_retirement(expected: &str) -> String {
    let lines = expected.lines().map(|line| match line.split_once(" block-hash: ") {
        Some((request, _)) => format!("{request} failed: kind {}\n", FailureKind::UNSUPPORTED.0),
        None => format!("{line}\n"),
    });
    lines.collect()
}

const SERVICES: Scenario = Scenario {
    name: "services",
    has_capabilities: true,
    ends_at: 5_500,
    acts: |host, ms| match ms {
        100 => host.ask(1, Method::INFO, &request::Info {}),
        200 => {
            host.open(3);
            host.open(5);
            let (argv, env, cwd) = (&b"greet\0"[..], &b""[..], "");
            let (stdin, stdout, stderr, timeout_ms) = (0, 3, 5, 0);
            let exec = request::Exec { argv, env, cwd, stdin, stdout, stderr, timeout_ms };
            host.ask(2, Method::EXEC, &exec);
        }
        400 => {
            host.open(7);
            let bytes = pattern();
            let (size, sha256) = (bytes.len() as u64, &Sha256::digest(&bytes)[..]);
            let put = request::Put { path: "/tmp/a", stream: 7, mode: 0o640, size, sha256 };
            host.ask(3, Method::PUT, &put);
            assert_eq!(host.link.write(7, &bytes), bytes.len());
            host.link.finish(7);
        }
        800 => {
            host.open(9);
            host.ask(4, Method::GET, &request::Get { path: "/tmp/a", stream: 9, offset: 100 });
        }
        1_200 => {
            host.open(11);
            let list = request::List { path: "/tmp", stream: 11, recursive: true };
            host.ask(5, Method::LIST, &list);
        }
        1_500 => {
            let hash = request::BlockHash { label: "testboot", offset: 512, length: 100_000 };
            host.ask(6, Method::BLOCK_HASH, &hash);
        }
        1_700 => {
            host.open(13);
            host.ask(7, Method::FOLLOW, &request::Follow { stream: 13, kernel_from: 0 });
        }
        2_100 => host.ask(8, Method::TEST_STATUS, &request::TestStatus {}),
        2_300 => host.ask(9, Method(0x7ABC), &request::Clock { host_us: 5 }),
        2_400 => host.ask(10, Method::STAT, &request::Path { path: "/nowhere" }),
        // Pings have passed since.
        5_200 => host.link.say_goodbye(host.now),
        _ => {}
    },
    expected: || {
        let zeros = hex(&Sha256::digest(vec![0; 100_000]));
        let bytes = pattern();
        let digest = hex(&Sha256::digest(&bytes[100..]));
        format!(
            "opened as 0, version 1\n\
             1 info: master fake-board with master testboot testrootfs\n\
             2 exec: end 0 code 3\n\
             3 put: done\n\
             4 get: {} bytes, mode 640, {digest}\n\
             5 list: 2 entries\n\
             6 block-hash: {zeros}\n\
             7 follow: done\n\
             8 test-status: state 0, 0 of 0\n\
             9 failed: kind 1\n\
             10 failed: kind 3\n\
             stream 3, ended: {}\n\
             stream 5, ended: {}\n\
             stream 9, ended: {}\n\
             entry a, kind 0, {} bytes, mode 640\n\
             entry b, kind 0, 5 bytes, mode 644\n\
             kernel 0: Booting Linux on physical CPU 0x0\n\
             kernel 4: a line of the kernel\n\
             closed: Goodbye\n\
             a beacon behind it\n",
            bytes.len() - 100,
            hex(b"hello\n"),
            hex(b"oh\n"),
            hex(&bytes[100..]),
            bytes.len(),
        )
    },
};

const NO_CAPABILITIES: Scenario = Scenario {
    name: "no-capabilities",
    has_capabilities: false,
    ends_at: 300 * 50 + 1_000,
    acts: |host, ms| {
        let number = (ms / 50) as u32;
        if ms >= 500 && ms % 50 == 0 && number <= 300 {
            host.ask(number, Method::STAT, &request::Path { path: "/tmp/b" });
        }
    },
    expected: || {
        let mut text = String::from("opened as 0, version 1\n");
        for number in 10..=300 {
            writeln!(text, "{number} stat: kind 0, 5 bytes, mode 644").unwrap();
        }
        text
    },
};

/// The board of all recordings.
fn board() -> FakeBoard {
    let mut board = FakeBoard::new(Options { has_boot_loader: false, ..Options::default() });
    board.put_file("master", "/tmp/b", b"12345");
    board.script().command("greet", Program::new().out("hello\n").err("oh\n").exit(3));
    board
}

fn pattern() -> Vec<u8> {
    (0..700).map(|index| (index * 7 + index / 256) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Who wrote a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Board,
    Host,
}

/// Pieces with their times in µs.
type Pieces = VecDeque<(u64, Writer, Vec<u8>)>;

fn every_recording(scenario: &Scenario) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    if std::env::var_os("PUMICE_RECORD").is_some() {
        record(scenario, &folder);
    }
    let ending = format!("-{}.txt", scenario.name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("there are recordings")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(&ending)))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no recording of {}", scenario.name);
    let first = (scenario.expected)();
    let today = after_retirement(&first);
    for path in paths {
        let pieces = read(&path);
        let is_first = path.file_name().is_some_and(|name| name == &*format!("0.1.0{ending}"));
        let of = |writer| pieces.iter().filter(|piece| piece.1 == writer).cloned().collect();
        let (from_board, from_host): (Pieces, Pieces) = (of(Writer::Board), of(Writer::Host));
        let host = run(scenario, None, from_board);
        let expected = if is_first { &first } else { &today };
        assert_eq!(host.transcript(), *expected, "today's host, {}", path.display());
        let host = run(scenario, Some(board()), from_host);
        assert_eq!(host.transcript(), today, "today's agent, {}", path.display());
    }
}

fn record(scenario: &Scenario, folder: &Path) {
    let path = folder.join(format!("{}-{}.txt", env!("CARGO_PKG_VERSION"), scenario.name));
    assert!(!path.exists(), "{}: a recording is never made anew", path.display());
    let host = run(scenario, Some(board()), Pieces::new());
    assert_eq!(host.transcript(), after_retirement(&(scenario.expected)()));
    let mut text = format!(
        "# What an agent {} and its host wrote ({}), with the time in µs. Never edited: see tests/recorded.rs.\n",
        env!("CARGO_PKG_VERSION"),
        scenario.name
    );
    for (at, writer, bytes) in &host.log {
        let writer = if *writer == Writer::Board { "board" } else { "host" };
        writeln!(text, "{at} {writer} {}", hex(bytes)).unwrap();
    }
    fs::write(&path, text).unwrap();
}

fn read(path: &Path) -> Pieces {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pieces = lines.map(|line| {
        let mut words = line.split(' ');
        let at = words.next().unwrap().parse().unwrap();
        let writer = if words.next() == Some("board") { Writer::Board } else { Writer::Host };
        let digits = words.next().unwrap().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        (at, writer, digits.chunks(2).map(|pair| byte(pair).unwrap()).collect())
    });
    pieces.collect()
}

/// Plays a scenario. Without recorded pieces board and host are today's. With those of a board (and no other), they are
/// what the host hears. With those of a host, they are what the board hears, and today's host only listens: what it
/// writes goes nowhere.
fn run(scenario: &Scenario, mut board: Option<FakeBoard>, mut recorded: Pieces) -> Host {
    let is_live = board.is_some() && recorded.is_empty();
    let mut host = Host::new(scenario.has_capabilities);
    for ms in 0..=scenario.ends_at {
        host.now = Instant::from_micros(ms * 1_000);
        if let Some(board) = &mut board {
            if ms == 0 {
                board.power_on(host.now);
            }
            if ms == 1_900 {
                board.log_kernel(host.now, 6, "a line of the kernel");
            }
            board.handle_timeout(host.now);
        }
        host.link.handle_timeout(host.now);
        if host.link.is_open() {
            (scenario.acts)(&mut host, ms);
        }
        loop {
            let mut is_idle = true;
            while let Some(bytes) = board.as_mut().and_then(|board| board.poll_transmit(host.now)) {
                host.log.push((host.now.as_micros(), Writer::Board, bytes.clone()));
                host.hears(&bytes);
                is_idle = false;
            }
            let mut frame = [0; LINE_MAX];
            while let Some(length) = host.link.poll_transmit(host.now, &mut frame) {
                let bytes = host.as_offered(&frame[..length]);
                host.log.push((host.now.as_micros(), Writer::Host, bytes.clone()));
                if let Some(board) = board.as_mut().filter(|_| is_live) {
                    board.handle_line(host.now, &bytes);
                }
                is_idle = false;
            }
            // One at a time, when both have said what they had to say: so it was when it was written.
            if is_idle && recorded.front().is_some_and(|(at, ..)| *at <= host.now.as_micros()) {
                let Some((_, writer, bytes)) = recorded.pop_front() else { break };
                match (writer, &mut board) {
                    (Writer::Board, _) => host.hears(&bytes),
                    (Writer::Host, Some(board)) => board.handle_line(host.now, &bytes),
                    (Writer::Host, None) => {}
                }
                is_idle = false;
            }
            if is_idle {
                break;
            }
        }
    }
    host
}

/// A host and what it was told.
struct Host {
    now: Instant,
    link: Box<HostLink>,
    has_capabilities: bool,
    log: Vec<(u64, Writer, Vec<u8>)>,
    inbox: Vec<u8>,
    answers: BTreeMap<u32, (Method, Vec<u8>)>,
    streams: BTreeMap<u8, (Vec<u8>, bool)>,
    opened: Vec<String>,
    closed: Vec<String>,
}

impl Host {
    fn new(has_capabilities: bool) -> Self {
        // The seed makes the nonce, and that the tag: it belongs to the recordings.
        let line = LineConfig { coding: Coding::TextSafe, baud: 115_200 };
        Self {
            now: Instant::ZERO,
            link: Box::new(HostLink::host(line, 7)),
            has_capabilities,
            log: Vec::new(),
            inbox: Vec::new(),
            answers: BTreeMap::new(),
            streams: BTreeMap::new(),
            opened: Vec::new(),
            closed: Vec::new(),
        }
    }

    fn open(&mut self, stream: u8) {
        assert!(self.link.open(stream, Priority::Interactive));
        self.streams.insert(stream, Default::default());
    }

    fn ask(&mut self, request: u32, method: Method, body: &impl Serialize) {
        let mut buffer = [0; 512];
        let message = envelope::encode(method, request, body, &mut buffer).unwrap();
        assert_eq!(self.link.write(0, message), message.len());
    }

    fn hears(&mut self, bytes: &[u8]) {
        let bytes = self.as_offered(bytes);
        self.link.handle_input(self.now, &bytes, &mut |_| {});
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::Beacon(_) if !self.closed.is_empty() => {
                    self.closed.push("a beacon behind it\n".to_owned());
                }
                Event::Beacon(_) => {}
                Event::Opened(peer) => {
                    let (role, version) = (peer.role, peer.version);
                    self.opened.push(format!("opened as {role}, version {version}\n"));
                    assert_eq!(peer.capabilities != 0, self.has_capabilities);
                }
                Event::Closed(reason) => self.closed.push(format!("closed: {reason:?}\n")),
                Event::Incompatible(version) => panic!("version {version}"),
                Event::Data { stream: 0, bytes } => {
                    self.inbox.extend_from_slice(bytes);
                    let count = bytes.len();
                    self.link.grant(0, count);
                }
                Event::Data { stream, bytes } => {
                    self.streams.get_mut(&stream).expect("it is open").0.extend_from_slice(bytes);
                    let count = bytes.len();
                    self.link.grant(stream, count);
                }
                Event::Finished { stream } => {
                    self.streams.get_mut(&stream).expect("it is open").1 = true;
                }
                Event::Reset { stream } => panic!("stream {stream} was reset"),
            }
        }
        while let Some((envelope, used)) = Envelope::parse(&self.inbox).unwrap() {
            let answer = (envelope.method, envelope.body.to_vec());
            let before = self.answers.insert(envelope.request, answer);
            assert!(before.is_none(), "request {} answered twice", envelope.request);
            self.inbox.drain(..used);
        }
    }

    /// As it would be between two that have no capability, if this host plays such a one.
    fn as_offered(&self, bytes: &[u8]) -> Vec<u8> {
        if self.has_capabilities { bytes.to_vec() } else { without_capabilities(bytes) }
    }

    /// All that came, for people. Of what a newer agent says besides, nothing.
    fn transcript(&self) -> String {
        let mut text = self.opened.concat();
        for (request, (method, body)) in &self.answers {
            let said = said(*method, body);
            writeln!(text, "{request} {said}").unwrap();
        }
        for (id, (bytes, is_ended)) in &self.streams {
            match id {
                3 | 5 | 9 => {
                    let end = if *is_ended { ", ended" } else { "" };
                    writeln!(text, "stream {id}{end}: {}", hex(bytes)).unwrap();
                }
                11 => text += &entries(bytes),
                13 => text += &kernel_records(bytes),
                _ => {}
            }
        }
        text + &self.closed[..self.closed.len().min(2)].concat()
    }
}

fn said(method: Method, body: &[u8]) -> String {
    let name = method.row().map_or("unknown", |row| row.name);
    let said = match method {
        Method::INFO => {
            let info: response::Info<'_> = codec::decode(body).unwrap();
            let role = if info.role == response::Info::MASTER { "master" } else { "test" };
            let labels = String::from_utf8_lossy(info.partitions).replace('\0', " ");
            format!("{role} {} with {}", info.host_name, labels.trim())
        }
        Method::EXEC => {
            let exit: response::Exit = codec::decode(body).unwrap();
            format!("end {} code {}", exit.end, exit.code)
        }
        Method::GET => {
            let got: response::Got<'_> = codec::decode(body).unwrap();
            format!("{} bytes, mode {:o}, {}", got.bytes, got.mode, hex(got.sha256))
        }
        Method::LIST => {
            format!("{} entries", codec::decode::<response::Listed>(body).unwrap().entries)
        }
        Method::STAT => {
            let stat: response::Stat = codec::decode(body).unwrap();
            format!("kind {}, {} bytes, mode {:o}", stat.kind, stat.size, stat.mode)
        }
        Method::BLOCK_HASH => hex(codec::decode::<response::Hash<'_>>(body).unwrap().sha256),
        Method::TEST_STATUS => {
            let status: response::TestStatus<'_> = codec::decode(body).unwrap();
            format!("state {}, {} of {}", status.state, status.ended, status.total)
        }
        Method::FAILED => {
            format!("kind {}", codec::decode::<Failure<'_>>(body).unwrap().kind.0)
        }
        _ => "done".to_owned(),
    };
    format!("{name}: {said}")
}

fn entries(mut bytes: &[u8]) -> String {
    let mut lines = Vec::new();
    while let Some(entry) = split_counted(bytes) {
        bytes = &bytes[entry.len() + 2..];
        let entry: response::Entry<'_> = codec::decode(entry).unwrap();
        let path = String::from_utf8_lossy(entry.path);
        let (kind, size, mode) = (entry.kind, entry.size, entry.mode);
        lines.push(format!("entry {path}, kind {kind}, {size} bytes, mode {mode:o}\n"));
    }
    lines.sort();
    lines.concat()
}

/// The first and the last one of the kernel's.
fn kernel_records(mut bytes: &[u8]) -> String {
    let mut lines = Vec::new();
    while let Some((record, used)) = Record::parse(bytes).unwrap() {
        bytes = &bytes[used..];
        if record.source == Record::KERNEL {
            let text = String::from_utf8_lossy(record.text);
            lines.push(format!("kernel {}: {text}\n", record.sequence));
        }
    }
    [lines.first(), lines.last()].into_iter().flatten().cloned().collect()
}

/// The same piece; where it is a hello or its answer, one without capabilities.
fn without_capabilities(bytes: &[u8]) -> Vec<u8> {
    let Some(start) = bytes.iter().position(|byte| *byte == coding::OPEN) else {
        return bytes.to_vec();
    };
    let mut symbols = SymbolReader::default();
    let inner = bytes[start + 1..].iter().take_while(|byte| **byte != coding::CLOSE);
    let content: Vec<u8> = inner.filter_map(|symbol| symbols.push(*symbol)).collect();
    let mut buffer = [0; 96];
    let Ok(frame) = Frame::parse(&content) else { return bytes.to_vec() };
    let body = match frame.kind {
        Kind::Hello => {
            let hello: Hello = codec::decode(frame.body).unwrap();
            codec::encode(&Hello { capabilities: 0, ..hello }, &mut buffer)
        }
        Kind::HelloAck => {
            let answer: HelloAck = codec::decode(frame.body).unwrap();
            codec::encode(&HelloAck { capabilities: 0, ..answer }, &mut buffer)
        }
        _ => return bytes.to_vec(),
    };
    let frame = Frame { body: body.unwrap(), ..frame };
    let (mut content, mut line) = ([0; CONTENT_MAX], [0; LINE_MAX]);
    let length = frame.emit(&mut content);
    let length = coding::encode(Coding::TextSafe, &content[..length], &mut line);
    [&bytes[..start], &line[..length]].concat()
}
