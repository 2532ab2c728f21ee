//! Starts and ends programs; what they print is kept, and nothing outlives its owner.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// A wait that takes longer has hung. The slowest thing waited for is a job with several boots on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(900);

/// A program that runs. It is killed when the value is dropped.
#[derive(Debug)]
pub struct Running {
    shown: String,
    child: Child,
    watch: Arc<Watch>,
}

/// What a program left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its words.
    pub shown: String,
    /// Its exit status; 128 and the signal's number for one that a signal ended.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

#[derive(Debug, Default)]
struct Watch {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Ends of the two, and of the process.
    ends: u8,
}

/// Standard output, standard error and the process.
const ALL_ENDS: u8 = 3;

/// The path of a program that this workspace builds. `PUMICE_E2E_PUMICE` names another `pumice`, as that of a lab host of
/// another architecture: `ci/test hosts`.
///
/// # Panics
/// It is not built; the message says how.
pub fn built(name: &str) -> PathBuf {
    if let Some(pumice) = std::env::var_os("PUMICE_E2E_PUMICE").filter(|_| name == "pumice") {
        return pumice.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let path = folder.join(name);
    let package = match name {
        "pumice" => "host-dispatcher",
        "paced-line" => "link-bench",
        "fake-board" => "fake-board",
        "pty-board" => "e2e",
        _ => "agent-linux",
    };
    assert!(
        path.is_file(),
        "{} is missing: build it with `cargo build -p {package}` (the same profile as the tests), or run ci/test",
        path.display()
    );
    path
}

/// The agent as `cross/build-agent` has left it.
///
/// # Panics
/// It is not built; the message says how.
pub fn agent_for(triple: &str) -> PathBuf {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it lies in tests/e2e");
    let path = root.join("target/agent").join(triple).join("pumice-agent");
    assert!(path.is_file(), "{} is missing: run cross/build-agent {triple}", path.display());
    path
}

/// Whether a process of this number runs; one that has ended and was not reaped does not.
pub fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

/// The numbers of all processes among whose words is one that contains `text`.
pub fn processes_with(text: &str) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.windows(text.len()).any(|window| window == text.as_bytes()) && is_alive(*pid)
    })
    .collect()
}

impl Running {
    /// Starts `program` in `folder`; `input` is its standard input, none: nothing, at its end.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(
        program: &Path,
        words: &[impl AsRef<OsStr>],
        folder: &Path,
        variables: &[(&str, &Path)],
        input: Option<Vec<u8>>,
    ) -> Self {
        let mut shown = program.display().to_string();
        for word in words {
            let _ = write!(shown, " {}", word.as_ref().display());
        }
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(folder)
            .envs(variables.iter().copied())
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let watch = Arc::new(Watch::default());
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            // A program that wants no more closes its end: no fault of this one.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let stderr = child.stderr.take().expect("standard error is a pipe");
        read(stdout, watch.clone(), |seen| &mut seen.stdout);
        read(stderr, watch.clone(), |seen| &mut seen.stderr);
        let (pid, watching) = (Id::Pid(Pid::from_raw(child.id().cast_signed())), watch.clone());
        thread::spawn(move || {
            // Not reaped here, so that the number stays its own until the owner has seen the end.
            let _ = waitid(pid, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            watching.change(|seen| seen.ends += 1);
        });
        Self { shown, child, watch }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// Waits until `text` stands in its standard output.
    ///
    /// # Panics
    /// It ended without it, or hangs.
    pub fn wait_for_stdout(&self, text: &str) {
        self.wait_for(text, |seen| &seen.stdout);
    }

    /// Waits until `text` stands in its standard error.
    ///
    /// # Panics
    /// As [`Self::wait_for_stdout`].
    pub fn wait_for_stderr(&self, text: &str) {
        self.wait_for(text, |seen| &seen.stderr);
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.watch.lock().stdout).into_owned()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.watch.lock().stderr).into_owned()
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// It hangs.
    pub fn wait(mut self) -> Output {
        let seen = self.watch.until("its end", &self.shown, |seen| seen.ends == ALL_ENDS);
        let (stdout, stderr) = (seen.stdout.clone(), seen.stderr.clone());
        drop(seen);
        let status = status_of(self.child.wait().expect("a child can be waited for"));
        Output { shown: self.shown.clone(), status, stdout, stderr }
    }

    fn wait_for(&self, text: &str, of: impl Fn(&Seen) -> &Vec<u8>) {
        let has = |seen: &Seen| of(seen).windows(text.len()).any(|part| part == text.as_bytes());
        let what = format!("\"{text}\"");
        let seen = self.watch.until(&what, &self.shown, |seen| has(seen) || seen.ends == ALL_ENDS);
        assert!(has(&seen), "{} ended without {what}:\n{}", self.shown, seen.shown());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    /// Checks the exit status.
    ///
    /// # Panics
    /// It is another one; the message has everything that was printed.
    #[track_caller]
    pub fn exits_with(self, status: i32) -> Self {
        assert!(
            self.status == status,
            "{}\nended with {} and not with {status}\n{}",
            self.shown,
            self.status,
            shown(&self.stdout, &self.stderr)
        );
        self
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Checks that standard error holds `text`.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.err().contains(text),
            "{}\nsays no \"{text}\"\n{}",
            self.shown,
            shown(&self.stdout, &self.stderr)
        );
        self
    }
}

impl Watch {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // A thread that panicked has failed the test already.
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn until(
        &self,
        what: &str,
        whose: &str,
        is_so: impl Fn(&Seen) -> bool,
    ) -> MutexGuard<'_, Seen> {
        let (seen, _) = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |seen| !is_so(seen))
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(
            is_so(&seen),
            "{whose}: still without {what} after {PATIENCE:?}:\n{}",
            seen.shown()
        );
        seen
    }
}

impl Seen {
    fn shown(&self) -> String {
        shown(&self.stdout, &self.stderr)
    }
}

fn read(
    mut from: impl Read + Send + 'static,
    watch: Arc<Watch>,
    into: impl Fn(&mut Seen) -> &mut Vec<u8> + Send + 'static,
) {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            watch.change(|seen| into(seen).extend_from_slice(&piece[..length]));
        }
        watch.change(|seen| seen.ends += 1);
    });
}

fn status_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn shown(stdout: &[u8], stderr: &[u8]) -> String {
    format!(
        "--- stdout\n{}--- stderr\n{}---",
        String::from_utf8_lossy(stdout),
        String::from_utf8_lossy(stderr)
    )
}
