//! Plans and hashes on the board's disk: what stores the bytes is the fake's, what is done with them is the agent's own.

use crate::disk::{Disk, Outcome, failure};
use agent_core::agent::deploy::{Limits, Nothing, Plan, Storage, Trouble, Walk};
use agent_core::agent::unpack::Unpacker;
use agent_core::tree;
use agent_core::wire::response::Written;
use agent_core::wire::steps::BLOCK;
use agent_core::wire::{FailureKind, request};

/// A plan that is being carried out.
#[derive(Debug)]
pub(crate) struct Deployment {
    plan: Plan<Box<[u8]>, Box<Unpacker>>,
    target: Target,
    sources: Vec<Source>,
    /// The root that a file must have; empty for none.
    root: Vec<u8>,
}

#[derive(Debug)]
enum Target {
    Partition(String),
    /// The new file, where it will be, and its mode; the old one is still there.
    File {
        at: (String, String),
        bytes: Vec<u8>,
        mode: u32,
    },
}

#[derive(Debug)]
enum Source {
    Partition(String),
    File((String, String)),
}

/// What a plan writes to and reads from, for one turn of work.
struct Place<'p> {
    disk: &'p mut Disk,
    target: &'p mut Target,
    sources: &'p [Source],
}

impl Deployment {
    pub(crate) fn open(disk: &Disk, root: &str, wanted: &request::BlockPlan<'_>) -> Outcome<Self> {
        let request::BlockPlan { target, sources: names, image_bytes, mode, root: digest, .. } =
            *wanted;
        let (target, first) = if target.starts_with('/') {
            let at = disk.resolve(root, target)?;
            let old = disk.file(&at).map_or(0, <[u8]>::len) as u64;
            if image_bytes > FILE_MAX {
                return Err(failure(FailureKind::TOO_LARGE, "no space"));
            }
            (Target::File { at, bytes: vec![0; image_bytes as usize], mode }, old)
        } else {
            (Target::Partition(target.to_owned()), disk.for_writing(target)?)
        };
        let (mut sizes, mut sources) = (vec![first], Vec::new());
        for word in names.split(|byte| *byte == 0).filter(|word| !word.is_empty()) {
            let name = std::str::from_utf8(word)
                .map_err(|_| failure(FailureKind::REFUSED, "a name that is not text"))?;
            let (source, size) = if name.starts_with('/') {
                let at = disk.resolve(root, name)?;
                let size = disk.stat(&at)?.size;
                (Source::File(at), size)
            } else {
                if disk.is_mounted(name) {
                    return Err(failure(FailureKind::BUSY, "a source is mounted read-write"));
                }
                (Source::Partition(name.to_owned()), disk.partition(name)?.len() as u64)
            };
            sources.push(source);
            sizes.push(size);
        }
        let limits = Limits::STANDARD;
        let memory = vec![0; limits.memory()].into_boxed_slice();
        let is_in_place = matches!(target, Target::Partition(_));
        let plan = Plan::new(memory, Box::default(), limits, image_bytes, &sizes, is_in_place)
            .map_err(|trouble| failure(trouble.kind, "the plan cannot begin"))?;
        Ok(Self { plan, target, sources, root: digest.to_vec() })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.plan.push(bytes)
    }

    pub(crate) fn work(&mut self, disk: &mut Disk) -> Result<(usize, bool), Trouble> {
        let Self { plan, target, sources, .. } = self;
        plan.work(&mut Place { disk, target, sources })
    }

    pub(crate) fn written(&self) -> Written {
        self.plan.written()
    }

    pub(crate) fn commit(self, disk: &mut Disk) -> Outcome<()> {
        if !self.plan.has_ended() {
            let text = "the plan ended without its last step";
            return Err(failure(FailureKind::BAD_MESSAGE, text));
        }
        match self.target {
            Target::Partition(label) => {
                disk.sync_partition(&label);
                disk.forget_files(&label);
            }
            Target::File { bytes, .. } if !self.root.is_empty() && root(&bytes) != *self.root => {
                return Err(failure(FailureKind::DIGEST, "what was written is not the file"));
            }
            Target::File { at, bytes, mode } => disk.put(at, bytes, mode),
        }
        Ok(())
    }
}

impl Storage for Place<'_> {
    fn read(&mut self, source: u8, offset: u64, out: &mut [u8]) -> Result<(), i32> {
        let index = usize::from(source).checked_sub(1);
        let source = index.map(|index| &self.sources[index]);
        match (source, &*self.target) {
            (Some(Source::Partition(label)), _) | (None, Target::Partition(label)) => {
                self.disk.read(label, offset, out).and_then(|read| whole(read, out.len()))
            }
            (Some(Source::File(at)), _) | (None, Target::File { at, .. }) => {
                let (start, end) = (offset as usize, offset as usize + out.len());
                let bytes = self.disk.file(at).and_then(|bytes| bytes.get(start..end));
                out.copy_from_slice(bytes.ok_or(EIO)?);
                Ok(())
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32> {
        match self.target {
            Target::Partition(label) => self.disk.write(label, offset, bytes),
            Target::File { bytes: file, .. } => {
                file[offset as usize..][..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn zero(&mut self, offset: u64, length: u64) -> Result<(), i32> {
        self.write(offset, &vec![0; length as usize])
    }

    fn sync(&mut self) -> Result<(), i32> {
        if let Target::Partition(label) = self.target {
            self.disk.sync_partition(label);
        }
        Ok(())
    }
}

/// Hashes that are being sent.
#[derive(Debug)]
pub(crate) struct Hashing {
    walk: Walk,
    source: Source,
}

impl Hashing {
    pub(crate) fn open(
        disk: &Disk,
        root: &str,
        wanted: &request::BlockTree<'_>,
    ) -> Outcome<(Self, u64)> {
        let (source, size) = if wanted.target.starts_with('/') {
            let at = disk.resolve(root, wanted.target)?;
            let size = disk.stat(&at)?.size;
            (Source::File(at), size)
        } else {
            let size = disk.partition(wanted.target)?.len() as u64;
            (Source::Partition(wanted.target.to_owned()), size)
        };
        let walk =
            Walk::new(wanted, size).map_err(|trouble| failure(trouble.kind, "no such nodes"))?;
        Ok((Self { walk, source }, size))
    }

    pub(crate) fn work(&mut self, disk: &Disk) -> Result<(Vec<u8>, bool), Trouble> {
        let Self { walk, source } = self;
        let mut read = |offset: u64, out: &mut [u8]| match &*source {
            Source::Partition(label) => disk.read(label, offset, out),
            Source::File(at) => {
                let bytes = disk.file(at).and_then(|bytes| bytes.get(offset as usize..));
                let bytes = bytes.ok_or(EIO)?;
                let count = bytes.len().min(out.len());
                out[..count].copy_from_slice(&bytes[..count]);
                Ok(count)
            }
        };
        walk.work(&mut [0; 20_000], &mut read, &mut Nothing)?;
        Ok((walk.out().to_vec(), walk.has_more()))
    }
}

/// The root of the tree over some bytes.
fn root(bytes: &[u8]) -> tree::Hash {
    let mut nodes: Vec<_> = bytes.chunks(BLOCK).map(tree::leaf).collect();
    while nodes.len() > 1 {
        nodes = nodes.chunks(tree::FAN_OUT).map(tree::node).collect();
    }
    nodes.first().copied().unwrap_or_default()
}

fn whole(read: usize, wanted: usize) -> Result<(), i32> {
    if read == wanted { Ok(()) } else { Err(EIO) }
}

/// What a kernel says to a medium that cannot be read or written.
pub(crate) const EIO: i32 = 5;

/// More than any test deploys: the space of the fake file system.
const FILE_MAX: u64 = 64 << 20;
