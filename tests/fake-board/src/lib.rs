//! A board in memory and in virtual time, real where it matters: its agent is the real [`agent_core::agent::Agent`],
//! whose effects a small interpreter does on files and partitions that are byte vectors. Boot loader, kernel text and
//! programs are made up ([`Script`]).
//!
//! It speaks the vocabulary of all state machines: [`FakeBoard::handle_line`], [`FakeBoard::handle_timeout`],
//! [`FakeBoard::poll_transmit`], [`FakeBoard::poll_timeout`]; power is switched by [`FakeBoard::power_on`] and
//! [`FakeBoard::power_off`]. A file of a run that was not synced when the board dies is gone, as on a real one.
#![forbid(unsafe_code)]

mod boot;
mod child;
mod deploy;
mod disk;
mod machine;
mod script;

pub use script::{Program, Script, Step};

use agent_core::agent::{Config, LINE_MAX, Role};
use agent_core::link::{Coding, Stats};
use agent_core::time::{Duration, Instant};
use boot::{AUTOBOOT, BANNER, BootLoader, KERNEL_LINES, PROMPT, Typed};
use disk::Disk;
use machine::{Fate, Machine, World};

/// What kind of board it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Makes boot ids and nonces.
    pub seed: u64,
    /// How its agent sends.
    pub coding: Coding,
    /// Bits per second of its line.
    pub baud: u32,
    /// Whether it has a boot loader. Without one the agent runs at once in `slot`, with `run`.
    pub has_boot_loader: bool,
    /// Whether boot loader and kernel print anything. A prompt is always printed.
    pub has_boot_text: bool,
    /// What is booted when nobody stops the countdown.
    pub slot: Role,
    /// The run that an autobooted test image is started with.
    pub run: Option<String>,
    /// Labels and sizes in bytes.
    pub partitions: Vec<(String, usize)>,
    /// Length of the countdown.
    pub autoboot: Duration,
    /// From the kernel's start to the agent's.
    pub boot_time: Duration,
    /// The kernel log's clock minus the agent's, µs.
    pub kernel_offset_us: i64,
}

impl Default for Options {
    fn default() -> Self {
        let partition = |label: &str, mib: usize| (label.to_owned(), mib << 20);
        Self {
            seed: 1,
            coding: machine::DEFAULT_CODING,
            baud: 115_200,
            has_boot_loader: true,
            has_boot_text: true,
            slot: Role::Master,
            run: None,
            partitions: vec![
                partition("master", 1),
                partition("testboot", 4),
                partition("testrootfs", 16),
            ],
            autoboot: Duration::from_secs(2),
            boot_time: Duration::from_secs(3),
            kernel_offset_us: 0,
        }
    }
}

/// What a board does, seen from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Without power, or halted.
    Off,
    /// The boot loader counts down.
    Autoboot,
    /// The boot loader's prompt.
    Prompt,
    /// A kernel starts.
    Booting(Role),
    /// An agent runs.
    Up(Role),
    /// Hung or panicked: silent until it is power cycled.
    Dead,
}

/// Where a board is told to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DieAt {
    /// At power-on, before the first byte.
    PowerOn,
    /// When the kernel is started.
    Kernel,
    /// When the agent should start.
    Agent,
    /// When the agent asks for its n-th effect from now on.
    Effect(u32),
}

/// How it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Silence.
    Hang,
    /// A kernel panic with its text, then silence.
    Panic,
    /// A reset, then the boot loader.
    Reset,
}

/// See the module.
#[derive(Debug)]
pub struct FakeBoard {
    options: Options,
    disk: Disk,
    script: Script,
    state: State,
    text: Vec<u8>,
    boots: u32,
    is_unresponsive: bool,
    die: Option<(DieAt, Death)>,
    effects_left: Option<u32>,
    /// How often an agent was started anew.
    agent_starts: u32,
    failing_command: Option<(String, String)>,
    baud_max: u32,
    watchdog_max_s: u16,
    trace: Option<Vec<String>>,
}

#[derive(Debug)]
enum State {
    Off,
    Dead,
    Autoboot { until: Instant },
    Prompt(BootLoader),
    Booting { role: Role, run: Option<String>, init: Option<String>, until: Instant },
    Up(Box<Machine>, Role),
}

impl FakeBoard {
    /// A board without power, whose script is the default one.
    pub fn new(options: Options) -> Self {
        Self {
            disk: Disk::new(&options.partitions),
            options,
            script: Script::default(),
            state: State::Off,
            text: Vec::new(),
            boots: 0,
            is_unresponsive: false,
            die: None,
            effects_left: None,
            agent_starts: 0,
            failing_command: None,
            baud_max: u32::MAX,
            watchdog_max_s: u16::MAX,
            trace: None,
        }
    }

    /// Power is put on; nothing happens to a board that has it.
    pub fn power_on(&mut self, now: Instant) {
        if matches!(self.state, State::Off) {
            self.start(now);
        }
    }

    /// Power is taken away.
    pub fn power_off(&mut self, _now: Instant) {
        self.disk.crash();
        self.text.clear();
        self.state = State::Off;
    }

    /// Bytes came from the line.
    pub fn handle_line(&mut self, now: Instant, bytes: &[u8]) {
        if self.is_unresponsive {
            return;
        }
        match &mut self.state {
            State::Up(machine, _) => {
                machine.agent.handle_line(now, bytes);
                self.settle(now);
            }
            State::Off | State::Dead | State::Booting { .. } => {}
            State::Autoboot { .. } if bytes.is_empty() => {}
            State::Autoboot { .. } => {
                // The byte that stops the countdown is eaten, as U-Boot does; what came with it is typed ahead.
                self.state = State::Prompt(BootLoader::new(self.failing_command.clone()));
                self.text.extend(b"\x08\x08 0 \r\n");
                self.text.extend(PROMPT.as_bytes());
                self.type_at_prompt(now, &bytes[1..]);
            }
            State::Prompt(_) => self.type_at_prompt(now, bytes),
        }
    }

    /// The time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Autoboot { until } if now >= *until => {
                let (role, run) = (self.options.slot, self.options.run.clone());
                self.text.extend(b"\x08\x08 0 \r\n");
                self.start_kernel(now, role, run, None);
            }
            State::Booting { role, run, init, until } if now >= *until => {
                let (role, run, init) = (*role, run.take(), init.take());
                self.start_agent(now, role, run.as_deref(), init.as_deref());
            }
            State::Up(machine, _) => {
                machine.agent.handle_timeout(now);
                self.settle(now);
            }
            _ => {}
        }
    }

    /// The next piece of text, or the agent's next frame. To keep priorities, ask only when less than two frames are
    /// on their way.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.is_unresponsive {
            self.text.clear();
            return None;
        }
        if !self.text.is_empty() {
            return Some(std::mem::take(&mut self.text));
        }
        let State::Up(machine, _) = &mut self.state else { return None };
        let mut frame = vec![0; LINE_MAX];
        let length = machine.agent.poll_transmit(now, &mut frame)?;
        frame.truncate(length);
        // There is room in the queues now, so that a transfer may go on.
        self.settle(now);
        Some(frame)
    }

    /// When [`Self::handle_timeout`] and [`Self::poll_transmit`] must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Autoboot { until } | State::Booting { until, .. } => Some(*until),
            State::Up(machine, _) => machine.poll_timeout(),
            State::Off | State::Dead | State::Prompt(_) => None,
        }
    }

    /// What it does.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Off => Phase::Off,
            State::Dead => Phase::Dead,
            State::Autoboot { .. } => Phase::Autoboot,
            State::Prompt(_) => Phase::Prompt,
            State::Booting { role, .. } => Phase::Booting(*role),
            State::Up(_, role) => Phase::Up(*role),
        }
    }

    /// How often it was started: by power, reset or restart.
    pub fn boots(&self) -> u32 {
        self.boots
    }

    /// Its programs.
    pub fn script(&mut self) -> &mut Script {
        &mut self.script
    }

    /// What a partition holds.
    pub fn partition(&self, label: &str) -> Option<&[u8]> {
        self.disk.partition(label).ok()
    }

    /// What a file on a partition holds.
    pub fn file(&self, label: &str, path: &str) -> Option<&[u8]> {
        self.disk.file(&(label.to_owned(), path.to_owned()))
    }

    /// The permission bits of a file in a partition.
    pub fn file_mode(&self, label: &str, path: &str) -> Option<u32> {
        self.disk.mode(&(label.to_owned(), path.to_owned()))
    }

    /// Puts a file on a partition, durably.
    pub fn put_file(&mut self, label: &str, path: &str, bytes: &[u8]) {
        self.disk.put((label.to_owned(), path.to_owned()), bytes.to_vec(), 0o644);
    }

    /// The counters of the agent's link, while one runs.
    pub fn stats(&self) -> Option<&Stats> {
        match &self.state {
            State::Up(machine, _) => Some(machine.agent.stats()),
            _ => None,
        }
    }

    /// Somebody prints on the line: a process, an early kernel.
    pub fn print(&mut self, text: &str) {
        self.text.extend(text.bytes());
    }

    /// The kernel of the running image logs a line.
    pub fn log_kernel(&mut self, now: Instant, priority: u16, line: &str) {
        if let State::Up(machine, _) = &mut self.state {
            machine.log_kernel(now, priority, line, &mut self.text);
            self.settle(now);
        }
    }

    /// The kernel panics.
    pub fn panic(&mut self, now: Instant, text: &str) {
        self.meet(now, Fate::Panic(text.to_owned()));
    }

    /// It hangs: silent until it is power cycled.
    pub fn hang(&mut self) {
        self.disk.crash();
        self.state = State::Dead;
    }

    /// It resets, as by a watchdog.
    pub fn reset(&mut self, now: Instant) {
        self.meet(now, Fate::Reset);
    }

    /// Knob: neither hears nor says anything, but goes on inside.
    pub fn set_unresponsive(&mut self, is_unresponsive: bool) {
        self.is_unresponsive = is_unresponsive;
    }

    /// Knob: the UART of the image that runs says that it has lost so many bytes.
    pub fn set_overruns(&mut self, overruns: u32) {
        if let State::Up(machine, _) = &mut self.state {
            machine.overruns = overruns;
        }
    }

    /// Knob: every write to the journal of the image that runs fails with this `errno`, or none does any more.
    pub fn set_journal_error(&mut self, os_error: Option<i32>) {
        if let State::Up(machine, _) = &mut self.state {
            machine.journal_error = os_error;
        }
    }

    /// What the tests of the image that runs were answered on their socket so far.
    pub fn answers(&self) -> &[u8] {
        match &self.state {
            State::Up(machine, _) => &machine.answers,
            _ => &[],
        }
    }

    /// Status and bytes that the tests of the image that runs were answered to their calls so far.
    pub fn heard(&self) -> &[(u8, Vec<u8>)] {
        match &self.state {
            State::Up(machine, _) => &machine.heard,
            _ => &[],
        }
    }

    /// Knob: it dies there, once.
    pub fn die_at(&mut self, at: DieAt, how: Death) {
        self.die = Some((at, how));
        self.effects_left = match at {
            DieAt::Effect(count) => Some(count),
            _ => None,
        };
    }

    /// Bits per second at which it sends and reads now.
    pub fn baud(&self) -> u32 {
        match &self.state {
            State::Up(machine, _) => machine.baud,
            _ => self.options.baud,
        }
    }

    /// Whether its kernel takes no commands from the console.
    pub fn is_guarded(&self) -> bool {
        matches!(&self.state, State::Up(machine, _) if machine.is_guarded)
    }

    /// Knob: its UART does no higher rate.
    pub fn set_baud_max(&mut self, baud_max: u32) {
        self.baud_max = baud_max;
    }

    /// Knob: its watchdog takes no longer period, s; 0: it has none.
    pub fn set_watchdog_max(&mut self, seconds: u16) {
        self.watchdog_max_s = seconds;
    }

    /// Period of the watchdog that its agent feeds, s.
    pub fn watchdog_s(&self) -> Option<u16> {
        match &self.state {
            State::Up(machine, _) => machine.watchdog_s,
            _ => None,
        }
    }

    /// Knob: its files can grow by so many bytes; `None`: as much as you like.
    pub fn set_free_bytes(&mut self, free: Option<usize>) {
        self.disk.free = free;
    }

    /// Puts bytes on a partition, durably.
    pub fn fill_partition(&mut self, label: &str, offset: u64, bytes: &[u8]) {
        self.disk.fill(label, offset, bytes);
    }

    /// Knob: a block of 4096 bytes of a partition cannot be read.
    pub fn fail_reads(&mut self, label: &str, block: u64) {
        self.disk.bad_reads.insert((label.to_owned(), block));
    }

    /// Knob: a block of 4096 bytes of a partition cannot be written.
    pub fn fail_writes(&mut self, label: &str, block: u64) {
        self.disk.bad_writes.insert((label.to_owned(), block));
    }

    /// Knob: a partition is write-protected from now on, or no more.
    pub fn protect(&mut self, label: &str, is_protected: bool) {
        if is_protected {
            self.disk.protected.insert(label.to_owned());
        } else {
            self.disk.protected.remove(label);
        }
    }

    /// Knob: the power goes when so many bytes more were written to partitions. Of what was not synced then some
    /// sectors are there and some are not, by `chance`.
    pub fn cut_power_after(&mut self, bytes: u64, chance: u64) {
        (self.disk.until_cut, self.disk.chance) = (Some(bytes.max(1)), chance);
    }

    /// The agent is killed, and started anew by its keeper, who ends all that it ran.
    pub fn kill_agent(&mut self, now: Instant) {
        self.meet(now, Fate::KillAgent);
    }

    /// Knob: a boot loader command that begins so prints that and fails.
    pub fn fail_boot_command(&mut self, start: &str, output: &str) {
        self.failing_command = Some((start.to_owned(), output.to_owned()));
    }

    /// Knob: keeps a line for every effect from now on.
    pub fn start_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// The effects since the last call.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn start(&mut self, now: Instant) {
        self.boots += 1;
        if self.dies(now, DieAt::PowerOn) {
            return;
        }
        if !self.options.has_boot_loader {
            let (role, run) = (self.options.slot, self.options.run.clone());
            return self.start_agent(now, role, run.as_deref(), None);
        }
        if self.options.has_boot_text {
            self.text.extend(BANNER.as_bytes());
            self.text.extend(AUTOBOOT.as_bytes());
        }
        self.state = State::Autoboot { until: now + self.options.autoboot };
    }

    fn type_at_prompt(&mut self, now: Instant, bytes: &[u8]) {
        for (index, byte) in bytes.iter().enumerate() {
            let State::Prompt(loader) = &mut self.state else {
                return self.handle_line(now, &bytes[index..]);
            };
            match loader.push(*byte, &mut self.text) {
                Typed::Nothing => {}
                Typed::Reset => self.start(now),
                Typed::Boot(arguments) => {
                    let is_test = arguments.contains("root=PARTLABEL=testrootfs")
                        || arguments.contains("--role test");
                    let role = if is_test { Role::Test } else { Role::Master };
                    let mut words = arguments.split(' ');
                    let init = words.find_map(|word| word.strip_prefix("init=")).map(str::to_owned);
                    let mut words = arguments.split(' ').skip_while(|word| *word != "--run");
                    self.start_kernel(now, role, words.nth(1).map(str::to_owned), init);
                }
            }
        }
    }

    fn start_kernel(
        &mut self,
        now: Instant,
        role: Role,
        run: Option<String>,
        init: Option<String>,
    ) {
        if self.dies(now, DieAt::Kernel) {
            return;
        }
        if self.options.has_boot_text {
            for (index, line) in KERNEL_LINES.iter().enumerate() {
                self.text.extend(format!("[    0.{index:06}] {line}\r\n").bytes());
            }
        }
        let until = now + self.options.boot_time;
        self.state = State::Booting { role, run, init, until };
    }

    fn start_agent(&mut self, now: Instant, role: Role, run: Option<&str>, init: Option<&str>) {
        if self.dies(now, DieAt::Agent) {
            return;
        }
        if role == Role::Test {
            // The master image has its agent; a test image only when one was injected.
            if let Some(init) = init.filter(|init| self.file("testrootfs", init).is_none()) {
                let text = format!("Requested init {init} failed (error -2).");
                return self.meet(now, Fate::Panic(text));
            }
        }
        let mut boot_id = [0; 16];
        let mut state = self.options.seed ^ u64::from(self.boots) << 32;
        for half in boot_id.chunks_mut(8) {
            half.copy_from_slice(&splitmix(&mut state).to_le_bytes());
        }
        let config = Config {
            boot_id,
            nonce: splitmix(&mut state) as u32,
            role,
            coding: self.options.coding,
            baud: self.options.baud,
        };
        let offset_us = self.options.kernel_offset_us;
        let machine = Machine::new(now, config, run, &KERNEL_LINES, offset_us, &mut self.world());
        self.state = State::Up(Box::new(machine), role);
        self.settle(now);
    }

    fn settle(&mut self, now: Instant) {
        let State::Up(machine, _) = &mut self.state else { return };
        let mut world = World {
            disk: &mut self.disk,
            script: &self.script,
            trace: self.trace.as_mut(),
            effects_left: &mut self.effects_left,
            text: &mut self.text,
            baud_max: self.baud_max,
            watchdog_max_s: self.watchdog_max_s,
        };
        if let Some(fate) = machine.settle(now, &mut world) {
            self.meet(now, fate);
        }
    }

    fn world(&mut self) -> World<'_> {
        World {
            disk: &mut self.disk,
            script: &self.script,
            trace: self.trace.as_mut(),
            effects_left: &mut self.effects_left,
            text: &mut self.text,
            baud_max: self.baud_max,
            watchdog_max_s: self.watchdog_max_s,
        }
    }

    fn dies(&mut self, now: Instant, at: DieAt) -> bool {
        let Some((_, how)) = self.die.take_if(|(where_, _)| *where_ == at) else { return false };
        self.die_so(now, how);
        true
    }

    fn die_so(&mut self, now: Instant, how: Death) {
        match how {
            Death::Hang => self.hang(),
            Death::Panic => self.meet(now, Fate::Panic("as the test wished".to_owned())),
            Death::Reset => self.meet(now, Fate::Reset),
        }
    }

    fn meet(&mut self, now: Instant, fate: Fate) {
        if fate.is_orderly() {
            self.disk.sync(|_| true);
        }
        if !matches!(fate, Fate::EffectsSpent | Fate::KillAgent) {
            self.disk.crash();
        }
        match fate {
            Fate::EffectsSpent => {
                let how = self.die.take().map_or(Death::Hang, |(_, how)| how);
                self.die_so(now, how);
            }
            Fate::Panic(text) => {
                let us = now.as_micros();
                let stamp = format!("[{:5}.{:06}] ", us / 1_000_000, us % 1_000_000);
                let panic = format!(
                    "{stamp}Kernel panic - not syncing: {text}\r\n{stamp}CPU: 0 PID: 1 Comm: init\r\n\
                     {stamp}---[ end Kernel panic - not syncing: {text} ]---\r\n"
                );
                self.text.extend(panic.bytes());
                self.state = State::Dead;
            }
            Fate::PowerOff => {
                self.print_end("reboot: Power down");
                self.state = State::Off;
            }
            Fate::PowerCut => {
                self.text.clear();
                self.state = State::Off;
            }
            Fate::Restart => {
                self.print_end("reboot: Restarting system");
                self.start(now);
            }
            Fate::Reset => self.start(now),
            Fate::KillAgent => {
                self.agent_starts += 1;
                let nonce = self.agent_starts.wrapping_mul(0x9E37_79B9);
                let State::Up(mut machine, role) = std::mem::replace(&mut self.state, State::Dead)
                else {
                    unreachable!("only an agent that runs is killed");
                };
                machine.restart_agent(now, nonce, &mut self.world());
                self.state = State::Up(machine, role);
                self.settle(now);
            }
        }
    }

    fn print_end(&mut self, line: &str) {
        if self.options.has_boot_text {
            self.print(&format!("{line}\r\n"));
        }
    }

    /// The label of the partition that holds the running image's root file system.
    pub fn root(&self) -> Option<&str> {
        match &self.state {
            State::Up(machine, _) => Some(machine.root()),
            _ => None,
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}
