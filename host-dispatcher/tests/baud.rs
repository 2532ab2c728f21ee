//! Another speed of the line, both ends real, in virtual time: a line on which what is written at one speed and read at
//! another is garbage. Whatever happens, there is a session at one common speed in the end. A failure prints its seed
//! as a command to paste.

use agent_core::link::Priority;
use agent_core::time::{Duration, Instant};
use agent_core::wire::{Method, request};
use fake_board::FakeBoard;
use host_dispatcher::board::{
    Board, BoardAction, BoardEvent, BoardSpec, Direction, Goal, RequestId,
};
use host_dispatcher::config::connection::LineRole;
use host_dispatcher::config::lab::Lab;
use serial_sim::{Line, Options, Rng};

const BASE: u32 = 115_200;
const FAST: u32 = 921_600;

/// All that a change that fails may take, and then some.
const LONG: Duration = Duration::from_secs(40);

#[test]
fn both_ends_change_and_nothing_is_lost_on_the_way() {
    let mut world = World::new(1);
    // Asked before the change, answered after it.
    let file = world.get();
    world.run_for(LONG);
    assert_eq!(world.told(), [(FAST, None)]);
    world.is_settled_at(FAST);
    world.is_whole(&file);
    assert_eq!(world.sessions(), 1);
}

#[test]
fn a_board_that_cannot_goes_on_at_the_base_speed() {
    let mut world = World::new(2);
    world.fake.set_baud_max(500_000);
    let file = world.get();
    world.run_for(LONG);
    let told = world.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0], (BASE, Some("the agent did not answer at the new speed".to_owned())));
    world.is_settled_at(BASE);
    world.is_whole(&file);
    assert_eq!(world.sessions(), 1, "the session outlived it");
}

#[test]
fn frames_that_do_not_come_through_bring_both_back() {
    for (to_board, from_board, sessions) in [(true, false, 1), (true, true, 1), (false, true, 3)] {
        let mut world = World::new(3);
        (world.is_deaf_fast, world.is_mute_fast) = (to_board, from_board);
        let file = world.get();
        world.run_for(LONG);
        world.is_settled_at(BASE);
        // A board that heard the question believes in the new speed until it notices the silence.
        assert_eq!(world.sessions(), sessions, "{to_board} {from_board}: {:?}", world.told());
        if sessions == 1 {
            world.is_whole(&file);
        } else {
            assert!(world.told()[1].1.as_ref().unwrap().ends_with("; not tried again"));
        }
    }
}

#[test]
fn a_lost_answer_costs_some_seconds_and_no_session() {
    let mut world = World::new(4);
    world.until(|world| world.fake.is_guarded());
    world.up.clear();
    world.is_cut = true;
    world.run_for(Duration::from_millis(400));
    assert_eq!(world.fake.baud(), FAST, "it tries alone");
    world.is_cut = false;
    let file = world.get();
    world.run_for(LONG);
    assert_eq!(world.told(), [(BASE, Some("the agent's answer came too late".to_owned()))]);
    world.is_settled_at(BASE);
    world.is_whole(&file);
    assert_eq!(world.sessions(), 1);
}

#[test]
fn a_board_that_resets_while_it_is_fast_is_found_again() {
    let mut world = World::new(5);
    world.until(|world| world.board.is_up() && world.board.baud() == FAST);
    world.run_for(Duration::from_secs(5));
    world.fake.reset(world.now);
    world.until(|world| world.board.baud() == BASE);
    world.run_for(LONG);
    world.is_settled_at(FAST);
    assert_eq!(world.sessions(), 2);
}

#[test]
fn a_lost_session_and_a_goodbye_leave_the_base_speed() {
    let mut world = World::new(6);
    world.until(|world| world.board.is_up() && world.board.baud() == FAST);
    world.run_for(Duration::from_secs(5));
    world.is_cut = true;
    world.run_for(Duration::from_secs(20));
    assert_eq!((world.board.baud(), world.fake.baud()), (BASE, BASE));
    world.is_cut = false;
    world.run_for(LONG);
    world.is_settled_at(FAST);
    world.board.say_goodbye(world.now);
    world.run_for(Duration::from_millis(20));
    assert_eq!(world.fake.baud(), BASE);
}

#[test]
fn whatever_the_line_does_there_is_one_speed_in_the_end() {
    let seeds = match std::env::var("PUMICE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 1000..1200,
    };
    let mut fast = 0;
    for seed in seeds {
        let replay =
            format!("PUMICE_SEED={seed} cargo test -p host-dispatcher --test baud whatever");
        eprintln!("again: {replay}");
        let mut rng = Rng::new(seed);
        let mut world = World::new(seed);
        let one_in = rng.between(1000, 8000);
        world.faults = match rng.below(5) {
            0 => Options::noisy(BASE, one_in),
            1 => Options::lossy(BASE, one_in),
            2 => Options::console(BASE, 53_000),
            3 => Options::overrun(BASE, one_in),
            _ => Options::hostile(BASE, one_in),
        };
        (world.is_deaf_fast, world.is_mute_fast) = (rng.one_in(8), rng.one_in(8));
        if rng.one_in(8) {
            world.fake.set_baud_max(500_000);
        }
        let mut file = world.get();
        for _ in 0..rng.between(1, 4) {
            world.run_for(Duration::from_millis(rng.between(1, 4000)));
            match rng.below(3) {
                0 => world.fake.reset(world.now),
                1 => {
                    world.is_cut = true;
                    world.run_for(Duration::from_millis(rng.between(1, 9000)));
                    world.is_cut = false;
                }
                _ => {}
            }
        }
        world.run_for(LONG);
        world.is_right(&file, &replay);
        let baud = world.board.baud();
        let phase = world.board.phase();
        let is_settled = world.board.is_up() && !world.board.is_changing_baud();
        assert!(is_settled, "{replay}: {phase}, {:?}", world.told());
        assert_eq!(baud, world.fake.baud(), "{replay}: {:?}", world.told());
        file = world.get();
        let end = world.now + LONG;
        world.run(end, &|world| world.is_complete(&file));
        if baud == world.board.baud() {
            world.is_whole(&file);
            fast += u32::from(baud == FAST);
        }
    }
    assert!(fast > 0 || std::env::var("PUMICE_SEED").is_ok(), "nothing was tried");
}

/// A file that is fetched: its request, its stream, and how many events there were before.
struct Fetch {
    request: RequestId,
    stream: u8,
    from: usize,
}

/// A dispatcher's board, a line, and a board at its other end.
struct World {
    now: Instant,
    board: Board,
    fake: FakeBoard,
    /// Towards the board, and from it.
    down: Line,
    up: Line,
    /// The speed of either end, as far as its UART has taken it: what was written before leaves first.
    host_baud: u32,
    fake_baud: u32,
    next_host_baud: Option<u32>,
    faults: Options,
    is_cut: bool,
    /// Towards the board, or from it, nothing fast comes through.
    is_deaf_fast: bool,
    is_mute_fast: bool,
    content: Vec<u8>,
    events: Vec<BoardEvent>,
}

impl World {
    /// A board that is up.
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let lab = Lab::embedded();
        let spec = BoardSpec::from_lab(&lab.boards[0]).unwrap();
        let spec = BoardSpec { boot_loader: None, session_baud: Some(FAST), ..spec };
        let options =
            fake_board::Options { seed, has_boot_loader: false, ..fake_board::Options::default() };
        let mut world = Self {
            now: Instant::from_micros(1_000_000),
            board: Board::new(spec, seed),
            fake: FakeBoard::new(options),
            down: Line::new(Options::clean(BASE), rng.fork()),
            up: Line::new(Options::clean(BASE), rng.fork()),
            host_baud: BASE,
            fake_baud: BASE,
            next_host_baud: None,
            faults: Options::clean(BASE),
            is_cut: false,
            is_deaf_fast: false,
            is_mute_fast: false,
            content: rng.bytes(8_000),
            events: Vec::new(),
        };
        world.fake.put_file("master", "/file", &world.content);
        world.board.set_goal(world.now, Goal::AnyUp);
        world.until(|world| world.board.is_up());
        world
    }

    fn get(&mut self) -> Fetch {
        self.until(|world| world.board.is_up());
        let from = self.events.len();
        let stream =
            self.board.open_stream(self.now, Priority::Bulk, Direction::FromBoard).unwrap();
        let body = request::Get { path: "/file", stream, offset: 0 };
        let request = self.board.request(self.now, Method::GET, &body, &[stream], LONG.times(9));
        Fetch { request, stream, from }
    }

    /// The file came once and whole.
    fn is_whole(&self, fetch: &Fetch) {
        assert!(self.is_complete(fetch), "{:?}", self.told());
        assert!(self.bytes(fetch) == self.content);
    }

    /// What came of the file came once and in order, and all of it if its end came.
    fn is_right(&self, fetch: &Fetch, replay: &str) {
        let bytes = self.bytes(fetch);
        assert!(self.content.starts_with(&bytes), "{replay}");
        assert!(!self.is_complete(fetch) || bytes.len() == self.content.len(), "{replay}");
    }

    fn is_complete(&self, fetch: &Fetch) -> bool {
        let is_answer = |event: &BoardEvent| matches!(event, BoardEvent::Answer { request, .. } if *request == fetch.request);
        let is_end = |event: &BoardEvent| matches!(event, BoardEvent::Finished { stream } if *stream == fetch.stream);
        self.in_session(fetch).any(is_answer) && self.in_session(fetch).any(is_end)
    }

    /// What came on the stream.
    fn bytes(&self, fetch: &Fetch) -> Vec<u8> {
        let pieces = self.in_session(fetch).filter_map(|event| match event {
            BoardEvent::Data { stream, bytes } if *stream == fetch.stream => Some(&bytes[..]),
            _ => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }

    /// What happened in the session of the request.
    fn in_session(&self, fetch: &Fetch) -> impl Iterator<Item = &BoardEvent> {
        let is_over = |event: &&BoardEvent| matches!(event, BoardEvent::SessionClosed { .. });
        self.events[fetch.from..].iter().take_while(move |event| !is_over(event))
    }

    /// What was said about speeds.
    fn told(&self) -> Vec<(u32, Option<String>)> {
        let told = self.events.iter().filter_map(|event| match event {
            BoardEvent::Baud { baud, problem } => Some((*baud, problem.clone())),
            _ => None,
        });
        told.collect()
    }

    fn sessions(&self) -> usize {
        let is_it = |event: &&BoardEvent| matches!(event, BoardEvent::SessionOpened { .. });
        self.events.iter().filter(is_it).count()
    }

    fn is_settled_at(&self, baud: u32) {
        assert!(self.board.is_up() && !self.board.is_changing_baud(), "{:?}", self.told());
        assert_eq!((self.board.baud(), self.fake.baud()), (baud, baud), "{:?}", self.told());
        assert_eq!(self.fake.is_guarded(), baud != BASE);
    }

    fn until(&mut self, is_enough: impl Fn(&Self) -> bool) {
        let end = self.now + LONG;
        self.run(end, &is_enough);
        assert!(is_enough(self), "it does not come: {:?}", self.told());
    }

    fn run_for(&mut self, time: Duration) {
        self.run(self.now + time, &|_| false);
    }

    fn run(&mut self, end: Instant, is_enough: &dyn Fn(&Self) -> bool) {
        loop {
            while self.act() | self.transmit() | self.drain() {}
            self.tune();
            if self.now >= end || is_enough(self) {
                return;
            }
            let lines = [&self.up, &self.down];
            let line = lines.map(|line| line.next_arrival().into_iter().chain(line.next_drained()));
            let line = line.into_iter().flatten().map(Instant::from_micros).min();
            let next = [self.board.poll_timeout(), self.fake.poll_timeout(), line];
            let next = next.into_iter().flatten().min().unwrap_or(end);
            self.now = next.max(self.now + Duration::from_micros(50)).min(end);
            let down = self.down.receive(self.now.as_micros());
            // What comes while the old speed drains is thrown away, as the kernel is told to.
            if !down.is_empty() && self.fake.baud() == self.fake_baud {
                self.fake.handle_line(self.now, &down);
            }
            self.fake.handle_timeout(self.now);
            let up = self.up.receive(self.now.as_micros());
            if !up.is_empty() {
                self.board.handle_bytes(self.now, LineRole::Console, &up);
            }
            self.board.handle_timeout(self.now);
        }
    }

    fn act(&mut self) -> bool {
        let mut any = false;
        while let Some(action) = self.board.poll_action() {
            any = true;
            match action {
                BoardAction::Connect(_) => {
                    self.fake.power_on(self.now);
                    self.board.handle_connected(self.now, LineRole::Console);
                }
                BoardAction::SetBaud(baud) => self.next_host_baud = Some(baud),
                BoardAction::OfferLane | BoardAction::CloseLane => {}
                BoardAction::Disconnect | BoardAction::Power(_) => {
                    panic!("nobody wants this board off: {action:?}, {:?}", self.told())
                }
            }
        }
        any
    }

    /// Sets the speeds and faults of the lines, as soon as what was written before has left.
    fn tune(&mut self) {
        let now = self.now.as_micros();
        let mut is_new = false;
        if self.up.queued_writes(now) == 0 && self.fake_baud != self.fake.baud() {
            self.fake_baud = self.fake.baud();
            is_new = true;
        }
        if self.down.queued_writes(now) == 0
            && let Some(baud) = self.next_host_baud.take()
        {
            self.host_baud = baud;
            is_new = true;
        }
        let is_cut = (
            self.is_cut || self.is_deaf_fast && self.host_baud != BASE,
            self.is_cut || self.is_mute_fast && self.fake_baud != BASE,
        );
        is_new |= is_cut != (self.down.options().is_cut, self.up.options().is_cut);
        is_new |= self.faults.text != self.up.options().text
            || self.faults.drop_one_in != self.up.options().drop_one_in
            || self.faults.flip_one_in != self.up.options().flip_one_in;
        if is_new {
            let faults = self.faults.clone();
            let down = Options { baud: self.host_baud, is_cut: is_cut.0, ..faults.clone() };
            // Nobody writes text towards a board.
            let text = Options::clean(BASE).text;
            self.down.set_options(now, Options { text, ..down });
            self.down.set_read_baud(now, self.fake_baud);
            self.up.set_options(now, Options { baud: self.fake_baud, is_cut: is_cut.1, ..faults });
            self.up.set_read_baud(now, self.host_baud);
        }
    }

    fn transmit(&mut self) -> bool {
        let (now, mut any) = (self.now.as_micros(), false);
        self.tune();
        while self.next_host_baud.is_none() && self.down.queued_writes(now) < 2 {
            let Some(bytes) = self.board.poll_transmit(self.now, LineRole::Console) else { break };
            self.down.send(now, &bytes);
            any = true;
        }
        while self.fake.baud() == self.fake_baud && self.up.queued_writes(now) < 2 {
            let Some(bytes) = self.fake.poll_transmit(self.now) else { break };
            self.up.send(now, &bytes);
            any = true;
        }
        any
    }

    fn drain(&mut self) -> bool {
        let before = self.events.len();
        while let Some(event) = self.board.poll_event() {
            if let BoardEvent::Data { stream, bytes } = &event {
                self.board.grant(*stream, bytes.len());
            }
            self.events.push(event);
        }
        self.events.len() > before
    }
}
