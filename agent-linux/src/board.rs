//! Does the effects that the agent's core asks for: one match, and the place where what an operation opened is kept.
//!
//! An effect borrows from the core, so doing one gives an owned [`Report`], which is delivered when the effect is
//! gone.

use crate::children::{self, Child, Output, STDERR, STDOUT};
use crate::deploy::{self, Deployment, Hashing};
use crate::files::{self, Put};
use crate::helper::links;
use crate::info::Gathered;
use crate::kernel_log::{self, KernelLog};
use crate::listing::Listing;
use crate::mounts;
use crate::options::Options;
use crate::partitions::Partitions;
use crate::problem::{Outcome, Problem, about};
use crate::run_files::{Capture, RunFiles};
use crate::scanner::Scanner;
use crate::sys::child::{ANY, wait_any, words};
use crate::sys::clock;
use crate::sys::errno::{Errno, OsResult};
use crate::sys::file::File;
use crate::sys::kmsg::{Found, RECORD_MAX};
use crate::sys::leftovers::{self, Cgroup};
use crate::sys::power::{self, ConsoleLevel, Sysrq};
use crate::sys::tty::LineErrors;
use crate::sys::watchdog::Watchdog;
use crate::test_socket::{Said, TestSocket};
use crate::trial;
use crate::user_console::Redirection;
use agent_core::agent::deploy::{Limits, OUT_MAX};
use agent_core::agent::effect::{Call, Command, Effect, Event, Op, Pipe, Target};
use agent_core::agent::{Agent, OPS_MAX, Role};
use agent_core::time::{Duration, Instant};
use agent_core::wire::node::NODE_CALL_MAX;
use agent_core::wire::test_signal::SIGNAL_MAX;
use agent_core::wire::{FailureKind, Method, request, response};
use std::os::fd::BorrowedFd;

/// The board as the core sees it.
pub(crate) struct Board {
    role: Role,
    root: String,
    slots: [Slot; OPS_MAX],
    /// What is read goes through here, and never through memory of its own.
    buffer: Box<[u8]>,
    partitions: Partitions,
    scanner: Scanner,
    /// What a plan's bins may be.
    pub(crate) limits: Limits,
    run_files: RunFiles,
    environment: Vec<u8>,
    /// What the environment of tests has in addition.
    test_environment: Vec<u8>,
    test_socket: TestSocket,
    kernel_log: KernelLog,
    user_console: Redirection,
    console_level: ConsoleLevel,
    sysrq: Sysrq,
    /// Of the running test.
    cgroup: Option<Cgroup>,
    watchdog: Option<Watchdog>,
    /// When the watchdog is fed.
    feed_at: Instant,
    /// The agent that was brought to take this one's place.
    program: Option<File>,
    /// Whether this machine may be restarted.
    is_board: bool,
    /// The line is one of the kernel's consoles.
    has_console: bool,
}

/// What an operation has open.
enum Slot {
    Free,
    Get(File),
    Put(Put),
    List(Box<Listing>),
    Plan(Box<Deployment>),
    /// With what is known of its partition from before.
    Tree(Hashing, Option<(usize, u32)>),
    Exec(Box<Child>),
    Test(Box<Child>),
}

/// What came of an effect.
pub(crate) enum Report {
    /// Nothing to be said.
    Nothing,
    /// The answer to a [`Effect::Call`].
    Answer(u32, Outcome<Answer>),
    /// [`Event::Opened`].
    Opened(Op, u64, u32),
    /// [`Event::Bytes`], so many in the buffer.
    Bytes(Op, usize),
    /// [`Event::Worked`]: input that was taken, and whether there is more to do.
    Worked(Op, usize, bool),
    /// [`Event::Committed`].
    Committed(Op),
    /// [`Event::Failed`]; the slot is free already.
    Failed(Op, Problem),
    /// [`Event::Spawned`].
    Spawned(Op),
    /// [`Event::InputTaken`].
    InputTaken(Op, usize),
    /// [`Event::RunFileFailed`].
    RunFileFailed(i32),
    /// [`Event::WatchdogFailed`].
    WatchdogFailed(i32),
    /// [`Event::BaudSet`], or [`Event::BaudFailed`] with `errno`.
    Baud(Result<(), i32>),
    /// The agent ends, in place of a restart on what is no board.
    End,
}

/// The body of an answer.
pub(crate) enum Answer {
    Info(Box<Gathered>),
    Clock(response::Clock),
    Line(LineErrors),
    ClockMark(response::ClockMark),
    Stat(response::Stat),
    Removed,
    Partition(String, u64, bool),
    Mounted(String),
    Unmounted,
    Synced,
    Injected(u64),
}

/// What the poll loop knows and effects need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// When the input that led to this was read.
    pub(crate) received: Instant,
    /// Losses of the UART.
    pub(crate) line: LineErrors,
}

/// Whose descriptor is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Kernel,
    UserConsole,
    Input(Op),
    Output(Op, Pipe),
    /// Somebody wants to be a client of the test's socket.
    Caller,
    Client(u8),
}

impl Board {
    /// With nothing open. `is_board`: restart is the agent's business; `has_console`: so are the console's level and its
    /// magic keys, for its text comes on the agent's line; `is_console_free`: so is what user space prints to /dev/console.
    pub(crate) fn new(
        options: &mut Options,
        is_board: bool,
        has_console: bool,
        is_console_free: bool,
    ) -> Self {
        let run_files = RunFiles::new(&options.root, options.run.as_deref());
        leftovers::adopt();
        if is_board && options.run.is_some() {
            Cgroup::end_all();
        }
        Self {
            role: options.role,
            root: std::mem::take(&mut options.root),
            slots: [const { Slot::Free }; OPS_MAX],
            buffer: vec![0; BUFFER_LEN].into_boxed_slice(),
            partitions: Partitions::new(std::mem::take(&mut options.partitions)),
            scanner: Scanner::new(clock::now(), options.role == Role::Master),
            limits: deploy::limits(),
            program: None,
            run_files,
            environment: children::environment(),
            test_environment: Vec::new(),
            test_socket: TestSocket::default(),
            kernel_log: KernelLog::open(),
            user_console: Redirection::new(is_console_free),
            console_level: if has_console {
                ConsoleLevel::remember()
            } else {
                ConsoleLevel::untouchable()
            },
            sysrq: Sysrq::default(),
            cgroup: None,
            watchdog: None,
            feed_at: Instant::ZERO,
            is_board,
            has_console,
        }
    }

    /// The files of the run.
    pub(crate) fn run_files(&mut self) -> &mut RunFiles {
        &mut self.run_files
    }

    /// Makes what the tests of a plan find: the socket, the helpers, and an environment that leads to them.
    pub(crate) fn prepare_tests(&mut self) {
        let path = words(&self.environment).find_map(|word| word.strip_prefix(b"PATH="));
        let helpers = links::make(&self.root);
        // The old one brings the NUL.
        self.test_environment =
            [b"PATH=", helpers.as_bytes(), b":", path.unwrap_or(b"\0")].concat();
        if let Some(socket) = self.test_socket.open(self.run_files.directory()) {
            let variable = ["PUMICE_SOCKET=", &socket, "\0"].concat();
            self.test_environment.extend_from_slice(variable.as_bytes());
        }
    }

    /// Takes the user console from the line, or gives it back.
    pub(crate) fn tend_console(&mut self, now: Instant, agent: &Agent) {
        self.user_console.tend(now, agent.wants_user_console());
    }

    /// Leaves the machine as it was found.
    pub(crate) fn restore(&mut self) {
        self.console_level.quiet(false);
        self.sysrq.guard(false);
    }

    /// The agent that was brought, once; what it needs to find is restored and on the disk.
    pub(crate) fn hand_over(&mut self) -> Option<File> {
        let program = self.program.take()?;
        let _ = self.run_files.sync();
        self.restore();
        Some(program)
    }

    /// Does one effect.
    pub(crate) fn perform(&mut self, now: Instant, moment: Moment, effect: Effect<'_>) -> Report {
        match effect {
            Effect::Call { request, call } => Report::Answer(request, self.call(moment, call)),
            Effect::Open { op, target } => match self.open(op, target) {
                Ok((slot, size, mode)) => {
                    self.put(op, slot);
                    Report::Opened(op, size, mode)
                }
                Err(problem) => Report::Failed(op, problem),
            },
            Effect::Read { op, offset, max } => {
                let length = self.read(op, offset, max);
                self.or_fail(op, length, |length| Report::Bytes(op, length))
            }
            Effect::Write { op, bytes } => {
                let done = match self.slot(op) {
                    Some(Slot::Put(put)) => put.write(bytes),
                    _ => Err(nothing_open()),
                };
                self.or_fail(op, done, |()| Report::Nothing)
            }
            Effect::Work { op, max } => self.work(op, max),
            Effect::Commit { op } => {
                let done = match self.slot(op) {
                    Some(Slot::Put(put)) => put.commit(),
                    Some(Slot::Plan(plan)) => plan.commit().map(|program| {
                        self.program = program.or_else(|| self.program.take());
                    }),
                    _ => Err(nothing_open()),
                };
                self.or_fail(op, done, |()| Report::Committed(op))
            }
            Effect::Close { op } => {
                self.close(op);
                Report::Nothing
            }
            Effect::Spawn { op, command } => match self.spawn(now, command) {
                Ok(slot) => {
                    self.put(op, slot);
                    Report::Spawned(op)
                }
                Err(problem) => Report::Failed(op, problem),
            },
            Effect::Input { op, bytes } => {
                if let Some(Slot::Plan(plan)) = self.slot(op) {
                    let done = plan.push(bytes);
                    return self.or_fail(op, done, |()| Report::Nothing);
                }
                // Without a child there is nobody left to take it.
                let taken = self.child(op).map_or(bytes.len(), |child| child.input(bytes));
                if taken > 0 { Report::InputTaken(op, taken) } else { Report::Nothing }
            }
            Effect::EndInput { op } => {
                if let Some(child) = self.child(op) {
                    child.end_input();
                }
                Report::Nothing
            }
            Effect::Signal { op, signal } => {
                if let Some(child) = self.child(op) {
                    child.signal(signal);
                }
                Report::Nothing
            }
            Effect::RunFile { file, bytes } => report_files(self.run_files.append(file, bytes)),
            Effect::SyncRun => report_files(self.run_files.sync()),
            Effect::AnswerSignal { client, os_error } => {
                self.test_socket.answer(client, &[os_error]);
                Report::Nothing
            }
            Effect::AnswerCall { client, status, data } => {
                self.test_socket.answer(client, &[&[status], data].concat());
                Report::Nothing
            }
            Effect::QuietConsole(quiet) => {
                // The sign that a dispatcher has a session.
                if quiet {
                    trial::confirm();
                }
                self.console_level.quiet(quiet);
                Report::Nothing
            }
            Effect::SeekKernel { sequence } => {
                self.kernel_log.seek(sequence);
                Report::Nothing
            }
            // The poll loop has done these.
            Effect::SetBaud { .. } | Effect::Reboot { how: request::Reboot::HAND_OVER } => {
                Report::Nothing
            }
            Effect::GuardLine(is_guarded) => {
                if self.has_console {
                    self.sysrq.guard(is_guarded);
                }
                Report::Nothing
            }
            Effect::Watchdog { seconds } => self.watch(now, seconds),
            Effect::Reboot { how } => {
                let _ = self.run_files.sync();
                if !self.is_board {
                    return Report::End;
                }
                power::restart(how == request::Reboot::POWER_OFF);
                Report::Nothing
            }
        }
    }

    /// Tells the core what came of an effect. Returns whether the agent goes on.
    pub(crate) fn deliver(&self, now: Instant, report: Report, agent: &mut Agent) -> bool {
        let event = match &report {
            Report::Nothing => return true,
            Report::End => return false,
            Report::Answer(request, Ok(answer)) => {
                send(agent, *request, answer);
                return true;
            }
            Report::Answer(request, Err(problem)) => {
                agent.fail(*request, &problem.failure());
                return true;
            }
            Report::Opened(op, size, mode) => Event::Opened { op: *op, size: *size, mode: *mode },
            Report::Bytes(op, length) => Event::Bytes { op: *op, bytes: &self.buffer[..*length] },
            Report::Worked(op, taken, has_more) => self.worked(*op, *taken, *has_more),
            Report::Committed(op) => Event::Committed { op: *op },
            Report::Failed(op, problem) => Event::Failed { op: *op, failure: problem.failure() },
            Report::Spawned(op) => Event::Spawned { op: *op },
            Report::InputTaken(op, bytes) => Event::InputTaken { op: *op, bytes: *bytes },
            Report::Baud(Ok(())) => Event::BaudSet,
            Report::Baud(Err(os_error)) => Event::BaudFailed { os_error: *os_error },
            Report::WatchdogFailed(os_error) => Event::WatchdogFailed { os_error: *os_error },
            Report::RunFileFailed(os_error) => Event::RunFileFailed { os_error: *os_error },
        };
        agent.handle_event(now, event);
        true
    }

    /// Calls `add` with every descriptor that is to be waited for: those from which the core takes something now.
    pub(crate) fn each_interest<'fd>(
        &'fd self,
        agent: &Agent,
        mut add: impl FnMut(Source, BorrowedFd<'fd>, bool),
    ) {
        if let Some(fd) = self.kernel_log.fd().filter(|_| agent.kernel_room()) {
            add(Source::Kernel, fd, false);
        }
        if agent.signal_room() {
            if let Some(fd) = self.test_socket.listener() {
                add(Source::Caller, fd, false);
            }
            for (client, fd) in self.test_socket.clients() {
                add(Source::Client(client), fd, false);
            }
        }
        if let Some(fd) = self.user_console.fd() {
            add(Source::UserConsole, fd, false);
        }
        for (index, slot) in self.slots.iter().enumerate() {
            let (Slot::Exec(child) | Slot::Test(child)) = slot else { continue };
            let op = Op(index as u8);
            if let Some(fd) = child.hungry_pipe() {
                add(Source::Input(op), fd, true);
            }
            for (pipe, index) in [(Pipe::Stdout, STDOUT), (Pipe::Stderr, STDERR)] {
                // What the core has no room for stays in the pipe, and the child waits.
                if let Some(fd) =
                    child.output_pipe(index).filter(|_| agent.output_room(op, pipe) > 0)
                {
                    add(Source::Output(op, pipe), fd, false);
                }
            }
        }
    }

    /// Takes what a descriptor has for the core. Returns whether there was anything.
    pub(crate) fn take(&mut self, now: Instant, source: Source, agent: &mut Agent) -> bool {
        match source {
            Source::Kernel => self.take_kernel(now, agent),
            Source::UserConsole => self.user_console.take(now, &mut self.run_files, agent),
            Source::Input(op) => {
                let taken = self.child(op).map_or(0, Child::feed);
                if taken > 0 {
                    agent.handle_event(now, Event::InputTaken { op, bytes: taken });
                }
                taken > 0
            }
            Source::Output(op, pipe) => {
                self.take_output(now, op, pipe, usize::MAX, agent).is_some()
            }
            Source::Caller => {
                if agent.signal_room() {
                    self.test_socket.accept();
                }
                false
            }
            Source::Client(client) => {
                // Without room the packet waits, and so does who sent it.
                if !agent.signal_room() {
                    return false;
                }
                let event = match self.test_socket.read(client, &mut self.buffer[..PACKET_MAX]) {
                    Said::Packet(length) => {
                        Event::Signal { client, packet: &self.buffer[..length] }
                    }
                    Said::Goodbye => Event::ClientGone { client },
                    Said::Nothing => return false,
                };
                agent.handle_event(now, event);
                true
            }
        }
    }

    /// What the running test has printed so far and nobody has read: pipe and bytes.
    pub(crate) fn unread_of_test(&self) -> [(Op, Pipe, usize); 2] {
        let mut unread = [(Op(0), Pipe::Stdout, 0), (Op(0), Pipe::Stderr, 0)];
        for (op, slot) in (0..).zip(&self.slots) {
            if let Slot::Test(child) = slot {
                unread[0] = (Op(op), Pipe::Stdout, child.waiting(STDOUT));
                unread[1] = (Op(op), Pipe::Stderr, child.waiting(STDERR));
            }
        }
        unread
    }

    /// Reports one child that has ended. To be called until it returns `false`.
    pub(crate) fn reap(&mut self, now: Instant, agent: &mut Agent) -> bool {
        let Some((pid, ended)) = wait_any(ANY, false) else { return false };
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let (Slot::Exec(child) | Slot::Test(child)) = slot else { continue };
            if child.pid() == Some(pid) {
                let exit = child.handle_end(now, ended);
                agent.handle_event(now, Event::Exited { op: Op(index as u8), exit });
            }
        }
        // Others were given up, or came from those who left them behind.
        true
    }

    /// When [`Self::feed`] is due.
    pub(crate) fn feed_at(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|_| self.feed_at)
    }

    /// Feeds the watchdog in time. From the poll loop, so that an agent that hangs does not.
    pub(crate) fn feed(&mut self, now: Instant) {
        if let Some(watchdog) = self.watchdog.as_mut().filter(|_| now >= self.feed_at) {
            watchdog.feed();
            self.feed_at = now + Duration::from_millis(u64::from(watchdog.seconds) * 1000 / 3);
        }
    }

    /// Takes the watchdog, or lets go of it.
    fn watch(&mut self, now: Instant, seconds: u16) -> Report {
        if let Some(before) = self.watchdog.take() {
            before.let_go();
        }
        if seconds == 0 {
            return Report::Nothing;
        }
        // On a test bench only below its root: the machine's own would take the machine down.
        let opened = if self.is_board || !self.root.is_empty() {
            Watchdog::open(&[&self.root, "/dev/watchdog"].concat(), seconds)
        } else {
            Err(Errno::ENOENT)
        };
        let done = opened.and_then(|(watchdog, set)| {
            self.watchdog = Some(watchdog);
            self.feed_at = now;
            self.feed(now);
            set
        });
        done.map_or_else(|error| Report::WatchdogFailed(error.number()), |()| Report::Nothing)
    }

    fn call(&mut self, moment: Moment, call: Call<'_>) -> Outcome<Answer> {
        let (root, partitions) = (self.root.as_str(), &self.partitions);
        match call {
            Call::Info => {
                Ok(Answer::Info(Box::new(Gathered::now(self.role, partitions, moment.line))))
            }
            Call::Clock(request) => Ok(Answer::Clock(response::Clock {
                host_us: request.host_us,
                received_us: moment.received.as_micros(),
                answered_us: clock::now().as_micros(),
                wall_us: clock::wall_us(),
            })),
            Call::Line => Ok(Answer::Line(moment.line)),
            // The poll loop has done it.
            Call::Lane(_) => Err(nothing_open()),
            Call::ClockMark => kernel_log::mark(&mut self.buffer).map(Answer::ClockMark),
            Call::Stat(request) => files::stat(request.path).map(Answer::Stat),
            Call::Remove(request) => files::remove(request.path).map(|()| Answer::Removed),
            Call::Partition(request) => {
                let found = partitions.find(request.label)?;
                let size = found.size()?;
                Ok(Answer::Partition(found.path, size, found.is_mounted))
            }
            Call::Mount(request) => {
                // Read-only too: a journal may be replayed.
                self.scanner.forget(Some(request.label));
                mounts::mount(root, partitions, &request).map(Answer::Mounted)
            }
            Call::Unmount(request) => {
                self.scanner.forget(Some(request.label));
                mounts::unmount(root, partitions, request.label).map(|()| Answer::Unmounted)
            }
            Call::Sync => {
                power::sync();
                Ok(Answer::Synced)
            }
            Call::Inject(request) => {
                self.scanner.forget(Some(request.label));
                mounts::inject(root, partitions, &request, &mut self.buffer).map(Answer::Injected)
            }
        }
    }

    /// Opens a target and tells its size and permissions.
    fn open(&mut self, op: Op, target: Target<'_>) -> Outcome<(Slot, u64, u32)> {
        match target {
            Target::Get { path } => {
                let (file, found) = files::open(path)?;
                Ok((Slot::Get(file), found.size, found.mode()))
            }
            Target::Put { path, mode, size } => {
                Ok((Slot::Put(Put::open(path, mode, size, op.0)?), 0, mode))
            }
            Target::List { path, recursive } => {
                Ok((Slot::List(Box::new(Listing::open(path, recursive)?)), 0, 0))
            }
            Target::Tree(wanted) => {
                let (hashing, size) = Hashing::open(&self.partitions, &wanted)?;
                let found = self.partitions.find(wanted.target);
                if found.is_ok_and(|found| found.is_mounted_to_write) {
                    self.scanner.forget(Some(wanted.target));
                }
                let known = self.scanner.epoch(wanted.target);
                Ok((Slot::Tree(hashing, known), size, 0))
            }
            Target::Plan(wanted) => {
                let plan = Deployment::open(&self.partitions, &wanted, self.limits, op.0)?;
                self.scanner.forget(Some(wanted.target));
                Ok((Slot::Plan(plan), 0, 0))
            }
        }
    }

    fn read(&mut self, op: Op, offset: u64, max: usize) -> Outcome<usize> {
        let length = max.min(self.buffer.len());
        let buffer = &mut self.buffer[..length];
        match self.slots.get_mut(usize::from(op.0)) {
            Some(Slot::Get(file)) => file.read_at(buffer, offset).map_err(about("read")),
            Some(Slot::List(listing)) => listing.read(buffer),
            _ => Err(nothing_open()),
        }
    }

    fn work(&mut self, op: Op, max: usize) -> Report {
        let Self { slots, buffer, scanner, .. } = self;
        let done = match slots.get_mut(usize::from(op.0)) {
            Some(Slot::Plan(plan)) => plan.work(buffer),
            // A turn's hashes always fit.
            Some(Slot::Tree(hashing, known)) if max >= OUT_MAX => scanner
                .known(*known, |known| hashing.work(buffer, known))
                .map(|has_more| (0, has_more)),
            _ => Err(nothing_open()),
        };
        self.or_fail(op, done, |(taken, has_more)| Report::Worked(op, taken, has_more))
    }

    fn worked(&self, op: Op, taken: usize, has_more: bool) -> Event<'_> {
        let mut event =
            (&[][..], response::Written { data_bytes: 0, zero_bytes: 0, copied_bytes: 0 });
        match self.slots.get(usize::from(op.0)) {
            Some(Slot::Plan(plan)) => event.1 = plan.written(),
            Some(Slot::Tree(hashing, _)) => event.0 = hashing.out(),
            _ => {}
        }
        let (bytes, written) = event;
        Event::Worked { op, taken, bytes, has_more, written }
    }

    /// When [`Self::scan`] is due. Not while anything is being written, hashed or run: that goes first, and may change
    /// what is scanned.
    pub(crate) fn scan_at(&self) -> Option<Instant> {
        let is_at_rest = self
            .slots
            .iter()
            .all(|slot| matches!(slot, Slot::Free | Slot::Get(_) | Slot::Put(_) | Slot::List(_)));
        self.scanner.poll_timeout().filter(|_| is_at_rest)
    }

    /// Goes on with the background scan, if it is due.
    pub(crate) fn scan(&mut self, now: Instant) {
        if self.scan_at().is_some_and(|at| at <= now) {
            self.scanner.work(now, &self.partitions, &mut self.buffer);
        }
    }

    fn spawn(&mut self, now: Instant, command: Command<'_>) -> Outcome<Slot> {
        match command {
            Command::Exec(exec) => {
                // It may write to anything, while it runs.
                self.scanner.forget(None);
                let piped = [exec.stdin != 0, exec.stdout != 0, exec.stderr != 0];
                let child = Child::start(
                    exec.argv,
                    &self.environment,
                    exec.env,
                    exec.cwd,
                    piped,
                    None,
                    now,
                )?;
                Ok(Slot::Exec(Box::new(child)))
            }
            Command::Test { index: _, suite } => {
                let (directory, more) = self
                    .run_files
                    .begin_test(suite, &self.test_environment)
                    .map_err(about(suite))?;
                let piped = [false, true, true];
                self.cgroup = if self.is_board { Cgroup::new(suite) } else { None };
                let door = self.cgroup.as_ref().and_then(Cgroup::door);
                let child = Child::start(
                    RUN_TEST,
                    &self.environment,
                    &more,
                    &directory,
                    piped,
                    door.as_deref(),
                    now,
                )?;
                Ok(Slot::Test(Box::new(child)))
            }
        }
    }

    fn take_kernel(&mut self, now: Instant, agent: &mut Agent) -> bool {
        loop {
            match self.kernel_log.next(&mut self.buffer) {
                Found::Record(length) => {
                    agent.handle_event(now, Event::Kernel { record: &self.buffer[..length] });
                    return true;
                }
                // How many were lost is told by the number of the next.
                Found::Gap => {}
                Found::Nothing => return false,
            }
        }
    }

    /// Takes at most `max` bytes of a child's output; `None` when there is nothing now, 0 at its end.
    pub(crate) fn take_output(
        &mut self,
        now: Instant,
        op: Op,
        pipe: Pipe,
        max: usize,
        agent: &mut Agent,
    ) -> Option<usize> {
        let room = agent.output_room(op, pipe).min(self.buffer.len()).min(max);
        let (index, capture) = match pipe {
            Pipe::Stdout => (STDOUT, Capture::Stdout),
            Pipe::Stderr => (STDERR, Capture::Stderr),
        };
        let (child, is_test) = match self.slots.get_mut(usize::from(op.0)) {
            Some(Slot::Exec(child)) => (child, false),
            Some(Slot::Test(child)) => (child, true),
            _ => return None,
        };
        // A read of nothing would look like the end.
        if room == 0 {
            return None;
        }
        let Output::Bytes(length) = child.read(index, &mut self.buffer[..room]) else {
            return None;
        };
        let mut bytes = &self.buffer[..length];
        if is_test {
            // First the file, which is the truth, then the live view of what stands in it.
            let (kept, done) = self.run_files.capture(capture, bytes);
            if let Err(error) = done {
                let os_error = error.number();
                agent.handle_event(now, Event::RunFileFailed { os_error });
                agent.handle_event(now, Event::OutputLost { op, bytes: length - kept });
                if kept == 0 {
                    return Some(length);
                }
            }
            bytes = &bytes[..kept];
        }
        agent.handle_event(now, Event::Output { op, pipe, bytes });
        Some(length)
    }

    fn slot(&mut self, op: Op) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(op.0))
    }

    fn put(&mut self, op: Op, slot: Slot) {
        self.close(op);
        if let Some(place) = self.slot(op) {
            *place = slot;
        }
    }

    fn close(&mut self, op: Op) {
        let Some(place) = self.slot(op) else { return };
        // Dropping closes; of a put that was not committed it also removes what there is.
        match std::mem::replace(place, Slot::Free) {
            Slot::Exec(child) => {
                child.give_up();
                self.scanner.forget(None);
            }
            Slot::Test(child) => {
                child.give_up();
                self.end_leftovers();
            }
            // While it was there nothing was scanned; what it wrote is new to everybody.
            Slot::Plan(_) => self.scanner.forget(None),
            _ => {}
        }
    }

    /// Ends what a test has left behind, before another starts.
    fn end_leftovers(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            return cgroup.end();
        }
        // Without a cgroup it cannot be told from what the dispatcher's commands have left behind.
        if leftovers::has_children() {
            let slots = &self.slots;
            leftovers::end_orphans(|pid| {
                let is_exec =
                    |slot: &Slot| matches!(slot, Slot::Exec(child) if child.pid() == Some(pid));
                slots.iter().any(is_exec)
            });
        }
    }

    fn child(&mut self, op: Op) -> Option<&mut Child> {
        match self.slot(op) {
            Some(Slot::Exec(child) | Slot::Test(child)) => Some(child),
            _ => None,
        }
    }

    fn or_fail<T>(&mut self, op: Op, done: Outcome<T>, report: impl FnOnce(T) -> Report) -> Report {
        match done {
            Ok(value) => report(value),
            Err(problem) => {
                self.close(op);
                Report::Failed(op, problem)
            }
        }
    }
}

fn send(agent: &mut Agent, request: u32, answer: &Answer) {
    let done = response::Done {};
    match answer {
        Answer::Info(gathered) => agent.answer(Method::INFO, request, &gathered.as_response()),
        Answer::Clock(clock) => agent.answer(Method::CLOCK, request, clock),
        Answer::Line(LineErrors { overruns, errors }) => {
            let (overruns, errors, stats) = (*overruns, *errors, *agent.stats());
            agent.answer(Method::LINE, request, &response::Line { overruns, errors, stats });
        }
        Answer::ClockMark(mark) => agent.answer(Method::CLOCK_MARK, request, mark),
        Answer::Stat(stat) => agent.answer(Method::STAT, request, stat),
        Answer::Removed => agent.answer(Method::REMOVE, request, &done),
        Answer::Partition(device, size, mounted) => {
            let body = response::Partition { device, size: *size, mounted: *mounted };
            agent.answer(Method::PARTITION, request, &body);
        }
        Answer::Mounted(path) => agent.answer(Method::MOUNT, request, &response::Mounted { path }),
        Answer::Unmounted => agent.answer(Method::UNMOUNT, request, &done),
        Answer::Synced => agent.answer(Method::SYNC, request, &done),
        Answer::Injected(bytes) => {
            agent.answer(Method::INJECT, request, &response::Injected { bytes: *bytes });
        }
    }
}

fn report_files(done: OsResult<()>) -> Report {
    match done {
        Ok(()) => Report::Nothing,
        Err(error) => Report::RunFileFailed(error.number()),
    }
}

fn nothing_open() -> Problem {
    // Only after a failure that the core has not seen yet.
    Problem::new(FailureKind::CANCELED, "")
}

/// Longest packet on the test's socket, and a byte that shows that one is longer.
const PACKET_MAX: usize = NODE_CALL_MAX + 1;
const _: () = assert!(PACKET_MAX > SIGNAL_MAX);

/// The words that run a test.
const RUN_TEST: &[u8] = b"/bin/sh\0-e\0run.sh\0";

/// Bytes that are read at a time: enough that hashing a partition is no matter of system calls, and more than the
/// longest kernel record.
const BUFFER_LEN: usize = 32 * 1024;
const _: () = assert!(BUFFER_LEN >= RECORD_MAX);
