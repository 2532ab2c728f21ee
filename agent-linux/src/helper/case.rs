//! `lava-test-case` and `lava-test-reference`: a case with its result.

use super::End;
use super::tell::{failed, print_end, tell};
use crate::sys::child::{self, Start};
use crate::sys::errno::{Errno, OsResult};
use crate::sys::file::File;
use crate::sys::output::{self, STDOUT};
use crate::sys::{clock, file};
use agent_core::wire::response::Exit;
use agent_core::wire::test_signal::TestSignal;

/// `lava-test-case`. `raw` are the words as they came, for a command.
pub(super) fn run(words: &[&str], raw: &[&[u8]]) -> Result<(), End> {
    let [name, rest @ ..] = words else { return Err(End::Usage(USAGE)) };
    if let ["--shell", _, ..] = rest {
        return run_command(name, &raw[2..]);
    }
    let options = Options::parse(rest, &["--result", "--measurement", "--units", "--output"]);
    let [Some(result), measurement, units, output] = options.ok_or(End::Usage(USAGE))?.values
    else {
        return Err(End::Usage(USAGE));
    };
    let result = result_of(result).ok_or(End::Usage(USAGE))?;
    let (measurement, units) = (measurement.unwrap_or_default(), units.unwrap_or_default());
    if let Some(path) = output {
        // What cannot be shown must not look like a case that said nothing.
        let file = file::open(path, file::READ).map_err(|error| about(path, error))?;
        tell(&TestSignal { kind: TestSignal::CASE_STARTED, name, ..TestSignal::default() })?;
        show(&file).map_err(|error| about(path, error))?;
        print_end(name);
    }
    let kind = TestSignal::CASE_ENDED;
    tell(&TestSignal { kind, name, result, measurement, units, ..TestSignal::default() })
}

/// `lava-test-reference`.
pub(super) fn reference(words: &[&str]) -> Result<(), End> {
    let [name, rest @ ..] = words else { return Err(End::Usage(REFERENCE_USAGE)) };
    let options = Options::parse(rest, &["--result", "--reference", "", ""]);
    let values = options.ok_or(End::Usage(REFERENCE_USAGE))?.values;
    let ([Some(result), Some(text), ..], kind) = (values, TestSignal::REFERENCE) else {
        return Err(End::Usage(REFERENCE_USAGE));
    };
    let result = result_of(result).ok_or(End::Usage(REFERENCE_USAGE))?;
    tell(&TestSignal { kind, name, result, text, ..TestSignal::default() })
}

/// As LAVA's: one word is a shell's text, several are a command and its words; the helper's own status says nothing about
/// the result.
fn run_command(name: &str, command: &[&[u8]]) -> Result<(), End> {
    tell(&TestSignal { kind: TestSignal::CASE_STARTED, name, ..TestSignal::default() })?;
    let begun = clock::now();
    let variable = ["TEST_CASE_ID=", name, "\0"].concat();
    let text = if command.len() == 1 { command[0] } else { br#""$@""# };
    let words = if command.len() == 1 { &[] } else { command };
    let exit = match shell(text, words, variable.as_bytes()) {
        Ok(exit) => exit,
        Err(error) => {
            let code = error.number() as u8;
            Exit { end: Exit::NOT_STARTED, code, ..Exit::default() }
        }
    };
    let is_pass = exit.end == Exit::EXITED && exit.code == 0;
    let result = if is_pass { TestSignal::PASS } else { TestSignal::FAIL };
    // 0 would mean that there was no command.
    let elapsed_us = clock::now().since(begun).as_micros().max(1);
    let exit = Exit { elapsed_us, ..exit };
    print_end(name);
    tell(&TestSignal { kind: TestSignal::CASE_ENDED, name, result, exit, ..TestSignal::default() })
}

/// Runs a shell's text to its end, on this process's own input, output and process group.
pub(super) fn shell(text: &[u8], words: &[&[u8]], variable: &[u8]) -> OsResult<Exit> {
    let mut argv = [b"/bin/sh\0-c\0", text, b"\0sh\0"].concat();
    for word in words {
        argv.extend_from_slice(word);
        argv.push(0);
    }
    let started = child::start(&Start {
        argv: &argv,
        environment: &file::read("/proc/self/environ"),
        more_environment: variable,
        directory: c".",
        piped: [false; 3],
        is_apart: false,
        has_own_group: false,
        cgroup: None,
    })?;
    let Some(ended) = child::wait(started.pid, true) else {
        return Err(Errno::last());
    };
    Ok(Exit {
        end: if ended.signaled { Exit::SIGNALED } else { Exit::EXITED },
        code: ended.code,
        user_us: ended.user_us,
        system_us: ended.system_us,
        max_rss_kib: ended.max_rss_kib,
        elapsed_us: 0,
    })
}

/// What stands behind up to four options, each given at most once.
struct Options<'a> {
    values: [Option<&'a str>; 4],
}

impl<'a> Options<'a> {
    fn parse(words: &[&'a str], names: &[&str; 4]) -> Option<Self> {
        let mut values = [None; 4];
        for pair in words.chunks(2) {
            let [name, value] = *pair else { return None };
            let index = names.iter().position(|known| *known == name && !name.is_empty())?;
            values[index] = Some(value);
        }
        Some(Self { values })
    }
}

fn result_of(word: &str) -> Option<u8> {
    (0..4).find(|result| TestSignal::result_word(*result) == word)
}

fn show(file: &File) -> OsResult<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        output::write(STDOUT, &buffer[..length])?;
    }
}

pub(super) fn about(path: &str, error: Errno) -> End {
    failed(path, error.number())
}

const USAGE: &str = "ID --shell COMMAND... | ID --result pass|fail|skip|unknown [--measurement NUMBER] [--units UNITS] \
                     [--output FILE]";
const REFERENCE_USAGE: &str = "ID --result pass|fail|skip|unknown --reference URL";
