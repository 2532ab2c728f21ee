//! `lava-background-process-start` and `-stop`: a process beside the test.
//!
//! As LAVA's, the command runs again a second after it ended, so that `free -m` gives a value every second; unlike
//! LAVA's, which starts it every second anyway, one that goes on runs once. It has a process group of its own, which the
//! stop ends.

use super::tell::{failed, problem};
use super::{End, attach, variable};
use crate::sys::child::{self, Start};
use crate::sys::directory::make_all;
use crate::sys::errno::Errno;
use crate::sys::file;
use crate::sys::path as paths;
use crate::text;

/// `NAME --cmd COMMAND...`.
pub(super) fn start(words: &[&str], raw: &[&[u8]]) -> Result<(), End> {
    let [name, "--cmd", _, ..] = words else { return Err(End::Usage("NAME --cmd COMMAND...")) };
    let path = pid_file(name)?;
    let mut argv = b"/bin/sh\0-c\0while :; do eval \"$*\"; sleep 1; done\0sh\0".to_vec();
    for word in &raw[2..] {
        argv.extend_from_slice(word);
        argv.push(0);
    }
    let started = child::start(&Start {
        argv: &argv,
        environment: &file::read("/proc/self/environ"),
        more_environment: b"",
        directory: c".",
        piped: [false; 3],
        is_apart: false,
        has_own_group: true,
        cgroup: None,
    });
    let os = |error: Errno| failed(name, error.number());
    let pid = started.map_err(os)?.pid;
    let written =
        file::open(&path, file::FRESH).and_then(|file| file.write_all(text::errno(pid).as_bytes()));
    if written.is_err() {
        // Nobody could stop it.
        child::signal_group(pid, child::KILL);
    }
    written.map_err(os)
}

/// `NAME [--attach FILE [MIME]]...`.
pub(super) fn stop(words: &[&str], raw: &[&[u8]]) -> Result<(), End> {
    let usage = || End::Usage("NAME [--attach FILE [TYPE]]...");
    let [name, rest @ ..] = words else { return Err(usage()) };
    if rest.first().is_some_and(|word| *word != "--attach") {
        return Err(usage());
    }
    let path = pid_file(name)?;
    let pid = text::parse(file::read(&path)).unwrap_or(0);
    if pid < 2 {
        return Err(problem("no such process was started"));
    }
    child::signal_group(pid, TERM);
    let _ = paths::remove_file(path);
    for (index, word) in words.iter().enumerate() {
        if *word == "--attach" {
            let files = raw.get(index + 1..index + 2).filter(|files| !files.is_empty());
            attach::keep(name, files.ok_or_else(usage)?)?;
        }
    }
    Ok(())
}

fn pid_file(name: &str) -> Result<String, End> {
    let folder = variable("LAVA_RESULT_DIR=").unwrap_or_else(|| "/tmp".to_owned());
    let folder = folder + "/background";
    make_all(&folder).map_err(|error| failed("LAVA_RESULT_DIR", error.number()))?;
    Ok([&folder, "/", &attach::plain(name)].concat())
}

const TERM: u8 = 15;
