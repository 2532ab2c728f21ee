//! docs/protocol.md, executed: every block marked `hex`, and the table of methods.
//!
//! A block's first line is its kind and what it shows; the others are hex bytes, up to a `#` and a comment.

use agent_core::agent::plan::{PlanReader, encode_counted};
use agent_core::link::coding;
use agent_core::link::frame::{CONTENT_MAX, Frame};
use agent_core::link::{
    Beacon, Coding, Event, Hello, HelloAck, HostLink, LINE_MAX, LineConfig, Link,
};
use agent_core::time::{Duration, Instant};
use agent_core::wire::block::Step;
use agent_core::wire::method::REGISTRY;
use agent_core::wire::record::{Record, split_counted};
use agent_core::wire::steps::{self, GROUP_HEADER_LEN, StepReader, StepWriter};
use agent_core::wire::{Envelope, Failure, Method, codec, envelope, request, response};
use serde::{Deserialize, Serialize};

const PROTOCOL: &str = include_str!("../../docs/protocol.md");

struct Block {
    /// Line of the document, for people.
    line: usize,
    kind: String,
    title: String,
    bytes: Vec<u8>,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = PROTOCOL.lines().enumerate();
    while let Some((line, fence)) = lines.next() {
        if fence != "```hex" {
            continue;
        }
        let head = lines.next().unwrap().1;
        let (kind, title) = head.split_once(' ').unwrap_or((head, ""));
        let mut bytes = Vec::new();
        for (_, text) in lines.by_ref().take_while(|(_, text)| *text != "```") {
            for word in text.split('#').next().unwrap().split_whitespace() {
                bytes.push(u8::from_str_radix(word, 16).unwrap());
            }
        }
        let (kind, title) = (kind.to_owned(), title.to_owned());
        blocks.push(Block { line: line + 1, kind, title, bytes });
    }
    blocks
}

#[test]
fn every_block_is_what_the_code_reads_and_writes() {
    let mut content = Vec::new();
    let mut messages = Vec::new();
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for block in blocks() {
        *kinds.entry(block.kind.clone()).or_default() += 1;
        let (bytes, shown) = (&block.bytes[..], format!("line {}: {}", block.line, block.title));
        match block.kind.as_str() {
            "beacon" => {
                let beacon = Beacon::find(&bytes[2..bytes.len() - 2]).expect(&shown);
                assert_eq!(beacon.to_line().as_bytes(), bytes, "{shown}");
            }
            "frame" => {
                content = bytes.to_vec();
                let mut out = [0; CONTENT_MAX];
                let length = Frame::parse(bytes).expect(&shown).emit(&mut out);
                assert_eq!(&out[..length], bytes, "{shown}");
            }
            "text-safe" => assert_eq!(on_the_line(Coding::TextSafe, &content), bytes, "{shown}"),
            "binary" => assert_eq!(on_the_line(Coding::Binary, &content), bytes, "{shown}"),
            "hello" => same::<Hello>(bytes, &shown),
            "hello-ack" => same::<HelloAck>(bytes, &shown),
            "message" => {
                let (envelope, used) = Envelope::parse(bytes).unwrap().expect(&shown);
                assert_eq!(used, bytes.len(), "{shown}");
                let name = envelope.method.row().expect(&shown).name;
                let direction = block.title.strip_prefix(name).expect(&shown).trim();
                check_body(envelope.method, direction, envelope.body, &shown);
                messages.push((envelope.method, direction.to_owned()));
            }
            "record" => {
                let (record, used) = Record::parse(bytes).unwrap().expect(&shown);
                assert_eq!(used, bytes.len(), "{shown}");
                assert_eq!(record.encode(&mut [0; 600]).unwrap(), bytes, "{shown}");
            }
            "entry" => same::<response::Entry<'_>>(split_counted(bytes).expect(&shown), &shown),
            "step" => {
                let step = Step::parse(bytes.try_into().expect(&shown)).expect(&shown);
                assert_eq!(step.to_bytes(), bytes, "{shown}");
            }
            "plan" => check_plan(bytes, &shown),
            "group" => {
                let (header, steps) = bytes.split_at(GROUP_HEADER_LEN);
                let length = (steps.len() as u16).to_le_bytes();
                assert_eq!(header, [&[0][..], &length, &length].concat(), "{shown}");
                check_steps(steps, &shown);
            }
            "steps" => check_steps(bytes, &shown),
            "exchange" => {}
            other => panic!("{shown}: no such kind of block: {other}"),
        }
    }
    for (kind, least) in [
        ("frame", 8),
        ("text-safe", 3),
        ("binary", 3),
        ("step", 4),
        ("steps", 1),
        ("group", 1),
        ("exchange", 9),
    ] {
        assert!(kinds.get(kind).is_some_and(|count| *count >= least), "{kind}: {kinds:?}");
    }
    for row in REGISTRY {
        assert!(messages.contains(&(row.method, "answer".into())), "{}", row.name);
        let is_asked = row.method != Method::FAILED;
        assert_eq!(messages.contains(&(row.method, "request".into())), is_asked, "{}", row.name);
    }
}

#[test]
fn the_table_of_methods_is_the_registry() {
    let rows: Vec<_> = PROTOCOL.lines().filter(|line| line.starts_with("| 0x")).collect();
    assert_eq!(rows.len(), REGISTRY.len());
    for (line, row) in rows.into_iter().zip(REGISTRY) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert_eq!(cells[1], format!("{:#06x}", row.method.0));
        assert_eq!(cells[2], row.name);
        assert!(cells[3].parse::<u8>().is_ok(), "{line}");
        assert_eq!(cells[4], if row.idempotent { "idempotent" } else { "once" }, "{line}");
    }
}

#[test]
fn the_exchange_is_what_two_links_write() {
    let written = exchange();
    let documented: Vec<_> =
        blocks().into_iter().filter(|block| block.kind == "exchange").collect();
    let is_same = written.len() == documented.len()
        && written
            .iter()
            .zip(&documented)
            .all(|((who, bytes), block)| *bytes == block.bytes && block.title.starts_with(who));
    assert!(is_same, "docs/protocol.md, \"Worked exchange\", should be:\n{}", shown(&written));
}

/// As the document has it, but for what stands behind each title.
fn shown(written: &[(&str, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (who, bytes) in written {
        text.push_str(&format!("\n```hex\nexchange {who}:\n"));
        for line in bytes.chunks(24) {
            let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&(hex.join(" ") + "\n"));
        }
        text.push_str("```\n");
    }
    text
}

fn check_body(method: Method, direction: &str, body: &[u8], shown: &str) {
    use request as ask;
    match (method, direction) {
        (Method::INFO, "request") => same::<ask::Info>(body, shown),
        (Method::INFO, _) => same::<response::Info<'_>>(body, shown),
        (Method::CLOCK, "request") => same::<ask::Clock>(body, shown),
        (Method::CLOCK, _) => same::<response::Clock>(body, shown),
        (Method::LINE, "request") => same::<ask::Line>(body, shown),
        (Method::LINE, _) => same::<response::Line>(body, shown),
        (Method::LINE_TEST, "request") => same::<ask::LineTest>(body, shown),
        (Method::LINE_TEST, _) => same::<response::LineTest>(body, shown),
        (Method::OUTCOME, "request") => same::<ask::Outcome>(body, shown),
        (Method::OUTCOME, _) => same::<response::Outcome<'_>>(body, shown),
        (Method::CLOCK_MARK, "request") => same::<ask::ClockMark>(body, shown),
        (Method::CLOCK_MARK, _) => same::<response::ClockMark>(body, shown),
        (Method::BAUD, "request") => same::<ask::Baud>(body, shown),
        (Method::LANE, "request") => same::<ask::Lane<'_>>(body, shown),
        (Method::FOLLOW, "request") => same::<ask::Follow>(body, shown),
        (Method::EXEC, "request") => same::<ask::Exec<'_>>(body, shown),
        (Method::EXEC, _) => same::<response::Exit>(body, shown),
        (Method::SIGNAL, "request") => same::<ask::Signal>(body, shown),
        (Method::GET | Method::GET_PACKED, "request") => same::<ask::Get<'_>>(body, shown),
        (Method::GET | Method::GET_PACKED, _) => same::<response::Got<'_>>(body, shown),
        (Method::FILE_HASH, "request") => same::<ask::FileHash<'_>>(body, shown),
        (Method::PUT, "request") => same::<ask::Put<'_>>(body, shown),
        (Method::LIST, "request") => same::<ask::List<'_>>(body, shown),
        (Method::LIST, _) => same::<response::Listed>(body, shown),
        (Method::STAT | Method::REMOVE, "request") => same::<ask::Path<'_>>(body, shown),
        (Method::STAT, _) => same::<response::Stat>(body, shown),
        (Method::PARTITION | Method::UNMOUNT, "request") => same::<ask::Partition<'_>>(body, shown),
        (Method::PARTITION, _) => same::<response::Partition<'_>>(body, shown),
        (Method::BLOCK_WRITE, "request") => same::<ask::BlockWrite<'_>>(body, shown),
        (Method::BLOCK_WRITE, _) => same::<response::Written>(body, shown),
        (Method::BLOCK_TREE, "request") => same::<ask::BlockTree<'_>>(body, shown),
        (Method::BLOCK_TREE, _) => same::<response::BlockTree>(body, shown),
        (Method::BLOCK_PLAN, "request") => same::<ask::BlockPlan<'_>>(body, shown),
        (Method::BLOCK_PLAN, _) => same::<response::Written>(body, shown),
        (Method::BLOCK_HASH, "request") => same::<ask::BlockHash<'_>>(body, shown),
        (Method::BLOCK_HASH | Method::FILE_HASH, _) => same::<response::Hash<'_>>(body, shown),
        (Method::MOUNT, "request") => same::<ask::Mount<'_>>(body, shown),
        (Method::MOUNT, _) => same::<response::Mounted<'_>>(body, shown),
        (Method::INJECT, "request") => same::<ask::Inject<'_>>(body, shown),
        (Method::INJECT, _) => same::<response::Injected>(body, shown),
        (Method::REBOOT, "request") => same::<ask::Reboot>(body, shown),
        (Method::SYNC, "request") => same::<ask::Sync>(body, shown),
        (Method::TEST_STATUS, "request") => same::<ask::TestStatus>(body, shown),
        (Method::TEST_STATUS, _) => same::<response::TestStatus<'_>>(body, shown),
        (Method::NODE_CALL, "request") => same::<ask::NodeCall>(body, shown),
        (Method::NODE_CALL, _) => same::<response::NodeCall<'_>>(body, shown),
        (Method::NODE_ANSWER, "request") => same::<ask::NodeAnswer<'_>>(body, shown),
        (Method::FAILED, _) => same::<Failure<'_>>(body, shown),
        (
            Method::FOLLOW
            | Method::SIGNAL
            | Method::PUT
            | Method::REMOVE
            | Method::UNMOUNT
            | Method::REBOOT
            | Method::SYNC
            | Method::BAUD
            | Method::LANE
            | Method::NODE_ANSWER,
            _,
        ) => same::<response::Done>(body, shown),
        _ => panic!("{shown}: a method that this test does not know"),
    }
}

/// The body is read whole, and written the same.
fn same<'a, T: Serialize + Deserialize<'a>>(body: &'a [u8], shown: &str) {
    let (value, rest) = codec::decode_prefix::<T>(body).unwrap_or_else(|_| panic!("{shown}"));
    assert_eq!(rest, [], "{shown}");
    assert_eq!(codec::encode(&value, &mut [0; 4096]).unwrap(), body, "{shown}");
}

/// What the reader finds is written the same.
fn check_steps(bytes: &[u8], shown: &str) {
    let (mut reader, mut rest, mut steps) = (StepReader::new(), bytes, Vec::new());
    while let Some((step, behind)) = reader.next(rest).expect(shown) {
        steps.push(step);
        rest = behind;
    }
    assert!(reader.is_between_steps(), "{shown}");
    let (mut writer, mut again) = (StepWriter::new(), Vec::new());
    let (mut bin, mut dictionary, mut targets) = (None, Vec::new(), Vec::new());
    for step in steps {
        let put = &mut |byte| again.push(byte);
        match step {
            steps::Step::End => writer.end(put),
            steps::Step::Zero(to) => writer.zero(to, put),
            steps::Step::Copy { source, from, to } => writer.copy(source, from, to, put),
            steps::Step::Sync => writer.sync(put),
            steps::Step::Bin { packing, packed, crc } => bin = Some((packing, packed, crc)),
            steps::Step::Dictionary { source, extent } => dictionary.push((source, extent)),
            steps::Step::Target { extent, is_last } => {
                targets.push(extent);
                if is_last {
                    let (packing, packed, crc) = bin.take().expect(shown);
                    writer.bin(packing, packed, crc, &dictionary, &targets, put);
                    (dictionary, targets) = (Vec::new(), Vec::new());
                }
            }
        }
    }
    assert_eq!(again, bytes, "{shown}");
}

fn check_plan(bytes: &[u8], shown: &str) {
    let (header, mut reader) = PlanReader::new(bytes).expect(shown);
    let mut buffer = [0; 256];
    let mut again = encode_counted(&header, &mut buffer).unwrap().to_vec();
    while let Some(test) = reader.test().expect(shown) {
        again.extend_from_slice(encode_counted(&test, &mut buffer).unwrap());
    }
    assert_eq!(again, bytes, "{shown}");
}

fn on_the_line(coding: Coding, content: &[u8]) -> Vec<u8> {
    let mut out = [0; LINE_MAX];
    let length = coding::encode(coding, content, &mut out);
    out[..length].to_vec()
}

/// What a board and a host write, and who writes it.
fn exchange() -> Vec<(&'static str, Vec<u8>)> {
    let line = LineConfig { coding: Coding::TextSafe, baud: 115_200 };
    let boot_id = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let beacon = Beacon { boot_id, nonce: 0x0a0b_0c0d, role: 0, coding: Coding::TextSafe };
    let mut board: Box<Link<16, 20, 4096>> = Box::new(Link::board(Instant::ZERO, line, beacon));
    let mut host = Box::new(HostLink::host(line, 7));
    let mut written = Vec::new();
    let mut answer_at = None;
    let (mut now, end) = (Instant::ZERO, Instant::from_micros(2_035_000));
    while now <= end {
        loop {
            let before = written.len();
            let mut out = [0; LINE_MAX];
            while let Some(length) = board.poll_transmit(now, &mut out) {
                written.push(("board", out[..length].to_vec()));
                host.handle_input(now, &out[..length], &mut |_| {});
            }
            while let Some(event) = host.poll_event() {
                if let Event::Opened(_) = event {
                    // Its acknowledgement goes first.
                    let length = host.poll_transmit(now, &mut out).unwrap();
                    written.push(("host", out[..length].to_vec()));
                    board.handle_input(now, &out[..length], &mut |_| {});
                    let mut buffer = [0; 64];
                    let ask = envelope::encode(
                        Method::TEST_STATUS,
                        1,
                        &request::TestStatus {},
                        &mut buffer,
                    );
                    host.write(0, ask.unwrap());
                }
            }
            while let Some(length) = host.poll_transmit(now, &mut out) {
                written.push(("host", out[..length].to_vec()));
                board.handle_input(now, &out[..length], &mut |_| {});
            }
            while let Some(event) = board.poll_event() {
                if let Event::Data { stream: 0, bytes } = event {
                    assert!(Envelope::parse(bytes).unwrap().is_some());
                    answer_at = Some(now + Duration::from_millis(20));
                }
            }
            if written.len() == before {
                break;
            }
        }
        now = now + Duration::from_millis(1);
        board.handle_timeout(now);
        host.handle_timeout(now);
        if answer_at.take_if(|at| now >= *at).is_some() {
            let (run, state, directory, problem) = ("", response::TestStatus::NO_PLAN, "", "");
            let body = response::TestStatus { run, state, ended: 0, total: 0, directory, problem };
            let mut buffer = [0; 64];
            board.write(0, envelope::encode(Method::TEST_STATUS, 1, &body, &mut buffer).unwrap());
        }
    }
    assert!(board.is_open() && host.is_open());
    host.say_goodbye(end);
    let mut out = [0; LINE_MAX];
    let length = host.poll_transmit(end, &mut out).unwrap();
    written.push(("host", out[..length].to_vec()));
    board.handle_input(end, &out[..length], &mut |_| {});
    let length = board.poll_transmit(end, &mut out).unwrap();
    written.push(("board", out[..length].to_vec()));
    written
}
