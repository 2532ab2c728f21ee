//! Why a plan cannot go on, and where.

use crate::text::{DIGITS_MAX, decimal};
use crate::wire::FailureKind;
use heapless::String;

/// Most bytes of [`Trouble::text`].
pub const TEXT_MAX: usize = 64;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// `errno`, 0 if none.
    pub os_error: i32,
    what: &'static str,
    source: Option<u8>,
    block: Option<u32>,
}

impl Trouble {
    /// No plan that a dispatcher makes.
    pub(super) const fn bad(what: &'static str) -> Self {
        Self::of(FailureKind::BAD_MESSAGE, what)
    }

    /// Of no place.
    pub(super) const fn of(kind: FailureKind, what: &'static str) -> Self {
        Self { kind, os_error: 0, what, source: None, block: None }
    }

    /// Something that would have to be where there is nothing, or is larger than its place.
    pub(super) const fn too_large(what: &'static str, block: u32) -> Self {
        Self { block: Some(block), ..Self::of(FailureKind::TOO_LARGE, what) }
    }

    /// Blocks that no source has.
    pub(super) const fn beyond(source: u8, block: u32) -> Self {
        Self { source: Some(source), ..Self::too_large("beyond its end: ", block) }
    }

    /// The bin whose first target is `block` has unpacked to something else.
    pub(super) const fn digest(block: u32) -> Self {
        Self { kind: FailureKind::DIGEST, ..Self::too_large("bin for target", block) }
    }

    pub(super) const fn read(source: u8, block: u32, os_error: i32) -> Self {
        Self { source: Some(source), ..Self::write("reading ", block, os_error) }
    }

    pub(super) const fn write(what: &'static str, block: u32, os_error: i32) -> Self {
        let kind = FailureKind::OS;
        Self { kind, os_error, what, source: None, block: Some(block) }
    }

    /// For people: what was being done, with which source, at which block of 4096 bytes.
    pub fn text(&self) -> String<TEXT_MAX> {
        let (mut text, mut digits) = (String::new(), [0; DIGITS_MAX]);
        // The longest there is fits.
        let mut push = |part: &str| {
            let _ = text.push_str(part);
        };
        push(self.what);
        if let Some(source) = self.source {
            push("source ");
            push(decimal(source.into(), &mut digits));
        }
        if let Some(block) = self.block {
            push(" block ");
            push(decimal(block.into(), &mut digits));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_and_where() {
        for (trouble, text) in [
            (Trouble::read(3, 77, 5), "reading source 3 block 77"),
            (Trouble::write("writing target", u32::MAX, 5), "writing target block 4294967295"),
            (Trouble::digest(9), "bin for target block 9"),
            (Trouble::beyond(255, u32::MAX), "beyond its end: source 255 block 4294967295"),
            (Trouble::bad("not a step"), "not a step"),
        ] {
            assert_eq!(trouble.text(), text);
        }
    }
}
