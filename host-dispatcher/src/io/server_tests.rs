//! Lines behind a serial server, which a thread pretends: what it hears first, what it answers, what it hears next.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use super::connection::Endpoint;
use super::event::BoardEvent;
use super::event_loop::Reactor;
use super::reactor_tests::{BOARD, wait_connected, wait_disconnected, wait_for, wait_text};
use crate::board::line_quality::UartErrors;

/// A server that waits for the first of each pair and then says the second. It returns all that it has heard, when
/// the connection is closed.
fn server(steps: &'static [(&[u8], &[u8])]) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut heard, mut read) = (Vec::new(), 0);
        let mut piece = [0; 4096];
        for (wanted, answer) in steps {
            let at = loop {
                let found = heard[read..].windows(wanted.len()).position(|part| part == *wanted);
                if let Some(at) = found {
                    break at;
                }
                match stream.read(&mut piece) {
                    Ok(length @ 1..) => heard.extend_from_slice(&piece[..length]),
                    _ => return heard,
                }
            };
            read += at + wanted.len();
            stream.write_all(answer).unwrap();
        }
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            heard.extend_from_slice(&piece[..length]);
        }
        heard
    });
    (port, serving)
}

fn endpoint(port: u16, baud: Option<u32>) -> Endpoint {
    Endpoint::Telnet { host: "127.0.0.1".into(), port, baud }
}

fn wait_break(reactor: &mut Reactor) -> Result<(), String> {
    wait_for(reactor, |event| match event {
        BoardEvent::BreakDone(outcome) => Some(outcome),
        _ => None,
    })
}

/// DO and WILL BINARY, DO COM-PORT-OPTION.
const AGREES: &[u8] = b"\xff\xfd\x00\xff\xfb\x00\xff\xfd\x2c";

#[test]
fn a_line_by_rfc_2217() {
    let (port, server) = server(&[
        // What the board says meanwhile is the line's, too.
        (b"\xff\xfb\x2c", b"early\xff\xfd\x00\xff\xfb\x00\xff\xfd\x2c"),
        (b"\xff\xfa\x2c\x01\x00\x01\xc2\x00\xff\xf0", b"\xff\xfa\x2c\x65\x00\x01\xc2\x00\xff\xf0"),
        (b"a\r\xff\xffb", b"back\r\x00\xff\xff\xff\xfa\x2c\x6a\x0e\xff\xf0."),
        // 921600 is done, 3000000 not; the rate before it comes back, and the server says so late.
        (b"\xff\xfa\x2c\x01\x00\x0e\x10\x00\xff\xf0", b"\xff\xfa\x2c\x65\x00\x0e\x10\x00\xff\xf0"),
        (b"\xff\xfa\x2c\x01\x00\x2d\xc6\xc0\xff\xf0", b"\xff\xfa\x2c\x65\x00\x0e\x10\x00\xff\xf0"),
        (b"\xff\xfa\x2c\x01\x00\x0e\x10\x00\xff\xf0", b"\xff\xfa\x2c\x65\x00\x0e\x10\x00\xff\xf0"),
    ]);
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, endpoint(port, Some(115_200)));
    wait_text(&mut reactor, "early");
    wait_connected(&mut reactor);
    assert_eq!(reactor.write(BOARD, b"a\r\xffb"), 4);
    let mut back = Vec::new();
    wait_for(&mut reactor, |event| {
        if let BoardEvent::Bytes(bytes) = event {
            back.extend(bytes);
        }
        back.ends_with(b".").then_some(())
    });
    assert_eq!(back, b"back\r\x00\xff.");
    assert_eq!(reactor.uart_errors(BOARD), Some(UartErrors { overruns: 1, errors: 1 }));

    reactor.set_baud(BOARD, 921_600);
    assert_eq!(reactor.write(BOARD, b"too early"), 0, "the server has not said that it did so");
    wait_for(&mut reactor, |event| (event == BoardEvent::Room).then_some(()));
    reactor.set_baud(BOARD, 3_000_000);
    let why = wait_for(&mut reactor, |event| match event {
        BoardEvent::BaudFailed(why) => Some(why),
        _ => None,
    });
    assert!(why.starts_with("the line runs at 921600 baud and not at 3000000: "), "{why}");

    reactor.write(BOARD, b"before");
    reactor.send_break(BOARD);
    reactor.write(BOARD, b"behind");
    assert_eq!(wait_break(&mut reactor), Ok(()));
    while reactor.has_unwritten(BOARD) {
        reactor.turn(None).unwrap();
    }
    reactor.disconnect(BOARD);
    let heard = server.join().unwrap();
    let end = b"before\xff\xfa\x2c\x05\x05\xff\xf0\xff\xfa\x2c\x05\x06\xff\xf0behind";
    assert!(heard.ends_with(end), "{heard:x?}");
}

#[test]
fn a_server_that_cannot_is_named() {
    let (port, refusing) = server(&[(b"\xff\xfb\x2c", b"\xff\xfd\x00\xff\xfb\x00\xff\xfe\x2c")]);
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, endpoint(port, Some(115_200)));
    let why = wait_disconnected(&mut reactor);
    let expected = format!("failed to connect to rfc2217://127.0.0.1:{port}: the server does not");
    assert!(why.starts_with(&expected), "{why}");
    refusing.join().unwrap();

    let (port, slow) = server(&[
        (b"\xff\xfb\x2c", AGREES),
        (
            b"\xff\xfa\x2c\x01\x00\x01\xc2\x00\xff\xf0",
            b"\xff\xfa\x2c\x64old box\xff\xf0\xff\xfa\x2c\x65\x00\x00\x25\x80\xff\xf0",
        ),
    ]);
    reactor.connect(BOARD, endpoint(port, Some(115_200)));
    let why = wait_disconnected(&mut reactor);
    let expected = format!(
        "failed to connect to rfc2217://127.0.0.1:{port}: the line runs at 9600 baud and not at 115200: choose a rate \
         that the server can do (the server is old box)"
    );
    assert_eq!(why, expected);
    slow.join().unwrap();
}

#[test]
fn a_line_by_telnet() {
    // A port that answers no offer carries bytes all the same.
    let (port, server) = server(&[(b"\xff\xfd\x03", b"here")]);
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, endpoint(port, None));
    wait_text(&mut reactor, "here");
    wait_connected(&mut reactor);
    assert_eq!(reactor.uart_errors(BOARD), None);
    reactor.set_baud(BOARD, 9600);
    reactor.write(BOARD, b"\r\xff");
    reactor.send_break(BOARD);
    assert_eq!(wait_break(&mut reactor), Ok(()));
    reactor.disconnect(BOARD);
    let heard = server.join().unwrap();
    assert!(heard.ends_with(b"\xff\xfd\x03\r\x00\xff\xff\xff\xf3"), "{heard:x?}");
}

#[test]
fn a_break_on_a_serial_device_holds_what_is_written_behind_it() {
    let master = posix_openpt(nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname_r(&master).unwrap();
    let mut reactor = Reactor::new().unwrap();
    reactor.connect(BOARD, Endpoint::Serial { path: path.into(), baud: 115_200 });
    wait_connected(&mut reactor);
    reactor.write(BOARD, b"before");
    reactor.send_break(BOARD);
    reactor.write(BOARD, b"behind");
    assert!(reactor.has_unwritten(BOARD));
    assert_eq!(wait_break(&mut reactor), Ok(()));
    assert!(!reactor.has_unwritten(BOARD), "nothing more holds it");
    let mut heard = [0; 12];
    std::fs::File::from(std::os::fd::OwnedFd::from(master)).read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"beforebehind");
}

#[test]
fn a_line_without_a_break_says_which_have_one() {
    let mut reactor = Reactor::new().unwrap();
    reactor.send_break(BOARD);
    reactor.connect(BOARD, Endpoint::Exec { argv: vec!["cat".into()] });
    wait_connected(&mut reactor);
    reactor.send_break(BOARD);
    let why = wait_break(&mut reactor).unwrap_err();
    let expected =
        "cat carries bytes and no BREAK: a connection by serial:, rfc2217:// or telnet:// does";
    assert_eq!(why, expected);
}
