//! Numbers that look random and are the same everywhere: what a line test carries, and the host's nonces.

use core::num::NonZeroU32;

/// xorshift32 with the shifts 13, 17, 5: George Marsaglia, "Xorshift RNGs", 2003 (`doi:10.18637/jss.v008.i14`). Its
/// period is 2³² − 1, for a state is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xorshift32(u32);

impl Xorshift32 {
    /// The series behind `seed`.
    pub fn new(seed: NonZeroU32) -> Self {
        Self(seed.get())
    }

    /// The next state.
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Fills `bytes` with the next bytes of a line test: the low ones of the states.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next() as u8;
        }
    }

    /// How many of `bytes` are not the next ones of a line test.
    pub fn wrong(&mut self, bytes: &[u8]) -> u64 {
        bytes.iter().filter(|byte| **byte != self.next() as u8).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_marsaglias() {
        // The paper's own start; 723471715 is the number that every implementation of it begins with.
        let mut series = Xorshift32::new(NonZeroU32::new(2_463_534_242).unwrap());
        assert_eq!([series.next(), series.next()], [723_471_715, 2_497_366_906]);
    }

    #[test]
    fn what_one_fills_the_other_finds_right_however_it_is_cut() {
        let start = Xorshift32::new(NonZeroU32::MIN);
        let (mut filling, mut checking) = (start, start);
        let mut bytes = [0; 100];
        filling.fill(&mut bytes);
        assert_eq!(checking.wrong(&bytes[..33]) + checking.wrong(&bytes[33..]), 0);
        bytes[7] ^= 1;
        bytes[99] ^= 0x80;
        assert_eq!({ start }.wrong(&bytes), 2);
    }
}
