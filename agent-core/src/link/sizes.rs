//! How long frames are on a line, and what time they take.

use super::coding::Coding;
use super::frame::BODY_MAX;
use crate::time::Duration;

/// Longest body that this end sends on a line: long frames carry more, short ones make what is urgent wait less and are
/// hit less often. Text-safe frames of 448 bytes reach 0.854 of the line (the limit of the coding is 0.875) and take
/// 45 ms at 115200; towards the board the longest reach 0.979 and take 57 ms.
pub(super) fn body_max(baud: u32, coding: Coding) -> usize {
    match coding {
        Coding::TextSafe if baud <= 19_200 => 128,
        Coding::Binary if baud <= 19_200 => 256,
        Coding::TextSafe if baud <= 230_400 => 448,
        Coding::TextSafe | Coding::Binary => BODY_MAX,
    }
}

/// Shortest body that damage leaves: still more payload than overhead.
pub(super) const BODY_MIN: usize = 64;

/// What a frame costs besides its body: header, check value, head of a chunk, marks; rounded up, for an eighth of it
/// is used.
pub(super) const FRAME_OVERHEAD: usize = 16;

/// Time of the longest frame that either end sends on the line: 10 bits a byte.
pub(super) fn frame_time(baud: u32) -> Duration {
    let text_safe = body_max(baud, Coding::TextSafe) * 8 / 7;
    let bytes = text_safe.max(body_max(baud, Coding::Binary)) + 2 * FRAME_OVERHEAD;
    Duration::from_micros(bytes as u64 * 10 * 1_000_000 / u64::from(baud.max(1)))
}

/// What a USB adapter may add before it hands over what it has (FTDI's default latency timer is 16 ms).
pub(super) const ADAPTER_LATENCY: Duration = Duration::from_millis(40);
