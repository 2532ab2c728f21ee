//! The agent's services, asked over a real link by a host, on a board in memory.

#[path = "agent/baud.rs"]
mod baud;
#[path = "agent/bench.rs"]
mod bench;
#[path = "agent/calls.rs"]
mod calls;
#[path = "agent/deploy.rs"]
mod deploy;
#[path = "agent/line_test.rs"]
mod line_test;
#[path = "agent/resume.rs"]
mod resume;
#[path = "agent/signals.rs"]
mod signals;

use agent_core::agent::{DRAIN_WAIT, KILL_GRACE, OPS_MAX, Role, START_WAIT};
use agent_core::link::CloseReason;
use agent_core::time::Duration;
use agent_core::wire::record::{Record, split_counted};
use agent_core::wire::{FailureKind, Method, codec, request, response};
use bench::{Bench, generic, plan_bytes, secs};
use fake_board::{Death, DieAt, Options, Phase, Program, Step as Does};
use sha2::{Digest as _, Sha256};

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 256) as u8).collect()
}

// ---- packed files, digests of files

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    agent_core::xorshift::Xorshift32::new(std::num::NonZeroU32::MIN).fill(&mut bytes);
    bytes
}

#[test]
fn a_packed_file_is_whole_and_only_one_comes_at_a_time() {
    let mut bench = Bench::up(generic());
    let text: Vec<u8> = b"the same line again and again\n".repeat(3_000);
    bench.board.put_file("master", "/log", &text);
    bench.board.put_file("master", "/noise", &noise(50_000));
    let get = |path, stream| request::Get { path, stream, offset: 30 };
    for stream in [3, 5, 7] {
        bench.open(stream);
    }
    bench.stalled.insert(5);
    let slow = bench.ask(Method::GET_PACKED, &get("/noise", 5));
    let second = bench.ask(Method::GET_PACKED, &get("/log", 7));
    bench.run_for(secs(5));
    assert_eq!(bench.failure_kind(second), FailureKind::BUSY);
    bench.unstall(5);
    bench.run_for(secs(10));
    let got: response::Got<'_> = bench.answer(slow, Method::GET_PACKED);
    assert_eq!((got.bytes, bench.streams[&5].bytes.len()), (49_970, 49_970 + 2 * 4));
    let first = bench.ask(Method::GET_PACKED, &get("/log", 3));
    bench.run_for(secs(5));
    let got: response::Got<'_> = bench.answer(first, Method::GET_PACKED);
    assert_eq!((got.bytes, got.sha256), (text.len() as u64 - 30, &sha256(&text[30..])[..]));
    let packed = &bench.streams[&3].bytes;
    assert!(bench.streams[&3].is_finished && packed.len() < 2_000, "{}", packed.len());
    let mut rest = &packed[..];
    let mut length = 0;
    while let [a, b, c, d, ..] = rest {
        length += usize::from(u16::from_le_bytes([*c, *d]));
        rest = &rest[4 + usize::from(u16::from_le_bytes([*a, *b]))..];
    }
    assert_eq!((length, rest.len()), (text.len() - 30, 0));
}

#[test]
fn a_digest_is_of_a_piece_of_a_file_and_not_beyond_its_end() {
    let mut bench = Bench::up(generic());
    let bytes = pattern(100_000);
    bench.board.put_file("master", "/file", &bytes);
    let mut hash = |offset, length, is_good| {
        let request =
            bench.ask(Method::FILE_HASH, &request::FileHash { path: "/file", offset, length });
        bench.run_for(secs(2));
        if is_good {
            Ok(bench.answer::<response::Hash<'_>>(request, Method::FILE_HASH).sha256.to_vec())
        } else {
            Err(bench.failure_kind(request))
        }
    };
    assert_eq!(hash(0, 100_000, true), Ok(sha256(&bytes).to_vec()));
    assert_eq!(hash(7, 70_000, true), Ok(sha256(&bytes[7..70_007]).to_vec()));
    assert_eq!(hash(100_000, 0, true), Ok(sha256(b"").to_vec()));
    assert_eq!(hash(1, 100_000, false), Err(FailureKind::TOO_LARGE));
    assert_eq!(hash(u64::MAX, 1, false), Err(FailureKind::TOO_LARGE));
}

// ---- the kernel's log

#[test]
fn overwritten_kernel_records_are_counted_exactly() {
    let mut bench = Bench::up(generic());
    for line in 0..5_000 {
        bench.board.log_kernel(bench.now, 6, &format!("line {line}"));
    }
    bench.follow(3);
    bench.run_for(secs(60));
    let (mut rest, mut numbers, mut gap) = (&bench.streams[&3].bytes[..], Vec::new(), None);
    while let Ok(Some((record, used))) = Record::parse(rest) {
        match record.source {
            Record::KERNEL => numbers.push(record.sequence),
            Record::KERNEL_GAP => assert_eq!(gap.replace((record.sequence, record.count)), None),
            _ => {}
        }
        rest = &rest[used..];
    }
    assert_eq!(gap, Some((0, numbers[0])));
    assert!(numbers[0] > 0 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

// ---- exec

#[test]
fn an_exec_brings_both_outputs_and_the_status() {
    let mut bench = Bench::up(generic());
    bench.board.script().command("greet", Program::new().out("hello\n").err("oh\n").exit(3));
    let request = bench.exec("greet", [0, 3, 5], 0);
    bench.run_for(secs(1));
    assert_eq!(bench.exit(request), (response::Exit::EXITED, 3));
    assert_eq!(bench.streams[&3].bytes, b"hello\n");
    assert_eq!(bench.streams[&5].bytes, b"oh\n");
    assert!(bench.streams[&3].is_finished && bench.streams[&5].is_finished);
}

#[test]
fn standard_input_goes_in_whole_and_its_end_too() {
    let mut bench = Bench::up(generic());
    let bytes = pattern(30_000);
    let request = bench.exec("cat", [1, 3, 0], 0);
    bench.send(1, &bytes, true);
    bench.run_for(secs(2));
    assert_eq!(bench.exit(request), (response::Exit::EXITED, 0));
    assert_eq!(bench.streams[&3].bytes, bytes);
}

#[test]
fn a_reset_of_standard_input_is_its_end() {
    let mut bench = Bench::up(generic());
    let request = bench.exec("cat", [1, 3, 0], 0);
    bench.run_for(secs(1));
    bench.host.reset(1);
    bench.run_for(secs(1));
    assert_eq!(bench.exit(request), (response::Exit::EXITED, 0));
}

#[test]
fn a_slow_reader_stalls_only_its_stream_and_loses_nothing() {
    let mut bench = Bench::up(generic());
    let text = pattern(50_000);
    bench.board.script().command("flood", Program::new().out(&text));
    bench.stalled.insert(3);
    let flood = bench.exec("flood", [0, 3, 0], 0);
    bench.run_for(DRAIN_WAIT.times(20));
    assert!(!bench.is_answered(flood), "it ended before its output was taken");
    let other = bench.exec("true", [0, 5, 0], 0);
    bench.run_for(secs(1));
    assert_eq!(bench.exit(other), (response::Exit::EXITED, 0));
    bench.unstall(3);
    bench.run_for(secs(1));
    assert_eq!(bench.exit(flood), (response::Exit::EXITED, 0));
    assert_eq!(bench.streams[&3].bytes.len(), text.len());
    assert_eq!(bench.streams[&3].bytes, text);
    assert!(bench.streams[&3].is_finished);
}

#[test]
fn pipes_that_a_left_behind_process_holds_open_are_not_waited_for() {
    let mut bench = Bench::up(generic());
    bench.board.script().command("daemon", Program::new().out("up\n").then(Does::LeaveBehind));
    let request = bench.exec("daemon", [0, 3, 5], 0);
    bench.run_for(DRAIN_WAIT.times(3));
    assert_eq!(bench.exit(request), (response::Exit::EXITED, 0));
    assert_eq!(bench.streams[&3].bytes, b"up\n");
    assert!(bench.streams[&3].is_finished && bench.streams[&5].is_finished);
}

#[test]
fn a_signal_ends_a_command_and_is_answered() {
    let mut bench = Bench::up(generic());
    let request = bench.exec("sleep 3600", [0, 3, 0], 0);
    bench.run_for(secs(1));
    let signal = bench.ask(Method::SIGNAL, &request::Signal { request, signal: 2 });
    let nobody = bench.ask(Method::SIGNAL, &request::Signal { request: 999, signal: 2 });
    bench.run_for(secs(1));
    bench.answer::<response::Done>(signal, Method::SIGNAL);
    assert_eq!(bench.failure_kind(nobody), FailureKind::NOT_FOUND);
    assert_eq!(bench.exit(request), (response::Exit::SIGNALED, 2));
}

#[test]
fn a_timeout_is_term_and_then_kill() {
    let mut bench = Bench::up(generic());
    let stubborn = Program::new().then(Does::IgnoreTerm).then(Does::Hang);
    bench.board.script().command("stubborn", stubborn);
    let polite = bench.exec("sleep 3600", [0, 3, 0], 2000);
    let stubborn = bench.exec("stubborn", [0, 5, 0], 2000);
    bench.run_for(Duration::from_millis(1900));
    assert!(!bench.is_answered(polite));
    bench.run_for(Duration::from_millis(300));
    assert_eq!(bench.exit(polite), (response::Exit::TIMED_OUT, 15));
    bench.run_for(KILL_GRACE - Duration::from_millis(400));
    assert!(!bench.is_answered(stubborn));
    bench.run_for(secs(1));
    assert_eq!(bench.exit(stubborn), (response::Exit::TIMED_OUT, 9));
}

#[test]
fn commands_that_cannot_be_started_leave_nothing_behind() {
    let mut bench = Bench::up(generic());
    for index in 0..40 {
        // Each on other streams: the link has fewer slots than there are ids.
        let first = 1 + index * 3 % 30;
        let request = bench.exec("nonsense", [first, first + 1, first + 2], 0);
        bench.run_for(secs(1));
        assert_eq!(bench.failure_kind(request), FailureKind::NOT_FOUND);
        for stream in first..first + 3 {
            bench.host.close_stream(stream);
        }
    }
    let request = bench.exec("true", [7, 9, 11], 0);
    bench.run_for(secs(1));
    assert_eq!(bench.exit(request), (response::Exit::EXITED, 0));
    assert!(bench.streams[&9].is_finished);
}

#[test]
fn output_that_nobody_wants_never_gets_among_the_messages() {
    let mut bench = Bench::up(generic());
    let flood = Program::new().out(pattern(100_000)).err(pattern(9000)).exit(4);
    bench.board.script().command("flood", flood);
    let dropped = bench.exec("flood", [0, 0, 0], 0);
    bench.run_for(secs(2));
    assert_eq!(bench.exit(dropped), (response::Exit::EXITED, 4));
    bench.stalled.insert(3);
    let given_up = bench.exec("flood", [0, 3, 5], 0);
    bench.run_for(secs(1));
    bench.host.reset(3);
    bench.run_for(secs(2));
    assert_eq!(bench.exit(given_up), (response::Exit::EXITED, 4));
    assert_eq!(bench.streams[&5].bytes, pattern(9000));
    assert!(bench.host.is_open() && bench.closed.is_empty());
}

#[test]
fn impossible_streams_and_words_are_refused() {
    let mut bench = Bench::up(generic());
    let running = bench.exec("sleep 3600", [1, 3, 0], 0);
    for (streams, kind) in [
        ([0, 32, 0], FailureKind::BAD_MESSAGE),
        ([0, 255, 0], FailureKind::BAD_MESSAGE),
        ([0, 7, 7], FailureKind::BAD_MESSAGE),
        ([0, 3, 0], FailureKind::BUSY),
        ([0, 1, 0], FailureKind::BUSY),
    ] {
        let request = bench.exec_on("true", streams, 0);
        bench.run_for(Duration::from_millis(50));
        assert_eq!(bench.failure_kind(request), kind, "{streams:?}");
    }
    for argv in [&b""[..], b"true"] {
        let exec = request::Exec {
            argv,
            env: b"",
            cwd: "",
            stdin: 0,
            stdout: 0,
            stderr: 0,
            timeout_ms: 0,
        };
        let request = bench.ask(Method::EXEC, &exec);
        bench.run_for(Duration::from_millis(50));
        assert_eq!(bench.failure_kind(request), FailureKind::BAD_MESSAGE);
    }
    let path = "/x";
    let get = bench.ask(Method::GET, &request::Get { path, stream: 0, offset: 0 });
    let follow = bench.ask(Method::FOLLOW, &request::Follow { stream: 0, kernel_from: 0 });
    let taken = bench.ask(Method::FOLLOW, &request::Follow { stream: 3, kernel_from: 0 });
    bench.run_for(secs(1));
    assert_eq!(bench.failure_kind(get), FailureKind::BAD_MESSAGE);
    assert_eq!(bench.failure_kind(follow), FailureKind::BAD_MESSAGE);
    assert_eq!(bench.failure_kind(taken), FailureKind::BUSY);
    assert!(!bench.is_answered(running));
}

// ---- files

#[test]
fn a_file_goes_there_and_comes_back() {
    let mut bench = Bench::up(generic());
    for length in [0, 1, 100_000] {
        let bytes = pattern(length);
        let put = bench.put("/tmp/a", 3, &bytes, length as u64, &sha256(&bytes));
        bench.run_for(secs(2));
        bench.answer::<response::Done>(put, Method::PUT);
        assert_eq!(bench.board.file("master", "/tmp/a").unwrap(), bytes);

        let offset = length as u64 / 3;
        bench.open(5);
        let get = bench.ask(Method::GET, &request::Get { path: "/tmp/a", stream: 5, offset });
        // Its own half of the stream may be ended without harm.
        bench.send(5, b"", true);
        bench.run_for(secs(2));
        let wanted = &bytes[length / 3..];
        let got: response::Got<'_> = bench.answer(get, Method::GET);
        assert_eq!((got.bytes, got.mode), (wanted.len() as u64, 0o600));
        assert_eq!(got.sha256, sha256(wanted));
        assert_eq!(bench.streams[&5].bytes, wanted);
        assert!(bench.streams[&5].is_finished);
    }
}

#[test]
fn a_put_that_goes_wrong_leaves_the_old_file() {
    let mut bench = Bench::up(generic());
    bench.board.put_file("master", "/tmp/a", b"old");
    let wrong = bench.put("/tmp/a", 3, b"new", 3, &[7; 32]);
    bench.run_for(secs(1));
    assert_eq!(bench.failure_kind(wrong), FailureKind::DIGEST);
    let many = bench.put("/tmp/a", 5, b"newer and longer", 3, b"");
    bench.run_for(secs(1));
    assert_eq!(bench.failure_kind(many), FailureKind::TOO_LARGE);
    let few = bench.put("/tmp/a", 7, b"ne", 3, b"");
    bench.run_for(secs(1));
    assert_eq!(bench.failure_kind(few), FailureKind::DIGEST);
    let short_digest = bench.put("/tmp/a", 9, b"new", 3, &[7; 31]);
    bench.run_for(secs(1));
    assert_eq!(bench.failure_kind(short_digest), FailureKind::BAD_MESSAGE);
    let huge = bench.put("/tmp/a", 11, b"", 1 << 40, b"");
    bench.run_for(secs(1));
    assert_eq!(bench.failure_kind(huge), FailureKind::TOO_LARGE);
    let given_up = bench.put("/tmp/a", 13, b"ne", 30_000, b"");
    bench.host.reset(13);
    bench.run_for(secs(1));
    assert!(bench.is_answered(given_up));
    assert_eq!(bench.board.file("master", "/tmp/a").unwrap(), b"old");
    assert!(bench.closed.is_empty());
}

#[test]
fn a_session_lost_in_the_middle_ends_what_the_dispatcher_started() {
    let mut bench = Bench::up(generic());
    bench.board.start_trace();
    bench.open(3);
    let put = request::Put { path: "/tmp/a", stream: 3, mode: 0o644, size: 9000, sha256: b"" };
    bench.ask(Method::PUT, &put);
    bench.send(3, &pattern(4000), false);
    bench.exec("sleep 3600", [0, 5, 0], 0);
    bench.run_for(secs(1));
    bench.cut(true);
    bench.run_for(secs(10));
    let trace = bench.board.take_trace();
    assert_eq!(trace.iter().filter(|line| line.starts_with("Close")).count(), 2, "{trace:?}");
    assert_eq!(bench.closed, [CloseReason::Silent]);
    bench.cut(false);
    bench.run_for(secs(3));
    assert!(bench.host.is_open());
    assert_eq!(bench.board.file("master", "/tmp/a"), None);
    // Everything is free again.
    for stream in 1..=OPS_MAX as u8 {
        let request = bench.exec("true", [0, stream, 0], 0);
        bench.run_for(Duration::from_millis(100));
        assert_eq!(bench.exit(request), (response::Exit::EXITED, 0));
    }
}

#[test]
fn an_operation_never_answers_in_the_next_session() {
    let mut bench = Bench::up(generic());
    // Ended, and waits for its pipes: it will answer soon.
    bench.board.script().command("daemon", Program::new().then(Does::LeaveBehind));
    let old = bench.exec("daemon", [0, 3, 0], 0);
    bench.pump();
    bench.host.reset(3);
    bench.run_for(DRAIN_WAIT - Duration::from_millis(1));
    // The host gave its session up, and opens a new one in the very moment when the answer is due.
    bench.now = bench.now + Duration::from_millis(1);
    bench.host.abandon(bench.now);
    let beacon = bench.beacon.unwrap().to_line();
    bench.host.handle_input(bench.now, beacon.as_bytes(), &mut |_| {});
    bench.run_for(secs(3));
    assert!(bench.host.is_open());
    assert!(!bench.is_answered(old));
}

#[test]
fn a_directory_is_listed() {
    let mut bench = Bench::up(generic());
    for index in 0..300 {
        bench.board.put_file("master", &format!("/log/sub{}/file{index}", index % 3), b"12345");
    }
    let list = |bench: &mut Bench, path: &str, recursive| {
        bench.open(3);
        let request = bench.ask(Method::LIST, &request::List { path, stream: 3, recursive });
        bench.run_for(secs(2));
        request
    };
    let missing = list(&mut bench, "/nowhere", true);
    assert_eq!(bench.failure_kind(missing), FailureKind::NOT_FOUND);
    for (recursive, count) in [(false, 3), (true, 303)] {
        let request = list(&mut bench, "/log", recursive);
        let listed: response::Listed = bench.answer(request, Method::LIST);
        assert_eq!(listed.entries, count);
        let mut rest = bench.streams[&3].bytes.as_slice();
        let mut seen = 0;
        while let Some(entry) = split_counted(rest) {
            let decoded: response::Entry<'_> = codec::decode(entry).unwrap();
            assert!(decoded.path.starts_with(b"sub"));
            seen += 1;
            rest = &rest[entry.len() + 2..];
        }
        assert_eq!((seen, rest.len()), (count, 0));
    }
}

#[test]
fn calls_are_answered() {
    let mut bench = Bench::up(Options { kernel_offset_us: -2_500, ..generic() });
    let info = bench.ask(Method::INFO, &request::Info {});
    let clock = bench.ask(Method::CLOCK, &request::Clock { host_us: 77 });
    let mark = bench.ask(Method::CLOCK_MARK, &request::ClockMark {});
    let stat = bench.ask(Method::STAT, &request::Path { path: "/nothing" });
    let partition = bench.ask(Method::PARTITION, &request::Partition { label: "testrootfs" });
    bench.run_for(secs(1));
    let info: response::Info<'_> = bench.answer(info, Method::INFO);
    assert_eq!((info.role, info.boot_id.len()), (response::Info::MASTER, 32));
    assert_eq!(bench.answer::<response::Clock>(clock, Method::CLOCK).host_us, 77);
    let mark: response::ClockMark = bench.answer(mark, Method::CLOCK_MARK);
    assert_eq!((mark.after_us, mark.kernel_us), (mark.before_us, mark.before_us - 2_500));
    assert_eq!(bench.failure_kind(stat), FailureKind::NOT_FOUND);
    let partition: response::Partition<'_> = bench.answer(partition, Method::PARTITION);
    assert_eq!((partition.size, partition.mounted), (16 << 20, false));
}

// ---- requests that are wrong

#[test]
fn unknown_and_retired_methods_and_malformed_bodies_are_answered() {
    let mut bench = Bench::up(generic());
    let write = request::BlockWrite { label: "testrootfs", stream: 3, image_bytes: 9 };
    let write = bench.ask(Method::BLOCK_WRITE, &write);
    let hash = request::BlockHash { label: "testrootfs", offset: 0, length: 9 };
    let hash = bench.ask(Method::BLOCK_HASH, &hash);
    let unknown = bench.ask(Method(0x7777), &(1u8, 2u8));
    let not_text = bench.ask(Method::STAT, &(&[0xffu8, 0xfe, 0xfd][..],));
    let cut_short = bench.ask(Method::GET, &(200u8, b'x'));
    let answer = bench.ask(Method::FAILED, &request::Info {});
    bench.run_for(secs(1));
    for request in [unknown, write, hash] {
        assert_eq!(bench.failure_kind(request), FailureKind::UNSUPPORTED);
    }
    assert_eq!(bench.failure_kind(not_text), FailureKind::BAD_MESSAGE);
    assert_eq!(bench.failure_kind(cut_short), FailureKind::BAD_MESSAGE);
    assert_eq!(bench.failure_kind(answer), FailureKind::UNSUPPORTED);
}

#[test]
fn a_message_of_an_impossible_length_ends_the_session() {
    let mut bench = Bench::up(generic());
    bench.host.write(0, &[0xff; 10]);
    bench.run_for(secs(5));
    assert!(!bench.closed.is_empty() && bench.host.is_open());
}

#[test]
fn more_than_eight_operations_are_too_many() {
    let mut bench = Bench::up(generic());
    let mut requests = Vec::new();
    for stream in 1..=OPS_MAX as u8 + 1 {
        requests.push(bench.exec("sleep 3600", [0, stream, 0], 0));
    }
    bench.run_for(secs(1));
    let last = requests.pop().unwrap();
    assert_eq!(bench.failure_kind(last), FailureKind::BUSY);
    let unknown = bench.ask(Method(0x7777), &request::Info {});
    let info = bench.ask(Method::INFO, &request::Info {});
    for request in requests {
        assert!(!bench.is_answered(request));
        bench.ask(Method::SIGNAL, &request::Signal { request, signal: 9 });
    }
    bench.run_for(secs(1));
    assert_eq!(bench.failure_kind(unknown), FailureKind::UNSUPPORTED);
    bench.answer::<response::Info<'_>>(info, Method::INFO);
    let again = bench.exec("true", [0, 3, 0], 0);
    bench.run_for(secs(1));
    assert_eq!(bench.exit(again), (response::Exit::EXITED, 0));
}

// ---- the live log

#[test]
fn the_kernels_log_is_followed_from_any_record() {
    let mut bench = Bench::up(generic());
    bench.follow(3);
    bench.run_for(secs(1));
    bench.board.log_kernel(bench.now, 4, "usb 1-1: new device");
    bench.run_for(secs(1));
    let records = bench.records(3);
    assert_eq!(records[0], (Record::KERNEL, 0, "Booting Linux on physical CPU 0x0".into()));
    let last = (Record::KERNEL, 4, "usb 1-1: new device".into());
    assert_eq!(records.last(), Some(&last));
    assert_eq!(records.len(), 5);
    // Another stream takes over.
    bench.open(5);
    bench.ask(Method::FOLLOW, &request::Follow { stream: 5, kernel_from: 4 });
    bench.run_for(secs(1));
    assert!(bench.streams[&3].is_finished);
    assert_eq!(bench.records(5), [last]);
    // One that the host gives up brings nothing more.
    bench.host.reset(5);
    bench.run_for(secs(1));
    bench.board.log_kernel(bench.now, 4, "nobody hears this");
    bench.run_for(secs(1));
    assert_eq!(bench.records(5).len(), 1);
}

#[test]
fn the_kernels_log_waits_for_a_slow_reader() {
    let mut bench = Bench::up(generic());
    bench.stalled.insert(3);
    bench.follow(3);
    for index in 0..500 {
        bench.board.log_kernel(bench.now, 6, &format!("line {index} with some text behind it"));
    }
    bench.run_for(secs(2));
    bench.unstall(3);
    bench.run_for(secs(5));
    let sequences: Vec<_> =
        bench.records(3).into_iter().map(|(source, number, _)| (source, number)).collect();
    let wanted: Vec<_> = (0..504).map(|number| (Record::KERNEL, number)).collect();
    assert_eq!(sequences, wanted);
}

// ---- the plan

const RUN: &str = "/.pumice/runs/r1";

fn test_board(plan: &[u8]) -> Bench {
    let options = Options { slot: Role::Test, run: Some("r1".into()), ..generic() };
    let mut bench = Bench::off(options);
    bench.board.put_file("testrootfs", &format!("{RUN}/plan"), plan);
    bench.board.start_trace();
    bench
}

fn run_file(bench: &Bench, name: &str) -> String {
    let bytes = bench.board.file("testrootfs", &format!("{RUN}/{name}")).unwrap_or_default();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn journal(bench: &Bench) -> Vec<String> {
    let word = |line: &str| {
        let field = |name: &str| {
            let rest = line.split_once(&format!("\"{name}\":"))?.1;
            Some(rest.split([',', '}']).next()?.trim_matches('"').to_owned())
        };
        let words = ["event", "suite", "end", "code"].into_iter().filter_map(field);
        words.collect::<Vec<_>>().join(" ")
    };
    run_file(bench, "journal.ndjson").lines().map(word).collect()
}

#[test]
fn a_plan_runs_without_anybody_watching() {
    let mut bench = test_board(&plan_bytes("r1", &[("one", 5000), ("two", 5000)]));
    bench.cut(true);
    bench.board.script().suite("one", Program::new().out("1\n").wait_ms(100).err("e\n"));
    bench.board.script().suite("two", Program::new().out("2\n").exit(7));
    bench.board.power_on(bench.now);
    bench.run_for(START_WAIT - secs(1));
    assert_eq!(journal(&bench), ["plan_started"]);
    bench.run_for(secs(3));
    assert_eq!(
        journal(&bench),
        [
            "plan_started",
            "test_started one",
            "test_ended one exited 0",
            "test_started two",
            "test_ended two exited 7",
            "plan_ended",
        ]
    );
    assert_eq!(run_file(&bench, "tests/one/stdout.log"), "1\n");
    assert_eq!(run_file(&bench, "tests/one/stderr.log"), "e\n");
    assert_eq!(run_file(&bench, "tests/two/stdout.log"), "2\n");
    let output = run_file(&bench, "tests/one/output.ndjson");
    assert!(output.contains("\"source\":\"stdout\",\"offset\":0,\"bytes\":2"), "{output}");
    assert!(run_file(&bench, "kernel.log").contains("Booting Linux"));
    // Each line of the journal is durable before the next thing happens.
    let trace = bench.board.take_trace();
    for (index, line) in trace.iter().enumerate().filter(|(_, line)| line.starts_with("Journal")) {
        assert_eq!(trace[index + 1], "SyncRun", "behind {line}");
    }
    let spawn = trace.iter().position(|line| line.starts_with("Spawn")).unwrap();
    assert!(trace[spawn - 2].contains("test_started") && trace[spawn - 1] == "SyncRun");
    // The output is durable before the journal says that it is all there.
    let ended = trace.iter().position(|line| line.contains("test_ended")).unwrap();
    assert_eq!(trace[ended - 1], "SyncRun");
    // Who comes late still hears of the end.
    bench.cut(false);
    bench.run_for(secs(3));
    assert_eq!(bench.status(), (response::TestStatus::ENDED, 2, 2, String::new()));
    bench.follow(3);
    bench.run_for(secs(1));
    let sources: Vec<_> = bench.records(3).iter().map(|record| record.0).collect();
    assert_eq!(sources.last(), Some(&Record::PLAN_ENDED));
}

#[test]
fn who_comes_late_hears_of_the_newest_tests_and_of_the_end() {
    let names: Vec<_> = (0..40).map(|index| format!("t{index}")).collect();
    let tests: Vec<_> = names.iter().map(|name| (name.as_str(), 1000)).collect();
    let mut bench = test_board(&plan_bytes("r1", &tests));
    bench.board.power_on(bench.now);
    bench.run_for(START_WAIT + secs(5));
    assert_eq!(bench.status(), (response::TestStatus::ENDED, 40, 40, String::new()));
    bench.follow(3);
    bench.run_for(secs(2));
    let records = bench.records(3);
    assert_eq!(records[0].0, Record::ELIDED);
    assert_eq!(records.last().unwrap().0, Record::PLAN_ENDED);
    let last_start = records.iter().rfind(|record| record.0 == Record::TEST_STARTED).unwrap();
    assert_eq!(last_start.2, "t39");
}

#[test]
fn a_plan_that_is_watched_starts_at_once_and_is_shown() {
    let mut bench = test_board(&plan_bytes("r1", &[("one", 60_000)]));
    let text = "a line of output\n".repeat(600);
    let one = Program::new().out("begin\n").wait_ms(3000).out(&text).wait_ms(2000);
    bench.board.script().suite("one", one);
    bench.board.power_on(bench.now);
    bench.run_for(secs(1));
    assert_eq!(bench.status(), (response::TestStatus::RUNNING, 0, 1, String::new()));
    bench.follow(3);
    bench.run_for(secs(4));
    assert_eq!(bench.status(), (response::TestStatus::RUNNING, 0, 1, String::new()));
    bench.run_for(secs(4));
    assert_eq!(bench.status(), (response::TestStatus::ENDED, 1, 1, String::new()));
    let records = bench.records(3);
    let started = records.iter().find(|record| record.0 == Record::TEST_STARTED).unwrap();
    assert_eq!(started.2, "one");
    assert_eq!(records.last().unwrap().0, Record::PLAN_ENDED);
    // What came live stands where it says that it does; what did not come was counted.
    let whole = run_file(&bench, "tests/one/stdout.log");
    assert_eq!(whole.len(), 6 + text.len());
    let mut shown = 0;
    for (source, offset, text) in &records {
        if *source == Record::STDOUT {
            assert_eq!(&whole[*offset as usize..][..text.len()], text);
            shown += text.len();
        }
    }
    let elided = records.iter().any(|record| record.0 == Record::ELIDED);
    assert!(shown >= 2500, "{shown} bytes shown of {}", whole.len());
    assert_eq!(shown < whole.len(), elided);
}

#[test]
fn tests_that_hang_or_cannot_start_do_not_stop_the_others() {
    let tests = [("hangs", 2000), ("missing", 2000), ("stubborn", 2000), ("last", 2000)];
    let mut bench = test_board(&plan_bytes("r1", &tests));
    bench.board.script().suite("hangs", Program::new().out("x").then(Does::Hang));
    bench.board.script().suite("missing", Program::not_startable(8));
    let stubborn = Program::new().then(Does::IgnoreTerm).then(Does::Hang);
    bench.board.script().suite("stubborn", stubborn);
    bench.board.power_on(bench.now);
    bench.run_for(secs(2));
    bench.follow(3);
    bench.run_for(secs(20));
    assert_eq!(
        journal(&bench),
        [
            "plan_started",
            "test_started hangs",
            "test_ended hangs timed_out 15",
            "test_started missing",
            "test_ended missing not_started 8",
            "test_started stubborn",
            "test_ended stubborn timed_out 9",
            "test_started last",
            "test_ended last exited 0",
            "plan_ended",
        ]
    );
    let ends = bench.records(3).iter().filter(|record| record.0 == Record::TEST_ENDED).count();
    assert_eq!(ends, 4);
}

#[test]
fn the_loss_of_the_session_does_not_disturb_a_test() {
    let mut bench = test_board(&plan_bytes("r1", &[("one", 60_000)]));
    let one = Program::new().out("a").wait_ms(20_000).out("b").wait_ms(1000).out("c");
    bench.board.script().suite("one", one);
    bench.board.power_on(bench.now);
    bench.run_for(secs(2));
    bench.follow(3);
    bench.run_for(secs(2));
    bench.cut(true);
    bench.run_for(secs(12));
    bench.cut(false);
    bench.run_for(secs(4));
    assert!(bench.host.is_open());
    assert_eq!(bench.status().0, response::TestStatus::RUNNING);
    bench.run_for(secs(10));
    assert_eq!(run_file(&bench, "tests/one/stdout.log"), "abc");
    assert_eq!(bench.status().0, response::TestStatus::ENDED);
}

#[test]
fn the_dispatchers_operations_leave_room_for_the_test() {
    let mut bench = test_board(&plan_bytes("r1", &[("one", 60_000)]));
    bench.board.power_on(bench.now);
    bench.run_for(secs(2));
    let mut busy = 0;
    for stream in 1..=OPS_MAX as u8 {
        let request = bench.exec("sleep 3600", [0, stream, 0], 0);
        bench.run_for(Duration::from_millis(50));
        busy += u32::from(bench.is_answered(request));
    }
    assert_eq!(busy, 1);
    bench.run_for(START_WAIT);
    assert_eq!(bench.status(), (response::TestStatus::ENDED, 1, 1, String::new()));
}

#[test]
fn a_plan_that_cannot_be_used_is_reported() {
    for (plan, problem) in [
        (&b"\x05\x00nonsense"[..], "the plan is damaged"),
        (&plan_bytes("r1", &[("../etc", 1)]), "the plan is damaged"),
        (&plan_bytes("r1", &[("zero-timeout", 0)]), "the plan is damaged"),
    ] {
        let mut bench = test_board(plan);
        bench.board.power_on(bench.now);
        bench.run_for(secs(2));
        assert_eq!(bench.status(), (response::TestStatus::BROKEN, 0, 0, problem.to_owned()));
    }
    let options = Options { slot: Role::Test, run: Some("other".into()), ..generic() };
    let mut bench = Bench::up(options);
    assert_eq!(bench.status().3, "there is no plan");
    let mut bench = Bench::up(generic());
    assert_eq!(bench.status(), (response::TestStatus::NO_PLAN, 0, 0, String::new()));
}

#[test]
fn after_a_panic_the_journal_names_the_test() {
    let mut bench = test_board(&plan_bytes("r1", &[("one", 60_000), ("two", 60_000)]));
    let two = Program::new().out("synced\n").wait_ms(1500).out("lost\n");
    bench.board.script().suite("two", two.then(Does::Panic("sysrq triggered crash".into())));
    bench.board.power_on(bench.now);
    bench.run_for(secs(2));
    bench.follow(3);
    bench.run_for(secs(20));
    assert_eq!(bench.board.phase(), Phase::Dead);
    let console = String::from_utf8_lossy(&bench.console).into_owned();
    assert!(console.contains("Kernel panic - not syncing: sysrq triggered crash"), "{console}");
    assert_eq!(journal(&bench).last().unwrap(), "test_started two");
    assert_eq!(run_file(&bench, "tests/two/stdout.log"), "synced\n");
}

// ---- the board around the agent

#[test]
fn a_board_boots_both_images_and_restarts() {
    let mut bench = Bench::off(Options::default());
    bench.board.power_on(bench.now);
    bench.run_for(secs(1));
    assert_eq!(bench.board.phase(), Phase::Autoboot);
    bench.run_for(secs(6));
    assert_eq!(bench.board.phase(), Phase::Up(Role::Master));
    assert!(bench.host.is_open());
    // The master agent prepares the test image.
    let mount = bench.ask(
        Method::MOUNT,
        &request::Mount { label: "testrootfs", fs_type: "", read_only: false, no_replay: false },
    );
    bench.run_for(secs(1));
    let path = bench.answer::<response::Mounted<'_>>(mount, Method::MOUNT).path.to_owned();
    let plan = plan_bytes("r9", &[("one", 1000)]);
    let put = bench.put(&format!("{path}/.pumice/runs/r9/plan"), 3, &plan, plan.len() as u64, b"");
    let inject =
        bench.ask(Method::INJECT, &request::Inject { label: "testrootfs", path: "/.pumice/agent" });
    bench.run_for(secs(1));
    bench.answer::<response::Done>(put, Method::PUT);
    bench.answer::<response::Injected>(inject, Method::INJECT);
    let reboot = bench.ask(Method::REBOOT, &request::Reboot { how: request::Reboot::RESTART });
    bench.run_for(secs(1));
    bench.answer::<response::Done>(reboot, Method::REBOOT);
    bench.host.mute(bench.now);
    assert_eq!((bench.board.phase(), bench.board.boots()), (Phase::Autoboot, 2));
    bench.type_at(" ");
    assert_eq!(bench.board.phase(), Phase::Prompt);
    bench.type_at("setenv bootargs console=ttyAMA0 root=PARTLABEL=testrootfs rw init=/.pumice/agent -- --role test --run r9\r");
    bench.type_at("bootz ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdtcontroladdr}\r");
    assert_eq!(bench.board.phase(), Phase::Booting(Role::Test));
    bench.run_for(secs(6));
    assert_eq!(bench.board.phase(), Phase::Up(Role::Test));
    assert!(bench.host.is_open());
    assert_eq!(bench.status().2, 1);
    let console = String::from_utf8_lossy(&bench.console).into_owned();
    for text in ["U-Boot 2023", "Hit any key", "=> ", "Booting Linux", "reboot: Restarting system"]
    {
        assert!(console.contains(text), "{text} in {console}");
    }
}

#[test]
fn a_board_dies_where_it_is_told_to() {
    for (at, how, phase) in [
        (DieAt::PowerOn, Death::Hang, Phase::Dead),
        (DieAt::Kernel, Death::Panic, Phase::Dead),
        (DieAt::Agent, Death::Hang, Phase::Dead),
        (DieAt::Effect(0), Death::Panic, Phase::Dead),
        (DieAt::Effect(0), Death::Reset, Phase::Up(Role::Master)),
    ] {
        let mut bench = Bench::off(Options::default());
        bench.board.die_at(at, how);
        bench.board.power_on(bench.now);
        bench.run_for(secs(30));
        assert_eq!(bench.board.phase(), phase, "{at:?} {how:?}");
        bench.board.power_off(bench.now);
        bench.board.power_on(bench.now);
        bench.run_for(secs(10));
        assert_eq!(bench.board.phase(), Phase::Up(Role::Master));
    }
}

// ---- the line, and requests that outlive their session

/// The line is cut until both ends have noticed, and there is a new session.
fn lose_session(bench: &mut Bench) {
    bench.cut(true);
    bench.run_for(secs(10));
    bench.cut(false);
    bench.run_for(secs(5));
    assert!(bench.host.is_open(), "no session");
}

/// State, method and exit status of the outcome of a request.
fn outcome(bench: &mut Bench, of: u32) -> (u8, u16, Option<(u8, u8)>) {
    let request = bench.ask(Method::OUTCOME, &request::Outcome { request: of });
    bench.run_for(secs(1));
    let outcome: response::Outcome<'_> = bench.answer(request, Method::OUTCOME);
    let exit = codec::decode::<response::Exit>(outcome.body).ok();
    let exit = exit.filter(|_| outcome.method == Method::EXEC.0);
    (outcome.state, outcome.method, exit.map(|exit| (exit.end, exit.code)))
}

#[test]
fn the_agent_tells_its_end_of_the_line() {
    let mut bench = Bench::up(generic());
    bench.board.set_overruns(3);
    let request = bench.ask(Method::LINE, &request::Line {});
    bench.run_for(secs(1));
    let line: response::Line = bench.answer(request, Method::LINE);
    assert_eq!((line.overruns, line.errors, line.stats.sessions), (3, 0, 1));
    assert!(line.stats.frames_in > 0 && line.stats.bytes_out > 0, "{}", line.stats);
}

#[test]
fn an_exit_whose_answer_was_lost_is_told_in_the_next_session() {
    let mut bench = Bench::up(generic());
    bench.board.script().command("slow", Program::new().then(Does::Wait(secs(1))).exit(5));
    let request = bench.exec("slow", [0, 3, 0], 0);
    bench.run_for(Duration::from_millis(500));
    lose_session(&mut bench);
    assert!(!bench.is_answered(request));
    let exited = Some((response::Exit::EXITED, 5));
    let answered = (response::Outcome::ANSWERED, Method::EXEC.0, exited);
    assert_eq!(outcome(&mut bench, request), answered);
    // As often as it is asked, and in any later session.
    lose_session(&mut bench);
    assert_eq!(outcome(&mut bench, request), answered);
}

#[test]
fn an_exit_whose_output_was_lost_is_told_in_the_next_session() {
    let mut bench = Bench::up(generic());
    bench.board.script().command("flood", Program::new().out(pattern(20_000)).exit(4));
    bench.stalled.insert(3);
    let request = bench.exec("flood", [0, 3, 0], 0);
    bench.run_for(secs(2));
    assert!(!bench.is_answered(request));
    lose_session(&mut bench);
    let (state, _, exit) = outcome(&mut bench, request);
    assert_eq!((state, exit), (response::Outcome::ANSWERED, Some((response::Exit::EXITED, 4))));
}

#[test]
fn a_command_that_was_stopped_and_one_that_never_came_are_told_apart() {
    let mut bench = Bench::up(generic());
    let stopped = bench.exec("sleep 3600", [0, 3, 0], 0);
    bench.run_for(secs(1));
    bench.cut(true);
    let unheard = bench.exec("true", [0, 0, 0], 0);
    bench.run_for(secs(10));
    bench.cut(false);
    bench.run_for(secs(5));
    assert_eq!(outcome(&mut bench, stopped), (response::Outcome::STOPPED, 0, None));
    assert_eq!(outcome(&mut bench, unheard), (response::Outcome::UNKNOWN, 0, None));
}

#[test]
fn failures_are_remembered_and_what_may_be_repeated_is_not() {
    let mut bench = Bench::up(generic());
    let failed = bench.ask(Method::SIGNAL, &request::Signal { request: 999, signal: 2 });
    let repeated = bench.ask(Method::SYNC, &request::Sync {});
    bench.run_for(secs(1));
    lose_session(&mut bench);
    let failed_as = Method::FAILED.0;
    assert_eq!(outcome(&mut bench, failed), (response::Outcome::ANSWERED, failed_as, None));
    assert_eq!(outcome(&mut bench, repeated), (response::Outcome::UNKNOWN, 0, None));
}

#[test]
fn sixteen_requests_are_remembered_and_one_under_way_is_no_outcome() {
    let mut bench = Bench::up(generic());
    let running = bench.exec("sleep 3600", [0, 3, 0], 0);
    let first = bench.exec("true", [0, 0, 0], 0);
    bench.run_for(secs(1));
    for _ in 0..15 {
        bench.exec("true", [0, 0, 0], 0);
        bench.run_for(Duration::from_millis(200));
    }
    let asked = bench.ask(Method::OUTCOME, &request::Outcome { request: running });
    bench.run_for(secs(1));
    assert_eq!(bench.failure_kind(asked), FailureKind::BUSY);
    assert_eq!(outcome(&mut bench, first).0, response::Outcome::UNKNOWN);
    assert_eq!(outcome(&mut bench, first + 1).0, response::Outcome::ANSWERED);
    lose_session(&mut bench);
    assert_eq!(outcome(&mut bench, running).0, response::Outcome::STOPPED);
}
