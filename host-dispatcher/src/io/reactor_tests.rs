//! The event loop on real descriptors: sockets, pseudo-terminals and processes.
//!
//! No verdict hangs on a time: a test waits for its event, and what must not happen is shown by something later.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

use agent_core::time::Duration;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::unistd::Pid;

use super::clock;
use super::connection::Endpoint;
use super::event::{BoardEvent, IoEvent};
use super::event_loop::Reactor;
use super::signals::Signal;
use super::test_folder::TestFolder;

pub(super) const BOARD: usize = 7;

fn exec(words: &[&str]) -> Endpoint {
    Endpoint::Exec { argv: words.iter().map(ToString::to_string).collect() }
}

fn shell(script: &str) -> Endpoint {
    exec(&["/bin/sh", "-c", script])
}

fn argv(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(String::from).to_vec()
}

/// Turns until `wanted` makes something of a board's event.
pub(super) fn wait_for<T>(
    reactor: &mut Reactor,
    mut wanted: impl FnMut(BoardEvent) -> Option<T>,
) -> T {
    loop {
        // Without an end a lost event would hang the whole run; nothing here takes a fraction of it.
        for event in reactor.turn(Some(clock::now() + Duration::from_secs(60))).unwrap() {
            if let IoEvent::Board(BOARD, event) = event
                && let Some(found) = wanted(event)
            {
                return found;
            }
        }
    }
}

pub(super) fn wait_connected(reactor: &mut Reactor) {
    wait_for(reactor, |event| match event {
        BoardEvent::Connected => Some(()),
        BoardEvent::Disconnected(why) => panic!("{why}"),
        _ => None,
    });
}

pub(super) fn wait_disconnected(reactor: &mut Reactor) -> String {
    wait_for(reactor, |event| match event {
        BoardEvent::Disconnected(why) => Some(why),
        _ => None,
    })
}

pub(super) fn wait_text(reactor: &mut Reactor, text: &str) {
    let mut seen = Vec::new();
    wait_for(reactor, |event| match event {
        BoardEvent::Bytes(bytes) => {
            seen.extend(bytes);
            String::from_utf8_lossy(&seen).contains(text).then_some(())
        }
        BoardEvent::Disconnected(why) => panic!("{why}"),
        _ => None,
    });
}

fn wait_command(reactor: &mut Reactor) -> Result<String, String> {
    wait_for(reactor, |event| match event {
        BoardEvent::CommandDone(outcome) => Some(outcome),
        _ => None,
    })
}

/// Sends many bytes through a line whose other end returns them, and checks each.
fn echo_many(reactor: &mut Reactor) {
    let sent: Vec<u8> = (0..2_000_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let (mut written, mut received) = (0, Vec::new());
    while received.len() < sent.len() {
        written += reactor.write(BOARD, &sent[written..]);
        assert!(
            reactor.write_room(BOARD) < 64 * 1024
                || written == sent.len()
                || reactor.wants_bytes(BOARD)
        );
        for event in reactor.turn(None).unwrap() {
            match event {
                IoEvent::Board(BOARD, BoardEvent::Bytes(bytes)) => received.extend(bytes),
                IoEvent::Board(BOARD, BoardEvent::Disconnected(why)) => panic!("{why}"),
                _ => {}
            }
        }
    }
    assert!(received == sent, "each byte comes back in its place");
}

fn is_alive(pid: i32) -> bool {
    nix::sys::signal::kill(Pid::from_raw(pid), None).is_ok()
}

#[test]
fn a_child_is_a_line() {
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, exec(&["cat"]));
    wait_connected(&mut reactor);
    echo_many(&mut reactor);
    reactor.close().unwrap();
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, exec(&["pumice-no-such-program"]));
    let why = wait_disconnected(&mut reactor);
    assert_eq!(why, "pumice-no-such-program: not found: install it, or write its path");
    assert!(reactor.is_idle(BOARD));
}

#[test]
fn a_child_that_ends_says_why_after_its_last_bytes() {
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, shell("printf last; echo 'no such machine' >&2; exit 3"));
    let mut text = Vec::new();
    let why = wait_for(&mut reactor, |event| match event {
        BoardEvent::Bytes(bytes) => {
            text.extend(bytes);
            None
        }
        BoardEvent::Disconnected(why) => Some(why),
        _ => None,
    });
    assert_eq!(why, "/bin/sh ended with exit status 3: no such machine");
    assert_eq!(text, b"last");
}

#[test]
fn a_child_that_closes_its_line_and_stays_is_ended() {
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, shell("exec </dev/null >/dev/null; exec sleep 1000"));
    assert_eq!(wait_disconnected(&mut reactor), "/bin/sh ended with signal SIGTERM");
}

#[test]
fn a_child_that_ignores_sigterm_is_killed_with_all_that_it_started() {
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(
        BOARD,
        shell("trap '' TERM; sleep 1000 & echo $$ $!.; while :; do sleep 1000; done"),
    );
    let mut text = String::new();
    wait_for(&mut reactor, |event| {
        if let BoardEvent::Bytes(bytes) = event {
            text.push_str(&String::from_utf8(bytes).unwrap());
        }
        text.ends_with(".\n").then_some(())
    });
    let pids: Vec<i32> =
        text.trim_end_matches(".\n").split(' ').map(|pid| pid.parse().unwrap()).collect();
    reactor.disconnect(BOARD);
    assert!(!reactor.is_connected(BOARD));
    assert!(!reactor.is_idle(BOARD) && is_alive(pids[0]), "disconnect does not wait");
    // The next one starts when the last one is gone.
    reactor.connect(BOARD, shell(&format!("kill -0 {} && echo both || echo alone", pids[0])));
    wait_text(&mut reactor, "alone\n");
    // A killed grandchild is somebody else's to reap: it may stay as a zombie, which no longer runs.
    let state = fs::read_to_string(format!("/proc/{}/stat", pids[1])).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn dropping_the_loop_kills() {
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, shell("trap '' TERM; echo $$.; while :; do sleep 1000; done"));
    let mut text = String::new();
    wait_for(&mut reactor, |event| {
        if let BoardEvent::Bytes(bytes) = event {
            text.push_str(&String::from_utf8(bytes).unwrap());
        }
        text.ends_with(".\n").then_some(())
    });
    drop(reactor);
    assert!(!is_alive(text.trim_end_matches(".\n").parse().unwrap()));
}

#[test]
fn sockets_are_lines() {
    let folder = TestFolder::new();
    let path = folder.path().join("line");
    let unix = UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = unix.accept().unwrap();
        let mut reader = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut stream);
        drop((reader, stream));
        let (mut stream, _) = tcp.accept().unwrap();
        let mut reader = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut stream);
    });
    let mut reactor = Reactor::new().unwrap();
    for endpoint in [Endpoint::Unix { path }, Endpoint::Tcp { host: "127.0.0.1".into(), port }] {
        reactor.connect(BOARD, endpoint);
        wait_connected(&mut reactor);
        echo_many(&mut reactor);
    }
    reactor.disconnect(BOARD);
    echo.join().unwrap();
    reactor.connect(BOARD, Endpoint::Tcp { host: "127.0.0.1".into(), port });
    let why = wait_disconnected(&mut reactor);
    assert!(why.starts_with(&format!("failed to connect to tcp://127.0.0.1:{port}: ")), "{why}");
    assert!(why.ends_with("is the program that serves it running?"), "{why}");
}

#[test]
fn a_socket_that_is_closed_is_noticed() {
    let folder = TestFolder::new();
    let path = folder.path().join("line");
    let listener = UnixListener::bind(&path).unwrap();
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, Endpoint::Unix { path: path.clone() });
    wait_connected(&mut reactor);
    listener.accept().unwrap().0.write_all(b"last words").unwrap();
    let mut text = Vec::new();
    let why = wait_for(&mut reactor, |event| match event {
        BoardEvent::Bytes(bytes) => {
            text.extend(bytes);
            None
        }
        BoardEvent::Disconnected(why) => Some(why),
        _ => None,
    });
    assert_eq!(
        (text.as_slice(), why),
        (
            b"last words".as_slice(),
            format!("lost {}: the other end closed it: \"last words\"", path.display())
        )
    );
    assert_eq!(reactor.write(BOARD, b"x"), 0);
}

#[test]
fn what_nobody_reads_stays_bounded() {
    let folder = TestFolder::new();
    let path = folder.path().join("line");
    let listener = UnixListener::bind(&path).unwrap();
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, Endpoint::Unix { path });
    wait_connected(&mut reactor);
    let mut taken = 0;
    while reactor.write_room(BOARD) > 0 {
        taken += reactor.write(BOARD, &[0x55; 10_000]);
    }
    assert!(!reactor.wants_bytes(BOARD));
    let in_kernel = taken - 64 * 1024;
    assert!(in_kernel <= 4 * super::connection::TWO_FRAMES, "{in_kernel} bytes wait in the kernel");
    // The other end reads: room comes back, told once.
    let (mut stream, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; taken];
        stream.read_exact(&mut all).unwrap();
        (all, stream)
    });
    wait_for(&mut reactor, |event| (event == BoardEvent::Room).then_some(()));
    assert!(reactor.wants_bytes(BOARD));
    while reactor.write_room(BOARD) < 64 * 1024 {
        reactor.turn(None).unwrap();
    }
    assert!(reader.join().unwrap().0.iter().all(|byte| *byte == 0x55));
}

#[test]
fn a_pseudo_terminal_is_a_line_until_it_hangs_up() {
    let master = posix_openpt(nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname_r(&master).unwrap();
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, Endpoint::Serial { path: path.into(), baud: 1_234_567 });
    wait_connected(&mut reactor);
    // All byte values, both ways: nothing is translated, echoed or taken for a signal.
    let every: Vec<u8> = (0..=255).cycle().take(50_000).collect();
    let (mut board_side, copy) =
        (fs::File::from(std::os::fd::OwnedFd::from(master)), every.clone());
    let board = std::thread::spawn(move || {
        let mut heard = vec![0; copy.len()];
        board_side.read_exact(&mut heard).unwrap();
        board_side.write_all(&heard).unwrap();
        board_side
    });
    let (mut written, mut received) = (0, Vec::new());
    while received.len() < every.len() {
        written += reactor.write(BOARD, &every[written..]);
        for event in reactor.turn(None).unwrap() {
            if let IoEvent::Board(BOARD, BoardEvent::Bytes(bytes)) = event {
                received.extend(bytes);
            }
        }
    }
    assert!(received == every);
    drop(board.join().unwrap());
    let why = wait_disconnected(&mut reactor);
    assert!(why.starts_with("lost /dev/pts/"), "{why}");
}

#[test]
fn a_flood_from_one_board_does_not_starve_another() {
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(1, exec(&["cat", "/dev/zero"]));
    reactor.connect(BOARD, shell("echo here; read x"));
    wait_text(&mut reactor, "here\n");
}

#[test]
fn commands_tell_how_they_ended() {
    let mut reactor = Reactor::new().unwrap();
    let long = Duration::from_secs(60);
    reactor.run(BOARD, &argv("echo fine"), long);
    assert_eq!(wait_command(&mut reactor), Ok("fine\n".to_owned()));
    reactor.run(BOARD, &argv("echo trying; echo 'no outlet 9' >&2; exit 1"), long);
    let failed = wait_command(&mut reactor);
    assert_eq!(failed, Err("/bin/sh ended with exit status 1: trying / no outlet 9".into()));
    reactor.run(BOARD, &["pumice-no-such-program".into()], long);
    assert!(wait_command(&mut reactor).unwrap_err().contains("not found"));
    reactor.run(BOARD, &argv("yes & sleep 1000"), Duration::from_millis(1));
    assert_eq!(wait_command(&mut reactor), Err("/bin/sh did not end within 1 s".into()));
    // What a command leaves running in the background does not hold it up, and is left alone.
    let folder = TestFolder::new();
    let mark = folder.path().join("mark");
    reactor.run(
        BOARD,
        &argv(&format!(
            "{{ while ! [ -e {0}.go ]; do sleep 0.01; done; touch {0}; }} &",
            mark.display()
        )),
        long,
    );
    assert_eq!(wait_command(&mut reactor), Ok(String::new()));
    fs::write(mark.with_extension("go"), "").unwrap();
    reactor.run(
        BOARD,
        &argv(&format!("while ! [ -e {} ]; do sleep 0.01; done", mark.display())),
        long,
    );
    assert_eq!(wait_command(&mut reactor), Ok(String::new()));
}

#[test]
fn power_is_held_while_a_process_runs() {
    let held = |event| match event {
        BoardEvent::Held(outcome) => Some(outcome),
        _ => None,
    };
    let mut reactor = Reactor::new().unwrap();
    let folder = TestFolder::new();
    let pid = folder.path().join("pid");
    // Neither it nor what it started listens to SIGTERM.
    let holds = format!("trap '' TERM; sleep 1000 & echo $! > {}; wait; sleep 1000", pid.display());
    reactor.hold(BOARD, &argv(&holds));
    assert_eq!(wait_for(&mut reactor, held), Ok(()));
    let pid: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    assert!(is_alive(pid));
    reactor.let_go(BOARD);
    assert_eq!(wait_for(&mut reactor, held), Ok(()));
    // What it started is an orphan by now, which others reap.
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z")) {
        reactor.turn(Some(clock::now() + Duration::from_millis(5))).unwrap();
    }
    // That was all: there is nothing to let go.
    reactor.let_go(BOARD);
    assert_eq!(wait_for(&mut reactor, held), Ok(()));
    reactor.hold(BOARD, &argv("echo 'no relay 9' >&2; exit 1"));
    let failed = wait_for(&mut reactor, held);
    assert_eq!(failed, Err("/bin/sh ended with exit status 1: no relay 9".into()));
    reactor.hold(BOARD, &argv("sleep 1; echo 'the relay fell' >&2; exit 2"));
    assert_eq!(wait_for(&mut reactor, held), Ok(()));
    let how = wait_for(&mut reactor, |event| match event {
        BoardEvent::HolderEnded(how) => Some(how),
        _ => None,
    });
    assert!(how.ends_with("the relay fell"), "{how}");
    reactor.close().unwrap();
}

#[test]
fn workers_wake_the_loop() {
    let mut reactor = Reactor::new().unwrap();
    let waker = reactor.worker_waker(BOARD);
    let worker = std::thread::spawn(move || (0..1000).for_each(|_| waker.wake()));
    wait_for(&mut reactor, |event| (event == BoardEvent::Worker).then_some(()));
    worker.join().unwrap();
}

#[test]
fn signals_are_events() {
    let mut reactor = Reactor::new().unwrap();
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGWINCH).unwrap();
    let wanted = IoEvent::Signal(Signal::WindowChange);
    while !reactor.turn(None).unwrap().contains(&wanted) {}
}

#[test]
fn a_line_that_is_not_there_is_named() {
    let mut reactor = Reactor::new().unwrap();
    let path = Path::new("/no/such/line").to_owned();
    reactor.connect(BOARD, Endpoint::Serial { path: path.clone(), baud: 9600 });
    assert_eq!(
        wait_disconnected(&mut reactor),
        "/no/such/line is not there: is the adapter plugged in?"
    );
    reactor.connect(BOARD, Endpoint::Unix { path });
    let why = wait_disconnected(&mut reactor);
    assert!(why.ends_with("is the program that serves it running?"), "{why}");
}
