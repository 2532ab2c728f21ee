//! What a line is like.

/// Speed and faults of one direction. "One in n" is a probability; 0 means never.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bits per second; a byte takes 10 of them (8N1).
    pub baud: u32,
    /// The adapter hands over what it has at every multiple of so many µs, as an FTDI does with its latency timer;
    /// 0: every byte by itself.
    pub latency_us: u64,
    /// One bit of one byte in so many is flipped.
    pub flip_one_in: u64,
    /// One byte in so many is lost.
    pub drop_one_in: u64,
    /// At one byte in so many the receiver's FIFO overruns, and up to [`Self::burst_max`] bytes in a row are lost.
    pub burst_one_in: u64,
    /// Bytes of the longest overrun. An 80 character line that the kernel prints with interrupts off costs 18 to 66.
    pub burst_max: u64,
    /// One chunk handed over in so many comes twice, from any of its bytes on.
    pub duplicate_one_in: u64,
    /// Chunks are cut at any byte before they are handed over.
    pub is_split: bool,
    /// At one byte in so many the line stands still, for up to [`Self::stall_max_us`]: a hypervisor, an adapter that is
    /// busy, a sender that was preempted.
    pub stall_one_in: u64,
    /// Longest such pause in µs.
    pub stall_max_us: u64,
    /// Who else writes to the line.
    pub text: Text,
    /// Their text is UTF-8, and some of its letters are not ASCII: bytes of 0x80 and above, as in a frame.
    pub is_utf8: bool,
    /// Nothing gets through: the cable is out, or the board is off.
    pub is_cut: bool,
}

/// Text of others that cuts in, also in the middle of what is being sent, as the kernel's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// The line is ours alone.
    None,
    /// A line every so many µs.
    Every {
        /// Time from the begin of one line to that of the next.
        interval_us: u64,
    },
    /// A line behind one byte in so many that are sent.
    OneIn {
        /// Bytes.
        bytes: u64,
    },
}

impl Options {
    /// A line without faults, behind an adapter with a latency timer of 1 ms.
    pub fn clean(baud: u32) -> Self {
        Self {
            baud,
            latency_us: 1000,
            flip_one_in: 0,
            drop_one_in: 0,
            burst_one_in: 0,
            burst_max: 66,
            duplicate_one_in: 0,
            is_split: false,
            stall_one_in: 0,
            stall_max_us: 100_000,
            text: Text::None,
            is_utf8: false,
            is_cut: false,
        }
    }

    /// A line on which one byte in `one_in` has a flipped bit.
    pub fn noisy(baud: u32, one_in: u64) -> Self {
        Self { flip_one_in: one_in, ..Self::clean(baud) }
    }

    /// A line that loses one byte in `one_in`.
    pub fn lossy(baud: u32, one_in: u64) -> Self {
        Self { drop_one_in: one_in, ..Self::clean(baud) }
    }

    /// A receiver whose FIFO overruns once in `one_in` bytes.
    pub fn overrun(baud: u32, one_in: u64) -> Self {
        Self { burst_one_in: one_in, ..Self::clean(baud) }
    }

    /// A console: the kernel prints a line every `interval_us`, in the middle of whatever is sent.
    pub fn console(baud: u32, interval_us: u64) -> Self {
        Self { text: Text::Every { interval_us }, ..Self::clean(baud) }
    }

    /// A console on which a line is printed behind one byte in `one_in`.
    pub fn chatty(baud: u32, one_in: u64) -> Self {
        Self { text: Text::OneIn { bytes: one_in }, ..Self::clean(baud) }
    }

    /// Everything at once, each once in `one_in` bytes or chunks.
    pub fn hostile(baud: u32, one_in: u64) -> Self {
        Self {
            flip_one_in: one_in,
            drop_one_in: one_in,
            burst_one_in: one_in,
            duplicate_one_in: one_in,
            is_split: true,
            stall_one_in: one_in,
            text: Text::OneIn { bytes: one_in },
            ..Self::clean(baud)
        }
    }

    /// Time of one byte on the line in ns.
    pub fn byte_ns(&self) -> u64 {
        10_000_000_000 / u64::from(self.baud.max(1))
    }
}
