//! A zstd file as a stream: all its frames, their check values, and those to be skipped.

use std::io::{self, BufRead, ErrorKind, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Reads the unpacked bytes.
pub(super) struct ZstdReader<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
    /// Whether the end of a frame is the end, and whether that was reached.
    is_one: bool,
    has_ended: bool,
}

impl<R: BufRead> ZstdReader<R> {
    /// A frame whose window is larger than `window_max` bytes is an error.
    pub(super) fn new(source: R, window_max: u64) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(window_max);
        Self { source, decoder, in_frame: false, is_one: false, has_ended: false }
    }

    /// The same for the first frame alone; the source stands behind it then.
    pub(super) fn one(source: R, window_max: u64) -> Self {
        Self { is_one: true, ..Self::new(source, window_max) }
    }

    fn begin_frame(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.source) {
            Ok(()) => {
                self.in_frame = true;
                Ok(())
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                let skipped = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
                if skipped == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        (self.in_frame, self.has_ended) = (false, self.is_one);
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(written), found) if found != Some(written) => {
                Err(io::Error::new(ErrorKind::InvalidData, "the check value is wrong"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.in_frame {
                if self.has_ended || self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin_frame()?;
            } else if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            } else if self.decoder.is_finished() {
                self.end_frame()?;
            } else {
                let few = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, few).map_err(io::Error::other)?;
            }
        }
    }
}
