//! A running image: the real agent, and the interpreter that does its effects in memory.

use crate::child::{Child, Deed};
use crate::deploy::{Deployment, Hashing};
use crate::disk::{Disk, Outcome, failure};
use crate::script::{ENOENT, Script};
use agent_core::agent::deploy::Trouble;
use agent_core::agent::{
    Agent, Call, Command, Config, Effect, Event, Journal, OPS_MAX, Op, Pipe, Role, RunFile, Target,
    USER_CONSOLE_MAX,
};
use agent_core::link::Coding;
use agent_core::time::Instant;
use agent_core::wire::response::{self, Written};
use agent_core::wire::{Failure, FailureKind, Method, request};
use std::collections::VecDeque;

/// Kernel records that are kept, as a kernel's ring buffer does.
const KERNEL_LOG_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) agent: Box<Agent>,
    config: Config,
    role: Role,
    boot_id: String,
    /// Label of the root file system.
    root: String,
    run_directory: Option<String>,
    slots: [Slot; OPS_MAX],
    kernel: VecDeque<(u64, String)>,
    kernel_next: u64,
    kernel_read: u64,
    /// What user space printed to /dev/console, until the agent takes it, and how much it took.
    user_console: VecDeque<u8>,
    user_console_taken: u64,
    /// The kernel log's clock minus the agent's, µs.
    kernel_offset_us: i64,
    pub(crate) is_quiet: bool,
    /// Bytes that its UART has lost, as far as a test says so.
    pub(crate) overruns: u32,
    /// Bits per second of its UART.
    pub(crate) baud: u32,
    pub(crate) is_guarded: bool,
    /// What tests were answered on their socket.
    pub(crate) answers: Vec<u8>,
    /// Status and bytes that tests were answered to their calls.
    pub(crate) heard: Vec<(u8, Vec<u8>)>,
    /// `errno` of every write to the journal.
    pub(crate) journal_error: Option<i32>,
    /// The child that told something, and what.
    telling: Option<(u8, Vec<u8>)>,
    /// Period of the watchdog that is fed, s.
    pub(crate) watchdog_s: Option<u16>,
    started_at: Instant,
}

#[derive(Debug)]
enum Slot {
    Free,
    Get { at: (String, String) },
    Put { at: (String, String), bytes: Vec<u8>, mode: u32, size: u64 },
    List { entries: VecDeque<u8> },
    Plan(Box<Deployment>),
    Tree(Box<Hashing>),
    Child(Box<Child>),
}

/// What the board, as a whole, must do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Restart,
    PowerOff,
    /// While something was written.
    PowerCut,
    Reset,
    Panic(String),
    /// Of the agent alone.
    KillAgent,
    /// The knob: so many effects were done.
    EffectsSpent,
}

/// What lives longer than an image: the disk, the programs, and the test's knobs.
#[derive(Debug)]
pub(crate) struct World<'w> {
    pub(crate) disk: &'w mut Disk,
    pub(crate) script: &'w Script,
    pub(crate) trace: Option<&'w mut Vec<String>>,
    pub(crate) effects_left: &'w mut Option<u32>,
    /// Text that the kernel prints on the line.
    pub(crate) text: &'w mut Vec<u8>,
    /// The highest rate that the UART does.
    pub(crate) baud_max: u32,
    /// The longest period that its watchdog takes, s; 0 without one.
    pub(crate) watchdog_max_s: u16,
}

/// An answer to an effect, free of the agent's bytes.
enum Report {
    Nothing,
    Opened(Op, u64, u32),
    Bytes(Op, Vec<u8>),
    Worked {
        op: Op,
        taken: usize,
        bytes: Vec<u8>,
        has_more: bool,
        written: Written,
    },
    Committed(Op),
    Failed(Op, Failure<'static>),
    /// The same of a plan.
    Trouble(Op, Trouble),
    Spawned(Op),
    Answer(u32, Outcome<Answer>),
    Baud(Result<(), i32>),
    RunFileFailed(i32),
    WatchdogFailed(i32),
    Fate(Fate),
}

enum Answer {
    Info,
    Clock(request::Clock),
    Line,
    ClockMark,
    Stat(response::Stat),
    Done(Method),
    Partition(String, u64, bool),
    Mounted(String),
    Injected(u64),
}

impl Machine {
    pub(crate) fn new(
        now: Instant,
        config: Config,
        run: Option<&str>,
        kernel_lines: &[&str],
        kernel_offset_us: i64,
        world: &mut World<'_>,
    ) -> Self {
        let role = config.role;
        let mut machine = Self {
            agent: Box::new(Agent::new(now, config)),
            config,
            role,
            boot_id: config.boot_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            root: if role == Role::Master { "master" } else { "testrootfs" }.to_owned(),
            run_directory: run.map(|run| format!("/.pumice/runs/{run}")),
            slots: std::array::from_fn(|_| Slot::Free),
            kernel: VecDeque::new(),
            kernel_next: 0,
            kernel_read: 0,
            user_console: VecDeque::new(),
            user_console_taken: 0,
            kernel_offset_us,
            is_quiet: true,
            overruns: 0,
            baud: config.baud,
            is_guarded: false,
            answers: Vec::new(),
            heard: Vec::new(),
            journal_error: None,
            telling: None,
            watchdog_s: None,
            started_at: now,
        };
        if let Some(directory) = &machine.run_directory {
            let at = (machine.root.clone(), format!("{directory}/user-console.log"));
            machine.user_console_taken = world.disk.file(&at).map_or(0, |file| file.len() as u64);
        }
        for line in kernel_lines {
            machine.log_kernel(now, 6, line, world.text);
        }
        machine.is_quiet = false;
        machine.start_plan(now, world);
        machine
    }

    /// The agent was killed and is started anew; what it ran is gone.
    pub(crate) fn restart_agent(&mut self, now: Instant, nonce: u32, world: &mut World<'_>) {
        self.config.nonce = nonce;
        *self.agent = Agent::new(now, self.config);
        self.slots = std::array::from_fn(|_| Slot::Free);
        self.baud = self.config.baud;
        self.kernel_read = 0;
        // Nobody feeds it until the new agent does.
        self.watchdog_s = None;
        self.start_plan(now, world);
    }

    fn start_plan(&mut self, now: Instant, world: &mut World<'_>) {
        let Some(directory) = &self.run_directory else { return };
        let plan = world.disk.file(&(self.root.clone(), format!("{directory}/plan")));
        let plan = plan.map(<[u8]>::to_vec).ok_or("there is no plan");
        let (mut journal, at) =
            (Journal::new(), (self.root.clone(), format!("{directory}/journal.ndjson")));
        // In pieces that fall into the middle of lines.
        for piece in world.disk.file(&at).unwrap_or_default().chunks(37) {
            journal.push(piece);
        }
        world.disk.truncate(&at, journal.whole_bytes() as usize);
        let plan = plan.as_deref().map_err(|problem| *problem);
        self.agent.start_plan(now, plan, &journal, directory);
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The kernel logs a line, and prints it unless the console was quieted.
    pub(crate) fn log_kernel(
        &mut self,
        now: Instant,
        priority: u16,
        line: &str,
        text: &mut Vec<u8>,
    ) {
        let us = self.kernel_us(now);
        let sequence = self.kernel_next;
        self.kernel_next += 1;
        if self.kernel.len() == KERNEL_LOG_MAX {
            self.kernel.pop_front();
        }
        self.kernel.push_back((sequence, format!("{priority},{sequence},{us},-;{line}\n")));
        if !self.is_quiet {
            let line = format!("[{:5}.{:06}] {line}\r\n", us / 1_000_000, us % 1_000_000);
            text.extend(line.bytes());
        }
    }

    /// User space prints to /dev/console: to the agent if it wants that, else on the line.
    pub(crate) fn print_user_console(&mut self, line: &str, text: &mut Vec<u8>) {
        if self.agent.wants_user_console() {
            self.user_console.extend(line.bytes());
        } else {
            text.extend(line.replace('\n', "\r\n").bytes());
        }
    }

    fn feed_user_console(&mut self, now: Instant, world: &mut World<'_>) -> bool {
        if self.user_console.is_empty() {
            return false;
        }
        let count = self.user_console.len().min(USER_CONSOLE_MAX);
        let bytes: Vec<u8> = self.user_console.drain(..count).collect();
        if let Some(directory) = &self.run_directory {
            let path = format!("{directory}/user-console.log");
            world.disk.append((self.root.clone(), path), &bytes);
        }
        let offset = self.user_console_taken;
        self.user_console_taken += bytes.len() as u64;
        self.agent.handle_event(now, Event::UserConsole { offset, bytes: &bytes });
        true
    }

    /// What the kernel log's clock shows.
    fn kernel_us(&self, now: Instant) -> u64 {
        now.as_micros().saturating_add_signed(self.kernel_offset_us)
    }

    /// Does everything there is to do now.
    pub(crate) fn settle(&mut self, now: Instant, world: &mut World<'_>) -> Option<Fate> {
        loop {
            if let Some(fate) = self.drain_effects(now, world) {
                return Some(fate);
            }
            if self.feed_kernel(now) || self.feed_user_console(now, world) {
                continue;
            }
            match self.play_children(now, world) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(fate) => return Some(fate),
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let children = self.slots.iter().filter_map(|slot| match slot {
            Slot::Child(child) => child.poll_timeout(),
            _ => None,
        });
        children.chain(self.agent.poll_timeout()).min()
    }

    fn drain_effects(&mut self, now: Instant, world: &mut World<'_>) -> Option<Fate> {
        loop {
            // Out of self, so that an effect can borrow from it.
            let effect = self.agent.poll_effect(now)?;
            if let Some(trace) = world.trace.as_deref_mut() {
                trace.push(brief(&effect));
            }
            if let Some(left) = world.effects_left.as_mut() {
                if *left == 0 {
                    *world.effects_left = None;
                    return Some(Fate::EffectsSpent);
                }
                *left -= 1;
            }
            let mut rest = Rest {
                now,
                role: self.role,
                root: &self.root,
                run_directory: self.run_directory.as_deref(),
                slots: &mut self.slots,
                kernel_read: &mut self.kernel_read,
                is_quiet: &mut self.is_quiet,
                baud: &mut self.baud,
                is_guarded: &mut self.is_guarded,
                answers: &mut self.answers,
                heard: &mut self.heard,
                journal_error: self.journal_error,
                watchdog_s: &mut self.watchdog_s,
            };
            let report = rest.perform(effect, world);
            if world.disk.is_cut() {
                return Some(Fate::PowerCut);
            }
            if let Some(fate) = self.deliver(now, report, world) {
                return Some(fate);
            }
        }
    }

    fn deliver(&mut self, now: Instant, report: Report, world: &mut World<'_>) -> Option<Fate> {
        let agent = &mut self.agent;
        let event = match &report {
            Report::Nothing => return None,
            Report::Fate(fate) => return Some(fate.clone()),
            Report::Trouble(op, trouble) => {
                let (text, op) = (trouble.text(), *op);
                let Trouble { kind, os_error, .. } = *trouble;
                let failure = Failure { kind, os_error, text: &text };
                agent.handle_event(now, Event::Failed { op, failure });
                return None;
            }
            Report::Answer(request, Ok(answer)) => {
                self.answer(now, *request, answer, world);
                return None;
            }
            Report::Answer(request, Err(failure)) => {
                agent.fail(*request, failure);
                return None;
            }
            Report::Opened(op, size, mode) => Event::Opened { op: *op, size: *size, mode: *mode },
            Report::Bytes(op, bytes) => Event::Bytes { op: *op, bytes },
            Report::Worked { op, taken, bytes, has_more, written } => {
                let (op, taken, has_more, written) = (*op, *taken, *has_more, *written);
                Event::Worked { op, taken, bytes, has_more, written }
            }
            Report::Committed(op) => Event::Committed { op: *op },
            Report::Failed(op, failure) => Event::Failed { op: *op, failure: *failure },
            Report::Spawned(op) => Event::Spawned { op: *op },
            Report::RunFileFailed(os_error) => Event::RunFileFailed { os_error: *os_error },
            Report::Baud(Ok(())) => Event::BaudSet,
            Report::WatchdogFailed(os_error) => Event::WatchdogFailed { os_error: *os_error },
            Report::Baud(Err(os_error)) => Event::BaudFailed { os_error: *os_error },
        };
        agent.handle_event(now, event);
        None
    }

    fn answer(&mut self, now: Instant, request: u32, answer: &Answer, world: &mut World<'_>) {
        let agent = &mut self.agent;
        match answer {
            Answer::Info => {
                let partitions: String =
                    world.disk.labels().flat_map(|label| [label, "\0"]).collect();
                let role = match self.role {
                    Role::Master => response::Info::MASTER,
                    Role::Test => response::Info::TEST,
                };
                let info = response::Info {
                    version: "0.0.0-fake",
                    role,
                    boot_id: &self.boot_id,
                    machine_id: "",
                    host_name: "fake-board",
                    kernel: KERNEL,
                    model: "Pumice fake board",
                    addresses: b"",
                    partitions: partitions.as_bytes(),
                    memory_kib: 524_288,
                    agent_resident_kib: 600,
                    uptime_us: now.since(self.started_at).as_micros(),
                    line_overruns: self.overruns,
                    line_errors: 0,
                };
                agent.answer(Method::INFO, request, &info);
            }
            Answer::Clock(clock) => {
                let us = now.as_micros();
                let wall_us = 1_700_000_000_000_000 + us;
                let host_us = clock.host_us;
                let body = response::Clock { host_us, received_us: us, answered_us: us, wall_us };
                agent.answer(Method::CLOCK, request, &body);
            }
            Answer::Line => {
                let (overruns, stats) = (self.overruns, *agent.stats());
                agent.answer(Method::LINE, request, &response::Line { overruns, errors: 0, stats });
            }
            Answer::ClockMark => {
                self.log_kernel(
                    now,
                    MARK_PRIORITY.into(),
                    &format!("pumice: clock mark {request}"),
                    world.text,
                );
                let us = now.as_micros();
                let kernel_us = self.kernel_us(now);
                let body = response::ClockMark { before_us: us, after_us: us, kernel_us };
                self.agent.answer(Method::CLOCK_MARK, request, &body);
            }
            Answer::Stat(stat) => agent.answer(Method::STAT, request, stat),
            Answer::Done(method) => agent.answer(*method, request, &response::Done {}),
            Answer::Partition(device, size, mounted) => {
                let body = response::Partition { device, size: *size, mounted: *mounted };
                agent.answer(Method::PARTITION, request, &body);
            }
            Answer::Mounted(path) => {
                agent.answer(Method::MOUNT, request, &response::Mounted { path });
            }
            Answer::Injected(bytes) => {
                agent.answer(Method::INJECT, request, &response::Injected { bytes: *bytes });
            }
        }
    }

    fn feed_kernel(&mut self, now: Instant) -> bool {
        if !self.agent.kernel_room() {
            return false;
        }
        let next = self.kernel.iter().find(|(sequence, _)| *sequence >= self.kernel_read);
        let Some((sequence, record)) = next else { return false };
        self.kernel_read = sequence + 1;
        self.agent.handle_event(now, Event::Kernel { record: record.as_bytes() });
        true
    }

    /// Whether anything came of it.
    fn play_children(&mut self, now: Instant, world: &mut World<'_>) -> Result<bool, Fate> {
        if let Some((client, packet)) = self.telling.take_if(|(client, _)| {
            // As a real interpreter: what was printed before comes first.
            let Slot::Child(child) = &self.slots[usize::from(*client)] else { return true };
            child.waiting(Pipe::Stdout) + child.waiting(Pipe::Stderr) == 0
        }) {
            assert!(self.agent.signal_room(), "everything was drained");
            self.agent.handle_event(now, Event::Signal { client, packet: &packet });
            return Ok(true);
        }
        for index in 0..OPS_MAX {
            let Slot::Child(child) = &mut self.slots[index] else { continue };
            let (op, waiting) = (child.op, child.input_waiting());
            if let Some(deed) = child.play(now) {
                match deed {
                    Deed::Log(priority, line) => {
                        self.log_kernel(now, priority, &line, world.text);
                    }
                    Deed::Print(text) => world.text.extend(text.bytes()),
                    Deed::Tell(packet) => self.telling = Some((index as u8, packet)),
                    Deed::Console(line) => self.print_user_console(&line, world.text),
                    Deed::Panic(text) => return Err(Fate::Panic(text)),
                    Deed::Reset => return Err(Fate::Reset),
                    Deed::Restart => return Err(Fate::Restart),
                    Deed::KillAgent => return Err(Fate::KillAgent),
                }
                return Ok(true);
            }
            let taken = waiting - child.input_waiting();
            if taken > 0 {
                self.agent.handle_event(now, Event::InputTaken { op, bytes: taken });
                return Ok(true);
            }
            for (pipe, name) in [(Pipe::Stdout, "stdout"), (Pipe::Stderr, "stderr")] {
                let room = self.agent.output_room(op, pipe);
                if room == 0 {
                    continue;
                }
                let Some(bytes) = child.read(pipe, room) else { continue };
                let mut kept = bytes.len();
                if let (Some(suite), Some(directory)) = (&child.suite, &self.run_directory) {
                    let path = format!("{directory}/tests/{suite}/{name}.log");
                    kept = world.disk.append((self.root.clone(), path), &bytes);
                }
                let lost = bytes.len() - kept;
                if lost > 0 {
                    self.agent.handle_event(now, Event::OutputLost { op, bytes: lost });
                }
                if lost == 0 || kept > 0 {
                    let bytes = &bytes[..kept];
                    self.agent.handle_event(now, Event::Output { op, pipe, bytes });
                }
                return Ok(true);
            }
            if let Some(exit) = child.reap() {
                self.agent.handle_event(now, Event::Exited { op, exit });
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What of a machine an effect may touch while it borrows from the agent.
struct Rest<'m> {
    now: Instant,
    role: Role,
    root: &'m str,
    run_directory: Option<&'m str>,
    slots: &'m mut [Slot; OPS_MAX],
    kernel_read: &'m mut u64,
    is_quiet: &'m mut bool,
    baud: &'m mut u32,
    is_guarded: &'m mut bool,
    answers: &'m mut Vec<u8>,
    heard: &'m mut Vec<(u8, Vec<u8>)>,
    journal_error: Option<i32>,
    watchdog_s: &'m mut Option<u16>,
}

impl Rest<'_> {
    fn perform(&mut self, effect: Effect<'_>, world: &mut World<'_>) -> Report {
        match effect {
            Effect::Call { request, call } => Report::Answer(request, self.call(call, world)),
            Effect::Open { op, target } => match self.open(target, world) {
                Ok((slot, size, mode)) => {
                    *self.slot(op) = slot;
                    Report::Opened(op, size, mode)
                }
                Err(failure) => Report::Failed(op, failure),
            },
            Effect::Read { op, offset, max } => match self.read(op, offset, max, world) {
                Ok(bytes) => Report::Bytes(op, bytes),
                Err(failure) => self.failed(op, failure),
            },
            Effect::Write { op, bytes } => {
                if let Slot::Put { bytes: all, .. } = self.slot(op) {
                    all.extend_from_slice(bytes);
                }
                Report::Nothing
            }
            Effect::Work { op, max } => self.work(op, max, world),
            Effect::Commit { op } => self.commit(op, world),
            Effect::Close { op } => {
                *self.slot(op) = Slot::Free;
                Report::Nothing
            }
            Effect::Spawn { op, command } => self.spawn(op, command, world),
            Effect::Input { op, bytes } => {
                if let Slot::Plan(plan) = self.slot(op) {
                    let done = plan.push(bytes);
                    return self.or_trouble(op, done.map(|()| Report::Nothing));
                }
                if let Slot::Child(child) = self.slot(op) {
                    child.input(bytes);
                }
                Report::Nothing
            }
            Effect::EndInput { op } => {
                if let Slot::Child(child) = self.slot(op) {
                    child.end_input();
                }
                Report::Nothing
            }
            Effect::Signal { op, signal } => {
                let now = self.now;
                if let Slot::Child(child) = self.slot(op) {
                    child.signal(now, signal);
                }
                Report::Nothing
            }
            Effect::RunFile { file, bytes } => {
                if let (RunFile::Journal, Some(os_error)) = (file, self.journal_error) {
                    return Report::RunFileFailed(os_error);
                }
                let Some(path) = self.run_file(file) else { return Report::Nothing };
                let at = (self.root.to_owned(), path);
                if file == RunFile::Journal {
                    world.disk.append_reserved(at, bytes);
                    return Report::Nothing;
                }
                let before = world.disk.file(&at).map_or(0, <[u8]>::len);
                if world.disk.append(at.clone(), bytes) < bytes.len() {
                    // Whole lines or none.
                    world.disk.truncate(&at, before);
                    return Report::RunFileFailed(ENOSPC);
                }
                Report::Nothing
            }
            Effect::SyncRun => {
                world.disk.sync(|label| label == self.root);
                Report::Nothing
            }
            Effect::AnswerSignal { client, os_error } => {
                self.answers.push(os_error);
                if let Slot::Child(child) = self.slot(Op(client)) {
                    child.handle_answer();
                }
                Report::Nothing
            }
            Effect::AnswerCall { client, status, data } => {
                self.heard.push((status, data.to_vec()));
                if let Slot::Child(child) = self.slot(Op(client)) {
                    child.handle_answer();
                }
                Report::Nothing
            }
            Effect::QuietConsole(is_quiet) => {
                *self.is_quiet = is_quiet;
                Report::Nothing
            }
            Effect::SeekKernel { sequence } => {
                *self.kernel_read = sequence;
                Report::Nothing
            }
            Effect::SetBaud { baud } if baud > world.baud_max => Report::Baud(Err(EINVAL)),
            Effect::SetBaud { baud } => {
                *self.baud = baud;
                Report::Baud(Ok(()))
            }
            Effect::GuardLine(is_guarded) => {
                *self.is_guarded = is_guarded;
                Report::Nothing
            }
            Effect::Watchdog { seconds: 0 } => {
                *self.watchdog_s = None;
                Report::Nothing
            }
            Effect::Watchdog { .. } if world.watchdog_max_s == 0 => Report::WatchdogFailed(ENOENT),
            Effect::Watchdog { seconds } => {
                *self.watchdog_s = Some(seconds.min(world.watchdog_max_s));
                if seconds <= world.watchdog_max_s {
                    Report::Nothing
                } else {
                    Report::WatchdogFailed(EINVAL)
                }
            }
            Effect::Reboot { how } => Report::Fate(match how {
                request::Reboot::POWER_OFF => Fate::PowerOff,
                // It has no other program.
                request::Reboot::HAND_OVER => Fate::KillAgent,
                _ => Fate::Restart,
            }),
        }
    }

    fn call(&self, call: Call<'_>, world: &mut World<'_>) -> Outcome<Answer> {
        let disk = &mut *world.disk;
        match call {
            Call::Info => Ok(Answer::Info),
            Call::Clock(clock) => Ok(Answer::Clock(clock)),
            Call::Line => Ok(Answer::Line),
            Call::ClockMark => Ok(Answer::ClockMark),
            Call::Stat(request) => {
                let at = disk.resolve(self.root, request.path)?;
                Ok(Answer::Stat(disk.stat(&at)?))
            }
            Call::Remove(request) => {
                let at = disk.resolve(self.root, request.path)?;
                disk.remove(&at);
                Ok(Answer::Done(Method::REMOVE))
            }
            Call::Partition(request) => {
                let size = disk.partition(request.label)?.len() as u64;
                let is_mounted = disk.is_mounted(request.label);
                Ok(Answer::Partition(format!("/dev/fake-{}", request.label), size, is_mounted))
            }
            Call::Mount(request) => Ok(Answer::Mounted(disk.mount(request.label)?)),
            Call::Unmount(request) => {
                disk.unmount(request.label)?;
                Ok(Answer::Done(Method::UNMOUNT))
            }
            Call::Sync => Ok(Answer::Done(Method::SYNC)),
            Call::Lane(_) => Err(failure(FailureKind::REFUSED, "it has no network")),
            Call::Inject(request) => {
                if !disk.is_mounted(request.label) {
                    return Err(failure(FailureKind::NOT_FOUND, "the partition is not mounted"));
                }
                let at = (request.label.to_owned(), request.path.to_owned());
                disk.put(at, AGENT_FILE.to_vec(), 0o755);
                Ok(Answer::Injected(AGENT_FILE.len() as u64))
            }
        }
    }

    fn open(&self, target: Target<'_>, world: &mut World<'_>) -> Outcome<(Slot, u64, u32)> {
        let disk = &mut *world.disk;
        Ok(match target {
            Target::Get { path } => {
                let at = disk.resolve(self.root, path)?;
                let stat = disk.stat(&at)?;
                (Slot::Get { at }, stat.size, stat.mode)
            }
            Target::Put { path, mode, size } => {
                let at = disk.resolve(self.root, path)?;
                if size > PUT_MAX {
                    return Err(failure(FailureKind::TOO_LARGE, "no space"));
                }
                (Slot::Put { at, bytes: Vec::new(), mode, size }, 0, 0)
            }
            Target::List { path, recursive } => {
                let at = disk.resolve(self.root, path)?;
                (Slot::List { entries: disk.list(&at, recursive)?.into() }, 0, 0)
            }
            Target::Plan(wanted) => {
                (Slot::Plan(Box::new(Deployment::open(disk, self.root, &wanted)?)), 0, 0)
            }
            Target::Tree(wanted) => {
                let (hashing, size) = Hashing::open(disk, self.root, &wanted)?;
                (Slot::Tree(Box::new(hashing)), size, 0)
            }
        })
    }

    fn read(&mut self, op: Op, offset: u64, max: usize, world: &World<'_>) -> Outcome<Vec<u8>> {
        let cut = |bytes: &[u8]| {
            let start = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
            bytes[start..bytes.len().min(start.saturating_add(max))].to_vec()
        };
        match self.slot(op) {
            Slot::Get { at } => {
                let gone = failure(FailureKind::NOT_FOUND, "the file is gone");
                world.disk.file(at).map(cut).ok_or(gone)
            }
            Slot::List { entries } => {
                // Whole entries only.
                let (mut count, bytes) = (0, &*entries.make_contiguous());
                while let Some([low, high]) = bytes.get(count..count + 2) {
                    let next = count + 2 + usize::from(u16::from_le_bytes([*low, *high]));
                    if next > max {
                        break;
                    }
                    count = next;
                }
                Ok(entries.drain(..count).collect())
            }
            _ => Err(failure(FailureKind::CANCELED, "")),
        }
    }

    fn work(&mut self, op: Op, max: usize, world: &mut World<'_>) -> Report {
        let done = match self.slot(op) {
            Slot::Plan(plan) => plan.work(world.disk).map(|(taken, has_more)| {
                let written = plan.written();
                Report::Worked { op, taken, bytes: Vec::new(), has_more, written }
            }),
            Slot::Tree(hashing) => hashing.work(world.disk).map(|(bytes, has_more)| {
                assert!(bytes.len() <= max, "there is room for what work makes");
                let written = Written { data_bytes: 0, zero_bytes: 0, copied_bytes: 0 };
                Report::Worked { op, taken: 0, bytes, has_more, written }
            }),
            _ => return Report::Nothing,
        };
        self.or_trouble(op, done)
    }

    fn or_trouble(&mut self, op: Op, done: Result<Report, Trouble>) -> Report {
        done.unwrap_or_else(|trouble| {
            *self.slot(op) = Slot::Free;
            Report::Trouble(op, trouble)
        })
    }

    fn commit(&mut self, op: Op, world: &mut World<'_>) -> Report {
        match std::mem::replace(self.slot(op), Slot::Free) {
            Slot::Put { at, bytes, mode, size } => {
                assert_eq!(bytes.len() as u64, size, "committed with another size");
                world.disk.put(at, bytes, mode);
                Report::Committed(op)
            }
            Slot::Plan(plan) => match plan.commit(world.disk) {
                Ok(()) => Report::Committed(op),
                Err(failure) => Report::Failed(op, failure),
            },
            _ => Report::Nothing,
        }
    }

    fn spawn(&mut self, op: Op, command: Command<'_>, world: &World<'_>) -> Report {
        let (suite, program) = match command {
            Command::Exec(exec) => (None, world.script.find_command(exec.argv)),
            Command::Test { suite, .. } => {
                let directory = self.run_directory.unwrap_or_default();
                let path = format!("{directory}/tests/{suite}/run.sh");
                let run_sh = world.disk.file(&(self.root.to_owned(), path)).unwrap_or_default();
                (Some(suite.to_owned()), world.script.find_suite(suite, run_sh))
            }
        };
        if let Some(os_error) = program.os_error {
            let kind = if os_error == ENOENT { FailureKind::NOT_FOUND } else { FailureKind::OS };
            return Report::Failed(op, Failure { kind, os_error, text: "the program" });
        }
        *self.slot(op) = Slot::Child(Box::new(Child::new(self.now, op, suite, program)));
        Report::Spawned(op)
    }

    fn run_file(&self, file: RunFile) -> Option<String> {
        let directory = self.run_directory?;
        Some(match file {
            RunFile::Journal => format!("{directory}/journal.ndjson"),
            RunFile::KernelLog => format!("{directory}/kernel.log"),
            RunFile::AgentLog => format!("{directory}/agent.log"),
            RunFile::UserConsoleTimes => format!("{directory}/user-console.ndjson"),
            RunFile::Output => {
                let suite = self.slots.iter().find_map(|slot| match slot {
                    Slot::Child(child) => child.suite.as_deref(),
                    _ => None,
                })?;
                format!("{directory}/tests/{suite}/output.ndjson")
            }
        })
    }

    fn failed(&mut self, op: Op, failure: Failure<'static>) -> Report {
        *self.slot(op) = Slot::Free;
        Report::Failed(op, failure)
    }

    fn slot(&mut self, op: Op) -> &mut Slot {
        debug_assert!(self.role == Role::Test || self.run_directory.is_none());
        &mut self.slots[usize::from(op.0)]
    }
}

/// A line for the trace.
fn brief(effect: &Effect<'_>) -> String {
    match effect {
        Effect::RunFile { file, bytes } => {
            format!("{file:?} {}", String::from_utf8_lossy(bytes).trim_end())
        }
        Effect::Spawn { op, command: Command::Test { suite, .. } } => {
            format!("Spawn {} {suite}", op.0)
        }
        Effect::Write { op, bytes } => format!("Write {} {}", op.0, bytes.len()),
        Effect::Signal { op, signal } => format!("Signal {} {signal}", op.0),
        Effect::Close { op } => format!("Close {}", op.0),
        Effect::Commit { op } => format!("Commit {}", op.0),
        other => format!("{other:?}"),
    }
}

impl Fate {
    /// Whether the board had the time to write everything to its disk.
    pub(crate) fn is_orderly(&self) -> bool {
        matches!(self, Self::Restart | Self::PowerOff)
    }
}

/// What a kernel says to a rate that its UART does not do.
const EINVAL: i32 = 22;

/// ... and a file system that is full.
const ENOSPC: i32 = 28;

/// The agent's program file as far as a fake board has one.
const AGENT_FILE: &[u8] = b"\x7fELF fake agent";

/// More than any test puts: the space of the fake file system.
const PUT_MAX: u64 = 64 << 20;

/// Debug, from a program: `<7>` written to /dev/kmsg becomes a record of the facility "user".
const MARK_PRIORITY: u8 = 1 << 3 | 7;

const KERNEL: &str = "Linux 6.1.0-fake #1 SMP armv7l";

/// How a machine sends when the line is shared with a console.
pub(crate) const DEFAULT_CODING: Coding = Coding::TextSafe;
