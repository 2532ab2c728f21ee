//! Whole lives of boards: from power on to a session and back, and everything that comes between.

use super::*;
use agent_core::link::coding;
use agent_core::link::crc::crc32c;
use agent_core::link::frame::{CONTENT_MAX, Frame, Kind};
use agent_core::link::{Hello, HelloAck, VERSION};
use agent_core::wire::codec;

#[test]
fn from_power_on_to_the_test_image_and_back() {
    for spec in [spec(), emulator()] {
        let mut world = World::new(spec);
        world.goal(Goal::Up(Slot::Master)).run();
        assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
        world.goal(Goal::Up(Slot::Test)).run();
        assert_eq!(world.board.phase(), Phase::Up(Slot::Test));
        world.goal(Goal::Off).run();
        assert_eq!(world.board.phase(), Phase::Off);
        let phases = world.phases().join(", ");
        assert!(
            phases.ends_with(
                "powering on, boot loader, booting master, up master, \
                 powering on, boot loader, booting test, up test, unknown, off"
            ),
            "{phases}"
        );
        assert!(
            !world.has(|event| matches!(
                event,
                BoardEvent::Rebooted { .. } | BoardEvent::Retry { .. }
            ))
        );
        assert_eq!(world.board.dropped(), Dropped::default());
    }
}

#[test]
fn sources_are_exact() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Master)).run();
    let boot_loader = world.text(ConsoleSource::BootLoader);
    assert!(boot_loader.starts_with("\r\n\r\nU-Boot 2023.01"), "{boot_loader}");
    assert!(
        boot_loader.ends_with("bootz ${kernel_addr_r}\r\n\r\nStarting kernel ...\r\n\r\n"),
        "{boot_loader}"
    );
    assert!(world.text(ConsoleSource::Console).starts_with("[    0.000000] Booting Linux"));
    assert_eq!(
        world.text(ConsoleSource::Typed),
        " virtio scan; echo pumice-rc=$?\nload virtio 0:1 ${kernel_addr_r} /boot/vmlinuz; echo pumice-rc=$?\n\
         bootz ${kernel_addr_r}\n"
    );
}

#[test]
fn for_any_agent_nothing_is_typed() {
    for spec in [spec(), emulator()] {
        let mut world = World::new(spec);
        world.goal(Goal::AnyUp).run();
        assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
        assert_eq!(world.typed, "");
    }
}

#[test]
fn an_agent_that_runs_already_is_found() {
    let mut world = World::new(generic());
    world.start_agent(1);
    world.goal(Goal::AnyUp).run();
    assert_eq!(world.phases(), ["booting test", "up test"]);
    assert!(world.now < Instant::ZERO + Duration::from_secs(1));
}

/// What was left of somebody else's job: it is not worked with, whatever its agent says, and the board starts afresh.
#[test]
fn a_board_that_runs_the_test_image_when_a_job_starts() {
    let mut world = World::new(spec());
    world.start_agent(1);
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    assert!(!world.phases().contains(&"up test".to_owned()), "{:?}", world.phases());
    assert!(!world.has(|event| matches!(event, BoardEvent::Retry { .. })));
}

#[test]
fn an_agent_of_another_link_is_an_error_that_names_both_versions() {
    let names_both = |world: &World| {
        assert_eq!(world.board.phase(), Phase::Broken(Cause::Incompatible));
        let text = &world.board.breakage().unwrap().text;
        let said = format!(
            "the agent speaks version {} of the link, and this pumice version {VERSION}: update \
             pumice on this host",
            VERSION + 1
        );
        assert_eq!(*text, said);
        assert!(!world.board.is_at_goal());
    };
    // A later beacon: nothing is known of what is behind it, and nothing is said to it.
    let said = format!("@pumice{} anything=new", VERSION + 1);
    let beacon = format!("\r\n{said} #{:08x}\r\n", crc32c(said.as_bytes()));
    let mut world = World::new(generic());
    world.goal(Goal::AnyUp).run_for(Duration::from_secs(1));
    world.says(&beacon);
    world.says(&beacon);
    world.run();
    names_both(&world);
    assert_eq!(world.sent_bytes, 0);
    // The same on its way up, from the kernel on.
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Master));
    world.run_until(world.now + Duration::from_secs(100), |world| {
        world.board.phase() == Phase::Booting(Slot::Master)
    });
    world.next = None;
    world.says(&beacon);
    world.run();
    names_both(&world);
    // A beacon as ever, and a later version in the answer to the hello.
    let mut world = World::new(generic());
    world.goal(Goal::AnyUp).run_for(Duration::from_secs(1));
    let beacon = Beacon { boot_id: [9; 16], nonce: 5, role: 0, coding: Coding::TextSafe };
    world.says(&beacon.to_line());
    let mut hello = Vec::new();
    while let Some(bytes) = world.board.poll_transmit(world.now, LineRole::Console) {
        hello.extend(bytes);
    }
    let answer = HelloAck {
        version: VERSION + 1,
        boot_id: beacon.boot_id,
        nonce: beacon.nonce,
        host_nonce: hello_of(&hello).nonce,
        role: beacon.role,
        window: 8,
        capabilities: 0,
    };
    let frame = frame_of(Kind::HelloAck, &answer);
    world.board.handle_bytes(world.now, LineRole::Console, &frame);
    world.run();
    names_both(&world);
}

/// What a host's text-safe frame says.
fn hello_of(line: &[u8]) -> Hello {
    let mut symbols = coding::SymbolReader::default();
    let content: Vec<u8> =
        line.iter().filter(|byte| **byte >= 0x80).filter_map(|byte| symbols.push(*byte)).collect();
    let frame = Frame::parse(&content).unwrap();
    assert_eq!(frame.kind, Kind::Hello);
    codec::decode(frame.body).unwrap()
}

/// A frame of the board outside of any session.
fn frame_of(kind: Kind, body: &impl Serialize) -> Vec<u8> {
    let mut buffer = [0; 96];
    let body = codec::encode(body, &mut buffer).unwrap();
    let frame = Frame { kind, from_board: true, tag: 0, ack: 0, sack: None, seq: 0, body };
    let (mut content, mut line) = ([0; CONTENT_MAX], [0; LINE_MAX]);
    let length = frame.emit(&mut content);
    let length = coding::encode(Coding::TextSafe, &content[..length], &mut line);
    line[..length].to_vec()
}

#[test]
fn a_passive_board_is_left_alone() {
    let mut world = World::new(spec());
    world.board.handle_connected(world.now, LineRole::Console);
    world.start_agent(0);
    world.run_for(Duration::from_secs(100));
    assert_eq!((world.sent_bytes, world.board.phase()), (0, Phase::Booting(Slot::Master)));
}

#[test]
fn without_power_nobody_can_help() {
    let mut world = World::new(generic());
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::NoPower));
    world.goal(Goal::AnyUp).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::Silent));
    world.goal(Goal::Off).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::NoPower));
    assert!(world.board.breakage().unwrap().text.contains("by hand"));
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
}

#[test]
fn without_power_an_agent_restarts_the_board() {
    let mut spec = spec();
    spec.power.kind = PowerKind::None;
    let mut world = World::new(spec);
    world.start_agent(0);
    world.goal(Goal::Up(Slot::Test)).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Test));
}

#[test]
fn a_dead_board_is_tried_three_times() {
    let mut world = World::new(spec());
    world.is_dead = true;
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::Silent));
    let cycles = |world: &World| {
        world
            .events
            .iter()
            .filter(|e| matches!(e, BoardEvent::Power { state: PowerState::Started, .. }))
            .count()
    };
    assert_eq!(cycles(&world), 3);
    let rest = world.run_for(Duration::from_secs(1000)).phases().len();
    assert_eq!(world.run_for(Duration::from_secs(1000)).phases().len(), rest);
    // A new goal is a new order, so many times.
    for _ in 0..3 {
        world.goal(Goal::Up(Slot::Master)).run_for(Duration::from_secs(200));
    }
    assert_eq!(cycles(&world), 12);
    world.goal(Goal::Up(Slot::Master)).run_for(Duration::from_secs(200));
    assert_eq!(cycles(&world), 12);
}

#[test]
fn a_power_command_that_fails_is_the_cause() {
    let mut world = World::new(spec());
    world.power_result = Err("exit status 1".into());
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::PowerFailed));
    assert!(world.board.breakage().unwrap().text.contains("exit status 1"));
}

#[test]
fn an_emulator_that_ends_is_noticed() {
    let mut world = World::new(emulator());
    world.goal(Goal::Up(Slot::Master)).run();
    world.board.handle_disconnected(world.now, LineRole::Console, "qemu ended with status 1");
    world.power(false);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.board.phase(), Phase::Broken(Cause::WentOff));
    assert!(world.has(|event| matches!(event, BoardEvent::SessionClosed { .. })));
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
}

#[test]
fn a_panic_ends_in_broken_and_the_owner_says_what_then() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Test)).run();
    (world.agent, world.is_deaf) = (None, true);
    world.says(&format!("{PANIC}\r\n[   12.345999] CPU: 0 PID: 1\r\n"));
    // The agent is asked, and does not answer.
    world.run_for(Duration::from_secs(3));
    assert!(!world.has(|event| matches!(event, BoardEvent::Panic { .. })));
    world.run_for(Duration::from_secs(2));
    world.is_deaf = false;
    assert!(world.has(|event| *event == BoardEvent::Panic { text: PANIC.into() }));
    world.run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::Panic));
    assert!(world.board.breakage().unwrap().console_tail.ends_with("PID: 1\r\n"));
    assert_eq!(world.board.breakage().unwrap().text, PANIC);
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
}

#[test]
fn a_print_of_a_banner_or_a_panic_changes_nothing() {
    for text in [
        format!("{U_BOOT}\r\n{KERNEL}{PANIC}\r\n"),
        KERNEL.to_owned(),
        format!("{PANIC}\r\nCPU: 0\r\n"),
        format!("{PANIC}\r\n{U_BOOT}"),
    ] {
        for size in [1, 7, 10_000] {
            let mut world = World::new(spec());
            world.goal(Goal::Up(Slot::Test)).run();
            let before = world.phases().len();
            world.events.clear();
            let start = world.now;
            for piece in text.as_bytes().chunks(size) {
                world.board.handle_bytes(world.now, LineRole::Console, piece);
                // As they come on the line.
                let end = world.now + Duration::from_micros(87 * size as u64);
                world.run_until(end, |_| false);
            }
            world.run_for(Duration::from_secs(20));
            assert!(world.now.since(start) > Duration::from_secs(20));
            assert_eq!(world.board.phase(), Phase::Up(Slot::Test), "{text}");
            assert_eq!((before > 0, world.phases()), (true, vec![]), "{text}");
            assert!(world.has(|event| matches!(event, BoardEvent::Printed { .. })), "{text}");
            let is_wrong = |event: &BoardEvent| {
                matches!(
                    event,
                    BoardEvent::Panic { .. }
                        | BoardEvent::Rebooted { .. }
                        | BoardEvent::SessionClosed { .. }
                )
            };
            assert!(!world.has(is_wrong), "{text}");
            // Not a byte of it is lost, and none is the boot loader's.
            assert_eq!(world.text(ConsoleSource::Console), text);
            let id = world.request(Method::INFO, &[]);
            world.run_for(Duration::from_secs(1));
            let is_it = |event: &BoardEvent| matches!(event, BoardEvent::Answer { request, .. } if *request == id);
            assert!(world.has(is_it), "{text}");
        }
    }
}

#[test]
fn a_goal_set_during_a_panic_is_followed_after_it() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Test)).run();
    (world.agent, world.is_deaf) = (None, true);
    world.says(&format!("{PANIC}\r\n"));
    world.goal(Goal::Up(Slot::Master)).run_for(Duration::from_secs(1));
    assert_eq!(world.board.phase(), Phase::Up(Slot::Test));
    world.run_for(Duration::from_secs(2));
    world.is_deaf = false;
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    assert!(world.phases().contains(&"broken".to_owned()));
}

/// What the dead kernel left in memory would not outlive a power cycle.
#[test]
fn a_board_that_restarts_behind_its_panic_is_held_at_its_boot_loader() {
    for goal_after in [1, 4, 11, 40] {
        let mut world = World::new(spec());
        world.goal(Goal::Up(Slot::Test)).run();
        world.events.clear();
        (world.agent, world.is_deaf) = (None, true);
        world.says(&format!("{PANIC}\r\nRebooting in 8 seconds..\r\n"));
        let died = world.now;
        let mut is_set = false;
        for second in 1..60 {
            world.run_until(died + Duration::from_secs(second), |_| false);
            if second == 8 {
                world.is_deaf = false;
                world.power(true);
                // What was sent to the dead kernel is the first that the boot loader reads.
                world.rubbish = "@x~9".into();
            }
            if second == goal_after {
                is_set = true;
                world.goal(Goal::Up(Slot::Master));
            }
            if !is_set {
                assert_ne!(world.board.phase(), Phase::Up(Slot::Master));
            }
        }
        assert_eq!(world.board.phase(), Phase::Up(Slot::Master), "goal after {goal_after} s");
        assert!(world.phases().contains(&"broken".to_owned()));
        let is_power = |event: &BoardEvent| matches!(event, BoardEvent::Power { .. });
        assert!(!world.has(is_power), "goal after {goal_after} s: {:?}", world.phases());
    }
}

/// Some only say that they will.
#[test]
fn a_panicked_board_that_does_not_restart_as_it_said_is_power_cycled() {
    for text in ["Rebooting in 8 seconds..", "Rebooting in 4000000000 seconds..", "Rebooting in"] {
        let mut world = World::new(spec());
        world.goal(Goal::Up(Slot::Test)).run();
        (world.agent, world.is_deaf) = (None, true);
        world.says(&format!("{PANIC}\r\n{text}\r\n"));
        world.run_for(Duration::from_secs(5));
        assert!(world.has(|event| matches!(event, BoardEvent::Panic { .. })), "told at once");
        world.run_for(Duration::from_secs(70));
        assert_eq!(world.board.phase(), Phase::Broken(Cause::Panic));
        world.is_deaf = false;
        world.goal(Goal::Up(Slot::Master)).run();
        assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    }
}

#[test]
fn a_slow_power_command_does_not_miss_the_countdown() {
    let mut world = World::new(spec());
    world.power_takes = Duration::from_secs(20);
    world.goal(Goal::Up(Slot::Test)).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Test));
    assert!(!world.has(|event| matches!(event, BoardEvent::Retry { .. })));
}

#[test]
fn a_countdown_that_is_never_stopped_boots_the_wrong_image() {
    let mut world = World::new(spec());
    world.is_deaf = true;
    world.goal(Goal::Up(Slot::Test)).run();
    assert_eq!(world.board.phase(), Phase::Broken(Cause::WrongImage));
    // For the master image it is as good.
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
}

#[test]
fn a_restart_without_an_answer_is_a_restart() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Master)).run();
    world.board.set_goal(world.now, Goal::Up(Slot::Test));
    // The request is on its way when the board is gone.
    while world.board.poll_transmit(world.now, LineRole::Console).is_some() {}
    world.agent = None;
    world.step(Step::Banner);
    world.run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Test));
    let is_trouble = |event: &BoardEvent| {
        matches!(event, BoardEvent::Retry { .. } | BoardEvent::Rebooted { .. })
    };
    assert!(!world.has(is_trouble));
    assert!(!world.has(|event| matches!(event, BoardEvent::Lost { .. })));
}

#[test]
fn a_board_that_resets_while_booting_costs_a_try() {
    let mut world = World::new(spec());
    world.board.set_goal(world.now, Goal::Up(Slot::Master));
    let end = world.now + Duration::from_secs(60);
    world.run_until(end, |world| world.board.phase() == Phase::Booting(Slot::Master));
    world.step(Step::Banner);
    world.run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    assert!(world.has(|event| matches!(
        event,
        BoardEvent::Retry { cause: Cause::Reset, tries_left: 1, .. }
    )));
}

#[test]
fn an_adapter_that_is_pulled_out_comes_back() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Master)).run();
    world.board.handle_disconnected(world.now, LineRole::Console, "input/output error");
    world.settle();
    assert_eq!(world.board.phase(), Phase::Booting(Slot::Master));
    world.run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    assert!(
        !world
            .has(|event| matches!(event, BoardEvent::Power { operation: PowerOperation::Off, .. }))
    );
    assert!(!world.has(|event| matches!(event, BoardEvent::Rebooted { .. })));
}

#[test]
fn a_line_that_stays_away_is_asked_less_and_less_often() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Master)).run();
    let mut pauses = Vec::new();
    // Lost, then not opened again seven times. The last time it is opened, and dropped at once.
    for loss in 0..8 {
        if loss == 7 {
            world.board.handle_connected(world.now, LineRole::Console);
        }
        world.board.handle_disconnected(world.now, LineRole::Console, "no such device");
        let lost_at = world.now;
        while world.board.poll_action() != Some(BoardAction::Connect(LineRole::Console)) {
            world.now = world.board.poll_timeout().expect("it is tried again");
            world.board.handle_timeout(world.now);
        }
        pauses.push(world.now.since(lost_at).as_millis_ceil());
    }
    assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 4000, 4000, 4000]);
    // One that held begins anew.
    world.board.handle_connected(world.now, LineRole::Console);
    world.now = world.now + Duration::from_secs(5);
    world.board.handle_disconnected(world.now, LineRole::Console, "no such device");
    let lost_at = world.now;
    while world.board.poll_action() != Some(BoardAction::Connect(LineRole::Console)) {
        world.now = world.board.poll_timeout().expect("it is tried again");
        world.board.handle_timeout(world.now);
    }
    assert_eq!(world.now.since(lost_at).as_millis_ceil(), 250);
}

#[test]
fn a_board_that_reboots_itself_is_brought_back() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Test)).run();
    let lost = world.request(Method::CLOCK, &[]);
    world.run_for(Duration::from_millis(100));
    world.agent = None;
    world.step(Step::Banner);
    // In time for the countdown, though it was asked first whether that is a print.
    let end = world.now + Duration::from_secs(1);
    world.run_until(end, |world| world.board.phase() == Phase::PoweringOn);
    assert_eq!(world.board.phase(), Phase::PoweringOn);
    assert!(world.has(|event| *event == BoardEvent::Lost { request: lost }));
    assert!(world.has(|event| matches!(event, BoardEvent::Rebooted { .. })));
    world.run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Test));
}

#[test]
fn a_board_of_an_unknown_type_that_resets_is_not_typed_at() {
    let mut world = World::new(generic());
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    // On its way when the board resets: without an answer it would be sent again, and again.
    world.request(Method::GET, &[3]);
    world.agent = None;
    world.is_deaf = true;
    while world.board.poll_transmit(world.now, LineRole::Console).is_some() {}
    world.says(U_BOOT);
    let sent = world.sent_bytes;
    world.run_for(Duration::from_secs(5));
    assert_eq!((world.sent_bytes, world.board.phase()), (sent, Phase::PoweringOn));
    world.start_kernel(0);
    world.run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
}

#[test]
fn a_restarted_agent_and_a_silent_reboot_are_told_apart_by_the_boot_id() {
    let mut world = World::new(generic());
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    world.boots -= 1;
    world.start_agent(0);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    assert!(!world.has(|event| matches!(event, BoardEvent::Rebooted { .. })));
    world.start_agent(1);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.board.phase(), Phase::Up(Slot::Test));
    assert!(world.has(|event| matches!(event, BoardEvent::Rebooted { .. })));
}

#[test]
fn an_agent_that_falls_silent_breaks_the_board() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Test)).run();
    world.agent = None;
    world.is_deaf = true;
    world.run();
    world.run_for(Duration::from_secs(200));
    assert_eq!(world.board.phase(), Phase::Broken(Cause::AgentLost));
    world.is_deaf = false;
    world.goal(Goal::Up(Slot::Master)).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
}

#[test]
fn requests_end_in_one_event_each() {
    let mut world = World::new(generic());
    let early = world.request(Method::INFO, &[]);
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    assert!(world.has(|event| *event == BoardEvent::Lost { request: early }));
    let stream = world.board.open_stream(world.now, Priority::Bulk, Direction::FromBoard).unwrap();
    let info = world.request(Method::INFO, &[]);
    let stat = world.request(Method::STAT, &[]);
    let clock = world.request(Method::CLOCK, &[]);
    let get = world.request(Method::GET, &[stream]);
    world.run_for(Duration::from_secs(20));
    let is_answer = |id, method| move |event: &BoardEvent| matches!(event, BoardEvent::Answer { request, method: is, .. } if (*request, *is) == (id, method));
    assert!(world.has(is_answer(info, Method::INFO)));
    assert!(world.has(is_answer(get, Method::GET)));
    assert!(world.has(|event| *event == BoardEvent::Expired { request: clock }));
    let failed = BoardEvent::Failed {
        request: stat,
        kind: FailureKind::NOT_FOUND,
        os_error: 2,
        text: "/nowhere".into(),
    };
    assert!(world.has(|event| *event == failed));
    assert!(world.has(|event| *event == BoardEvent::Data { stream, bytes: b"data".to_vec() }));
    assert!(world.has(|event| *event == BoardEvent::Finished { stream }));
    let ends = |id: RequestId| {
        let is = |event: &&BoardEvent| match event {
            BoardEvent::Answer { request, .. }
            | BoardEvent::Failed { request, .. }
            | BoardEvent::Lost { request }
            | BoardEvent::Expired { request } => *request == id,
            _ => false,
        };
        world.events.iter().filter(is).count()
    };
    for id in [early, info, stat, clock, get] {
        assert_eq!(ends(id), 1, "{id:?}");
    }
}

#[test]
fn many_requests_wait_their_turn_and_streams_are_used_in_turn() {
    let mut world = World::new(generic());
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    let mut used = Vec::new();
    for _ in 0..40 {
        let stream =
            world.board.open_stream(world.now, Priority::Bulk, Direction::FromBoard).unwrap();
        assert_eq!(stream % 2, 1);
        used.push(stream);
        world.request(Method::GET, &[stream]);
        world.run_for(Duration::from_millis(50));
    }
    assert_eq!(used[..16], used[16..32]);
    let answers = |world: &World| {
        world.events.iter().filter(|e| matches!(e, BoardEvent::Answer { .. })).count()
    };
    assert_eq!(answers(&world), 40);
    // Seven at a time, 64 in the queue; the rest is refused.
    for _ in 0..100 {
        world.request(Method::INFO, &[]);
    }
    world.run_for(Duration::from_secs(2));
    assert_eq!(answers(&world), 40 + 71);
    let refused =
        |event: &&BoardEvent| matches!(event, BoardEvent::Failed { kind: FailureKind::BUSY, .. });
    assert_eq!(world.events.iter().filter(refused).count(), 29);
    let streams: Vec<u8> = std::iter::from_fn(|| {
        world.board.open_stream(world.now, Priority::Bulk, Direction::ToBoard)
    })
    .collect();
    assert_eq!(streams.len(), 16);
}

#[test]
fn console_text_between_frames_is_exact() {
    let mut world = World::new(generic());
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    let text = "kernel text \u{7} with => prompts and Hit any key to stop autoboot:  2 \r\n";
    world.says(text);
    world.settle();
    assert!(world.text(ConsoleSource::Console).ends_with(text));
    assert!(world.board.is_up());
}

#[test]
fn hostile_bytes_break_nothing() {
    let mut random = 1u32;
    for seed in 0..50 {
        let mut world = World::new(if seed % 2 == 0 { spec() } else { emulator() });
        world.is_dead = true;
        world.is_deaf = true;
        world.goal([Goal::AnyUp, Goal::Up(Slot::Test), Goal::BootLoader][seed % 3]);
        for _ in 0..40 {
            let mut bytes = Vec::new();
            for _ in 0..200 {
                random ^= random << 13;
                random ^= random >> 17;
                random ^= random << 5;
                bytes.push(random as u8);
            }
            match random % 7 {
                0 => bytes.extend_from_slice(U_BOOT.as_bytes()),
                1 => bytes.extend_from_slice(KERNEL.as_bytes()),
                2 => bytes.extend_from_slice(PANIC.as_bytes()),
                3 => bytes.extend_from_slice(b"\r\n=> "),
                4 => world.start_agent(random as u8 & 1),
                _ => {}
            }
            world.board.handle_bytes(world.now, LineRole::Console, &bytes);
            world.run_for(Duration::from_millis(u64::from(random % 5000)));
            world.agent = None;
        }
        assert_eq!(world.board.dropped(), Dropped::default());
    }
}

#[test]
fn for_any_agent_a_board_that_is_off_is_switched_on() {
    let mut world = World::new(spec());
    world.goal(Goal::AnyUp).run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
    let is_on = |event: &BoardEvent| {
        matches!(
            event,
            BoardEvent::Power { operation: PowerOperation::On, state: PowerState::Done }
        )
    };
    assert!(world.has(is_on));
    assert!(world.has(|event| matches!(event, BoardEvent::Retry { cause: Cause::Silent, .. })));
}

#[test]
fn at_the_boot_loader_a_board_waits() {
    let mut world = World::new(spec());
    world.goal(Goal::BootLoader).run();
    assert_eq!(world.board.phase(), Phase::BootLoader);
    world.run_for(Duration::from_secs(1000));
    assert_eq!((world.board.phase(), &world.typed[..]), (Phase::BootLoader, " "));
    world.board.set_boot_script(Slot::Test, vec!["test scan".into(), "bootz 1".into()]);
    world.goal(Goal::Up(Slot::Test)).run();
    assert_eq!(world.typed, " test scan; echo pumice-rc=$?\nbootz 1\n");
}

#[test]
fn messages_come_in_pieces_and_strays_are_counted() {
    let mut world = World::new(generic());
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    let clock = world.request(Method::CLOCK, &[]);
    world.settle();
    let mut buffer = [0; 64];
    for id in [clock.0 + 1, clock.0] {
        let message = envelope::encode(Method::CLOCK, id, &7u8, &mut buffer).unwrap();
        for byte in message {
            assert_eq!(world.agent.as_mut().unwrap().write(0, &[*byte]), 1);
            world.settle();
        }
    }
    let answer = BoardEvent::Answer { request: clock, method: Method::CLOCK, body: vec![7] };
    assert!(world.has(|event| *event == answer));
    assert_eq!(world.board.stray_messages(), 1);
}

#[test]
fn messages_without_sense_end_the_session() {
    let mut world = World::new(generic());
    world.start_agent(0);
    world.goal(Goal::AnyUp).run();
    let clock = world.request(Method::CLOCK, &[]);
    world.settle();
    world.agent.as_mut().unwrap().write(0, &[0xFF; 10]);
    world.settle();
    assert!(world.has(|event| *event == BoardEvent::Lost { request: clock }));
    assert_eq!(world.board.phase(), Phase::Booting(Slot::Master));
    // The agent notices the silence and beacons again.
    world.run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Master));
}

/// A second beacon of the boot that is to end must not be answered, or the host would type into a boot loader.
#[test]
fn while_a_restart_is_awaited_the_old_boot_is_not_answered() {
    let mut world = World::new(spec());
    world.goal(Goal::Up(Slot::Master)).run();
    world.goal(Goal::Up(Slot::Test));
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.board.phase(), Phase::PoweringOn);
    world.boots -= 1;
    world.start_agent(0);
    let sent = world.sent_bytes;
    world.run_for(Duration::from_millis(400));
    assert_eq!((world.board.phase(), world.sent_bytes), (Phase::PoweringOn, sent));
    world.agent = None;
    world.run();
    assert_eq!(world.board.phase(), Phase::Up(Slot::Test));
}

#[test]
fn a_line_that_goes_away_at_the_boot_loader_is_the_cause() {
    let mut world = World::new(spec());
    world.goal(Goal::BootLoader).run();
    assert!(world.board.is_at_goal());
    world.pull_out(LineRole::Console);
    world.goal(Goal::Up(Slot::Master)).run();
    let breakage = world.board.breakage().unwrap();
    assert_eq!(breakage.cause, Cause::NoConnection);
    assert!(breakage.text.starts_with("no such device; "), "{}", breakage.text);
}
