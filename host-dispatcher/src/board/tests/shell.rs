//! A board without an agent whose shell is typed at.

use super::*;
use crate::bootstrap::{Bootstrap, Login, Report, Request};

fn bootstrap(now: Instant) -> Bootstrap {
    let login = Login {
        user: Some("root".into()),
        password: Some("sesame".into()),
        login_prompt: "login:".into(),
        password_prompt: "assword:".into(),
        refused: vec!["Login incorrect".into()],
    };
    let request = Request {
        login,
        folders: vec!["/tmp".into()],
        arguments: Vec::new(),
        character_delay: None,
        characters_per_second: 11_520,
        patience: Duration::from_secs(60),
    };
    Bootstrap::new(now, request, 1)
}

/// A board that says nothing by itself, and is asked for an agent.
fn silent() -> Board {
    let mut board = Board::new(generic(), 1);
    board.set_goal(Instant::ZERO, Goal::AnyUp);
    board.handle_connected(Instant::ZERO, LineRole::Console);
    board
}

#[test]
fn a_line_is_quiet_before_it_is_typed_at() {
    let mut board = silent();
    let second = Instant::ZERO + Duration::from_secs(1);
    assert!(board.shell_at().is_some_and(|at| at > second));
    let before = board.shell_at();
    board.handle_bytes(second, LineRole::Console, b"[    1.000000] something\r\n");
    assert!(board.shell_at() > before, "it was not quiet");
    for seconds in 2..100 {
        board.handle_bytes(
            Instant::ZERO + Duration::from_secs(seconds),
            LineRole::Console,
            b"more\r\n",
        );
    }
    assert!(board.shell_at().is_some_and(|at| at < Instant::ZERO + Duration::from_secs(30)));
    assert_eq!(board.poll_transmit(second, LineRole::Console), None, "and nobody types unasked");
    board.set_goal(second, Goal::Up(Slot::Test));
    assert_eq!(board.shell_at(), None, "a test image brings its agent");
}

#[test]
fn a_password_is_typed_and_told_to_nobody() {
    let mut board = silent();
    let mut now = Instant::ZERO + Duration::from_secs(5);
    board.begin_bootstrap(bootstrap(now), "sesame");
    let (mut typed, mut told) = (String::new(), Vec::new());
    for _ in 0..200 {
        while let Some(bytes) = board.poll_transmit(now, LineRole::Console) {
            let text = String::from_utf8(bytes).unwrap();
            typed.push_str(&text);
            let answer = match text.as_str() {
                "\n" if !typed.contains("sesame") => "\r\nboard login: ",
                "root\n" => "root\r\nPassword: ",
                "sesame\n" => "sesame\r\n# ses",
                _ => "",
            };
            answer
                .as_bytes()
                .chunks(4)
                .for_each(|piece| board.handle_bytes(now, LineRole::Console, piece));
        }
        now = board.poll_timeout().map_or(now, |at| at.max(now));
        board.handle_timeout(now);
    }
    let report = board.bootstrap().and_then(Bootstrap::poll_report);
    assert!(matches!(report, Some(Report::Failed(_))), "nothing computed the marker: {report:?}");
    board.end_bootstrap();
    while let Some(event) = board.poll_event() {
        if let BoardEvent::Console { bytes, .. } = event {
            told.extend(bytes);
        }
    }
    assert!(typed.contains("root\nsesame\necho PU''MICE-"), "{typed}");
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("Password: ******\r\n# ses") && !told.contains("sesame"), "{told}");
    assert!(!board.console_tail().contains("sesame"));
}
