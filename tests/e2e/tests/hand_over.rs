//! An agent goes on as another one that came over the line. The real programs on a pseudo-terminal.

use std::fs;

use e2e::line::Line;
use e2e::program::built;
use e2e::{Lab, Noise};

/// Another agent that does the same: nobody looks behind a program's last section.
fn newer() -> Vec<u8> {
    [&fs::read(built("pumice-agent")).unwrap()[..], b"another"].concat()
}

#[test]
fn the_agent_goes_on_as_the_one_that_was_brought() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    let agent = line.agent(&[]);
    let lab = Lab::on_line(line.connection());
    let program = format!("/proc/{}/exe", agent.pid());
    let newer = newer();
    lab.write("newer", &newer);
    let output = lab.pumice(&["hand-over", "here", "newer", "--json"]).exits_with(0);
    let handed: serde_json::Value = serde_json::from_str(&output.out()).unwrap();
    assert_eq!(handed["target"], "agent");
    let sent = handed["line_bytes_out"].as_u64().unwrap();
    assert!(sent < 10_000, "what the running one has is copied: {handed}");
    assert!(fs::read(&program).unwrap() == newer, "it runs, under the old one's number");
    lab.pumice(&["exec", "here", "--", "true"]).exits_with(0);
    let again = lab.pumice(&["hand-over", "here", "newer"]).exits_with(0);
    assert!(again.out().contains("already"), "{again:?}");
    // And back, from memory to memory.
    let first = built("pumice-agent").display().to_string();
    lab.pumice(&["hand-over", "here", &first]).exits_with(0);
    assert!(fs::read(&program).unwrap() == fs::read(&first).unwrap());
    lab.pumice(&["exec", "here", "--", "true"]).exits_with(0);
}

#[test]
fn what_cannot_take_over_leaves_the_agent_as_it_is() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    let agent = line.agent(&[]);
    let lab = Lab::on_line(line.connection());
    let program = fs::read_link(format!("/proc/{}/exe", agent.pid())).unwrap();
    lab.write("text", "#!/bin/sh\n");
    lab.pumice(&["hand-over", "here", "text"]).exits_with(2).says("not a program");
    lab.pumice(&["hand-over", "here", "missing"]).exits_with(2).says("missing");
    // The kernel of this board executes nothing of the kind.
    lab.write("foreign", [&b"\x7fELF"[..], &[0xff; 100_000]].concat());
    lab.pumice(&["hand-over", "here", "foreign"]).exits_with(3).says("did not take over");
    lab.pumice(&["exec", "here", "--", "true"]).exits_with(0);
    assert_eq!(fs::read_link(format!("/proc/{}/exe", agent.pid())).unwrap(), program);
}
