//! Boards at whose boot loader nobody types: their agent chooses the image that boots next.

use super::*;

#[test]
fn there_and_back() {
    let mut world = World::new(choosing());
    world.goal(Goal::Up(Slot::Master)).run();
    assert!(
        world.board.is_at_goal() && world.choices.is_empty(),
        "nothing to choose: {:?}",
        world.choices
    );
    world.board.set_next_slot(Slot::Test, "with a run, choose test".into());
    world.goal(Goal::Up(Slot::Test)).run();
    assert!(world.board.is_at_goal());
    world.goal(Goal::Up(Slot::Master)).run();
    assert!(world.board.is_at_goal());
    assert_eq!(world.choices, ["with a run, choose test", "choose master"]);
    assert_eq!(world.typed, "", "nothing is typed at its boot loader");
    let up = world.phases().iter().filter(|phase| phase.starts_with("up")).count();
    assert_eq!(up, 3, "{:?}", world.phases());
}

/// What was chosen holds for more than one boot, and the test image has died: it comes up again, and then its agent chooses.
#[test]
fn the_wrong_image_comes_up_and_chooses() {
    let mut world = World::new(choosing());
    world.chosen = 1;
    world.goal(Goal::Up(Slot::Master)).run();
    assert!(world.board.is_at_goal(), "{:?}", world.phases());
    assert_eq!(world.choices, ["choose master"]);
    let cycles = world.events.iter().filter(|event| {
        matches!(
            event,
            BoardEvent::Power { operation: PowerOperation::Cycle, state: PowerState::Started }
        )
    });
    assert_eq!(cycles.count(), 1, "the one of the beginning");
}

/// kexec: the command never ends, the other kernel speaks.
#[test]
fn the_command_boots_the_image_itself() {
    let mut world = World::new(choosing());
    world.goal(Goal::Up(Slot::Master)).run();
    world.choice = Choice::Boots;
    world.goal(Goal::Up(Slot::Test)).run();
    assert!(world.board.is_at_goal(), "{:?} {:?}", world.board.phase(), world.phases());
    assert_eq!(world.choices, ["choose test"]);
    assert!(
        !world.has(|event| matches!(event, BoardEvent::Rebooted { .. })),
        "nobody is surprised"
    );
}

#[test]
fn a_command_that_fails_is_named() {
    let mut world = World::new(choosing());
    world.goal(Goal::Up(Slot::Master)).run();
    world.choice = Choice::Ends(7);
    world.goal(Goal::Up(Slot::Test)).run();
    let breakage = world.board.breakage().expect("it cannot be reached");
    assert_eq!(breakage.cause, Cause::RestartFailed);
    assert_eq!(
        breakage.text,
        "next_slot: the command of the board type ended with status 7 (started 3 times)"
    );
}
