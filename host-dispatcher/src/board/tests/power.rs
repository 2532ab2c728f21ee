//! Switches that fail, hang and lie, and people who are asked.

use super::*;
use crate::board::spec::PowerKind;

fn text(world: &World) -> &str {
    &world.board.breakage().expect("it is broken").text
}

fn notes(world: &World) -> Vec<&str> {
    let mut notes = Vec::new();
    for event in &world.events {
        if let BoardEvent::PowerNote { text } = event {
            notes.push(text.as_str());
        }
    }
    notes
}

fn with_kind(kind: PowerKind) -> BoardSpec {
    let mut spec = spec();
    spec.power.kind = kind;
    spec
}

#[test]
fn a_switch_that_fails_is_tried_as_often_as_the_lab_wants() {
    let mut world = World::new(spec());
    world.power_result = Err("exit status 1".into());
    world.is_lying = true;
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::PowerFailed));
    assert_eq!(text(&world), "the power command failed: exit status 1 (tried 3 times)");
    assert_eq!(world.switched, [PowerOperation::Off; 3]);
    assert_eq!(
        notes(&world),
        [
            "the power command failed: exit status 1; trying again (2 tries left)",
            "the power command failed: exit status 1; trying again (1 tries left)",
        ]
    );
    // Two pauses between three tries.
    assert_eq!(world.now, Instant::ZERO + Duration::from_secs(4));
}

#[test]
fn a_switch_that_fails_once_is_no_failure() {
    let mut world = World::new(spec());
    world.power_result = Err("busy".into());
    world.goal(Goal::Up(Slot::Master)).run_for(Duration::from_secs(1));
    world.power_result = Ok(());
    world.run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    assert_eq!(notes(&world).len(), 1);
    assert_eq!(world.switched, [PowerOperation::Off, PowerOperation::Off, PowerOperation::On]);
}

#[test]
fn a_switch_that_has_done_it_need_not_say_so() {
    // The command for "on" fails behind the switch: an answer that was lost on the way, for example.
    let mut world = World::new(with_kind(PowerKind::Switch { has_cycle: true }));
    world.board.spec.power.retry_delay = Duration::from_secs(60);
    world.power_result = Err("connection reset".into());
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    assert_eq!(world.switched, [PowerOperation::Cycle]);
}

#[test]
fn a_switch_that_hangs_is_given_up() {
    let mut world = World::new(spec());
    world.is_lying = true;
    world.power_takes = Duration::from_secs(1_000_000);
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::PowerFailed));
    assert_eq!(text(&world), "the power command did not end in time (tried 3 times)");
}

#[test]
fn a_switch_that_puts_nothing_on_is_told_by_the_silence() {
    let mut world = World::new(spec());
    world.is_lying = true;
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::Silent));
    assert_eq!(
        text(&world),
        "the power was switched on, and not a byte came from the board (started 3 times)"
    );
    assert_eq!(world.switched, [PowerOperation::Off, PowerOperation::On].repeat(3));
}

#[test]
fn a_switch_that_puts_nothing_off_is_told_by_what_still_comes() {
    for speaks_to_us in [true, false] {
        let mut world = World::new(spec());
        world.start_agent(0);
        if speaks_to_us {
            world.goal(Goal::AnyUp).run();
            assert!(world.board.is_up());
        }
        world.is_lying = true;
        world.goal(Goal::Off).run();
        assert_eq!(world.board.phase(), Phase::Broken(Cause::PowerFailed));
        assert_eq!(
            text(&world),
            "the board still sends text although its power was switched off (tried 3 times)"
        );
        assert_eq!(world.switched, [PowerOperation::Off; 3]);
        // One that was told the third time is off.
        world.is_lying = false;
        world.goal(Goal::Off).run();
        assert_eq!(world.board.phase(), Phase::Off);
    }
}

#[test]
fn a_cycle_that_is_none_is_told_by_the_agent_that_outlives_it() {
    let mut world = World::new(with_kind(PowerKind::Switch { has_cycle: true }));
    world.start_agent(1);
    world.goal(Goal::AnyUp).run();
    world.is_lying = true;
    world.board.set_goal(world.now, Goal::Off);
    world.switched.clear();
    // Off cannot be had from it, either; a new goal cycles.
    world.run();
    world.switched.clear();
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::PowerFailed));
    assert!(
        text(&world)
            .starts_with("the agent from before still beacons: the power command ended well"),
        "{}",
        text(&world)
    );
    assert!(text(&world).ends_with("(started 3 times)"), "{}", text(&world));
}

#[test]
fn a_cycle_waits_as_long_as_the_lab_says() {
    let mut world = World::new(spec());
    world.board.spec.power.delay = Duration::from_secs(30);
    world.goal(Goal::BootLoader).run_for(Duration::from_secs(30));
    assert_eq!(world.switched, [PowerOperation::Off]);
    world.run();
    assert_eq!(world.switched, [PowerOperation::Off, PowerOperation::On]);
    assert_eq!(world.board.phase(), Phase::BootLoader);
}

#[test]
fn a_person_is_asked_once_and_the_board_is_the_answer() {
    let mut world = World::new(with_kind(PowerKind::Person));
    world.board.spec.power.retries = 0;
    world.power_takes = Duration::from_secs(1_000_000);
    world.is_lying = true;
    world.goal(Goal::Up(Slot::Master)).run_for(Duration::from_secs(10));
    assert!(world.board.is_switching());
    world.power(true);
    world.run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    assert!(!world.board.is_switching());
    assert_eq!(notes(&world).len(), 1);
    assert!(notes(&world)[0].starts_with("switch the power of board-01 off and on again"));
}

#[test]
fn a_person_who_is_not_there_is_a_failure() {
    let mut world = World::new(with_kind(PowerKind::Person));
    world.board.spec.power.retries = 0;
    world.power_takes = Duration::from_secs(1_000_000);
    world.is_lying = true;
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::PowerFailed));
    assert_eq!(text(&world), "nobody switched the power off and on again within 60 s");
    assert_eq!(world.switched, [PowerOperation::Cycle]);
}

#[test]
fn a_board_whose_power_ends_is_off() {
    let mut world = World::new(with_kind(PowerKind::Held));
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.switched, [PowerOperation::On], "it was off before");
    world.power(false);
    world.board.handle_power_lost(world.now, "hold ended with exit status 1");
    world.settle();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::WentOff));
    assert!(text(&world).contains("hold ended with exit status 1"));
}
