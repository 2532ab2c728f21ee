//! Evidence of an image under test that died, through the master agent: its file system as it was left, and what its
//! kernel kept in memory that survives a restart.

use agent_core::link::Priority;
use agent_core::time::Duration;
use agent_core::wire::response::{Exit, Partition};
use agent_core::wire::{Method, request};

use super::ask::both;
use super::files::{SHORT_DEADLINE, ending};
use super::get::Incoming;
use super::{Bench, Fault};
use crate::board::Direction;
use crate::job::event::Event;

/// What a command came to.
#[derive(Clone, Debug)]
pub struct CommandOutcome {
    /// How it ended.
    pub exit: Exit,
    /// What it printed, the first [`OUTPUT_MAX`] bytes.
    pub output: String,
}

/// What the file system's own tool made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Checked {
    /// It is in order now; what the tool said, if it had something to do.
    InOrder(Option<String>),
    /// It was damaged and is not any more; what the tool changed. A file may have gone with it.
    Mended(String),
    /// The tool cannot mend it, and this is what it said.
    Damaged(String),
    /// There is no tool, or it does not know such a file system; and why.
    Unchecked(String),
}

impl CommandOutcome {
    /// Whether it ended by itself with status 0.
    pub fn is_good(&self) -> bool {
        self.exit.end == Exit::EXITED && self.exit.code == 0
    }
}

impl Bench {
    /// Mounts a partition to save what is on it, changing it as little as can be, and unmounts it again. The journal is
    /// replayed by `e2fsck -f -p`, where the master image has that; what cannot be mended is read as it is, without its
    /// journal. What was done, and damage, is on record.
    ///
    /// # Errors
    /// Those of `work`, or there is nothing to be read.
    pub async fn mounted_for_rescue<T, W: Future<Output = Result<T, Fault>>>(
        &self,
        label: &str,
        work: impl FnOnce(String) -> W,
    ) -> Result<T, Fault> {
        let damage = match self.check_file_system(label).await? {
            Checked::InOrder(None) => None,
            Checked::InOrder(Some(said)) => {
                self.tell(Event::Note { text: format!("e2fsck on {label}: {said}") });
                None
            }
            Checked::Mended(said) => {
                self.warn(&format!(
                    "the file system of {label} was damaged, and e2fsck mended it: {said}"
                ));
                None
            }
            Checked::Unchecked(why) => {
                let text = format!(
                    "{label} was not checked ({why}): if its journal had entries, the kernel replays them"
                );
                self.tell(Event::Note { text });
                None
            }
            Checked::Damaged(said) => Some(said),
        };
        let damage = match damage {
            Some(said) => said,
            None => match self.mount(label, true, false).await {
                Ok(path) => return self.while_mounted(label, path, work).await,
                Err(fault) => fault.message,
            },
        };
        self.warn(&format!("the file system of {label} is damaged: {damage}"));
        let mounted = self.mount(label, true, true).await;
        let path = mounted.map_err(|fault| {
            fault.during(&format!("nothing can be read from {label}, not even without its journal"))
        })?;
        self.while_mounted(label, path, work).await
    }

    /// Fetches what the kernel of the image that died left in /sys/fs/pstore into `pstore/` of the run directory, and
    /// removes it on the board. A board without has nothing there, and that is no warning.
    pub async fn rescue_pstore(&self) {
        // A master image that has it mounted already says so, and one without the kernel's support too.
        let mount = ["mount", "-t", "pstore", "pstore", PSTORE];
        let _ = self.run_command(&mount, COMMAND_DEADLINE).await;
        let Ok((listing, _)) = self.list(PSTORE).await else { return };
        let mut home = Vec::new();
        for file in listing.iter().filter(|entry| entry.is_file).take(PSTORE_FILES_MAX) {
            match self.rescue_pstore_file(&file.path).await {
                Ok(()) => home.push(file.path.as_str()),
                Err(fault) => {
                    self.warn(&format!(
                        "pstore/{} did not come home: {}",
                        file.path, fault.message
                    ));
                }
            }
        }
        if !home.is_empty() {
            let text = format!(
                "the kernel of the test image left {} in pstore: {}",
                if home.len() == 1 { "a file" } else { "files" },
                home.join(", ")
            );
            self.tell(Event::Note { text });
        }
    }

    async fn rescue_pstore_file(&self, name: &str) -> Result<(), Fault> {
        let stored = |error: crate::store::StoreError| Fault::infrastructure(error.to_string());
        let begun = self.run_dir(|dir| dir.begin_file(&format!("pstore/{name}")));
        let Some(begun) = begun else { return Ok(()) };
        let mut file = Incoming::new(begun.map_err(stored)?);
        let path = format!("{PSTORE}/{name}");
        self.get(&path, &mut file, |_| {}).await?;
        file.into_writer().commit().map_err(stored)?;
        // Only now that it is on the disk here. One that stays would be taken for the next run's.
        self.ask(Method::REMOVE, &request::Path { path: &path }, SHORT_DEADLINE).await?;
        Ok(())
    }

    async fn check_file_system(&self, label: &str) -> Result<Checked, Fault> {
        let body = request::Partition { label };
        let answer = self.ask(Method::PARTITION, &body, SHORT_DEADLINE).await?;
        let device = answer.read::<Partition<'_>>()?.device.to_owned();
        // Without -f it believes a file system that says that it is in order.
        let words = ["e2fsck", "-f", "-p", &device];
        let outcome = match self.run_command(&words, CHECK_DEADLINE).await {
            Ok(outcome) => outcome,
            Err(fault) if self.board(|board, _| board.is_up()) => {
                return Ok(Checked::Unchecked(format!("e2fsck: {}", fault.message)));
            }
            Err(fault) => return Err(fault),
        };
        Ok(judge(&outcome, &device))
    }

    /// Runs a command on the board and takes what it prints, on either output.
    ///
    /// # Errors
    /// The agent's: there is no such program, for example.
    pub async fn run_command(
        &self,
        words: &[&str],
        timeout: Duration,
    ) -> Result<CommandOutcome, Fault> {
        let mut argv = Vec::new();
        for word in words {
            argv.extend_from_slice(word.as_bytes());
            argv.push(0);
        }
        let stdout = self.stream(Priority::Interactive, Direction::FromBoard).await?;
        let stderr = self.stream(Priority::Interactive, Direction::FromBoard).await?;
        let body = request::Exec {
            argv: &argv,
            env: b"",
            cwd: "",
            stdin: 0,
            stdout: stdout.id,
            stderr: stderr.id,
            timeout_ms: u32::try_from(timeout.as_micros() / 1000).unwrap_or(u32::MAX),
        };
        // The agent kills it in time; this is for an agent that does not.
        let asked = self.start(Method::EXEC, &body, &[&stdout, &stderr], timeout.times(2));
        let output = std::cell::RefCell::new(Vec::new());
        let take = async |stream: &super::ask::Stream| {
            while let Some(piece) = stream.read().await {
                let mut output = output.borrow_mut();
                let room = OUTPUT_MAX.saturating_sub(output.len()).min(piece.len());
                output.extend_from_slice(&piece[..room]);
            }
        };
        let answer = ending(&stderr, ending(&stdout, asked.answer()));
        let (_, answer) = both(both(take(&stdout), take(&stderr)), answer).await;
        let exit: Exit = answer?.read()?;
        let output = String::from_utf8_lossy(&output.borrow()).into_owned();
        Ok(CommandOutcome { exit, output })
    }
}

/// What e2fsck's exit status means (`man 8 e2fsck`: a sum of bits).
fn judge(outcome: &CommandOutcome, device: &str) -> Checked {
    let said: Vec<&str> = outcome
        .output
        .lines()
        .map(|line| line.trim().trim_start_matches(device).trim_start_matches(':').trim())
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join("; ");
    if outcome.exit.end != Exit::EXITED {
        return Checked::Unchecked(format!("e2fsck did not end by itself: {said}"));
    }
    match outcome.exit.code {
        0 if !said.contains("journal") => Checked::InOrder(None),
        // 1: errors were corrected; 2: and the system should be restarted, which concerns a mounted root.
        0..=3 if said.split("; ").all(is_usual) => Checked::InOrder(Some(said)),
        0..=3 => Checked::Mended(said),
        code if code & ERRORS_LEFT != 0 => Checked::Damaged(said),
        // 8: no ext file system, or it could not be read at all; the mount will tell.
        code => Checked::Unchecked(format!("e2fsck ended with status {code}: {said}")),
    }
}

/// What is to be mended wherever an image died: its journal, files that were removed while they were open, and counts.
fn is_usual(line: &str) -> bool {
    ["journal", "orphan", "count wrong", "clean", " files ("].iter().any(|word| line.contains(word))
}

const ERRORS_LEFT: u8 = 4;

/// Where a kernel shows what survived its predecessor's death (the kernel's Documentation/admin-guide/ramoops.rst).
const PSTORE: &str = "/sys/fs/pstore";

/// A ramoops area is some hundred KiB, a record some of them.
const PSTORE_FILES_MAX: usize = 64;

/// Checking a large file system takes as long as reading its metadata from a slow card.
const CHECK_DEADLINE: Duration = Duration::from_secs(600);

const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// Bytes of a command's output that are kept.
pub const OUTPUT_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_e2fsck_says_what_to_do() {
        let judge = |code, output: &str| {
            let exit = Exit { end: Exit::EXITED, code, ..Exit::default() };
            judge(&CommandOutcome { exit, output: output.to_owned() }, "/dev/vda3")
        };
        let clean = "/dev/vda3: clean, 11/65536 files, 4/262144 blocks\n";
        assert_eq!(judge(0, clean), Checked::InOrder(None));
        let replayed = "/dev/vda3: recovering journal\n/dev/vda3: clean, 11/65536 files\n";
        let said = "recovering journal; clean, 11/65536 files".to_owned();
        assert_eq!(judge(0, replayed), Checked::InOrder(Some(said)));
        let fixed = Checked::Mended("Inode 12 FIXED.".to_owned());
        assert_eq!(judge(1, "/dev/vda3: Inode 12 FIXED.\n"), fixed);
        let orphan = "/dev/vda3: Clearing orphaned inode 15 (uid=0, gid=0, mode=0100600, size=0)\n/dev/vda3: 11/65536 files (0.0% non-contiguous), 4/9 blocks\n";
        assert!(matches!(judge(1, orphan), Checked::InOrder(Some(_))));
        let mended = "/dev/vda3: Padding at end of inode bitmap is not set. FIXED.\n";
        assert!(matches!(judge(1, mended), Checked::Mended(said) if said.contains("FIXED")));
        let bad = "/dev/vda3: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.\n";
        assert!(matches!(judge(4, bad), Checked::Damaged(said) if said.starts_with("UNEXPECTED")));
        assert!(matches!(judge(12, bad), Checked::Damaged(_)));
        assert!(matches!(judge(8, "Bad magic number"), Checked::Unchecked(_)));
    }
}
