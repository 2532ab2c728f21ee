//! How much work goes into making bins small.

use agent_core::wire::steps::LZMA_LC_LP_PB;
use lzma_rust2::LzmaOptions;

/// How much work goes into making what is sent small: as much as one core does in the time that the line needs.
///
/// Measured on 20 MB of `/usr/bin` in bins of 64 KiB without dictionaries (CPU time of one core, `lzma-rust2` 0.25; MB =
/// 10⁶ bytes):
///
/// | effort | preset | takes in | gives out | of the bytes |
/// |---|---|---|---|---|
/// | `Low` | 3 | 19 MB/s | 6.0 MB/s | 0.312 |
/// | `Medium` | 4 | 6.2 MB/s | 1.9 MB/s | 0.303 |
/// | `High` | 6 | 3.8 MB/s | 1.1 MB/s | 0.300 |
///
/// A dictionary takes more: it is read before its bin, and a bin that it does not make very small is packed without it,
/// too. Presets 0 to 2 are not faster and pack worse, 7 to 9 differ from 6 only in the window, which here is what a bin
/// has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// For a line that is not slowed down, as an emulator's: 1 MB/s and more.
    Low,
    /// For some megabits a second.
    Medium,
    /// For a serial line.
    #[default]
    High,
}

impl Effort {
    /// For a line of so many bytes a second; `None` is one that nothing slows down. Leaves at least half a core to
    /// the other boards, where dictionaries are few.
    pub fn for_line(bytes_per_second: Option<u64>) -> Self {
        match bytes_per_second {
            Some(..=300_000) => Self::High,
            Some(..=500_000) => Self::Medium,
            _ => Self::Low,
        }
    }

    /// For the encoder. `window` is the number of bytes in the dictionary and in what is packed.
    pub(super) fn options(self, window: u32) -> LzmaOptions {
        let mut options = LzmaOptions::with_preset(match self {
            Self::Low => 3,
            Self::Medium => 4,
            Self::High => 6,
        });
        options.dict_size = window;
        let (lc, lp, pb) = LZMA_LC_LP_PB;
        (options.lc, options.lp, options.pb) = (lc.into(), lp.into(), pb.into());
        if self == Self::High {
            // 0.7 % fewer bytes for 60 % more time (an update of 20 MB of new blocks): still 50 times as fast as the line.
            options.nice_len = LzmaOptions::NICE_LEN_MAX;
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_the_line_the_more_effort() {
        assert_eq!(Effort::for_line(Some(11_520)), Effort::High);
        assert_eq!(Effort::for_line(Some(400_000)), Effort::Medium);
        assert_eq!(Effort::for_line(None), Effort::Low);
    }
}
