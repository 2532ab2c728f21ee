//! Whole jobs in seconds: the real `pumice` and the real agents, of which the injected one runs the tests, on a board
//! whose boot loader and kernel are pretended (`pty-board`).

use std::fs;

use e2e::program::built;
use e2e::{Lab, Output, Record};
use nix::sys::signal::Signal;

const BOARD_TYPE: &str = include_str!("../pty-board.yaml");

/// A lab with such a board, on a good line, or on a bad one.
fn lab(seed: Option<u64>) -> Lab {
    lab_behind(&[], seed)
}

/// The same behind a program that carries the line: its words.
fn lab_behind(carrier: &[&str], seed: Option<u64>) -> Lab {
    let lab = Lab::new("board_types: types\nboards:\n  - {name: pty-01, type: pty-board}\n");
    let folder = lab.path("board");
    for name in ["board/master", "board/testrootfs", "types"] {
        fs::create_dir_all(lab.path(name)).unwrap();
    }
    lab.write("board/testboot", vec![0xAA; TESTBOOT_BYTES]);
    let words = [env!("CARGO_BIN_EXE_pty-board").into(), built("pumice-agent"), folder];
    let board = words.iter().map(|word: &std::path::PathBuf| word.display().to_string());
    let mut words: Vec<String> =
        carrier.iter().map(|word| (*word).to_owned()).chain(board).collect();
    words.extend(seed.map(|seed| seed.to_string()));
    lab.write("types/pty.yaml", format!("{BOARD_TYPE}connection: {{exec: {words:?}}}\n"));
    lab
}

fn run(lab: &Lab, tests: &str) -> (Output, Record) {
    lab.run(&format!("name: pty\nboard: {{type: pty-board}}\ntests:\n{tests}timeout: 5m\n"))
}

#[test]
fn a_whole_job() {
    let lab = lab(None);
    let (output, record) = run(
        &lab,
        "  - {name: one, run: 'echo out; echo err >&2'}
  - {name: two, run: 'head -c 300000 /dev/zero | tr \"\\0\" x; exit 5'}
  - {name: three, run: 'sleep 900', timeout: 1s}
  - {name: four, run: 'pwd; cat', timeout: 10s}
",
    );
    output.exits_with(4);
    record.is_complete("Timeout", 4);
    assert_eq!(
        ["one", "two", "three", "four"].map(|suite| record.result(suite)),
        ["pass", "fail", "fail", "pass"]
    );
    assert_eq!(record.text("tests/one/stdout.log"), "out\n");
    assert_eq!(record.text("tests/one/stderr.log"), "err\n");
    let flood = record.bytes("tests/two/stdout.log");
    assert!(
        flood.len() == 300_000 && flood.iter().all(|byte| *byte == b'x'),
        "the board's file is whole"
    );
    let boots = fs::read_to_string(lab.path("board/boots")).unwrap();
    let name = record.path().file_name().unwrap().to_str().unwrap();
    // The third is for the files: below a `--root` they are not where the test agent would be asked for them.
    assert_eq!(boots, format!("--role master\n--role test --run {name}\n--role master\n"));
    // The agent that ran the tests is the one that was injected.
    assert!(lab.path("board/testrootfs/.pumice/agent").is_file());
    lab.nothing_runs();
}

#[test]
fn a_job_begins_with_the_lab_s_agent() {
    let lab = lab(None);
    let newer = [&fs::read(built("pumice-agent")).unwrap()[..], b"another"].concat();
    lab.write("newer", &newer);
    let arch = std::env::consts::ARCH;
    let boards = "board_types: types\nboards:\n  - {name: pty-01, type: pty-board}\n";
    lab.write("lab.yaml", format!("{boards}agents: {{{arch}: newer, other: older}}\n"));
    let (output, record) = run(&lab, "  - {name: one, run: 'true'}\n");
    output.exits_with(0).says("hand over: done");
    assert_eq!(record.result("one"), "pass");
    // The agent that was handed over to is the one that was injected.
    assert!(fs::read(lab.path("board/testrootfs/.pumice/agent")).unwrap() == newer);
    // For another machine the board's own agent does it.
    lab.write("lab.yaml", format!("{boards}agents: {{other: newer}}\n"));
    let output = lab.pumice(&["run", "job.yaml", "--out", "others"]).exits_with(0);
    output.says(&format!("no agent for {arch}"));
    lab.nothing_runs();
}

#[test]
fn a_definition_with_its_overlay() {
    let lab = lab(None);
    for folder in ["lib", "many", "empty/folder"] {
        fs::create_dir_all(lab.path("suite").join(folder)).unwrap();
    }
    lab.write(
        "suite/smoke.yaml",
        r#"metadata: {format: Lava-Test Test Definition 1.0, name: smoke}
parameters: {COUNT: 1, WORDS: none}
install: {steps: [echo prepared > ../prepared]}
run:
  steps:
    - cat ../prepared
    - stat -c '%a %s %n' lib/tool lib/data* && test -d empty/folder
    - lib/tool "$WORDS"
    - printenv LEVEL
    - if [ $COUNT -eq 2 ]; then
    - exit 3
    - fi
"#,
    );
    lab.write("suite/lib/tool", "#!/bin/sh\necho \"tool: $1\"\n");
    lab.write("suite/lib/data's file", vec![0x5a; 100_000]);
    for (name, mode) in [("tool", 0o755), ("data's file", 0o440)] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(lab.path("suite/lib").join(name), mode).unwrap();
    }
    // Twenty more: they go several at a time.
    for n in 0..20 {
        lab.write(&format!("suite/many/{n}"), vec![n; 999]);
    }
    let (output, record) = lab.run(
        "name: pty
board: {type: pty-board}
environment: {LEVEL: it's high}
tests:
  - definition: {directory: suite, path: smoke.yaml}
    parameters: {WORDS: 'a \"b\" $HOME'}
  - {name: second, definition: {directory: suite, path: smoke.yaml}, parameters: {COUNT: 2}}
timeout: 5m
",
    );
    output.exits_with(1);
    let [first, second] = ["smoke", "second"].map(|suite| record.result(suite));
    assert_eq!((first, second), ("pass".into(), "fail".into()));
    let out = record.text("tests/smoke/stdout.log");
    let listed = "755 26 lib/tool\n440 100000 lib/data's file\n";
    assert_eq!(out, format!("prepared\n{listed}tool: a \"b\" $HOME\nit's high\n"));
    let below = lab.path("board/testrootfs/.pumice/overlay/smoke");
    for n in 0..20 {
        assert_eq!(fs::read(below.join(format!("many/{n}"))).unwrap(), vec![n; 999]);
    }
}

/// 20 MB at 115200 baud would take half an hour. The test does not wait for the line, the live log says what it leaves out,
/// and the file comes home whole.
#[test]
fn a_flood_does_not_wait_for_the_line() {
    const LINE: &str = "ok: a line of a log as tests print them, again and again";
    const BYTES: usize = 20_000_000;
    let paced = built("paced-line").display().to_string();
    let lab = lab_behind(&[&paced, "--baud", "115200", "--"], None);
    lab.write(
        "job.yaml",
        format!(
            "name: flood\nboard: {{type: pty-board}}\ntests:\n  - {{name: flood, run: \"yes '{LINE}' | head -c {BYTES}; \
             sleep 2; lava-test-case behind --result pass\"}}\ntimeout: 10m\n"
        ),
    );
    let run = lab.start(&["run", "job.yaml", "--out", "runs"]);
    run.wait_for_stderr("collect …");
    // Before the file has come.
    let live = lab.record().json_lines_so_far("timeline.ndjson");
    let of_flood: Vec<_> = live.iter().filter(|line| line["suite"] == "flood").collect();
    let elided: u64 = of_flood.iter().filter_map(|line| line["elided"].as_u64()).sum();
    assert!(elided > BYTES as u64 / 2, "{elided} bytes are marked as left out");
    assert!(of_flood.iter().any(|line| line["text"] == LINE), "some of it was shown");
    run.wait().exits_with(0);
    let record = lab.record();
    record.is_complete("passed", 0);
    let bytes = record.bytes("tests/flood/stdout.log");
    let expected: Vec<u8> = format!("{LINE}\n").bytes().cycle().take(BYTES).collect();
    assert!(bytes == expected, "{} bytes, not as they were printed", bytes.len());
    // Each line stands on the timeline once, and no mark of what is there now.
    let whole = record.json_lines("timeline.ndjson");
    let of_flood: Vec<_> = whole.iter().filter(|line| line["suite"] == "flood").collect();
    assert_eq!(of_flood.len(), BYTES.div_ceil(LINE.len() + 1));
    assert!(of_flood.iter().all(|line| line.get("elided").is_none()));
    assert_eq!(record.events("case_ended").len(), 1);
    lab.nothing_runs();
}

#[test]
fn a_bad_line_changes_no_result_and_loses_no_text() {
    let seeds = match std::env::var("PUMICE_SEED") {
        Ok(seed) => vec![seed.parse().expect("PUMICE_SEED is a number")],
        Err(_) => vec![1, 2, 3],
    };
    for seed in seeds {
        eprintln!("again: PUMICE_SEED={seed} cargo test -p e2e --test job a_bad_line");
        let lab = lab(Some(seed));
        let mut tests = String::new();
        for number in 0..40 {
            let status = number % 3;
            tests += &format!(
                "  - {{name: t{number}, run: 'echo out {number}; seq 1 50 >&2; exit {status}'}}\n"
            );
        }
        let (output, record) = run(&lab, &tests);
        output.exits_with(1);
        record.is_complete("failed", 1);
        let lines: String = (1..=50).map(|line| format!("{line}\n")).collect();
        for number in 0..40 {
            let suite = format!("t{number}");
            let expected = if number % 3 == 0 { "pass" } else { "fail" };
            assert_eq!(record.result(&suite), expected, "seed {seed}");
            assert_eq!(
                record.text(&format!("tests/{suite}/stdout.log")),
                format!("out {number}\n")
            );
            assert_eq!(record.text(&format!("tests/{suite}/stderr.log")), lines);
        }
        let console = record.text("console.raw");
        let inserted = fs::read_to_string(lab.path("board/inserted")).unwrap();
        assert!(inserted.lines().count() > 20, "the line was bad");
        let missing: Vec<&str> =
            inserted.lines().filter(|line| !console.contains(&format!("{line}\r\n"))).collect();
        assert!(missing.is_empty(), "seed {seed}: not in console.raw: {missing:?}");
        lab.nothing_runs();
    }
}

#[test]
fn a_test_agent_that_is_killed_is_no_lost_result() {
    let lab = lab(None);
    // The shell's parent is the agent; with it the board resets.
    let (output, record) = run(
        &lab,
        "  - {name: before, run: 'echo home'}
  - {name: kills, run: 'echo last words; sync; sleep 1; kill -9 $PPID; sleep 60'}
  - {name: never, run: 'true'}
",
    );
    output.exits_with(1);
    record.is_complete("TestError", 1);
    assert_eq!(
        ["before", "kills", "never"].map(|suite| record.result(suite)),
        ["pass", "unknown", "unknown"]
    );
    assert_eq!(record.text("tests/before/stdout.log"), "home\n");
    assert_eq!(record.text("tests/kills/stdout.log"), "last words\n");
    lab.nothing_runs();
}

#[test]
fn what_a_test_leaves_comes_home_but_for_what_is_no_file() {
    let lab = lab(None);
    let (output, record) = run(
        &lab,
        "  - {name: odd, run: 'ln -s /etc/passwd link; mkfifo pipe; mkdir -p deep/er; seq 1 5000 > deep/er/numbers; echo home'}
",
    );
    output.exits_with(0);
    record.is_complete("passed", 0);
    assert_eq!(record.text("tests/odd/stdout.log"), "home\n");
    let numbers: String = (1..=5000).map(|number| format!("{number}\n")).collect();
    assert_eq!(record.text("tests/odd/deep/er/numbers"), numbers);
    let events = record.text("events.ndjson");
    assert!(
        events.contains("2 entries of the run's directory on the board are no files"),
        "{events}"
    );
    for name in ["tests/odd/link", "tests/odd/pipe"] {
        assert!(!record.path().join(name).exists(), "{name}");
    }
    lab.nothing_runs();
}

#[test]
fn ctrl_c_and_the_end_of_time() {
    let lab = lab(None);
    lab.write("job.yaml", "name: x\ntests: [{name: long, run: 'echo begun; sleep 900'}]\n");
    let run = lab.start(&["run", "job.yaml", "--out", "runs"]);
    run.wait_for_stderr("test long …");
    run.signal(Signal::SIGINT);
    run.wait().exits_with(130);
    let record = lab.record();
    record.is_complete("Canceled", 130);
    assert_eq!(record.result("long"), "unknown");
    lab.nothing_runs();

    fs::remove_dir_all(lab.path("runs")).unwrap();
    let (output, record) = lab
        .run("name: x\ntests: [{name: long, run: 'echo begun; sync; sleep 900'}]\ntimeout: 10s\n");
    output.exits_with(4);
    record.is_complete("Timeout", 4);
    assert_eq!(record.result("long"), "unknown");
    assert_eq!(record.text("tests/long/stdout.log"), "begun\n");
    lab.nothing_runs();
}

#[test]
fn a_kernel_and_a_ramdisk_become_an_image_of_testboot() {
    let lab = lab(None);
    let files = [("vmlinuz", vec![7; 300_000]), ("initrd.img", vec![9; 200_000])];
    for (name, content) in &files {
        lab.write(name, content);
    }
    let text = "name: x\ndeploy: {kernel: vmlinuz, ramdisk: initrd.img}\ntests: [{name: a, run: 'true'}]\n";
    let (output, record) = lab.run(text);
    output.exits_with(0);
    record.is_complete("passed", 0);
    let image = lab.path("board/testboot");
    e2e::emulator::run("e2fsck", &["-f".as_ref(), "-n".as_ref(), image.as_os_str()], "");
    for (name, content) in &files {
        let there = lab.path(&format!("dumped-{name}"));
        let command = format!("dump /{name} {}\n", there.display());
        e2e::emulator::run("debugfs", &[image.as_os_str()], &command);
        assert!(fs::read(&there).unwrap() == *content, "/{name} is in the image");
    }
    let left: Vec<_> = fs::read_dir(lab.path("store/images"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn json_tells_everything_and_the_summary_last() {
    let lab = lab(None);
    lab.write("job.yaml", "name: x\ntests: [{name: a, run: 'exit 1'}, {name: b, run: 'true'}]\n");
    let output = lab.pumice(&["run", "job.yaml", "--out", "runs", "--json"]).exits_with(1);
    let lines: Vec<serde_json::Value> =
        output.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(
        (names[0], names[names.len() - 2..].to_vec()),
        ("run_started", vec!["run_ended", "summary"])
    );
    let last = &lines[lines.len() - 1];
    assert_eq!(
        (&last["verdict"], &last["tally"]["fail"], &last["tally"]["pass"]),
        (&"failed".into(), &1.into(), &1.into())
    );
    let directory = lab.path(last["directory"].as_str().unwrap());
    assert!(directory.join("run.json").is_file());
    assert_eq!(output.err(), "", "JSON is for programs: nothing else is said");
    // What is stored is what was told, without the progress.
    let stored = lab.record().json_lines("events.ndjson");
    let told: Vec<_> =
        lines[..lines.len() - 1].iter().filter(|line| line["event"] != "action_progress").collect();
    assert_eq!(stored.iter().collect::<Vec<_>>(), told);
}

const TESTBOOT_BYTES: usize = 8 << 20;

/// Nobody will ever write the end of a run whose dispatcher was killed: whoever follows it is told.
#[test]
fn a_run_whose_dispatcher_died_is_followed_to_where_it_stopped() {
    let lab = lab(None);
    lab.write(
        "job.yaml",
        "name: pty\nboard: {type: pty-board}\ntests:\n  - {name: long, run: 'sleep 900', timeout: 20m}\n",
    );
    let run = lab.start(&["run", "job.yaml", "--out", "runs"]);
    run.wait_for_stderr("test long …");
    let follow = lab.start(&["log", "last", "--out", "runs", "--follow"]);
    follow.wait_for_stdout("session with the test agent");
    run.signal(Signal::SIGKILL);
    run.wait();
    let output = follow.wait().exits_with(3);
    let said = output.err();
    assert!(said.contains("has no end: the pumice that wrote it is gone"), "{said}");
    // Without --follow it is a log as any other.
    lab.pumice(&["log", "last", "--out", "runs"]).exits_with(0);
}
