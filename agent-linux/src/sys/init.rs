//! The `init=` start: the agent as the first process, which becomes three: the real init, beside it a keeper, and the
//! agent, which the keeper starts again when it dies before its time.

use super::child::{self, ANY};
use super::{clock, directory, disk, file, leftovers, path, poll, signals};
use crate::trial;
use agent_core::time::Duration;
use nix::libc;
use std::ffi::CStr;
use std::os::fd::AsRawFd as _;
use std::ptr;

/// Whether this is process 1.
pub(crate) fn is_first_process() -> bool {
    leftovers::own_pid() == 1
}

/// Forks the keeper, which runs this program again with `words`, and becomes the real init. Returns, with a reason,
/// only when there is none.
///
/// `line` is the device of the line, on which no login prompt may appear.
pub(crate) fn start(words: &[&[u8]], line: impl FnOnce() -> Option<String>) -> &'static str {
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
        // SAFETY: constant texts, and a null pointer at the end of their list.
        #[allow(unsafe_code)]
        unsafe {
            libc::execv(init.as_ptr(), [init.as_ptr(), ptr::null()].as_ptr());
        }
    }
    "neither /sbin/init nor /etc/init nor /bin/init nor /bin/sh could be executed"
}

/// The keeper: starts the agent with `words`, and again when a signal or a failure ended it, until it ends by itself.
/// Returns then. The line is the agent's alone.
pub(crate) fn keep(words: &[&[u8]]) {
    settle("pumice-keeper");
    leftovers::adopt();
    // A test may signal every process there is. The agent inherits it; what it starts gets an empty mask.
    signals::block_all();
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
    let null = file::open("/dev/null", file::READ_WRITE);
    // SAFETY: a constant text, and plain numbers; what was open by these belongs to nobody.
    #[allow(unsafe_code)]
    unsafe {
        libc::chdir(c"/".as_ptr());
        if let Ok(null) = null {
            for number in 0..=libc::STDERR_FILENO {
                libc::dup2(null.as_raw_fd(), number);
            }
        }
    }
    // Instead of "exe", by which it was executed.
    let _ = file::write("/proc/self/comm", name);
    // Without the right to do so the agent lives on at the common score.
    let _ = file::write("/proc/self/oom_score_adj", "-1000");
}

/// Whether process 1 has become the real init. Where that cannot be told it counts as begun.
pub(crate) fn has_begun() -> bool {
    let program = |path: &str| path::stat(path).map(|found| found.place);
    match (program("/proc/1/exe"), program("/proc/self/exe")) {
        (Ok(first), Ok(own)) => first != own,
        _ => true,
    }
}

/// Re-executes this program under a name that begins with '@': systemd's final kill spares such processes
/// (systemd.io/ROOT_STORAGE_DAEMONS), so that the line is served to the end.
fn become_spared(name: &CStr, words: &[&[u8]]) -> ! {
    // Away from the session of the real init, so that no terminal's hang-up concerns it.
    let mut arguments = name.to_bytes_with_nul().to_vec();
    for word in words {
        // They contain none.
        arguments.extend_from_slice(word);
        arguments.push(0);
    }
    let mut pointers = Vec::new();
    child::push_pointers(&mut pointers, child::words(&arguments));
    pointers.push(ptr::null());
    // SAFETY: texts that end with a NUL, and a null pointer at the end of their list. `_exit` ends the process at once,
    // without running what the parent registered to run at its end.
    #[allow(unsafe_code)]
    unsafe {
        libc::setsid();
        libc::execv(c"/proc/self/exe".as_ptr(), pointers.as_ptr());
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
    let is_mounted = match (path::stat("/run"), path::stat("/")) {
        (Ok(run), Ok(root)) => run.place.0 != root.place.0,
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
        let _ = path::link(b"/dev/null", &[UNITS, before, name, after].concat());
    }
}

/// systemd's units for this boot only (`man 5 systemd.unit`).
const UNITS: &str = "/run/systemd/system";

fn mount_if_missing(sign: &str, kind: &str, target: &str) {
    if !path::exists(sign) {
        // On failure (no such directory, mounted meanwhile) the agent has less to tell, and still runs.
        let _ = disk::mount_with(kind, target, kind, 0, "");
    }
}
