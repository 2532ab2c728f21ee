//! U-Boot's old image: 64 bytes before a kernel, a ramdisk or a device tree, with their kind, length and check values
//! (U-Boot, `include/image.h`: `struct legacy_img_hdr`).

use std::io::{self, ErrorKind, Read};

use super::zip::Checked;

/// What stands before the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Length of the content.
    pub(super) bytes: u32,
    crc: u32,
}

/// What the content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Kernel,
    Ramdisk,
    /// Several contents behind each other.
    Multi,
    DeviceTree,
    Other(u8),
}

impl Header {
    /// The header at the beginning of a file; `None` if it begins with something else.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn of(first: &[u8]) -> Result<Option<Self>, &'static str> {
        if !first.starts_with(&MAGIC) {
            return Ok(None);
        }
        let Some(header) = first.first_chunk::<HEADER_BYTES>() else {
            return Err("it ends within its header");
        };
        let mut zeroed = *header;
        zeroed[4..8].fill(0);
        if crc32fast::hash(&zeroed) != word(header, 4) {
            return Err("the check value of its header is wrong");
        }
        let kind = match header[30] {
            // The second one runs where it lies.
            2 | 14 => Kind::Kernel,
            3 => Kind::Ramdisk,
            4 => Kind::Multi,
            8 => Kind::DeviceTree,
            other => Kind::Other(other),
        };
        Ok(Some(Self { kind, bytes: word(header, 12), crc: word(header, 24) }))
    }
}

/// The content of such an image as a stream; what is damaged is an error while it is read.
pub(super) enum Content<R> {
    /// The header comes next.
    Before(R),
    Within(Checked<io::Take<R>>),
    Failed,
}

impl<R: Read> Content<R> {
    /// `image` begins with the header.
    pub(super) fn new(image: R) -> Self {
        Self::Before(image)
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let damaged = |why| io::Error::new(ErrorKind::InvalidData, why);
        loop {
            match std::mem::replace(self, Self::Failed) {
                Self::Before(mut image) => {
                    let mut first = [0; HEADER_BYTES];
                    image.read_exact(&mut first)?;
                    let header = Header::of(&first).map_err(damaged)?;
                    let header = header.ok_or_else(|| damaged("it has no header"))?;
                    let content = image.take(header.bytes.into());
                    *self = Self::Within(Checked::new(content, header.bytes.into(), header.crc));
                }
                Self::Within(mut content) => {
                    let read = content.read(buffer);
                    *self = Self::Within(content);
                    return read;
                }
                Self::Failed => return Err(damaged("its header is damaged")),
            }
        }
    }
}

fn word(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) const MAGIC: [u8; 4] = [0x27, 0x05, 0x19, 0x56];
pub(super) const HEADER_BYTES: usize = 64;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As `mkimage -A arm -T … -C none` makes it.
    pub(in crate::image) fn image(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&MAGIC);
        header[12..16].copy_from_slice(&(content.len() as u32).to_be_bytes());
        header[24..28].copy_from_slice(&crc32fast::hash(content).to_be_bytes());
        (header[28], header[29], header[30]) = (5, 2, kind);
        header[32..37].copy_from_slice(b"Linux");
        let crc = crc32fast::hash(&header);
        header[4..8].copy_from_slice(&crc.to_be_bytes());
        [&header, content].concat()
    }

    fn content(image: &[u8]) -> Result<Vec<u8>, String> {
        let mut content = Vec::new();
        let read = Content::new(image).read_to_end(&mut content);
        read.map(|_| content).map_err(|error| error.to_string())
    }

    #[test]
    fn the_header_that_mkimage_writes() {
        // mkimage 2023.01 -A arm -O linux -T kernel -C none -a 0x8000 -e 0x8000 -n Linux, of "kernel\n".
        let mut written = [
            0x27, 0x05, 0x19, 0x56, 0xee, 0x59, 0x74, 0x10, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0x80, 0,
            0, 0, 0x80, 0, 0x73, 0x8e, 0xae, 0x69, 5, 2, 2, 0, b'L', b'i', b'n', b'u', b'x',
        ]
        .to_vec();
        written.resize(HEADER_BYTES, 0);
        written.extend(b"kernel\n");
        assert_eq!(content(&written).unwrap(), b"kernel\n");
        let header = Header::of(&written).unwrap().unwrap();
        assert_eq!((header.kind, header.bytes), (Kind::Kernel, 7));
        assert_eq!(Header::of(b"\x7fELF"), Ok(None));
    }

    #[test]
    fn the_content_ends_where_the_header_says() {
        let mut padded = image(3, b"ramdisk");
        padded.extend([0; 100]);
        assert_eq!(content(&padded).unwrap(), b"ramdisk");
        assert_eq!(content(&image(3, b"")).unwrap(), b"");
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = image(2, b"kernel");
        let mut header = whole.clone();
        header[13] ^= 1;
        let mut last = whole.clone();
        *last.last_mut().unwrap() ^= 1;
        for (damaged, expected) in [
            (&header[..], "the check value of its header is wrong"),
            (&last[..], "the check value is wrong"),
            (&whole[..69], "unexpected end of file"),
            (&whole[..40], "failed to fill whole buffer"),
            (&b"\x27\x05\x19\x57"[..], "failed to fill whole buffer"),
        ] {
            let error = content(damaged).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(Header::of(&whole[..40]), Err("it ends within its header"));
    }
}
