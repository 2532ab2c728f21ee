//! The poll loop: one input at a time into the core, then all its effects, then its frames, then wait.

use crate::board::{Board, Moment, Report, Source};
use crate::info;
use crate::lane::Lane;
use crate::line::{CONSOLE, Line, console};
use crate::options::Options;
use crate::problem::{Outcome, Problem, about};
use crate::sys::clock;
use crate::sys::errno::Errno;
use crate::sys::init;
use crate::sys::poll::{self, Interests, Ready};
use crate::sys::program;
use crate::sys::signals::Signals;
use agent_core::agent::{Agent, Call, Config, Effect};
use agent_core::time::{Duration, Instant};
use agent_core::wire::request;

/// Serves the line until it is gone for good or a signal ends the agent. One that stands beside the real init
/// (`is_spared`) is ended by neither.
pub(crate) fn run(mut options: Options, is_spared: bool) -> Outcome<()> {
    let path = match options.line.take() {
        Some(path) => path,
        None => console().ok_or_else(|| Problem::refused(CONSOLE))?,
    };
    let is_console = path == "/dev/console";
    let mut now = clock::now();
    let mut line = match Line::open(path.clone(), options.baud, now) {
        Ok(line) => line,
        // Nobody would read a message, and the line may come.
        Err(_) if is_spared => Line::closed(path, options.baud, now),
        Err(error) => return Err(Problem::os(error, &path)),
    };
    if is_spared {
        let_init_begin(&mut line);
        now = clock::now();
    }
    let config = Config {
        boot_id: info::boot_id(),
        nonce: info::nonce(),
        role: options.role,
        coding: options.coding,
        baud: line.baud(),
    };
    let mut signals = Signals::new().map_err(about("signals"))?;
    let is_board = !options.is_test_bench && !line.is_pseudo_terminal();
    // Beside a line of the agent's own the console is not its business: there the kernel and user space are heard.
    let has_console = is_board && line.is_console();
    // A line that was opened as /dev/console would be redirected with it.
    let is_console_free = has_console && !is_console;
    let has_run = options.run.is_some();
    let mut agent = new_agent(now, config);
    let board = Board::new(&mut options, is_board, has_console, is_console_free);
    agent.set_limits(board.limits);
    let mut shell = Shell {
        agent,
        board,
        line,
        lane: Lane::new(),
        input: vec![0; INPUT_LEN].into_boxed_slice(),
        plan: has_run.then_some(Plan { next_try: now, last_try: now + PLAN_WAIT }),
        received: now,
        has_more: false,
        gather_until: now,
        base_baud: config.baud,
    };
    shell.serve(&mut signals, is_spared);
    let _ = shell.board.run_files().sync();
    if shell.line.baud() != config.baud {
        let _ = shell.line.set_baud(clock::now(), config.baud);
    }
    shell.board.restore();
    Ok(())
}

/// By itself, as it takes 180 KiB of stack for a moment: what [`run`] has on its own would be far from it, and each use
/// of that three instructions.
#[inline(never)]
fn new_agent(now: Instant, config: Config) -> Box<Agent> {
    Box::new(Agent::new(now, config))
}

/// Waits until the real init has set up its console. Before the first beacon nothing comes in; after it a terminal
/// that echoes would write the dispatcher's frames into the console's text.
fn let_init_begin(line: &mut Line) {
    let begun = clock::now();
    let (mut changed, mut repairs) = (begun, 0);
    loop {
        let now = clock::now();
        // It cannot be gone for good: it is no pseudo-terminal that an init has as its console.
        let _ = line.tend(now);
        if !init::has_begun() || line.repairs() != repairs {
            (changed, repairs) = (now, line.repairs());
        }
        if now.since(changed) >= INIT_QUIET || now.since(begun) >= INIT_LIMIT {
            return;
        }
        poll::pause(10_000);
    }
}

struct Shell {
    agent: Box<Agent>,
    board: Board,
    line: Line,
    lane: Lane,
    input: Box<[u8]>,
    /// The plan that is still to be started.
    plan: Option<Plan>,
    /// When the input that is being handled was read.
    received: Instant,
    /// The core has more to do than was done in one go.
    has_more: bool,
    /// In the middle of a frame: until then its bytes are left to gather.
    gather_until: Instant,
    /// The line's speed without a session.
    base_baud: u32,
}

/// When the run's directory is looked at.
#[derive(Clone, Copy)]
struct Plan {
    next_try: Instant,
    last_try: Instant,
}

#[derive(Clone, Copy)]
enum Token {
    Line,
    Lane,
    Signals,
    Board(Source),
}

impl Shell {
    /// Takes and does whatever there is until the line is gone for good, or a signal ends the agent. By itself, so that
    /// what [`run`] prepares is not far from it.
    #[inline(never)]
    fn serve(&mut self, signals: &mut Signals, is_spared: bool) {
        let mut ready = Vec::with_capacity(16);
        let mut goes_on = self.settle();
        while goes_on {
            self.wait(signals, &mut ready);
            let mut now = clock::now();
            self.received = now;
            // First of all, so that nothing is written into a terminal that somebody else has set up.
            if self.line.tend(now).is_err() {
                // The other end of a pseudo-terminal has closed it.
                break;
            }
            while let Some(found) = ready.pop() {
                match found.token {
                    Token::Line => goes_on &= self.take_line(found.readable),
                    Token::Lane => {
                        let now = clock::now();
                        if self.lane.take(now, &mut self.agent, &mut self.input) {
                            goes_on &= self.settle();
                        }
                    }
                    Token::Signals => {
                        let came = signals.take();
                        if came.end && !is_spared {
                            goes_on = false;
                        } else if came.end {
                            // An init that ends everything: what there is must be on the disk, and the board may be
                            // reset at any moment.
                            let _ = self.board.run_files().sync();
                        }
                        while came.child && self.board.reap(clock::now(), &mut self.agent) {
                            goes_on &= self.settle();
                        }
                    }
                    Token::Board(source) => goes_on &= self.take_board(source),
                }
            }
            now = clock::now();
            goes_on &= self.try_plan(now);
            self.board.feed(now);
            if !self.has_more {
                self.board.scan(now);
            }
            if self.agent.poll_timeout().is_some_and(|due| due <= now) {
                self.agent.handle_timeout(now);
            }
            goes_on &= self.settle();
            self.board.tend_console(now, &self.agent);
        }
    }

    /// Does all that the core asks for, then sends what it has. `false` when the agent is to end.
    fn settle(&mut self) -> bool {
        let moment = Moment { received: self.received, line: self.line.errors() };
        let begun = clock::now();
        self.has_more = false;
        loop {
            let now = clock::now();
            let session = self.agent.session();
            let Some(effect) = self.agent.poll_effect(now) else { break };
            let is_long = matches!(effect, Effect::Read { .. } | Effect::Work { .. });
            let report = match effect {
                Effect::SetBaud { baud } => Report::Baud(self.set_baud(now, baud)),
                Effect::Reboot { how: request::Reboot::HAND_OVER } => {
                    self.hand_over(now);
                    Report::Nothing
                }
                Effect::Call { request, call: Call::Lane(wanted) } => {
                    let begun = self.lane.dial(request, session, wanted);
                    begun.map_or_else(|why| Report::Answer(request, Err(why)), |()| Report::Nothing)
                }
                effect => self.board.perform(now, moment, effect),
            };
            let now = clock::now();
            if !self.board.deliver(now, report, &mut self.agent) {
                return false;
            }
            // Hashing a file is a chain of reads as long as the file, each asked for by the one before, and a plan and
            // the hashes of a partition are done piece by piece. The line and the children get their turn in between;
            // everything else is always done to the end.
            if is_long && now.since(begun) >= TURN_MAX {
                self.has_more = true;
                break;
            }
        }
        self.transmit();
        true
    }

    /// Waits until two frames have left, so that they arrive whole: nothing else on this line is worth doing meanwhile.
    fn set_baud(&mut self, now: Instant, baud: u32) -> Result<(), i32> {
        self.line.set_baud(now, baud).map_err(Errno::number)
    }

    /// Goes on as the agent that was brought, if one was. Returns when it cannot; the session is none then, and the
    /// dispatcher finds this agent again.
    fn hand_over(&mut self, now: Instant) {
        let Some(program) = self.board.hand_over() else { return };
        if self.line.baud() != self.base_baud {
            let _ = self.set_baud(now, self.base_baud);
        }
        program::become_it(&program);
    }

    fn transmit(&mut self) {
        let now = clock::now();
        while let Some(room) = self.line.room(now) {
            let Some(length) = self.agent.poll_transmit(now, room) else { break };
            self.line.send(length);
        }
        self.lane.transmit(now, &mut self.agent);
    }

    /// Starts the plan when its directory can be written to.
    fn try_plan(&mut self, now: Instant) -> bool {
        let Some(plan) = self.plan.filter(|plan| plan.next_try <= now) else { return true };
        let files = self.board.run_files();
        if !files.is_writable() && now < plan.last_try {
            self.plan = Some(Plan { next_try: now + PLAN_RETRY, ..plan });
            return true;
        }
        self.plan = None;
        let plan = files.read_plan();
        let journal = files.read_journal(&mut self.input);
        let plan = match (&plan, &journal) {
            (Err(Errno::ENOENT), _) => Err("there is no plan"),
            (Err(_), _) => Err("the plan cannot be read"),
            (_, Err(_)) => Err("its journal cannot be read"),
            (Ok(bytes), Ok(_)) => Ok(&bytes[..]),
        };
        let directory = files.directory().to_owned();
        if plan.is_ok() {
            self.board.prepare_tests();
        }
        let journal = journal.unwrap_or_default();
        self.agent.start_plan(now, plan, &journal, &directory);
        self.settle()
    }

    fn take_line(&mut self, is_readable: bool) -> bool {
        if !is_readable {
            // Only room to write, which is used after every input.
            return true;
        }
        let now = clock::now();
        let length = self.line.read(now, &mut self.input);
        if length == 0 {
            return true;
        }
        self.received = now;
        self.agent.handle_line(now, &self.input[..length]);
        if self.agent.is_mid_frame() {
            self.gather_until = now + GATHER_TIME;
        }
        self.settle()
    }

    fn take_board(&mut self, source: Source) -> bool {
        // It may have been closed since the wait, by what another input led to: then there is nothing.
        if matches!(source, Source::Client(_)) && !self.catch_up() {
            return false;
        }
        // The kernel says hundreds of things at once, and a turn of the loop for each would take a slow board seconds,
        // in which a test may restart it.
        let is_kernel = matches!(source, Source::Kernel);
        for piece in 0..if is_kernel { KERNEL_AT_ONCE } else { 1 } {
            if piece > 0 && !self.agent.kernel_room() {
                break;
            }
            if !self.board.take(clock::now(), source, &mut self.agent) {
                return true;
            }
            if !self.settle() {
                return false;
            }
        }
        true
    }

    /// Takes what the running test has printed so far: a signal that it sent then belongs behind it. `false` when the
    /// agent is to end.
    fn catch_up(&mut self) -> bool {
        for (op, pipe, mut left) in self.board.unread_of_test() {
            while left > 0 {
                let now = clock::now();
                match self.board.take_output(now, op, pipe, left, &mut self.agent) {
                    Some(taken @ 1..) => left -= taken,
                    _ => break,
                }
                if !self.settle() {
                    return false;
                }
            }
        }
        true
    }

    fn wait(&self, signals: &Signals, ready: &mut Vec<Ready<Token>>) {
        let mut interests = Interests::new();
        interests.add(Token::Signals, signals.fd(), true, false);
        let now = clock::now();
        let is_gathering = now < self.gather_until;
        let interest = self.line.interest();
        let is_full = interest.is_some_and(|(_, is_full)| is_full);
        if let Some((fd, is_full)) = interest {
            interests.add(Token::Line, fd, !is_gathering, is_full);
        }
        self.board.each_interest(&self.agent, |source, fd, write| {
            interests.add(Token::Board(source), fd, !write, write);
        });
        // Last, so that it is taken first: an answer on the line then also tells of what the lane had brought before.
        if let Some((fd, read, write)) = self.lane.interest(&self.agent) {
            interests.add(Token::Lane, fd, read, write);
        }
        let deadlines = [
            // What is due and cannot be sent waits for room on the line.
            self.agent.poll_timeout().filter(|due| *due > now || !is_full),
            self.line.retry_at(),
            self.plan.map(|plan| plan.next_try),
            self.board.feed_at(),
            self.board.scan_at(),
            is_gathering.then_some(self.gather_until),
        ];
        let first = if self.has_more { Some(now) } else { deadlines.into_iter().flatten().min() };
        interests.wait(first.map(|due| due.since(now).as_micros()), ready);
    }
}

/// Bytes read from the line at a time: what a UART's buffer in the kernel holds.
const INPUT_LEN: usize = 4096;

/// Records of the kernel's log that are read in one turn.
const KERNEL_AT_ONCE: usize = 64;

/// How long reads may go on while others wait: two frames' time at 115200 baud is 130 ms.
const TURN_MAX: Duration = Duration::from_millis(20);

/// A UART wakes its reader every 16 bytes or so; a frame of 655 bytes would cost 40 turns of this loop, which a slow
/// board feels. In its middle nothing is urgent: so long is waited for more of it, 35 bytes at 115200 baud.
const GATHER_TIME: Duration = Duration::from_millis(3);

/// The real init has had its console set up when nothing was changed for so long.
const INIT_QUIET: Duration = Duration::from_millis(400);

/// It is waited for at most so long.
const INIT_LIMIT: Duration = Duration::from_secs(8);

/// How long a run's directory may stay read-only. Under systemd the root file system is, until it has been checked.
const PLAN_WAIT: Duration = Duration::from_secs(30);

/// How often it is looked at.
const PLAN_RETRY: Duration = Duration::from_millis(100);
