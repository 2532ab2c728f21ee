//! A [`Bootstrap`] against a model of a shell, in virtual time, on lines as bad as they come. What real shells make of the
//! same words `tests/e2e/tests/bootstrap.rs` shows.

use std::io::Read;

use super::*;
use crate::bootstrap::receiver::definition;
use crate::bootstrap::tools::Check;
use agent_core::time::{Duration, Instant};
use agent_core::xorshift::Xorshift32;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::sync::Arc;

/// What the line does to bytes, from a seed.
#[derive(Clone, Copy, Default)]
struct Line {
    /// One in so many is lost on the way to the board; 0: none.
    lost_down: u64,
    /// ... and from it.
    lost_up: u64,
    /// Kernel text comes behind so many bytes from the board; 0: never.
    text_every: u64,
    /// Text without a timestamp comes behind one byte in so many; 0: never.
    plain_text: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Login,
    Password(String),
    /// The password was wrong, and that is thought about for two seconds. What is typed meanwhile waits.
    Refusing,
    Prompt,
    /// Lines of the definition that were typed.
    Defining(usize),
    /// Whatever is typed belongs to something that was not ended.
    Wedged,
    Loop,
    /// The agent has the line; with these words.
    Agent(String),
}

/// The shell, and the log-in program before it.
struct Shell {
    mode: Mode,
    input: String,
    echoes: bool,
    /// Programs and folders that are there.
    has: &'static [&'static str],
    pid: u32,
    /// What the machine does with a file that it is to execute.
    executes: bool,
    /// Bytes that fit.
    room: usize,
    last: String,
    answer: String,
    counter: i32,
    folder: String,
    part: Vec<u8>,
    file: Vec<u8>,
    appended: u32,
    output: String,
    /// Asks whoever presses Enter for a password, and takes its time to refuse.
    is_strict: bool,
    typed_ahead: Vec<u8>,
}

impl Shell {
    fn new(mode: Mode, has: &'static [&'static str]) -> Self {
        Self {
            mode,
            input: String::new(),
            echoes: true,
            has,
            pid: 77,
            executes: true,
            room: usize::MAX,
            last: String::new(),
            answer: String::new(),
            counter: 0,
            folder: String::new(),
            part: Vec::new(),
            file: Vec::new(),
            appended: 0,
            output: String::new(),
            is_strict: false,
            typed_ahead: Vec::new(),
        }
    }

    fn refuse(&mut self) {
        self.mode = Mode::Login;
        self.output.push_str("Login incorrect\r\nboard login: ");
        for byte in std::mem::take(&mut self.typed_ahead) {
            self.take(byte);
        }
    }

    fn has(&self, program: &str) -> bool {
        self.has.contains(&program)
    }

    fn check(&self) -> Check {
        *Check::ALL.iter().find(|check| self.has(check.program())).unwrap()
    }

    fn take(&mut self, byte: u8) {
        if self.mode == Mode::Refusing {
            self.typed_ahead.push(byte);
            return;
        }
        if self.echoes && !matches!(self.mode, Mode::Agent(_) | Mode::Password(_)) {
            self.output.push(char::from(byte));
        }
        match byte {
            0x03 => {
                self.input.clear();
                if matches!(self.mode, Mode::Wedged | Mode::Defining(_) | Mode::Loop) {
                    self.mode = Mode::Prompt;
                }
            }
            b'\n' => {
                let line = std::mem::take(&mut self.input);
                self.handle(&line);
            }
            byte => self.input.push(char::from(byte)),
        }
    }

    fn handle(&mut self, line: &str) {
        match self.mode.clone() {
            Mode::Login if line.is_empty() && !self.is_strict => {
                self.output.push_str("\r\nboard login: ")
            }
            Mode::Login => {
                self.mode = Mode::Password(line.to_owned());
                self.output.push_str("\r\nPassword: ");
            }
            Mode::Password(user) if user == "root" && line == "sesame" => {
                self.mode = Mode::Prompt;
                self.output.push_str("\r\nLast login: Thu Jan  1\r\n# ");
            }
            Mode::Password(_) if self.is_strict => {
                self.mode = Mode::Refusing;
                self.output.push_str("\r\n");
            }
            Mode::Password(_) => {
                self.output.push_str("\r\n");
                self.refuse();
            }
            Mode::Refusing => {}
            Mode::Prompt => self.handle_command(line),
            Mode::Defining(lines) => {
                let text = definition(self.check());
                let wanted = text.lines().nth(lines);
                self.mode = match () {
                    () if wanted != Some(line) => Mode::Wedged,
                    () if lines + 1 == text.lines().count() => Mode::Loop,
                    () => Mode::Defining(lines + 1),
                };
                self.last.clear();
            }
            Mode::Wedged | Mode::Agent(_) => {}
            Mode::Loop if line == "q" => self.mode = Mode::Prompt,
            Mode::Loop => self.handle_line(line),
        }
    }

    fn handle_command(&mut self, line: &str) {
        let factors =
            line.strip_prefix("echo PU''MICE-$((").and_then(|rest| rest.strip_suffix("))"));
        let probe = line.strip_prefix("t=").and_then(|rest| rest.split_once(';'));
        if let Some((a, b)) = factors.and_then(|factors| factors.split_once('*')) {
            let product = a.parse::<u32>().unwrap_or(0) * b.parse::<u32>().unwrap_or(0);
            self.output.push_str(&format!("\r\nPUMICE-{product}\r\n# "));
        } else if let Some((program, "echo PU''MICE=$t=$(echo PUMICE|$t)=")) = probe {
            let check =
                Check::ALL.iter().find(|check| check.program() == program && self.has(program));
            let sum =
                check.map_or_else(String::new, |check| format!("{} 7", check.of(b"PUMICE\n")));
            self.output.push_str(&format!("PUMICE={program}={sum}=\r\n"));
        } else if line.starts_with("stty -echo;") {
            self.echoes = false;
        } else if Some(line) == definition(self.check()).lines().next() {
            self.mode = Mode::Defining(1);
        } else if line.contains('"') || line.contains("while") {
            self.mode = Mode::Wedged;
        } else {
            self.output.push_str("sh: not found\r\n# ");
        }
    }

    fn handle_line(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let (number, sum, words) = (next(), next(), next());
        if self.check().of(format!("{number} {words}").as_bytes()) != sum {
            self.output.push_str(&format!("<P {number} bad|{number} bad P>\r\n"));
            return;
        }
        if number != self.last {
            let (status, output) = self.run(&words);
            self.answer = format!("{status} {output}");
            self.last = number.clone();
        }
        if !matches!(self.mode, Mode::Agent(_)) {
            let answer = &self.answer;
            self.output.push_str(&format!("<P {number} {answer}|{number} {answer} P>\r\n"));
        }
    }

    fn run(&mut self, words: &str) -> (i32, String) {
        let sum = |bytes: &[u8]| {
            let check = *Check::ALL
                .iter()
                .find(|check| words.contains(&format!("$({} <", check.program())))
                .unwrap();
            format!("{}  -", check.of(bytes))
        };
        if let Some(word) = words.strip_prefix("x=$((x+1))") {
            assert_eq!(word, ";o=$x");
            self.counter += 1;
            return (0, self.counter.to_string());
        }
        match words {
            "x=0" => self.counter = 0,
            "x=5" => panic!("a damaged line was executed"),
            "umask 077;o=$$,$(uname -m),$(tty)" => {
                return (0, format!("{},armv7l,/dev/ttyS0", self.pid));
            }
            "o=0;[ -f $p ]&&o=$(wc -c <$p)" => return (0, self.part.len().to_string()),
            "rm -f $f $p" | "rm -f $f $p $f.t" => (self.part, self.file) = (Vec::new(), Vec::new()),
            "mv -f $p $f&&chmod 700 $f" => self.file = std::mem::take(&mut self.part),
            "xz -dc <$p >$f&&rm -f $p&&chmod 700 $f" => {
                let mut file = Vec::new();
                lzma_rust2::XzReader::new(&self.part[..], false).read_to_end(&mut file).unwrap();
                self.file = file;
            }
            "o=$($f --version)" if self.executes => return (0, "pumice-agent 1".into()),
            "o=$($f --version)" => return (126, String::new()),
            _ if words.starts_with("[ -f $f ]&&o=$(") => return (0, sum(&self.file)),
            _ if words.ends_with(" <$p)") => return (0, sum(&self.part)),
            _ if words.ends_with(" <$f)") => return (0, sum(&self.file)),
            _ if words.starts_with("f=") => {
                let folder = words[2..].split("/.pumice-").next().unwrap();
                self.folder = folder.to_owned();
                return (0, if self.has(folder) { "7" } else { "126" }.into());
            }
            _ if words.starts_with("d(){") => {
                // The names of decoders are words of their functions.
                let is_there =
                    words.contains("|base64 -d;") && self.has("base64") || words.contains("%b");
                return (0, if is_there { "PUMICE".into() } else { String::new() });
            }
            _ if words.starts_with("o=$(d ") => {
                let program = words.trim_end_matches(')').rsplit('|').next().unwrap();
                return (0, if self.has(program) { "PUMICE".into() } else { String::new() });
            }
            _ if words.starts_with("d ") => {
                let bytes = decoded(
                    words.strip_prefix("d ").and_then(|rest| rest.strip_suffix(">>$p")).unwrap(),
                );
                if self.part.len() + bytes.len() > self.room {
                    return (1, String::new());
                }
                self.part.extend(bytes);
                self.appended += 1;
            }
            _ if words.starts_with("exec $f") || words.starts_with("$f ") => {
                self.mode = Mode::Agent(words.to_owned());
            }
            other => panic!("unknown words: {other}"),
        }
        (0, String::new())
    }
}

/// What `d` makes of its argument: base64, or `printf`'s octal numbers.
fn decoded(argument: &str) -> Vec<u8> {
    let Some(text) = argument.strip_prefix('\'') else { return BASE64.decode(argument).unwrap() };
    let (mut bytes, mut rest) = (Vec::new(), text.strip_suffix('\'').unwrap().as_bytes());
    while let [first, tail @ ..] = rest {
        if *first == b'\\' {
            let digits = std::str::from_utf8(&tail[1..4]).unwrap();
            bytes.push(u8::from_str_radix(digits, 8).unwrap());
            rest = &tail[4..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

struct World {
    now: Instant,
    shell: Shell,
    bootstrap: Bootstrap,
    line: Line,
    random: Xorshift32,
    upward: u64,
    typed: String,
    reports: Vec<Report>,
    /// When the log-in program has thought.
    refuse_at: Option<Instant>,
}

impl World {
    fn new(shell: Shell, line: Line, seed: u64) -> Self {
        let request = request();
        Self {
            now: Instant::ZERO,
            shell,
            bootstrap: Bootstrap::new(Instant::ZERO, request, seed),
            line,
            random: random(seed),
            upward: 0,
            typed: String::new(),
            reports: Vec::new(),
            refuse_at: None,
        }
    }

    fn strikes(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.random.next().is_multiple_of(one_in as u32)
    }

    /// Until it is over, or the agent runs; the program is given when it is asked for.
    fn run(&mut self, program: &Arc<Program>) -> Option<Failure> {
        while self.now < Instant::ZERO + Duration::from_secs(3600) {
            if !self.turn() {
                continue;
            }
            while let Some(report) = self.bootstrap.poll_report() {
                self.reports.push(report.clone());
                match report {
                    Report::Machine(machine) => {
                        assert_eq!(machine, "armv7l");
                        self.bootstrap.give_program(self.now, program.clone());
                    }
                    Report::Failed(failure) => return Some(failure),
                    Report::CleanedUp => return None,
                }
            }
            if let Mode::Agent(_) = self.shell.mode {
                return None;
            }
        }
        panic!("no end after an hour; the shell is {:?}, typed {}", self.shell.mode, self.typed);
    }

    /// One exchange; always `true`.
    fn turn(&mut self) -> bool {
        if let Some(bytes) = self.bootstrap.poll_transmit(self.now) {
            self.typed.push_str(&String::from_utf8_lossy(&bytes));
            self.now = self.now + Duration::from_micros(87 * bytes.len() as u64);
            for byte in bytes {
                if !self.strikes(self.line.lost_down) {
                    self.shell.take(byte);
                }
            }
        } else if self.shell.output.is_empty() {
            let at = self.bootstrap.poll_timeout().unwrap_or(self.now + Duration::from_secs(1));
            let at = self.refuse_at.map_or(at, |refuse_at| at.min(refuse_at));
            self.now = self.now.max(at);
            self.bootstrap.handle_timeout(self.now);
        }
        if self.shell.mode == Mode::Refusing && self.refuse_at.is_none() {
            self.refuse_at = Some(self.now + Duration::from_secs(2));
        }
        if self.refuse_at.is_some_and(|at| at <= self.now) {
            self.refuse_at = None;
            self.shell.refuse();
        }
        let said = std::mem::take(&mut self.shell.output);
        let mut heard = Vec::new();
        for byte in said.bytes() {
            self.upward += 1;
            if self.line.text_every > 0 && self.upward.is_multiple_of(self.line.text_every) {
                heard.extend(b"[   12.345678] usb 1-1: new device\r\n");
            }
            if self.strikes(self.line.plain_text) {
                heard.extend(b"printed by somebody\r\n");
            }
            if !self.strikes(self.line.lost_up) {
                heard.push(byte);
            }
        }
        for piece in heard.chunks(7) {
            self.now = self.now + Duration::from_micros(87 * piece.len() as u64);
            self.bootstrap.handle_text(self.now, piece);
        }
        true
    }

    /// The agent took the line, and what is there of it is what was sent.
    #[track_caller]
    fn is_started(&self) -> &str {
        assert_eq!(self.shell.file, raw());
        match &self.shell.mode {
            Mode::Agent(words) => words,
            other => panic!("{other:?}"),
        }
    }
}

fn request() -> Request {
    Request {
        login: Login {
            user: Some("root".into()),
            password: Some("sesame".into()),
            login_prompt: "login:".into(),
            password_prompt: "assword:".into(),
            refused: vec!["Login incorrect".into()],
        },
        folders: vec!["/tmp".into(), "/run".into()],
        arguments: vec!["--role".into(), "it's".into()],
        character_delay: None,
        characters_per_second: 11_520,
        patience: Duration::from_secs(60),
    }
}

fn random(seed: u64) -> Xorshift32 {
    Xorshift32::new(std::num::NonZeroU32::new(seed as u32).unwrap())
}

/// Bytes that can be packed to two thirds.
fn raw() -> Vec<u8> {
    let mut random = random(5);
    (0..12_000).map(|at| if at % 3 == 0 { 0 } else { random.next() as u8 }).collect()
}

fn program() -> Arc<Program> {
    Arc::new(Program::new(raw()).unwrap())
}

const ALL: &[&str] = &["cksum", "sha256sum", "base64", "xz -dc", "/tmp"];
const LITTLE: &[&str] = &["md5sum", "/run"];

#[test]
fn a_shell_with_all_of_it() {
    let program = program();
    let mut world = World::new(Shell::new(Mode::Prompt, ALL), Line::default(), 1);
    assert_eq!(world.run(&program), None);
    assert_eq!(world.is_started(), r"exec $f '--line' '/dev/ttyS0' '--role' 'it'\''s'");
    let progress = world.bootstrap.progress();
    assert_eq!(
        (progress.done_bytes, progress.found_bytes, progress.repeats),
        (progress.total_bytes, 0, 0)
    );
    assert!(progress.total_bytes < 10_000, "packed: {progress:?}");
}

#[test]
fn a_shell_with_next_to_nothing_that_is_process_1() {
    let shell = Shell { pid: 1, ..Shell::new(Mode::Prompt, LITTLE) };
    let mut world = World::new(shell, Line::default(), 2);
    assert_eq!(world.run(&program()), None);
    assert_eq!(world.shell.folder, "/run");
    assert!(world.is_started().ends_with(" </dev/null & while :;do wait;sleep 9;done"));
}

#[test]
fn bad_lines() {
    let program = program();
    for seed in 0..8 {
        for (line, has) in [
            (Line { text_every: 61, ..Line::default() }, ALL),
            (Line { plain_text: 200, ..Line::default() }, LITTLE),
            (Line { lost_down: 700, ..Line::default() }, ALL),
            (Line { lost_up: 100, ..Line::default() }, LITTLE),
            (Line { lost_down: 900, lost_up: 300, text_every: 97, plain_text: 1000 }, ALL),
        ] {
            let mut world = World::new(Shell::new(Mode::Login, has), line, 1000 + seed);
            let failure = world.run(&program);
            // The words of a log-in are typed once more, and no more often.
            if !matches!(failure, Some(Failure::Refused(_))) {
                assert_eq!(failure, None, "seed {seed}");
                world.is_started();
            }
        }
    }
}

#[test]
fn a_wrong_password_is_told_after_two_attempts_and_is_nowhere() {
    let mut request = request();
    request.login.password = Some("open".into());
    let mut world = World::new(Shell::new(Mode::Login, ALL), Line::default(), 3);
    world.bootstrap = Bootstrap::new(Instant::ZERO, request.clone(), 3);
    assert_eq!(world.run(&program()), Some(Failure::Refused("root".into())));
    assert_eq!(world.typed.matches("open").count(), 2);
    assert!(!format!("{request:?}").contains("open"));
    request.login.password = None;
    let mut world = World::new(Shell::new(Mode::Login, ALL), Line::default(), 3);
    world.bootstrap = Bootstrap::new(Instant::ZERO, request.clone(), 3);
    assert_eq!(world.run(&program()), Some(Failure::NoPassword("root".into())));
    request.login.user = None;
    let mut world = World::new(Shell::new(Mode::Login, ALL), Line::default(), 3);
    world.bootstrap = Bootstrap::new(Instant::ZERO, request, 3);
    assert_eq!(world.run(&program()), Some(Failure::NoUser));
}

/// Enter, typed to wake whoever is there, was the name of nobody, whose password is asked for; the refusal takes longer
/// than a prompt.
#[test]
fn a_log_in_that_takes_its_time() {
    let mut shell = Shell::new(Mode::Login, ALL);
    shell.is_strict = true;
    let mut world = World::new(shell, Line::default(), 5);
    assert_eq!(world.run(&program()), None, "{}", world.typed);
    world.is_started();
    assert_eq!(world.typed.matches("sesame").count(), 1, "{}", world.typed);
    assert_eq!(world.typed.matches("root\n").count(), 1, "{}", world.typed);
}

#[test]
fn what_broke_off_is_gone_on_with() {
    let program = program();
    let mut first = World::new(Shell::new(Mode::Prompt, ALL), Line::default(), 4);
    while first.shell.appended < 5 {
        first.turn();
        if let Some(Report::Machine(_)) = first.bootstrap.poll_report() {
            first.bootstrap.give_program(first.now, program.clone());
        }
    }
    // The dispatcher is gone in the middle of a line; the loop is still there.
    let there = first.shell.part.len() as u64;
    let mut second = World::new(first.shell, Line::default(), 5);
    second.shell.input = "9 123 d ".into();
    assert_eq!(second.run(&program), None);
    second.is_started();
    assert_eq!(second.bootstrap.progress().found_bytes, there);
    // What is there of something else is not.
    let mut third = World::new(Shell::new(Mode::Prompt, ALL), Line::default(), 6);
    third.shell.part = vec![1; 300];
    assert_eq!(third.run(&program), None);
    third.is_started();
    assert_eq!(third.bootstrap.progress().found_bytes, 0);
}

#[test]
fn failures_are_named() {
    let program = program();
    let mut world =
        World::new(Shell { room: 2000, ..Shell::new(Mode::Prompt, ALL) }, Line::default(), 7);
    assert_eq!(world.run(&program), Some(Failure::NoRoom("/tmp".into())));
    let mut world =
        World::new(Shell { executes: false, ..Shell::new(Mode::Prompt, ALL) }, Line::default(), 7);
    assert_eq!(world.run(&program), Some(Failure::NotForMachine("armv7l".into())));
    let mut world = World::new(Shell::new(Mode::Prompt, &["cksum"]), Line::default(), 7);
    assert_eq!(world.run(&program), Some(Failure::NoFolder("/tmp, /run".into())));
    let mut world =
        World::new(Shell::new(Mode::Wedged, ALL), Line { lost_down: 1, ..Line::default() }, 7);
    assert_eq!(world.run(&program), Some(Failure::NoShell(String::new())));
}

#[test]
fn who_cancels_leaves_nothing() {
    let program = program();
    let mut world = World::new(Shell::new(Mode::Prompt, ALL), Line::default(), 8);
    while world.shell.appended < 3 {
        world.turn();
        if let Some(Report::Machine(_)) = world.bootstrap.poll_report() {
            world.bootstrap.give_program(world.now, program.clone());
        }
    }
    world.bootstrap.cancel(world.now);
    assert_eq!(world.run(&program), None);
    world.turn();
    assert_eq!((&world.shell.mode, world.shell.part.len()), (&Mode::Prompt, 0));
}
