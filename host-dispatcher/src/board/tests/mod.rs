//! A [`Board`] against a scripted one: real texts of U-Boot and Linux, the real board end of the link, virtual time.
//!
//! The language is here; the tests that speak it are in [`life`], those of the boot loader's driver in
//! [`dialogue`], those of each kind of boot loader in [`loaders`], those of lines that are set up wrongly in [`bad_line`].

mod bad_line;
mod choice;
mod dialogue;
mod life;
mod loaders;
mod power;
mod revive;
mod shell;
mod two_lines;

use super::spec::{BoardSpec, BootLoaderSpec, Deadlines, NextSlotSpec, PowerKind, PowerSpec};
use super::*;
use agent_core::link::{Beacon, Coding, Event, LineConfig, Link};
use agent_core::wire::{Envelope, Failure, FailureKind, envelope, response};

/// What U-Boot prints on the emulated board before its countdown ends.
pub(super) const U_BOOT: &str = "\r\n\r\nU-Boot 2023.01+dfsg-2+deb12u3 (Jan 01 2023 - 00:00:00 +0000)\r\n\r\n\
    DRAM:  512 MiB\r\nCore:  51 devices, 14 uclasses, devicetree: board\r\nFlash: 64 MiB\r\n\
    Loading Environment from Flash... *** Warning - bad CRC, using default environment\r\n\r\n\
    In:    pl011@9000000\r\nOut:   pl011@9000000\r\nErr:   pl011@9000000\r\nNet:   No ethernet found.\r\n\
    Hit any key to stop autoboot:  2 ";

const KERNEL: &str = "\r\nStarting kernel ...\r\n\r\n[    0.000000] Booting Linux on physical CPU 0x0\r\n\
    [    0.000000] Linux version 6.1.0-18-armmp\r\n";

const PANIC: &str = "[   12.345678] Kernel panic - not syncing: sysrq triggered crash";

pub(super) fn deadlines() -> Deadlines {
    Deadlines {
        listen: Duration::from_secs(20),
        boot_loader: Duration::from_secs(30),
        command: Duration::from_secs(60),
        kernel: Duration::from_secs(30),
        beacon: Duration::from_secs(90),
    }
}

pub(super) fn boot_loader_spec() -> BootLoaderSpec {
    let script = |first: &str| {
        [first, "load virtio 0:1 ${kernel_addr_r} /boot/vmlinuz", "bootz ${kernel_addr_r}"]
            .map(str::to_owned)
            .to_vec()
    };
    BootLoaderSpec {
        banner: "U-Boot ".into(),
        autoboot: "Hit any key to stop autoboot".into(),
        interrupt: b" ".to_vec(),
        prompt: "=> ".into(),
        menu: None,
        errors: vec!["Unknown command".into(), "Failed to load".into()],
        line_end: b"\n".to_vec(),
        cancel: b"\x03".to_vec(),
        asks_status: true,
        has_echo: true,
        character_delay: None,
        master: script("virtio scan"),
        test: script("test scan"),
    }
}

pub(super) fn spec() -> BoardSpec {
    BoardSpec {
        name: "board-01".into(),
        line: LineConfig { coding: Coding::TextSafe, baud: 115_200 },
        has_agent_line: false,
        session_baud: None,
        has_side_lane: false,
        power: PowerSpec {
            settle: Duration::from_secs(1),
            deadline: Duration::from_secs(60),
            retries: 2,
            retry_delay: Duration::from_secs(2),
            ..PowerSpec::immediate(PowerKind::Switch { has_cycle: false })
        },
        boot_loader: Some(boot_loader_spec()),
        next_slot: None,
        kernel_banner: "Booting Linux on physical CPU".into(),
        panics: vec!["Kernel panic - not syncing".into()],
        deadlines: deadlines(),
        shell: None,
        agents: std::collections::BTreeMap::new(),
        tries: 3,
    }
}

fn emulator() -> BoardSpec {
    BoardSpec { power: PowerSpec::immediate(PowerKind::WithConnection), ..spec() }
}

fn generic() -> BoardSpec {
    BoardSpec { power: PowerSpec::immediate(PowerKind::None), boot_loader: None, ..spec() }
}

/// A board whose agent chooses the next image.
fn choosing() -> BoardSpec {
    let next_slot = NextSlotSpec { master: "choose master".into(), test: "choose test".into() };
    BoardSpec { boot_loader: None, next_slot: Some(next_slot), ..spec() }
}

/// A dispatcher's board and the thing at the other end of its line.
struct World {
    now: Instant,
    board: Board,
    /// What the scripted board does next, and when.
    next: Option<(Instant, Step)>,
    firmware: Firmware,
    agent: Option<Box<Link<16, 32, 4096>>>,
    incoming: Vec<u8>,
    boots: u8,
    /// What the line makes of each byte towards the board, and of each from it.
    down: fn(u8) -> u8,
    up: fn(u8) -> u8,
    is_dead: bool,
    is_deaf: bool,
    power_result: Result<(), String>,
    /// How long power commands take after they have switched.
    power_takes: Duration,
    power_ends: Option<Instant>,
    /// The switch does nothing.
    is_lying: bool,
    /// What it was asked for.
    switched: Vec<PowerOperation>,
    typed: String,
    events: Vec<BoardEvent>,
    sent_bytes: usize,
    /// The image that boots when nobody types at the boot loader, as [`choosing`]'s agent chose it, ...
    chosen: u8,
    /// ... by the commands that it was given, ...
    choices: Vec<String>,
    /// ... which end with this status, or start the image at once.
    choice: Choice,
    /// Lines that cannot be opened now.
    away: Vec<LineRole>,
    /// Waits in the board's UART, and is read behind the key that stops the countdown.
    rubbish: String,
}

/// What becomes of a command that chooses the next image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Ends(u8),
    Boots,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Banner,
    Autoboot,
    Agent(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Firmware {
    Nothing,
    Counting,
    Prompt(String),
}

impl World {
    fn new(spec: BoardSpec) -> Self {
        Self {
            now: Instant::ZERO,
            board: Board::new(spec, 7),
            next: None,
            firmware: Firmware::Nothing,
            agent: None,
            incoming: Vec::new(),
            boots: 0,
            down: |byte| byte,
            up: |byte| byte,
            is_dead: false,
            is_deaf: false,
            power_result: Ok(()),
            power_takes: Duration::ZERO,
            power_ends: None,
            is_lying: false,
            switched: Vec::new(),
            typed: String::new(),
            events: Vec::new(),
            sent_bytes: 0,
            chosen: 0,
            choices: Vec::new(),
            choice: Choice::Ends(0),
            away: Vec::new(),
            rubbish: String::new(),
        }
    }

    fn goal(&mut self, goal: Goal) -> &mut Self {
        self.board.set_goal(self.now, goal);
        self
    }

    fn says(&mut self, text: &str) {
        self.board.handle_bytes(self.now, LineRole::Console, text.as_bytes());
    }

    /// What the agent sends comes, if its line is there.
    fn reach_board(&mut self, bytes: &[u8]) {
        let line = self.board.agents_line();
        if !self.away.contains(&line) {
            self.board.handle_bytes(self.now, line, bytes);
        }
    }

    /// A line is pulled out.
    fn pull_out(&mut self, line: LineRole) {
        self.away.push(line);
        self.board.handle_disconnected(self.now, line, "no such device");
    }

    fn power(&mut self, is_on: bool) {
        self.agent = None;
        self.firmware = Firmware::Nothing;
        self.next = is_on.then(|| (self.now + Duration::from_millis(100), Step::Banner));
    }

    fn start_agent(&mut self, role: u8) {
        self.boots += 1;
        let beacon = Beacon {
            boot_id: [self.boots; 16],
            nonce: u32::from(self.boots),
            role,
            coding: Coding::TextSafe,
        };
        let line = LineConfig { coding: Coding::TextSafe, baud: 115_200 };
        self.incoming.clear();
        self.agent = Some(Box::new(Link::board(self.now, line, beacon)));
    }

    fn run_for(&mut self, duration: Duration) -> &mut Self {
        let end = self.now + duration;
        self.run_until(end, |_| false);
        self
    }

    /// Runs until the goal is reached or the board is broken, one virtual hour at most.
    fn run(&mut self) -> &mut Self {
        let end = self.now + Duration::from_secs(3600);
        self.run_until(end, |world| {
            world.board.is_at_goal() || matches!(world.board.phase(), Phase::Broken(_))
        });
        self
    }

    fn run_until(&mut self, end: Instant, is_enough: impl Fn(&Self) -> bool) {
        loop {
            self.settle();
            if self.now >= end || is_enough(self) {
                return;
            }
            let agent = self.agent.as_ref().and_then(|agent| agent.poll_timeout());
            let next =
                [self.board.poll_timeout(), self.next.map(|(at, _)| at), self.power_ends, agent];
            let at = next.into_iter().flatten().min().unwrap_or(end);
            self.now = Ord::max(at, self.now + Duration::from_millis(1)).min(end);
            self.board.handle_timeout(self.now);
            self.end_power();
            if let Some((_, step)) = self.next.take_if(|(at, _)| self.now >= *at) {
                self.step(step);
            }
            if let Some(agent) = &mut self.agent {
                agent.handle_timeout(self.now);
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            _ if self.is_dead => {}
            Step::Banner => {
                self.firmware = Firmware::Counting;
                self.next = Some((self.now + Duration::from_secs(2), Step::Autoboot));
                self.says(U_BOOT);
            }
            Step::Autoboot => self.start_kernel(self.chosen),
            Step::Agent(role) => self.start_agent(role),
        }
    }

    fn start_kernel(&mut self, role: u8) {
        self.firmware = Firmware::Nothing;
        self.next = Some((self.now + Duration::from_secs(3), Step::Agent(role)));
        self.says(KERNEL);
    }

    /// Everything that takes no time.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut is_idle = true;
            while let Some(event) = self.board.poll_event() {
                self.events.push(event);
                is_idle = false;
            }
            while let Some(action) = self.board.poll_action() {
                is_idle = false;
                self.act(action);
            }
            for line in LineRole::ALL {
                if let Some(bytes) = self.board.poll_transmit(self.now, line) {
                    is_idle = false;
                    self.sent_bytes += bytes.len();
                    self.receive(line, &bytes);
                }
            }
            let mut frame = [0; LINE_MAX];
            let length =
                self.agent.as_mut().and_then(|agent| agent.poll_transmit(self.now, &mut frame));
            if let Some(length) = length {
                is_idle = false;
                let bytes = frame[..length].iter().copied().map(self.up).collect::<Vec<u8>>();
                self.reach_board(&bytes);
            }
            if is_idle {
                return;
            }
        }
        panic!("never idle");
    }

    fn act(&mut self, action: BoardAction) {
        let is_emulator = self.board.spec.power.kind == PowerKind::WithConnection;
        match action {
            BoardAction::Connect(line) if self.away.contains(&line) => {
                self.board.handle_disconnected(self.now, line, "no such device");
            }
            BoardAction::Connect(line) => {
                if is_emulator && line == LineRole::Console {
                    self.power(true);
                }
                self.board.handle_connected(self.now, line);
            }
            BoardAction::Disconnect => {
                self.power(false);
                self.board.handle_disconnected(self.now, LineRole::Console, "closed");
            }
            BoardAction::SetBaud(_) | BoardAction::OfferLane | BoardAction::CloseLane => {}
            BoardAction::Power(operation) => {
                self.switched.push(operation);
                if !self.is_lying {
                    self.power(operation != PowerOperation::Off);
                }
                self.power_ends = Some(self.now + self.power_takes);
                self.end_power();
            }
        }
    }

    fn end_power(&mut self) {
        if self.power_ends.is_some_and(|at| self.now >= at) {
            self.power_ends = None;
            self.board.handle_power(self.now, self.power_result.clone());
        }
    }

    fn receive(&mut self, line: LineRole, bytes: &[u8]) {
        if line != self.board.agents_line() {
            return self.type_in(bytes);
        }
        if let Some(agent) = &mut self.agent {
            let bytes: Vec<u8> = bytes.iter().copied().map(self.down).collect();
            agent.handle_input(self.now, &bytes, &mut |_| {});
            return self.serve();
        }
        // Nobody else reads a line that is the agent's.
        if line == LineRole::Console {
            self.type_in(bytes);
        }
    }

    /// Somebody types on the console.
    fn type_in(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.typed.push(char::from(*byte));
            match &mut self.firmware {
                _ if self.is_deaf => {}
                Firmware::Nothing => panic!("{byte:#x} was sent to a board that does not listen"),
                Firmware::Counting => {
                    self.next = None;
                    let rubbish = std::mem::take(&mut self.rubbish);
                    self.firmware = Firmware::Prompt(rubbish.clone());
                    self.says(&format!("\x08\x08\x08 0 \r\n=> {rubbish}"));
                }
                Firmware::Prompt(line) if *byte == 3 => {
                    line.clear();
                    self.says("<INTERRUPT>\r\n=> ");
                }
                Firmware::Prompt(line) if *byte == b'\n' => {
                    let line = std::mem::take(line);
                    self.says("\r\n");
                    self.execute(&line);
                }
                Firmware::Prompt(line) => {
                    line.push(char::from(*byte));
                    self.says(&char::from(*byte).to_string());
                }
            }
        }
    }

    fn execute(&mut self, line: &str) {
        if line.starts_with("bootz") {
            let role = u8::from(self.typed.rfind("test scan") > self.typed.rfind("virtio scan"));
            self.start_kernel(role);
        } else {
            assert!(line.ends_with("; echo pumice-rc=$?"), "{line}");
            self.says("4321 bytes read in 5 ms\r\npumice-rc=0\r\n=> ");
        }
    }

    /// A small agent: answers `info`, refuses `stat`, never answers `clock` without a time, sends four bytes for `get`, restarts.
    fn serve(&mut self) {
        let mut control = Vec::new();
        let Some(agent) = &mut self.agent else { return };
        while let Some(event) = agent.poll_event() {
            if let Event::Data { stream: 0, bytes } = event {
                control.extend_from_slice(bytes);
            }
        }
        agent.grant(0, control.len());
        self.incoming.extend(control);
        let incoming = std::mem::take(&mut self.incoming);
        let mut rest = &incoming[..];
        while let Some((envelope, used)) = Envelope::parse(rest).unwrap() {
            rest = &rest[used..];
            let id = envelope.request;
            match envelope.method {
                Method::STAT => {
                    let failure =
                        Failure { kind: FailureKind::NOT_FOUND, os_error: 2, text: "/nowhere" };
                    self.answer(Method::FAILED, id, &failure);
                }
                // Only the question behind a panic's line has a time in it.
                Method::CLOCK if envelope.body == [0] => {}
                Method::EXEC => {
                    let words: Vec<&[u8]> = envelope.body.split(|byte| *byte == 0).collect();
                    let command = String::from_utf8_lossy(words[2]).into_owned();
                    if matches!(self.choice, Choice::Boots | Choice::Ends(0)) {
                        self.chosen = u8::from(command.ends_with("test"));
                    }
                    self.choices.push(command);
                    match self.choice {
                        Choice::Ends(code) => {
                            let exit = response::Exit { code, ..response::Exit::default() };
                            self.answer(Method::EXEC, id, &exit);
                        }
                        Choice::Boots => {
                            self.agent = None;
                            return self.start_kernel(self.chosen);
                        }
                    }
                }
                Method::GET => {
                    let stream = envelope.body[0];
                    let agent = self.agent.as_mut().unwrap();
                    agent.open(stream, Priority::Bulk);
                    assert_eq!(agent.write(stream, b"data"), 4);
                    agent.finish(stream);
                    self.answer(Method::GET, id, &response::Done {});
                }
                Method::REBOOT => {
                    self.answer(Method::REBOOT, id, &response::Done {});
                    let mut frame = [0; LINE_MAX];
                    while let Some(length) =
                        self.agent.as_mut().unwrap().poll_transmit(self.now, &mut frame)
                    {
                        self.reach_board(&frame[..length]);
                    }
                    self.agent = None;
                    self.next = Some((self.now + Duration::from_secs(1), Step::Banner));
                }
                method => self.answer(method, id, &response::Done {}),
            }
        }
        self.incoming = rest.to_vec();
    }

    fn answer<T: Serialize>(&mut self, method: Method, id: u32, body: &T) {
        let mut buffer = [0; 256];
        let message = envelope::encode(method, id, body, &mut buffer).unwrap();
        assert_eq!(self.agent.as_mut().unwrap().write(0, message), message.len());
    }

    fn request(&mut self, method: Method, streams: &[u8]) -> RequestId {
        let body = streams.first().copied().unwrap_or(0);
        self.board.request(self.now, method, &body, streams, Duration::from_secs(5))
    }

    fn phases(&self) -> Vec<String> {
        let to = |event: &BoardEvent| match event {
            BoardEvent::Phase { to, .. } => Some(to.to_string()),
            _ => None,
        };
        self.events.iter().filter_map(to).collect()
    }

    fn has(&self, is_it: impl Fn(&BoardEvent) -> bool) -> bool {
        self.events.iter().any(is_it)
    }

    fn text(&self, wanted: ConsoleSource) -> String {
        let mut text = Vec::new();
        for event in &self.events {
            match event {
                BoardEvent::Console { source, bytes } if *source == wanted => {
                    text.extend_from_slice(bytes)
                }
                _ => {}
            }
        }
        String::from_utf8(text).unwrap()
    }
}
