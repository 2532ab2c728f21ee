//! The real agent carries out a deploy plan on files as partitions, over a pseudo-terminal. The host's end is a link of
//! the test's own.
#![allow(clippy::disallowed_methods, reason = "a real line has a real clock")]

use agent_core::link::crc::crc32c;
use agent_core::link::{Coding, Event, HostLink, LINE_MAX, LineConfig, Priority};
use agent_core::time::Instant;
use agent_core::tree;
use agent_core::wire::steps::{BIN_MAX, BLOCK, DICTIONARY_MAX, Extent, Packing, StepWriter};
use agent_core::wire::{Envelope, Failure, Method, codec, envelope, request, response};
use e2e::line::Line;
use e2e::{Noise, random};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The host's end of a line.
struct Host {
    socket: UnixStream,
    link: Box<HostLink>,
    begun: std::time::Instant,
    inbox: Vec<u8>,
    stream: Vec<u8>,
    requests: u32,
}

impl Host {
    fn new(line: &Line) -> Self {
        let path = line.connection().strip_prefix("unix:").unwrap();
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let config = LineConfig { coding: Coding::TextSafe, baud: 3_000_000 };
        let (link, begun) = (Box::new(HostLink::host(config, 1)), std::time::Instant::now());
        let (inbox, stream) = (Vec::new(), Vec::new());
        let mut host = Self { socket, link, begun, inbox, stream, requests: 0 };
        while !host.link.is_open() {
            host.turn();
        }
        host
    }

    /// Sends what there is to send and takes what came.
    fn turn(&mut self) {
        assert!(self.begun.elapsed() < e2e::program::PATIENCE, "it hangs");
        let now = Instant::from_micros(self.begun.elapsed().as_micros() as u64);
        self.link.handle_timeout(now);
        let mut frame = [0; LINE_MAX];
        while let Some(length) = self.link.poll_transmit(now, &mut frame) {
            self.socket.write_all(&frame[..length]).unwrap();
        }
        let mut bytes = [0; 4096];
        match self.socket.read(&mut bytes) {
            Ok(length) => self.link.handle_input(now, &bytes[..length], &mut |_| {}),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        while let Some(event) = self.link.poll_event() {
            let Event::Data { stream, bytes } = event else { continue };
            let taken = if stream == 0 { &mut self.inbox } else { &mut self.stream };
            taken.extend_from_slice(bytes);
            let count = bytes.len();
            self.link.grant(stream, count);
        }
    }

    /// Asks, sends `bytes` on stream 3 if there are any, and waits for the answer.
    fn ask<T: Serialize>(&mut self, method: Method, body: &T, mut bytes: &[u8]) -> Vec<u8> {
        self.requests += 1;
        self.inbox.clear();
        self.stream.clear();
        let mut buffer = [0; 512];
        let message = envelope::encode(method, self.requests, body, &mut buffer).unwrap();
        assert!(self.link.open(3, Priority::Bulk));
        assert_eq!(self.link.write(0, message), message.len());
        let mut has_ended = bytes.is_empty();
        loop {
            bytes = &bytes[self.link.write(3, bytes)..];
            if bytes.is_empty() && !has_ended {
                self.link.finish(3);
                has_ended = true;
            }
            self.turn();
            if let Some((answer, _)) = Envelope::parse(&self.inbox).unwrap() {
                if answer.method == Method::FAILED {
                    panic!("{}", codec::decode::<Failure<'_>>(answer.body).unwrap());
                }
                assert_eq!((answer.method, answer.request), (method, self.requests));
                let body = answer.body.to_vec();
                self.link.close_stream(3);
                return body;
            }
        }
    }
}

fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> T {
    codec::decode(body).unwrap()
}

/// A line of what the kernel tells of a process's memory, KiB.
fn memory(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn the_real_agent_makes_the_image_in_place() {
    let line = Line::with_socket(Noise::default(), Noise::default());
    let (old, master) = (random(3 << 20, 5), random(1 << 20, 6));
    let of = |label: &str| line.root().join(label);
    fs::write(of("old"), &old).unwrap();
    fs::write(of("own"), &master).unwrap();
    let words =
        [format!("testrootfs={}", of("old").display()), format!("master={}", of("own").display())];
    let agent = line.agent(&["--partition", &words[0], "--partition", &words[1]]);
    let mut host = Host::new(&line);

    // Bins as large as they may be, against dictionaries as large as they may be, behind copies in place.
    let (blocks, known) = ((BIN_MAX / BLOCK) as u32, (DICTIONARY_MAX / BLOCK) as u32);
    let mut image = old.clone();
    let (mut writer, mut steps, mut bins) = (StepWriter::new(), Vec::new(), Vec::new());
    let mut put = |byte| steps.push(byte);
    writer.copy(0, 300, Extent { first: 310, count: 400 }, &mut put);
    image.copy_within(300 * BLOCK..700 * BLOCK, 310 * BLOCK);
    for bin in 0..4_u32 {
        let from = Extent { first: 100 + bin, count: known };
        let dictionary = &image[from.first as usize * BLOCK..][..DICTIONARY_MAX];
        let mut data = dictionary[1000..1000 + BIN_MAX].to_vec();
        data[BIN_MAX / 2..].copy_from_slice(&random(BIN_MAX / 2, bin.into()));
        let mut options = lzma_rust2::LzmaOptions::with_preset(6);
        options.dict_size = (DICTIONARY_MAX + BIN_MAX) as u32;
        options.preset_dict = Some(dictionary.to_vec());
        let packed = lzma_rust2::LzmaWriter::new_no_header(Vec::new(), &options, false);
        let mut packed = packed.unwrap();
        packed.write_all(&data).unwrap();
        let packed = packed.finish().unwrap();
        let to = Extent { first: bin * blocks, count: blocks };
        let length = packed.len() as u32;
        writer.bin(Packing::Lzma, length, crc32c(&data), &[(0, from)], &[to], &mut put);
        bins.extend(packed);
        image[to.first as usize * BLOCK..][..BIN_MAX].copy_from_slice(&data);
    }
    writer.zero(Extent { first: 720, count: 20 }, &mut put);
    image[720 * BLOCK..740 * BLOCK].fill(0);
    writer.end(&mut put);
    let length = (steps.len() as u16).to_le_bytes();
    let plan = [&[0], &length[..], &length, &steps, &bins].concat();

    let before = memory(agent.pid(), "VmRSS:");
    let (target, stream, mode, image_bytes) = ("testrootfs", 3, 0, image.len() as u64);
    let body = request::BlockPlan { target, sources: b"", stream, image_bytes, mode, root: b"" };
    let written: response::Written = decode(&host.ask(Method::BLOCK_PLAN, &body, &plan));
    let block = BLOCK as u64;
    assert_eq!(
        (written.copied_bytes, written.data_bytes, written.zero_bytes),
        (400 * block, 4 * BIN_MAX as u64, 20 * block)
    );
    assert!(fs::read(of("old")).unwrap() == image);
    assert!(fs::read(of("own")).unwrap() == master);

    let (bytes, first, count, width) = (0, 0, 1, 16);
    for is_fresh in [false, true] {
        let body =
            request::BlockTree { target, stream, bytes, level: 3, first, count, width, is_fresh };
        let told: response::BlockTree = decode(&host.ask(Method::BLOCK_TREE, &body, b""));
        let mut hashes: Vec<_> = image.chunks(BLOCK).map(tree::leaf).collect();
        while hashes.len() > 1 {
            hashes = hashes.chunks(tree::FAN_OUT).map(tree::node).collect();
        }
        assert_eq!((told.size, told.nodes), (image_bytes, 1));
        while host.stream.len() < 16 {
            host.turn();
        }
        assert_eq!(host.stream, hashes[0], "fresh: {is_fresh}");
    }
    // The plan's memory is 308 KiB, the decoder's 16; the rest is program that ran for the first time.
    let more = memory(agent.pid(), "VmHWM:") - before;
    println!("{before} KiB resident before, at most {more} KiB more");
    assert!(more < 800, "{more} KiB");
}
