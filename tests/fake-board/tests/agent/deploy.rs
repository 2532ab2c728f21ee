//! Deploy plans and hash trees, from request to answer.

use crate::bench::{Bench, generic, secs};
use agent_core::link::crc::crc32c;
use agent_core::tree::{self, Hash, root_level};
use agent_core::wire::steps::{BLOCK, Extent, Packing, StepWriter};
use agent_core::wire::{FailureKind, Method, request, response};
use fake_board::Phase;
use std::fmt::Write as _;

/// A plan of one group.
#[derive(Default)]
struct Plan {
    writer: StepWriter,
    steps: Vec<u8>,
    bins: Vec<u8>,
}

impl Plan {
    fn zero(mut self, first: u32, count: u32) -> Self {
        self.writer.zero(Extent { first, count }, &mut |byte| self.steps.push(byte));
        self
    }

    fn copy(mut self, source: u8, from: u32, first: u32, count: u32) -> Self {
        let to = Extent { first, count };
        self.writer.copy(source, from, to, &mut |byte| self.steps.push(byte));
        self
    }

    fn bin(mut self, first: u32, data: &[u8]) -> Self {
        let to = [Extent { first, count: (data.len() / BLOCK) as u32 }];
        let (packed, crc) = (data.len() as u32, crc32c(data));
        let put = &mut |byte| self.steps.push(byte);
        self.writer.bin(Packing::Raw, packed, crc, &[], &to, put);
        self.bins.extend(data);
        self
    }

    /// Against blocks of a source, which hold `known`.
    fn bin_like(mut self, source: u8, from: Extent, known: &[u8], first: u32, data: &[u8]) -> Self {
        let to = [Extent { first, count: (data.len() / BLOCK) as u32 }];
        let mut options = lzma_rust2::LzmaOptions::with_preset(6);
        options.dict_size = (known.len() + data.len()) as u32;
        options.preset_dict = Some(known.to_vec());
        let mut writer =
            lzma_rust2::LzmaWriter::new_no_header(Vec::new(), &options, false).unwrap();
        std::io::Write::write_all(&mut writer, data).unwrap();
        let packed = writer.finish().unwrap();
        let put = &mut |byte| self.steps.push(byte);
        let (length, crc) = (packed.len() as u32, crc32c(data));
        self.writer.bin(Packing::Lzma, length, crc, &[(source, from)], &to, put);
        self.bins.extend(packed);
        self
    }

    fn unfinished(self) -> Vec<u8> {
        let length = (self.steps.len() as u16).to_le_bytes();
        [&[0][..], &length, &length, &self.steps, &self.bins].concat()
    }

    fn end(mut self) -> Vec<u8> {
        self.writer.end(&mut |byte| self.steps.push(byte));
        self.unfinished()
    }
}

/// Blocks that all differ.
fn blocks(count: usize, salt: u8) -> Vec<u8> {
    (0..count * BLOCK).map(|at| (at / BLOCK) as u8 ^ (at / 100) as u8 ^ salt).collect()
}

fn ask_plan(bench: &mut Bench, target: &str, sources: &[u8], bytes: usize, plan: &[u8]) -> u32 {
    bench.open(3);
    let (image_bytes, mode) = (bytes as u64, 0o640);
    let body = request::BlockPlan { target, sources, stream: 3, image_bytes, mode, root: b"" };
    let request = bench.ask(Method::BLOCK_PLAN, &body);
    bench.send(3, plan, true);
    bench.run_for(secs(30));
    request
}

fn ask_tree(bench: &mut Bench, target: &str, bytes: u64, level: u8, nodes: (u32, u32)) -> u32 {
    bench.open(4);
    let ((first, count), width, is_fresh) = (nodes, 16, true);
    let body =
        request::BlockTree { target, stream: 4, bytes, level, first, count, width, is_fresh };
    let request = bench.ask(Method::BLOCK_TREE, &body);
    bench.run_for(secs(60));
    request
}

/// By the definition.
fn level_of(bytes: &[u8], level: u8) -> Vec<Hash> {
    let mut hashes: Vec<Hash> = bytes.chunks(BLOCK).map(tree::leaf).collect();
    for _ in 0..level {
        hashes = hashes.chunks(tree::FAN_OUT).map(tree::node).collect();
    }
    hashes
}

#[test]
fn a_plan_is_carried_out_and_its_root_is_that_of_the_image() {
    let mut bench = Bench::up(generic());
    let (old, cache) = (blocks(40, 1), blocks(8, 2));
    bench.board.fill_partition("testrootfs", 0, &old);
    bench.board.fill_partition("testboot", 0, &cache);
    bench.board.put_file("master", "/var/image", &[7; 5000]);
    let new = blocks(3, 9);
    let mut like = old[20 * BLOCK..24 * BLOCK].to_vec();
    like[77] = 3;
    let known = old[20 * BLOCK..24 * BLOCK].to_vec();
    let plan = Plan::default()
        .bin_like(0, Extent { first: 20, count: 4 }, &known, 0, &like)
        .copy(0, 10, 11, 20)
        .copy(1, 2, 4, 3)
        .copy(2, 1, 7, 1)
        .zero(8, 2)
        .bin(33, &new)
        .end();
    let bytes = 35 * BLOCK + 100;
    let request = ask_plan(&mut bench, "testrootfs", b"testboot\0/var/image\0", bytes, &plan);
    let mut image = old[..bytes].to_vec();
    let mut put = |first: usize, bytes: &[u8]| {
        let end = image.len().min(first * BLOCK + bytes.len());
        image[first * BLOCK..end].copy_from_slice(&bytes[..end - first * BLOCK]);
    };
    put(0, &like);
    put(11, &old[10 * BLOCK..30 * BLOCK]);
    put(4, &cache[2 * BLOCK..5 * BLOCK]);
    put(7, &[&vec![7; 5000 - BLOCK][..], &vec![0; 2 * BLOCK - 5000]].concat());
    put(8, &[0; 2 * BLOCK]);
    put(33, &new);
    let written: response::Written = bench.answer(request, Method::BLOCK_PLAN);
    let data_bytes = (4 * BLOCK + 2 * BLOCK + 100) as u64;
    let (zero_bytes, copied_bytes) = (2 * BLOCK as u64, 24 * BLOCK as u64);
    assert_eq!(written, response::Written { data_bytes, zero_bytes, copied_bytes });
    let disk = bench.board.partition("testrootfs").unwrap();
    assert!(disk[..bytes] == image && disk[bytes..old.len()] == old[bytes..]);
    let request = ask_tree(&mut bench, "testrootfs", bytes as u64, 2, (0, 9));
    let told: response::BlockTree = bench.answer(request, Method::BLOCK_TREE);
    assert_eq!((told.size, told.nodes), (16 << 20, 1));
    assert_eq!((told.bin_max, told.dictionary_max), (64 << 10, 128 << 10));
    assert_eq!(bench.streams[&4].bytes, level_of(&image, 2).as_flattened());
}

#[test]
fn hashes_of_every_level_are_told() {
    let mut bench = Bench::up(generic());
    let disk = blocks(600, 5);
    bench.board.fill_partition("testboot", 0, &disk);
    bench.board.put_file("master", "/file", &disk[..70_001]);
    let all = bench.board.partition("testboot").unwrap().to_vec();
    for (level, first, count) in
        [(0, 0, 5000), (0, 599, 2), (1, 3, 4), (2, 1, 2), (2, 0, 9), (3, 0, 1), (3, 1, 1)]
    {
        let request = ask_tree(&mut bench, "testboot", 0, level, (first, count));
        let told: response::BlockTree = bench.answer(request, Method::BLOCK_TREE);
        let hashes = level_of(&all, level);
        let end = hashes.len().min((first + count) as usize);
        let wanted = &hashes[(first as usize).min(end)..end];
        assert_eq!(told.nodes as usize, wanted.len(), "{level} {first}");
        assert!(bench.streams[&4].is_finished);
        assert_eq!(bench.streams[&4].bytes, wanted.as_flattened(), "{level} {first}");
    }
    let root = root_level(70_001_u32.div_ceil(BLOCK as u32));
    let request = ask_tree(&mut bench, "/file", 0, root, (0, 1));
    assert_eq!(bench.answer::<response::BlockTree>(request, Method::BLOCK_TREE).size, 70_001);
    assert_eq!(bench.streams[&4].bytes, level_of(&disk[..70_001], root)[0]);
    let tree = request::BlockTree {
        target: "testboot",
        stream: 4,
        bytes: 0,
        level: 1,
        first: 0,
        count: 3,
        width: 5,
        is_fresh: false,
    };
    for (tree, kind) in [
        (request::BlockTree { level: 4, ..tree }, FailureKind::BAD_MESSAGE),
        (request::BlockTree { width: 3, ..tree }, FailureKind::BAD_MESSAGE),
        (request::BlockTree { width: 17, ..tree }, FailureKind::BAD_MESSAGE),
        (request::BlockTree { count: 0, ..tree }, FailureKind::BAD_MESSAGE),
        (request::BlockTree { bytes: (4 << 20) + 1, ..tree }, FailureKind::TOO_LARGE),
        (request::BlockTree { target: "nowhere", ..tree }, FailureKind::NOT_FOUND),
        (request::BlockTree { target: "/nowhere", ..tree }, FailureKind::NOT_FOUND),
    ] {
        bench.open(4);
        let request = bench.ask(Method::BLOCK_TREE, &tree);
        bench.run_for(secs(1));
        assert_eq!(bench.failure_kind(request), kind, "{tree:?}");
    }
    bench.open(4);
    let request = bench.ask(Method::BLOCK_TREE, &tree);
    bench.run_for(secs(9));
    bench.answer::<response::BlockTree>(request, Method::BLOCK_TREE);
    let cut: Vec<u8> = level_of(&all, 1)[..3].iter().flat_map(|hash| hash[..5].to_vec()).collect();
    assert_eq!(bench.streams[&4].bytes, cut);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let mut bench = Bench::up(generic());
    for label in ["master", "testboot", "testrootfs"] {
        bench.board.fill_partition(label, 0, &blocks(4, 1));
    }
    let before = ["master", "testboot", "testrootfs"]
        .map(|label| bench.board.partition(label).unwrap().to_vec());
    let plan = Plan::default().zero(0, 2).end();
    let bytes = 2 * BLOCK;
    for (target, sources, bytes, kind) in [
        ("master", &b""[..], bytes, FailureKind::REFUSED),
        ("nowhere", b"", bytes, FailureKind::NOT_FOUND),
        ("testboot", b"", (4 << 20) + 1, FailureKind::TOO_LARGE),
        ("testboot", b"nowhere\0", bytes, FailureKind::NOT_FOUND),
        ("testboot", b"/nowhere\0", bytes, FailureKind::NOT_FOUND),
        ("testboot", b"testrootfs", bytes, FailureKind::BAD_MESSAGE),
        ("testboot", b"a\0a\0a\0a\0a\0", bytes, FailureKind::NOT_FOUND),
        ("testboot", b"master\0master\0master\0master\0master\0", bytes, FailureKind::BAD_MESSAGE),
    ] {
        let request = ask_plan(&mut bench, target, sources, bytes, &plan);
        assert_eq!(bench.failure_kind(request), kind, "{target} {sources:?}");
    }
    let (fs_type, read_only, no_replay) = ("", false, false);
    let mount = request::Mount { label: "testboot", fs_type, read_only, no_replay };
    bench.ask(Method::MOUNT, &mount);
    let request = ask_plan(&mut bench, "testboot", b"", bytes, &plan);
    assert_eq!(bench.failure_kind(request), FailureKind::BUSY);
    let request = ask_plan(&mut bench, "testrootfs", b"testboot\0", bytes, &plan);
    assert_eq!(bench.failure_kind(request), FailureKind::BUSY);
    for (label, before) in ["master", "testboot", "testrootfs"].into_iter().zip(before) {
        assert!(bench.board.partition(label).unwrap() == before, "{label}");
    }
}

/// Refused while it is so, stopped where it became so, and deployed to when it is so no more.
#[test]
fn a_write_protected_partition_is_named_and_stays_as_it_was() {
    let mut bench = Bench::up(generic());
    let (old, new) = (blocks(64, 1), blocks(60, 2));
    bench.board.fill_partition("testrootfs", 0, &old);
    let bin = |plan: Plan, at: usize| plan.bin(at as u32, &new[at * BLOCK..(at + 12) * BLOCK]);
    let plan = (0..5).fold(Plan::default(), |plan, index| bin(plan, index * 12)).end();
    bench.board.protect("testrootfs", true);
    let request = ask_plan(&mut bench, "testrootfs", b"", new.len(), &plan);
    let refused = bench.failure(request).to_string();
    assert_eq!(refused, "/dev/fake: operating system error (errno 30)");
    assert!(bench.board.partition("testrootfs").unwrap().starts_with(&old), "nothing is written");
    // It can be read, by whoever wants to know what it holds.
    let request = ask_tree(&mut bench, "testrootfs", old.len() as u64, 0, (0, 64));
    bench.answer::<response::BlockTree>(request, Method::BLOCK_TREE);
    assert_eq!(bench.streams[&4].bytes, level_of(&old, 0).as_flattened());

    bench.board.protect("testrootfs", false);
    bench.open(3);
    let (target, mode, image_bytes) = ("testrootfs", 0, new.len() as u64);
    let body = request::BlockPlan { target, sources: b"", stream: 3, image_bytes, mode, root: b"" };
    let request = bench.ask(Method::BLOCK_PLAN, &body);
    bench.send(3, &plan[..plan.len() / 2], false);
    bench.run_for(secs(20));
    assert!(!bench.is_answered(request));
    bench.board.protect("testrootfs", true);
    bench.send(3, &plan[plan.len() / 2..], true);
    bench.run_for(secs(20));
    let stopped = bench.failure(request).to_string();
    assert_eq!(stopped, "writing target block 24: operating system error (errno 1)");
    let disk = bench.board.partition("testrootfs").unwrap();
    assert!(
        disk[..24 * BLOCK] == new[..24 * BLOCK] && disk[24 * BLOCK..old.len()] == old[24 * BLOCK..]
    );

    bench.board.protect("testrootfs", false);
    let request = ask_plan(&mut bench, "testrootfs", b"", new.len(), &plan);
    bench.answer::<response::Written>(request, Method::BLOCK_PLAN);
    assert!(bench.board.partition("testrootfs").unwrap().starts_with(&new));
}

#[test]
fn what_goes_wrong_is_named_with_its_place() {
    let mut bench = Bench::up(generic());
    bench.board.fail_reads("testboot", 5);
    bench.board.fail_reads("testrootfs", 300);
    bench.board.fail_writes("testrootfs", 9);
    let mut bad_bin = Plan::default().bin(3, &blocks(1, 1)).end();
    *bad_bin.last_mut().unwrap() ^= 1;
    let mut text = String::new();
    for plan in [
        Plan::default().copy(1, 0, 0, 8).end(),
        Plan::default().zero(2, 60).end(),
        Plan::default().copy(0, 290, 0, 8).copy(0, 298, 20, 8).end(),
        bad_bin,
        Plan::default().zero(0, 1).unfinished(),
        [Plan::default().zero(0, 1).end(), b"more".to_vec()].concat(),
    ] {
        let request = ask_plan(&mut bench, "testrootfs", b"testboot\0", 100 * BLOCK, &plan);
        let failure = bench.failure(request);
        writeln!(text, "{failure}").unwrap();
    }
    assert_eq!(
        text,
        "reading source 1 block 5: operating system error (errno 5)\n\
         writing target block 2: operating system error (errno 5)\n\
         reading source 0 block 300: operating system error (errno 5)\n\
         bin for target block 3: the digest differs\n\
         the plan ended without its last step: the agent could not read the request\n\
         bytes behind the end: the agent could not read the request\n"
    );
    let request = ask_tree(&mut bench, "testrootfs", 0, 3, (0, 1));
    assert_eq!(bench.failure(request).text, "reading block 300");
    // Nothing of it stays behind.
    let plan = Plan::default().zero(0, 1).end();
    let request = ask_plan(&mut bench, "testrootfs", b"", BLOCK, &plan);
    bench.answer::<response::Written>(request, Method::BLOCK_PLAN);
}

#[test]
fn a_file_takes_the_old_ones_place_at_the_end_or_not_at_all() {
    let mut bench = Bench::up(generic());
    let (old, new) = (blocks(3, 1), blocks(1, 2));
    bench.board.put_file("master", "/opt/file", &old[..10_000]);
    let plan = || Plan::default().copy(0, 1, 0, 2).bin(2, &new);
    let bytes = 2 * BLOCK + 5;
    let request = ask_plan(&mut bench, "/opt/file", b"", bytes, &plan().unfinished());
    assert_eq!(bench.failure_kind(request), FailureKind::BAD_MESSAGE);
    assert_eq!(bench.board.file("master", "/opt/file"), Some(&old[..10_000]));
    let request = ask_plan(&mut bench, "/opt/file", b"", bytes, &plan().end());
    let written: response::Written = bench.answer(request, Method::BLOCK_PLAN);
    assert_eq!((written.copied_bytes, written.data_bytes), (2 * BLOCK as u64, 5));
    let mut wanted = [&old[BLOCK..10_000], &vec![0; 3 * BLOCK - 10_000][..]].concat();
    wanted.extend(&new[..5]);
    assert_eq!(bench.board.file("master", "/opt/file"), Some(&wanted[..]));
    assert_eq!(bench.board.file_mode("master", "/opt/file"), Some(0o640));
    // Without an old one there is nothing to copy from.
    let request = ask_plan(&mut bench, "/opt/new", b"", bytes, &plan().end());
    assert_eq!(bench.failure(request).text, "beyond its end: source 0 block 1");
    let request = ask_plan(&mut bench, "/opt/new", b"", BLOCK, &Plan::default().bin(0, &new).end());
    bench.answer::<response::Written>(request, Method::BLOCK_PLAN);
    assert_eq!(bench.board.file("master", "/opt/new"), Some(&new[..]));
}

#[test]
fn a_plan_whose_stream_is_reset_or_whose_session_ends_leaves_room_for_another() {
    let mut bench = Bench::up(generic());
    for is_reset in [true, false] {
        bench.open(3);
        let (target, sources, mode) = ("testrootfs", &b""[..], 0);
        let image_bytes = 100 * BLOCK as u64;
        let body = request::BlockPlan { target, sources, stream: 3, image_bytes, mode, root: b"" };
        let request = bench.ask(Method::BLOCK_PLAN, &body);
        bench.send(3, &Plan::default().zero(1, 1).bin(0, &blocks(1, 1)).end()[..2000], false);
        bench.run_for(secs(2));
        assert!(!bench.is_answered(request));
        let second = request::BlockPlan { stream: 5, ..body };
        bench.open(5);
        let second = bench.ask(Method::BLOCK_PLAN, &second);
        bench.run_for(secs(1));
        assert_eq!(bench.failure_kind(second), FailureKind::BUSY, "one at a time");
        if is_reset {
            bench.host.reset(3);
            bench.run_for(secs(2));
            assert_eq!(bench.failure_kind(request), FailureKind::CANCELED);
        }
    }
    bench.host.abandon(bench.now);
    bench.run_for(secs(10));
    assert!(bench.host.is_open(), "a new session");
    let plan = Plan::default().zero(0, 1).end();
    let request = ask_plan(&mut bench, "testrootfs", b"", BLOCK, &plan);
    bench.answer::<response::Written>(request, Method::BLOCK_PLAN);
}

/// Of what was not synced some is there and some is not; the rest of the disk is as it was, and a plan from what is there
/// then comes to the same end.
#[test]
fn a_power_cut_is_mended_by_another_plan() {
    let image = blocks(200, 6);
    let new = |plan: Plan| {
        let bins = image.chunks(12 * BLOCK).enumerate();
        bins.fold(plan, |plan, (index, bin)| plan.bin(index as u32 * 12, bin)).end()
    };
    for round in 0..6_u64 {
        let mut bench = Bench::up(generic());
        let (old, master) = (blocks(2000, 77), blocks(200, 3));
        bench.board.fill_partition("testrootfs", 0, &old);
        bench.board.fill_partition("master", 0, &master);
        bench.board.cut_power_after(1 + round * 1_400_000, round);
        let plan = new(Plan::default().copy(0, 0, 300, 1500).zero(200, 100));
        let bytes = 1800 * BLOCK;
        let request = ask_plan(&mut bench, "testrootfs", b"", bytes, &plan);
        assert_eq!((bench.board.phase(), bench.is_answered(request)), (Phase::Off, false));
        let disk = bench.board.partition("testrootfs").unwrap();
        assert!(disk[bytes..old.len()] == old[bytes..], "behind the image");
        bench.board.power_on(bench.now);
        bench.run_for(secs(20));
        let plan = new(Plan::default());
        let request = ask_plan(&mut bench, "testrootfs", b"", image.len(), &plan);
        bench.answer::<response::Written>(request, Method::BLOCK_PLAN);
        assert!(bench.board.partition("testrootfs").unwrap().starts_with(&image));
        assert!(bench.board.partition("master").unwrap().starts_with(&master));
    }
}
