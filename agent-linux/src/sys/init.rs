//! The `init=` start: the agent as the first process, which becomes three: the real init, beside it a keeper, and the
//! agent, which the keeper starts again when it dies before its time.

use super::child::{self, ANY};
use super::{clock, directory, disk, file, leftovers, poll};
use crate::trial;
use agent_core::time::Duration;
use nix::libc;
use nix::sys::signal::SigSet;
use nix::unistd::{execv, getpid, setsid};
use std::ffi::{CStr, CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

/// Whether this is process 1.
pub(crate) fn is_first_process() -> bool {
    getpid().as_raw() == 1
}

/// Forks the keeper, which runs this program again with `words`, and becomes the real init. Returns, with a reason,
/// only when there is none.
///
/// `line` is the device of the line, on which no login prompt may appear.
pub(crate) fn start(words: &[OsString], line: impl FnOnce() -> Option<String>) -> &'static str {
    // An initramfs may have moved its own into place, or not: what is there already stays.
    mount_if_missing("/proc/self", "proc", "/proc");
    mount_if_missing("/dev/null", "devtmpfs", "/dev");
    mount_if_missing("/sys/class", "sysfs", "/sys");
    trial::begin();
    if let Some(line) = line() {
        keep_getty_off(line.strip_prefix("/dev/").unwrap_or(&line));
    }
    // SAFETY: this process has a single thread, so the child may do whatever it likes.
    #[allow(unsafe_code)]
    if unsafe { child::fork() } == 0 {
        become_spared(KEEPER, words);
    }
    // Without an agent the board still boots, which is better than a panic: the dispatcher sees the console.
    // First what cross/bake-agent set aside for it.
    let inits = [c"/init.without-pumice", c"/sbin/init", c"/etc/init", c"/bin/init", c"/bin/sh"];
    for init in inits {
        let _ = execv(init, &[init]);
    }
    "neither /sbin/init nor /etc/init nor /bin/init nor /bin/sh could be executed"
}

/// The keeper: starts the agent with `words`, and again when a signal or a failure ended it, until it ends by itself.
/// Returns then. The line is the agent's alone.
pub(crate) fn keep(words: &[OsString]) {
    settle("pumice-keeper");
    leftovers::adopt();
    // A test may signal every process there is. The agent inherits it; what it starts gets an empty mask.
    let _ = SigSet::all().thread_block();
    let mut pause_s = 0;
    loop {
        let begun = clock::now();
        // SAFETY: this process has a single thread, so the child may do whatever it likes.
        #[allow(unsafe_code)]
        let agent = unsafe { child::fork() };
        if agent == 0 {
            become_spared(AGENT, words);
        }
        // Below 0: out of memory, which passes; a moment later there may be some.
        while let Some((pid, ended)) = child::wait_any(ANY, true) {
            if pid == agent {
                if !ended.signaled && ended.code == 0 {
                    return;
                }
                break;
            }
        }
        // What it ran must not go on beside what the next one runs.
        leftovers::end_orphans(|_| false);
        while child::wait_any(ANY, false).is_some() {}
        pause_s = match clock::now().since(begun) < LONG_LIFE {
            true => (pause_s * 2 + 1).min(PAUSE_MAX_S),
            false => 0,
        };
        poll::pause(pause_s * 1_000_000);
    }
}

/// In a process that [`start`] or [`keep`] made, once it runs: out of the way of the console, the OOM killer and every
/// mount. `name` is what lists of processes call it.
pub(crate) fn settle(name: &str) {
    let _ = std::env::set_current_dir("/");
    if let Ok(null) = file::open("/dev/null", file::READ_WRITE) {
        let _ = nix::unistd::dup2_stdin(&null);
        let _ = nix::unistd::dup2_stdout(&null);
        let _ = nix::unistd::dup2_stderr(&null);
    }
    // Instead of "exe", by which it was executed.
    let _ = file::write("/proc/self/comm", name);
    // Without the right to do so the agent lives on at the common score.
    let _ = file::write("/proc/self/oom_score_adj", "-1000");
}

/// Whether process 1 has become the real init. Where that cannot be told it counts as begun.
pub(crate) fn has_begun() -> bool {
    let program = |path: &str| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    match (program("/proc/1/exe"), program("/proc/self/exe")) {
        (Ok(first), Ok(own)) => first != own,
        _ => true,
    }
}

/// Re-executes this program under a name that begins with '@': systemd's final kill spares such processes
/// (systemd.io/ROOT_STORAGE_DAEMONS), so that the line is served to the end.
fn become_spared(name: &CStr, words: &[OsString]) -> ! {
    // Away from the session of the real init, so that no terminal's hang-up concerns it.
    let _ = setsid();
    let mut arguments = vec![name.to_owned()];
    // Words of a command line contain no NUL.
    arguments.extend(words.iter().filter_map(|word| CString::new(word.as_bytes()).ok()));
    let _ = execv(c"/proc/self/exe", &arguments);
    // SAFETY: ends the process at once, without running what the parent registered to run at its end.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(127)
    }
}

/// First word of the keeper, by which this program knows what it is to be.
pub(crate) const KEEPER: &CStr = c"@pumice-keeper";

const AGENT: &CStr = c"@pumice-agent";

/// An agent that lived so long is started again at once; another after 1, 3, 7 … seconds, so that one that cannot live
/// costs nothing.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// ... and in the end once in so many seconds.
const PAUSE_MAX_S: u64 = 60;

/// Masks, for this boot, the login prompt that systemd starts on every console by itself: it would read what is meant
/// for the agent. TIOCEXCL does not keep out root.
fn keep_getty_off(terminal: &str) {
    let is_mounted = match (fs::metadata("/run"), fs::metadata("/")) {
        (Ok(run), Ok(root)) => run.dev() != root.dev(),
        _ => false,
    };
    if !is_mounted {
        // As systemd itself would, which leaves one that is there.
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        let _ = disk::mount_with("tmpfs", "/run", "tmpfs", flags, "mode=755");
    }
    let _ = directory::make_all(UNITS);
    for (before, name, after) in [
        ("/serial-getty@", terminal, ".service"),
        ("/getty@", terminal, ".service"),
        ("/console-getty", "", ".service"),
    ] {
        let _ = std::os::unix::fs::symlink("/dev/null", [UNITS, before, name, after].concat());
    }
}

/// systemd's units for this boot only (`man 5 systemd.unit`).
const UNITS: &str = "/run/systemd/system";

fn mount_if_missing(sign: &str, kind: &str, target: &str) {
    if fs::metadata(sign).is_err() {
        // On failure (no such directory, mounted meanwhile) the agent has less to tell, and still runs.
        let _ = disk::mount_with(kind, target, kind, 0, "");
    }
}
