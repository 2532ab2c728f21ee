//! Block maps (`.bmap`, of bmaptool): which blocks of an image matter, with a SHA-256 over each range and over the map.
//!
//! What the map leaves out becomes zeros: whoever made it says that those blocks may hold anything. Version 2 is read;
//! version 1 knows SHA-1 only.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node, ParsingOptions};
use sha2::{Digest, Sha256};

use super::error::{Cause, ImageError};
use super::source::IMAGE_BYTES_MAX;

/// A block map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMap {
    /// The image's size.
    pub image_bytes: u64,
    /// What matters of it, in bytes: ascending, not empty, not overlapping.
    pub ranges: Vec<MappedRange>,
}

/// A range that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedRange {
    /// Its bytes in the image.
    pub bytes: Range<u64>,
    /// Their SHA-256, where the map has one.
    pub sha256: Option<[u8; 32]>,
}

impl BlockMap {
    /// Where the map of an image lies if there is one: bmaptool replaces the image's endings one after the other.
    pub fn beside(image: &Path) -> Option<PathBuf> {
        let name = image.file_name()?.to_str()?;
        let mut stem = name;
        loop {
            let place = image.with_file_name(format!("{stem}.bmap"));
            if place.is_file() {
                return Some(place);
            }
            stem = stem.rsplit_once('.').map(|(stem, _)| stem).filter(|stem| !stem.is_empty())?;
        }
    }

    /// Reads a map.
    ///
    /// # Errors
    /// It cannot be read, is none, or its check value is wrong.
    pub fn load(path: &Path) -> Result<Self, ImageError> {
        let failed = |cause| ImageError::new(path, cause);
        let file = File::open(path).map_err(|error| failed(Cause::Open(error)))?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(|error| failed(Cause::Read(error)))?;
        Self::parse(&text).map_err(failed)
    }

    pub(super) fn parse(text: &str) -> Result<Self, Cause> {
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(damaged("larger than 32 MiB"));
        }
        // No document type: entities that grow are not read.
        let options =
            ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..Default::default() };
        let document = Document::parse_with_options(text, options)
            .map_err(|error| damaged(&error.to_string()))?;
        let root = document.root_element();
        let version = root.attribute("version").unwrap_or_default();
        if root.tag_name().name() != "bmap" {
            return Err(damaged("it is XML, but no block map"));
        }
        let kind = text_of(root, "ChecksumType").unwrap_or("sha256");
        if version.split('.').next() != Some("2") || kind != "sha256" {
            let why = format!("it is a block map of version {version:.8} with {kind:.8}");
            return Err(Cause::unusable(why, "make it again with a bmaptool of 3.0 or later"));
        }
        check_whole(text, text_of(root, "BmapFileChecksum"))?;
        let number = |name: &str| {
            text_of(root, name)
                .and_then(|text| text.parse::<u64>().ok())
                .ok_or_else(|| damaged(&format!("{name} is missing or no number")))
        };
        let (image_bytes, block_bytes) = (number("ImageSize")?, number("BlockSize")?);
        if image_bytes > IMAGE_BYTES_MAX {
            return Err(Cause::TooLarge(image_bytes));
        }
        if block_bytes == 0 || block_bytes > BLOCK_BYTES_MAX {
            return Err(damaged(&format!("blocks of {block_bytes} bytes")));
        }
        let blocks = image_bytes.div_ceil(block_bytes);
        if number("BlocksCount")? != blocks {
            return Err(damaged("its sizes do not agree"));
        }
        let map = child(root, "BlockMap").ok_or_else(|| damaged("BlockMap is missing"))?;
        let (mut ranges, mut end) = (Vec::new(), 0);
        for range in map.children().filter(|node| node.tag_name().name() == "Range") {
            let text = range.text().unwrap_or_default().trim();
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (Ok(first), Ok(last)) = (first.trim().parse::<u64>(), last.trim().parse::<u64>())
            else {
                return Err(damaged(&format!("\"{text:.40}\" is no range")));
            };
            if first < end || last < first || last >= blocks {
                return Err(damaged(&format!("the range {text:.40} is out of order or outside")));
            }
            end = last + 1;
            let sha256 = match range.attribute("chksum") {
                Some(digits) => Some(
                    digest(digits)
                        .ok_or_else(|| damaged(&format!("{digits:.80} is no SHA-256")))?,
                ),
                None => None,
            };
            let bytes = first * block_bytes..(end * block_bytes).min(image_bytes);
            ranges.push(MappedRange { bytes, sha256 });
        }
        Ok(Self { image_bytes, ranges })
    }
}

/// The map's own SHA-256 stands in it, and is zeros while it is computed.
fn check_whole(text: &str, written: Option<&str>) -> Result<(), Cause> {
    let Some(written) = written else { return Err(damaged("BmapFileChecksum is missing")) };
    let expected = digest(written).ok_or_else(|| damaged("BmapFileChecksum is no SHA-256"))?;
    let found: [u8; 32] = Sha256::digest(text.replacen(written, &"0".repeat(64), 1)).into();
    if found == expected { Ok(()) } else { Err(damaged("its own check value is wrong")) }
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn text_of<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text().map(str::trim)
}

pub(super) fn digest(digits: &str) -> Option<[u8; 32]> {
    let digits = digits.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(digest)
}

fn damaged(why: &str) -> Cause {
    Cause::Damaged("block map", why.to_owned())
}

/// A map of 8 GiB in which every second block is a range has 100 MB; real ones have 100 kB.
const FILE_BYTES_MAX: u64 = 32 << 20;
const NODES_MAX: u32 = 2_000_000;
const BLOCK_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A map over blocks of 4096 bytes with its check values, as bmaptool writes it.
    pub(in crate::image) fn bmap(image: &[u8], ranges: &[(usize, usize)]) -> String {
        let hex = |bytes: &[u8]| crate::store::hexadecimal(&Sha256::digest(bytes));
        let mapped: String = ranges
            .iter()
            .map(|&(first, last)| {
                let bytes = &image[first * 4096..((last + 1) * 4096).min(image.len())];
                format!("  <Range chksum=\"{}\"> {first}-{last} </Range>\n", hex(bytes))
            })
            .collect();
        let text = |own: &str| {
            format!(
                "<?xml version=\"1.0\" ?>\n<!-- a map -->\n<bmap version=\"2.0\">\n<ImageSize> {} </ImageSize>\n\
                 <BlockSize> 4096 </BlockSize>\n<BlocksCount> {} </BlocksCount>\n<ChecksumType> sha256 </ChecksumType>\n\
                 <BmapFileChecksum> {own} </BmapFileChecksum>\n<BlockMap>\n{mapped}</BlockMap>\n</bmap>\n",
                image.len(),
                image.len().div_ceil(4096)
            )
        };
        text(&hex(text(&"0".repeat(64)).as_bytes()))
    }

    fn error(text: &str) -> String {
        ImageError::new(Path::new("x.bmap"), BlockMap::parse(text).unwrap_err()).to_string()
    }

    #[test]
    fn a_map_is_read() {
        let image = vec![3; 10_000];
        let map = BlockMap::parse(&bmap(&image, &[(0, 0), (2, 2)])).unwrap();
        assert_eq!(map.image_bytes, 10_000);
        let ranges: Vec<_> = map.ranges.iter().map(|range| range.bytes.clone()).collect();
        assert_eq!(ranges, [0..4096, 8192..10_000]);
        let expected: [u8; 32] = Sha256::digest(&image[8192..]).into();
        assert_eq!(map.ranges[1].sha256, Some(expected));
    }

    #[test]
    fn wrong_maps_are_errors() {
        let image = vec![3; 10_000];
        let good = bmap(&image, &[(0, 0), (2, 2)]);
        assert!(error(&good.replace("<!-- a map -->", "")).contains("own check value"));
        assert!(error(&good[..300]).contains("block map"));
        assert!(error("<a/>").contains("no block map"));
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bb\">]><bmap version=\"2.0\">&b;</bmap>";
        assert!(error(bomb).contains("damaged"), "{}", error(bomb));
        assert!(error("<bmap version=\"1.4\"/>").contains("version 1.4"));
        for (ranges, expected) in
            [(&[(1, 1), (0, 0)][..], "out of order"), (&[(0, 1), (1, 2)][..], "out of order")]
        {
            assert!(error(&bmap(&image, ranges)).contains(expected));
        }
    }

    #[test]
    fn a_map_lies_beside_its_image() {
        let folder = crate::io::test_folder::TestFolder::new();
        let image = folder.path().join("a.wic.xz");
        assert_eq!(BlockMap::beside(&image), None);
        let place = folder.path().join("a.wic.bmap");
        std::fs::write(&place, "").unwrap();
        assert_eq!(BlockMap::beside(&image), Some(place));
    }
}
