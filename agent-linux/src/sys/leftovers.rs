//! Processes that outlive who started them: they are found and ended, by the test's cgroup where there is cgroup v2
//! (kernel: Documentation/admin-guide/cgroup-v2.rst), otherwise as orphans that come to this process (`man 2 prctl`,
//! PR_SET_CHILD_SUBREAPER).

use super::directory::{Directory, is_directory};
use super::{file, path as paths, poll};
use crate::text;
use nix::libc;
use std::ffi::CString;

/// From now on what descendants of this process leave behind becomes its child.
pub(crate) fn adopt() {
    // SAFETY: plain numbers. A kernel older than 3.4 says no, and orphans go to init as ever.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
}

/// Kills all children of this process but those that are `spared`, and what they leave behind in turn.
pub(crate) fn end_orphans(spared: impl Fn(i32) -> bool) {
    let own = own_pid();
    end_all(|| {
        let mut found = Vec::new();
        let Ok(mut entries) = Directory::open("/proc") else { return found };
        while let Ok(Some(name)) = entries.next() {
            let Some(pid) = number(name) else { continue };
            let stat = ["/proc/", &text::lossy(name), "/stat"].concat();
            if parent(&file::read(stat)) == Some(own) && !spared(pid) {
                found.push(pid);
            }
        }
        found
    });
}

/// Whether this process has any child, one that was not waited for included.
pub(crate) fn has_children() -> bool {
    // SAFETY: siginfo is plain data, for which zeros are a value, and the kernel fills it; nobody is reaped (WNOWAIT).
    #[allow(unsafe_code)]
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
            == 0
    }
}

/// The cgroup of one test.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: String,
}

impl Cgroup {
    /// Makes one for `suite`, if there is a cgroup v2 that may be changed. The agent mounts none: it would change what
    /// the image under test sees.
    pub(crate) fn new(suite: &str) -> Option<Self> {
        let top = top()?;
        let _ = paths::make_directory(&top);
        let path = [&top, "/", suite].concat();
        let _ = paths::make_directory(&path);
        is_directory(&path).then_some(Self { path })
    }

    /// Ends all that an agent left behind that was killed.
    pub(crate) fn end_all() {
        let Some(top) = top() else { return };
        let Ok(mut entries) = Directory::open(&top) else { return };
        while let Ok(Some(name)) = entries.next() {
            // Those of tests have names of suites; the kernel's own files there are no directories.
            Self { path: [&top, "/", &text::lossy(name)].concat() }.end();
        }
    }

    /// The file into which a process writes "0" to enter.
    pub(crate) fn door(&self) -> Option<CString> {
        CString::new([&self.path, "/cgroup.procs"].concat()).ok()
    }

    /// Kills all that is in it, and removes it.
    pub(crate) fn end(self) {
        // Since Linux 5.14; whoever forks faster than he is killed does not escape it.
        let _ = file::write(&[&self.path, "/cgroup.kill"].concat(), "1");
        let procs = [&self.path, "/cgroup.procs"].concat();
        end_all(|| file::read(&procs).split(|byte| *byte == b'\n').filter_map(number).collect());
        let _ = paths::remove_directory(&self.path);
    }
}

/// Where the cgroups of tests are: below the root of cgroup v2, where neither systemd nor anybody else looks for their
/// own.
fn top() -> Option<String> {
    // The second where v1 is mounted too.
    let bases = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let has_cgroups = |base: &str| paths::exists([base, "/cgroup.controllers"].concat());
    let base = bases.iter().find(|base| has_cgroups(base))?;
    Some([base, "/pumice"].concat())
}

/// Kills what `find` finds until it finds nothing more. What the kernel does not let go of (it waits for a device) is
/// left behind in the end.
fn end_all(mut find: impl FnMut() -> Vec<i32>) {
    for _ in 0..ROUNDS {
        let found = find();
        if found.is_empty() {
            return;
        }
        for pid in found {
            // SAFETY: plain numbers, and never 0 or below, which would mean others.
            #[allow(unsafe_code)]
            unsafe {
                libc::kill(pid, libc::SIGKILL);
            }
        }
        // A process dies in its own time. The line is without an agent for 100 ms at most.
        poll::pause(1000);
    }
}

pub(super) fn own_pid() -> i32 {
    // SAFETY: it cannot fail.
    #[allow(unsafe_code)]
    unsafe {
        libc::getpid()
    }
}

/// A positive decimal number.
fn number(bytes: &[u8]) -> Option<i32> {
    text::parse(bytes).filter(|number| *number > 0)
}

/// The parent of a process that lives, from its `/proc/<pid>/stat`: `pid (name) state parent …`, and the name may hold
/// anything.
fn parent(stat: &[u8]) -> Option<i32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut words = stat.get(end + 2..)?.split(|byte| *byte == b' ');
    // Zombies are dead already; they wait to be reaped.
    let is_alive = !matches!(words.next()?, b"Z" | b"X");
    number(words.next()?).filter(|_| is_alive)
}

/// How often is looked; a killed process is gone after one or two.
const ROUNDS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::child::{Start, Started, start, wait};
    use std::io::Read as _;

    fn shell(script: &str, cgroup: Option<&Cgroup>) -> Started {
        let argv = ["sh\0-c\0", script, "\0"].concat();
        let door = cgroup.and_then(Cgroup::door);
        start(&Start {
            argv: argv.as_bytes(),
            environment: b"PATH=/usr/bin:/bin\0",
            more_environment: b"",
            directory: c"/",
            piped: [false, true, false],
            is_apart: true,
            has_own_group: true,
            cgroup: door.as_deref(),
        })
        .unwrap()
    }

    /// What a shell printed until nobody held its output open any more: process ids.
    fn printed(mut started: Started) -> Vec<i32> {
        assert!(wait(started.pid, true).is_some());
        let mut text = Vec::new();
        let pipe = std::os::fd::OwnedFd::from(started.pipes[1].take().unwrap());
        let mut pipe = std::fs::File::from(pipe);
        while let Err(error) = pipe.read_to_end(&mut text) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            std::thread::yield_now();
        }
        text.split(|byte| *byte == b'\n').filter_map(number).collect()
    }

    fn is_alive(pid: i32) -> bool {
        parent(&file::read(["/proc/", &pid.to_string(), "/stat"].concat())).is_some()
    }

    /// Two daemons in sessions of their own, one with a child.
    const DAEMONS: &str = "setsid sh -c 'exec 3>&1 >/dev/null 2>&1; sleep 1000 3>&- & echo $! >&3; exec 3>&-; wait' & \
                           echo $!; setsid sleep 1000 >/dev/null 2>&1 & echo $!";

    #[test]
    fn the_parent_stands_behind_any_name() {
        assert_eq!(parent(b"77 (a) S 1 (b) R 5 77 77 0"), Some(5));
        assert_eq!(parent(b"77 (sh) Z 5 77"), None);
        for bad in [&b""[..], b"77 (sh", b"77 (sh)", b"77 (sh) S", b"77 (sh) S x"] {
            assert_eq!(parent(bad), None);
        }
    }

    #[test]
    fn what_a_child_left_behind_is_ended_with_all_of_its_own() {
        adopt();
        let pids = printed(shell(DAEMONS, None));
        assert_eq!(pids.len(), 3);
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        // This process has the children of other tests, too.
        end_orphans(|pid| !pids.contains(&pid));
        assert!(!pids.iter().any(|pid| is_alive(*pid)));
    }

    /// Needs the right to make a cgroup; where there is none, there is nothing to test.
    #[test]
    fn a_cgroup_ends_with_all_that_is_in_it() {
        let suite = ["unit-test-", &std::process::id().to_string()].concat();
        let Some(cgroup) = Cgroup::new(&suite) else { return };
        let path = cgroup.path.clone();
        let pids = printed(shell(DAEMONS, Some(&cgroup)));
        assert_eq!(pids.len(), 3);
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        cgroup.end();
        assert!(!pids.iter().any(|pid| is_alive(*pid)));
        assert!(!is_directory(&path));
    }
}
