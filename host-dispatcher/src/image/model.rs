//! The other end of the line, for tests: executes steps as an agent does, with the decoder that the agent has.

use std::io::Read;

use agent_core::wire::block::{BIN_MAX, Codec, LZMA_LC_LP_PB, STEP_LEN, Step};
use lzma_rust2::LzmaReader;

/// What an agent does: every step in order, on a partition that holds something else.
pub(crate) fn execute(mut steps: &[u8], partition: &mut [u8]) -> u64 {
    let mut end = 0;
    loop {
        let (header, rest) = steps.split_first_chunk::<STEP_LEN>().unwrap();
        steps = rest;
        match Step::parse(header).unwrap() {
            Step::End => break,
            Step::Zero { offset, length } => {
                assert_eq!(offset, end, "no gap and no overlap");
                partition[offset as usize..][..length as usize].fill(0);
                end += length;
            }
            Step::Bin { codec, packed, offset, length } => {
                assert_eq!(offset, end, "no gap and no overlap");
                let (payload, rest) = steps.split_at(packed as usize);
                steps = rest;
                let place = &mut partition[offset as usize..][..length as usize];
                match codec {
                    Codec::Raw => place.copy_from_slice(payload),
                    Codec::Lzma => unpack(payload, place),
                }
                end += u64::from(length);
            }
        }
    }
    assert!(steps.is_empty(), "end is last");
    end
}

fn unpack(mut packed: &[u8], place: &mut [u8]) {
    let (lc, lp, pb) = LZMA_LC_LP_PB;
    let (lc, lp, pb) = (lc.into(), lp.into(), pb.into());
    let mut reader =
        LzmaReader::new(&mut packed, place.len() as u64, lc, lp, pb, BIN_MAX as u32, None).unwrap();
    reader.read_exact(place).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    drop(reader);
    assert!(packed.is_empty(), "the decoder takes exactly the packed bytes");
}
