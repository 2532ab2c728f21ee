//! Bringing a run's files home, from the test agent or through the master agent, and completing the record with them.
//!
//! The files of the board are the truth; the live log was a view of it. What the view left out is put on the timeline
//! from the files, and results come from the journal, which the agent synced line by line.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use agent_core::wire::response::Exit;
use serde::Deserialize;

use super::files::Listing;
use super::inject::run_directory;
use super::live::Live;
use super::{Bench, Fault};
use crate::job::event::{Event, Source};
use crate::job::spec::Test;
use crate::store::StoreError;

/// Why tests without an end have none.
const NO_END: &str = "its end was not seen";

/// A line of the journal; `agent-core` writes it. What it does not know is ignored.
#[derive(Debug, Deserialize)]
struct JournalLine {
    event: String,
    #[serde(default)]
    test: u16,
    #[serde(default)]
    end: String,
    #[serde(default)]
    code: u8,
    #[serde(default)]
    user_us: u64,
    #[serde(default)]
    system_us: u64,
    #[serde(default)]
    max_rss_kib: u64,
    #[serde(default)]
    elapsed_us: u64,
}

/// A line of `output.ndjson`: when which bytes of an output came.
#[derive(Debug, Deserialize)]
struct OutputLine {
    board_us: u64,
    source: String,
    offset: u64,
    bytes: u64,
}

impl Bench {
    /// Fetches everything that the run left below `root` on the board, and completes the record. A file that cannot be
    /// fetched is a warning; the rest comes all the same.
    ///
    /// # Errors
    /// The run's directory cannot be listed.
    pub async fn collect(
        &self,
        root: &str,
        run: &str,
        tests: &[Test],
        live: &RefCell<Live>,
    ) -> Result<(), Fault> {
        let directory = format!("{root}{}", run_directory(run));
        let listing = self.list(&directory).await?;
        let files: Vec<&Listing> =
            listing.iter().filter(|entry| entry.is_file && is_result(&entry.path)).collect();
        for file in files {
            if let Err(fault) = self.fetch(&directory, &file.path).await {
                self.warn(&format!("{} did not come home: {}", file.path, fault.message));
            }
        }
        self.read_journal(tests, live);
        self.read_kernel_log(live);
        for (index, test) in tests.iter().enumerate() {
            self.read_output(index as u16, test, live);
        }
        Ok(())
    }

    /// Tests that nothing is known of any more did not run, or did not end.
    pub fn close_tests(&self, tests: &[Test], live: &RefCell<Live>) {
        for (index, test) in tests.iter().enumerate() {
            let index = index as u16;
            let mut live = live.borrow_mut();
            let why = if live.has_started(index) { NO_END } else { "it was not started" };
            live.test_lost(self, index, &test.name, why);
        }
    }

    async fn fetch(&self, directory: &str, name: &str) -> Result<(), Fault> {
        let Some(begun) = self.run_dir(|dir| dir.begin_file(name)) else { return Ok(()) };
        let mut file = begun.map_err(|error| stored(&error))?;
        self.get(&format!("{directory}/{name}"), &mut file, |_| {}).await?;
        file.commit().map_err(|error| stored(&error))?;
        Ok(())
    }

    fn read_journal(&self, tests: &[Test], live: &RefCell<Live>) {
        for line in self.lines_of("board/journal.ndjson") {
            // A torn last line is what a crash leaves; the lines before it count.
            let Ok(line) = serde_json::from_str::<JournalLine>(&line) else { continue };
            let Some(test) = tests.get(usize::from(line.test)) else { continue };
            let mut live = live.borrow_mut();
            match line.event.as_str() {
                "test_started" => live.test_started(self, line.test, &test.name),
                "test_ended" => {
                    let end = match line.end.as_str() {
                        "exited" => Exit::EXITED,
                        "signaled" => Exit::SIGNALED,
                        "timed_out" => Exit::TIMED_OUT,
                        _ => Exit::NOT_STARTED,
                    };
                    let exit = Exit {
                        end,
                        code: line.code,
                        user_us: line.user_us,
                        system_us: line.system_us,
                        max_rss_kib: line.max_rss_kib,
                        elapsed_us: line.elapsed_us,
                    };
                    live.test_ended(self, line.test, &test.name, &exit);
                }
                _ => {}
            }
        }
    }

    /// Kernel lines that did not come live.
    fn read_kernel_log(&self, live: &RefCell<Live>) {
        for line in self.lines_of("board/kernel.log") {
            if let Some((priority, board_us, text)) = parse_kernel_line(&line) {
                live.borrow_mut().kernel_line(self, board_us, priority, None, text.to_owned());
            }
        }
    }

    /// Output that did not come live.
    fn read_output(&self, index: u16, test: &Test, live: &RefCell<Live>) {
        let times: Vec<OutputLine> = self
            .lines_of(&format!("tests/{}/output.ndjson", test.name))
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        for (source, word, file) in
            [(Source::Stdout, "stdout", "stdout.log"), (Source::Stderr, "stderr", "stderr.log")]
        {
            let covered = live.borrow().covered(index, source);
            let rest = self.bytes_of(&format!("tests/{}/{file}", test.name), covered);
            let mut at = covered;
            while at < covered + rest.len() as u64 {
                let piece = times.iter().find(|line| {
                    line.source == word && (line.offset..line.offset + line.bytes).contains(&at)
                });
                let end = piece.map_or(u64::MAX, |line| line.offset + line.bytes);
                let end = end.min(covered + rest.len() as u64);
                let bytes = &rest[(at - covered) as usize..(end - covered) as usize];
                let board_us = piece.map_or(0, |line| line.board_us);
                live.borrow_mut().output(self, index, source, &test.name, board_us, bytes);
                at = end;
            }
            let line = live.borrow_mut().take_partial_line(index, source);
            if !line.is_empty() {
                let board_us = times.last().map_or(0, |line| line.board_us);
                let text = String::from_utf8_lossy(&line).into_owned();
                let suite = Some(test.name.as_str());
                let line = super::live::Line {
                    board_us,
                    source,
                    level: None,
                    sequence: None,
                    suite,
                    text,
                };
                live.borrow_mut().log(self, line);
            }
        }
    }

    /// The lines of a file of the run directory; none when it is not there.
    fn lines_of(&self, name: &str) -> Vec<String> {
        let Some(file) = self.open(name) else { return Vec::new() };
        let reader = BufReader::new(file.take(READ_MAX));
        reader
            .split(b'\n')
            .map_while(Result::ok)
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .collect()
    }

    fn bytes_of(&self, name: &str, from: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(mut file) = self.open(name)
            && file.seek(SeekFrom::Start(from)).is_ok()
        {
            let _ = file.take(READ_MAX).read_to_end(&mut bytes);
        }
        bytes
    }

    fn open(&self, name: &str) -> Option<File> {
        File::open(self.run_dir(|dir| dir.path().join(name))?).ok()
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

/// More of a file is not put on the timeline: it stands in the file.
const READ_MAX: u64 = 32 * 1024 * 1024;

/// What a run leaves, without what was put there for it.
fn is_result(path: &str) -> bool {
    path != "plan" && !path.ends_with("/run.sh")
}

/// `<6>[    1.234567] text`
fn parse_kernel_line(line: &str) -> Option<(u8, u64, &str)> {
    let (priority, rest) = line.strip_prefix('<')?.split_once(">[")?;
    let (time, text) = rest.split_once("] ")?;
    let (seconds, micros) = time.trim_start().split_once('.')?;
    let board_us =
        seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?;
    Some((priority.parse().ok()?, board_us, text))
}

fn stored(error: &StoreError) -> Fault {
    Fault::infrastructure(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_lines_of_the_board_are_read() {
        assert_eq!(
            parse_kernel_line("<6>[   12.000345] usb 1-1: new device"),
            Some((6, 12_000_345, "usb 1-1: new device"))
        );
        for bad in ["", "usb", "<6>[x] y", "<6>[99999999999999999999.1] z", "<900>[1.1] a"] {
            assert_eq!(parse_kernel_line(bad), None, "{bad}");
        }
    }
}
