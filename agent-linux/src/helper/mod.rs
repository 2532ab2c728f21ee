//! The helpers that tests call, `lava-test-case` and its like: this same program under other names.
//!
//! Their words and exit statuses are those of LAVA's scripts (lava_dispatcher/lava_test_shell in LAVA's source); what
//! LAVA's print as `<LAVA_SIGNAL_…>` text they tell the agent over its socket, and end when it is on the disk. Where no
//! agent runs them they print that text, so that a script can be tried by hand.

pub(crate) mod links;

mod attach;
mod background;
mod case;
mod node;
mod scripts;
mod tell;

use crate::sys::child::words;
use crate::sys::file;
use crate::sys::output::{self, STDERR};
use crate::text;
use agent_core::wire::test_signal::TestSignal;
use tell::tell;

/// How a helper ends that did not succeed.
enum End {
    /// The words were not understood: the right ones are printed. Status 1, as of LAVA's.
    Usage(&'static str),
    /// It could not be done, or could not be noted. Status 2.
    Problem(String),
    /// This status, and nothing is said.
    Status(u8),
}

/// Runs the helper of this name, if it is one.
pub(crate) fn run(name: &str, words: &[&[u8]]) -> Option<u8> {
    let mut is_known = false;
    each_name(|known| is_known |= known == name);
    if !is_known {
        return None;
    }
    let text: Vec<_> = words.iter().map(|word| text::lossy(word)).collect();
    let text: Vec<&str> = text.iter().map(String::as_str).collect();
    let done = match name {
        "lava-test-case" => case::run(&text, words),
        "lava-test-set" => set(&text),
        "lava-test-reference" => case::reference(&text),
        "lava-test-raise" => raise(&text),
        "lava-test-event" => event(&text),
        "lava-test-feedback" => feedback(&text),
        "pumice-step" => step(&text),
        "lava-test-case-attach" => attach::to_case(&text, words),
        "lava-test-run-attach" => attach::to_run(&text, words),
        "lava-background-process-start" => background::start(&text, words),
        "lava-background-process-stop" => background::stop(&text, words),
        "lava-target-ip" | "lava-echo-ipv4" => scripts::address(name, &text),
        // The dispatcher sets it where there are other boards.
        _ if scripts::MULTINODE.contains(&name) && variable("LAVA_GROUP=").is_none() => {
            say(&["this is no MultiNode job: there are no other boards"]);
            Err(End::Status(1))
        }
        "lava-send" | "lava-wait" | "lava-wait-all" | "lava-sync" => node::run(name, &text),
        _ => scripts::run(name, words),
    };
    Some(match done {
        Ok(()) => 0,
        Err(End::Status(status)) => status,
        Err(End::Usage(usage)) => {
            say(&["usage: ", name, " ", usage]);
            1
        }
        Err(End::Problem(problem)) => {
            say(&[name, ": ", &problem]);
            2
        }
    })
}

/// Calls `f` with the names of all helpers.
pub(crate) fn each_name(mut f: impl FnMut(&'static str)) {
    for name in OWN {
        f(name);
    }
    for (name, _) in scripts::SCRIPTS {
        f(name);
    }
}

/// Those that are not scripts.
const OWN: &[&str] = &[
    "lava-test-case",
    "lava-test-set",
    "lava-test-reference",
    "lava-test-raise",
    "lava-test-event",
    "lava-test-feedback",
    "pumice-step",
    "lava-test-case-attach",
    "lava-test-run-attach",
    "lava-background-process-start",
    "lava-background-process-stop",
    "lava-target-ip",
    "lava-echo-ipv4",
    "lava-send",
    "lava-wait",
    "lava-wait-all",
    "lava-sync",
];

fn set(words: &[&str]) -> Result<(), End> {
    let (kind, name) = match *words {
        ["start", name] => (TestSignal::SET_STARTED, name),
        ["stop"] => (TestSignal::SET_ENDED, ""),
        ["stop", name] => (TestSignal::SET_ENDED, name),
        _ => return Err(End::Usage("start NAME | stop [NAME]")),
    };
    tell(&TestSignal { kind, name, ..TestSignal::default() })
}

/// Ends with status 1, as LAVA's: under `sh -e` the test ends with it.
fn raise(words: &[&str]) -> Result<(), End> {
    if words.first().is_none_or(|word| word.is_empty()) {
        return Err(End::Usage("MESSAGE"));
    }
    tell_text(TestSignal::RAISE, &words.join(" "))?;
    Err(End::Status(1))
}

fn event(words: &[&str]) -> Result<(), End> {
    let [text] = *words else { return Err(End::Usage("MESSAGE")) };
    tell_text(TestSignal::EVENT, text)
}

fn feedback(words: &[&str]) -> Result<(), End> {
    let ["--namespace", name] = *words else { return Err(End::Usage("--namespace NAME")) };
    tell(&TestSignal { kind: TestSignal::FEEDBACK, name, ..TestSignal::default() })
}

fn step(words: &[&str]) -> Result<(), End> {
    let step = match *words {
        [number] => text::parse(number).unwrap_or(0),
        _ => 0,
    };
    if step == 0 {
        return Err(End::Usage("NUMBER (of the step that begins, from 1)"));
    }
    tell(&TestSignal { kind: TestSignal::STEP, step, ..TestSignal::default() })
}

/// A message: what does not fit is cut, and what would break a line becomes a space.
fn tell_text(kind: u8, text: &str) -> Result<(), End> {
    let mut fitting = String::new();
    for letter in text.chars() {
        let letter = if letter.is_control() { ' ' } else { letter };
        if fitting.len() + letter.len_utf8() > agent_core::wire::test_signal::SIGNAL_TEXT_MAX {
            break;
        }
        fitting.push(letter);
    }
    tell(&TestSignal { kind, text: &fitting, ..TestSignal::default() })
}

/// A variable of the environment, which no helper changes; `name` with its `=`. What is no UTF-8 is replaced.
fn variable(name: &str) -> Option<String> {
    let environment = file::read("/proc/self/environ");
    let value = words(&environment).find_map(|word| word.strip_prefix(name.as_bytes()))?;
    Some(text::lossy(value.strip_suffix(b"\0")?))
}

/// A line on standard error, in one write.
fn say(parts: &[&str]) {
    output::print(STDERR, &[&parts.concat(), "\n"].concat());
}
