//! The wire of version 1, released with 0.1.0.
//!
//! This file is never edited: see `versions.rs`.

use super::assert::{assert_bytes, assert_frame};
use agent_core::agent::plan::{Header, PlanReader, Test, encode_counted};
use agent_core::link::frame::{Frame, Kind};
use agent_core::link::{Beacon, Coding, Hello, HelloAck, Stats};
use agent_core::tree;
use agent_core::wire::block::{Codec, Step};
use agent_core::wire::method::{Method, REGISTRY};
use agent_core::wire::node::NodeCall;
use agent_core::wire::record::Record;
use agent_core::wire::steps::{Extent, Packing, StepWriter};
use agent_core::wire::test_signal::{Noted, TestSignal};
use agent_core::wire::{Envelope, Failure, FailureKind, envelope, request, response};

const BOOT_ID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

const DIGEST: [u8; 32] = [
    0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef,
    0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
];

/// Ids of methods.
#[test]
fn methods() {
    let ids: Vec<_> = REGISTRY.iter().map(|row| (row.method.0, row.name)).collect();
    let version_1 = [
        (0x0001, "info"),
        (0x0002, "clock"),
        (0x0003, "follow"),
        (0x0004, "line"),
        (0x0005, "line-test"),
        (0x0006, "outcome"),
        (0x0007, "clock-mark"),
        (0x0010, "exec"),
        (0x0011, "signal"),
        (0x0020, "get"),
        (0x0021, "put"),
        (0x0022, "list"),
        (0x0023, "stat"),
        (0x0024, "remove"),
        (0x0025, "file-hash"),
        (0x0026, "get-packed"),
        (0x0030, "partition"),
        (0x0031, "block-write"),
        (0x0032, "block-hash"),
        (0x0033, "block-tree"),
        (0x0034, "block-plan"),
        (0x0040, "mount"),
        (0x0041, "unmount"),
        (0x0042, "inject"),
        (0x0050, "reboot"),
        (0x0051, "sync"),
        (0x0052, "baud"),
        (0x0053, "lane"),
        (0x0060, "test-status"),
        (0x0061, "node-call"),
        (0x0062, "node-answer"),
        (0xffff, "failed"),
    ];
    for method in version_1 {
        assert!(ids.contains(&method), "{method:?}");
    }
}

/// Numbers of failures.
#[test]
fn failures() {
    let numbers = [
        (FailureKind::UNSUPPORTED, 1),
        (FailureKind::BAD_MESSAGE, 2),
        (FailureKind::NOT_FOUND, 3),
        (FailureKind::BUSY, 4),
        (FailureKind::TOO_LARGE, 5),
        (FailureKind::DIGEST, 6),
        (FailureKind::OS, 7),
        (FailureKind::REFUSED, 8),
        (FailureKind::CANCELED, 9),
    ];
    for (kind, number) in numbers {
        assert_eq!(kind.0, number);
    }
}

/// Numbers inside of bodies.
#[test]
fn constants() {
    assert_eq!([response::Info::MASTER, response::Info::TEST], [0, 1]);
    use response::{Exit, Stat, TestStatus};
    assert_eq!([Exit::EXITED, Exit::SIGNALED, Exit::TIMED_OUT, Exit::NOT_STARTED], [0, 1, 2, 3]);
    assert_eq!([Stat::FILE, Stat::DIRECTORY, Stat::LINK, Stat::OTHER], [0, 1, 2, 3]);
    assert_eq!(
        [TestStatus::NO_PLAN, TestStatus::RUNNING, TestStatus::ENDED, TestStatus::BROKEN],
        [0, 1, 2, 3]
    );
    assert_eq!(
        [NodeCall::SEND, NodeCall::WAIT, NodeCall::WAIT_ALL, NodeCall::SYNC],
        [32, 33, 34, 35]
    );
    assert_eq!([request::NodeAnswer::DONE, request::NodeAnswer::FAILED], [0, 255]);
    assert_eq!([request::Reboot::RESTART, request::Reboot::POWER_OFF], [0, 1]);
    assert_eq!([Record::KERNEL, Record::STDOUT, Record::STDERR, Record::AGENT], [1, 2, 3, 4]);
    assert_eq!(
        [Record::TEST_STARTED, Record::TEST_ENDED, Record::PLAN_ENDED, Record::ELIDED],
        [5, 6, 7, 8]
    );
}

#[rustfmt::skip]
#[test]
fn envelope_() {
    let bytes = [
        &[0x09, 0x00][..],         // length of what follows
        &[0x10, 0x00],             // method
        &[0x04, 0x03, 0x02, 0x01], // request
        &[0xaa, 0xbb, 0xcc],       // body
    ].concat();
    let mut buffer = [0; 16];
    let body = (0xaau8, 0xbbu8, 0xccu8);
    assert_eq!(envelope::encode(Method::EXEC, 0x0102_0304, &body, &mut buffer).unwrap(), bytes);
    let envelope = Envelope { method: Method::EXEC, request: 0x0102_0304, body: &[0xaa, 0xbb, 0xcc] };
    assert_eq!(Envelope::parse(&bytes), Ok(Some((envelope, bytes.len()))));
}

#[test]
fn beacon() {
    let line = "\r\n@pumice1 boot=000102030405060708090a0b0c0d0e0f nonce=0a0b0c0d role=test \
                coding=binary #53bda53b\r\n";
    let beacon = Beacon { boot_id: BOOT_ID, nonce: 0x0a0b_0c0d, role: 1, coding: Coding::Binary };
    assert_eq!(beacon.to_line(), line);
    assert_eq!(Beacon::find(line.trim().as_bytes()), Some(beacon));
}

#[rustfmt::skip]
#[test]
fn steps() {
    let bin = [
        &[0x02][..],                                       // kind: bin
        &[0x01],                                           // codec: LZMA
        &[0x00, 0x00],                                     // unused
        &[0x2c, 0x01, 0x00, 0x00],                         // packed
        &[0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00], // offset
        &[0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00], // length
    ].concat();
    let step = Step::Bin { codec: Codec::Lzma, packed: 300, offset: 1 << 33, length: 65_536 };
    assert_eq!(step.to_bytes()[..], bin);
    let raw = [
        &[0x02][..],                                       // kind: bin
        &[0x00],                                           // codec: raw
        &[0x00, 0x00],                                     // unused
        &[0x00, 0x10, 0x00, 0x00],                         // packed
        &[0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00], // offset
        &[0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00], // length
    ].concat();
    let step = Step::Bin { codec: Codec::Raw, packed: 4096, offset: 8192, length: 4096 };
    assert_eq!(step.to_bytes()[..], raw);
    let zero = [
        &[0x01][..],                                       // kind: zero
        &[0x00],                                           // codec
        &[0x00, 0x00],                                     // unused
        &[0x00, 0x00, 0x00, 0x00],                         // packed
        &[0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00], // offset
        &[0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00], // length
    ].concat();
    assert_eq!(Step::Zero { offset: 4096, length: 1 << 33 }.to_bytes()[..], zero);
    assert_eq!(Step::End.to_bytes(), [0; 24]);
    for bytes in [bin, raw, zero] {
        let bytes = <[u8; 24]>::try_from(bytes).unwrap();
        assert_eq!(Step::parse(&bytes).unwrap().to_bytes(), bytes);
    }
    assert_eq!(Step::parse(&[0; 24]), Ok(Step::End));
}

#[rustfmt::skip]
#[test]
fn plan_and_counted_items() {
    let bytes = [
        &[0x04, 0x00][..],   // length
        b"\x02r1",           // run
        &[0x3c],             // watchdog_s
        &[0x0c, 0x00],       // length
        b"\x05smoke",        // suite
        &[0xb0, 0xea, 0x01], // timeout_ms
        &[0x88, 0x27],       // step_timeout_ms
        &[0x01],             // flags
    ].concat();
    let test = Test { suite: "smoke", timeout_ms: 30_000, step_timeout_ms: 5000, flags: 1 };
    let mut buffer = [0; 32];
    let mut written = encode_counted(&Header { run: "r1", watchdog_s: 60 }, &mut buffer).unwrap().to_vec();
    written.extend(encode_counted(&test, &mut buffer).unwrap());
    assert_eq!(written, bytes);
    let (header, mut reader) = PlanReader::new(&bytes).unwrap();
    assert_eq!(header, Header { run: "r1", watchdog_s: 60 });
    assert_eq!((reader.test(), reader.test()), (Ok(Some(test)), Ok(None)));

    let record = Record { source: 4, priority: 0, test: 0, board_us: 1, sequence: 0, text: b"hi", count: 9 };
    let bytes = [
        &[0x09, 0x00][..],   // length
        &[0x04, 0x00, 0x00], // source, priority, test
        &[0x01, 0x00],       // board_us, sequence
        b"\x02hi",           // text
        &[0x09],             // count
    ].concat();
    assert_eq!(record.encode(&mut [0; 600]).unwrap(), bytes);
    assert_eq!(Record::parse(&bytes), Ok(Some((record, bytes.len()))));
}

#[rustfmt::skip]
#[test]
fn info_request() {
    assert_bytes(
        &request::Info {},
        &[
        ],
    );
}

#[rustfmt::skip]
#[test]
fn info_answer() {
    assert_bytes(
        &response::Info { version: "0.1.0", role: 1, boot_id: "00112233", machine_id: "ab", host_name: "board", kernel: "Linux", model: "virt", addresses: b"eth0 10.0.0.2/8\0", partitions: b"master\0", memory_kib: 0x80000, agent_resident_kib: 600, uptime_us: 0x6acfc0, line_overruns: 300, line_errors: 2 },
        &[
            b"\x050.1.0", // version
            &[0x01], // role
            b"\x0800112233", // boot_id
            b"\x02ab", // machine_id
            b"\x05board", // host_name
            b"\x05Linux", // kernel
            b"\x04virt", // model
            b"\x10eth0 10.0.0.2/8\0", // addresses
            b"\x07master\0", // partitions
            &[0x80, 0x80, 0x20], // memory_kib
            &[0xd8, 0x04], // agent_resident_kib
            &[0xc0, 0x9f, 0xab, 0x03], // uptime_us
            &[0xac, 0x02], // line_overruns
            &[0x02], // line_errors
        ],
    );
}

#[rustfmt::skip]
#[test]
fn clock_request() {
    assert_bytes(
        &request::Clock { host_us: 0x60a24181e4000 },
        &[
            &[0x80, 0x80, 0xf9, 0xc0, 0xc1, 0xc4, 0x82, 0x03], // host_us
        ],
    );
}

#[rustfmt::skip]
#[test]
fn clock_answer() {
    assert_bytes(
        &response::Clock { host_us: 0x60a24181e4000, received_us: 0x4c4b40, answered_us: 0x4c4ba4, wall_us: 300 },
        &[
            &[0x80, 0x80, 0xf9, 0xc0, 0xc1, 0xc4, 0x82, 0x03], // host_us
            &[0xc0, 0x96, 0xb1, 0x02], // received_us
            &[0xa4, 0x97, 0xb1, 0x02], // answered_us
            &[0xac, 0x02], // wall_us
        ],
    );
}

#[rustfmt::skip]
#[test]
fn line_request() {
    assert_bytes(
        &request::Line {},
        &[],
    );
}

#[rustfmt::skip]
#[test]
fn line_answer() {
    assert_bytes(
        &response::Line {
            overruns: 300,
            errors: 2,
            stats: Stats { bytes_in: 300000, bytes_out: 200, frames_in: 128, frames_out: 5, console_bytes: 70, damaged_frames: 3, overlong: 0, echoes: 0, stale: 1, unknown: 0, duplicates: 2, retransmits: 4, probes: 1, unclaimed_bytes: 0, sessions: 1, beacons: 2, frame_bytes: 290000, damaged_bytes: 90, stray_beacons: 0, lanes: 1, lane_bytes_in: 300000, lane_bytes_out: 200, lane_faults: 0, lane_repeats: 3 },
        },
        &[
            &[0xac, 0x02], // overruns
            &[0x02], // errors
            &[0xe0, 0xa7, 0x12], // bytes_in
            &[0xc8, 0x01], // bytes_out
            &[0x80, 0x01], // frames_in
            &[0x05], // frames_out
            &[0x46], // console_bytes
            &[0x03], // damaged_frames
            &[0x00], // overlong
            &[0x00], // echoes
            &[0x01], // stale
            &[0x00], // unknown
            &[0x02], // duplicates
            &[0x04], // retransmits
            &[0x01], // probes
            &[0x00], // unclaimed_bytes
            &[0x01], // sessions
            &[0x02], // beacons
            &[0xd0, 0xd9, 0x11], // frame_bytes
            &[0x5a], // damaged_bytes
            &[0x00], // stray_beacons
            &[0x01], // lanes
            &[0xe0, 0xa7, 0x12], // lane_bytes_in
            &[0xc8, 0x01], // lane_bytes_out
            &[0x00], // lane_faults
            &[0x03], // lane_repeats
        ],
    );
}

#[rustfmt::skip]
#[test]
fn line_test_request() {
    assert_bytes(
        &request::LineTest { to_board: 1, from_board: 3, seed: 0x12345678, bytes: 100000 },
        &[
            &[0x01], // to_board
            &[0x03], // from_board
            &[0xf8, 0xac, 0xd1, 0x91, 0x01], // seed
            &[0xa0, 0x8d, 0x06], // bytes
        ],
    );
}

#[rustfmt::skip]
#[test]
fn line_test_answer() {
    assert_bytes(
        &response::LineTest { received: 100000, wrong: 0, sent: 100000 },
        &[
            &[0xa0, 0x8d, 0x06], // received
            &[0x00], // wrong
            &[0xa0, 0x8d, 0x06], // sent
        ],
    );
}

#[rustfmt::skip]
#[test]
fn outcome_request() {
    assert_bytes(
        &request::Outcome { request: 300 },
        &[
            &[0xac, 0x02], // request
        ],
    );
}

#[rustfmt::skip]
#[test]
fn outcome_answer() {
    assert_bytes(
        &response::Outcome { state: 2, method: 0x10, body: &[0, 1, 0x90, 0x4e, 0, 0] },
        &[
            &[0x02], // state
            &[0x10], // method
            &[0x06, 0x00, 0x01, 0x90, 0x4e, 0x00, 0x00], // body
        ],
    );
}

#[rustfmt::skip]
#[test]
fn clock_mark_request() {
    assert_bytes(
        &request::ClockMark {},
        &[],
    );
}

#[rustfmt::skip]
#[test]
fn clock_mark_answer() {
    assert_bytes(
        &response::ClockMark { before_us: 5000000, after_us: 5000100, kernel_us: 4999800 },
        &[
            &[0xc0, 0x96, 0xb1, 0x02], // before_us
            &[0xa4, 0x97, 0xb1, 0x02], // after_us
            &[0xf8, 0x94, 0xb1, 0x02], // kernel_us
        ],
    );
}

#[rustfmt::skip]
#[test]
fn follow_request() {
    assert_bytes(
        &request::Follow { stream: 3, kernel_from: 300 },
        &[
            &[0x03], // stream
            &[0xac, 0x02], // kernel_from
        ],
    );
}

#[rustfmt::skip]
#[test]
fn follow_answer() {
    assert_bytes(
        &response::Done {},
        &[
        ],
    );
}

#[rustfmt::skip]
#[test]
fn exec_request() {
    assert_bytes(
        &request::Exec { argv: b"uname\0-a\0", env: b"LANG=C\0", cwd: "/tmp", stdin: 1, stdout: 3, stderr: 5, timeout_ms: 30000 },
        &[
            b"\x09uname\0-a\0", // argv
            b"\x07LANG=C\0", // env
            b"\x04/tmp", // cwd
            &[0x01], // stdin
            &[0x03], // stdout
            &[0x05], // stderr
            &[0xb0, 0xea, 0x01], // timeout_ms
        ],
    );
}

#[rustfmt::skip]
#[test]
fn exec_answer() {
    assert_bytes(
        &response::Exit { end: 2, code: 15, user_us: 1000, system_us: 200, max_rss_kib: 1024, elapsed_us: 0x1c9c380 },
        &[
            &[0x02], // end
            &[0x0f], // code
            &[0xe8, 0x07], // user_us
            &[0xc8, 0x01], // system_us
            &[0x80, 0x08], // max_rss_kib
            &[0x80, 0x87, 0xa7, 0x0e], // elapsed_us
        ],
    );
}

#[rustfmt::skip]
#[test]
fn signal_request() {
    assert_bytes(
        &request::Signal { request: 300, signal: 15 },
        &[
            &[0xac, 0x02], // request
            &[0x0f], // signal
        ],
    );
}

#[rustfmt::skip]
#[test]
fn signal_answer() {
    assert_bytes(
        &response::Done {},
        &[
        ],
    );
}

#[rustfmt::skip]
#[test]
fn get_request() {
    assert_bytes(
        &request::Get { path: "/etc/fstab", stream: 7, offset: 4096 },
        &[
            b"\x0a/etc/fstab", // path
            &[0x07], // stream
            &[0x80, 0x20], // offset
        ],
    );
}

#[rustfmt::skip]
#[test]
fn get_answer() {
    assert_bytes(
        &response::Got { bytes: 0x11170, mode: 420, sha256: &DIGEST },
        &[
            &[0xf0, 0xa2, 0x04], // bytes
            &[0xa4, 0x03], // mode
            b" \xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xeb\xec\xed\xee\xef\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff", // sha256
        ],
    );
}

#[rustfmt::skip]
#[test]
fn put_request() {
    assert_bytes(
        &request::Put { path: "/tmp/a", stream: 9, mode: 493, size: 0x11170, sha256: &DIGEST },
        &[
            b"\x06/tmp/a", // path
            &[0x09], // stream
            &[0xed, 0x03], // mode
            &[0xf0, 0xa2, 0x04], // size
            b" \xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xeb\xec\xed\xee\xef\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff", // sha256
        ],
    );
}

#[rustfmt::skip]
#[test]
fn put_answer() {
    assert_bytes(
        &response::Done {},
        &[
        ],
    );
}

#[rustfmt::skip]
#[test]
fn list_request() {
    assert_bytes(
        &request::List { path: "/tmp", stream: 11, recursive: true },
        &[
            b"\x04/tmp", // path
            &[0x0b], // stream
            &[0x01], // recursive
        ],
    );
}

#[rustfmt::skip]
#[test]
fn list_answer() {
    assert_bytes(
        &response::Listed { entries: 300 },
        &[
            &[0xac, 0x02], // entries
        ],
    );
}

#[rustfmt::skip]
#[test]
fn stat_request() {
    assert_bytes(
        &request::Path { path: "/tmp/a" },
        &[
            b"\x06/tmp/a", // path
        ],
    );
}

#[rustfmt::skip]
#[test]
fn stat_answer() {
    assert_bytes(
        &response::Stat { kind: 0, size: 0x11170, mode: 493 },
        &[
            &[0x00], // kind
            &[0xf0, 0xa2, 0x04], // size
            &[0xed, 0x03], // mode
        ],
    );
}

#[rustfmt::skip]
#[test]
fn remove_request() {
    assert_bytes(
        &request::Path { path: "/tmp/a" },
        &[
            b"\x06/tmp/a", // path
        ],
    );
}

#[rustfmt::skip]
#[test]
fn remove_answer() {
    assert_bytes(
        &response::Done {},
        &[
        ],
    );
}

#[rustfmt::skip]
#[test]
fn partition_request() {
    assert_bytes(
        &request::Partition { label: "testrootfs" },
        &[
            b"\x0atestrootfs", // label
        ],
    );
}

#[rustfmt::skip]
#[test]
fn partition_answer() {
    assert_bytes(
        &response::Partition { device: "/dev/vda3", size: 0x20000000, mounted: true },
        &[
            b"\x09/dev/vda3", // device
            &[0x80, 0x80, 0x80, 0x80, 0x02], // size
            &[0x01], // mounted
        ],
    );
}

#[rustfmt::skip]
#[test]
fn block_write_request() {
    assert_bytes(
        &request::BlockWrite { label: "testrootfs", stream: 13, image_bytes: 0x20000000 },
        &[
            b"\x0atestrootfs", // label
            &[0x0d], // stream
            &[0x80, 0x80, 0x80, 0x80, 0x02], // image_bytes
        ],
    );
}

#[rustfmt::skip]
#[test]
fn block_write_answer() {
    assert_bytes(
        &response::Written { data_bytes: 0x1c3a90, zero_bytes: 0x1dcd6500, copied_bytes: 0 },
        &[
            &[0x90, 0xf5, 0x70], // data_bytes
            &[0x80, 0xca, 0xb5, 0xee, 0x01], // zero_bytes
            &[0x00], // copied_bytes
        ],
    );
}

#[rustfmt::skip]
#[test]
fn block_tree_request() {
    assert_bytes(
        &request::BlockTree {
            target: "testrootfs", stream: 4, bytes: 0x20000000, level: 2, first: 0, count: 512, width: 8, is_fresh: true,
        },
        &[
            &[0x0a, 0x74, 0x65, 0x73, 0x74, 0x72, 0x6f, 0x6f, 0x74, 0x66, 0x73], // target
            &[0x04], // stream
            &[0x80, 0x80, 0x80, 0x80, 0x02], // bytes
            &[0x02], // level
            &[0x00], // first
            &[0x80, 0x04], // count
            &[0x08], // width
            &[0x01], // is_fresh
        ],
    );
}

#[rustfmt::skip]
#[test]
fn block_tree_answer() {
    assert_bytes(
        &response::BlockTree { size: 0x20000000, nodes: 512, bin_max: 65536, dictionary_max: 131072 },
        &[
            &[0x80, 0x80, 0x80, 0x80, 0x02], // size
            &[0x80, 0x04], // nodes
            &[0x80, 0x80, 0x04], // bin_max
            &[0x80, 0x80, 0x08], // dictionary_max
        ],
    );
}

#[rustfmt::skip]
#[test]
fn block_plan_request() {
    assert_bytes(
        &request::BlockPlan {
            target: "testrootfs", sources: b"testboot\0/var/image\0", stream: 13, image_bytes: 0x20000000, mode: 0o644,
            root: &DIGEST[..16],
        },
        &[
            &[0x0a, 0x74, 0x65, 0x73, 0x74, 0x72, 0x6f, 0x6f, 0x74, 0x66, 0x73], // target
            &[0x14, 0x74, 0x65, 0x73, 0x74, 0x62, 0x6f, 0x6f, 0x74, 0x00, 0x2f, 0x76, 0x61, 0x72, 0x2f, 0x69, 0x6d, 0x61, 0x67, 0x65, 0x00], // sources
            &[0x0d], // stream
            &[0x80, 0x80, 0x80, 0x80, 0x02], // image_bytes
            &[0xa4, 0x03], // mode
            &[0x10, 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef], // root
        ],
    );
}

#[rustfmt::skip]
#[test]
fn block_plan_answer() {
    assert_bytes(
        &response::Written { data_bytes: 0x1c3a90, zero_bytes: 0x1dcd6500, copied_bytes: 0x16c12000 },
        &[
            &[0x90, 0xf5, 0x70], // data_bytes
            &[0x80, 0xca, 0xb5, 0xee, 0x01], // zero_bytes
            &[0x80, 0xc0, 0x84, 0xb6, 0x01], // copied_bytes
        ],
    );
}

#[rustfmt::skip]
#[test]
fn plan_steps() {
    let bytes: Vec<u8> = [
        &[0x01][..], // kind: zero
        &[0x0e], // to: 7
        &[0x01], // count
        &[0x02], // kind: copy
        &[0x00], // source
        &[0xd0, 0x0f], // from: 1000
        &[0x00], // to: 8, where the zeros ended
        &[0xac, 0x02], // count
        &[0x03], // kind: raw bin
        &[0x80, 0x20], // packed
        &[0xef, 0xbe, 0xad, 0xde], // crc
        &[0x01], // targets
        &[0xdf, 0x04], // to: 4
        &[0x01], // count
        &[0x04], // kind: LZMA bin
        &[0x46], // packed
        &[0x01, 0x02, 0x03, 0x04], // crc
        &[0x02], // extents
        &[0x01], // targets
        &[0x00], // source
        &[0x95, 0x14], // from: 9
        &[0x02], // count
        &[0x01], // source
        &[0x15], // from: 0
        &[0x1e], // count
        &[0xbe, 0x01], // to: 100
        &[0x0f], // count
        &[0x05], // kind: sync
        &[0x00], // kind: end
    ].concat();
    let extent = |first, count| Extent { first, count };
    let (mut writer, mut written) = (StepWriter::new(), Vec::new());
    let put = &mut |byte| written.push(byte);
    writer.zero(extent(7, 1), put);
    writer.copy(0, 1000, extent(8, 300), put);
    writer.bin(Packing::Raw, 4096, 0xdead_beef, &[], &[extent(4, 1)], put);
    let dictionary = [(0, extent(9, 2)), (1, extent(0, 30))];
    writer.bin(Packing::Lzma, 70, 0x0403_0201, &dictionary, &[extent(100, 15)], put);
    writer.sync(put);
    writer.end(put);
    assert_eq!(written, bytes);
}

/// The root over 17 blocks of which each is full of its number.
#[test]
fn tree_root() {
    let leaves: Vec<_> = (0..17).map(|number| tree::leaf(&[number; 4096])).collect();
    let above: Vec<_> = leaves.chunks(16).map(tree::node).collect();
    let root = [
        0x9c, 0xec, 0x17, 0x9c, 0x67, 0x52, 0x9e, 0xb2, 0xa2, 0xba, 0xd5, 0x25, 0x62, 0x1a, 0x83,
        0x10,
    ];
    assert_eq!((tree::root_level(17), tree::node(&above)), (2, root));
}

#[rustfmt::skip]
#[test]
fn block_hash_request() {
    assert_bytes(
        &request::BlockHash { label: "testboot", offset: 512, length: 0x10000 },
        &[
            b"\x08testboot", // label
            &[0x80, 0x04], // offset
            &[0x80, 0x80, 0x04], // length
        ],
    );
}

#[rustfmt::skip]
#[test]
fn block_hash_answer() {
    assert_bytes(
        &response::Hash { sha256: &DIGEST },
        &[
            b" \xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xeb\xec\xed\xee\xef\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff", // sha256
        ],
    );
}

#[rustfmt::skip]
#[test]
fn mount_request() {
    assert_bytes(
        &request::Mount { label: "testrootfs", fs_type: "ext4", read_only: true, no_replay: true },
        &[
            b"\x0atestrootfs", // label
            b"\x04ext4", // fs_type
            &[0x01], // read_only
            &[0x01], // no_replay
        ],
    );
}

#[rustfmt::skip]
#[test]
fn mount_answer() {
    assert_bytes(
        &response::Mounted { path: "/run/m" },
        &[
            b"\x06/run/m", // path
        ],
    );
}

#[rustfmt::skip]
#[test]
fn unmount_request() {
    assert_bytes(
        &request::Partition { label: "testrootfs" },
        &[
            b"\x0atestrootfs", // label
        ],
    );
}

#[rustfmt::skip]
#[test]
fn unmount_answer() {
    assert_bytes(
        &response::Done {},
        &[
        ],
    );
}

#[rustfmt::skip]
#[test]
fn inject_request() {
    assert_bytes(
        &request::Inject { label: "testrootfs", path: "/.pumice/agent" },
        &[
            b"\x0atestrootfs", // label
            b"\x0e/.pumice/agent", // path
        ],
    );
}

#[rustfmt::skip]
#[test]
fn inject_answer() {
    assert_bytes(
        &response::Injected { bytes: 0x20000 },
        &[
            &[0x80, 0x80, 0x08], // bytes
        ],
    );
}

#[rustfmt::skip]
#[test]
fn reboot_request() {
    assert_bytes(
        &request::Reboot { how: 1 },
        &[
            &[0x01], // how
        ],
    );
}

#[rustfmt::skip]
#[test]
fn reboot_answer() {
    assert_bytes(
        &response::Done {},
        &[
        ],
    );
}

#[rustfmt::skip]
#[test]
fn baud_request() {
    assert_bytes(
        &request::Baud { baud: 921600, confirm_ms: 3000 },
        &[
            &[0x80, 0xa0, 0x38], // baud
            &[0xb8, 0x17], // confirm_ms
        ],
    );
}

#[rustfmt::skip]
#[test]
fn lane_request() {
    assert_bytes(
        &request::Lane { address: &[10, 0, 2, 2], port: 40000, token: &BOOT_ID },
        &[
            &[0x04, 0x0a, 0x00, 0x02, 0x02], // address
            &[0xc0, 0xb8, 0x02], // port
            &[0x10, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f], // token
        ],
    );
}

#[rustfmt::skip]
#[test]
fn test_status_request() {
    assert_bytes(
        &request::TestStatus {},
        &[
        ],
    );
}

#[rustfmt::skip]
#[test]
fn test_status_answer() {
    assert_bytes(
        &response::TestStatus { run: "r1", state: 3, ended: 1, total: 300, directory: "/.pumice/runs/r1", problem: "why" },
        &[
            b"\x02r1", // run
            &[0x03], // state
            &[0x01], // ended
            &[0xac, 0x02], // total
            b"\x10/.pumice/runs/r1", // directory
            b"\x03why", // problem
        ],
    );
}

#[rustfmt::skip]
#[test]
fn failed_answer() {
    assert_bytes(
        &Failure { kind: FailureKind::OS, os_error: -28, text: "/tmp/a" },
        &[
            &[0x07], // kind
            &[0x37], // os_error
            b"\x06/tmp/a", // text
        ],
    );
}

#[rustfmt::skip]
#[test]
fn hello() {
    assert_bytes(
        &Hello { version_min: 1, version_max: 2, nonce: 0x1020304, window: 32, capabilities: 128 },
        &[
            &[0x01], // version_min
            &[0x02], // version_max
            &[0x84, 0x86, 0x88, 0x08], // nonce
            &[0x20], // window
            &[0x80, 0x01], // capabilities
        ],
    );
}

#[rustfmt::skip]
#[test]
fn hello_ack() {
    assert_bytes(
        &HelloAck { version: 1, boot_id: BOOT_ID, nonce: 0xa0b0c0d, host_nonce: 0x1020304, role: 1, window: 16, capabilities: 128 },
        &[
            &[0x01], // version
            &[0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f], // boot_id
            &[0x8d, 0x98, 0xac, 0x50], // nonce
            &[0x84, 0x86, 0x88, 0x08], // host_nonce
            &[0x01], // role
            &[0x10], // window
            &[0x80, 0x01], // capabilities
        ],
    );
}

#[rustfmt::skip]
#[test]
fn entry() {
    assert_bytes(
        &response::Entry { path: b"sub/file", kind: 1, size: 4096, mode: 493 },
        &[
            b"\x08sub/file", // path
            &[0x01], // kind
            &[0x80, 0x20], // size
            &[0xed, 0x03], // mode
        ],
    );
}

#[rustfmt::skip]
#[test]
fn record() {
    assert_bytes(
        &Record { source: 2, priority: 6, test: 300, board_us: 0x6acfc0, sequence: 1000, text: b"text", count: 300 },
        &[
            &[0x02], // source
            &[0x06], // priority
            &[0xac, 0x02], // test
            &[0xc0, 0x9f, 0xab, 0x03], // board_us
            &[0xe8, 0x07], // sequence
            b"\x04text", // text
            &[0xac, 0x02], // count
        ],
    );
}

#[rustfmt::skip]
#[test]
fn node_call_request() {
    assert_bytes(
        &request::NodeCall { taken: 300 },
        &[
            &[0xac, 0x02], // taken
        ],
    );
}

#[rustfmt::skip]
#[test]
fn node_call_answer() {
    assert_bytes(
        &response::NodeCall { number: 301, call: NodeCall { kind: 32, id: "ready", data: b"ip=1\0" } },
        &[
            &[0xad, 0x02], // number
            &[0x20], // kind
            b"\x05ready", // id
            b"\x05ip=1\0", // data
        ],
    );
}

#[rustfmt::skip]
#[test]
fn node_answer_request() {
    assert_bytes(
        &request::NodeAnswer { number: 301, status: 255, data: b"why" },
        &[
            &[0xad, 0x02], // number
            &[0xff], // status
            b"\x03why", // data
        ],
    );
}

#[rustfmt::skip]
#[test]
fn test_signal() {
    assert_bytes(
        &Noted { stdout_bytes: 300, stderr_bytes: 5, signal: TestSignal {
            kind: 2, result: 1, name: "boot", measurement: "1.5", units: "s", text: "t", step: 3,
            exit: response::Exit { end: 1, code: 9, user_us: 1, system_us: 2, max_rss_kib: 3, elapsed_us: 4 },
        } },
        &[
            &[0xac, 0x02], // stdout_bytes
            &[0x05], // stderr_bytes
            &[0x02], // kind
            &[0x01], // result
            b"\x04boot", // name
            b"\x031.5", // measurement
            b"\x01s", // units
            b"\x01t", // text
            &[0x03], // step
            &[0x01], // end
            &[0x09], // code
            &[0x01], // user_us
            &[0x02], // system_us
            &[0x03], // max_rss_kib
            &[0x04], // elapsed_us
        ],
    );
}

#[rustfmt::skip]
#[test]
fn request_file_hash() {
    assert_bytes(
        &request::FileHash { path: "/a", offset: 1, length: 300 },
        &[
            b"\x02/a", // path
            &[0x01], // offset
            &[0xac, 0x02], // length
        ],
    );
}

#[rustfmt::skip]
#[test]
fn plan_header() {
    assert_bytes(
        &Header { run: "r1", watchdog_s: 60 },
        &[
            b"\x02r1", // run
            &[0x3c], // watchdog_s
        ],
    );
}

#[rustfmt::skip]
#[test]
fn plan_test() {
    assert_bytes(
        &Test { suite: "smoke", timeout_ms: 30000, step_timeout_ms: 5000, flags: 1 },
        &[
            b"\x05smoke", // suite
            &[0xb0, 0xea, 0x01], // timeout_ms
            &[0x88, 0x27], // step_timeout_ms
            &[0x01], // flags
        ],
    );
}

#[rustfmt::skip]
#[test]
fn frame_data_from_the_host() {
    assert_frame(
        &Frame { kind: Kind::Data, from_board: false, tag: 7, ack: 9, sack: None, seq: 200, body: &[0x03, 0x02, 0x68, 0x69, 0x43, 0x85, 0x80, 0x20, 0xc7, 0x20, 0x72, 0x65, 0x73, 0x74] },
        &[
            &[0x00], // control
            &[0x07], // tag
            &[0x09], // ack
            &[0xc8], // seq
            &[0x03, 0x02, 0x68, 0x69, 0x43, 0x85, 0x80, 0x20, 0xc7, 0x20, 0x72, 0x65, 0x73, 0x74], // body
            &[0xe6, 0x9d, 0x67, 0x74], // crc
        ],
        &[
            0x1e, 0x80, 0x81, 0xe1, 0x9c, 0xc0, 0x8c, 0x84, 0xe8, 0xb4, 0xd0, 0xf0, 0xd8, 0x81, 0x83, 0x8e,
            0xa0, 0xb9, 0x99, 0xae, 0xb7, 0xa7, 0x9a, 0xba, 0xe7, 0xba, 0x80, 0x1f,
        ],
        &[
            0x00, 0x01, 0x16, 0x07, 0x09, 0xc8, 0x03, 0x02, 0x68, 0x69, 0x43, 0x85, 0x80, 0x20, 0xc7, 0x20,
            0x72, 0x65, 0x73, 0x74, 0xe6, 0x9d, 0x67, 0x74, 0x00,
        ],
    );
}

#[rustfmt::skip]
#[test]
fn frame_data_from_the_board_with_a_gap() {
    assert_frame(
        &Frame { kind: Kind::Data, from_board: true, tag: 7, ack: 9, sack: Some(0x80000001), seq: 255, body: &[0x20, 0x78] },
        &[
            &[0xc0], // control
            &[0x07], // tag
            &[0x09], // ack
            &[0xff], // seq
            &[0x01, 0x00, 0x00, 0x80], // sack
            &[0x20, 0x78], // body
            &[0xef, 0x57, 0x66, 0xf5], // crc
        ],
        &[
            0x1e, 0xe0, 0x81, 0xe1, 0x9f, 0xf8, 0x84, 0x80, 0x80, 0xc0, 0x88, 0x8f, 0x8e, 0xfa, 0xdd, 0xcd,
            0xf5, 0x1f,
        ],
        &[
            0x00, 0x06, 0xc0, 0x07, 0x09, 0xff, 0x01, 0x01, 0x08, 0x80, 0x20, 0x78, 0xef, 0x57, 0x66, 0xf5,
            0x00,
        ],
    );
}

#[rustfmt::skip]
#[test]
fn frame_ack_from_the_host() {
    assert_frame(
        &Frame { kind: Kind::Ack, from_board: false, tag: 7, ack: 9, sack: None, seq: 0, body: &[] },
        &[
            &[0x01], // control
            &[0x07], // tag
            &[0x09], // ack
            &[0x8d, 0x23, 0xfa, 0xc7], // crc
        ],
        &[
            0x1e, 0x80, 0xc1, 0xe1, 0x98, 0xe9, 0x8f, 0xf5, 0xc7, 0x1f,
        ],
        &[
            0x00, 0x08, 0x01, 0x07, 0x09, 0x8d, 0x23, 0xfa, 0xc7, 0x00,
        ],
    );
}

#[rustfmt::skip]
#[test]
fn frame_ack_from_the_board_with_a_gap() {
    assert_frame(
        &Frame { kind: Kind::Ack, from_board: true, tag: 7, ack: 9, sack: Some(0x5), seq: 0, body: &[] },
        &[
            &[0xc1], // control
            &[0x07], // tag
            &[0x09], // ack
            &[0x05, 0x00, 0x00, 0x00], // sack
            &[0xf0, 0x4c, 0xbc, 0x81], // crc
        ],
        &[
            0x1e, 0xe0, 0xc1, 0xe1, 0x90, 0xa8, 0x80, 0x80, 0x80, 0xf8, 0x93, 0x97, 0xc8, 0x88, 0x1f,
        ],
        &[
            0x00, 0x05, 0xc1, 0x07, 0x09, 0x05, 0x01, 0x01, 0x05, 0xf0, 0x4c, 0xbc, 0x81, 0x00,
        ],
    );
}

#[rustfmt::skip]
#[test]
fn frame_hello_from_the_host() {
    assert_frame(
        &Frame { kind: Kind::Hello, from_board: false, tag: 0, ack: 0, sack: None, seq: 0, body: &[0x01, 0x02, 0x84, 0x86, 0x88, 0x08, 0x20, 0x80, 0x01] },
        &[
            &[0x02], // control
            &[0x00], // tag
            &[0x00], // ack
            &[0x01, 0x02, 0x84, 0x86, 0x88, 0x08, 0x20, 0x80, 0x01], // body
            &[0xb9, 0xe5, 0x57, 0xbf], // crc
        ],
        &[
            0x1e, 0x81, 0x80, 0x80, 0x80, 0x88, 0x8a, 0x89, 0x86, 0xc4, 0x82, 0x84, 0x88, 0x80, 0x86, 0xf3,
            0xe5, 0xab, 0xef, 0xe0, 0x1f,
        ],
        &[
            0x00, 0x02, 0x02, 0x01, 0x0e, 0x01, 0x02, 0x84, 0x86, 0x88, 0x08, 0x20, 0x80, 0x01, 0xb9, 0xe5,
            0x57, 0xbf, 0x00,
        ],
    );
}

#[rustfmt::skip]
#[test]
fn frame_hello_ack_from_the_board() {
    assert_frame(
        &Frame { kind: Kind::HelloAck, from_board: true, tag: 0, ack: 0, sack: None, seq: 0, body: &[0x01, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x8d, 0x98, 0xac, 0x50, 0x84, 0x86, 0x88, 0x08, 0x01, 0x10, 0x80, 0x01] },
        &[
            &[0x83], // control
            &[0x00], // tag
            &[0x00], // ack
            &[0x01, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x8d, 0x98, 0xac, 0x50, 0x84, 0x86, 0x88, 0x08, 0x01, 0x10, 0x80, 0x01], // body
            &[0xb0, 0x2a, 0x94, 0xbb], // crc
        ],
        &[
            0x1e, 0xc1, 0xc0, 0x80, 0x80, 0x88, 0x80, 0x82, 0x82, 0x81, 0xc1, 0x80, 0xd0, 0xb0, 0x9c, 0x90,
            0x89, 0x85, 0x82, 0xe1, 0xc0, 0xe8, 0xb8, 0x9f, 0x8d, 0xcc, 0xab, 0x8a, 0x88, 0xa4, 0x9a, 0x90,
            0x88, 0x80, 0xc4, 0x90, 0x80, 0x8d, 0xc0, 0xd5, 0x94, 0xdd, 0xc0, 0x1f,
        ],
        &[
            0x00, 0x02, 0x83, 0x01, 0x02, 0x01, 0x20, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
            0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x8d, 0x98, 0xac, 0x50, 0x84, 0x86, 0x88, 0x08, 0x01, 0x10,
            0x80, 0x01, 0xb0, 0x2a, 0x94, 0xbb, 0x00,
        ],
    );
}

#[rustfmt::skip]
#[test]
fn frame_ping_from_the_board() {
    assert_frame(
        &Frame { kind: Kind::Ping, from_board: true, tag: 7, ack: 9, sack: None, seq: 0, body: &[] },
        &[
            &[0x84], // control
            &[0x07], // tag
            &[0x09], // ack
            &[0xaa, 0x62, 0x42, 0x77], // crc
        ],
        &[
            0x1e, 0xc2, 0x81, 0xe1, 0x9a, 0xd3, 0x89, 0x84, 0xf7, 0x1f,
        ],
        &[
            0x00, 0x08, 0x84, 0x07, 0x09, 0xaa, 0x62, 0x42, 0x77, 0x00,
        ],
    );
}

#[rustfmt::skip]
#[test]
fn frame_reset_from_the_host() {
    assert_frame(
        &Frame { kind: Kind::Reset, from_board: false, tag: 7, ack: 0, sack: None, seq: 0, body: &[] },
        &[
            &[0x05], // control
            &[0x07], // tag
            &[0x00], // ack
            &[0x5b, 0x5c, 0x96, 0x21], // crc
        ],
        &[
            0x1e, 0x82, 0xc1, 0xe0, 0x85, 0xda, 0xf2, 0xac, 0xa1, 0x1f,
        ],
        &[
            0x00, 0x03, 0x05, 0x07, 0x05, 0x5b, 0x5c, 0x96, 0x21, 0x00,
        ],
    );
}
