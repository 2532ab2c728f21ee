//! Packing: whatever the bytes, what the agent packs is no longer than they are, and another program unpacks it to them.
//! Read as a block, any bytes end in an error or in no more than there is room for; so they do as a bin of a plan.

use agent_core::agent::pack::{PIECE_MAX, Table, pack};
use agent_core::agent::unpack::Unpacker;

pub(crate) fn run(input: &[u8]) {
    let input = &input[..input.len().min(PIECE_MAX)];
    let mut table = Table::default();
    let mut block = vec![0; input.len()];
    if let Some(length) = pack(input, &mut table, &mut block) {
        let mut out = vec![0; input.len()];
        let count = lz4_flex::block::decompress_into(&block[..length], &mut out);
        assert_eq!(count.expect("a block"), input.len());
        assert!(out == input);
        // With less room than that it says so, and with just enough it is the same.
        let mut exact = vec![0; length];
        assert_eq!(pack(input, &mut table, &mut exact), Some(length));
        assert_eq!(exact, block[..length]);
        if let Some(less) = length.checked_sub(1) {
            assert_eq!(pack(input, &mut table, &mut exact[..less]), None);
        }
    }
    let mut out = [0; 512];
    if let Ok(count) = lz4_flex::block::decompress_into(input, &mut out) {
        assert!(count <= out.len());
    }
    unpack(input);
}

/// The first byte is the length of the dictionary, which follows.
fn unpack(input: &[u8]) {
    let Some((&length, rest)) = input.split_first() else { return };
    let (dictionary, packed) = rest.split_at(rest.len().min(length.into()));
    let mut window = [dictionary, &[0; 512]].concat();
    // A packer's first byte is always 0.
    let packed = [&[0], packed].concat();
    let _ = Unpacker::new().unpack(&packed, &mut window, dictionary.len());
    assert!(window.starts_with(dictionary));
}
