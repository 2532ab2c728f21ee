//! Bringing a run's files home, from the test agent or through the master agent, and completing the record with them.
//!
//! The files of the board are the truth; the live log was a view of it. What the view left out is put on the timeline
//! from the files, and results come from the journal, which the agent synced line by line.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};

use agent_core::wire::response::Stat;
use agent_core::wire::{FailureKind, Method, request};

use super::files::{ENTRIES_MAX, Listing, SHORT_DEADLINE};
use super::get::Incoming;
use super::inject::run_directory;
use super::live::Live;
use super::{Bench, Fault};
use crate::job::event::Event;
use crate::job::spec::Test;
use crate::job::verdict::ErrorClass;
use crate::store::{StoreError, WholeFile, names};

impl Bench {
    /// Fetches everything that the run left below `root` on the board, and completes the record. A file that cannot be
    /// fetched is a warning; the rest comes all the same. `action` is what its progress is told as.
    ///
    /// # Errors
    /// The run's directory cannot be listed.
    pub async fn collect(
        &self,
        action: &str,
        root: &str,
        run: &str,
        tests: &[Test],
        live: &RefCell<Live>,
    ) -> Result<(), Fault> {
        live.borrow_mut().close_files();
        let directory = format!("{root}{}", run_directory(run));
        let mut home = Home::default();
        let (listing, is_cut) = match self.list(&directory).await {
            Ok(listed) => listed,
            Err(fault) => (self.list_piecemeal(&directory, tests, fault, &mut home).await?, false),
        };
        let files = self.choose(listing, is_cut);
        let mut tally =
            Tally { total: files.iter().map(|file| file.size).sum(), ..Tally::default() };
        for file in &files {
            let done = tally.live + tally.fetched;
            match self.bring_home(action, &directory, file, &mut tally).await {
                Ok(()) => drop(home.whole.insert(file.path.clone())),
                Err(fault) => self.warn_missing(&file.path, &fault, &mut home),
            }
            // What did not come counts as done, so that the rest is shown where it is.
            tally.missing += (done + file.size).saturating_sub(tally.live + tally.fetched);
        }
        self.tell(Event::Note { text: tally.to_string() });
        self.complete(tests, live, &home);
        Ok(())
    }

    /// What can be listed of a run's directory of which something cannot: a damaged file system. Each suite's by itself, and
    /// what every run has by its name. What is damaged is on record.
    async fn list_piecemeal(
        &self,
        directory: &str,
        tests: &[Test],
        fault: Fault,
        home: &mut Home,
    ) -> Result<Vec<Listing>, Fault> {
        let mut found: Vec<Listing> = Vec::new();
        let mut names: Vec<String> = RUN_FILES.map(str::to_owned).to_vec();
        for test in tests {
            let suite = format!("tests/{}", test.name);
            if let Ok((entries, _)) = self.list(&format!("{directory}/{suite}")).await {
                let whole =
                    |entry: Listing| Listing { path: format!("{suite}/{}", entry.path), ..entry };
                found.extend(entries.into_iter().map(whole));
            } else {
                names.extend(SUITE_FILES.map(|name| format!("{suite}/{name}")));
            }
        }
        let mut damaged = Vec::new();
        for path in names {
            let whole = format!("{directory}/{path}");
            let body = request::Path { path: &whole };
            match self.ask(Method::STAT, &body, SHORT_DEADLINE).await {
                Ok(answer) => {
                    let Stat { kind, size, .. } = answer.read()?;
                    let is_directory = kind == Stat::DIRECTORY;
                    found.push(Listing { path, is_file: kind == Stat::FILE, is_directory, size });
                }
                // It is not there: the suite has not run.
                Err(fault) if fault.class == ErrorClass::JobError => {}
                Err(fault) => damaged.push((path, fault)),
            }
        }
        if found.is_empty() || !self.board(|board, _| board.is_up()) {
            return Err(fault);
        }
        self.warn(&format!(
            "the run's directory on the board cannot be listed whole ({}): attachments may stay there",
            // The agent has no word of its own for what it left out.
            fault.message.trim_end_matches(FailureKind::TOO_LARGE.phrase()).trim_end_matches(": ")
        ));
        for (path, fault) in damaged {
            self.warn_missing(&path, &fault, home);
        }
        Ok(found)
    }

    fn warn_missing(&self, path: &str, fault: &Fault, home: &mut Home) {
        self.warn(&format!("{path} did not come home: {}", fault.message));
        home.missing.insert(path.to_owned());
    }

    /// The files of a run that come home, what results need first. What does not is a warning.
    fn choose(&self, listing: Vec<Listing>, is_cut: bool) -> Vec<Listing> {
        let is_other =
            |entry: &&Listing| !entry.is_file && !entry.is_directory && entry.path != SOCKET;
        let others = listing.iter().filter(is_other).count();
        let mut files: Vec<Listing> =
            listing.into_iter().filter(|entry| entry.is_file && is_result(&entry.path)).collect();
        files.sort_by_key(|file| order(&file.path));
        let left = files.len().saturating_sub(FILES_MAX);
        files.truncate(FILES_MAX);
        if is_cut {
            self.warn(&format!(
                "the run's directory on the board has more than {ENTRIES_MAX} entries: the others stay there"
            ));
        }
        if left > 0 {
            self.warn(&format!(
                "{left} files stay on the board: no more than {FILES_MAX} come home"
            ));
        }
        if others > 0 {
            self.warn(&format!(
                "{others} entries of the run's directory on the board are no files (links, pipes, devices) and stay there"
            ));
        }
        files
    }

    /// Makes a file of the run directory what the board's is. What came live and is the beginning of it is not fetched
    /// again; what the digest then says of the whole counts.
    async fn bring_home(
        &self,
        action: &str,
        directory: &str,
        file: &Listing,
        tally: &mut Tally,
    ) -> Result<(), Fault> {
        let path = format!("{directory}/{}", file.path);
        let mut outcome = Ok(());
        for attempt in 0..ATTEMPTS_MAX {
            let Some(begun) = self.run_dir(|dir| dir.begin_file(&file.path)) else { return Ok(()) };
            let mut home = Incoming::new(begun.map_err(|error| stored(&error))?);
            // A file that turned out to be changing is fetched whole.
            if attempt == 0 {
                self.take_live_part(&path, file, &mut home).await?;
            }
            let (live, done) = (home.bytes(), tally.live + tally.fetched + tally.missing);
            // The comparison of the beginning was one of the whole.
            outcome = if live > 0 && live == file.size {
                Ok(())
            } else {
                let progress = |bytes| self.tell_progress(action, done + bytes, tally.total);
                self.get(&path, &mut home, progress).await
            };
            tally.line += home.line_bytes();
            if outcome.is_ok() {
                tally.files += 1;
                tally.live += live;
                tally.fetched += home.bytes() - live;
                let done = tally.live + tally.fetched + tally.missing;
                self.tell_progress(action, done, tally.total);
                return home.into_writer().commit().map(drop).map_err(|error| stored(&error));
            }
            if !self.board(|board, _| board.is_up()) {
                break;
            }
        }
        outcome
    }

    /// Takes over what came live, if the board's file begins with it.
    async fn take_live_part(
        &self,
        path: &str,
        file: &Listing,
        home: &mut Incoming<WholeFile>,
    ) -> Result<(), Fault> {
        let place = names::place_of_board_file(&file.path);
        let Some(mut here) = self.open(&place.to_string_lossy()) else { return Ok(()) };
        let length = here.metadata().map_or(0, |found| found.len());
        // A few bytes are sent sooner than compared.
        if length < COMPARED_MIN || length > file.size {
            return Ok(());
        }
        let mut digest = Incoming::new(std::io::sink());
        copy(&mut here, &mut digest)?;
        if digest.bytes() == length
            && self.has_prefix(path, length, &digest.sha256()).await?
            && here.rewind().is_ok()
        {
            copy(&mut here, home)?;
        }
        Ok(())
    }

    fn tell_progress(&self, action: &str, done_bytes: u64, total: u64) {
        let action = action.to_owned();
        let total_bytes = Some(total.max(done_bytes));
        self.tell(Event::ActionProgress { action, done_bytes, total_bytes });
    }

    /// A fault of the run goes on record, with the end of the console's text.
    pub fn record_fault(&self, fault: &Fault) {
        let console_tail = self.board(|board, _| {
            board
                .breakage()
                .map_or_else(|| board.console_tail(), |broken| broken.console_tail.clone())
        });
        let Fault { class, message } = fault.clone();
        self.tell(Event::Error { class, message, console_tail });
    }
}

/// What a run leaves, without what was put there for it.
fn is_result(path: &str) -> bool {
    // `tests/<suite>/…`: the suite's own scripts and overlay, not files of such names elsewhere.
    let of_suite = path.strip_prefix("tests/").and_then(|path| path.split_once('/'));
    path != "plan"
        && !of_suite.is_some_and(|(_, name)| {
            matches!(name, "run.sh" | "install.sh") || name.starts_with("overlay/")
        })
}

/// What results are made of first, then the logs, then what tests left.
fn order(path: &str) -> u8 {
    match path {
        "journal.ndjson" => 0,
        "kernel.log" => 1,
        _ if ["/stdout.log", "/stderr.log", "/output.ndjson"]
            .iter()
            .any(|end| path.ends_with(end)) =>
        {
            2
        }
        _ if !path.starts_with("tests/") => 3,
        _ => 4,
    }
}

fn copy<W: Write>(from: &mut File, to: &mut Incoming<W>) -> Result<(), Fault> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut buffer).map_err(|error| {
            Fault::infrastructure(format!("what came live cannot be read: {error}"))
        })?;
        if count == 0 {
            return Ok(());
        }
        to.take(&buffer[..count])?;
    }
}

/// Which files came home, by their names on the board.
#[derive(Debug, Default)]
pub struct Home {
    /// All of it, as the board has it.
    pub whole: HashSet<String>,
    /// Not, and that is on record.
    pub missing: HashSet<String>,
}

/// What bringing files home came to, in bytes.
#[derive(Debug, Default)]
struct Tally {
    files: u64,
    total: u64,
    /// Had come live.
    live: u64,
    fetched: u64,
    /// Did not come.
    missing: u64,
    /// What went over the line for `fetched`.
    line: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, live, fetched, line, .. } = self;
        write!(
            f,
            "{files} files of {} bytes are home: {live} had come live, {fetched} were fetched as {line}",
            live + fetched
        )
    }
}

/// The test agent's own, through which helpers tell it of cases.
const SOCKET: &str = "socket";

/// What the agent of a run keeps, and ...
const RUN_FILES: [&str; 5] =
    ["journal.ndjson", "kernel.log", "agent.log", "user-console.log", "user-console.ndjson"];

/// ... of each suite.
const SUITE_FILES: [&str; 3] = ["stdout.log", "stderr.log", "output.ndjson"];

/// More files of one run are left on the board.
const FILES_MAX: usize = 1000;

/// A file that changes while it is read is read so often.
const ATTEMPTS_MAX: u32 = 3;

/// A comparison costs a round trip, in which the line carries this much.
const COMPARED_MIN: u64 = 256;

fn stored(error: &StoreError) -> Fault {
    Fault::infrastructure(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_there_is_no_result() {
        for path in ["plan", "tests/a/run.sh", "tests/a/install.sh", "tests/a/overlay/x/y"] {
            assert!(!is_result(path), "{path}");
        }
        for path in ["journal.ndjson", "tests/a/stdout.log", "tests/a/attachments/b/run.sh"] {
            assert!(is_result(path), "{path}");
        }
    }
}
