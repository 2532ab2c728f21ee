//! A board whose agent has a line of its own.

use super::*;

fn two_lines() -> BoardSpec {
    BoardSpec { has_agent_line: true, ..spec() }
}

fn up(spec: BoardSpec) -> World {
    let mut world = World::new(spec);
    world.goal(Goal::Up(Slot::Master)).run();
    assert!(world.board.is_at_goal(), "{:?}", world.board.breakage());
    world.events.clear();
    world
}

fn lines_told(world: &World) -> Vec<(LineRole, bool)> {
    let told = |event: &BoardEvent| match event {
        BoardEvent::Line { line, problem } => Some((*line, problem.is_none())),
        _ => None,
    };
    world.events.iter().filter_map(told).collect()
}

#[test]
fn text_and_typing_have_one_line_and_frames_the_other() {
    for power in [PowerKind::Switch { has_cycle: false }, PowerKind::WithConnection] {
        let mut world = World::new(BoardSpec { power: PowerSpec::immediate(power), ..two_lines() });
        world.goal(Goal::Up(Slot::Test)).run();
        assert_eq!(world.board.phase(), Phase::Up(Slot::Test), "{:?}", world.board.breakage());
        assert!(world.text(ConsoleSource::BootLoader).starts_with("\r\n\r\nU-Boot 2023.01"));
        assert!(world.text(ConsoleSource::Console).contains("Linux version 6.1.0"));
        let of_agent = world.text(ConsoleSource::AgentLine);
        assert!(of_agent.lines().all(|line| line.is_empty() || line.starts_with("@pumice1 ")));
        assert_eq!(lines_told(&world), [], "nothing was lost");
        world.request(Method::INFO, &[]);
        world.run_for(Duration::from_secs(1));
        assert!(world.has(|event| matches!(event, BoardEvent::Answer { .. })));
    }
}

/// Frames among the console's text are text, and text among the agent's frames is noted and shows nothing.
#[test]
fn what_comes_on_the_wrong_line_counts_for_nothing() {
    let mut world = up(two_lines());
    let noise = "U-Boot 2023.01\r\nKernel panic - not syncing: no\r\n";
    world.board.handle_bytes(world.now, LineRole::Agent, noise.as_bytes());
    world.run_for(Duration::from_secs(30));
    assert!(
        world.board.is_at_goal() && !world.has(|event| matches!(event, BoardEvent::Printed { .. }))
    );
    assert_eq!(world.text(ConsoleSource::AgentLine), noise);
    assert_eq!(world.text(ConsoleSource::Console), "");

    let mut frame = [0; LINE_MAX];
    world.request(Method::INFO, &[]);
    let asked = world.board.poll_transmit(world.now, LineRole::Console);
    assert_eq!(asked, None, "the console is not for frames");
    let asked = world.board.poll_transmit(world.now, LineRole::Agent).unwrap();
    let agent = world.agent.as_mut().unwrap();
    agent.handle_input(world.now, &asked, &mut |_| {});
    world.serve();
    let length = world.agent.as_mut().unwrap().poll_transmit(world.now, &mut frame).unwrap();
    let frames_in = world.board.stats().frames_in;
    world.board.handle_bytes(world.now, LineRole::Console, &frame[..length]);
    assert_eq!(world.board.stats().frames_in, frames_in, "it is the console's text");
}

#[test]
fn an_agent_on_the_wrong_line_is_told_of() {
    let mut world = World::new(BoardSpec { tries: 1, ..two_lines() });
    world.goal(Goal::Up(Slot::Master));
    let end = Instant::ZERO + Duration::from_secs(300);
    world.run_until(end, |world| matches!(world.board.phase(), Phase::Booting(_)));
    world.next = None;
    for _ in 0..5 {
        world.says(
            "\r\n@pumice1 boot=00112233445566778899aabbccddeeff nonce=0a0b0c0d role=master\r\n",
        );
        world.run_for(Duration::from_secs(2));
    }
    world.run();
    let breakage = world.board.breakage().unwrap();
    assert_eq!(breakage.cause, Cause::NoAgent);
    assert!(breakage.text.contains("its beacons come on the console line"), "{}", breakage.text);
}

/// A session outlives the console line, and a restart behind it is noticed all the same.
#[test]
fn the_console_line_is_away_for_a_while() {
    let mut world = up(two_lines());
    world.pull_out(LineRole::Console);
    world.run_for(Duration::from_secs(20));
    world.request(Method::INFO, &[]);
    world.run_for(Duration::from_secs(1));
    assert!(world.board.is_at_goal());
    assert!(world.has(|event| matches!(event, BoardEvent::Answer { .. })));
    assert_eq!(lines_told(&world), [(LineRole::Console, false)], "once, however often it is tried");
    assert_eq!(world.board.line_problem(), None, "the agent can be reached");
    world.away.clear();
    world.run_for(Duration::from_secs(5));
    assert_eq!(lines_told(&world), [(LineRole::Console, false), (LineRole::Console, true)]);
    assert!(!world.has(|event| matches!(event, BoardEvent::SessionClosed { .. })));
    world.says("[   20.000000] usb 1-1: new device\r\n");
    assert!(world.board.poll_event().is_some());

    world.pull_out(LineRole::Console);
    world.start_agent(0);
    world.run_for(Duration::from_secs(20));
    assert!(world.has(|event| matches!(event, BoardEvent::Rebooted { .. })));
    assert!(world.board.is_at_goal());
}

#[test]
fn the_agents_line_is_away_for_a_while() {
    let mut world = up(two_lines());
    world.pull_out(LineRole::Agent);
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.board.phase(), Phase::Booting(Slot::Master));
    assert_eq!(world.board.line_problem().unwrap(), "the agent's line: no such device");
    assert_eq!(lines_told(&world), [(LineRole::Agent, false)]);
    let agent = world.board.agent_start().unwrap();
    assert_eq!(world.board.comeback(agent), Comeback::Awaited);
    world.says("[   20.000000] usb 1-1: new device\r\n");
    world.away.clear();
    world.run();
    assert!(world.board.is_at_goal());
    assert_eq!(world.board.comeback(agent), Comeback::Back);
    assert_eq!(lines_told(&world), [(LineRole::Agent, false), (LineRole::Agent, true)]);
    assert!(world.text(ConsoleSource::Console).contains("new device"));
    assert!(world.switched.len() <= 2, "the board was not switched for it");
}

/// Which line is missing is named, each where it counts.
#[test]
fn a_line_that_stays_away_is_the_cause() {
    for (line, named) in [
        (LineRole::Console, "the console line: no such device"),
        (LineRole::Agent, "the agent's line: no such device"),
    ] {
        let mut world = World::new(two_lines());
        world.away.push(line);
        // With an automatic boot the master image comes up unseen.
        world.is_dead = line == LineRole::Console;
        world.goal(Goal::Up(Slot::Master)).run();
        let breakage = world.board.breakage().unwrap();
        assert_eq!(breakage.cause, Cause::NoConnection);
        assert!(breakage.text.starts_with(named), "{}", breakage.text);
    }
}

/// Frames that were on their way when the board was reset refute nothing: only an answer does.
#[test]
fn a_banner_on_the_console_is_doubted_until_an_answer() {
    let mut world = up(two_lines());
    let log = "U-Boot 2023.01 (Jan 01 2023)\r\nfrom an old log\r\n";
    world.says(log);
    world.run_for(Duration::from_secs(3));
    assert!(world.has(|event| matches!(event, BoardEvent::Printed { .. })));
    assert!(world.board.is_at_goal());
    assert_eq!(world.text(ConsoleSource::Console), log);

    // A frame of before the reset comes late, on the other line.
    let mut frame = [0; LINE_MAX];
    world.request(Method::INFO, &[]);
    let asked = world.board.poll_transmit(world.now, LineRole::Agent).unwrap();
    world.agent.as_mut().unwrap().handle_input(world.now, &asked, &mut |_| {});
    world.serve();
    let length = world.agent.as_mut().unwrap().poll_transmit(world.now, &mut frame).unwrap();
    world.events.clear();
    world.power(true);
    world.step(Step::Banner);
    world.board.handle_bytes(world.now, LineRole::Agent, &frame[..length]);
    world.run_for(Duration::from_secs(2)).run();
    assert!(!world.has(|event| matches!(event, BoardEvent::Printed { .. })));
    assert!(world.has(|event| matches!(event, BoardEvent::Rebooted { .. })));
    assert!(world.board.is_at_goal(), "{:?}", world.board.breakage());
    assert!(world.switched.len() <= 2, "its countdown was caught, in time");
}

/// A panic that is only seen on the console.
#[test]
fn a_panic_on_the_console_ends_the_session() {
    let mut world = up(two_lines());
    world.agent = None;
    world.says(&format!("{PANIC}\r\n"));
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.board.phase(), Phase::Broken(Cause::Panic));
    assert!(world.has(|event| matches!(event, BoardEvent::Panic { .. })));
}

#[test]
fn a_console_at_another_speed_is_named() {
    let mut world = World::new(two_lines());
    world.goal(Goal::AnyUp).run_for(Duration::from_millis(1));
    let noise: Vec<u8> = (0..2000_u32).map(|n| 0x80 | (n * 37 % 0x7F) as u8).collect();
    world.board.handle_bytes(world.now, LineRole::Console, &noise);
    world.run_for(Duration::from_millis(1));
    let is_it = |event: &BoardEvent| {
        matches!(event, BoardEvent::Suspicion { line: Some(LineRole::Console), .. })
    };
    assert!(world.has(is_it), "{:?}", world.events);
}

/// Either line comes and goes at any time while goals change: the board always comes to its goal, or says why not, and
/// nothing is ever typed where nobody listens ([`World::type_in`] watches).
#[test]
fn lines_that_come_and_go() {
    for seed in 0..200_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let mut world = World::new(two_lines());
        world.goal(Goal::Up(Slot::Master));
        for _ in 0..12 {
            match next(5) {
                0 => world.pull_out(LineRole::Console),
                1 => world.pull_out(LineRole::Agent),
                2 => drop(world.goal(Goal::Up(Slot::Test))),
                3 => drop(world.goal(Goal::Up(Slot::Master))),
                _ => drop(world.request(Method::INFO, &[])),
            }
            world.run_for(Duration::from_millis(next(20_000)));
            world.away.clear();
        }
        world.run();
        if !world.board.is_at_goal() {
            world.goal(Goal::Up(Slot::Master)).run();
        }
        assert!(world.board.is_at_goal(), "seed {seed}: {:?}", world.board.breakage());
        world.run_for(Duration::from_secs(10));
        let told = lines_told(&world);
        for line in LineRole::ALL {
            let of_line: Vec<bool> =
                told.iter().filter(|(of, _)| *of == line).map(|(_, is_back)| *is_back).collect();
            let alternates = of_line.iter().enumerate().all(|(n, back)| *back == (n % 2 == 1));
            assert!(
                alternates && of_line.len().is_multiple_of(2),
                "seed {seed}: {line}: {of_line:?}"
            );
        }
    }
}
