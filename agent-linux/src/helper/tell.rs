//! How a helper tells the agent something, or prints it where there is none.

use super::{End, variable};
use crate::files::split_name;
use crate::sys::output::{self, STDOUT};
use crate::sys::poll::Interests;
use crate::sys::socket;
use crate::text;
use agent_core::wire::codec;
use agent_core::wire::test_signal::{SIGNAL_MAX, TestSignal};
use std::io::{self, ErrorKind};

/// Tells it, and returns when it is on the disk.
pub(super) fn tell(signal: &TestSignal<'_>) -> Result<(), End> {
    let mut buffer = [0; SIGNAL_MAX];
    // First of all: by hand it is to be as strict as in a run.
    let packet = codec::encode(signal, &mut buffer).ok();
    let Some(packet) = packet.filter(|packet| TestSignal::parse(packet).is_ok()) else {
        return Err(problem(BAD));
    };
    let Some(path) = variable("PUMICE_SOCKET=") else {
        print(signal);
        return Ok(());
    };
    let (directory, name) = split_name(&path);
    if directory.is_empty() {
        return Err(problem("PUMICE_SOCKET is no path"));
    }
    for _ in 0..TRIES {
        match exchange(directory, name, packet) {
            Ok(Some(0)) => return Ok(()),
            Ok(Some(EAGAIN)) => {}
            Ok(Some(EINVAL)) => return Err(problem(BAD)),
            Ok(Some(ENOENT)) => return Err(problem("no test runs; nothing was noted")),
            Ok(Some(errno)) => {
                return Err(failed("the agent could not write it down", errno.into()));
            }
            // It may have been noted: told again, it would be there twice.
            Ok(None) => return Err(problem("the agent ended before it answered")),
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
            Err(error) => {
                return Err(failed("there is no agent", error.raw_os_error().unwrap_or(0)));
            }
        }
        Interests::<()>::new().wait(Some(PAUSE_US), &mut Vec::new());
    }
    Err(problem("the agent has no time; nothing was noted"))
}

/// Prints it as LAVA's helpers do, for a script that is tried by hand.
pub(super) fn print(signal: &TestSignal<'_>) {
    let TestSignal { name, text, measurement, units, .. } = *signal;
    let result = TestSignal::result_word(signal.result);
    let words: &[&str] = match signal.kind {
        TestSignal::CASE_STARTED => &["STARTTC ", name],
        TestSignal::CASE_ENDED => &[
            "TESTCASE TEST_CASE_ID=",
            name,
            " RESULT=",
            result,
            if units.is_empty() { "" } else { " UNITS=" },
            units,
            if measurement.is_empty() { "" } else { " MEASUREMENT=" },
            measurement,
        ],
        TestSignal::SET_STARTED => &["TESTSET START ", name],
        TestSignal::SET_ENDED => &["TESTSET STOP"],
        TestSignal::REFERENCE => &["TESTREFERENCE ", name, " ", result, " ", text],
        TestSignal::RAISE => &["TESTRAISE ", text],
        TestSignal::EVENT => &["TESTEVENT ", text],
        TestSignal::FEEDBACK => &["TESTFEEDBACK ", name],
        _ => return,
    };
    print_line(words);
}

/// Prints the end of a case that had begun, where no agent is told.
pub(super) fn print_end(name: &str) {
    if variable("PUMICE_SOCKET=").is_none() {
        print_line(&["ENDTC ", name]);
    }
}

fn print_line(words: &[&str]) {
    output::print(STDOUT, &["<LAVA_SIGNAL_", &words.concat(), ">\n"].concat());
}

/// One question and its answer; `None` when the agent was gone before it answered. `ConnectionReset` and `BrokenPipe`:
/// it has not read the question.
fn exchange(directory: &str, name: &str, packet: &[u8]) -> io::Result<Option<u8>> {
    let socket = socket::call(directory, name)?;
    socket::tell(&socket, packet)?;
    let mut answer = [0];
    let length = socket::receive(&socket, &mut answer)?;
    Ok((length > 0).then_some(answer[0]))
}

pub(super) fn problem(text: &str) -> End {
    End::Problem(text.to_owned())
}

/// With the number of the operating system's error.
pub(super) fn failed(text: &str, errno: i32) -> End {
    End::Problem([text, ": errno ", &text::errno(errno)].concat())
}

const BAD: &str = "a name has 1 to 128 bytes, a measurement (a decimal number) and a unit at most 32, other text 192, \
                   none a control character";

/// A helper whose place was taken comes again, for at most two seconds.
const TRIES: u32 = 100;
const PAUSE_US: u64 = 20_000;

const ENOENT: u8 = 2;
const EAGAIN: u8 = 11;
const EINVAL: u8 = 22;
