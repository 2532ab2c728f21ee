//! A lab for tests: a loop that answers, a history in memory, and a client that writes what it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::config::lab::BoardWish;
use crate::io::test_folder::TestFolder;
use crate::job::event::LogRecord;
use crate::job::verdict::Verdict;
use crate::lab::NewJob;
use crate::lab::view::{
    BoardState, BoardView, GroupView, Health, JobView, LabView, Lease, RecentRun,
};
use crate::report::summary::tests::panicked_run;
use crate::serve::control::{
    Command, Control, LinePiece, PowerView, Refusal, RefusalKind, Submission, WiringView,
};
use crate::serve::feed::{Change, Feed};
use crate::serve::history::RunRow;
use crate::serve::history::memory::Memory;
use crate::serve::http::{Asset, Limits, Options, Server, start};
use crate::store::run_dir::RunDir;

pub(super) struct Bed {
    pub(super) folder: TestFolder,
    pub(super) feed: Feed,
    pub(super) history: Arc<Memory>,
    pub(super) server: Server,
    pub(super) seen: Arc<Mutex<Seen>>,
}

/// What the loop was asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) submitted: Vec<Submission>,
    pub(super) words: Vec<String>,
    pub(super) consoles: Vec<mpsc::Sender<Vec<u8>>>,
    pub(super) typed: Vec<u8>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

pub(super) const PAGE: &[Asset] = &[
    Asset { name: "index.html", media_type: "text/html; charset=utf-8", bytes: b"<!doctype html>" },
    Asset { name: "page.js", media_type: "text/javascript", bytes: b"'use strict'" },
];

impl Bed {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = TestFolder::new();
        let mut options = options(folder.path());
        change(&mut options);
        let (sender, receiver) = sync_channel(64);
        let control = Control::new(sender, Arc::new(|| {}));
        let (feed, history, seen) = (Feed::default(), Arc::<Memory>::default(), Arc::default());
        feed.tell(Change::Lab(LabView { version: "1".into(), boards: 1, ..LabView::default() }));
        feed.tell(Change::Board(board("bbb-01")));
        history
            .jobs
            .lock()
            .unwrap()
            .extend((1..=3).map(|id| (job(id, "anna"), format!("name: {id}\n"))));
        answer_commands(receiver, feed.clone(), Arc::clone(&seen));
        let server = start(options, control, feed.clone(), Arc::clone(&history) as _).unwrap();
        Self { folder, feed, history, server, seen }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A run that ended, and is in the history.
    pub(super) fn run(&self, number: u64) -> String {
        let mut run = self.open_run(number);
        panicked_run().iter().for_each(|event| run.event(event).unwrap());
        for n in 0..100 {
            run.log(&record(n)).unwrap();
        }
        run.finish(&Value::Null).unwrap();
        let row = RunRow {
            run: run.name().to_owned(),
            job: run.summary().job.clone(),
            job_id: Some(number),
            board: "bbb-01".into(),
            board_type: "generic".into(),
            started: run.summary().started,
            ended: run.summary().ended,
            verdict: run.summary().verdict,
            tally: run.summary().tally,
            seconds: run.summary().seconds,
        };
        self.history.runs.lock().unwrap().push(row);
        run.name().to_owned()
    }

    pub(super) fn open_run(&self, number: u64) -> RunDir {
        let now = Timestamp::from_second(1_330_560_000).unwrap();
        RunDir::create(&self.path("runs"), "smoke", now, number).unwrap()
    }

    pub(super) fn connect(&self) -> TcpStream {
        connect(self.server.address())
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    pub(super) fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Answer {
        self.post_with(path, "", body)
    }

    /// `headers` are whole lines.
    pub(super) fn post_with(&self, path: &str, headers: &str, body: &str) -> Answer {
        self.ask(format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    pub(super) fn put(&self, path: &str, body: &[u8]) -> Answer {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.ask([head.as_bytes(), body].concat())
    }

    /// Writes these bytes, and reads until the connection ends.
    pub(super) fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect();
        // An answer may come before all is written.
        let _ = stream.write_all(request.as_ref());
        Answer::read(&mut stream)
    }
}

impl Answer {
    pub(super) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A connection that is reset behind the answer has given the answer.
        let _ = stream.read_to_end(&mut bytes);
        Self::parse(&bytes)
    }

    pub(super) fn parse(bytes: &[u8]) -> Self {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Self { status: 0, headers: Vec::new(), body: bytes.to_vec() };
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap();
        let pairs = lines.filter_map(|line| line.split_once(':'));
        let headers: Vec<(String, String)> =
            pairs.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        let mut body = bytes[end + 4..].to_vec();
        if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
            body = unchunked(&body);
        }
        Self { status, headers, body }
    }

    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}: {}", self.status, self.text()))
    }

    /// The error's text and what to do about it.
    pub(super) fn error(&self) -> String {
        let error = &self.json()["error"];
        format!("{} {}", error["message"].as_str().unwrap(), error["mend"].as_str().unwrap_or(""))
    }
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

pub(super) fn options(folder: &Path) -> Options {
    Options {
        listen: ([127, 0, 0, 1], 0).into(),
        store: folder.join("store"),
        runs: folder.join("runs"),
        hosts: vec!["lab.example.org".into()],
        tokens_required: false,
        job_folders: Vec::new(),
        assets: PAGE,
        limits: Limits { free_of: |_| Ok(u64::MAX), ..Limits::default() },
    }
}

pub(super) fn board(name: &str) -> BoardView {
    BoardView {
        name: name.into(),
        board_type: "generic".into(),
        tags: vec!["audio".into()],
        state: BoardState::Idle,
        health: Health::Good,
        health_reason: String::new(),
        health_since: None,
        phase: "up master".into(),
        job: None,
        run: None,
        action: String::new(),
        progress: Some(0.5),
        lease: None,
        last_line: "login:".into(),
        line: "good".into(),
        received_bytes: 12,
        recent: vec![RecentRun { run: "x".into(), verdict: Verdict::Passed }],
    }
}

pub(super) fn job(id: u64, submitter: &str) -> JobView {
    let new = NewJob {
        name: format!("job {id}"),
        submitter: submitter.into(),
        priority: 50,
        board_wish: BoardWish::named("bbb-01"),
        folder: "suite".into(),
        node: None,
    };
    let (node, role) = ("client-2".into(), "client".into());
    let group = GroupView { first: id.saturating_sub(2), boards: 3, node, role };
    JobView {
        waits_for: "a board".into(),
        group: Some(group),
        is_canceled: true,
        ..new.numbered(id, Timestamp::UNIX_EPOCH)
    }
}

pub(super) fn record(n: i64) -> LogRecord {
    let source = crate::job::event::Source::ALL[n as usize % 8];
    let time = Timestamp::from_second(1_330_560_000 + n).unwrap();
    LogRecord {
        level: (n % 2 == 0).then_some(4),
        ..LogRecord::new(time, source, format!("line {n}"))
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length =
            usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        let rest = &bytes[end + 2..];
        whole.extend_from_slice(&rest[..length.min(rest.len())]);
        bytes = rest.get(length + 2..).unwrap_or_default();
    }
    whole
}

/// A loop that does as it is told. It ends with the interface, which holds the other end.
fn answer_commands(receiver: Receiver<Command>, feed: Feed, seen: Arc<Mutex<Seen>>) {
    std::thread::spawn(move || {
        for command in receiver {
            let mut seen = seen.lock().unwrap();
            let known = |name: &str| {
                let none = || Refusal::new(RefusalKind::NotFound, format!("no board {name}"));
                feed.board(name).ok_or_else(none)
            };
            let words = format!("{command:?}");
            seen.words.push(words.split(", reply:").next().unwrap_or_default().to_owned());
            match command {
                Command::Submit(submission, reply) => {
                    let job = job(7, &submission.jobs[0].submitter);
                    seen.submitted.push(*submission);
                    let _ = reply.send(Ok(job));
                }
                Command::Cancel(id, reply) => {
                    let _ = reply.send(Ok(job(id, "anna")));
                }
                Command::Acquire { board, holder, reason, reply, .. } => {
                    let lease = Lease { holder, reason, until: Timestamp::UNIX_EPOCH };
                    let view = known(&board).map(|view| BoardView { lease: Some(lease), ..view });
                    if let Ok(view) = &view {
                        feed.tell(Change::Board(view.clone()));
                    }
                    let _ = reply.send(view);
                }
                Command::Release { board, reply, .. } | Command::SetHealth { board, reply, .. } => {
                    let _ = reply.send(known(&board));
                }
                Command::Power { reply, .. } => {
                    let _ = reply.send(Err(Refusal::new(RefusalKind::Forbidden, "it is anna's")));
                }
                Command::Console { output, reply, .. } => {
                    let _ = output.try_send(b"\x00\xffboot>".to_vec());
                    seen.consoles.push(output);
                    let _ = reply.send(Ok(5));
                }
                Command::Line { holder, output, reply, .. } => {
                    let _ = output.try_send(LinePiece::Bytes(holder.into_bytes()));
                    let _ = output.try_send(LinePiece::End("the cable was pulled".into()));
                    let _ = reply.send(Ok(6));
                }
                Command::EndLine(_) => {}
                Command::Switch { reply, .. } => {
                    let _ = reply.send(Ok(()));
                }
                Command::Wiring { reply, .. } => {
                    let power = PowerView::Switched {
                        has_cycle: false,
                        retries: 2,
                        retry_delay_ms: 2000,
                        deadline_ms: 90_000,
                        settle_ms: 1000,
                        delay_ms: 0,
                    };
                    let board_type = "name: generic\n".to_owned();
                    let _ = reply.send(Ok(WiringView { board_type, power, image_files: vec![] }));
                }
                Command::Type(_, bytes) => seen.typed.extend(bytes),
                Command::Reload(reply) => {
                    let _ = reply.send(Ok(()));
                }
            }
        }
    });
}
