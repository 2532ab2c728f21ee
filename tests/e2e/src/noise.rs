//! What a bad line does to the bytes on it, from a seed.

/// The faults of one direction of a line.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    /// Where its chance begins.
    pub seed: u64,
    /// One byte in so many has a bit turned; 0: none.
    pub flip_one_in: u64,
    /// One byte in so many is lost; 0: none.
    pub drop_one_in: u64,
    /// A whole line of foreign text comes in behind so many bytes, wherever that is; 0: never.
    pub text_every_bytes: u64,
}

/// A direction at work: what it is given comes out as the line would bring it.
#[derive(Debug)]
pub struct Carry {
    noise: Noise,
    state: u64,
    since_text: u64,
    lines: u64,
}

impl Carry {
    /// One that has carried nothing yet.
    pub fn new(noise: Noise) -> Self {
        let state = noise.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { noise, state, since_text: 0, lines: 0 }
    }

    /// What comes out for these bytes, and the lines of text that were put in.
    pub fn carry(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<String>) {
        let (mut out, mut lines) = (Vec::with_capacity(bytes.len()), Vec::new());
        for byte in bytes {
            self.since_text += 1;
            if self.noise.text_every_bytes > 0 && self.since_text > self.noise.text_every_bytes {
                self.since_text = 0;
                self.lines += 1;
                let line = format!(
                    "[{:5}.{:06}] e2e: line {} of the kernel",
                    self.lines,
                    self.lines * 7,
                    self.lines
                );
                out.extend_from_slice(format!("{line}\r\n").as_bytes());
                lines.push(line);
            }
            if self.strikes(self.noise.drop_one_in) {
                continue;
            }
            let turned =
                if self.strikes(self.noise.flip_one_in) { 1 << (self.next() % 8) } else { 0 };
            out.push(byte ^ turned);
        }
        (out, lines)
    }

    fn strikes(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.next().is_multiple_of(one_in)
    }

    /// Marsaglia's xorshift64: `doi:10.18637/jss.v008.i14`.
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 11
    }
}
