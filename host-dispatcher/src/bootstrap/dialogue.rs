//! What the loop is asked, in which order, and what its answers lead to.

use std::sync::Arc;

use agent_core::time::Duration;

use super::machine::Progress;
use super::receiver;
use super::tools::{Check, Decoder, SAMPLE, UNPACKERS, Unpacker};
use super::{Failure, Program};

/// The words of one bootstrap with one loop.
#[derive(Clone, Debug)]
pub(super) struct Dialogue {
    folders: Vec<String>,
    arguments: Vec<String>,
    /// For lines: the first of those that are there. For the file: the last.
    checks: Vec<Check>,
    number: u32,
    asked: Asked,
    facts: Facts,
    decoder: Decoder,
    unpacker: (Unpacker, &'static str),
    folder: Option<usize>,
    program: Option<Arc<Program>>,
    progress: Progress,
    /// Characters of a line that carries bytes.
    line_characters: usize,
    /// Such lines in a row that were understood at once.
    clean_lines: u32,
    /// The one under way was typed again so often.
    repeats_of_line: u32,
    /// Programs that arrived damaged.
    damaged: u32,
}

/// What a line asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Whether the loop does what it should: executes, refuses, counts, and does nothing twice.
    Trial(u32),
    /// Who the shell is, and where.
    Facts,
    /// Whether this decoder is there.
    Decoder(usize),
    /// Whether this unpacker is there.
    Unpacker(usize),
    /// Whether this folder can be written to and executed from.
    Folder(usize),
    /// Whether all of the program is there.
    Whole,
    /// How much of it is there.
    Size,
    /// Whether that is its beginning.
    Prefix(usize),
    /// Away with what is there.
    Discard,
    /// To append so many bytes.
    Data(usize),
    Unpack,
    /// Whether the program is whole.
    Digest,
    /// Whether the kernel executes it.
    Version,
    Start,
    CleanUp,
}

#[derive(Clone, Debug, Default)]
struct Facts {
    is_first_process: bool,
    machine: String,
    /// The terminal, where it has a name of its own.
    terminal: Option<String>,
}

/// What an answer leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next line.
    Next,
    /// The program for this machine is wanted.
    Machine(String),
    /// The loop does not do what it should.
    Redefine,
    CleanedUp,
    Failed(Failure),
}

impl Dialogue {
    pub(super) fn new(folders: Vec<String>, arguments: Vec<String>) -> Self {
        Self {
            folders,
            arguments,
            checks: Vec::new(),
            number: 0,
            asked: Asked::Trial(0),
            facts: Facts::default(),
            decoder: Decoder::Printf,
            unpacker: (Unpacker::None, ""),
            folder: None,
            program: None,
            progress: Progress::default(),
            line_characters: LINE_CHARACTERS_FIRST,
            clean_lines: 0,
            repeats_of_line: 0,
            damaged: 0,
        }
    }

    /// Whether the shell has one of [`Check::ALL`], in their order.
    pub(super) fn probed(&mut self, check: Check, has_it: bool) {
        self.checks.extend(has_it.then_some(check));
    }

    /// What lines are checked with.
    pub(super) fn check(&self) -> Option<Check> {
        self.checks.first().copied()
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// The loop was defined anew.
    pub(super) fn begin_again(&mut self) {
        self.turn_to(Asked::Trial(0));
    }

    /// The program is there to be sent.
    pub(super) fn begin(&mut self, program: Arc<Program>) {
        self.program = Some(program);
        self.turn_to(Asked::Decoder(0));
    }

    /// Asks to remove what is on the board; `false` where nothing can be, or the agent has been started.
    pub(super) fn begin_clean_up(&mut self) -> bool {
        let has_files = self.folder.is_some() && !self.is_starting();
        if has_files {
            self.turn_to(Asked::CleanUp);
        }
        has_files
    }

    /// The number of the line under way.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn is_trial(&self) -> bool {
        matches!(self.asked, Asked::Trial(_))
    }

    pub(super) fn is_starting(&self) -> bool {
        self.asked == Asked::Start
    }

    /// Whether the line under way was damaged on purpose.
    pub(super) fn wants_refusal(&self) -> bool {
        self.asked == Asked::Trial(1)
    }

    /// How long an answer may take beside the time on the line.
    pub(super) fn patience(&self) -> Duration {
        match self.asked {
            Asked::Whole | Asked::Prefix(_) | Asked::Unpack | Asked::Digest => WORK_PATIENCE,
            Asked::Start => START_PATIENCE,
            _ => PATIENCE,
        }
    }

    /// For people.
    pub(super) fn said(&self) -> &'static str {
        match self.asked {
            Asked::Trial(_) => "a trial",
            Asked::Facts => "machine and terminal",
            Asked::Decoder(_) => "decoding",
            Asked::Unpacker(_) | Asked::Unpack => "unpacking",
            Asked::Folder(_) => "a folder",
            Asked::Whole | Asked::Size | Asked::Prefix(_) | Asked::Digest => {
                "what is there of the agent"
            }
            Asked::Discard | Asked::CleanUp => "removing what is there",
            Asked::Data(_) => "the agent's bytes",
            Asked::Version => "the agent's version",
            Asked::Start => "the agent's start",
        }
    }

    /// The line under way was not understood, or its answer was not. Typed again as it is it is done once at most; a
    /// shorter one is another, so what is there is looked at first.
    pub(super) fn note_repeat(&mut self) {
        self.progress.repeats += 1;
        self.repeats_of_line += 1;
        self.clean_lines = 0;
        if matches!(self.asked, Asked::Data(_))
            && self.repeats_of_line >= REPEATS_OF_LENGTH
            && self.line_characters > LINE_CHARACTERS_MIN
        {
            self.line_characters = (self.line_characters / 2).max(LINE_CHARACTERS_MIN);
            self.turn_to(Asked::Size);
        }
    }

    /// The line under way.
    pub(super) fn line(&self) -> String {
        let Some(check) = self.check() else { return String::new() };
        let words = self.words();
        if self.wants_refusal() {
            return receiver::damaged_line(check, self.number, &words);
        }
        receiver::line(check, self.number, &words)
    }

    /// The line under way was done.
    pub(super) fn handle_answer(&mut self, status: i32, output: &str) -> Step {
        let first_word = output.split(' ').next().unwrap_or_default();
        let next = match self.asked {
            Asked::Trial(trial) => {
                let wanted = ["", "", "1", "1"].get(trial as usize).copied().unwrap_or_default();
                match output == wanted && status == 0 {
                    false => return Step::Redefine,
                    // The last one is the one before it again, under its number.
                    true if trial == 2 => {
                        self.asked = Asked::Trial(3);
                        return Step::Next;
                    }
                    true if trial == 3 => Asked::Facts,
                    true => Asked::Trial(trial + 1),
                }
            }
            Asked::Facts => {
                self.facts = Facts::from_text(output);
                return Step::Machine(self.facts.machine.clone());
            }
            Asked::Decoder(index) if output == SAMPLE => {
                self.decoder = Decoder::ALL[index];
                Asked::Unpacker(0)
            }
            Asked::Decoder(index) if index + 1 < Decoder::ALL.len() => Asked::Decoder(index + 1),
            Asked::Decoder(_) => return Step::Failed(Failure::Unanswered("decoding")),
            Asked::Unpacker(index) if output == SAMPLE => {
                self.unpacker = UNPACKERS[index];
                Asked::Folder(0)
            }
            Asked::Unpacker(index) if index + 1 < UNPACKERS.len() => Asked::Unpacker(index + 1),
            Asked::Unpacker(_) => Asked::Folder(0),
            Asked::Folder(index) if output == FOLDER_ANSWER => {
                self.folder = Some(index);
                self.progress.total_bytes = self.packed().len() as u64;
                Asked::Whole
            }
            Asked::Folder(index) if index + 1 < self.folders.len() => Asked::Folder(index + 1),
            Asked::Folder(_) => return Step::Failed(Failure::NoFolder(self.folders.join(", "))),
            Asked::Whole if first_word == self.sum_of_whole() => {
                let total_bytes = self.progress.total_bytes;
                self.progress =
                    Progress { done_bytes: total_bytes, found_bytes: total_bytes, ..self.progress };
                Asked::Version
            }
            Asked::Whole => Asked::Size,
            Asked::Size => match output.trim().parse() {
                Ok(0) => self.data_from(0),
                Ok(bytes) if bytes <= self.packed().len() => Asked::Prefix(bytes),
                _ => Asked::Discard,
            },
            Asked::Prefix(bytes) if first_word == self.file_check().of(&self.packed()[..bytes]) => {
                if self.progress.done_bytes == 0 {
                    self.progress.found_bytes = bytes as u64;
                }
                self.data_from(bytes)
            }
            Asked::Prefix(_) => Asked::Discard,
            Asked::Discard => self.data_from(0),
            Asked::Data(_) if status != 0 => {
                return Step::Failed(Failure::NoRoom(self.folder_name()));
            }
            Asked::Data(bytes) => {
                self.clean_lines += 1;
                if self.clean_lines >= CLEAN_LINES {
                    self.clean_lines = 0;
                    self.line_characters = (self.line_characters * 2).min(LINE_CHARACTERS_MAX);
                }
                self.data_from(self.progress.done_bytes as usize + bytes)
            }
            Asked::Unpack if status == 0 => Asked::Digest,
            Asked::Digest if first_word == self.sum_of_whole() => Asked::Version,
            Asked::Unpack | Asked::Digest if self.damaged == 0 => {
                self.damaged = 1;
                Asked::Discard
            }
            Asked::Unpack => return Step::Failed(Failure::NoRoom(self.folder_name())),
            Asked::Digest => return Step::Failed(Failure::Damaged),
            Asked::Version if output.starts_with("pumice-agent") => Asked::Start,
            Asked::Version => {
                return Step::Failed(Failure::NotForMachine(self.facts.machine.clone()));
            }
            // It came back: the shell could not execute it after all.
            Asked::Start => return Step::Failed(Failure::NotStarted),
            Asked::CleanUp => return Step::CleanedUp,
        };
        self.turn_to(next);
        Step::Next
    }

    fn words(&self) -> String {
        let file = self.file_check().program();
        match self.asked {
            Asked::Trial(0) => "x=0".into(),
            Asked::Trial(1) => "x=5".into(),
            Asked::Trial(_) => "x=$((x+1));o=$x".into(),
            Asked::Facts => "umask 077;o=$$,$(uname -m),$(tty)".into(),
            Asked::Decoder(index) => {
                let decoder = Decoder::ALL[index];
                format!("{};o=$(d {})", decoder.function(), decoder.argument(SAMPLE.as_bytes()))
            }
            Asked::Unpacker(index) => {
                let (unpacker, program) = UNPACKERS[index];
                format!("o=$(d {}|{program})", self.decoder.argument(&unpacker.sample()))
            }
            Asked::Folder(index) => {
                let id = self.program.as_ref().map_or("", |program| program.id());
                format!(
                    "f={}/.pumice-{id};p=$f.part;printf '#!/bin/sh\\nexit {FOLDER_ANSWER}\\n'>$f.t&&chmod 700 $f.t&&$f.t;o=$?;rm -f $f.t",
                    self.folders[index]
                )
            }
            Asked::Whole => format!("[ -f $f ]&&o=$({file} <$f)"),
            Asked::Size => "o=0;[ -f $p ]&&o=$(wc -c <$p)".into(),
            Asked::Prefix(_) => format!("o=$({file} <$p)"),
            Asked::Discard => "rm -f $f $p".into(),
            Asked::Data(bytes) => {
                let start = self.progress.done_bytes as usize;
                format!("d {}>>$p", self.decoder.argument(&self.packed()[start..start + bytes]))
            }
            Asked::Unpack => match self.unpacker {
                (Unpacker::None, _) => "mv -f $p $f&&chmod 700 $f".into(),
                (_, program) => format!("{program} <$p >$f&&rm -f $p&&chmod 700 $f"),
            },
            Asked::Digest => format!("o=$({file} <$f)"),
            Asked::Version => "o=$($f --version)".into(),
            Asked::Start => self.start(),
            Asked::CleanUp => "rm -f $f $p $f.t".into(),
        }
    }

    fn start(&self) -> String {
        let mut words = String::from("$f");
        let line = self.facts.terminal.iter().flat_map(|terminal| ["--line", terminal]);
        for word in line.chain(self.arguments.iter().map(String::as_str)) {
            words.push_str(&format!(" '{}'", word.replace('\'', r"'\''")));
        }
        if self.facts.is_first_process {
            // As process 1 the agent would start the real init. This shell stays, reads nothing, and buries the dead.
            return format!("{words} </dev/null & while :;do wait;sleep 9;done");
        }
        format!("exec {words}")
    }

    fn turn_to(&mut self, asked: Asked) {
        self.asked = asked;
        self.number += 1;
        self.repeats_of_line = 0;
    }

    /// The next bytes, if there are some.
    fn data_from(&mut self, start: usize) -> Asked {
        self.progress.done_bytes = start as u64;
        let left = self.packed().len() - start;
        match left.min(self.decoder.bytes_in(self.line_characters)) {
            0 => Asked::Unpack,
            bytes => Asked::Data(bytes),
        }
    }

    fn packed(&self) -> &[u8] {
        self.program.as_ref().map_or(&[], |program| program.packed(self.unpacker.0))
    }

    fn sum_of_whole(&self) -> String {
        self.program
            .as_ref()
            .map_or_else(String::new, |program| self.file_check().of(program.raw()))
    }

    /// The best one.
    fn file_check(&self) -> Check {
        self.checks.last().copied().unwrap_or(Check::Sha256)
    }

    fn folder_name(&self) -> String {
        self.folder.map_or_else(String::new, |index| self.folders[index].clone())
    }
}

impl Facts {
    fn from_text(text: &str) -> Self {
        let mut words = text.splitn(3, ',');
        let mut next = || words.next().unwrap_or_default().trim().to_owned();
        let (pid, machine, terminal) = (next(), next(), next());
        // Of the console's other name the agent knows itself what it stands for.
        let is_device = terminal.starts_with("/dev/")
            && terminal != "/dev/console"
            && terminal.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        Self { is_first_process: pid == "1", machine, terminal: is_device.then_some(terminal) }
    }
}

/// A script that ends with this shows that a folder can be written to and executed from.
const FOLDER_ANSWER: &str = "7";
/// The first lines of bytes are so long, ...
const LINE_CHARACTERS_FIRST: usize = 1024;
/// ... after so many clean ones they are twice as long, ...
const CLEAN_LINES: u32 = 12;
/// ... until their number, check (of SHA-256 at most) and words just fit into what the kernel keeps of a line: 4095
/// (`N_TTY_BUF_SIZE`) ...
const LINE_CHARACTERS_MAX: usize = 3840;
/// ... and where one was not understood so often they are half as long, down to this.
const REPEATS_OF_LENGTH: u32 = 2;
const LINE_CHARACTERS_MIN: usize = 64;
/// For an answer, on a busy board.
const PATIENCE: Duration = Duration::from_secs(3);
/// To read or unpack a program, on a slow one.
const WORK_PATIENCE: Duration = Duration::from_secs(30);
/// An agent beacons at once, and again 2 s later.
const START_PATIENCE: Duration = Duration::from_secs(6);
