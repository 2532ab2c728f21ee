//! Children: fork, exec, signal, wait. Not `std::process::Command`, which costs 20 KiB of program, cannot reset what
//! the agent changed for itself, and hides the resource usage of `wait4(2)`.

use super::errno::{Errno, OsResult, done};
use super::file::{self, File};
use super::signals;
use nix::libc;
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr;

/// What to start.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// Words, each ended by a NUL, at least one; the first is looked up in the PATH of `environment`.
    pub(crate) argv: &'a [u8],
    /// `NAME=value` words, each ended by a NUL.
    pub(crate) environment: &'a [u8],
    /// More of them, which win over those of the same name.
    pub(crate) more_environment: &'a [u8],
    /// Working directory.
    pub(crate) directory: &'a CStr,
    /// Whether standard input, output and error are pipes to the agent.
    pub(crate) piped: [bool; 3],
    /// Nothing of this process's own is passed on: input, output and error without a pipe are /dev/null, no signal is
    /// ignored. Otherwise all of that stays as it is, but for SIGPIPE, which this process ignores.
    pub(crate) is_apart: bool,
    /// In a process group of its own.
    pub(crate) has_own_group: bool,
    /// The `cgroup.procs` of the cgroup that it is to run in.
    pub(crate) cgroup: Option<&'a CStr>,
}

/// A child that runs.
#[derive(Debug)]
pub(crate) struct Started {
    /// Its process id, also that of its group if it has one of its own.
    pub(crate) pid: i32,
    /// The agent's ends of its pipes, not blocking.
    pub(crate) pipes: [Option<File>; 3],
}

/// A child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit status, or the number of the signal that ended it.
    pub(crate) code: u8,
    /// Whether it was a signal.
    pub(crate) signaled: bool,
    /// Time in user mode, µs.
    pub(crate) user_us: u64,
    /// Time in the kernel, µs.
    pub(crate) system_us: u64,
    /// Peak resident memory, KiB.
    pub(crate) max_rss_kib: u64,
}

/// Starts a child.
///
/// # Errors
/// Whatever kept it from running, up to the `exec` itself (`NotFound`: no such program or directory).
pub(crate) fn start(start: &Start<'_>) -> OsResult<Started> {
    let (mut argv, mut environment) = (Vec::new(), Vec::new());
    push_pointers(&mut argv, words(start.argv));
    let is_kept =
        |word: &&[u8]| !words(start.more_environment).any(|other| is_same_name(word, other));
    push_pointers(&mut environment, words(start.environment).filter(is_kept));
    push_pointers(&mut environment, words(start.more_environment));
    for list in [&mut argv, &mut environment] {
        list.push(ptr::null());
    }
    let programs = programs(start);
    let null = file::open("/dev/null", file::READ_WRITE)?;
    let mut mine = [const { None }; 3];
    let mut theirs = [const { None }; 3];
    for index in 0..3 {
        if start.piped[index] {
            let (reader, writer) = pipe()?;
            let (own, other) = if index == 0 { (writer, reader) } else { (reader, writer) };
            set_non_blocking(&own)?;
            mine[index] = Some(own);
            theirs[index] = Some(other);
        }
    }
    let stdio: [RawFd; 3] =
        [0, 1, 2].map(|index| theirs[index].as_ref().unwrap_or(&null).as_raw_fd());
    let (told, tell) = pipe()?;

    // SAFETY: the agent has a single thread, so no lock can be held by another; the child only makes system calls on
    // memory that was prepared above, and never returns.
    #[allow(unsafe_code)]
    let pid = unsafe {
        let pid = fork();
        if pid == 0 {
            let errno = become_child(&programs, &argv, &environment, start, stdio);
            let errno = errno.to_ne_bytes();
            libc::write(tell.as_raw_fd(), errno.as_ptr().cast(), errno.len());
            libc::_exit(127);
        }
        pid
    };
    if pid < 0 {
        return Err(Errno::last());
    }
    drop(tell);
    if start.has_own_group {
        // Also done by the child itself: whoever comes first, a signal to the group finds it.
        // SAFETY: plain numbers.
        #[allow(unsafe_code)]
        unsafe {
            libc::setpgid(pid, pid);
        }
    }
    // The pipe closes with a successful exec. Until then takes as long as the kernel needs to load a program.
    let mut errno = [0; 4];
    if told.read(&mut errno)? == errno.len() {
        let _ = wait(pid, true);
        return Err(Errno::new(i32::from_ne_bytes(errno)));
    }
    Ok(Started { pid, pipes: mine })
}

/// What the child process `pid` came to, or `None` while it runs. `block` waits for it.
pub(crate) fn wait(pid: i32, block: bool) -> Option<Ended> {
    wait_any(pid, block).map(|(_, ended)| ended)
}

/// A child process that has ended, and what it came to: `pid`, or with [`ANY`] whoever it is.
pub(crate) fn wait_any(pid: i32, block: bool) -> Option<(i32, Ended)> {
    let mut status: c_int = 0;
    // The kernel's own struct rusage (include/uapi/linux/resource.h): seconds and microseconds of two times, then the peak
    // of memory in KiB, all longs. musl 1.2.3 has times of 64 bits where longs have 32, and hands out zeros there.
    let mut usage: [libc::c_long; 18] = [0; 18];
    let options = if block { 0 } else { libc::WNOHANG };
    // SAFETY: wait4(2) writes to these two, which are as large as it expects.
    #[allow(unsafe_code)]
    let waited = unsafe {
        libc::syscall(libc::SYS_wait4, pid, &raw mut status, options, usage.as_mut_ptr())
    };
    if waited <= 0 {
        return None;
    }
    let signaled = libc::WIFSIGNALED(status);
    let code = if signaled { libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    // Resource usage is never negative.
    let us = |at: usize| usage[at] as u64 * 1_000_000 + usage[at + 1] as u64;
    let ended = Ended {
        code: code as u8,
        signaled,
        user_us: us(0),
        system_us: us(2),
        max_rss_kib: usage[4] as u64,
    };
    Some((waited as i32, ended))
}

/// Sends `signal` to the process group `pid`.
pub(crate) fn signal_group(pid: i32, signal: u8) {
    // SAFETY: plain numbers; `pid` is a child's, so never 0 or 1, which would mean others. A group that is gone is no
    // error, there is nobody left to be told.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(-pid, i32::from(signal));
    }
}

/// Every child, for [`wait_any`].
pub(crate) const ANY: i32 = -1;

/// SIGKILL, for [`signal_group`].
pub(crate) const KILL: u8 = libc::SIGKILL as u8;

/// The words in `bytes`, each with the NUL that ends it.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == 0).filter(|word| word.ends_with(&[0]))
}

/// In the child, between fork and exec. Returns an `errno`; an exec that succeeds does not return.
///
/// # Safety
/// Only in a process that was just forked, with lists that end with a null pointer.
#[allow(unsafe_code)]
unsafe fn become_child(
    programs: &[u8],
    argv: &[*const c_char],
    environment: &[*const c_char],
    start: &Start<'_>,
    stdio: [RawFd; 3],
) -> i32 {
    // SAFETY: system calls on plain numbers and on strings that live in the caller.
    unsafe {
        if start.has_own_group {
            libc::setpgid(0, 0);
        }
        set_handler(libc::SIGPIPE, libc::SIG_DFL);
        if start.is_apart {
            stand_apart(start.cgroup);
            for (index, fd) in stdio.iter().enumerate() {
                // The copies, unlike the originals, are kept across exec. The originals are above 2, because 0
                // to 2 are opened at the start when they are closed.
                if libc::dup2(*fd, index as RawFd) < 0 {
                    return errno();
                }
            }
        }
        if libc::chdir(start.directory.as_ptr()) < 0 {
            return errno();
        }
        // As execvp(3) does: what is not there is elsewhere, and what may not be executed is worth telling.
        let mut problem = libc::ENOENT;
        for program in words(programs) {
            libc::execve(program.as_ptr().cast(), argv.as_ptr(), environment.as_ptr());
            match errno() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => problem = libc::EACCES,
                other => return other,
            }
        }
        problem
    }
}

/// What may be the program, each ended by a NUL: its first word if that names a folder, otherwise that in each folder of
/// the PATH of its new environment, as people expect.
fn programs(start: &Start<'_>) -> Vec<u8> {
    let name = words(start.argv).next().unwrap_or(b"\0");
    if name.contains(&b'/') {
        return name.to_vec();
    }
    let mut environment = words(start.more_environment).chain(words(start.environment));
    let path = environment.find_map(|word| word.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let mut programs = Vec::new();
    for folder in path[..path.len() - 1].split(|byte| *byte == b':') {
        programs.extend_from_slice(folder);
        // Nothing is the working directory.
        if !folder.is_empty() {
            programs.push(b'/');
        }
        programs.extend_from_slice(name);
    }
    programs
}

/// Where programs are looked for without a PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/bin:/usr/bin\0";

/// In the child: signals and the OOM killer's view of it as of a process that nobody has changed.
///
/// # Safety
/// Only in a process that was just forked.
#[allow(unsafe_code)]
unsafe fn stand_apart(cgroup: Option<&CStr>) {
    // SAFETY: system calls on plain numbers and constants.
    unsafe {
        signals::block_none();
        // What is ignored stays so across exec: SIGPIPE is, by this process, and SIGINT where a script started
        // the agent with '&'. Two signals cannot be set, and stay as they are.
        for signal in 1..32 {
            set_handler(signal, libc::SIG_DFL);
        }
        // Without an agent nobody would end it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // The agent may be spared by the OOM killer; what it starts is not. In a cgroup "0" is who writes it.
        for path in [Some(c"/proc/self/oom_score_adj"), cgroup].into_iter().flatten() {
            let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if file >= 0 {
                libc::write(file, c"0".as_ptr().cast(), 1);
            }
        }
    }
}

/// `fork(2)`, without what the C library does for programs with threads.
///
/// # Safety
/// In a program with other threads, as the tests are, the child must only make system calls, and end or execute another
/// program.
#[allow(unsafe_code)]
pub(super) unsafe fn fork() -> i32 {
    let none = ptr::null_mut::<u8>();
    // SAFETY: the caller's promise; without a stack of its own the child has a copy of this one.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, none, none, none, none) as i32 }
}

/// What a signal does from now on: SIG_DFL or SIG_IGN. Without the C library's room for handlers.
///
/// # Safety
/// Nobody relies on another handler of it.
#[allow(unsafe_code)]
pub(super) unsafe fn set_handler(signal: i32, handler: libc::sighandler_t) {
    // The kernel's `struct sigaction` begins with the handler on ARM and x86; no flags, an empty mask.
    let action = [handler, 0, 0, 0, 0];
    // SAFETY: it is no longer than that; a mask has 8 bytes.
    unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), ptr::null::<u8>(), 8_usize);
    }
}

fn errno() -> i32 {
    Errno::last().number()
}

/// Appends pointers to words that end with a NUL.
pub(super) fn push_pointers<'a>(
    list: &mut Vec<*const c_char>,
    words: impl Iterator<Item = &'a [u8]>,
) {
    for word in words {
        list.push(word.as_ptr().cast());
    }
}

fn is_same_name(word: &[u8], other: &[u8]) -> bool {
    let name = |word: &[u8]| word.iter().position(|byte| *byte == b'=').unwrap_or(word.len());
    word[..name(word)] == other[..name(other)]
}

/// The end to read from, and that to write to.
#[allow(unsafe_code)]
fn pipe() -> OsResult<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel fills two numbers, which are new descriptors and nobody else's.
    unsafe {
        done(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC).into())?;
        Ok((File::own(ends[0] as usize), File::own(ends[1] as usize)))
    }
}

fn set_non_blocking(fd: &File) -> OsResult<()> {
    let yes: c_int = 1;
    // SAFETY: the kernel reads one int.
    #[allow(unsafe_code)]
    unsafe {
        fd.control(libc::FIONBIO as u32, (&raw const yes).addr())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program in a group of its own, without pipes.
    fn plain<'a>(argv: &'a [u8], environment: &'a [u8]) -> Start<'a> {
        Start {
            argv,
            environment,
            more_environment: b"",
            directory: c"/",
            piped: [false; 3],
            is_apart: true,
            has_own_group: true,
            cgroup: None,
        }
    }

    fn run(argv: &[u8], more: &[u8]) -> (String, Ended) {
        let mut started = start(&Start {
            more_environment: more,
            directory: c"/tmp",
            piped: [false, true, false],
            ..plain(argv, b"PATH=/usr/bin:/bin\0A=1\0B=2\0")
        })
        .unwrap();
        let ended = wait(started.pid, true).unwrap();
        let mut text = String::new();
        let pipe = std::os::fd::OwnedFd::from(started.pipes[1].take().unwrap());
        std::io::Read::read_to_string(&mut std::fs::File::from(pipe), &mut text).unwrap();
        (text, ended)
    }

    #[test]
    fn a_child_gets_its_words_environment_and_directory() {
        let script = b"sh\0-c\0echo $A $B $C; pwd; exit 3\0";
        let (text, ended) = run(script, b"B=5\0C=6\0");
        assert_eq!(text, "1 5 6\n/tmp\n");
        assert_eq!((ended.code, ended.signaled), (3, false));
        assert!(ended.max_rss_kib > 0);
    }

    #[test]
    fn a_signal_reaches_the_whole_group() {
        let started = start(&plain(b"sh\0-c\0sleep 60 & wait\0", b"PATH=/usr/bin:/bin\0")).unwrap();
        assert_eq!(wait(started.pid, false), None);
        signal_group(started.pid, 15);
        let ended = wait(started.pid, true).unwrap();
        assert_eq!((ended.code, ended.signaled), (15, true));
    }

    #[test]
    fn a_program_is_looked_for_where_its_new_environment_says() {
        let start = plain(b"sh\0-c\0", b"PATH=/old\0");
        let start = Start { more_environment: b"A=1\0PATH=/a::/b/\0", ..start };
        assert_eq!(programs(&start), b"/a/sh\0sh\0/b//sh\0");
        let start = Start { more_environment: b"", ..start };
        assert_eq!(programs(&start), b"/old/sh\0");
        let start = Start { environment: b"", ..start };
        assert_eq!(programs(&start), b"/usr/local/bin/sh\0/bin/sh\0/usr/bin/sh\0");
        let start = Start { argv: b"./sh\0-c\0", ..start };
        assert_eq!(programs(&start), b"./sh\0");
    }

    #[test]
    fn what_may_not_be_executed_is_told_unless_there_is_another() {
        let folder = crate::files::tests::directory("exec");
        std::fs::write(folder.join("true"), "of mode 0644").unwrap();
        let code = |others: &str| {
            let environment = ["PATH=", folder.to_str().unwrap(), others, "\0"].concat();
            let started = start(&plain(b"true\0", environment.as_bytes()));
            started.map(|started| wait(started.pid, true).unwrap().code)
        };
        assert_eq!(code(":/no/such").unwrap_err(), Errno::new(libc::EACCES));
        assert_eq!(code(":/bin:/usr/bin").unwrap(), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_of_the_start() {
        let missing =
            Start { piped: [true; 3], ..plain(b"no-such-program\0", b"PATH=/usr/bin:/bin\0") };
        assert_eq!(start(&missing).unwrap_err(), Errno::ENOENT);
        let nowhere = Start { argv: b"true\0", directory: c"/proc/no-such", ..missing };
        assert_eq!(start(&nowhere).unwrap_err(), Errno::ENOENT);
    }
}
