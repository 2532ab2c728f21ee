//! Lines as labs have them: behind ser2net and socat, and how they go away and come back in the middle of a job.

use std::fs;
use std::path::Path;

use e2e::line::{Line, terminal};
use e2e::{Carrier, Lab, LivingBoard, Noise, Record, random, until};
use nix::sys::signal::Signal;
use nix::sys::termios::BaudRate;

/// The lines of a test that runs while its line goes away: 10 s of them.
const LINES: usize = 200;

/// Runs a job; when the board is in the middle of it, the line is broken, and mended later.
fn with_a_break(lab: &Lab, entry: &str, break_and_mend: impl FnOnce()) -> Record {
    lab.write_boards(&[entry], "");
    // The board is this machine: what it does shows in files, whatever its line does.
    let done = lab.path("done");
    fs::create_dir(&done).unwrap();
    let script = format!(
        "for i in $(seq 1 {LINES}); do echo line $i; touch {}/$i; sleep 0.05; done",
        done.display()
    );
    lab.write(
        "job.yaml",
        format!(
            "name: pty\nboard: {{type: pty-board}}\ntests:\n  - {{name: long, run: '{script}'}}\n  \
             - {{name: after, run: 'echo more'}}\ntimeout: 5m\n"
        ),
    );
    let job = lab.start(&["run", "job.yaml"]);
    wait_for_file(&done.join("40"));
    break_and_mend();
    let output = job.wait();
    lab.write("output.txt", [&output.stderr[..], &output.stdout].concat());
    output.exits_with(0);
    let record = lab.record();
    record.is_complete("passed", 0);
    let lines: Vec<String> = (1..=LINES).map(|n| format!("line {n}")).collect();
    assert_eq!(record.text("tests/long/stdout.log"), lines.join("\n") + "\n");
    assert_eq!(record.timeline("stdout"), [lines, vec!["more".into()]].concat(), "each once");
    record
}

/// Runs a job; when the board is in the middle of it, the line is broken for good, which ends it with `expected`.
fn stays_away(lab: &Lab, entry: &str, expected: &str, break_it: impl FnOnce()) {
    lab.write_boards(&[entry], "");
    lab.write(
        "job.yaml",
        format!(
            "name: pty\nboard: {{type: pty-board}}\ntests:\n  - {{name: long, run: 'touch {}; sleep 900'}}\ntimeout: 15m\n",
            lab.path("begun").display()
        ),
    );
    let job = lab.start(&["run", "job.yaml"]);
    wait_for_file(&lab.path("begun"));
    break_it();
    let output = job.wait().exits_with(3);
    assert!(output.err().contains(expected), "{}", output.err());
    lab.record().is_complete("InfrastructureError", 3);
}

fn wait_for_file(path: &Path) {
    until("mark of the board", || path.exists().then_some(()));
}

/// Why the session was closed in the middle of the job.
fn losses(record: &Record) -> String {
    let phases = record.json_lines("events.ndjson");
    let texts = phases.iter().map(ToString::to_string);
    texts.filter(|text| text.contains("the connection was lost")).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_adapter_comes_back_under_another_number() {
    let lab = Lab::new("");
    let board = LivingBoard::new(&lab, "pulled");
    let mut adapter = Carrier::terminal(&lab, "by-path", board.socket());
    let link = lab.path("by-path");
    let entry = board.entry_by(&format!("serial:{}?baud=115200", link.display()));
    let before = adapter.device();
    let record = with_a_break(&lab, &entry, || {
        adapter.stop();
        // Somebody else gets its number.
        let mut others = Vec::new();
        until("number that is free again", || {
            others.push(terminal());
            let is_it = |(_, path, _): &(_, String, _)| Path::new(path) == before;
            others.last().is_some_and(is_it).then_some(())
        });
        adapter.start_again();
        assert_ne!(adapter.device(), before);
    });
    assert!(losses(&record).contains(&format!("lost {}", link.display())), "{}", losses(&record));
}

/// What a run says about a board's lines while they are away.
fn told_of_lines(record: &Record) -> Vec<String> {
    let events = record.json_lines("events.ndjson");
    let texts = events.iter().filter_map(|event| event["text"].as_str());
    texts.filter(|text| text.contains("line is ")).map(str::to_owned).collect()
}

#[test]
fn either_of_two_lines_comes_back_and_the_job_goes_on() {
    for pulled in ["console", "agents"] {
        let lab = Lab::new("");
        let board = LivingBoard::with_two_lines(&lab, "two");
        let mut console = Carrier::terminal(&lab, "console", board.socket());
        let mut agents = Carrier::tcp(&lab, &board.agents_socket());
        let link = lab.path("console").display().to_string();
        let (serial, tcp) =
            (format!("serial:{link}?baud=115200"), format!("tcp://127.0.0.1:{}", agents.port()));
        let entry = board.entry_of_two(&serial, &tcp);
        let adapter = if pulled == "console" { &mut console } else { &mut agents };
        let record = with_a_break(&lab, &entry, || {
            adapter.stop();
            std::thread::park_timeout(std::time::Duration::from_millis(600));
            adapter.start_again();
        });
        let told = told_of_lines(&record);
        let (name, lost) = match pulled {
            "console" => ("the console line", format!("lost {link}: ")),
            _ => ("the agent's line", format!("lost {tcp}: ")),
        };
        assert!(told[0].starts_with(&format!("{name} is away: {lost}")), "{told:?}");
        assert_eq!(told[1..], [format!("{name} is back")], "{told:?}");
        let closed = losses(&record);
        let is_closed =
            closed.is_empty() && record.text("events.ndjson").contains("the agent's line was lost");
        assert_eq!(is_closed, pulled == "agents", "{closed}");
        // Each line has carried what is its own.
        assert!(record.timeline("boot_loader").iter().any(|line| line.contains("U-Boot 2012.03")));
        assert!(record.timeline("console").iter().any(|line| line.contains("a line of its own")));
        let beacons = record.timeline("agent_line");
        assert!(!beacons.is_empty() && beacons.iter().all(|line| line.starts_with("@pumice1 ")));
        assert!(!record.text("console.raw").contains("@pumice1 "));
    }
}

#[test]
fn an_agents_line_that_stays_away_is_the_labs_fault() {
    let lab = Lab::new("");
    let board = LivingBoard::with_two_lines(&lab, "gone");
    let mut server = Carrier::tcp(&lab, &board.agents_socket());
    let console = format!("unix:{}", board.socket().display());
    let agents = format!("tcp://127.0.0.1:{}", server.port());
    let expected = format!("the agent's line: failed to connect to {agents}: ");
    stays_away(&lab, &board.entry_of_two(&console, &agents), &expected, || server.stop());
}

#[test]
fn a_raw_tcp_server_is_restarted() {
    let lab = Lab::new("");
    let board = LivingBoard::new(&lab, "tcp");
    let mut server = Carrier::tcp(&lab, board.socket());
    let connection = format!("tcp://127.0.0.1:{}", server.port());
    let record = with_a_break(&lab, &board.entry_by(&connection), || {
        server.stop();
        server.start_again();
    });
    assert!(losses(&record).contains(&format!("lost {connection}")), "{}", losses(&record));
}

#[test]
fn a_ser2net_is_restarted() {
    let lab = Lab::new("");
    let board = LivingBoard::new(&lab, "served");
    let adapter = Carrier::terminal(&lab, "tty", board.socket());
    let mut server = Carrier::ser2net(&lab, &adapter.device());
    let connection =
        format!("rfc2217://127.0.0.1:{}?baud=115200&session_baud=921600", server.port());
    let record = with_a_break(&lab, &board.entry_by(&connection), || {
        server.stop();
        server.start_again();
    });
    assert!(losses(&record).contains("lost rfc2217://127.0.0.1:"), "{}", losses(&record));
}

#[test]
fn an_adapter_that_stays_away_is_the_lab_s_fault() {
    let lab = Lab::new("");
    let board = LivingBoard::new(&lab, "gone");
    let mut adapter = Carrier::terminal(&lab, "by-path", board.socket());
    let entry = board.entry_by(&format!("serial:{}", lab.path("by-path").display()));
    let expected =
        format!("{} is not there: is the adapter plugged in?", lab.path("by-path").display());
    stays_away(&lab, &entry, &expected, || adapter.stop());
}

#[test]
fn every_byte_passes_a_serial_server() {
    let line = Line::with_terminals();
    let _agent = line.agent(&["--baud", "115200"]);
    let lab = Lab::new("");
    let server = Carrier::ser2net(&lab, Path::new(line.host_end()));
    let content = random(100_000, 9);
    lab.write("there", &content);
    for (scheme, query, speed) in [
        ("telnet", "", BaudRate::B115200),
        ("rfc2217", "?baud=115200", BaudRate::B115200),
        ("rfc2217", "?baud=115200&session_baud=921600", BaudRate::B921600),
    ] {
        let connection = format!("{scheme}://127.0.0.1:{}{query}", server.port());
        lab.write(
            "lab.yaml",
            format!("boards:\n  - {{name: here, type: generic, connection: \"{connection}\"}}\n"),
        );
        let remote = line.root().join("file").display().to_string();
        lab.pumice(&["push", "here", "there", &remote]).exits_with(0);
        assert!(fs::read(&remote).unwrap() == content, "{connection}: there");
        let pulled = lab.pumice(&["pull", "here", &remote, "back"]).exits_with(0);
        assert!(fs::read(lab.path("back")).unwrap() == content, "{connection}: back");
        assert!(!pulled.err().contains("warning"), "{}", pulled.err());
        fs::remove_file(&remote).unwrap();
        let running = lab.start(&["exec", "here", "--", "sh", "-c", "echo begun; sleep 1000"]);
        running.wait_for_stdout("begun");
        assert_eq!(line.speeds(), [speed; 2], "{connection}");
        // Whoever comes second is told so.
        let other = Lab::on_line(&connection);
        let refused = other.pumice(&["console", "here"]).exits_with(3);
        assert!(refused.err().contains("InfrastructureError: "), "{}", refused.err());
        running.signal(Signal::SIGINT);
        running.wait();
    }
    lab.pumice(&["break", "here"]).exits_with(0);
}

#[test]
fn a_second_dispatcher_on_a_line_is_told_who_has_it() {
    let line = Line::with_terminals();
    let (first, second) = (Lab::on_line(line.connection()), Lab::on_line(line.connection()));
    let _agent = line.agent(&[]);
    let holding = first.start(&["exec", "here", "--", "sh", "-c", "echo begun; sleep 1000"]);
    holding.wait_for_stdout("begun");
    let holder = format!("is in use by process {} (pumice)", holding.pid());
    for words in [&["console", "here"][..], &["sysrq", "here", "h"]] {
        second.pumice(words).exits_with(3).says(&holder);
    }
    holding.signal(Signal::SIGINT);
    holding.wait();
    second.pumice(&["exec", "here", "--", "true"]).exits_with(0);
}

#[test]
fn a_break_and_a_key() {
    let line = Line::with_terminals();
    let lab = Lab::on_line(line.connection());
    lab.pumice(&["break", "here"]).exits_with(0);
    assert_eq!(line.bytes_to_board(), 0);
    lab.pumice(&["sysrq", "here", "h"]).exits_with(0).says("the board said nothing");
    assert_eq!(line.bytes_to_board(), 1);
    let line = Line::with_socket(Noise::default(), Noise::default());
    let lab = Lab::on_line(line.connection());
    let refused = lab.pumice(&["break", "here"]).exits_with(2);
    let expected = format!(
        "JobError: the line of here ({}) carries bytes and no BREAK: a connection by serial:",
        line.connection()
    );
    assert!(refused.err().contains(&expected), "{}", refused.err());
}
