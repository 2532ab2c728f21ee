//! `link-cpu`: what a frame costs one core, in MB of payload a second: agent-core's coding and links beside `memcpy`,
//! and beside the crates `cobs` and `crc` alone. Prints a JSON array: what is measured, MB/s (10⁶).
//!
//! Each is the best of some rounds, in CPU time: what else the machine does can only make it slower.

mod replay;

use std::hint::black_box;
use std::time::Duration;

use agent_core::link::LINE_MAX;
use agent_core::link::coding::{COBS_MAX, Coding, SymbolReader, decode_cobs, encode};
use agent_core::link::crc::crc32c;
use agent_core::link::frame::{BODY_MAX, CONTENT_MAX, Frame, Kind};
use crc::{CRC_32_ISCSI, Crc, Table};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use serial_sim::Rng;

use replay::Recording;

fn main() {
    let mut rows = Vec::new();
    let body = Rng::new(1).bytes(BODY_MAX);
    let mut content = [0; CONTENT_MAX];
    let length = frame(&body).emit(&mut content);
    let content = &content[..length];

    let mut copy = [0; CONTENT_MAX];
    row(&mut rows, "memcpy", BODY_MAX, || {
        black_box(&mut copy)[..length].copy_from_slice(black_box(content));
    });
    row(&mut rows, "crc32c of agent-core", BODY_MAX, || {
        black_box(crc32c(black_box(content)));
    });
    row(&mut rows, "crc crate, Table<16>", BODY_MAX, || {
        black_box(SLICED.checksum(black_box(content)));
    });

    let mut line = [0; LINE_MAX];
    row(&mut rows, "cobs + crc crates: encode", BODY_MAX, || {
        let content = black_box(content);
        black_box(SLICED.checksum(content));
        black_box(cobs::encode(content, black_box(&mut line)));
    });
    let used = cobs::encode(content, &mut line);
    let mut decoded = [0; CONTENT_MAX];
    row(&mut rows, "cobs + crc crates: decode", BODY_MAX, || {
        let decoded_length = cobs::decode(black_box(&line[..used]), &mut decoded);
        assert!(decoded_length.is_ok_and(|decoded| decoded == length));
        black_box(SLICED.checksum(black_box(&decoded[..length])));
    });

    for (name, coding) in CODINGS {
        let mut line = [0; LINE_MAX];
        row(&mut rows, &format!("frame + coding, {name}: encode"), BODY_MAX, || {
            let mut content = [0; CONTENT_MAX];
            let length = frame(black_box(&body)).emit(&mut content);
            black_box(encode(coding, &content[..length], black_box(&mut line)));
        });
        let used = encode(coding, content, &mut line);
        row(&mut rows, &format!("coding + frame, {name}: decode"), BODY_MAX, || {
            let mut buffer = [0; COBS_MAX];
            let length = decode(coding, black_box(&line[1..used - 1]), &mut buffer);
            assert!(Frame::parse(black_box(&buffer[..length])).is_ok());
        });
    }

    for (name, coding) in CODINGS {
        let recording = Recording::of_a_transfer(coding, STREAM);
        row(&mut rows, &format!("board's link sends, {name}"), STREAM, || recording.send_again());
        row(&mut rows, &format!("host's link receives, {name}"), STREAM, || {
            recording.receive_again()
        });
    }
    println!("{}", Value::from(rows));
}

fn frame(body: &[u8]) -> Frame<'_> {
    Frame { kind: Kind::Data, from_board: true, tag: 1, ack: 2, sack: None, seq: 3, body }
}

fn decode(coding: Coding, inner: &[u8], buffer: &mut [u8; COBS_MAX]) -> usize {
    match coding {
        Coding::TextSafe => {
            let mut reader = SymbolReader::default();
            let mut length = 0;
            for symbol in inner {
                if let Some(byte) = reader.push(*symbol) {
                    buffer[length] = byte;
                    length += 1;
                }
            }
            length
        }
        Coding::Binary => {
            buffer[..inner.len()].copy_from_slice(inner);
            decode_cobs(&mut buffer[..inner.len()]).unwrap_or(0)
        }
    }
}

/// Adds a row: `bytes` of payload for each time that `work` is done.
fn row(rows: &mut Vec<Value>, name: &str, bytes: usize, mut work: impl FnMut()) {
    let mut best = 0.0_f64;
    for _ in 0..ROUNDS {
        let (begun, mut times) = (cpu_time(), 0_u64);
        while cpu_time() - begun < ROUND {
            // Not a look at the clock for each frame.
            for _ in 0..(1 << 16_u32).min(100_000 / bytes + 1) {
                work();
                times += 1;
            }
        }
        let rate = times as f64 * bytes as f64 / (cpu_time() - begun).as_secs_f64() / 1e6;
        best = best.max(rate);
    }
    rows.push(json!([name, best]));
}

/// Of this thread: what else the machine does has no part in it.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    time.into()
}

const CODINGS: [(&str, Coding); 2] = [("text-safe", Coding::TextSafe), ("binary", Coding::Binary)];

/// The fastest that the crate has.
static SLICED: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Payload of a recorded transfer, in bytes.
const STREAM: usize = 1_000_000;

const ROUNDS: u32 = 5;

const ROUND: Duration = Duration::from_millis(60);
