//! A board for tests: carries out a stream as `agent_core::wire::steps` says, with the decoder of the library.

use std::io::Read;

use agent_core::wire::steps::{
    BLOCK, Extent, GROUP_HEADER_LEN, GROUP_MAX, LZMA_LC_LP_PB, Packing, Step, StepReader,
};
use lzma_rust2::LzmaReader;

use super::plan::Limits;

/// What a board holds. Everything it refuses is a panic.
#[derive(Clone, Debug)]
pub(super) struct Board {
    /// Source 0 first.
    pub(super) sources: Vec<Vec<u8>>,
    /// The file beside; of a partition nothing.
    pub(super) beside: Option<Vec<u8>>,
    pub(super) image_bytes: usize,
    pub(super) limits: Limits,
    /// Blocks written since the last sync, with what stood there.
    pub(super) unsynced: Vec<(usize, Vec<u8>)>,
    pub(super) most_unsynced: usize,
}

impl Board {
    /// Carries out what there is of a stream. Whether it reached its end.
    pub(super) fn execute(&mut self, stream: &[u8]) -> bool {
        let (mut rest, mut reader) = (stream, StepReader::new());
        loop {
            let Some((header, behind)) = rest.split_first_chunk::<GROUP_HEADER_LEN>() else {
                return false;
            };
            let packed = usize::from(u16::from_le_bytes([header[1], header[2]]));
            let length = usize::from(u16::from_le_bytes([header[3], header[4]]));
            assert!((1..=GROUP_MAX).contains(&packed) && (1..=GROUP_MAX).contains(&length));
            if behind.len() < packed {
                return false;
            }
            let (steps, behind) = behind.split_at(packed);
            rest = behind;
            let steps = match header[0] {
                0 => steps.to_vec(),
                1 => unpack(steps, &[], length),
                codec => panic!("codec {codec}"),
            };
            assert_eq!(steps.len(), length);
            match self.execute_group(&mut reader, &steps, &mut rest) {
                Progress::Group => assert!(reader.is_between_steps()),
                Progress::Cut => return false,
                Progress::End => {
                    assert!(rest.is_empty(), "the end is last");
                    return true;
                }
            }
        }
    }

    fn execute_group(
        &mut self,
        reader: &mut StepReader,
        mut steps: &[u8],
        bins: &mut &[u8],
    ) -> Progress {
        while let Some((step, behind)) = reader.next(steps).unwrap() {
            steps = behind;
            match step {
                Step::End => {
                    assert!(steps.is_empty());
                    return Progress::End;
                }
                Step::Sync => self.unsynced.clear(),
                Step::Zero(to) => self.write(to, &vec![0; to.count as usize * BLOCK]),
                Step::Copy { source, from, to } => {
                    let bytes = self.read(source, Extent { first: from, count: to.count });
                    self.write(to, &bytes);
                }
                Step::Bin { packing, packed, crc } => {
                    let mut dictionary = Vec::new();
                    let mut targets = Vec::new();
                    loop {
                        let (step, behind) = reader.next(steps).unwrap().expect("a whole bin");
                        steps = behind;
                        match step {
                            Step::Dictionary { source, extent } => {
                                dictionary.extend(self.read(source, extent));
                            }
                            Step::Target { extent, is_last } => {
                                targets.push(extent);
                                if is_last {
                                    break;
                                }
                            }
                            other => panic!("{other:?} in a bin"),
                        }
                    }
                    assert!(dictionary.len() <= self.limits.dictionary_max);
                    assert!(packed as usize <= self.limits.bin_max);
                    let blocks: u32 = targets.iter().map(|extent| extent.count).sum();
                    let length = blocks as usize * BLOCK;
                    assert!(length <= self.limits.bin_max);
                    if bins.len() < packed as usize {
                        return Progress::Cut;
                    }
                    let (packed, behind) = bins.split_at(packed as usize);
                    *bins = behind;
                    let bytes = match packing {
                        Packing::Raw => packed.to_vec(),
                        Packing::Lzma => unpack(packed, &dictionary, length),
                    };
                    assert_eq!(bytes.len(), length);
                    assert_eq!(crc32c(&bytes), crc);
                    let mut rest = &bytes[..];
                    for target in targets {
                        let (now, later) = rest.split_at(target.count as usize * BLOCK);
                        self.write(target, now);
                        rest = later;
                    }
                }
                Step::Dictionary { .. } | Step::Target { .. } => panic!("{step:?} without a bin"),
            }
        }
        Progress::Group
    }

    /// Whole blocks only: what an agent finds behind a short one is not agreed.
    fn read(&self, source: u8, extent: Extent) -> Vec<u8> {
        let start = extent.first as usize * BLOCK;
        self.sources[usize::from(source)][start..][..extent.count as usize * BLOCK].to_vec()
    }

    fn write(&mut self, to: Extent, bytes: &[u8]) {
        for (number, bytes) in bytes.chunks(BLOCK).enumerate() {
            let start = (to.first as usize + number) * BLOCK;
            assert!(start < self.image_bytes, "a write outside of the image");
            let end = (start + BLOCK).min(self.image_bytes);
            let target = self.beside.as_mut().unwrap_or(&mut self.sources[0]);
            if target.len() < end {
                target.resize(end, 0xA5);
            }
            self.unsynced.push((start, target[start..end].to_vec()));
            target[start..end].copy_from_slice(&bytes[..end - start]);
        }
        self.most_unsynced = self.most_unsynced.max(self.unsynced.len());
    }
}

enum Progress {
    Group,
    Cut,
    End,
}

fn unpack(mut packed: &[u8], dictionary: &[u8], length: usize) -> Vec<u8> {
    let (lc, lp, pb) = LZMA_LC_LP_PB;
    let window = (dictionary.len() + length).max(BLOCK) as u32;
    let mut reader = LzmaReader::new(
        &mut packed,
        length as u64,
        lc.into(),
        lp.into(),
        pb.into(),
        window,
        Some(dictionary),
    )
    .unwrap();
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    drop(reader);
    assert!(packed.is_empty(), "the decoder takes exactly the packed bytes");
    bytes
}

/// Bit by bit, independent of the encoder's.
fn crc32c(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = {
        let (mut table, mut at) = ([0; 256], 0);
        while at < 256 {
            let (mut crc, mut bit) = (at as u32, 0);
            while bit < 8 {
                crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
                bit += 1;
            }
            table[at] = crc;
            at += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}
