//! The devices and files of a deploy: what a plan reads and writes, and what its hashes are of.

use crate::files::{self, Put};
use crate::info;
use crate::partitions::{Kind, Partitions};
use crate::problem::{Outcome, Problem, about};
use crate::sys::errno::Errno;
use crate::sys::file::File;
use crate::sys::{disk, program};
use agent_core::agent::deploy::{Known, Limits, Nothing, Plan, Storage, Trouble, Walk};
use agent_core::agent::unpack::Unpacker;
use agent_core::tree::{HASH_LEN, Hash, root_level};
use agent_core::wire::steps::BLOCK;
use agent_core::wire::{FailureKind, request};

/// A plan that is being carried out.
pub(crate) struct Deployment {
    plan: Plan<Box<[u8]>, Box<Unpacker>>,
    place: Place,
    /// What is left to be read back of a file, and the root that it must have.
    check: Option<(Box<Walk>, Hash)>,
}

/// What it writes to and reads from.
struct Place {
    target: Target,
    /// From number 1 on.
    sources: Vec<File>,
}

enum Target {
    Partition {
        file: File,
        is_device: bool,
    },
    /// The new file, beside the old one, if there is one.
    File(Put, Option<File>),
    /// A new agent in memory, and the program that runs.
    Program(File, File),
}

impl Deployment {
    /// Opens all that a request names and takes the memory for it. `number` keeps operations apart. Nothing is written.
    pub(crate) fn open(
        partitions: &Partitions,
        wanted: &request::BlockPlan<'_>,
        limits: Limits,
        number: u8,
    ) -> Outcome<Box<Self>> {
        let request::BlockPlan { target: name, sources: names, image_bytes, mode, root, .. } =
            *wanted;
        let (mut sizes, mut sources) = (vec![0], Vec::new());
        let mut path = None;
        let is_program = name.is_empty();
        let is_file = name.starts_with('/');
        let is_partition = !is_program && !is_file;
        if is_partition {
            path = Some(partitions.find(name)?.path);
        }
        for word in names.split(|byte| *byte == 0).filter(|word| !word.is_empty()) {
            let source = std::str::from_utf8(word).map_err(|_| Problem::refused("sources"))?;
            let (file, size) = open_source(partitions, source, path.as_deref())?;
            sources.push(file);
            sizes.push(size);
        }
        // Last of all, so that nothing is left behind by what cannot be done.
        let target = if is_program {
            let (own, size) = program::own().map_err(about("program"))?;
            sizes[0] = size;
            if image_bytes / 1024 >= info::available_kib() / 2 {
                return Err(Problem::new(FailureKind::TOO_LARGE, "memory"));
            }
            let new = program::in_memory().map_err(about("memory"))?;
            new.cut(image_bytes).map_err(about("memory"))?;
            Target::Program(new, own)
        } else if is_file {
            let old = match files::open(name) {
                Ok((file, found)) => {
                    sizes[0] = found.size;
                    Some(file)
                }
                Err(problem) if problem.kind == FailureKind::NOT_FOUND => None,
                Err(problem) => return Err(problem),
            };
            let put = Put::open(name, mode, image_bytes, number)?;
            put.file().cut(image_bytes).map_err(about(name))?;
            Target::File(put, old)
        } else {
            let (file, size) = partitions.find(name)?.open_to_write(name)?;
            sizes[0] = size;
            let is_device = file.found().is_ok_and(|found| found.is_device());
            Target::Partition { file, is_device }
        };
        let memory = vec![0; limits.memory()].into_boxed_slice();
        let unpacker = new_unpacker();
        let plan = Plan::new(memory, unpacker, limits, image_bytes, &sizes, is_partition)
            .map_err(problem)?;
        let check = match root {
            _ if is_partition => None,
            [] => None,
            root => Some((whole(image_bytes)?, root.try_into().map_err(|_| bad("root"))?)),
        };
        Ok(Box::new(Self { plan, place: Place { target, sources }, check }))
    }

    /// See [`Plan::push`].
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.plan.push(bytes).map_err(problem)
    }

    /// See [`Plan::work`]; behind its last step a file is read back, through `buffer`.
    pub(crate) fn work(&mut self, buffer: &mut [u8]) -> Outcome<(usize, bool)> {
        let (taken, has_more) = self.plan.work(&mut self.place).map_err(problem)?;
        if has_more || !self.plan.has_ended() {
            return Ok((taken, has_more));
        }
        let Some((walk, root)) = &mut self.check else { return Ok((taken, false)) };
        let file = self.place.file();
        let mut read = |offset, out: &mut [u8]| file.read_at(out, offset).map_err(Errno::number);
        walk.work(buffer, &mut read, &mut Nothing).map_err(problem)?;
        if walk.has_more() {
            return Ok((taken, true));
        }
        if walk.out() != root {
            return Err(Problem::new(FailureKind::DIGEST, "what was written is not the file"));
        }
        self.check = None;
        Ok((taken, false))
    }

    /// What was written so far.
    pub(crate) fn written(&self) -> agent_core::wire::response::Written {
        self.plan.written()
    }

    /// Makes all of it durable, and a file visible. What the page cache has of a partition is forgotten, so that it is
    /// read back from the device. Returns a program that was brought.
    pub(crate) fn commit(&mut self) -> Outcome<Option<File>> {
        if !self.plan.has_ended() || self.check.is_some() {
            let text = "the plan ended without its last step";
            return Err(Problem::new(FailureKind::BAD_MESSAGE, text));
        }
        match &mut self.place.target {
            Target::Partition { file, is_device } => {
                file.sync_all().map_err(about("partition"))?;
                disk::drop_cache(file, *is_device);
                Ok(None)
            }
            Target::File(put, _) => put.commit().map(|()| None),
            Target::Program(new, _) => new.try_clone().map(Some).map_err(about("program")),
        }
    }
}

impl Storage for Place {
    fn read(&mut self, source: u8, offset: u64, out: &mut [u8]) -> Result<(), i32> {
        let file = match (usize::from(source).checked_sub(1), &self.target) {
            (Some(index), _) => self.sources.get(index),
            (None, Target::Partition { file, .. }) => Some(file),
            (None, Target::File(_, old)) => old.as_ref(),
            (None, Target::Program(_, own)) => Some(own),
        };
        file.ok_or(Errno::ENOENT.number())?.read_exact_at(out, offset).map_err(Errno::number)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32> {
        self.file().write_all_at(bytes, offset).map_err(Errno::number)
    }

    fn zero(&mut self, offset: u64, length: u64) -> Result<(), i32> {
        let is_device = matches!(self.target, Target::Partition { is_device: true, .. });
        disk::zero(self.file(), is_device, offset, length).map_err(Errno::number)
    }

    fn sync(&mut self) -> Result<(), i32> {
        self.file().sync_data().map_err(Errno::number)
    }
}

impl Place {
    fn file(&self) -> &File {
        match &self.target {
            Target::Partition { file, .. } => file,
            Target::File(put, _) => put.file(),
            Target::Program(new, _) => new,
        }
    }
}

/// Hashes that are being sent.
pub(crate) struct Hashing {
    file: File,
    walk: Box<Walk>,
}

impl Hashing {
    /// Opens what a request names, and tells its size.
    pub(crate) fn open(
        partitions: &Partitions,
        wanted: &request::BlockTree<'_>,
    ) -> Outcome<(Self, u64)> {
        let (file, size) = if wanted.target.is_empty() {
            program::own().map_err(about("program"))?
        } else if wanted.target.starts_with('/') {
            let (file, found) = files::open(wanted.target)?;
            (file, found.size)
        } else {
            partitions.find(wanted.target)?.open_to_read()?
        };
        let walk = new_walk(wanted, size)?;
        if wanted.is_fresh {
            let is_device = file.found().is_ok_and(|found| found.is_device());
            disk::drop_cache(&file, is_device);
        }
        Ok((Self { file, walk }, size))
    }

    /// See [`Walk::work`].
    pub(crate) fn work(&mut self, buffer: &mut [u8], known: &mut dyn Known) -> Outcome<bool> {
        let Self { file, walk } = self;
        let mut read = |offset, out: &mut [u8]| file.read_at(out, offset).map_err(Errno::number);
        walk.work(buffer, &mut read, known).map_err(problem)?;
        Ok(walk.has_more())
    }

    /// The hashes of the last work.
    pub(crate) fn out(&self) -> &[u8] {
        self.walk.out()
    }
}

/// The walk that ends with the root over so many bytes of a file that is being written.
fn whole(bytes: u64) -> Outcome<Box<Walk>> {
    let blocks = u32::try_from(bytes.div_ceil(BLOCK as u64)).map_err(|_| bad("image"))?;
    let level = root_level(blocks);
    let (target, stream, first, count, width, is_fresh) = ("", 0, 0, 1, HASH_LEN as u8, true);
    let request =
        request::BlockTree { target, stream, bytes, level, first, count, width, is_fresh };
    new_walk(&request, bytes)
}

// Each by itself, as both need much stack for a moment: see `run::new_agent`.

#[inline(never)]
fn new_walk(request: &request::BlockTree<'_>, size: u64) -> Outcome<Box<Walk>> {
    Ok(Box::new(Walk::new(request, size).map_err(problem)?))
}

#[inline(never)]
fn new_unpacker() -> Box<Unpacker> {
    Box::new(Unpacker::new())
}

fn bad(what: &str) -> Problem {
    Problem::new(FailureKind::BAD_MESSAGE, what)
}

/// What bins there is memory for now.
pub(crate) fn limits() -> Limits {
    if info::available_kib() >= PLENTY_KIB { Limits::LARGE } else { Limits::STANDARD }
}

/// A source, and its size. Its content must not change while the plan is carried out.
fn open_source(partitions: &Partitions, name: &str, target: Option<&str>) -> Outcome<(File, u64)> {
    if name.starts_with('/') {
        let (file, found) = files::open(name)?;
        return Ok((file, found.size));
    }
    let partition = partitions.find(name)?;
    if partition.kind == Kind::Directory || target == Some(&partition.path) {
        return Err(Problem { text: name.to_owned(), ..Problem::refused("") });
    }
    if partition.is_mounted_to_write {
        let text = ["source mounted read-write: ", &partition.path].concat();
        return Err(Problem { text, ..Problem::new(FailureKind::BUSY, "") });
    }
    partition.open_to_read()
}

fn problem(trouble: Trouble) -> Problem {
    Problem { os_error: trouble.os_error, ..Problem::new(trouble.kind, &trouble.text()) }
}

/// With so much memory to spare, bins are as large as they help.
const PLENTY_KIB: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use agent_core::link::crc::crc32c;
    use agent_core::tree;
    use agent_core::wire::steps::{Extent, Packing, StepWriter};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};

    /// A group of steps with its bins behind it.
    fn group(bins: &[&[u8]], write: impl FnOnce(&mut StepWriter, &mut dyn FnMut(u8))) -> Vec<u8> {
        let mut steps = Vec::new();
        write(&mut StepWriter::new(), &mut |byte| steps.push(byte));
        let length = (steps.len() as u16).to_le_bytes();
        [&[0], &length[..], &length, &steps, &bins.concat()].concat()
    }

    fn extent(first: u32, count: u32) -> Extent {
        Extent { first, count }
    }

    /// A file of numbered blocks.
    fn disk(directory: &Path, name: &str, blocks: u8) -> (String, Vec<u8>) {
        let bytes: Vec<u8> = (0..blocks).flat_map(|number| [number; BLOCK]).collect();
        let path = directory.join(name).to_str().unwrap().to_owned();
        fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    fn bench(test: &str) -> (PathBuf, Partitions) {
        let top = files::tests::directory(test);
        let given = ["master", "testrootfs", "testboot"]
            .map(|label| (label.to_owned(), disk(&top, label, 40).0));
        let mut given: Vec<_> = given.into();
        given.push(("tree".to_owned(), top.to_str().unwrap().to_owned()));
        (top, Partitions::new(given))
    }

    fn wanted<'a>(target: &'a str, sources: &'a [u8], bytes: usize) -> request::BlockPlan<'a> {
        let (image_bytes, mode) = (bytes as u64, 0o751);
        request::BlockPlan { target, sources, stream: 1, image_bytes, mode, root: b"" }
    }

    fn carry_out(
        partitions: &Partitions,
        wanted: &request::BlockPlan<'_>,
        stream: &[u8],
    ) -> Outcome<()> {
        let mut deployment = Deployment::open(partitions, wanted, Limits::STANDARD, 2)?;
        for piece in stream.chunks(500) {
            deployment.push(piece)?;
            while deployment.work(&mut [0; 5000])?.1 {}
        }
        deployment.commit().map(drop)
    }

    #[test]
    fn a_partition_becomes_the_image() {
        let (top, partitions) = bench("deploy-partition");
        let new = [0xA5; 2 * BLOCK];
        let stream = group(&[&new], |writer, mut put| {
            writer.copy(0, 0, extent(1, 30), &mut put);
            writer.copy(1, 39, extent(0, 1), &mut put);
            writer.zero(extent(32, 2), &mut put);
            writer.sync(&mut put);
            let crc = crc32c(&new);
            writer.bin(Packing::Raw, new.len() as u32, crc, &[], &[extent(34, 2)], &mut put);
            writer.end(&mut put);
        });
        let bytes = 35 * BLOCK + 1;
        let before = fs::read(top.join("testrootfs")).unwrap();
        carry_out(&partitions, &wanted("testrootfs", b"testboot\0", bytes), &stream).unwrap();
        let disk = fs::read(top.join("testrootfs")).unwrap();
        assert_eq!((disk.len(), disk[0], disk[BLOCK], disk[30 * BLOCK]), (before.len(), 39, 0, 29));
        assert!(disk[31 * BLOCK..32 * BLOCK] == before[31 * BLOCK..32 * BLOCK]);
        assert!(disk[32 * BLOCK..34 * BLOCK].iter().all(|byte| *byte == 0));
        assert!(disk[34 * BLOCK..bytes].iter().all(|byte| *byte == 0xA5));
        assert!(disk[bytes..] == before[bytes..], "what is behind the image");
        let (stream, first, count, width, is_fresh) = (1, 0, 99, 16, true);
        let request = request::BlockTree {
            target: "testrootfs",
            stream,
            bytes: bytes as u64,
            level: 1,
            first,
            count,
            width,
            is_fresh,
        };
        let (mut hashing, size) = Hashing::open(&partitions, &request).unwrap();
        assert_eq!(size, disk.len() as u64);
        let (mut hashes, mut buffer) = (Vec::new(), vec![0; 10_000]);
        loop {
            let has_more = hashing.work(&mut buffer, &mut Nothing).unwrap();
            hashes.extend_from_slice(hashing.out());
            if !has_more {
                break;
            }
        }
        let leaves: Vec<_> = disk[..bytes].chunks(BLOCK).map(tree::leaf).collect();
        let nodes: Vec<_> = leaves.chunks(tree::FAN_OUT).map(tree::node).collect();
        assert_eq!(hashes, nodes.as_flattened());
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_file_appears_whole_when_it_is_committed() {
        let (top, partitions) = bench("deploy-file");
        let (path, old) = disk(&top, "file", 4);
        let steps = |has_end: bool| {
            group(&[], |writer, mut put| {
                writer.copy(0, 2, extent(0, 2), &mut put);
                writer.copy(1, 7, extent(3, 1), &mut put);
                if has_end {
                    writer.end(&mut put);
                }
            })
        };
        let wanted = wanted(&path, b"testboot\0", 3 * BLOCK + 10);
        let failed = carry_out(&partitions, &wanted, &steps(false)).unwrap_err();
        assert_eq!(failed.kind, FailureKind::BAD_MESSAGE);
        assert!(fs::read(&path).unwrap() == old);
        assert_eq!(fs::read_dir(&top).unwrap().count(), 4, "nothing is left beside it");
        carry_out(&partitions, &wanted, &steps(true)).unwrap();
        let new = fs::read(&path).unwrap();
        assert_eq!((new.len(), new[0], new[BLOCK]), (3 * BLOCK + 10, 2, 3));
        assert_eq!((new[2 * BLOCK], new[3 * BLOCK]), (0, 7), "what no step names is zeros");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o751);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_file_with_another_root_never_appears() {
        let (top, partitions) = bench("deploy-root");
        let (path, old) = disk(&top, "file", 40);
        let stream = group(&[], |writer, mut put| {
            writer.copy(0, 1, extent(0, 39), &mut put);
            writer.end(&mut put);
        });
        let leaves: Vec<_> = old[BLOCK..].chunks(BLOCK).map(tree::leaf).collect();
        let nodes: Vec<_> = leaves.chunks(tree::FAN_OUT).map(tree::node).collect();
        let root = tree::node(&nodes);
        let given = wanted(&path, b"", 39 * BLOCK);
        for (root, kind) in [
            (&[7; 16][..], Some(FailureKind::DIGEST)),
            (&root[..15], Some(FailureKind::BAD_MESSAGE)),
            (&root, None),
        ] {
            assert!(fs::read(&path).unwrap() == old);
            let wanted = request::BlockPlan { root, ..given };
            let done = carry_out(&partitions, &wanted, &stream);
            assert_eq!(done.err().map(|problem| problem.kind), kind);
            assert_eq!(fs::read_dir(&top).unwrap().count(), 4, "nothing is left beside it");
        }
        assert!(fs::read(&path).unwrap() == old[BLOCK..]);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn what_cannot_be_is_refused_and_leaves_nothing() {
        let (top, partitions) = bench("deploy-refuse");
        let file = top.join("new").to_str().unwrap().to_owned();
        for (target, sources, bytes, kind) in [
            ("master", &b""[..], BLOCK, FailureKind::REFUSED),
            ("nowhere", b"", BLOCK, FailureKind::NOT_FOUND),
            ("tree", b"", BLOCK, FailureKind::REFUSED),
            ("testrootfs", b"nowhere\0", BLOCK, FailureKind::NOT_FOUND),
            ("testrootfs", b"/nowhere\0", BLOCK, FailureKind::NOT_FOUND),
            ("testrootfs", b"/dev/null\0", BLOCK, FailureKind::REFUSED),
            ("testrootfs", b"tree\0", BLOCK, FailureKind::REFUSED),
            ("testrootfs", b"testrootfs\0", BLOCK, FailureKind::REFUSED),
            ("testrootfs", b"\xFF\0", BLOCK, FailureKind::REFUSED),
            ("testrootfs", b"", 40 * BLOCK + 1, FailureKind::TOO_LARGE),
            (&file, b"nowhere\0", BLOCK, FailureKind::NOT_FOUND),
            (&file, b"", usize::MAX / 2, FailureKind::TOO_LARGE),
            ("", b"", usize::MAX / 2, FailureKind::TOO_LARGE),
        ] {
            let wanted = wanted(target, sources, bytes);
            let refused = Deployment::open(&partitions, &wanted, Limits::STANDARD, 0);
            assert_eq!(refused.err().map(|problem| problem.kind), Some(kind), "{target}");
        }
        assert_eq!(fs::read_dir(&top).unwrap().count(), 3);
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_source_that_is_shorter_than_it_was_is_a_read_error() {
        let (top, partitions) = bench("deploy-short");
        let wanted = wanted("testrootfs", b"testboot\0", 40 * BLOCK);
        let mut deployment = Deployment::open(&partitions, &wanted, Limits::STANDARD, 0).unwrap();
        fs::write(top.join("testboot"), [0; 3 * BLOCK]).unwrap();
        let stream = group(&[], |writer, mut put| writer.copy(1, 0, extent(0, 8), &mut put));
        deployment.push(&stream).unwrap();
        let problem = deployment.work(&mut []).unwrap_err();
        assert_eq!((problem.os_error, problem.text.as_str()), (5, "reading source 1 block 3"));
        fs::remove_dir_all(top).unwrap();
    }
}
