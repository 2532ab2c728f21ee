//! The board's end of a line test.

use crate::bench::{Bench, generic, secs};
use agent_core::agent::OPS_MAX;
use agent_core::wire::{FailureKind, Method, request, response};
use agent_core::xorshift::Xorshift32;
use core::num::NonZeroU32;

const SEED: u32 = 0x1234_5678;

const PUSH: u8 = 1;
const PULL: u8 = 3;

fn series(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Xorshift32::new(NonZeroU32::new(SEED).unwrap()).fill(&mut bytes);
    bytes
}

fn begin(bench: &mut Bench, to_board: u8, from_board: u8, bytes: u64) -> u32 {
    for stream in [to_board, from_board] {
        if stream != 0 {
            bench.open(stream);
        }
    }
    let body = request::LineTest { to_board, from_board, seed: SEED, bytes };
    bench.ask(Method::LINE_TEST, &body)
}

fn result(bench: &Bench, request: u32) -> (u64, u64, u64) {
    let answer: response::LineTest = bench.answer(request, Method::LINE_TEST);
    (answer.received, answer.wrong, answer.sent)
}

#[test]
fn a_push_is_counted_and_its_wrong_bytes_are_found() {
    let mut bench = Bench::up(generic());
    let mut bytes = series(200_000);
    bytes[77] ^= 1;
    bytes[199_999] ^= 0x80;
    let request = begin(&mut bench, PUSH, 0, 0);
    bench.send(PUSH, &bytes, false);
    bench.run_for(secs(1));
    assert!(!bench.is_answered(request), "it ends when the dispatcher says so");
    bench.host.finish(PUSH);
    bench.run_for(secs(1));
    assert_eq!(result(&bench, request), (200_000, 2, 0));
}

#[test]
fn a_pull_brings_the_series_and_its_end() {
    for bytes in [0, 1, 127, 200_000] {
        let mut bench = Bench::up(generic());
        let request = begin(&mut bench, 0, PULL, bytes as u64);
        bench.run_for(secs(1));
        assert_eq!(result(&bench, request), (0, 0, bytes as u64));
        let incoming = bench.streams.get(&PULL).cloned().unwrap_or_default();
        assert!(incoming.bytes == series(bytes) && incoming.is_finished, "{bytes} bytes");
    }
}

#[test]
fn both_directions_at_once() {
    let mut bench = Bench::up(generic());
    let request = begin(&mut bench, PUSH, PULL, 100_000);
    bench.run_for(secs(1));
    assert!(bench.streams[&PULL].is_finished && !bench.is_answered(request));
    bench.send(PUSH, &series(50_000), true);
    bench.run_for(secs(1));
    assert_eq!(result(&bench, request), (50_000, 0, 100_000));
    assert!(bench.streams[&PULL].bytes == series(100_000));
}

#[test]
fn a_reset_ends_either_direction_and_the_streams_are_free_again() {
    let mut bench = Bench::up(generic());
    for _ in 0..=OPS_MAX {
        bench.stalled.insert(PULL);
        let request = begin(&mut bench, PUSH, PULL, u64::MAX);
        bench.send(PUSH, &series(10_000), false);
        bench.run_for(secs(1));
        bench.host.reset(PULL);
        bench.run_for(secs(1));
        assert!(!bench.is_answered(request), "one direction goes on");
        bench.host.reset(PUSH);
        bench.run_for(secs(1));
        let (received, wrong, sent) = result(&bench, request);
        assert_eq!((received, wrong), (10_000, 0));
        let came = bench.streams[&PULL].bytes.len();
        assert!(sent >= came as u64 && bench.streams[&PULL].bytes == series(came), "{sent}");
        bench.unstall(PULL);
    }
}

#[test]
fn a_test_whose_session_is_lost_leaves_room_for_the_next() {
    let mut bench = Bench::up(generic());
    for _ in 0..=OPS_MAX {
        bench.stalled.insert(PULL);
        let request = begin(&mut bench, PUSH, PULL, u64::MAX);
        bench.send(PUSH, &series(10_000), false);
        bench.run_for(secs(1));
        bench.cut(true);
        bench.run_for(secs(12));
        bench.cut(false);
        bench.run_for(secs(4));
        assert!(bench.host.is_open() && !bench.is_answered(request));
        bench.unstall(PULL);
    }
    let request = begin(&mut bench, PUSH, PULL, 5000);
    bench.send(PUSH, &series(6000), true);
    bench.run_for(secs(1));
    assert_eq!(result(&bench, request), (6000, 0, 5000));
}

#[test]
fn a_slow_reader_stalls_no_command() {
    let mut bench = Bench::up(generic());
    bench.stalled.insert(PULL);
    let request = begin(&mut bench, 0, PULL, 100_000);
    bench.run_for(secs(1));
    let exec = bench.exec("true", [0, 5, 0], 0);
    bench.run_for(secs(1));
    assert_eq!(bench.exit(exec), (response::Exit::EXITED, 0));
    assert!(!bench.is_answered(request));
    bench.unstall(PULL);
    bench.run_for(secs(1));
    assert_eq!(result(&bench, request), (0, 0, 100_000));
    assert!(bench.streams[&PULL].bytes == series(100_000));
}

#[test]
fn what_cannot_be_tested_is_refused() {
    let mut bench = Bench::up(generic());
    for (to_board, from_board, seed) in [(1, 3, 0), (0, 0, SEED), (3, 3, SEED), (32, 0, SEED)] {
        let body = request::LineTest { to_board, from_board, seed, bytes: 10 };
        let request = bench.ask(Method::LINE_TEST, &body);
        bench.run_for(secs(1));
        assert_eq!(bench.failure_kind(request), FailureKind::BAD_MESSAGE, "{body:?}");
    }
    let running = begin(&mut bench, PUSH, 0, 0);
    let body = request::LineTest { to_board: 0, from_board: PUSH, seed: SEED, bytes: 10 };
    let second = bench.ask(Method::LINE_TEST, &body);
    bench.run_for(secs(1));
    assert_eq!(bench.failure_kind(second), FailureKind::BUSY);
    bench.send(PUSH, b"", true);
    bench.run_for(secs(1));
    assert_eq!(result(&bench, running), (0, 0, 0));
}
