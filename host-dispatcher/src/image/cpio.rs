//! The files of a cpio archive, as Linux unpacks an initial ramdisk (`Documentation/driver-api/early-userspace/buffer-format.rst`,
//! `init/initramfs.c`): archives of the forms newc and crc, one behind the other, packed or not, with zeros between.
//!
//! An archive is hostile: see [`tree`](super::tree), whose bounds hold here too.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use super::error::Cause;
use super::lay::Laying;
use super::packing::Packing;
use super::source::IMAGE_BYTES_MAX;
use super::tree::{
    FILES_MAX, Kind, LINK_MAX, Node, PATH_MAX, Tree, checked_name, path_below_top, stage, too_many,
};

/// Whether a file begins as a cpio archive does, of any form in ASCII.
pub(super) fn is_cpio(first: &[u8]) -> bool {
    first.starts_with(b"07070")
}

/// The files of all archives, each laid over those before; contents are unpacked into `work`. `check` is called now and
/// then with the bytes so far.
pub(super) fn of_cpio(
    archives: impl Read,
    work: &Path,
    check: impl FnMut(u64) -> Result<(), Cause>,
) -> Result<Tree, Cause> {
    let mut tree = Tree::new();
    let laying = Laying::new(&mut tree);
    let mut unpacking = Unpacking { work, check, laying, bytes: 0, count: 0 };
    let mut input = Input::new(archives);
    unpacking.archives(&mut input)?;
    // What is left begins with no archive: packed ones, between plain ones.
    while let Some(packing) = packing_of(&mut input)? {
        let before = input.read;
        let mut unpacked = Input::new(packing.unpack_one(&mut input));
        unpacking.archives(&mut unpacked)?;
        if !unpacked.peek(1)?.is_empty() {
            return Err(damaged("what is packed in it is no cpio archive"));
        }
        drop(unpacked);
        if input.read == before {
            return Err(damaged("what is packed in it does not begin"));
        }
        unpacking.archives(&mut input)?;
    }
    if tree.is_empty() {
        return Err(Cause::Empty);
    }
    Ok(tree)
}

/// How the next archives are packed; `None` at the end.
fn packing_of(input: &mut Input<impl Read>) -> Result<Option<Packing>, Cause> {
    let first = input.peek(MAGIC_BYTES)?;
    match Packing::of(first) {
        _ if first.is_empty() => Ok(None),
        Packing::Raw | Packing::Zip | Packing::UBoot => {
            Err(damaged("something else follows an archive"))
        }
        packing => Ok(Some(packing)),
    }
}

struct Unpacking<'a, C> {
    work: &'a Path,
    check: C,
    laying: Laying<'a>,
    bytes: u64,
    /// Files that were unpacked.
    count: usize,
}

/// What an archive calls a file by that has several names.
type Inode = (u32, u32, u32);

impl<C: FnMut(u64) -> Result<(), Cause>> Unpacking<'_, C> {
    /// Plain archives, up to something else.
    fn archives(&mut self, input: &mut Input<impl Read>) -> Result<(), Cause> {
        loop {
            input.skip_zeros()?;
            if !is_cpio(input.peek(MAGIC_BYTES)?) {
                return Ok(());
            }
            self.archive(input)?;
        }
    }

    fn archive(&mut self, input: &mut Input<impl Read>) -> Result<(), Cause> {
        // Where the first name of each lies, and its content.
        let mut firsts: HashMap<Inode, (String, Kind)> = HashMap::new();
        loop {
            let header = Header::read(input)?;
            let name = input.text(header.name_bytes, PATH_MAX + 1)?;
            let name = name.strip_suffix(b"\0").unwrap_or(&name);
            input.skip(padding(HEADER_BYTES + header.name_bytes))?;
            if name == TRAILER {
                input.skip(header.bytes.into())?;
                return input.skip(padding(header.bytes as usize));
            }
            let path = path_below_top(name)?;
            let kind = self.content(&header, &path, input)?;
            input.skip(padding(header.bytes as usize))?;
            let Some(kind) = kind else { continue };
            let mut node = header.node(kind);
            if header.names < 2 || !matches!(node.kind, Kind::File { .. }) {
                self.laying.add(&path, node)?;
                continue;
            }
            let known = firsts.get_mut(&header.inode).and_then(|(first, kind)| {
                let file = self.laying.file(first).filter(|file| file.kind == *kind)?;
                // The content comes with any of the names, mostly with the last.
                if header.bytes > 0 {
                    file.clone_from(&node);
                    kind.clone_from(&node.kind);
                }
                Some(first.clone())
            });
            if let Some(first) = known {
                node.kind = Kind::Same(first);
                self.laying.add(&path, node)?;
            } else {
                let kind = node.kind.clone();
                let place = self.laying.add(&path, node)?;
                firsts.insert(header.inode, (place, kind));
            }
        }
    }

    /// What an entry is, and its content. `None`: a socket, which is left out.
    fn content(
        &mut self,
        header: &Header,
        path: &str,
        input: &mut Input<impl Read>,
    ) -> Result<Option<Kind>, Cause> {
        let bytes = header.bytes;
        let (major, minor) = (header.device.0.into(), header.device.1.into());
        let kind = match header.mode & KIND_BITS {
            0o100_000 => {
                self.bytes += u64::from(bytes);
                if self.bytes > IMAGE_BYTES_MAX {
                    return Err(Cause::TooLarge(self.bytes));
                }
                (self.check)(self.bytes)?;
                return self.file(header, path, input).map(Some);
            }
            0o120_000 => {
                let target = input.text(bytes as usize, LINK_MAX)?;
                return Ok(Some(Kind::Link(checked_name(&target, LINK_MAX)?)));
            }
            0o040_000 => Some(Kind::Folder),
            0o060_000 => Some(Kind::Device { is_block: true, major, minor }),
            0o020_000 => Some(Kind::Device { is_block: false, major, minor }),
            0o010_000 => Some(Kind::Pipe),
            0o140_000 => None,
            _ => return Err(damaged(&format!("{path} is of no kind"))),
        };
        input.skip(bytes.into())?;
        Ok(kind)
    }

    fn file(
        &mut self,
        header: &Header,
        path: &str,
        input: &mut Input<impl Read>,
    ) -> Result<Kind, Cause> {
        self.count += 1;
        if self.count > FILES_MAX {
            return Err(too_many());
        }
        let content: PathBuf = self.work.join(self.count.to_string());
        let bytes = u64::from(header.bytes);
        let mut summed = Summed { reader: input.take(bytes), sum: 0 };
        stage(path, &mut summed, bytes, &content, WHAT)?;
        if header.sum.is_some_and(|sum| sum != summed.sum && bytes > 0) {
            return Err(damaged(&format!("the check value of {path} is wrong")));
        }
        Ok(Kind::File { content, bytes })
    }
}

/// What stands before each file: `6 + 13 * 8` digits.
struct Header {
    inode: Inode,
    mode: u32,
    uid: u32,
    gid: u32,
    names: u32,
    mtime: u32,
    bytes: u32,
    device: (u32, u32),
    name_bytes: usize,
    /// The sum of the content's bytes, in the form crc.
    sum: Option<u32>,
}

impl Header {
    fn read(input: &mut Input<impl Read>) -> Result<Self, Cause> {
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header).map_err(unreadable)?;
        let has_sum = match &header[..MAGIC_BYTES] {
            b"070701" => false,
            b"070702" => true,
            b"070707" => {
                return Err(Cause::unusable(
                    "it is a cpio archive of the oldest form",
                    "make it with cpio -o -H newc",
                ));
            }
            _ => return Err(damaged("a file's header is missing")),
        };
        let mut fields = [0_u32; FIELDS];
        for (field, digits) in fields.iter_mut().zip(header[MAGIC_BYTES..].chunks_exact(8)) {
            for digit in digits {
                let value = char::from(*digit).to_digit(16);
                let value = value.ok_or_else(|| damaged("a file's header has no digits"))?;
                *field = *field << 4 | value;
            }
        }
        let [ino, mode, uid, gid, names, mtime, bytes, major, minor, r_major, r_minor, name, sum] =
            fields;
        if name == 0 {
            return Err(damaged("a file has no name"));
        }
        Ok(Self {
            inode: (ino, major, minor),
            mode,
            uid,
            gid,
            names,
            mtime,
            bytes,
            device: (r_major, r_minor),
            name_bytes: name as usize,
            sum: has_sum.then_some(sum),
        })
    }

    fn node(&self, kind: Kind) -> Node {
        let (uid, gid) = (self.uid, self.gid);
        Node { uid, gid, mtime: self.mtime.into(), ..Node::new(kind, self.mode & 0o7777) }
    }
}

/// Bytes that can be looked at before they are read.
struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    at: usize,
    /// Bytes that were read.
    read: u64,
    /// Some decoders begin with what follows when they are asked again.
    has_ended: bool,
}

impl<R: Read> Input<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), at: 0, read: 0, has_ended: false }
    }

    /// The next bytes, at least `wanted` if there are so many.
    fn peek(&mut self, wanted: usize) -> Result<&[u8], Cause> {
        while self.buffer.len() - self.at < wanted {
            if self.more().map_err(unreadable)? == 0 {
                break;
            }
        }
        Ok(&self.buffer[self.at..])
    }

    fn more(&mut self) -> io::Result<usize> {
        if self.has_ended {
            return Ok(0);
        }
        self.buffer.drain(..std::mem::take(&mut self.at));
        let known = self.buffer.len();
        self.buffer.resize(known + BUFFER_BYTES, 0);
        let read = loop {
            match self.reader.read(&mut self.buffer[known..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(known + read.as_ref().copied().unwrap_or(0));
        self.has_ended = matches!(read, Ok(0));
        read
    }

    fn skip_zeros(&mut self) -> Result<(), Cause> {
        loop {
            let next = self.peek(1)?;
            let zeros = next.iter().take_while(|byte| **byte == 0).count();
            let (is_all, is_end) = (zeros == next.len(), next.is_empty());
            self.consume(zeros);
            if is_end || !is_all {
                return Ok(());
            }
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Cause> {
        let skipped = io::copy(&mut self.take(bytes), &mut io::sink()).map_err(unreadable)?;
        if skipped == bytes { Ok(()) } else { Err(damaged("it ends within a file")) }
    }

    fn text(&mut self, bytes: usize, bytes_max: usize) -> Result<Vec<u8>, Cause> {
        if bytes > bytes_max {
            return Err(damaged(&format!("a name of more than {bytes_max} bytes")));
        }
        let mut text = vec![0; bytes];
        self.read_exact(&mut text).map_err(unreadable)?;
        Ok(text)
    }

    fn take(&mut self, bytes: u64) -> io::Take<&mut Self> {
        Read::take(self, bytes)
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let known = self.fill_buf()?;
        let bytes = known.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&known[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len() {
            self.more()?;
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
        self.read += bytes as u64;
    }
}

struct Summed<R> {
    reader: R,
    sum: u32,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(buffer)?;
        for byte in &buffer[..bytes] {
            self.sum = self.sum.wrapping_add((*byte).into());
        }
        Ok(bytes)
    }
}

/// Up to the next four bytes.
fn padding(bytes: usize) -> u64 {
    (bytes.next_multiple_of(4) - bytes) as u64
}

fn damaged(why: &str) -> Cause {
    Cause::Damaged(WHAT, why.to_owned())
}

fn unreadable(error: io::Error) -> Cause {
    damaged(&error.to_string())
}

const WHAT: &str = "cpio archive";
const MAGIC_BYTES: usize = 6;
const FIELDS: usize = 13;
const HEADER_BYTES: usize = MAGIC_BYTES + FIELDS * 8;
const TRAILER: &[u8] = b"TRAILER!!!";
/// Of `st_mode`.
const KIND_BITS: u32 = 0o170_000;
const BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::super::source::tests::{bzip2, gzip, lz4, xz, zstd};
    use super::*;
    use crate::io::test_folder::TestFolder;

    /// Name, mode, inode, number of names, content; with the device 1, 3.
    type Entry<'a> = (&'a str, u32, u32, u32, &'a [u8]);

    type Pack = fn(&[u8]) -> Vec<u8>;

    fn cpio(magic: &str, entries: &[Entry<'_>]) -> Vec<u8> {
        let mut archive = Vec::new();
        let trailer: Entry<'_> = ("TRAILER!!!", 0, 0, 1, b"");
        for (name, mode, inode, names, content) in entries.iter().chain([&trailer]) {
            let sum = content.iter().map(|byte| u32::from(*byte)).sum::<u32>();
            let sum = if magic == "070702" { sum } else { 0 };
            archive.extend(magic.as_bytes());
            let (bytes, name_bytes) = (content.len() as u32, name.len() as u32 + 1);
            let fields = [
                *inode,
                *mode,
                70_000,
                5,
                *names,
                1_000_000_000,
                bytes,
                8,
                1,
                1,
                3,
                name_bytes,
                sum,
            ];
            for field in fields {
                archive.extend(format!("{field:08x}").as_bytes());
            }
            for part in [[name.as_bytes(), b"\0"].concat().as_slice(), content] {
                archive.extend(part);
                archive.resize(archive.len().next_multiple_of(4), 0);
            }
        }
        archive
    }

    /// The files with their contents.
    fn files(archives: &[u8]) -> Result<Vec<(String, String)>, String> {
        let folder = TestFolder::new();
        let tree = tree(archives, &folder)?;
        let shown = |(path, node): (&String, &Node)| {
            let kind = match &node.kind {
                Kind::File { content, .. } => {
                    String::from_utf8_lossy(&fs::read(content).unwrap()).into_owned()
                }
                other => format!("{other:?}"),
            };
            (path.clone(), kind)
        };
        Ok(tree.iter().map(shown).collect())
    }

    fn tree(archives: &[u8], folder: &TestFolder) -> Result<Tree, String> {
        of_cpio(archives, folder.path(), |_| Ok(())).map_err(|cause| {
            super::super::error::ImageError::new(Path::new("x"), cause).to_string()
        })
    }

    #[test]
    fn what_gnu_cpio_writes_is_what_it_read() {
        let folder = TestFolder::new();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("etc/deep")).unwrap();
        fs::write(top.join("etc/deep/motd"), "hello").unwrap();
        fs::hard_link(top.join("etc/deep/motd"), top.join("a")).unwrap();
        fs::write(top.join("empty"), "").unwrap();
        std::os::unix::fs::symlink("etc/deep", top.join("link")).unwrap();
        for form in ["newc", "crc"] {
            let mut cpio = Command::new("cpio")
                .args(["--quiet", "-o", "-H", form])
                .current_dir(&top)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let names = ".\na\nempty\netc\netc/deep\netc/deep/motd\nlink\n";
            cpio.stdin.take().unwrap().write_all(names.as_bytes()).unwrap();
            let archive = cpio.wait_with_output().unwrap().stdout;
            let work = TestFolder::new();
            let tree = tree(&archive, &work).unwrap();
            let names: Vec<&str> = tree.keys().map(String::as_str).collect();
            assert_eq!(names, ["", "a", "empty", "etc", "etc/deep", "etc/deep/motd", "link"]);
            let Kind::File { content, bytes: 5 } = &tree["a"].kind else { panic!("{tree:?}") };
            assert_eq!(fs::read(content).unwrap(), b"hello");
            assert_eq!(tree["etc/deep/motd"].kind, Kind::Same("a".into()));
            assert_eq!(tree["link"].kind, Kind::Link("etc/deep".into()));
        }
    }

    #[test]
    fn archives_stand_behind_each_other_packed_or_not() {
        let one = cpio("070701", &[("a", 0o100_644, 1, 1, b"1"), ("lib", 0o120_777, 2, 1, b"usr")]);
        let two = cpio("070702", &[("lib/b", 0o100_644, 1, 1, b"2"), ("a", 0o100_600, 2, 1, b"3")]);
        let expected: Vec<(String, String)> =
            [("a", "3"), ("lib", "Link(\"usr\")"), ("usr/b", "2")]
                .map(|(path, kind)| (path.to_owned(), kind.to_owned()))
                .to_vec();
        let zeros = vec![0; 512];
        assert_eq!(files(&[one.clone(), two.clone()].concat()).unwrap(), expected);
        let packers: [Pack; 5] = [gzip, bzip2, xz, zstd, lz4];
        for (program, pack) in ["gzip", "bzip2", "xz", "zstd", "lz4"].into_iter().zip(packers) {
            let (first, second) = (pack(&one), pack(&two));
            for archives in [
                [&one[..], &zeros, &second].concat(),
                [&one[..], &second, &zeros].concat(),
                [&first[..], &zeros, &two].concat(),
                [&first[..], &second].concat(),
                pack(&[&one[..], &zeros, &two].concat()),
            ] {
                assert_eq!(files(&archives).as_ref(), Ok(&expected), "{program}");
            }
        }
    }

    #[test]
    fn names_of_one_file_and_devices() {
        let folder = TestFolder::new();
        let archive = cpio(
            "070701",
            &[
                ("./bin/box", 0o104_755, 7, 3, b""),
                ("bin/sh", 0o104_755, 7, 3, b""),
                ("/bin/ls", 0o104_755, 7, 3, b"program"),
                ("dev/null", 0o020_666, 8, 2, b""),
                ("dev/null2", 0o020_666, 8, 2, b""),
                ("dev/sda", 0o060_660, 9, 1, b""),
                ("run/pipe", 0o010_600, 10, 1, b""),
                ("run/socket", 0o140_600, 11, 1, b""),
            ],
        );
        let tree = tree(&archive, &folder).unwrap();
        let Kind::File { content, bytes: 7 } = &tree["bin/box"].kind else { panic!("{tree:?}") };
        assert_eq!(fs::read(content).unwrap(), b"program");
        let node = &tree["bin/box"];
        assert_eq!((node.mode, node.uid, node.gid, node.mtime), (0o4755, 70_000, 5, 1_000_000_000));
        for other in ["bin/sh", "bin/ls"] {
            assert_eq!(tree[other].kind, Kind::Same("bin/box".into()));
        }
        for null in ["dev/null", "dev/null2"] {
            assert_eq!(tree[null].kind, Kind::Device { is_block: false, major: 1, minor: 3 });
        }
        assert_eq!(tree["dev/sda"].kind, Kind::Device { is_block: true, major: 1, minor: 3 });
        assert_eq!(tree["run/pipe"].kind, Kind::Pipe);
        assert!(!tree.contains_key("run/socket"));
        // A file that comes again takes its own name only.
        let again = cpio(
            "070701",
            &[
                ("a", 0o100_644, 1, 2, b"old"),
                ("b", 0o100_644, 1, 2, b""),
                ("a", 0o100_644, 2, 1, b"new"),
            ],
        );
        let expected = [("a".to_owned(), "new".to_owned()), ("b".to_owned(), "old".to_owned())];
        assert_eq!(files(&again).unwrap(), expected);
    }

    #[test]
    fn hostile_archives_are_errors() {
        let good = cpio("070701", &[("a", 0o100_644, 1, 1, b"content")]);
        let mut sum = cpio("070702", &[("a", 0o100_644, 1, 1, b"content")]);
        sum[112] ^= 1;
        let with = |at: usize, text: &str| {
            let mut archive = good.clone();
            archive[at..at + text.len()].copy_from_slice(text.as_bytes());
            archive
        };
        for (archive, expected) in [
            (cpio("070701", &[("../x", 0o100_644, 1, 1, b"")]), "outside of the root file system"),
            (cpio("070701", &[("a\nb", 0o100_644, 1, 1, b"")]), "has control characters"),
            (cpio("070707", &[]), "make it with cpio -o -H newc"),
            (cpio("070703", &[]), "a file's header is missing"),
            (cpio("070701", &[]), "is empty"),
            (cpio("070701", &[("a", 0o150_000, 1, 1, b"")]), "a is of no kind"),
            (cpio("070701", &[("a", 0o120_000, 1, 1, &[b'a'; 3000])]), "more than 2048 bytes"),
            (good[..good.len() - 100].to_vec(), "failed to fill whole buffer"),
            (good[..115].to_vec(), "it ends within a"),
            (sum, "the check value of a is wrong"),
            (with(6, "xyzxyzxy"), "has no digits"),
            (with(94, "00000000"), "a file has no name"),
            (with(94, "ffffffff"), "a name of more than"),
            (with(54, "ffffffff"), "it ends within a"),
            ([&good[..], b"rubbish"].concat(), "something else follows"),
            ([&good[..], &gzip(b"rubbish")].concat(), "is no cpio archive"),
            ([&good[..], &gzip(&good)[..40]].concat(), "cut short cpio archive"),
        ] {
            let error = files(&archive).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        // Every byte of it is looked at, and every cut.
        for at in 0..good.len() {
            let _ = files(&good[..at]);
            for bit in [1, 0x10, 0x80] {
                let mut archive = good.clone();
                archive[at] ^= bit;
                let _ = files(&archive);
            }
        }
    }
}
