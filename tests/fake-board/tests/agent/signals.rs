//! What a test tells the agent: on the disk before it is answered, at its place in the test's output, then shown.

use super::bench::{Bench, generic, plan_bytes, secs};
use super::{Does, journal, run_file, test_board};
use agent_core::agent::plan::{self, Header, Test};
use agent_core::wire::codec;
use agent_core::wire::record::Record;
use agent_core::wire::response::TestStatus;
use agent_core::wire::test_signal::{Noted, TestSignal};
use fake_board::Program;

fn case(kind: u8, name: &str) -> TestSignal<'_> {
    TestSignal { kind, name, ..TestSignal::default() }
}

/// Runs one suite to the end of the plan, followed on stream 3.
fn run(plan: &[u8], program: Program) -> Bench {
    let mut bench = test_board(plan);
    bench.board.script().suite("one", program);
    bench.board.power_on(bench.now);
    bench.run_for(secs(2));
    bench.follow(3);
    bench.run_for(secs(30));
    assert_eq!(bench.status().0, TestStatus::ENDED);
    bench
}

fn one_test() -> Vec<u8> {
    plan_bytes("r1", &[("one", 600_000)])
}

/// Lines of the journal that are signals.
fn signals(bench: &Bench) -> Vec<String> {
    let journal = run_file(bench, "journal.ndjson");
    journal.lines().filter(|line| line.contains("\"signal\"")).map(str::to_owned).collect()
}

fn number(line: &str, name: &str) -> u64 {
    let rest =
        line.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name}: {line}")).1;
    rest.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn a_signal_is_on_the_disk_before_it_is_answered_with_what_was_printed_before_it() {
    let program = Program::new()
        .out("before\n")
        .err("!")
        .tell(&case(TestSignal::CASE_STARTED, "a"))
        .out("x".repeat(100_000))
        .tell(&case(TestSignal::CASE_ENDED, "a"))
        .out("after\n")
        .tell(&case(TestSignal::CASE_ENDED, "b"));
    let mut bench = run(&one_test(), program);
    let lines = signals(&bench);
    let places: Vec<_> = lines
        .iter()
        .map(|line| (number(line, "stdout_bytes"), number(line, "stderr_bytes")))
        .collect();
    assert_eq!(places, [(7, 1), (100_007, 1), (100_013, 1)]);
    assert_eq!(bench.board.answers(), [0; 3]);
    let trace = bench.board.take_trace();
    let answers = trace.iter().enumerate().filter(|(_, line)| line.starts_with("AnswerSignal"));
    for ((index, answer), line) in answers.zip(&lines) {
        assert_eq!(answer, "AnswerSignal { client: 0, os_error: 0 }");
        assert_eq!(trace[index - 1], "SyncRun");
        assert_eq!(trace[index - 2], format!("Journal {line}"));
    }
    // The live log has them too, each with its number and its place.
    let bytes = bench.streams[&3].bytes.clone();
    let (mut rest, mut shown) = (&bytes[..], Vec::new());
    while let Ok(Some((record, used))) = Record::parse(rest) {
        if record.source == Record::TEST_SIGNAL {
            let noted: Noted<'_> = codec::decode(record.text).unwrap();
            shown.push((
                record.sequence,
                record.test,
                noted.stdout_bytes,
                noted.signal.name.to_owned(),
            ));
        }
        rest = &rest[used..];
    }
    let is_noted = |(number, test, bytes, name): &(u64, u16, u64, String)| {
        let (line, place) = (&lines[*number as usize - 1], places[*number as usize - 1]);
        *test == 0 && *bytes == place.0 && line.contains(&format!("\"name\":\"{name}\""))
    };
    assert!(!shown.is_empty() && shown.iter().all(is_noted), "{shown:?}");
}

#[test]
fn two_hundred_cases_are_numbered_over_all_tests() {
    let names: Vec<String> = (0..100).map(|index| format!("case {index}")).collect();
    let cases = || {
        let mut program = Program::new();
        for name in &names {
            program = program.out("ok\n").tell(&case(TestSignal::CASE_ENDED, name));
        }
        program
    };
    let mut bench = test_board(&plan_bytes("r1", &[("one", 60_000), ("two", 60_000)]));
    bench
        .board
        .script()
        .suite("one", cases().tell(&case(TestSignal::SET_STARTED, "open to the end")));
    bench.board.script().suite("two", cases());
    bench.cut(true);
    bench.board.power_on(bench.now);
    bench.run_for(secs(40));
    let lines = signals(&bench);
    assert_eq!(lines.len(), 201);
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(number(line, "n"), index as u64 + 1);
        assert_eq!(number(line, "test"), u64::from(index > 100));
        assert!(!line.contains("\"set\""), "a set ends with its test: {line}");
    }
    assert_eq!(number(&lines[200], "stdout_bytes"), 300);
    assert_eq!(bench.board.answers(), [0; 201]);
}

#[test]
fn what_could_not_be_written_is_not_acknowledged_and_not_shown() {
    let program = Program::new()
        .tell(&case(TestSignal::CASE_ENDED, "kept"))
        .wait_ms(3000)
        .tell(&case(TestSignal::CASE_ENDED, "lost"))
        .wait_ms(3000)
        .tell(&case(TestSignal::CASE_ENDED, "kept again"));
    let mut bench = test_board(&one_test());
    bench.board.script().suite("one", program);
    bench.board.power_on(bench.now);
    bench.run_for(secs(2));
    bench.follow(3);
    bench.run_for(secs(1));
    bench.board.set_journal_error(Some(28));
    bench.run_for(secs(3));
    bench.board.set_journal_error(None);
    bench.run_for(secs(10));
    assert_eq!(bench.board.answers(), [0, 28, 0]);
    let lines = signals(&bench);
    assert!(lines.len() == 2 && lines[1].contains("kept again"), "{lines:?}");
    let numbers: Vec<_> = bench
        .records(3)
        .iter()
        .filter(|record| record.0 == Record::TEST_SIGNAL)
        .map(|record| record.1)
        .collect();
    assert_eq!(numbers, [1, 3], "its number is not given again");
}

#[test]
fn what_is_no_signal_is_refused_and_harms_nobody() {
    let program = Program::new()
        .then(Does::Tell(vec![]))
        .then(Does::Tell(vec![0xff; 496]))
        .then(Does::Tell(b"<LAVA_SIGNAL_STARTTC x>".to_vec()))
        .tell(&case(TestSignal::CASE_ENDED, ""))
        .tell(&case(77, "x"))
        .tell(&case(TestSignal::CASE_ENDED, "good"));
    let bench = run(&one_test(), program);
    assert_eq!(bench.board.answers(), [22, 22, 22, 22, 22, 0]);
    assert_eq!(signals(&bench).len(), 1);
    assert_eq!(journal(&bench).iter().filter(|line| line.starts_with("signal")).count(), 1);
}

/// A plan of one test whose steps may take 2 s.
fn plan_with_steps(timeout_ms: u32) -> Vec<u8> {
    let mut buffer = [0; 256];
    let header = Header { run: "r1", watchdog_s: 0 };
    let mut bytes = plan::encode_counted(&header, &mut buffer).unwrap().to_vec();
    let test = Test { suite: "one", timeout_ms, step_timeout_ms: 2000, flags: 0 };
    bytes.extend_from_slice(plan::encode_counted(&test, &mut buffer).unwrap());
    bytes
}

fn step(step: u32) -> TestSignal<'static> {
    TestSignal { kind: TestSignal::STEP, step, ..TestSignal::default() }
}

#[test]
fn a_step_that_takes_too_long_ends_its_test() {
    let steps =
        || Program::new().wait_ms(3000).tell(&step(1)).wait_ms(1900).tell(&step(2)).wait_ms(1900);
    for (timeout_ms, program, expected) in [
        (60_000, steps(), "test_ended one exited 0"),
        (60_000, steps().wait_ms(200), "test_ended one step_timed_out 15"),
        (
            60_000,
            steps().then(Does::IgnoreTerm).then(Does::Hang),
            "test_ended one step_timed_out 9",
        ),
        (4000, steps(), "test_ended one timed_out 15"),
        // Told while it is being killed: no more time, and no other end.
        (
            60_000,
            steps().then(Does::IgnoreTerm).wait_ms(3000).tell(&step(3)).then(Does::Hang),
            "test_ended one step_timed_out 9",
        ),
    ] {
        let bench = run(&plan_with_steps(timeout_ms), program);
        let journal = journal(&bench);
        assert!(journal.iter().any(|line| line == expected), "{expected}: {journal:?}");
    }
}

#[test]
fn without_a_running_test_nothing_is_noted() {
    let mut bench = Bench::up(generic());
    let tell = Program::new().tell(&case(TestSignal::CASE_ENDED, "x")).exit(3);
    bench.board.script().command("tell", tell);
    bench.board.start_trace();
    let request = bench.exec("tell", [0; 3], 0);
    bench.run_for(secs(1));
    assert_eq!((bench.exit(request), bench.board.answers()), ((0, 3), &[2][..]));
    assert!(!bench.board.take_trace().iter().any(|line| line.starts_with("Journal")));
}
