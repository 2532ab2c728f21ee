//! How a helper tells the agent something, or prints it where there is none.

use super::{End, variable};
use crate::files::split_name;
use crate::sys::errno::Errno;
use crate::sys::output::{self, STDOUT};
use crate::sys::poll;
use crate::sys::socket;
use crate::text;
use agent_core::wire::codec;
use agent_core::wire::test_signal::{SIGNAL_MAX, TestSignal};

/// Tells it, and returns when it is on the disk.
pub(super) fn tell(signal: &TestSignal<'_>) -> Result<(), End> {
    let mut buffer = [0; SIGNAL_MAX];
    // First of all: by hand it is to be as strict as in a run.
    let packet = codec::encode(signal, &mut buffer).ok();
    let Some(packet) = packet.filter(|packet| TestSignal::parse(packet).is_ok()) else {
        return Err(problem(BAD));
    };
    let Some(place) = place()? else {
        print(signal);
        return Ok(());
    };
    for _ in 0..TRIES {
        let mut answer = [0];
        match exchange(&place, packet, &mut answer)? {
            Told::Answer(_) if answer[0] == 0 => return Ok(()),
            Told::Answer(_) if answer[0] != EAGAIN => return Err(refused(answer[0])),
            Told::Answer(_) | Told::Unheard => pause(),
        }
    }
    Err(problem("the agent has no time; nothing was noted"))
}

/// The path of the agent's socket; `None` where no agent runs this.
pub(super) fn place() -> Result<Option<String>, End> {
    let place = variable("PUMICE_SOCKET=");
    if place.as_ref().is_some_and(|path| split_name(path).0.is_empty()) {
        return Err(problem("PUMICE_SOCKET is no path"));
    }
    Ok(place)
}

/// What became of a question.
pub(super) enum Told {
    /// An answer of so many bytes, at least 1.
    Answer(usize),
    /// It was not heard, and may be asked again.
    Unheard,
}

/// One question and its answer.
pub(super) fn exchange(place: &str, packet: &[u8], answer: &mut [u8]) -> Result<Told, End> {
    let (directory, name) = split_name(place);
    let exchanged = socket::call(directory, name).and_then(|socket| {
        socket::tell(&socket, packet)?;
        socket::receive(&socket, answer)
    });
    match exchanged {
        // It may have been noted: told again, it would be there twice.
        Ok(0) => Err(problem("the agent ended before it answered")),
        Ok(length) => Ok(Told::Answer(length)),
        Err(Errno::ECONNRESET | Errno::EPIPE) => Ok(Told::Unheard),
        Err(error) => Err(failed("there is no agent", error.number())),
    }
}

/// Until the next try.
pub(super) fn pause() {
    poll::pause(PAUSE_US);
}

/// The agent answered with the low byte of an `errno`.
pub(super) fn refused(errno: u8) -> End {
    match errno {
        EINVAL => problem(BAD),
        ENOENT => problem("no test runs; nothing was noted"),
        errno => failed("the agent could not write it down", errno.into()),
    }
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

pub(super) const EAGAIN: u8 = 11;
const ENOENT: u8 = 2;
pub(super) const EINVAL: u8 = 22;
