//! Bringing a run's files home, from the test agent or through the master agent. The files of the board are the truth;
//! the live log was a view of it.

use super::files::Listing;
use super::inject::run_directory;
use super::live::Live;
use super::{Bench, Fault};
use crate::job::event::Event;
use crate::job::spec::Test;
use crate::store::StoreError;
use std::cell::RefCell;

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
        self.complete(tests, live);
        Ok(())
    }

    async fn fetch(&self, directory: &str, name: &str) -> Result<(), Fault> {
        let Some(begun) = self.run_dir(|dir| dir.begin_file(name)) else { return Ok(()) };
        let mut file = begun.map_err(|error| stored(&error))?;
        self.get(&format!("{directory}/{name}"), &mut file, |_| {}).await?;
        file.commit().map_err(|error| stored(&error))?;
        Ok(())
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
    // `tests/<suite>/…`: the suite's own scripts, not files of such names that a test left.
    let of_suite = path.strip_prefix("tests/").and_then(|path| path.split_once('/'));
    path != "plan" && !of_suite.is_some_and(|(_, name)| matches!(name, "run.sh" | "install.sh"))
}

fn stored(error: &StoreError) -> Fault {
    Fault::infrastructure(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_there_is_no_result() {
        for path in ["plan", "tests/a/run.sh", "tests/a/install.sh"] {
            assert!(!is_result(path), "{path}");
        }
        for path in ["journal.ndjson", "tests/a/stdout.log", "tests/a/attachments/b/run.sh"] {
            assert!(is_result(path), "{path}");
        }
    }
}
