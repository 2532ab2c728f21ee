//! The plan after the death of its agent or its board.

use super::bench::{Bench, plan_bytes, plan_with, secs};
use super::{RUN, journal, run_file, test_board};
use agent_core::agent::START_WAIT;
use agent_core::agent::plan::{Header, Test};
use agent_core::time::Duration;
use agent_core::wire::record::Record;
use agent_core::wire::response::TestStatus;
use fake_board::{Program, Step as Does};
use std::collections::BTreeSet;

const REBOOTS: u8 = Test::EXPECTS_REBOOT;

fn reboot_plan(tests: &[(&str, u32, u8)]) -> Vec<u8> {
    plan_with(&Header { run: "r1", watchdog_s: 0 }, tests)
}

/// A board that runs its plan with nobody at the line.
fn alone(plan: &[u8]) -> Bench {
    let mut bench = test_board(plan);
    bench.cut(true);
    bench
}

fn start(bench: &mut Bench) {
    bench.board.power_on(bench.now);
    bench.run_for(START_WAIT + secs(1));
}

#[test]
fn an_expected_restart_is_a_pass_and_the_plan_goes_on() {
    let plan = [("before", 5000, 0), ("restart", 60_000, REBOOTS), ("after", 5000, 0)];
    let mut bench = alone(&reboot_plan(&plan));
    let restart = Program::new().out("now\n").then(Does::Restart);
    bench.board.script().suite("restart", restart);
    bench.board.script().suite("after", Program::new().exit(3));
    start(&mut bench);
    assert_eq!(bench.board.boots(), 2);
    bench.run_for(START_WAIT);
    assert_eq!(
        journal(&bench),
        [
            "plan_started",
            "test_started before",
            "test_ended before exited 0",
            "test_started restart",
            "test_ended restart rebooted 0",
            "plan_resumed",
            "test_started after",
            "test_ended after exited 3",
            "plan_ended",
        ]
    );
    let text = run_file(&bench, "journal.ndjson");
    let boots: BTreeSet<_> =
        text.lines().filter_map(|line| line.split_once("\"boot\":\"")).map(|at| at.1).collect();
    assert!(boots.len() == 2 && boots.iter().all(|boot| boot.find('"') == Some(32)), "{text}");
    assert!(text.contains("{\"event\":\"plan_resumed\",\"test\":2,\"why\":\"board\""), "{text}");
    bench.cut(false);
    bench.run_for(secs(3));
    assert_eq!(bench.status(), (TestStatus::ENDED, 3, 3, String::new()));
}

#[test]
fn a_script_that_ordered_the_restart_is_waited_for() {
    let plan = [("restart", 30_000, REBOOTS), ("never", 30_000, REBOOTS), ("last", 1000, 0)];
    let mut bench = alone(&reboot_plan(&plan));
    // reboot(8) comes back at once, and init takes its time.
    bench.board.script().suite("restart", Program::new().out("ordered\n"));
    bench.board.script().suite("never", Program::new().exit(0));
    start(&mut bench);
    bench.run_for(secs(10));
    assert_eq!(journal(&bench).last().unwrap(), "test_started restart");
    bench.board.reset(bench.now);
    bench.run_for(START_WAIT + secs(29));
    assert_eq!(
        journal(&bench)[2..],
        ["test_ended restart rebooted 0", "plan_resumed", "test_started never"]
    );
    bench.run_for(secs(3));
    assert_eq!(
        journal(&bench)[5..],
        [
            "test_ended never timed_out 0",
            "test_started last",
            "test_ended last exited 0",
            "plan_ended"
        ]
    );
}

#[test]
fn a_failure_before_the_restart_is_a_failure_at_once() {
    let mut bench = alone(&reboot_plan(&[("restart", 60_000, REBOOTS)]));
    bench.board.script().suite("restart", Program::new().exit(127));
    start(&mut bench);
    assert_eq!(
        journal(&bench)[2..],
        ["test_ended restart exited 127", "plan_ended"],
        "a status is no order to restart"
    );
}

#[test]
fn a_plan_whose_agent_was_killed_goes_on_behind_the_test() {
    let mut bench = alone(&plan_bytes("r1", &[("one", 60_000), ("two", 60_000), ("three", 1000)]));
    bench.board.script().suite("one", Program::new().wait_ms(100));
    let two = Program::new().out("begun\n").wait_ms(1500).then(Does::KillAgent).out("never\n");
    bench.board.script().suite("two", two);
    start(&mut bench);
    bench.run_for(secs(2));
    assert_eq!(
        journal(&bench)[3..],
        ["test_started two", "test_ended two interrupted 0", "plan_resumed"]
    );
    assert_eq!(run_file(&bench, "tests/two/stdout.log"), "begun\n");
    // Who watches hears how it went on.
    bench.cut(false);
    bench.run_for(secs(3));
    bench.follow(3);
    bench.run_for(secs(2));
    assert_eq!(bench.status(), (TestStatus::ENDED, 3, 3, String::new()));
    let marks: Vec<_> = bench.records(3).iter().map(|record| record.0).collect();
    let is_mark = |source: &u8| *source >= Record::TEST_STARTED && *source != Record::ELIDED;
    let marks: Vec<_> = marks.into_iter().filter(is_mark).collect();
    assert_eq!(
        marks,
        [
            Record::TEST_ENDED,
            Record::PLAN_RESUMED,
            Record::TEST_STARTED,
            Record::TEST_ENDED,
            Record::PLAN_ENDED
        ]
    );
    assert_eq!(
        journal(&bench)[6..],
        ["test_started three", "test_ended three exited 0", "plan_ended"]
    );
    // An agent that starts when all is done says so, and does nothing.
    let before = run_file(&bench, "journal.ndjson");
    bench.board.kill_agent(bench.now);
    bench.run_for(secs(10));
    assert_eq!(bench.status(), (TestStatus::ENDED, 3, 3, String::new()));
    assert_eq!(run_file(&bench, "journal.ndjson"), before);
}

#[test]
fn a_restart_that_nobody_expected_ends_the_plan() {
    let mut bench = alone(&plan_bytes("r1", &[("one", 60_000), ("two", 60_000)]));
    bench.board.script().suite("one", Program::new().wait_ms(1500).then(Does::Reset));
    start(&mut bench);
    bench.run_for(secs(60));
    let ended = ["plan_started", "test_started one", "test_ended one interrupted 1"];
    assert_eq!(journal(&bench), ended);
    assert_eq!(bench.board.boots(), 2, "it brings the board down once");
    bench.cut(false);
    bench.run_for(secs(3));
    let problem = "the board restarted while one ran".to_owned();
    assert_eq!(bench.status(), (TestStatus::ENDED, 1, 2, problem.clone()));
    // And it stays so, whatever restarts.
    bench.board.kill_agent(bench.now);
    bench.run_for(secs(20));
    bench.board.reset(bench.now);
    bench.run_for(secs(20));
    assert_eq!(bench.status(), (TestStatus::ENDED, 1, 2, problem));
    assert_eq!(journal(&bench), ended);
}

#[test]
fn a_restart_between_two_tests_ends_the_plan_and_one_before_the_first_does_not() {
    let plan = plan_bytes("r1", &[("one", 1000), ("two", 60_000)]);
    let mut bench = alone(&plan);
    bench.board.power_on(bench.now);
    bench.run_for(secs(5));
    bench.board.reset(bench.now);
    bench.run_for(START_WAIT + secs(1));
    let whole = run_file(&bench, "journal.ndjson");
    assert_eq!(whole.lines().count(), 7, "{whole}");
    assert!(whole.contains("{\"event\":\"plan_resumed\",\"test\":0,\"why\":\"board\""), "{whole}");
    // The same journal, cut behind the first test: its board died between the two.
    let cut = whole.lines().take(4).map(|line| format!("{line}\n")).collect::<String>();
    let mut bench = test_board(&plan);
    let path = format!("{RUN}/journal.ndjson");
    bench.board.put_file("testrootfs", &path, cut.as_bytes());
    bench.board.power_on(bench.now);
    bench.run_for(secs(30));
    let problem = "the board restarted between two tests".to_owned();
    assert_eq!(bench.status(), (TestStatus::ENDED, 1, 2, problem));
    assert_eq!(run_file(&bench, "journal.ndjson"), cut);
}

/// Wherever a journal ends, no test is started twice, none is said to have ended that was not started, and what was on
/// the disk stays there.
#[test]
fn a_journal_may_end_anywhere() {
    let tests = [("a", 1000, 0), ("b", 60_000, REBOOTS), ("c", 60_000, 0), ("d", 1000, 0)];
    let plan = reboot_plan(&tests);
    let script = |bench: &mut Bench| {
        bench.board.script().suite("b", Program::new().then(Does::Restart));
        bench.board.script().suite("c", Program::new().wait_ms(10).then(Does::KillAgent));
    };
    let mut bench = alone(&plan);
    script(&mut bench);
    start(&mut bench);
    bench.run_for(START_WAIT.times(3));
    let whole = run_file(&bench, "journal.ndjson");
    assert!(whole.contains("plan_ended") && whole.lines().count() == 12, "{whole}");
    let path = format!("{RUN}/journal.ndjson");
    for cut in 0..=whole.len() {
        // Every place at a line's end, and some in its middle.
        let before = &whole[..cut];
        if !before.ends_with('\n') && !before.ends_with('}') && cut % 23 != 0 {
            continue;
        }
        let mut bench = alone(&plan);
        script(&mut bench);
        bench.board.put_file("testrootfs", &path, before.as_bytes());
        start(&mut bench);
        bench.run_for(START_WAIT.times(3));
        let after = run_file(&bench, "journal.ndjson");
        let kept = before.rfind('\n').map_or(0, |at| at + 1);
        assert!(after.starts_with(&before[..kept]), "cut {cut}");
        let lines = journal(&bench);
        for (suite, ..) in tests {
            let of = |event: &str| {
                let start = format!("{event} {suite}");
                let is_of =
                    |line: &&String| **line == start || line.starts_with(&format!("{start} "));
                lines.iter().filter(is_of).count()
            };
            let (started, ended) = (of("test_started"), of("test_ended"));
            assert!(started <= 1 && ended <= started, "cut {cut}, {suite}: {lines:#?}");
        }
        // All tests have an end, or the plan was stopped because this board's boot is another one than the journal's.
        let ends = lines.iter().filter(|line| line.starts_with("test_ended")).count();
        bench.cut(false);
        bench.run_for(secs(3));
        let (state, ended, total, problem) = bench.status();
        assert_eq!((state, total), (TestStatus::ENDED, 4), "cut {cut}");
        assert_eq!(ended as usize, ends, "cut {cut}: {lines:#?}");
        assert_eq!(ends == 4 && problem.is_empty(), lines.last().unwrap() == "plan_ended");
        assert!(problem.is_empty() || problem.contains("the board restarted"), "{problem}");
    }
}

#[test]
fn a_journal_that_does_not_fit_the_plan_is_a_problem() {
    let mut bench = test_board(&plan_bytes("r1", &[("one", 1000)]));
    let text = "{\"event\":\"plan_started\",\"run\":\"r1\",\"tests\":9,\"boot\":\"\"}\n\
                {\"event\":\"test_started\",\"test\":7,\"suite\":\"x\"}\n";
    bench.board.put_file("testrootfs", &format!("{RUN}/journal.ndjson"), text.as_bytes());
    bench.board.power_on(bench.now);
    bench.run_for(secs(3));
    let problem = "its journal is that of another plan".to_owned();
    assert_eq!(bench.status(), (TestStatus::BROKEN, 0, 0, problem));
}

#[test]
fn the_watchdog_is_fed_while_the_plan_runs() {
    let plan =
        plan_with(&Header { run: "r1", watchdog_s: 60 }, &[("one", 60_000, 0), ("two", 1000, 0)]);
    for (max, fed) in [(u16::MAX, Some(60)), (30, Some(30)), (0, None)] {
        let mut bench = alone(&plan);
        bench.board.set_watchdog_max(max);
        bench.board.script().suite("one", Program::new().wait_ms(20_000));
        start(&mut bench);
        assert_eq!(bench.board.watchdog_s(), fed);
        let text = run_file(&bench, "journal.ndjson");
        let os_error = if max == 0 { 2 } else { 22 };
        let line = format!("{{\"event\":\"watchdog_failed\",\"os_error\":{os_error},\"board_us\":");
        assert_eq!(text.contains(&line), fed != Some(60), "{text}");
        bench.board.kill_agent(bench.now);
        bench.run_for(secs(1));
        assert_eq!(bench.board.watchdog_s(), fed, "the next agent feeds it too");
        bench.run_for(secs(30));
        assert_eq!(journal(&bench).last().unwrap(), "plan_ended");
        assert_eq!(bench.board.watchdog_s(), None, "it is let go of at the end");
    }
}

#[test]
fn output_that_finds_no_room_is_counted_and_the_plan_is_written_down() {
    let mut bench = alone(&plan_bytes("r1", &[("fills", 60_000), ("next", 60_000)]));
    let lines = "0123456789\n".repeat(1000);
    let fills = Program::new().out(&lines).wait_ms(500).err("at last\n");
    bench.board.script().suite("fills", fills);
    bench.board.power_on(bench.now);
    bench.run_for(START_WAIT - secs(1));
    bench.board.set_free_bytes(Some(5000));
    bench.run_for(Duration::from_millis(1200));
    assert_eq!(journal(&bench).last().unwrap(), "test_started fills");
    bench.run_for(secs(3));
    let kept = run_file(&bench, "tests/fills/stdout.log").len();
    assert!((3000..=5000).contains(&kept), "{kept}");
    let text = run_file(&bench, "journal.ndjson");
    let lost = 11_000 - kept + 8;
    let counts = format!("\"stdout_bytes\":{kept},\"stderr_bytes\":0,\"lost_bytes\":{lost}");
    assert!(text.contains(&counts), "{counts} in {text}");
    assert_eq!(
        journal(&bench)[3..],
        ["test_started next", "test_ended next exited 0", "plan_ended"]
    );
    assert!(text.contains("{\"event\":\"plan_ended\",\"failed_writes\":"), "{text}");
}
