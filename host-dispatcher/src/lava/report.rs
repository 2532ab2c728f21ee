//! What became of each key of a file that was imported.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;

use super::tree::Field;
use crate::config::value::shorten;
use crate::config::yaml::{FileError, Place, did_you_mean};

/// What became of a file's keys, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file, as it was named.
    pub file: String,
    entries: Vec<Entry>,
}

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Entry {
    /// Its line, from 1; 0 where that is not known.
    pub line: u32,
    /// The way to it: `actions[0].deploy.to`; empty for the file as a whole.
    pub key: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Of a mapped key what it became; else why, and what to do; a sentence without its full stop.
    pub text: String,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The Pumice file says it too.
    Mapped,
    /// It is not needed, or cannot matter here.
    Ignored,
    /// What it asks for is not done here.
    Unsupported,
    /// The file is wrong, for LAVA as well.
    Mistake,
}

impl Report {
    /// An empty one.
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), entries: Vec::new() }
    }

    /// The entries, in the order of their lines.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether everything that the file asks for is done here.
    pub fn is_clean(&self) -> bool {
        self.count(Outcome::Unsupported) + self.count(Outcome::Mistake) == 0
    }

    /// How many keys had this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.entries.iter().filter(|entry| entry.outcome == outcome).count()
    }

    /// The lines of what stands in the way, each with file, line, key and what to do.
    pub fn obstacles(&self) -> Vec<String> {
        let stands = |entry: &&Entry| entry.outcome >= Outcome::Unsupported;
        self.entries.iter().filter(stands).map(|entry| self.line(entry)).collect()
    }

    /// The first of them, and how many more there are.
    pub fn first_obstacle(&self) -> FileError {
        let mut stand = self.entries.iter().filter(|entry| entry.outcome >= Outcome::Unsupported);
        let Some(first) = stand.next() else { return FileError::whole(&self.file, "nothing") };
        let message = format!("{}: {}", first.key, first.sentence());
        let error = FileError::at(&self.file, Place { line: first.line, column: 0 }, message);
        match stand.count() {
            0 => error,
            more => error.mend(format!("{more} more: pumice import-lava tells them")),
        }
    }

    pub(super) fn mapped(&mut self, field: &Field, to: impl Into<String>) {
        self.push(field.at, &field.path, Outcome::Mapped, to.into());
    }

    pub(super) fn ignored(&mut self, field: &Field, why: impl Into<String>) {
        self.push(field.at, &field.path, Outcome::Ignored, why.into());
    }

    pub(super) fn unsupported(&mut self, field: &Field, mend: impl Into<String>) {
        self.push(field.at, &field.path, Outcome::Unsupported, mend.into());
    }

    pub(super) fn mistake(&mut self, field: &Field, what: impl Into<String>) {
        self.push(field.at, &field.path, Outcome::Mistake, what.into());
    }

    pub(super) fn missing(&mut self, at: Place, key: &str, example: &str) {
        let what = format!("missing key: add \"{example}\"");
        self.push(at, key, Outcome::Mistake, what);
    }

    pub(super) fn unknown_key(&mut self, field: &Field, key: &str, known: &[&'static str]) {
        let what = format!(
            "unknown key \"{}\": {}",
            shorten(key),
            did_you_mean(key, known.iter().copied())
        );
        self.mistake(field, what);
    }

    /// Puts the entries into the order of their lines, each once.
    pub(super) fn sort(&mut self) {
        self.entries.sort_by_key(|entry| entry.line);
        // What several roles share is read once for each.
        let mut seen = HashSet::new();
        self.entries.retain(|entry| seen.insert(entry.clone()));
    }

    fn push(&mut self, at: Place, key: &str, outcome: Outcome, text: String) {
        // One line, whatever a file holds.
        let text = text.replace(char::is_control, " ");
        let text = match text.char_indices().nth(TEXT_CHARACTERS_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        };
        self.entries.push(Entry { line: at.line, key: key.to_owned(), outcome, text });
    }

    fn line(&self, entry: &Entry) -> String {
        let place = if entry.line > 0 { format!(":{}", entry.line) } else { String::new() };
        let key = if entry.key.is_empty() { String::new() } else { format!("{}: ", entry.key) };
        format!("{}{place}: {key}{}", self.file, entry.sentence())
    }
}

impl Entry {
    /// What became of it, in words.
    fn sentence(&self) -> String {
        let verb = match self.outcome {
            Outcome::Mapped => "-> ",
            Outcome::Ignored => "ignored: ",
            Outcome::Unsupported => "unsupported: ",
            Outcome::Mistake => "",
        };
        format!("{verb}{}", self.text)
    }
}

/// The longest sentence has less, where it quotes nothing.
const TEXT_CHARACTERS_MAX: usize = 300;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{}", self.line(entry)))
    }
}
