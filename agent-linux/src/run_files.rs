//! The run's directory on the board: `<root>/.pumice/runs/<run>/`, in the layout of the host's (docs/store.md).

use crate::files::sync_directory;
use crate::sys::errno::{Errno, OsResult};
use crate::sys::file::File;
use crate::sys::{directory, disk, file};
use agent_core::agent::effect::RunFile;
use agent_core::agent::plan::PLAN_MAX;
use agent_core::agent::{JOURNAL_MAX, Journal};

/// The files of a run; open from their first byte on.
#[derive(Debug)]
pub(crate) struct RunFiles {
    /// The run's directory; empty without a run, when all writing is done without doing anything.
    directory: String,
    /// Name of the run.
    run: String,
    /// Directory of the running test, or of the one that ran last.
    suite: String,
    journal: Log,
    kernel: Log,
    agent: Log,
    user_console: Log,
    /// Bytes of the user console so far, those in the file of an earlier agent included.
    user_console_bytes: u64,
    user_console_times: Log,
    output: Log,
    stdout: Log,
    stderr: Log,
}

/// One file that only grows.
#[derive(Debug, Default)]
struct Log {
    file: Option<File>,
    length: u64,
    /// So far there is room on the disk.
    reserved: u64,
    is_dirty: bool,
}

/// What a test printed goes into one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capture {
    /// `stdout.log`.
    Stdout,
    /// `stderr.log`.
    Stderr,
}

/// What became of a piece of the user console.
#[derive(Debug)]
pub(crate) struct CapturedConsole {
    /// Its first byte's.
    pub(crate) offset: u64,
    /// It is the first that was cut.
    pub(crate) is_full: bool,
    pub(crate) written: OsResult<()>,
}

/// More than an init prints in a week; a program that prints without end must not fill the board's disk.
const USER_CONSOLE_BYTES_MAX: u64 = 16 << 20;

impl RunFiles {
    /// Of `run` below `root`.
    pub(crate) fn new(root: &str, run: Option<&str>) -> Self {
        let directory = run.map(|run| [root, "/.pumice/runs/", run].concat());
        Self {
            directory: directory.unwrap_or_default(),
            run: run.unwrap_or_default().to_owned(),
            suite: String::new(),
            journal: Log::default(),
            kernel: Log::default(),
            agent: Log::default(),
            user_console: Log::default(),
            user_console_bytes: 0,
            user_console_times: Log::default(),
            output: Log::default(),
            stdout: Log::default(),
            stderr: Log::default(),
        }
    }

    /// The run's directory.
    pub(crate) fn directory(&self) -> &str {
        &self.directory
    }

    /// Whether the run's directory can be written to: under an init that first checks the root file system it is
    /// read-only for a while. Any other trouble does not pass with time, and shows when files are written.
    pub(crate) fn is_writable(&self) -> bool {
        let path = [&self.directory, "/agent.log"].concat();
        let opened = file::open(path, file::APPEND);
        !matches!(opened, Err(Errno::EROFS))
    }

    /// What an earlier start wrote into the journal. What stands behind its last whole line is cut off.
    pub(crate) fn read_journal(&mut self, buffer: &mut [u8]) -> OsResult<Journal> {
        let mut journal = Journal::new();
        let file = match file::open([&self.directory, "/journal.ndjson"].concat(), file::READ_WRITE)
        {
            Err(Errno::ENOENT) => return Ok(journal),
            opened => opened?,
        };
        let length = file.found()?.size;
        if length > JOURNAL_MAX {
            return Err(Errno::EFBIG);
        }
        loop {
            match file.read(buffer)? {
                0 => break,
                count => journal.push(&buffer[..count]),
            }
        }
        if journal.whole_bytes() < length {
            file.cut(journal.whole_bytes())?;
            file.sync_all()?;
        }
        Ok(journal)
    }

    /// The plan, cut behind its longest length, which makes one that is too long unreadable.
    pub(crate) fn read_plan(&self) -> OsResult<Vec<u8>> {
        let mut plan = file::read_path([&self.directory, "/plan"].concat().as_bytes())?;
        plan.truncate(PLAN_MAX + 1);
        Ok(plan)
    }

    /// Test `suite` begins: returns its directory, and the environment that tells the test where it is, `more` at its
    /// end.
    pub(crate) fn begin_test(&mut self, suite: &str, more: &[u8]) -> OsResult<(String, Vec<u8>)> {
        let directory = [&self.directory, "/tests/", suite].concat();
        directory::make_all(&directory)?;
        // The files of the test before are synced by the core before this.
        for log in [&mut self.output, &mut self.stdout, &mut self.stderr] {
            *log = Log::default();
        }
        self.stdout.open(&directory, "stdout.log")?;
        self.stderr.open(&directory, "stderr.log")?;
        self.suite.clone_from(&directory);
        let variables = [
            ("PUMICE_RUN=", &*self.run),
            ("PUMICE_SUITE=", suite),
            ("TESTRUN_ID=", suite),
            ("LAVA_RESULT_DIR=", &directory),
        ];
        let mut environment = Vec::new();
        for (name, value) in variables {
            environment.extend_from_slice(&[name, value, "\0"].concat().into_bytes());
        }
        environment.extend_from_slice(more);
        Ok((directory, environment))
    }

    /// Appends to a file of the run.
    pub(crate) fn append(&mut self, file: RunFile, bytes: &[u8]) -> OsResult<()> {
        let (log, directory, name) = match file {
            RunFile::Journal => (&mut self.journal, &self.directory, "journal.ndjson"),
            RunFile::KernelLog => (&mut self.kernel, &self.directory, "kernel.log"),
            RunFile::AgentLog => (&mut self.agent, &self.directory, "agent.log"),
            RunFile::UserConsoleTimes => {
                (&mut self.user_console_times, &self.directory, "user-console.ndjson")
            }
            RunFile::Output => (&mut self.output, &self.suite, "output.ndjson"),
        };
        if directory.is_empty() {
            return Ok(());
        }
        log.open(directory, name)?;
        if file == RunFile::Journal {
            log.reserve();
        }
        let length = log.length;
        let (_, done) = log.append(bytes);
        if done.is_err() {
            // Whole lines or none: the next one must not be joined to half of this one.
            log.cut(length);
        }
        done
    }

    /// Appends to what the running test printed as much as there is room for; returns how many bytes that are, with the
    /// reason if they are not all.
    pub(crate) fn capture(&mut self, capture: Capture, bytes: &[u8]) -> (usize, OsResult<()>) {
        match capture {
            Capture::Stdout => self.stdout.append(bytes),
            Capture::Stderr => self.stderr.append(bytes),
        }
    }

    /// Appends to `user-console.log`, up to [`USER_CONSOLE_BYTES_MAX`]; what comes behind that is only counted.
    pub(crate) fn capture_console(&mut self, bytes: &[u8]) -> CapturedConsole {
        let mut written = Ok(());
        if !self.directory.is_empty() && self.user_console.file.is_none() {
            written = self.user_console.open(&self.directory, "user-console.log");
            let found = self.user_console.file.as_ref().and_then(|file| file.found().ok());
            self.user_console_bytes += found.map_or(0, |found| found.size);
        }
        let offset = self.user_console_bytes;
        self.user_console_bytes += bytes.len() as u64;
        let room = USER_CONSOLE_BYTES_MAX.saturating_sub(offset).min(bytes.len() as u64) as usize;
        if written.is_ok() {
            let kept;
            (kept, written) = self.user_console.append(&bytes[..room]);
            if written.is_err() {
                // What the disk did not take is gone, and what follows stands behind what it did.
                self.user_console_bytes = offset + kept as u64;
            }
        }
        let is_full = room < bytes.len() && offset <= USER_CONSOLE_BYTES_MAX;
        CapturedConsole { offset, is_full, written }
    }

    /// Makes all that was appended durable. The first error is reported after all have been tried.
    pub(crate) fn sync(&mut self) -> OsResult<()> {
        let logs = [
            &mut self.stdout,
            &mut self.stderr,
            &mut self.output,
            &mut self.user_console,
            &mut self.user_console_times,
            &mut self.kernel,
            &mut self.agent,
            // Last: what it says has happened is on the disk before it.
            &mut self.journal,
        ];
        let mut result = Ok(());
        for log in logs {
            let synced = log.sync();
            if result.is_ok() {
                result = synced;
            }
        }
        result
    }
}

impl Log {
    fn open(&mut self, directory: &str, name: &str) -> OsResult<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let path = [directory, "/", name].concat();
        let file = file::open(path, file::APPEND)?;
        self.length = file.found()?.size;
        self.reserved = self.length;
        // Its name must be as durable as its bytes will be.
        sync_directory(directory)?;
        self.file = Some(file);
        Ok(())
    }

    /// Writes as much as there is room for.
    fn append(&mut self, bytes: &[u8]) -> (usize, OsResult<()>) {
        let Some(file) = &mut self.file else { return (bytes.len(), Ok(())) };
        self.is_dirty = true;
        let mut written = 0;
        while written < bytes.len() {
            let done = match file.write(&bytes[written..]) {
                Ok(0) => Err(Errno::EIO),
                Err(Errno::EINTR) => continue,
                done => done,
            };
            match done {
                Ok(count) => {
                    written += count;
                    self.length += count as u64;
                }
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    fn cut(&mut self, length: u64) {
        if let Some(file) = &self.file {
            if self.length > length && file.cut(length).is_ok() {
                self.length = length;
                self.reserved = length;
            }
        }
    }

    /// Keeps room for what is to be written even if a test fills the file system.
    fn reserve(&mut self) {
        if let Some(file) = &self.file {
            // Half of it may be used up before there is to be more.
            if self.reserved < self.length + RESERVE / 2
                && disk::reserve(file, self.length, RESERVE).is_ok()
            {
                self.reserved = self.length + RESERVE;
            }
        }
    }

    fn sync(&mut self) -> OsResult<()> {
        match &self.file {
            Some(file) if self.is_dirty => {
                self.is_dirty = false;
                file.sync_data()
            }
            _ => Ok(()),
        }
    }
}

/// Room ahead of the journal's end, bytes: the beginnings and ends of all tests that a plan can have.
const RESERVE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::directory;
    use std::fs;
    use std::path::Path;

    #[test]
    fn files_grow_where_the_store_expects_them() {
        let root = directory("run-files");
        let top = root.join(".pumice/runs/r-1");
        fs::create_dir_all(&top).unwrap();
        fs::write(top.join("plan"), "plan").unwrap();
        let mut files = RunFiles::new(root.to_str().unwrap(), Some("r-1"));
        assert!(files.is_writable());
        assert_eq!(files.read_plan().unwrap(), b"plan");
        files.append(RunFile::Journal, b"one\n").unwrap();
        for suite in ["a", "b"] {
            let (directory, environment) = files.begin_test(suite, b"A=1\0").unwrap();
            assert_eq!(Path::new(&directory), top.join("tests").join(suite));
            let expected = format!(
                "PUMICE_RUN=r-1\0PUMICE_SUITE={suite}\0TESTRUN_ID={suite}\0LAVA_RESULT_DIR={directory}\0A=1\0"
            );
            assert_eq!(environment, expected.into_bytes());
            assert!(matches!(files.capture(Capture::Stdout, suite.as_bytes()), (1, Ok(()))));
            files.append(RunFile::Output, b"{}\n").unwrap();
            files.sync().unwrap();
        }
        files.append(RunFile::Journal, b"two\n").unwrap();
        files.sync().unwrap();
        let read = |name: &str| fs::read_to_string(top.join(name)).unwrap();
        assert_eq!(read("journal.ndjson"), "one\ntwo\n");
        assert_eq!(
            (read("tests/a/stdout.log"), read("tests/b/stdout.log")),
            ("a".into(), "b".into())
        );
        assert_eq!(
            (read("tests/a/stderr.log"), read("tests/b/output.ndjson")),
            (String::new(), "{}\n".into())
        );
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_journal_is_read_and_cut_behind_its_last_whole_line() {
        let root = directory("journal");
        let top = root.join(".pumice/runs/r");
        fs::create_dir_all(&top).unwrap();
        let mut files = RunFiles::new(root.to_str().unwrap(), Some("r"));
        let whole_bytes = |files: &mut RunFiles| {
            files.read_journal(&mut [0; 7]).map(|journal| journal.whole_bytes())
        };
        assert_eq!(whole_bytes(&mut files).unwrap(), 0, "there is none");
        let path = top.join("journal.ndjson");
        fs::write(&path, "{\"event\":\"plan_started\"}\n{\"event\":\"test_st").unwrap();
        assert_eq!(whole_bytes(&mut files).unwrap(), 25);
        files.append(RunFile::Journal, b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"event\":\"plan_started\"}\nnext\n");
        // A hole costs no disk; nobody reads through it.
        fs::File::options().write(true).open(&path).unwrap().set_len(JOURNAL_MAX + 1).unwrap();
        assert_eq!(whole_bytes(&mut files).unwrap_err(), Errno::EFBIG);
        fs::remove_dir_all(root).unwrap();
    }

    /// Needs the right to mount; without, there is no small disk to fill.
    #[test]
    fn on_a_full_disk_the_journal_goes_on_and_the_rest_is_counted() {
        let root = directory("full");
        let place = root.to_str().unwrap();
        if !disk::mount_small(place, "size=1m") {
            return fs::remove_dir_all(root).unwrap();
        }
        let top = root.join(".pumice/runs/r");
        fs::create_dir_all(&top).unwrap();
        let mut files = RunFiles::new(place, Some("r"));
        files.append(RunFile::Journal, b"started\n").unwrap();
        files.begin_test("fills", b"").unwrap();
        let line = [b'x'; 40_000];
        let mut captured = 0;
        let error = loop {
            let (kept, done) = files.capture(Capture::Stdout, &line);
            captured += kept as u64;
            if let Err(error) = done {
                break error;
            }
        };
        assert_eq!(error, Errno::ENOSPC);
        let length = |name: &str| fs::metadata(top.join(name)).unwrap().len();
        assert_eq!(length("tests/fills/stdout.log"), captured, "what is kept was counted");
        // Of other files whole lines, or none.
        let note = [b'n'; 1999];
        while files.append(RunFile::AgentLog, &note).is_ok() {}
        assert_eq!(length("agent.log") % 1999, 0);
        for _ in 1..RESERVE / 256 {
            files.append(RunFile::Journal, &[b'j'; 256]).unwrap();
        }
        files.sync().unwrap();
        assert!(files.append(RunFile::Journal, &[b'j'; 8192]).is_err(), "there was no other room");
        assert_eq!(length("journal.ndjson"), 8 + RESERVE - 256);
        drop(files);
        disk::unmount(place).unwrap();
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn without_a_run_nothing_is_written() {
        let mut files = RunFiles::new("/no/such", None);
        assert!(files.append(RunFile::AgentLog, b"x").is_ok() && files.sync().is_ok());
        assert!(RunFiles::new("/no/such", Some("r")).read_plan().is_err());
    }
}
