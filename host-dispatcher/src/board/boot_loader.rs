//! Driving a boot loader: stop its automatic boot, leave its menu, type commands, notice what fails.
//!
//! Owns the dialogue between the boot loader's banner and the kernel's. Types nothing that was not asked for with
//! [`Driver::ask`]. A command is typed without its line end, which follows when the echo has come back whole: a
//! command that the line damaged is never executed. It is typed again one character at a time, each when the one before
//! it has come back, so a board that loses characters loses only time. Status digits tell the answer from the echo of `$?`.
//! What differs between boot loaders is in the [`BootLoaderSpec`].
//!
//! Knows no power and no retries of the boot: a [`Report::Failed`] is for the phase table.

use std::collections::VecDeque;

use super::console::{LINE_BYTES_MAX, LineBuffer};
use super::expect::{Matcher, Patterns};
use super::loader_command::{LoaderCommand, Ran, RanEnd};
use super::loading::{Loading, Upload};
use super::phase::{Cause, Slot};
use super::spec::{BootLoaderSpec, Deadlines};
use super::ymodem::Progress;
use agent_core::time::{Duration, Instant};

/// What the boot loader shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Whatever it does by itself.
    Nothing,
    /// Wait at its prompt.
    Prompt,
    /// Boot this image.
    Boot(Slot),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It waits at its prompt.
    AtPrompt,
    /// It does not do what it should; the sentence quotes it.
    Failed(Cause, String),
}

/// The dialogue with one boot loader.
#[derive(Clone, Debug)]
pub struct Driver {
    spec: BootLoaderSpec,
    deadlines: Deadlines,
    /// The automatic boot's text and the menu's.
    patterns: Patterns,
    matcher: Matcher,
    line: LineBuffer,
    /// Lines that have ended since the command is being typed: some wrap what is typed at the screen's edge.
    wrapped: String,
    want: Want,
    state: State,
    /// The slot whose commands are being typed.
    script: Option<Slot>,
    /// The one command that is typed in the place of these, and what came of the last one.
    single: Option<LoaderCommand>,
    ran: Option<Ran>,
    status: Option<u32>,
    last_output: String,
    /// What commands of the master image's script receive.
    uploads: Vec<Upload>,
    /// The speed at which they do, where that is another than the line's.
    upload_baud: Option<u32>,
    loading: Option<Loading>,
    /// How often the file of this command was tried before.
    failed_loads: u32,
    typing: VecDeque<u8>,
    type_at: Instant,
    paced: Option<Paced>,
    /// When a line end that nothing answered is typed again, and how often that was done.
    line_end: Option<(Instant, u32)>,
    /// When the prompt counts, if nothing comes behind it.
    quiet_at: Option<Instant>,
    deadline: Option<Instant>,
    report: Option<Report>,
    /// What was sent to the kernel before may reach the boot loader, as if it were typed.
    has_rubbish: bool,
}

/// A command that is typed one character at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Paced {
    /// So many characters have been typed.
    sent: usize,
    /// When the last of them is typed again, if it has not come back.
    echo_by: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// For the autoboot text, the menu, or a prompt.
    Waiting,
    /// It counts down; so many interrupts have been typed.
    Counting { interrupts: u32 },
    /// Its menu is there; its keys have been typed or not.
    InMenu { is_typed: bool },
    /// Keys that came too late stand behind its prompt and are being thrown away.
    Clearing,
    /// It waits for a command.
    AtPrompt,
    /// This command is on its way to it; its echo is awaited.
    Typing { command: usize, tries: u32 },
    /// The command was damaged and is being thrown away.
    Cancelling { command: usize, tries: u32, cancels: u32 },
    /// It executes this command.
    Running { command: usize },
    /// It receives a file with this command.
    Receiving { command: usize },
    /// It has been told so often to give that up.
    Dropping { command: usize, asks: u32 },
    /// It executes the last one, which does not return.
    Launched,
    /// It failed; said once.
    Failed,
}

impl Driver {
    /// A dialogue that has not begun.
    pub fn new(spec: BootLoaderSpec, deadlines: Deadlines) -> Self {
        let menu = spec.menu.as_ref().map_or(&[][..], |(text, _)| text.as_bytes());
        Self {
            patterns: Patterns::new([spec.autoboot.as_bytes(), menu]),
            spec,
            deadlines,
            matcher: Matcher::default(),
            line: LineBuffer::new(),
            wrapped: String::new(),
            want: Want::Nothing,
            state: State::Waiting,
            script: None,
            single: None,
            ran: None,
            status: None,
            last_output: String::new(),
            uploads: Vec::new(),
            upload_baud: None,
            loading: None,
            failed_loads: 0,
            typing: VecDeque::new(),
            type_at: Instant::ZERO,
            paced: None,
            line_end: None,
            quiet_at: None,
            deadline: None,
            report: None,
            has_rubbish: false,
        }
    }

    /// The board has just been powered on or reset: the dialogue begins anew, and nothing is asked for.
    pub fn reset(&mut self) {
        let spec = BootLoaderSpec {
            master: std::mem::take(&mut self.spec.master),
            test: std::mem::take(&mut self.spec.test),
            ..self.spec.clone()
        };
        self.leave("the board was started anew");
        let uploads = std::mem::take(&mut self.uploads);
        let upload_baud = self.upload_baud;
        let ran = self.ran.take();
        *self = Self { uploads, upload_baud, ran, ..Self::new(spec, self.deadlines) };
    }

    /// What to type for an image from now on; the last command boots it.
    pub fn set_script(&mut self, slot: Slot, commands: Vec<String>) {
        let commands = commands.into_iter().map(|command| command.trim().to_owned()).collect();
        match slot {
            Slot::Master => {
                self.spec.master = commands;
                self.uploads.clear();
            }
            Slot::Test => self.spec.test = commands,
        }
    }

    /// The same for the master image, with files that its commands receive; `baud` is appended to these commands, and the
    /// line has that speed meanwhile.
    pub fn set_revival(&mut self, commands: Vec<String>, uploads: Vec<Upload>, baud: Option<u32>) {
        self.set_script(Slot::Master, commands);
        (self.uploads, self.upload_baud) = (uploads, baud);
    }

    /// Bytes of all uploads that have arrived, while there is one under way.
    pub fn sent_bytes(&self) -> Option<u64> {
        let State::Receiving { command } = self.state else { return None };
        let before = self.uploads.iter().filter(|upload| upload.command < command);
        let before: u64 = before.map(|upload| upload.content.len() as u64).sum();
        match self.loading.as_ref()?.progress() {
            Progress::Running(bytes) => Some(before + bytes),
            _ => None,
        }
    }

    /// Whether a file is under way, or being given up.
    pub fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// The line's speed, where a file needs another than the line's own.
    pub fn baud(&self) -> Option<u32> {
        self.loading.as_ref()?.baud()
    }

    /// The speed of [`Self::baud`] cannot be had; `why` is for people.
    pub fn handle_baud_failed(&mut self, why: &str) {
        if self.baud().is_some() {
            self.fail_speed(why);
        }
    }

    /// Gives up a file that is under way: the boot loader shall wait for commands.
    pub fn drop_file(&mut self, now: Instant) {
        self.want = Want::Prompt;
        if let State::Receiving { command } = self.state {
            self.drop_loading(now, command, 1);
        }
    }

    /// Asks for something; asking twice does no harm. A command that is under way ends first.
    pub fn ask(&mut self, now: Instant, want: Want) {
        self.want = want;
        self.drive(now);
    }

    /// Types one command, if it waits at its prompt. How it ends is no failure: [`Self::poll_ran`] says it.
    pub fn run(&mut self, now: Instant, command: &str) -> bool {
        if self.state != State::AtPrompt {
            return false;
        }
        self.ran = None;
        self.single = Some(LoaderCommand::new(command));
        self.type_command(now, 0, 1);
        true
    }

    /// Whether such a command is being executed: a banner is its output, or shows at the automatic boot that it was none.
    pub fn is_asked(&self) -> bool {
        self.single.is_some() && matches!(self.state, State::Running { .. })
    }

    /// What came of it.
    pub fn poll_ran(&mut self) -> Option<Ran> {
        self.ran.take()
    }

    /// Something was typed that nobody meant: it goes away from the prompt.
    pub fn throw_away(&mut self) {
        // Enter would choose from a menu.
        if !self.spec.cancel.iter().any(|key| b"\r\n".contains(key)) {
            self.typing.extend(&self.spec.cancel);
        }
    }

    /// The same may be there before anything is typed: frames for a kernel that died wait in the board's UART.
    pub fn expect_rubbish(&mut self) {
        self.has_rubbish = true;
    }

    /// Whether the boot command has been given.
    pub fn is_launched(&self) -> bool {
        self.state == State::Launched
    }

    /// Whether it has failed.
    pub fn is_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// The slot whose commands were typed last.
    pub fn script_slot(&self) -> Option<Slot> {
        self.script
    }

    /// Text came from the board.
    pub fn handle_text(&mut self, now: Instant, text: &[u8]) {
        if let Some(loading) = &mut self.loading {
            loading.handle_bytes(now, text);
            self.read_loading(now);
        }
        for byte in text {
            if let Some(found) = self.patterns.step(&mut self.matcher, *byte) {
                if self.is_asked() {
                    self.leave("the board was restarted");
                    self.state = State::Waiting;
                }
                match self.state {
                    State::Waiting | State::Counting { .. } if found == MENU => {
                        self.state = State::InMenu { is_typed: false };
                        self.deadline = None;
                        self.drive(now);
                    }
                    State::Waiting if found == AUTOBOOT => {
                        self.state = State::Counting { interrupts: 0 };
                        self.drive(now);
                    }
                    _ => {}
                }
            }
            if self.line.push(*byte) {
                self.handle_line(now);
            } else if let State::Typing { command, .. } = self.state
                && self.is_echoed(command)
            {
                self.execute(now, command);
            }
        }
        self.quiet_at = None;
        if self.is_at_prompt() {
            if matches!(self.state, State::Running { .. }) && self.status == Some(0) {
                self.handle_prompt(now);
            } else {
                self.quiet_at = Some(now + PROMPT_QUIET);
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.quiet_at.is_some_and(|at| now >= at) {
            self.quiet_at = None;
            self.handle_prompt(now);
        }
        if let Some(loading) = &mut self.loading {
            loading.handle_timeout(now);
            self.typing.extend(loading.poll_key());
            self.read_loading(now);
        }
        if self.deadline.is_some_and(|at| now >= at) {
            self.deadline = None;
            self.handle_deadline(now);
        }
        if let Some((at, times)) = self.line_end
            && now >= at
        {
            self.typing.extend(&self.spec.line_end);
            let is_last = times + 1 >= LINE_ENDS_MAX;
            self.line_end = (!is_last).then_some((now + ECHO_SLACK, times + 1));
        }
    }

    /// The next bytes of a file that is under way.
    pub fn poll_block(&mut self) -> Option<Vec<u8>> {
        let loading = self.loading.as_mut().filter(|_| self.typing.is_empty())?;
        loading.poll_block()
    }

    /// The next bytes to type.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        match self.spec.character_delay {
            _ if self.typing.is_empty() => self.next_paced(now).map(|byte| vec![byte]),
            None => Some(std::mem::take(&mut self.typing).into()),
            Some(_) if now < self.type_at => None,
            Some(delay) => {
                let byte = self.typing.pop_front()?;
                self.type_at = now + delay;
                Some(vec![byte])
            }
        }
    }

    /// What came of it.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.report.take()
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_transmit`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let type_at =
            if self.typing.is_empty() { self.paced_timeout() } else { Some(self.type_at) };
        let line_end = self.line_end.map(|(at, _)| at);
        let loading = self.loading.as_ref().and_then(Loading::poll_timeout);
        [self.quiet_at, self.deadline, type_at, line_end, loading].into_iter().flatten().min()
    }

    /// Does what is wanted, where the state allows something.
    fn drive(&mut self, now: Instant) {
        match (self.state, self.want) {
            (State::Counting { interrupts: 0 }, Want::Prompt | Want::Boot(_)) => {
                self.interrupt(now, 1)
            }
            (State::InMenu { is_typed: false }, Want::Prompt | Want::Boot(_)) => {
                self.state = State::InMenu { is_typed: true };
                let keys = self.spec.menu.as_ref().map_or(&[][..], |(_, keys)| keys);
                self.typing.extend(keys);
                self.deadline = Some(now + MENU_TIME);
            }
            (State::AtPrompt, Want::Boot(slot)) => {
                self.script = Some(slot);
                self.type_command(now, 0, 1);
            }
            _ => {}
        }
    }

    fn interrupt(&mut self, now: Instant, interrupts: u32) {
        self.state = State::Counting { interrupts };
        self.typing.extend(&self.spec.interrupt);
        if self.has_rubbish {
            self.throw_away();
        }
        self.deadline = Some(now + INTERRUPT_EVERY);
    }

    fn type_command(&mut self, now: Instant, command: usize, tries: u32) {
        let text = self.typed_form(command);
        if text.is_empty() || text.len() + self.spec.prompt.len() >= LINE_BYTES_MAX {
            let number = command + 1;
            return self
                .fail(Cause::BootLoader, format!("boot command {number} is missing or too long"));
        }
        self.state = State::Typing { command, tries };
        self.wrapped.clear();
        self.line_end = None;
        let is_paced = tries > 1 && self.spec.has_echo;
        self.paced = is_paced.then_some(Paced { sent: 0, echo_by: now });
        if is_paced {
            self.deadline = Some(now + ECHO_SLACK);
            return;
        }
        self.typing.extend(text.as_bytes());
        let delay = self.spec.character_delay.unwrap_or(CHARACTER_TIME).max(CHARACTER_TIME);
        self.deadline = Some(now + ECHO_SLACK + delay.times(text.len() as u64 * 2));
        if !self.spec.has_echo {
            self.execute(now, command);
        }
    }

    /// The next character of a command of which each waits for the one before it.
    fn next_paced(&mut self, now: Instant) -> Option<u8> {
        let State::Typing { command, .. } = self.state else { return None };
        let Paced { sent, echo_by } = self.paced?;
        if now < self.type_at {
            return None;
        }
        let text = self.typed_form(command);
        let echoed = self.echoed_bytes(&text)?;
        let index = match sent {
            _ if echoed >= sent => {
                // There is progress. More than was sent came when the echo was late, and the same letter follows.
                self.deadline = Some(now + ECHO_SLACK);
                echoed
            }
            _ if now >= echo_by && echoed + 1 == sent => echoed,
            _ => return None,
        };
        let byte = *text.as_bytes().get(index)?;
        self.paced = Some(Paced { sent: index + 1, echo_by: now + ECHO_TIME });
        self.type_at = now + self.spec.character_delay.unwrap_or(Duration::ZERO);
        Some(byte)
    }

    fn paced_timeout(&self) -> Option<Instant> {
        let State::Typing { command, .. } = self.state else { return None };
        let Paced { sent, echo_by } = self.paced?;
        let echoed = self.echoed_bytes(&self.typed_form(command))?;
        Some(if echoed >= sent { self.type_at } else { self.type_at.max(echo_by) })
    }

    fn execute(&mut self, now: Instant, command: usize) {
        self.typing.extend(&self.spec.line_end);
        self.status = None;
        self.paced = None;
        self.last_output.clear();
        let is_last = self.is_last(command);
        self.line_end = self.spec.has_echo.then_some((now + ECHO_SLACK, 0));
        if let Some(upload) = self.upload(command) {
            self.loading = Some(Loading::new(now, upload, self.upload_baud));
            self.state = State::Receiving { command };
            self.deadline = None;
            return;
        }
        self.state = if is_last { State::Launched } else { State::Running { command } };
        let period = if is_last { self.deadlines.kernel } else { self.deadlines.command };
        // Who asked for a single one knows how long it may take.
        self.deadline = self.single.is_none().then_some(now + period);
    }

    /// What a command receives.
    fn upload(&self, command: usize) -> Option<&Upload> {
        let is_of_master = self.script == Some(Slot::Master) && self.single.is_none();
        self.uploads.iter().find(|upload| is_of_master && upload.command == command)
    }

    /// What became of the file that is under way, or of the speed that it needed.
    fn read_loading(&mut self, now: Instant) {
        let Some(loading) = &self.loading else { return };
        if let Some(why) = loading.speed_failure() {
            let why = why.to_owned();
            return self.fail_speed(&why);
        }
        let State::Receiving { command } = self.state else { return };
        match loading.progress() {
            Progress::Done => self.end_loading(now, command),
            Progress::Failed(why) => {
                self.last_output = why;
                self.drop_loading(now, command, 1);
            }
            Progress::Running(_) => {}
        }
    }

    /// Nobody knows at what speed it listens: it is to be started again, and asked for no other one.
    fn fail_speed(&mut self, why: &str) {
        self.upload_baud = None;
        self.fail(Cause::BootLoader, format!("{why}; it is not asked for another speed again"));
    }

    /// The boot loader has the file.
    fn end_loading(&mut self, now: Instant, command: usize) {
        self.failed_loads = 0;
        self.state = State::Running { command };
        self.deadline = Some(now + self.deadlines.command);
    }

    fn drop_loading(&mut self, now: Instant, command: usize, asks: u32) {
        if let Some(loading) = &mut self.loading {
            loading.cancel();
        }
        self.state = State::Dropping { command, asks };
        self.deadline = Some(now + DROP_TIME);
    }

    /// It waits at its prompt without the file: it is typed at again, if that is still wanted.
    fn load_again(&mut self, now: Instant, command: usize) {
        self.loading = None;
        self.failed_loads += 1;
        if self.script.map(Want::Boot) != Some(self.want) {
            self.rest();
            self.drive(now);
        } else if self.failed_loads < LOADS_MAX {
            self.type_command(now, command, 1);
        } else {
            let text = format!(
                "\"{}\" did not get its file in {LOADS_MAX} tries: {}",
                self.command(command),
                self.last_output
            );
            self.fail(Cause::BootLoader, text);
        }
    }

    fn handle_line(&mut self, now: Instant) {
        self.line_end = None;
        let text = self.line.last();
        if let Some(loading) = &mut self.loading {
            loading.handle_line(now, text);
        }
        let command = match self.state {
            State::Running { command } | State::Receiving { command } => command,
            State::Launched => self.commands().len().saturating_sub(1),
            State::Typing { .. } if self.wrapped.len() < LINE_BYTES_MAX => {
                self.wrapped.push_str(text);
                return;
            }
            _ => return,
        };
        if text.starts_with(&self.spec.prompt) {
            return;
        }
        if let Some(status) = status_of(text) {
            self.status = Some(status);
            if status != 0 && self.single.is_none() {
                let text = format!(
                    "\"{}\" ended with status {status}: {}",
                    self.command(command),
                    quote(&self.last_output)
                );
                self.fail(Cause::BootLoader, text);
            }
        } else if let Some(single) = &mut self.single {
            single.line(text);
        } else if self.spec.errors.iter().any(|error| text.contains(error.as_str())) {
            let text = format!("\"{}\" failed: {}", self.command(command), quote(text));
            self.fail(Cause::BootLoader, text);
        } else if !text.trim().is_empty() {
            self.last_output = text.to_owned();
        }
    }

    /// It waits at its prompt.
    fn handle_prompt(&mut self, now: Instant) {
        match self.state {
            State::Waiting | State::Counting { .. } | State::InMenu { .. } if self.has_keys() => {
                self.state = State::Clearing;
                self.typing.extend(&self.spec.cancel);
                self.deadline = Some(now + ECHO_SLACK);
            }
            State::Waiting | State::Counting { .. } | State::InMenu { .. } | State::Clearing => {
                self.rest();
                self.report = Some(Report::AtPrompt);
                self.drive(now);
            }
            State::Cancelling { command, tries, .. } => self.type_command(now, command, tries + 1),
            State::Receiving { command }
                if self.loading.as_ref().is_some_and(Loading::is_complete) =>
            {
                // Its last answers were lost.
                self.end_loading(now, command);
                self.handle_prompt(now);
            }
            State::Receiving { command } | State::Dropping { command, .. } => {
                self.load_again(now, command);
            }
            State::Running { .. } if self.single.is_some() => {
                if self.spec.asks_status && self.status.is_none() {
                    self.leave("a prompt came without the command's status");
                } else {
                    let end = RanEnd::Prompt(self.status);
                    self.ran = self.single.take().map(|single| single.ended(end));
                }
                self.rest();
                self.drive(now);
            }
            State::Running { command } if self.status.is_none() && self.spec.asks_status => {
                let text = format!("\"{}\" ended without a status", self.command(command));
                self.fail(Cause::BootLoader, text);
            }
            State::Running { command } => {
                self.loading = None;
                if self.script.map(Want::Boot) == Some(self.want) {
                    self.type_command(now, command + 1, 1);
                } else {
                    self.rest();
                    self.drive(now);
                }
            }
            State::Launched => {
                let text = format!("the boot command came back: {}", quote(&self.last_output));
                self.fail(Cause::BootLoader, text);
            }
            State::AtPrompt | State::Typing { .. } | State::Failed => {}
        }
    }

    fn handle_deadline(&mut self, now: Instant) {
        match self.state {
            State::Counting { interrupts } if interrupts < INTERRUPTS_MAX => {
                self.interrupt(now, interrupts + 1);
            }
            State::Counting { interrupts } => {
                let text = format!(
                    "it gave no prompt although its automatic boot was interrupted {interrupts} times"
                );
                self.fail(Cause::BootLoader, text);
            }
            State::InMenu { .. } => {
                let text = "it gave no prompt although the keys for its menu were typed";
                self.fail(Cause::BootLoader, text.into());
            }
            State::Typing { command, tries } if tries < TYPING_TRIES => {
                self.typing.clear();
                self.cancel(now, command, tries, 1);
            }
            State::Cancelling { command, tries, cancels } if cancels < CANCELS_MAX => {
                self.cancel(now, command, tries, cancels + 1);
            }
            State::Typing { command, .. } => {
                let typed = self.typed_form(command);
                let line = self.line.text();
                let echo = self.behind_prompt(line).unwrap_or_else(|| line.trim_start());
                let what = if typed.starts_with(echo) {
                    // U-Boot's CONFIG_SYS_CBSIZE, often 256 or 512.
                    format!("echoed only {} of {} characters of", echo.len(), typed.len())
                } else {
                    format!("echoed {} for", quote(echo))
                };
                let text = format!("it {what} {}, {TYPING_TRIES} times", quote(&typed));
                self.fail(Cause::BootLoader, text);
            }
            State::Cancelling { .. } | State::Clearing => {
                let text = "it gave no prompt after what was typed was thrown away";
                self.fail(Cause::BootLoader, text.into());
            }
            State::Running { command } => {
                let text = format!(
                    "\"{}\" gave no prompt before its deadline; the last it said is {}",
                    self.command(command),
                    quote(&self.last_output)
                );
                self.fail(Cause::BootLoader, text);
            }
            State::Launched => {
                let text = format!(
                    "\"{}\" was typed; the last line is {}",
                    self.commands().last().map_or("", String::as_str),
                    quote(&self.last_output)
                );
                self.fail(Cause::NoKernel, text);
            }
            State::Dropping { command, asks } if asks < DROPS_MAX => {
                self.drop_loading(now, command, asks + 1);
            }
            State::Dropping { command, .. } => {
                let text = format!(
                    "\"{}\" gave no prompt after its file was given up: {}",
                    self.command(command),
                    self.last_output
                );
                self.fail(Cause::BootLoader, text);
            }
            State::Waiting | State::AtPrompt | State::Receiving { .. } | State::Failed => {}
        }
    }

    fn cancel(&mut self, now: Instant, command: usize, tries: u32, cancels: u32) {
        self.typing.extend(&self.spec.cancel);
        self.state = State::Cancelling { command, tries, cancels };
        self.deadline = Some(now + ECHO_SLACK);
    }

    fn rest(&mut self) {
        self.state = State::AtPrompt;
        self.deadline = None;
    }

    fn fail(&mut self, cause: Cause, text: String) {
        self.leave(&text);
        self.state = State::Failed;
        self.typing.clear();
        (self.deadline, self.quiet_at, self.line_end) = (None, None, None);
        self.loading = None;
        self.report = Some(Report::Failed(cause, text));
    }

    /// A command that was asked for gets no prompt any more.
    fn leave(&mut self, why: &str) {
        if let Some(single) = self.single.take() {
            self.ran = Some(single.ended(RanEnd::Left(why.to_owned())));
        }
    }

    fn commands(&self) -> &[String] {
        if let Some(single) = &self.single {
            return std::slice::from_ref(&single.text);
        }
        match self.script {
            None => &[],
            Some(Slot::Master) => &self.spec.master,
            Some(Slot::Test) => &self.spec.test,
        }
    }

    /// Whether it starts the kernel.
    fn is_last(&self, index: usize) -> bool {
        self.single.is_none() && index + 1 == self.commands().len()
    }

    fn command(&self, index: usize) -> &str {
        self.commands().get(index).map_or("", String::as_str)
    }

    /// What is typed for a command: all but the last one tell how they ended.
    fn typed_form(&self, index: usize) -> String {
        let mut command = self.command(index).to_owned();
        if let Some(baud) = self.upload_baud.filter(|_| self.upload(index).is_some()) {
            command += &format!(" {baud}");
        }
        if command.is_empty() || self.is_last(index) || !self.spec.asks_status {
            command
        } else {
            format!("{command}; echo {STATUS}$?")
        }
    }

    /// What of a line stands behind the prompt, if that begins it.
    fn behind_prompt<'l>(&self, line: &'l str) -> Option<&'l str> {
        line.strip_prefix(self.spec.prompt.as_str()).map(str::trim_start)
    }

    fn is_at_prompt(&self) -> bool {
        // A key that was typed too late may stand behind it; a space is one.
        let rest = self.behind_prompt(self.line.text());
        rest.is_some_and(|rest| rest.trim().is_empty()) || self.has_keys()
    }

    /// Whether what was typed to stop the automatic boot, once or more, stands behind the prompt.
    fn has_keys(&self) -> bool {
        let Ok(keys) = std::str::from_utf8(&self.spec.interrupt) else { return false };
        let is_typed = matches!(self.state, State::Counting { .. } | State::InMenu { .. });
        let rest = self.behind_prompt(self.line.text()).unwrap_or("");
        is_typed && !rest.is_empty() && !keys.is_empty() && rest.replace(keys, "").trim().is_empty()
    }

    /// How much of a command has come back; `None` if what came is something else.
    fn echoed_bytes(&self, text: &str) -> Option<usize> {
        let line = self.line.text();
        let whole = [self.wrapped.as_str(), line].concat();
        let echoes = [line, &whole].map(|line| self.behind_prompt(line));
        echoes.into_iter().flatten().find(|echo| text.starts_with(echo)).map(str::len)
    }

    fn is_echoed(&self, command: usize) -> bool {
        let text = self.typed_form(command);
        self.typing.is_empty() && self.echoed_bytes(&text) == Some(text.len())
    }
}

/// The status in a line; the echo of the command has `$?` where the digits are.
fn status_of(line: &str) -> Option<u32> {
    line.rsplit_once(STATUS)?.1.trim().parse().ok()
}

/// A line of the board for a sentence, not too long.
fn quote(line: &str) -> String {
    let line = line.trim();
    if line.is_empty() {
        return "nothing".into();
    }
    let shown: String = line.chars().take(QUOTED_MAX).collect();
    format!("\"{shown}\"{}", if shown.len() < line.len() { "…" } else { "" })
}

/// Stands before the digits of a status. Nothing that a boot loader says by itself.
const STATUS: &str = "pumice-rc=";
/// The patterns' order.
const AUTOBOOT: usize = 0;
const MENU: usize = 1;
/// After a prompt nothing comes. What looks like one and goes on within this time is text; 50 ms are 576 bytes at
/// 115200 baud, so a pause of this length is no accident of the line.
const PROMPT_QUIET: Duration = Duration::from_millis(50);
/// Most boot loaders count in seconds: one key in each.
const INTERRUPT_EVERY: Duration = Duration::from_secs(1);
/// After so many the boot has gone on.
pub(super) const INTERRUPTS_MAX: u32 = 3;
/// For an echo to begin; U-Boot answers at once unless its UART lost something.
const ECHO_SLACK: Duration = Duration::from_secs(2);
/// For the echo of one character: ten round trips to a terminal server in another town.
const ECHO_TIME: Duration = Duration::from_millis(250);
/// A line end that was lost is typed again so often. Behind an answer, U-Boot would repeat the command.
const LINE_ENDS_MAX: u32 = 3;
/// The key that throws a command away can be lost like any other.
const CANCELS_MAX: u32 = 3;
/// From the last key in a menu to the prompt.
const MENU_TIME: Duration = Duration::from_secs(10);
/// One character on the slowest line in use (9600 baud).
const CHARACTER_TIME: Duration = Duration::from_millis(1);
/// All but the first are typed one character at a time.
pub(super) const TYPING_TRIES: u32 = 3;
/// A boot loader that waits for the rest of a block hears that there is none after 2 s, and is deaf for 2 s more.
const DROP_TIME: Duration = Duration::from_secs(6);
/// In the first it may take it for the rest of a block.
const DROPS_MAX: u32 = 3;
/// A file that fails so often needs another line; each try may take minutes.
const LOADS_MAX: u32 = 3;
/// Bytes of a line that a sentence quotes.
const QUOTED_MAX: usize = 160;
