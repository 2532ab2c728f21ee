//! Another speed of the line, as the agent sees it: the host of the bench is told nothing of speeds.

use super::bench::{Bench, generic, secs};
use agent_core::agent::ACKNOWLEDGED_WITHIN;
use agent_core::link::CloseReason;
use agent_core::time::Duration;
use agent_core::wire::{FailureKind, Method, request, response};

const BASE: u32 = 115_200;
const FAST: u32 = 921_600;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn ask(bench: &mut Bench, baud: u32, confirm_ms: u32) -> u32 {
    bench.ask(Method::BAUD, &request::Baud { baud, confirm_ms })
}

/// Asks, and waits for the moment of the change.
fn change(bench: &mut Bench, baud: u32, confirm_ms: u32) {
    let request = ask(bench, baud, confirm_ms);
    let before = bench.board.baud();
    while bench.board.baud() == before {
        bench.run_for(ms(1));
    }
    bench.answer::<response::Done>(request, Method::BAUD);
}

fn confirm(bench: &mut Bench) {
    bench.host.ping();
    bench.run_for(ms(50));
}

fn works(bench: &mut Bench) {
    let exec = bench.exec("true", [0, 3, 0], 0);
    bench.run_for(secs(1));
    assert_eq!(bench.exit(exec), (response::Exit::EXITED, 0));
}

#[test]
fn a_frame_at_the_new_speed_confirms_it() {
    let mut bench = Bench::up(generic());
    bench.board.start_trace();
    change(&mut bench, FAST, 2000);
    assert!(bench.board.is_guarded());
    assert_eq!(bench.board.take_trace(), ["GuardLine(true)", "SetBaud { baud: 921600 }"]);
    confirm(&mut bench);
    works(&mut bench);
    bench.run_for(secs(60));
    assert_eq!(bench.board.baud(), FAST);
    assert!(bench.board.is_guarded(), "the host may fall back to the base speed at any time");
    assert!(bench.closed.is_empty());
}

#[test]
fn without_one_it_goes_back_when_its_time_is_over_and_the_session_goes_on() {
    let mut bench = Bench::up(generic());
    change(&mut bench, FAST, 5000);
    bench.run_for(ms(4999));
    assert_eq!(bench.board.baud(), FAST);
    bench.run_for(ms(1));
    assert_eq!(bench.board.baud(), BASE);
    assert!(!bench.board.is_guarded());
    works(&mut bench);
    assert!(bench.closed.is_empty());
}

#[test]
fn the_longest_trial_ends_no_session_by_itself() {
    let mut bench = Bench::up(generic());
    let longest = *request::Baud::CONFIRM_MS.end();
    change(&mut bench, FAST, longest);
    bench.cut(true);
    let sessions = bench.board.stats().unwrap().sessions;
    bench.run_for(ms(u64::from(longest)));
    assert_eq!(bench.board.baud(), BASE);
    bench.run_for(secs(1));
    assert_eq!(bench.board.stats().unwrap().sessions, sessions);
    assert_eq!(bench.board.stats().unwrap().beacons, 1, "the session is still open");
}

#[test]
fn an_answer_that_is_not_acknowledged_is_not_waited_for() {
    let mut bench = Bench::up(generic());
    ask(&mut bench, FAST, 2000);
    bench.run_for(ms(1));
    bench.cut(true);
    bench.run_for(ACKNOWLEDGED_WITHIN - ms(2));
    assert_eq!(bench.board.baud(), BASE);
    bench.run_for(ms(1));
    assert_eq!(bench.board.baud(), FAST);
}

#[test]
fn what_no_line_does_is_refused() {
    let mut bench = Bench::up(generic());
    for (baud, confirm_ms) in
        [(0, 2000), (1199, 2000), (4_000_001, 2000), (u32::MAX, 2000), (FAST, 499), (FAST, 30_001)]
    {
        let request = ask(&mut bench, baud, confirm_ms);
        bench.run_for(secs(1));
        assert_eq!(bench.failure_kind(request), FailureKind::REFUSED, "{baud} {confirm_ms}");
    }
    let same = ask(&mut bench, BASE, 2000);
    bench.run_for(secs(1));
    bench.answer::<response::Done>(same, Method::BAUD);
    assert_eq!((bench.board.baud(), bench.board.is_guarded()), (BASE, false));
    works(&mut bench);
}

#[test]
fn one_change_at_a_time_and_a_failed_one_leads_back_to_the_speed_before_it() {
    let mut bench = Bench::up(generic());
    let first = ask(&mut bench, FAST, 2000);
    let second = ask(&mut bench, 460_800, 2000);
    bench.run_for(ms(100));
    bench.answer::<response::Done>(first, Method::BAUD);
    confirm(&mut bench);
    assert_eq!(bench.failure_kind(second), FailureKind::BUSY);
    assert_eq!(bench.board.baud(), FAST);
    change(&mut bench, 460_800, 2000);
    bench.run_for(secs(2));
    assert_eq!(bench.board.baud(), FAST);
    works(&mut bench);
    change(&mut bench, 460_800, 2000);
    confirm(&mut bench);
    works(&mut bench);
    assert_eq!(bench.board.baud(), 460_800);
}

#[test]
fn a_speed_that_the_line_does_not_do_changes_nothing() {
    let mut bench = Bench::up(generic());
    bench.board.set_baud_max(500_000);
    let request = ask(&mut bench, FAST, 2000);
    bench.run_for(ms(100));
    bench.answer::<response::Done>(request, Method::BAUD);
    works(&mut bench);
    assert_eq!((bench.board.baud(), bench.board.is_guarded()), (BASE, false));
}

#[test]
fn a_session_that_is_over_leaves_the_line_at_its_base_speed() {
    let mut bench = Bench::up(generic());
    change(&mut bench, FAST, 2000);
    confirm(&mut bench);
    bench.host.say_goodbye(bench.now);
    bench.run_for(ms(1));
    assert_eq!((bench.board.baud(), bench.board.is_guarded()), (BASE, false));

    let mut bench = Bench::up(generic());
    change(&mut bench, FAST, 2000);
    confirm(&mut bench);
    bench.cut(true);
    bench.run_for(secs(10));
    assert_eq!(bench.board.baud(), BASE);
    bench.cut(false);
    bench.run_for(secs(10));
    assert!(bench.host.is_open() && bench.closed == [CloseReason::Silent]);
    works(&mut bench);
}

#[test]
fn a_restart_is_at_the_base_speed_with_its_last_words() {
    let mut bench = Bench::up(generic());
    change(&mut bench, FAST, 2000);
    confirm(&mut bench);
    bench.board.start_trace();
    bench.ask(Method::REBOOT, &request::Reboot { how: request::Reboot::RESTART });
    bench.run_for(secs(1));
    let trace = bench.board.take_trace().join("\n");
    assert!(trace.starts_with("SetBaud { baud: 115200 }\nGuardLine(false)\nReboot"), "{trace}");
    assert_eq!((bench.board.baud(), bench.board.boots()), (BASE, 2));
}
