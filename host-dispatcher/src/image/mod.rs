//! Images on their way to a board: [`take`] brings whatever is named into the store's [`cache`], where it is unpacked
//! ([`source`]) and named by its digest; a thread does it and opens what deploy plans need of the store ([`stored`]), so
//! that the event loop never waits for a disk or a decompressor.

pub mod bmap;
pub mod boot_file;
pub mod cache;
mod cpio;
pub mod digests;
pub mod disk;
pub mod error;
pub mod ext4;
pub mod fetch;
mod lay;
pub mod material;
pub mod overlay;
pub mod owners;
pub mod packing;
pub mod source;
mod sparse;
pub mod stored;
pub mod take;
mod tree;
mod uboot;
pub mod unpack;
mod zip;
mod zstd;
