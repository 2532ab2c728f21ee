//! Postcard itself, with zeros behind the end.

use super::{BadBody, Read};
use core::fmt;
use postcard::Serializer;
use postcard::de_flavors::Flavor;
use postcard::ser_flavors::{Flavor as _, Slice};
use serde::{Deserialize, Serialize};

/// Writes one body.
pub struct Writer<'o> {
    serializer: Serializer<Slice<'o>>,
    fits: bool,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut [u8]) -> Self {
        Self { serializer: Serializer { output: Slice::new(out) }, fits: true }
    }

    pub(super) fn put<T: ?Sized + Serialize>(&mut self, body: &T) {
        self.fits &= body.serialize(&mut self.serializer).is_ok();
    }

    /// Bytes that were written; `None` if it was too much.
    pub(super) fn length(self) -> Option<usize> {
        let used = self.serializer.output.finalize().ok()?;
        self.fits.then_some(used.len())
    }
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("fits", &self.fits).finish_non_exhaustive()
    }
}

pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<Read<'de, T>, BadBody> {
    let source = ZeroExtended { rest: bytes, is_short: false };
    let mut deserializer = postcard::Deserializer::from_flavor(source);
    let body = T::deserialize(&mut deserializer).map_err(|_| BadBody)?;
    let (rest, is_short) = deserializer.finalize().map_err(|_| BadBody)?;
    Ok(Read { body, rest, is_short })
}

/// A postcard source whose end is followed by zeros. A length is one of the bytes that are made up, and is then 0,
/// so that no made-up text or list can be longer than nothing.
struct ZeroExtended<'de> {
    rest: &'de [u8],
    is_short: bool,
}

impl<'de> Flavor<'de> for ZeroExtended<'de> {
    type Remainder = (&'de [u8], bool);
    type Source = &'de [u8];

    fn pop(&mut self) -> postcard::Result<u8> {
        let Some((first, rest)) = self.rest.split_first() else {
            self.is_short = true;
            return Ok(0);
        };
        self.rest = rest;
        Ok(*first)
    }

    fn try_take_n(&mut self, count: usize) -> postcard::Result<&'de [u8]> {
        let taken = self.rest.split_at_checked(count);
        let (taken, rest) = taken.ok_or(postcard::Error::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    fn finalize(self) -> postcard::Result<(&'de [u8], bool)> {
        Ok((self.rest, self.is_short))
    }
}
