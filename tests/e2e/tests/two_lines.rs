//! Boards whose agent has a line of its own beside the console. Losing one of both is in `lines.rs`, the emulated board
//! with a second UART in `qemu.rs`.

use e2e::line::Line;
use e2e::{Lab, LabServer, LivingBoard, Noise, random};
use nix::sys::signal::Signal;

fn two_lines(console: &str, agents: &str) -> Lab {
    Lab::new(&format!(
        "boards:\n - name: here\n   type: generic\n   connection: \"{console}\"\n   agent_connection: \"{agents}\"\n"
    ))
}

fn socket() -> Line {
    Line::with_socket(Noise::default(), Noise::default())
}

#[test]
fn commands_go_over_the_agents_line_alone() {
    let content = random(50_000, 7);
    for (console, agents, coding) in [
        (socket(), Line::with_terminals(), "text-safe"),
        (Line::with_terminals(), socket(), "binary"),
    ] {
        let lab = two_lines(console.connection(), agents.connection());
        let _agent = agents.agent(&["--coding", coding]);
        lab.write("there", &content);
        let remote = agents.root().join("file").display().to_string();
        for _ in 0..2 {
            lab.pumice(&["push", "here", "there", &remote]).exits_with(0);
        }
        lab.pumice(&["pull", "here", &remote, "back"]).exits_with(0);
        assert!(std::fs::read(lab.path("back")).unwrap() == content);
        let test = lab.pumice(&["line-test", "here", "--seconds", "2"]).exits_with(0).out();
        assert!(test.contains(&format!("line             {}", agents.connection())), "{test}");
        assert_eq!(console.bytes_to_board(), 0, "nobody types at the console");
    }
}

/// A BREAK is for the console; what the agent's line could do does not count.
#[test]
fn a_break_goes_to_the_console() {
    let (with_break, without) = (Line::with_terminals(), socket());
    let lab = two_lines(with_break.connection(), without.connection());
    lab.pumice(&["sysrq", "here", "h"]).exits_with(0).says("the board said nothing");
    assert_eq!((with_break.bytes_to_board(), without.bytes_to_board()), (1, 0));
    let lab = two_lines(without.connection(), with_break.connection());
    lab.pumice(&["break", "here"]).exits_with(2).says("carries bytes and no BREAK");
}

#[test]
fn both_lines_are_locked() {
    let (console, agents) = (Line::with_terminals(), Line::with_terminals());
    let lab = two_lines(console.connection(), agents.connection());
    let _agent = agents.agent(&[]);
    let holding = lab.start(&["exec", "here", "--", "sh", "-c", "echo begun; sleep 1000"]);
    holding.wait_for_stdout("begun");
    for line in [&console, &agents] {
        let holder = format!("is in use by process {} (pumice)", holding.pid());
        let other = Lab::on_line(line.connection());
        other.pumice(&["console", "here"]).exits_with(3).says(&holder);
    }
    holding.signal(Signal::SIGINT);
    holding.wait();
}

#[test]
fn a_lab_drives_and_frees_both_lines() {
    let lab = Lab::new("");
    let board = LivingBoard::with_two_lines(&lab, "two");
    let [console, agents] = [board.socket().to_owned(), board.agents_socket()];
    let words = [&console, &agents].map(|path| format!("unix:{}", path.display()));
    lab.write_boards(&[&board.entry_of_two(&words[0], &words[1])], "");
    let server = LabServer::start(lab);
    for _ in 0..2 {
        let job = "name: two\nboard: {name: two}\ntests:\n  - {name: one, run: echo hello}\ntimeout: 5m\n";
        server.wait_for_verdict(server.submit("ann", job, &[]), "passed");
    }
    server.ask("ann", &["acquire", "two", "--for", "1m"]).exits_with(0);
    server.ask_elsewhere("ann", &["exec", "two", "--", "true"]).says("two has two lines");
}
