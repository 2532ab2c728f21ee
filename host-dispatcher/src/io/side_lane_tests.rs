//! Side lanes on real sockets, with boards that are none.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use agent_core::time::Duration;

use super::clock;
use super::event::{BoardEvent, IoEvent};
use super::event_loop::Reactor;
use super::reactor_tests::{BOARD, wait_for};
use crate::board::side_lane::LaneOffer;
use crate::config::side_lane::SideLane;

const OTHER: usize = 8;

fn lane() -> SideLane {
    "127.0.0.1".parse().unwrap()
}

fn come(offer: &LaneOffer) -> TcpStream {
    TcpStream::connect((offer.address, offer.port)).unwrap()
}

fn wait_closed(reactor: &mut Reactor) -> String {
    wait_for(reactor, |event| match event {
        BoardEvent::LaneClosed(why) => Some(why),
        BoardEvent::LaneOpened => panic!("somebody was let in"),
        _ => None,
    })
}

fn wait_opened(reactor: &mut Reactor) {
    wait_for(reactor, |event| match event {
        BoardEvent::LaneOpened => Some(()),
        BoardEvent::LaneClosed(why) => panic!("{why}"),
        _ => None,
    });
}

/// Whether this end was closed by the other, which has sent nothing.
fn is_turned_away(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_board_with_its_token_is_let_in_and_heard() {
    let mut reactor = Reactor::new().unwrap();
    let offer = reactor.offer_lane(BOARD, &lane()).unwrap();
    let mut board = come(&offer);
    // In pieces, and what follows the token is not lost.
    board.write_all(&offer.token[..5]).unwrap();
    reactor.turn(Some(clock::now() + Duration::from_millis(20))).unwrap();
    board.write_all(&[&offer.token[5..], b"first"].concat()).unwrap();
    wait_opened(&mut reactor);
    let mut heard = Vec::new();
    wait_for(&mut reactor, |event| {
        if let BoardEvent::LaneBytes(bytes) = event {
            heard.extend(bytes);
        }
        (heard == b"first").then_some(())
    });
    reactor.write_lane(BOARD, b"answer");
    let mut answer = [0; 6];
    board.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"answer");
    // It is listened no more, and the token is used up.
    assert!(TcpStream::connect((offer.address, offer.port)).is_err());
    drop(board);
    assert_eq!(wait_closed(&mut reactor), "the board closed it");
}

#[test]
fn each_token_is_good_for_its_board_once() {
    let mut reactor = Reactor::new().unwrap();
    let (mine, other) =
        (reactor.offer_lane(BOARD, &lane()).unwrap(), reactor.offer_lane(OTHER, &lane()).unwrap());
    assert_eq!(mine.port, other.port, "one listener for both");
    assert_ne!(mine.token, other.token);
    let mut board = come(&mine);
    board.write_all(&mine.token).unwrap();
    wait_opened(&mut reactor);
    let mut thief = come(&other);
    thief.write_all(&mine.token).unwrap();
    let mut turns = 0;
    thief.set_nonblocking(true).unwrap();
    while !is_turned_away(&mut thief) {
        for event in reactor.turn(Some(clock::now() + Duration::from_millis(10))).unwrap() {
            assert!(!matches!(event, IoEvent::Board(_, BoardEvent::LaneOpened)), "{event:?}");
        }
        turns += 1;
        assert!(turns < 6_000, "nobody turns it away");
    }
    // The lane that there is stays, and is that of its board.
    reactor.write_lane(BOARD, b"x");
    let mut answer = [0; 1];
    board.read_exact(&mut answer).unwrap();
    reactor.close_lane(BOARD);
    assert!(is_turned_away(&mut board));
}

#[test]
fn whoever_has_no_token_is_turned_away_and_counted() {
    let mut reactor = Reactor::new().unwrap();
    let offer = reactor.offer_lane(BOARD, &lane()).unwrap();
    let mut wrong = come(&offer);
    let mut token = offer.token;
    token[15] ^= 1;
    wrong.write_all(&token).unwrap();
    drop(come(&offer));
    let mut silent = come(&offer);
    let mut short = come(&offer);
    short.write_all(&offer.token[..15]).unwrap();
    let why = wait_closed(&mut reactor);
    assert_eq!(
        why,
        "the board did not come within 5 s; 4 connections without its token were turned away"
    );
    for stream in [&mut wrong, &mut silent, &mut short] {
        assert!(is_turned_away(stream));
    }
}

#[test]
fn a_crowd_does_not_grow() {
    let mut reactor = Reactor::new().unwrap();
    let offer = reactor.offer_lane(BOARD, &lane()).unwrap();
    let mut crowd = Vec::new();
    let mut refused = 0;
    for _ in 0..100 {
        let stream = come(&offer);
        stream.set_nonblocking(true).unwrap();
        crowd.push(stream);
        reactor.turn(Some(clock::now() + Duration::from_millis(1))).unwrap();
    }
    while refused < 68 {
        reactor.turn(Some(clock::now() + Duration::from_millis(10))).unwrap();
        refused = crowd.iter_mut().filter_map(|s| is_turned_away(s).then_some(())).count();
    }
    assert_eq!(refused, 68, "32 may be at it");
    // When one of them leaves there is room again.
    drop(crowd);
    let mut board = come(&offer);
    for _ in 0..10 {
        reactor.turn(Some(clock::now() + Duration::from_millis(10))).unwrap();
    }
    let _ = board.write_all(&offer.token);
    if is_open(&mut reactor, &mut board) {
        return;
    }
    panic!("the board is kept out by those who are gone");
}

fn is_open(reactor: &mut Reactor, board: &mut TcpStream) -> bool {
    board.set_nonblocking(true).unwrap();
    loop {
        for event in reactor.turn(Some(clock::now() + Duration::from_millis(10))).unwrap() {
            if let IoEvent::Board(BOARD, BoardEvent::LaneOpened) = event {
                return true;
            }
        }
        if is_turned_away(board) {
            return false;
        }
    }
}

#[test]
fn a_board_that_takes_nothing_loses_its_lane() {
    let mut reactor = Reactor::new().unwrap();
    let offer = reactor.offer_lane(BOARD, &lane()).unwrap();
    let mut board = come(&offer);
    board.write_all(&offer.token).unwrap();
    wait_opened(&mut reactor);
    let mut written = 0;
    let why = loop {
        reactor.write_lane(BOARD, &[0; 8192]);
        written += 8192;
        assert!(written < 64 << 20, "there is no bound");
        let events = reactor.turn(Some(clock::now())).unwrap();
        let closed = events.into_iter().find_map(|event| match event {
            IoEvent::Board(BOARD, BoardEvent::LaneClosed(why)) => Some(why),
            _ => None,
        });
        if let Some(why) = closed {
            break why;
        }
    };
    assert_eq!(why, "the board sends and takes nothing");
}

#[test]
fn an_address_of_others_is_named_with_the_mend() {
    let mut reactor = Reactor::new().unwrap();
    // Of TEST-NET-2 (RFC 5737), which no host has.
    let lane: SideLane = "198.51.100.7".parse().unwrap();
    let why = reactor.offer_lane(BOARD, &lane).unwrap_err();
    assert!(why.starts_with("failed to listen on 198.51.100.7:0: "), "{why}");
    assert!(
        why.ends_with("as in side_lane: {address: 198.51.100.7:4000, listen: 0.0.0.0}"),
        "{why}"
    );
}
