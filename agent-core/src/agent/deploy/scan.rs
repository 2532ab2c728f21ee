//! Hashing partitions in the background, so that most of their tree is known when somebody asks.
//!
//! A piece is read when nothing else is to be done, and after one that took the time *t* there is none for 3 *t*: a
//! quarter of the CPU at most. What is kept is one hash for each MiB. They are forgotten when the agent writes to the
//! partition, mounts it or runs a command; who changes it behind the agent's back is found by the root that is read from
//! the device at the end of a deploy.

use super::Known;
use super::nodes::{Nodes, bytes_under};
use super::walk::KNOWN_LEVEL;
use crate::time::{Duration, Instant};
use crate::tree::Hash;
use core::ops::DerefMut;

/// Partitions that are scanned.
pub const REGIONS: usize = 2;

/// Hashes that are kept of all of them together: 64 KiB, of 4 GiB.
pub const HASHES_MAX: usize = 4096;

/// Bytes that are read at a time.
pub const PIECE_MAX: usize = 64 * 1024;

/// Of the time that a piece took, so much more passes before the next.
const REST: u64 = 3;

/// The next piece to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of which region.
    pub region: usize,
    /// First byte.
    pub offset: u64,
}

impl Piece {
    /// Whether a node begins with it.
    pub fn is_first(&self) -> bool {
        self.offset & (bytes_under(KNOWN_LEVEL) - 1) == 0
    }
}

/// What is known of [`REGIONS`] partitions; the hashes are in memory `M` of the owner.
#[derive(Debug)]
pub struct Scan<M> {
    regions: [Option<Region<M>>; REGIONS],
    /// The node that is being read, and of which region.
    nodes: Nodes,
    of: usize,
    /// Bytes of that node that were read.
    read: u64,
    due: Instant,
}

#[derive(Debug)]
struct Region<M> {
    /// Room for all, of which the first `known` are.
    hashes: M,
    known: usize,
    /// Counts how often it was forgotten.
    epoch: u32,
    /// It cannot be read.
    has_failed: bool,
}

impl<M: DerefMut<Target = [Hash]>> Scan<M> {
    /// Of no region.
    pub fn new() -> Self {
        let (regions, nodes) = (core::array::from_fn(|_| None), Nodes::new(KNOWN_LEVEL));
        Self { regions, nodes, of: 0, read: 0, due: Instant::ZERO }
    }

    /// Whole nodes of something of so many bytes, of which a region with room for `most` has hashes.
    pub fn nodes_of(size: u64, most: usize) -> usize {
        usize::try_from(size / bytes_under(KNOWN_LEVEL)).unwrap_or(most).min(most)
    }

    /// A region is to be scanned, as many whole nodes of it as `hashes` has room for.
    pub fn begin(&mut self, region: usize, hashes: M) {
        if let Some(place) = self.regions.get_mut(region) {
            *place = Some(Region { hashes, known: 0, epoch: 0, has_failed: false });
        }
    }

    /// What is known of a region is so no more.
    pub fn forget(&mut self, region: usize) {
        if let Some(Some(region)) = self.regions.get_mut(region) {
            region.known = 0;
            region.epoch = region.epoch.wrapping_add(1);
            region.has_failed = false;
        }
        self.drop_node();
    }

    /// Nothing is known any more.
    pub fn forget_all(&mut self) {
        for region in 0..REGIONS {
            self.forget(region);
        }
    }

    /// When [`Self::piece`] has one; `None` when all is known.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next().map(|_| self.due)
    }

    /// The piece that is due.
    pub fn piece(&mut self, now: Instant) -> Option<Piece> {
        let region = self.next().filter(|_| now >= self.due)?;
        if self.of != region {
            self.drop_node();
            self.of = region;
        }
        let known = self.regions[region].as_ref()?.known as u64;
        Some(Piece { region, offset: known * bytes_under(KNOWN_LEVEL) + self.read })
    }

    /// The bytes of that piece, at most [`PIECE_MAX`]. `None`: it cannot be read; then the region is left alone until it
    /// is forgotten, and whoever asks for it is told why. [`Self::rest_after`] is to follow.
    pub fn handle_piece(&mut self, bytes: Option<&[u8]>) {
        let Some(Some(region)) = self.regions.get_mut(self.of) else { return };
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            region.has_failed = true;
            self.drop_node();
            return;
        };
        // Short reads go on where they ended; a node's end is the end of a piece.
        let left = bytes_under(KNOWN_LEVEL) - self.read;
        let bytes = &bytes[..bytes.len().min(left as usize)];
        self.read += bytes.len() as u64;
        let Region { hashes, known, .. } = region;
        self.nodes.push(bytes, &mut |level, hash| {
            if let Some(place) = hashes.get_mut(*known).filter(|_| level == KNOWN_LEVEL) {
                *place = hash;
                *known += 1;
            }
        });
        if self.read == bytes_under(KNOWN_LEVEL) {
            self.read = 0;
        }
    }

    /// The piece that was begun at `begun` has been dealt with.
    pub fn rest_after(&mut self, begun: Instant, now: Instant) {
        let rest = now.since(begun).as_micros().saturating_mul(REST);
        self.rest_until(now + Duration::from_micros(rest));
    }

    /// There is no piece for a while: what is to be read is in use.
    pub fn rest_until(&mut self, due: Instant) {
        self.due = due;
    }

    /// What is known of a region, for a walk that began at its `epoch`.
    pub fn known(&mut self, region: usize, epoch: u32) -> Part<'_, M> {
        // The walk may come by the node that is being read, and that is begun anew then.
        self.drop_node();
        let region = self.regions.get_mut(region).and_then(Option::as_mut);
        Part { region: region.filter(|region| region.epoch == epoch) }
    }

    /// Changes when a region is forgotten.
    pub fn epoch(&self, region: usize) -> u32 {
        self.regions.get(region).and_then(Option::as_ref).map_or(0, |region| region.epoch)
    }

    fn next(&self) -> Option<usize> {
        self.regions.iter().position(|region| {
            region
                .as_ref()
                .is_some_and(|region| !region.has_failed && region.known < region.hashes.len())
        })
    }

    fn drop_node(&mut self) {
        self.nodes = Nodes::new(KNOWN_LEVEL);
        self.read = 0;
    }
}

impl<M: DerefMut<Target = [Hash]>> Default for Scan<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known of one region.
#[derive(Debug)]
pub struct Part<'s, M> {
    region: Option<&'s mut Region<M>>,
}

impl<M: DerefMut<Target = [Hash]>> Known for Part<'_, M> {
    fn find(&self, node: u32) -> Option<Hash> {
        let region = self.region.as_ref()?;
        region.hashes.get(..region.known)?.get(node as usize).copied()
    }

    fn learn(&mut self, node: u32, hash: Hash) {
        // Only in their order: what is known has no holes.
        if let Some(Region { hashes, known, .. }) = self.region.as_deref_mut() {
            if let Some(place) = hashes.get_mut(*known).filter(|_| node as usize == *known) {
                *place = hash;
                *known += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::super::nodes::tests::level_of;
    use super::*;
    use std::boxed::Box;
    use std::vec;
    use std::vec::Vec;

    const MIB: usize = 1 << 20;

    fn at(us: u64) -> Instant {
        Instant::from_micros(us)
    }

    /// Lets the scan do what is due until nothing is left, each piece taking 5 ms, and returns how long it took.
    fn run(scan: &mut Scan<Box<[Hash]>>, disks: &[Vec<u8>], mut now: Instant) -> (Instant, u64) {
        let mut busy = 0;
        while let Some(due) = scan.poll_timeout() {
            now = now.max(due);
            let Piece { region, offset } = scan.piece(now).unwrap();
            let rest = &disks[region][offset as usize..];
            // Not always as much as was asked for.
            let length = rest.len().min(if offset % 3 == 0 { PIECE_MAX } else { 50_000 });
            scan.handle_piece(Some(&rest[..length]));
            let begun = now;
            now = now + Duration::from_millis(5);
            busy += 5_000;
            scan.rest_after(begun, now);
            assert_eq!(scan.piece(now), None, "nothing follows at once");
        }
        (now, busy)
    }

    #[test]
    fn whole_nodes_become_known_in_a_quarter_of_the_time() {
        let disks: Vec<Vec<u8>> = [(3 * MIB + 9, 3), (MIB, 5)]
            .map(|(bytes, salt)| (0..bytes).map(|at| (at / 7000) as u8 ^ salt).collect())
            .into();
        let mut scan = Scan::new();
        assert_eq!((scan.poll_timeout(), scan.piece(at(0))), (None, None));
        for (region, disk) in disks.iter().enumerate() {
            let count = Scan::<Box<[Hash]>>::nodes_of(disk.len() as u64, 100);
            scan.begin(region, vec![[0; 16]; count].into());
        }
        for _ in 0..2 {
            let begun = at(9_000_000);
            let (now, busy) = run(&mut scan, &disks, begun);
            let passed = now.since(begun).as_micros();
            assert!(passed >= 4 * (busy - 5_000), "{passed} {busy}");
            for (region, disk) in disks.iter().enumerate() {
                let epoch = scan.epoch(region);
                let hashes = level_of(disk, 2);
                let whole = disk.len() / MIB;
                for (node, hash) in hashes.iter().enumerate() {
                    let known = scan.known(region, epoch).find(node as u32);
                    assert_eq!(known, (node < whole).then_some(*hash));
                }
            }
            scan.forget_all();
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_alone_until_it_is_forgotten() {
        let mut scan: Scan<Box<[Hash]>> = Scan::new();
        scan.begin(0, vec![[0; 16]; 2].into());
        assert_eq!(scan.piece(at(1)), Some(Piece { region: 0, offset: 0 }));
        scan.handle_piece(Some(&[1; 100]));
        assert_eq!(scan.piece(at(1)), Some(Piece { region: 0, offset: 100 }));
        scan.handle_piece(None);
        assert_eq!(scan.poll_timeout(), None);
        scan.forget(0);
        assert_eq!(scan.piece(at(1)), Some(Piece { region: 0, offset: 0 }));
        scan.rest_until(at(50));
        assert_eq!((scan.piece(at(49)), scan.poll_timeout()), (None, Some(at(50))));
    }
}
