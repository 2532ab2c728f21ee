//! What the lab itself has to say: lines on standard error, for the journal of a service manager or a terminal.

use std::io::Write;

/// Something that a person may want to know.
pub fn note(text: &str) {
    say("", text);
}

/// Something that is not as it should be.
pub fn warn(text: &str) {
    say("warning: ", text);
}

fn say(kind: &str, text: &str) {
    // Text may come from a board or a client.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(std::io::stderr(), "pumice: {kind}{text}");
}
