//! An agent of an earlier day, which knows `get` and `put`, and neither `get-packed` nor `file-hash` nor deploy plans: files
//! go there and come home all the same.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use agent_core::link::{Beacon, Coding, Event, LineConfig, Link, Priority};
use agent_core::time::{Duration, Instant};
use agent_core::wire::envelope::{self, Envelope};
use agent_core::wire::response::{Done, Got};
use agent_core::wire::{Failure, FailureKind, Method, codec, request};
use host_dispatcher::board::{Board, BoardAction, BoardEvent, BoardSpec, Goal};
use host_dispatcher::config::connection::LineRole;
use host_dispatcher::config::lab::Lab;
use host_dispatcher::deploy::effort::Effort;
use host_dispatcher::job::event::{Event as JobEvent, LogRecord};
use host_dispatcher::script::deploy::Deployer;
use host_dispatcher::script::get::Incoming;
use host_dispatcher::script::observer::Observer;
use host_dispatcher::script::{Bench, Script};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

#[test]
fn files_come_home_by_plain_get() {
    for size in [0, 1, 5_000, 300_000] {
        let file = bytes(size);
        let world = World::new(file.clone());
        let asked = world.run(async |bench, _| {
            let mut home = Incoming::new(Vec::new());
            bench.get("/file", &mut home, |_| {}).await.unwrap();
            assert_eq!(home.mode(), 0o640);
            assert!(home.into_writer() == file, "{size} bytes");
        });
        assert_eq!(asked, [Method::GET_PACKED, Method::GET], "{size} bytes");
    }
}

#[test]
fn what_cannot_be_compared_is_no_beginning_and_never_called_changed() {
    let file = bytes(300_000);
    let world = World::new(file.clone());
    world.run(async |bench, is_cut| {
        let digest = Sha256::digest(&file[..1_000]).into();
        assert!(!bench.has_prefix("/file", 1_000, &digest).await.unwrap());
        // The session is lost in the middle, and the rest comes in the next one.
        let mut home = Incoming::new(Vec::new());
        let mut was_cut = false;
        let outcome = bench
            .get("/file", &mut home, |bytes| {
                if bytes > 100_000 && !was_cut {
                    was_cut = true;
                    is_cut.set(true);
                }
            })
            .await;
        let message = outcome.unwrap_err().message;
        assert!(message.contains("this agent cannot tell"), "{message}");
        assert_eq!(bench.sessions(), 2, "it was cut");
        assert!(home.into_writer() == file, "the parts fit all the same");
        let mut home = Incoming::new(Vec::new());
        bench.get("/file", &mut home, |_| {}).await.unwrap();
        assert!(home.into_writer() == file);
    });
}

#[test]
fn a_large_file_goes_there_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    let file = bytes(300_000);
    std::fs::write(&local, &file).unwrap();
    let deployer = Deployer {
        store: folder.path().join("store"),
        board: "b".into(),
        effort: Effort::Low,
        line_speed: None,
        agents: Default::default(),
        persists_agents: false,
        image_files: Vec::new(),
    };
    let asked = World::new(file).run(async |bench, _| {
        let pushed = bench.push(&deployer, &local, "/file").await.unwrap();
        assert_eq!((pushed.image_bytes, pushed.plans), (300_000, 1));
    });
    assert_eq!(asked, [Method::PUT]);
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|n| ((n * n) >> 3) as u8).collect()
}

/// A board that is nothing but such an agent, on a line that takes no time.
struct World {
    now: Instant,
    agent: Option<Box<Link<16, 32, 4096>>>,
    file: Vec<u8>,
    control: Vec<u8>,
    /// The stream, the request, and what is left to send.
    sending: Option<(u8, u32, VecDeque<u8>, Got<'static>)>,
    /// The stream and the request of a file that comes, and what there is of it.
    receiving: Option<(u8, u32, Vec<u8>)>,
    asked: Vec<Method>,
    /// Nothing comes through until then.
    cut_until: Instant,
}

impl World {
    fn new(file: Vec<u8>) -> Self {
        let now = Instant::from_micros(1_000_000);
        Self {
            now,
            agent: None,
            file,
            control: Vec::new(),
            sending: None,
            receiving: None,
            asked: Vec::new(),
            cut_until: now,
        }
    }

    /// Runs a script in a session, which it may cut, and returns what the agent was asked for files.
    fn run(mut self, script: impl AsyncFn(&Bench, &Rc<Cell<bool>>)) -> Vec<Method> {
        let spec = BoardSpec::from_lab(&Lab::embedded().boards.remove(0)).unwrap();
        let bench =
            Bench::new(Board::new(spec, 1), Box::new(Nobody), self.now, Timestamp::UNIX_EPOCH);
        let is_cut = Rc::new(Cell::new(false));
        let mut script = Script::new(async {
            bench.reach(Goal::AnyUp).await.unwrap();
            script(&bench, &is_cut).await;
        });
        let end = self.now + Duration::from_secs(3600);
        while self.now < end {
            bench.set_time(self.now, Timestamp::UNIX_EPOCH);
            bench.drain();
            if script.poll(&bench).is_some() {
                return self.asked;
            }
            if is_cut.take() {
                self.cut_until = self.now + Duration::from_secs(10);
            }
            if self.act(&bench) | self.carry(&bench) | bench.drain() {
                continue;
            }
            let agent = self.agent.as_ref().and_then(|agent| agent.poll_timeout());
            let board = bench.board(|board, _| board.poll_timeout());
            let next = [agent, board, bench.wake_at()].into_iter().flatten().min().unwrap_or(end);
            self.now = Ord::max(next, self.now + Duration::from_micros(100));
            bench.set_time(self.now, Timestamp::UNIX_EPOCH);
            bench.board(|board, now| board.handle_timeout(now));
            if let Some(agent) = &mut self.agent {
                agent.handle_timeout(self.now);
            }
        }
        panic!("stuck in phase {}", bench.board(|board, _| board.phase()));
    }

    fn act(&mut self, bench: &Bench) -> bool {
        let mut any = false;
        while let Some(action) = bench.board(|board, _| board.poll_action()) {
            any = true;
            if let BoardAction::Connect(_) = action {
                let coding = Coding::TextSafe;
                let beacon = Beacon { boot_id: [1; 16], nonce: 1, role: 0, coding };
                let line = LineConfig { coding, baud: 115_200 };
                self.agent = Some(Box::new(Link::board(self.now, line, beacon)));
                bench.board(|board, now| board.handle_connected(now, LineRole::Console));
            }
        }
        any
    }

    fn carry(&mut self, bench: &Bench) -> bool {
        let is_through = self.now >= self.cut_until;
        let mut any = false;
        while let Some(bytes) =
            bench.board(|board, now| board.poll_transmit(now, LineRole::Console))
        {
            any = true;
            if let Some(agent) = self.agent.as_mut().filter(|_| is_through) {
                agent.handle_input(self.now, &bytes, &mut |_| {});
            }
        }
        self.serve();
        let mut frame = [0; 4096];
        // One at a time, so that a cut strikes in the middle.
        let sent = self.agent.as_mut().and_then(|agent| agent.poll_transmit(self.now, &mut frame));
        if let Some(length) = sent {
            any = true;
            if is_through {
                bench.board(|board, now| {
                    board.handle_bytes(now, LineRole::Console, &frame[..length])
                });
            }
        }
        any
    }

    fn serve(&mut self) {
        while let Some(event) = self.agent.as_mut().and_then(|agent| agent.poll_event()) {
            match event {
                // Answered before the next event: what comes on a request's stream may stand behind it.
                Event::Data { stream: 0, bytes } => {
                    let length = bytes.len();
                    self.control.extend_from_slice(bytes);
                    self.agent.as_mut().unwrap().grant(0, length);
                    self.answer_all();
                }
                Event::Data { bytes, .. } => {
                    let (_, _, file) = self.receiving.as_mut().unwrap();
                    file.extend_from_slice(bytes);
                }
                Event::Finished { .. } => {
                    if let Some((_, id, file)) = self.receiving.take() {
                        assert!(file == self.file, "it came as it was");
                        self.tell(Method::PUT, id, &Done {});
                    }
                }
                Event::Closed(_) => (self.sending, self.control) = (None, Vec::new()),
                _ => {}
            }
        }
        self.send();
    }

    fn answer_all(&mut self) {
        let control = std::mem::take(&mut self.control);
        let mut rest = &control[..];
        while let Some((envelope, used)) = Envelope::parse(rest).unwrap() {
            rest = &rest[used..];
            self.answer(&envelope);
        }
        self.control = rest.to_vec();
    }

    fn answer(&mut self, envelope: &Envelope<'_>) {
        let (method, id) = (envelope.method, envelope.request);
        if [Method::GET, Method::GET_PACKED, Method::PUT].contains(&method) {
            self.asked.push(method);
        }
        if method == Method::PUT {
            let wanted: request::Put<'_> = codec::decode(envelope.body).unwrap();
            self.receiving = Some((wanted.stream, id, Vec::new()));
            let agent = self.agent.as_mut().unwrap();
            agent.open(wanted.stream, Priority::Bulk);
            return agent.grant(wanted.stream, self.file.len());
        }
        if method != Method::GET {
            let failure = Failure { kind: FailureKind::UNSUPPORTED, os_error: 0, text: "" };
            return self.tell(Method::FAILED, id, &failure);
        }
        let wanted: request::Get<'_> = codec::decode(envelope.body).unwrap();
        let part = &self.file[wanted.offset as usize..];
        let sha256: &'static [u8] = Box::leak(Sha256::digest(part).to_vec().into_boxed_slice());
        let got = Got { bytes: part.len() as u64, mode: 0o640, sha256 };
        self.sending = Some((wanted.stream, id, part.to_vec().into(), got));
        self.agent.as_mut().unwrap().open(wanted.stream, Priority::Bulk);
    }

    fn send(&mut self) {
        let (Some(agent), Some((stream, _, left, _))) = (&mut self.agent, &mut self.sending) else {
            return;
        };
        let taken = agent.write(*stream, left.make_contiguous());
        left.drain(..taken);
        if left.is_empty() {
            agent.finish(*stream);
            if let Some((_, id, _, got)) = self.sending.take() {
                self.tell(Method::GET, id, &got);
            }
        }
    }

    fn tell<T: serde::Serialize>(&mut self, method: Method, id: u32, body: &T) {
        let mut buffer = [0; 256];
        let message = envelope::encode(method, id, body, &mut buffer).unwrap();
        assert_eq!(self.agent.as_mut().unwrap().write(0, message), message.len());
    }
}

struct Nobody;

impl Observer for Nobody {
    fn board_event(&mut self, _wall: Timestamp, _event: &BoardEvent) {}

    fn event(&mut self, _wall: Timestamp, _event: JobEvent) {}

    fn log(&mut self, _record: &LogRecord) {}
}
