//! Lines that are set up wrongly: what a person is told while nothing comes of them, and at the end.

use super::*;

fn suspicions(world: &World) -> Vec<Suspicion> {
    let found = |event: &BoardEvent| match event {
        BoardEvent::Suspicion { found, .. } => Some(*found),
        _ => None,
    };
    world.events.iter().filter_map(found).collect()
}

fn breakage(world: &World) -> &str {
    &world.board.breakage().expect("it is not broken").text
}

fn strip(byte: u8) -> u8 {
    byte & 0x7F
}

#[test]
fn a_board_that_does_not_hear_is_named() {
    // 7 data bits towards the board: its beacons are ASCII and come through, the hellos do not.
    let mut world = World::new(generic());
    world.down = strip;
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::NoAgent));
    assert_eq!(suspicions(&world), [Suspicion::Unheard]);
    assert!(breakage(&world).contains("the board does not hear this host"), "{}", breakage(&world));
    // Once the line is right, so is everything.
    world.down = |byte| byte;
    world.goal(Goal::AnyUp).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
}

#[test]
fn seven_data_bits_towards_the_host_are_named() {
    let mut world = World::new(generic());
    world.up = strip;
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    assert_eq!(suspicions(&world), [Suspicion::SevenBits]);
    assert!(breakage(&world).contains("set 8N1"), "{}", breakage(&world));
}

#[test]
fn parity_from_a_boot_loader_on_is_named() {
    let mut world = World::new(generic());
    world.goal(Goal::AnyUp);
    world.run_for(Duration::from_secs(1));
    let text = U_BOOT.bytes().map(|byte| byte | (byte.count_ones() as u8 & 1) << 7);
    world.board.handle_bytes(world.now, LineRole::Console, &text.collect::<Vec<u8>>());
    world.run();
    assert_eq!(suspicions(&world), [Suspicion::SevenBits]);
    assert!(breakage(&world).ends_with("1 stop bit)"), "{}", breakage(&world));
}

#[test]
fn a_wrong_speed_is_named_at_every_try_and_told_once() {
    let mut world = World::new(spec());
    world.is_dead = true;
    world.goal(Goal::Up(Slot::Master));
    for _ in 0..4 {
        world.run_for(Duration::from_secs(10));
        let noise: Vec<u8> =
            (0..600u32).map(|n| (n.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
        world.board.handle_bytes(world.now, LineRole::Console, &noise);
        world.run_for(Duration::from_secs(25));
    }
    world.run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::Silent));
    assert_eq!(suspicions(&world), [Suspicion::WrongSpeed]);
    assert!(
        breakage(&world).ends_with("is the baud rate right? (started 3 times)"),
        "{}",
        breakage(&world)
    );
}

#[test]
fn a_board_that_lives_is_not_suspected() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Master)).run();
    world.run_for(Duration::from_secs(10));
    // Whatever programs print is theirs.
    world.board.handle_bytes(world.now, LineRole::Console, &[0xC3; 5000]);
    world.goal(Goal::Up(Slot::Test)).run();
    assert_eq!((world.board.phase(), suspicions(&world)), (Phase::Up(Slot::Test), Vec::new()));
}
