//! The packed pieces of a file as they come in a stream, cut anywhere: docs/protocol.md, Packed pieces.

use super::Fault;

/// Longest piece before packing, bytes.
pub const PIECE_MAX: usize = 32 * 1024;

const HEADER_LEN: usize = 4;

/// Puts pieces together and unpacks them; holds one piece at most.
#[derive(Debug)]
pub struct Unpacker {
    /// The header and packed bytes of a piece that is not complete.
    waiting: Vec<u8>,
    piece: Vec<u8>,
}

impl Unpacker {
    /// Nothing has come.
    pub fn new() -> Self {
        Self { waiting: Vec::new(), piece: vec![0; PIECE_MAX] }
    }

    /// The next bytes of the stream; `take` gets those of the file.
    ///
    /// # Errors
    /// They cannot be pieces, or that of `take`.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        loop {
            let wanted = match self.lengths()? {
                None => HEADER_LEN,
                Some((packed, _)) => HEADER_LEN + packed,
            };
            let (now, later) = bytes.split_at(bytes.len().min(wanted - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            bytes = later;
            if self.waiting.len() < wanted {
                return Ok(());
            }
            // With the header alone the loop goes on to its bytes, of which there is at least one.
            let Some((packed, length)) = self.lengths()?.filter(|_| wanted > HEADER_LEN) else {
                continue;
            };
            let block = &self.waiting[HEADER_LEN..];
            if packed == length {
                take(block)?;
            } else {
                let piece = &mut self.piece[..length];
                let count = lz4_flex::block::decompress_into(block, piece).map_err(|_| bad())?;
                if count != length {
                    return Err(bad());
                }
                take(piece)?;
            }
            self.waiting.clear();
        }
    }

    /// Packed and unpacked length of the piece that waits.
    fn lengths(&self) -> Result<Option<(usize, usize)>, Fault> {
        let Some(header) = self.waiting.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let [packed, length] = [[header[0], header[1]], [header[2], header[3]]]
            .map(|number| usize::from(u16::from_le_bytes(number)));
        if packed == 0 || packed > length || length > PIECE_MAX {
            return Err(bad());
        }
        Ok(Some((packed, length)))
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

fn bad() -> Fault {
    Fault::infrastructure("what the agent packed cannot be unpacked")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(bytes: &[u8]) -> Vec<u8> {
        let packed = lz4_flex::block::compress(bytes);
        let packed = if packed.len() < bytes.len() { packed } else { bytes.to_vec() };
        let head = [(packed.len() as u16).to_le_bytes(), (bytes.len() as u16).to_le_bytes()];
        [head.as_flattened(), &packed].concat()
    }

    #[test]
    fn pieces_are_read_wherever_the_stream_is_cut() {
        let parts = [vec![7; PIECE_MAX], b"x".to_vec(), (0..=255).collect(), vec![b'a'; 100]];
        let stream: Vec<u8> = parts.iter().flat_map(|part| piece(part)).collect();
        for size in [1, 2, 3, 5, 100, stream.len()] {
            let (mut unpacker, mut all) = (Unpacker::new(), Vec::new());
            for cut in stream.chunks(size) {
                let mut take = |bytes: &[u8]| {
                    all.extend_from_slice(bytes);
                    Ok(())
                };
                unpacker.push(cut, &mut take).unwrap();
            }
            assert!(all == parts.concat(), "cut into {size}");
        }
    }

    #[test]
    fn what_is_no_piece_is_an_error() {
        let long = ((PIECE_MAX + 1) as u16).to_le_bytes();
        for bad in [
            &[0, 0, 1, 0][..],
            &[2, 0, 1, 0],
            &[1, 0, long[0], long[1]],
            &[2, 0, 9, 0, 0xf0, 0xff],
            // Unpacks to fewer bytes than it says.
            &[2, 0, 3, 0, 0x10, b'x'],
        ] {
            assert!(Unpacker::new().push(bad, &mut |_| Ok(())).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_take_more_than_a_piece(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut unpacker = Unpacker::new();
            let _ = unpacker.push(&bytes, &mut |piece| {
                assert!((1..=PIECE_MAX).contains(&piece.len()));
                Ok(())
            });
            prop_assert!(unpacker.waiting.len() <= HEADER_LEN + PIECE_MAX);
        }
    }
}
