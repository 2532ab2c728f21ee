//! From whatever a job or a person names to an image of the store: [`Images::take`].
//!
//! A file, a folder, a tar archive, files for a boot partition, or one partition of a disk image become raw bytes once;
//! as long as the source does not change, the image is found again without reading it.

use std::fs::{self, File, Metadata};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};

use super::bmap::BlockMap;
use super::cache::{CachedImage, DOWNLOADS, Images, NewImage, Origin};
use super::disk;
use super::error::{Cause, ImageError};
use super::ext4::{self, Ext4};
use super::fetch::{self, Fetched, Validators};
use super::source::{Piece, Source};
use super::tree::{self, Kind, Node, Tree};
use crate::store::hexadecimal;

/// An image to be taken into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSource {
    /// Where it is.
    pub from: ImageFrom,
    /// Its SHA-256: of the file as it lies there, or of the unpacked image. One of both must be it.
    pub sha256: Option<[u8; 32]>,
    /// Its block map; without it the one that lies beside a file, if there is one.
    pub bmap: Option<PathBuf>,
    /// The partition that it is for: `testboot`, `testrootfs`.
    pub role: String,
    /// Which partition of a disk image that is, where names do not tell.
    pub partition: Option<u32>,
    /// Whether it must be a disk image: one without partitions is refused.
    pub is_disk: bool,
    /// The size of a file system that is made of files.
    pub file_system_bytes: Option<u64>,
    /// No time in such a file system is later, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<u64>,
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFrom {
    /// A file or block device with an image, packed or not; a tar archive; or a folder.
    Path(PathBuf),
    /// The same on a server: `http://…` or `https://…`.
    Url(String),
    /// Files for the top of a new file system.
    Files(Vec<NewFile>),
}

/// A file for a new file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its name there.
    pub name: String,
    /// Where its content lies.
    pub content: PathBuf,
    /// When it was changed, in seconds since 1970.
    pub mtime: u64,
    /// Where it came from, for people.
    pub from: String,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done.
    pub phase: Phase,
    /// Bytes read so far.
    pub done: u64,
    /// Of so many, where that is known.
    pub total: Option<u64>,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A file comes from its server.
    Download,
    /// A file's digest is computed.
    Check,
    /// An image is read and unpacked.
    Unpack,
    /// A file system is made of files.
    Make,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Download => "download",
            Self::Check => "check",
            Self::Unpack => "unpack",
            Self::Make => "make",
        })
    }
}

/// Called every now and then; `Break` cancels.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

impl ImageSource {
    /// The image at a path, for a partition.
    pub fn of_path(path: &Path, role: &str) -> Self {
        Self::new(ImageFrom::Path(path.to_owned()), role)
    }

    /// The image that a text names: a URL or a path.
    pub fn of_text(text: &str, role: &str) -> Self {
        let from = if fetch::is_url(text) {
            ImageFrom::Url(text.to_owned())
        } else {
            ImageFrom::Path(text.into())
        };
        Self::new(from, role)
    }

    /// The same for any place.
    pub fn new(from: ImageFrom, role: &str) -> Self {
        Self {
            from,
            sha256: None,
            bmap: None,
            role: role.to_owned(),
            partition: None,
            is_disk: false,
            file_system_bytes: None,
            epoch: None,
        }
    }

    /// What a person calls it.
    pub fn name(&self) -> String {
        match &self.from {
            ImageFrom::Path(path) => path.display().to_string(),
            ImageFrom::Url(url) => url.to_string(),
            ImageFrom::Files(_) => self.role.clone(),
        }
    }

    fn ext4(&self) -> Ext4 {
        Ext4 {
            label: self.role.clone(),
            bytes: self.file_system_bytes,
            is_root: !matches!(self.from, ImageFrom::Files(_)),
            epoch: self.epoch,
        }
    }
}

impl Images {
    /// The image, from the store if it is there, else made first. Of a disk image only the partition for the role.
    ///
    /// # Errors
    /// The source cannot be read or used, its digest is another, it has no such partition, the store has no room, or
    /// `progress` breaks off.
    pub fn take(
        &self,
        source: &ImageSource,
        progress: OnProgress<'_>,
    ) -> Result<CachedImage, ImageError> {
        self.take_if_there(source, false, progress)?
            .ok_or_else(|| ImageError::new(Path::new(&source.role), Cause::Stopped))
    }

    /// The same as [`Images::take`]; with `is_optional` nothing, if it is a disk image on which no partition has the role's name.
    ///
    /// # Errors
    /// As for [`Images::take`].
    pub fn take_if_there(
        &self,
        source: &ImageSource,
        is_optional: bool,
        progress: OnProgress<'_>,
    ) -> Result<Option<CachedImage>, ImageError> {
        let mut taking = Taking { images: self, source, progress };
        let (image, name) = match &source.from {
            ImageFrom::Files(files) => (taking.files(files)?, PathBuf::from(&source.role)),
            ImageFrom::Path(path) => (taking.path(path)?, path.clone()),
            ImageFrom::Url(url) => (taking.url(url)?, PathBuf::from(fetch::shown(url))),
        };
        taking.part(image, &name, is_optional)
    }
}

struct Taking<'a> {
    images: &'a Images,
    source: &'a ImageSource,
    progress: OnProgress<'a>,
}

impl Taking<'_> {
    fn url(&mut self, url: &str) -> Result<CachedImage, ImageError> {
        let from = fetch::shown(url);
        // It may hold a password.
        let key = format!("url {}", hexadecimal(&Sha256::digest(url)));
        let ext4 = format!("{key} {:?}", self.source.ext4());
        let known = self.images.find(|origin| origin.key == key || origin.key == ext4)?;
        let validators = known.as_ref().and_then(|image| {
            let origin = image.origins().iter().find(|origin| origin.key.starts_with(&key))?;
            let (etag, last_modified) = (origin.etag.clone(), origin.last_modified.clone());
            Some(Validators { etag, last_modified })
        });
        if let Some(image) = known {
            // What a digest names needs no server.
            if self.source.sha256.is_some() && self.fits(&image, &key) {
                return Ok(image);
            }
            // Another one is asked for: the file is needed to tell what it holds now.
            if self.source.sha256.is_none()
                && let Fetched::Unchanged = self.ask(url, validators.as_ref())?.0
            {
                return Ok(image);
            }
        }
        let (fetched, name) = self.ask(url, None)?;
        let Fetched::File(download) = fetched else {
            let cause = Cause::Said(format!("failed to download {from}: the server sends nothing"));
            return Err(ImageError::new(&name, cause));
        };
        let result = self.downloaded(&download.path, &from, &key, download.validators.clone());
        // What was wrong with it is wrong the next time too.
        download.done();
        result
    }

    fn ask(
        &mut self,
        url: &str,
        known: Option<&Validators>,
    ) -> Result<(Fetched, PathBuf), ImageError> {
        let name = PathBuf::from(fetch::shown(url));
        let images = self.images;
        let mut progress =
            |done, total| (self.progress)(Progress { phase: Phase::Download, done, total });
        let folder = images.folder().join(DOWNLOADS);
        let fetched = fetch::fetch(url, &folder, known, &mut progress, &|| images.make_room())?;
        Ok((fetched, name))
    }

    fn downloaded(
        &mut self,
        path: &Path,
        from: &str,
        key: &str,
        validators: Validators,
    ) -> Result<CachedImage, ImageError> {
        let map = self.source.bmap.as_deref().map(BlockMap::load).transpose()?;
        let source = Source::open_mapped(path, map).map_err(|error| error.at(from))?;
        let file_sha256 = self.file_digest(path)?;
        let Validators { etag, last_modified } = validators;
        let origin = Origin {
            from: from.to_owned(),
            key: key.to_owned(),
            file_sha256: file_sha256.map(|digest| hexadecimal(&digest)),
            etag,
            last_modified,
            ..Origin::default()
        };
        self.unpack(source, Path::new(from), origin, file_sha256).map_err(|error| error.at(from))
    }

    fn path(&mut self, path: &Path) -> Result<CachedImage, ImageError> {
        let failed = |error| ImageError::new(path, Cause::Open(error));
        let metadata = fs::metadata(path).map_err(failed)?;
        let place = path.canonicalize().map_err(failed)?;
        if metadata.is_dir() {
            if self.source.sha256.is_some() {
                let cause =
                    Cause::unusable("it is a folder, which has no SHA-256", "remove sha256");
                return Err(ImageError::new(path, cause));
            }
            let tree = tree::of_folder(&place)?;
            let key = self.key_of_tree(&tree)?;
            let from = place.display().to_string();
            return self.file_system(&tree, Origin { from, key, ..Origin::default() });
        }
        let map = self.source.bmap.clone().or_else(|| BlockMap::beside(&place));
        let mut key = format!("file {} {}", place.display(), stamp(&metadata));
        if let Some(map) = &map {
            let metadata =
                fs::metadata(map).map_err(|error| ImageError::new(map, Cause::Open(error)))?;
            key += &format!(" map {} {}", map.display(), stamp(&metadata));
        }
        // A block device changes without telling.
        if metadata.is_file() {
            let ext4 = format!("{key} {:?}", self.source.ext4());
            let same = |origin: &Origin| origin.key == key || origin.key == ext4;
            if let Some(image) = self.images.find(same)?
                && self.fits(&image, &key)
            {
                return Ok(image);
            }
        }
        let map = map.map(|map| BlockMap::load(&map)).transpose()?;
        let source = Source::open_mapped(path, map)?;
        let file_sha256 = self.file_digest(path)?;
        let origin = Origin {
            from: place.display().to_string(),
            key,
            file_sha256: file_sha256.map(|digest| hexadecimal(&digest)),
            ..Origin::default()
        };
        self.unpack(source, path, origin, file_sha256)
    }

    fn unpack(
        &mut self,
        source: Source,
        path: &Path,
        mut origin: Origin,
        file_sha256: Option<[u8; 32]>,
    ) -> Result<CachedImage, ImageError> {
        if source.is_tarball() {
            origin.key = format!("{} {:?}", origin.key, self.source.ext4());
            return self.tarball(source, path, origin, file_sha256);
        }
        let mut image = self.images.begin()?;
        self.copy(source, &mut image)?;
        image.finish(origin, |sha256| self.check(path, file_sha256, sha256))
    }

    /// Whether a digest that is asked for is one that the image had when it was taken.
    fn fits(&self, image: &CachedImage, key: &str) -> bool {
        let Some(wanted) = &self.source.sha256 else { return true };
        let digits = hexadecimal(wanted);
        let is_file = |origin: &Origin| {
            origin.key.starts_with(key) && origin.file_sha256.as_deref() == Some(&digits)
        };
        image.sha256 == *wanted || image.origins().iter().any(is_file)
    }

    fn check(
        &self,
        path: &Path,
        file: Option<[u8; 32]>,
        image: &[u8; 32],
    ) -> Result<(), ImageError> {
        let Some(wanted) = &self.source.sha256 else { return Ok(()) };
        if image == wanted || file.as_ref() == Some(wanted) {
            return Ok(());
        }
        let mut found = hexadecimal(image);
        if let Some(file) = file.filter(|file| file != image) {
            found = format!("{} as a file, {found} unpacked,", hexadecimal(&file));
        }
        Err(ImageError::new(path, Cause::Digest { expected: hexadecimal(wanted), found }))
    }

    /// The digest of the file as it lies there, where a digest is asked for.
    fn file_digest(&mut self, path: &Path) -> Result<Option<[u8; 32]>, ImageError> {
        if self.source.sha256.is_none() {
            return Ok(None);
        }
        let failed = |error| ImageError::new(path, Cause::Read(error));
        let file = File::open(path).map_err(failed)?;
        let total = file.metadata().ok().map(|metadata| metadata.len());
        let (mut hash, mut at, mut buffer) = (Sha256::new(), 0, vec![0; READ_BYTES]);
        loop {
            self.tell(Phase::Check, at, total, path)?;
            match file.read_at(&mut buffer, at) {
                Ok(0) => return Ok(Some(hash.finalize().into())),
                Ok(bytes) => {
                    hash.update(&buffer[..bytes]);
                    at += bytes as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn copy(&mut self, mut source: Source, image: &mut NewImage) -> Result<(), ImageError> {
        let (total, read) = source.file_progress();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let done = read.load(Ordering::Relaxed);
            self.tell(Phase::Unpack, done, Some(total), Path::new(&self.source.role))?;
            match source.read(&mut buffer)? {
                Piece::End => return Ok(()),
                Piece::Data(bytes) => image.data(&buffer[..bytes])?,
                Piece::Hole(bytes) => {
                    let mut left = bytes;
                    while left > 0 {
                        let now = left.min(HOLE_BYTES);
                        image.hole(now)?;
                        left -= now;
                        self.tell(Phase::Unpack, done, Some(total), Path::new(&self.source.role))?;
                    }
                }
            }
        }
    }

    fn tarball(
        &mut self,
        source: Source,
        path: &Path,
        origin: Origin,
        file_sha256: Option<[u8; 32]>,
    ) -> Result<CachedImage, ImageError> {
        // The digest that can be known before anything is made of it.
        if let Some(wanted) = &self.source.sha256
            && file_sha256.as_ref() != Some(wanted)
        {
            let found = file_sha256.map(|digest| hexadecimal(&digest)).unwrap_or_default();
            return Err(ImageError::new(
                path,
                Cause::Digest { expected: hexadecimal(wanted), found },
            ));
        }
        let work = self.images.workspace()?;
        let (total, read) = source.file_progress();
        let mut checked = 0;
        let tree = tree::of_tar(source.into_stream(), &work.dir, |bytes| {
            let done = read.load(Ordering::Relaxed);
            self.tell(Phase::Unpack, done, Some(total), path).map_err(|_| Cause::Cancelled)?;
            if bytes - checked > ROOM_STEP_BYTES {
                checked = bytes;
                self.images.make_room().map_err(|error| Cause::Said(error.to_string()))?;
            }
            Ok(())
        });
        let tree = tree.map_err(|cause| ImageError::new(path, cause))?;
        self.file_system(&tree, origin)
    }

    fn files(&mut self, files: &[NewFile]) -> Result<CachedImage, ImageError> {
        let mut tree = Tree::new();
        for NewFile { name, content, mtime, .. } in files {
            let failed = |error| ImageError::new(content, Cause::Open(error));
            let bytes = fs::metadata(content).map_err(failed)?.len();
            let kind = Kind::File { content: content.clone(), bytes };
            tree.insert(name.clone(), Node { mtime: *mtime, ..Node::new(kind, 0o644) });
        }
        let key = self.key_of_tree(&tree)?;
        let from: Vec<&str> = files.iter().map(|file| file.from.as_str()).collect();
        self.file_system(&tree, Origin { from: from.join(" "), key, ..Origin::default() })
    }

    /// What stays the same as long as no file of the tree changes.
    fn key_of_tree(&self, tree: &Tree) -> Result<String, ImageError> {
        let mut hash = Sha256::new();
        for (path, node) in tree {
            hash.update(format!("{path:?} {node:?}\n"));
            if let Kind::File { content, .. } = &node.kind {
                let metadata = fs::metadata(content)
                    .map_err(|error| ImageError::new(content, Cause::Read(error)))?;
                hash.update(stamp(&metadata));
            }
        }
        Ok(format!("files {} {:?}", hexadecimal(&hash.finalize()), self.source.ext4()))
    }

    fn file_system(&mut self, tree: &Tree, origin: Origin) -> Result<CachedImage, ImageError> {
        // Of a URL the key says nothing about what it holds.
        let is_same = |known: &Origin| known.key == origin.key && known.etag == origin.etag;
        if !origin.key.starts_with("url ")
            && let Some(image) = self.images.find(is_same)?
            && self.fits(&image, &origin.key)
        {
            return Ok(image);
        }
        let name = PathBuf::from(&origin.from);
        self.tell(Phase::Make, 0, None, &name)?;
        let work = self.images.workspace()?;
        let place = work.dir.join("image");
        ext4::make(tree, &self.source.ext4(), &place, &work.dir)
            .map_err(|cause| ImageError::new(&name, cause))?;
        self.images.make_room()?;
        let mut image = self.images.begin()?;
        self.copy(Source::open(&place)?, &mut image)?;
        image.finish(origin, |_| Ok(()))
    }

    /// Of a disk the partition, as an image of its own; anything else as it is.
    fn part(
        &mut self,
        image: CachedImage,
        name: &Path,
        is_optional: bool,
    ) -> Result<Option<CachedImage>, ImageError> {
        let failed = |cause| ImageError::new(name, cause);
        let Some(partitions) = disk::partitions(&image.file, image.bytes).map_err(failed)? else {
            if self.source.partition.is_some() || self.source.is_disk {
                let mend = "give it as rootfs: or boot:, without partitions:";
                return Err(failed(Cause::unusable("it has no partitions", mend)));
            }
            return Ok(Some(image));
        };
        let role = &self.source.role;
        if is_optional && self.source.partition.is_none() && !disk::has(&partitions, role) {
            return Ok(None);
        }
        let part = disk::choose(&partitions, role, self.source.partition).map_err(failed)?;
        let key = format!("partition {} {:?}", hexadecimal(&image.sha256), part.bytes);
        if let Some(part) = self.images.find(|origin| origin.key == key)? {
            return Ok(Some(part));
        }
        let whole = Source::open(&image.dir.join(super::cache::IMAGE))?;
        let mut new = self.images.begin()?;
        let read = whole.part(part.bytes.clone());
        self.copy(read, &mut new)?;
        let from = format!("partition {} of {}", part.number, name.display());
        new.finish(Origin { from, key, ..Origin::default() }, |_| Ok(())).map(Some)
    }

    fn tell(
        &mut self,
        phase: Phase,
        done: u64,
        total: Option<u64>,
        path: &Path,
    ) -> Result<(), ImageError> {
        match (self.progress)(Progress { phase, done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ImageError::new(path, Cause::Cancelled)),
        }
    }
}

/// What changes when a file does.
pub(super) fn stamp(metadata: &Metadata) -> String {
    format!(
        "{} {}.{:09} {}.{:09} {}",
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.ino()
    )
}

pub(super) const READ_BYTES: usize = 256 * 1024;
const HOLE_BYTES: u64 = 64 << 20;
const ROOM_STEP_BYTES: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::cache::LIMIT_BYTES;
    use super::super::disk::tests::gpt_disk;
    use super::*;
    use crate::io::test_folder::TestFolder;

    struct Lab {
        folder: TestFolder,
        images: Images,
    }

    impl Lab {
        fn new() -> Self {
            let folder = TestFolder::new();
            let images = Images::open(&folder.path().join("store"), LIMIT_BYTES).unwrap();
            Self { folder, images }
        }

        fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        }

        fn source(&self, name: &str, role: &str) -> ImageSource {
            ImageSource::of_path(&self.folder.path().join(name), role)
        }

        /// The image's bytes, and whether they had to be unpacked.
        fn take(&self, source: &ImageSource) -> Result<(Vec<u8>, bool), String> {
            let mut unpacked = false;
            let mut progress = |progress: Progress| {
                unpacked |= progress.phase == Phase::Unpack;
                ControlFlow::Continue(())
            };
            let image =
                self.images.take(source, &mut progress).map_err(|error| error.to_string())?;
            let bytes = fs::read(image.dir.join("image.raw")).unwrap();
            assert_eq!(bytes.len() as u64, image.bytes);
            Ok((bytes, unpacked))
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn sha256(bytes: &[u8]) -> Option<[u8; 32]> {
        Some(Sha256::digest(bytes).into())
    }

    #[test]
    fn an_unchanged_file_is_unpacked_once() {
        let lab = Lab::new();
        lab.write("image.gz", &gzip(&[7; 10_000]));
        let source = lab.source("image.gz", "testrootfs");
        assert_eq!(lab.take(&source).unwrap(), (vec![7; 10_000], true));
        assert_eq!(lab.take(&source).unwrap(), (vec![7; 10_000], false));
        lab.write("image.gz", &gzip(&[8; 10_000]));
        assert_eq!(lab.take(&source).unwrap(), (vec![8; 10_000], true));
    }

    #[test]
    fn a_digest_is_of_the_file_or_of_the_image() {
        let lab = Lab::new();
        let packed = gzip(&[7; 10_000]);
        lab.write("image.gz", &packed);
        let mut source = lab.source("image.gz", "testrootfs");
        for good in [sha256(&packed), sha256(&[7; 10_000])] {
            source.sha256 = good;
            for _ in 0..2 {
                assert_eq!(lab.take(&source).unwrap().0, vec![7; 10_000]);
            }
        }
        source.sha256 = sha256(b"another");
        let error = lab.take(&source).unwrap_err();
        for digest in [sha256(&packed), sha256(&[7; 10_000]), sha256(b"another")] {
            assert!(error.contains(&hexadecimal(&digest.unwrap())), "{error}");
        }
        assert_eq!(lab.images.list().unwrap().len(), 1);
    }

    #[test]
    fn a_sparse_file_costs_what_it_holds() {
        let lab = Lab::new();
        let file = File::create(lab.folder.path().join("sparse")).unwrap();
        file.write_all_at(b"one", 70_000).unwrap();
        let mut image = vec![0; HOLE_BYTES as usize + 100_001];
        file.set_len(image.len() as u64).unwrap();
        image[70_000..70_003].copy_from_slice(b"one");
        let mut source = lab.source("sparse", "testrootfs");
        source.sha256 = sha256(&image);
        assert!(lab.take(&source).unwrap().0 == image);
        assert!(lab.images.list().unwrap()[0].disk_bytes < 100_000);
    }

    #[test]
    fn an_image_that_changes_while_it_is_taken_is_none() {
        let lab = Lab::new();
        let path = lab.write("image", &[7; 3_000_000]);
        let grow = |progress: Progress| {
            if progress.done > 0 {
                let mut file = File::options().append(true).open(&path).unwrap();
                file.write_all(b"more").unwrap();
            }
            ControlFlow::Continue(())
        };
        let source = lab.source("image", "testrootfs");
        let error = lab.images.take(&source, &mut { grow }).unwrap_err().to_string();
        assert!(error.ends_with("changed while it was read"), "{error}");
        assert!(lab.images.list().unwrap().is_empty());
    }

    #[test]
    fn a_disk_gives_the_partition_of_the_role() {
        let lab = Lab::new();
        let mut disk =
            gpt_disk(&[(64, 127, "testboot"), (128, 255, "testrootfs"), (256, 300, "x")]);
        disk[64 * 512..128 * 512].fill(1);
        disk[128 * 512..256 * 512].fill(2);
        lab.write("disk.gz", &gzip(&disk));
        let boot = lab.source("disk.gz", "testboot");
        assert_eq!(lab.take(&boot).unwrap().0, vec![1; 64 * 512]);
        let mut root = lab.source("disk.gz", "testrootfs");
        assert_eq!(lab.take(&root).unwrap().0, vec![2; 128 * 512]);
        assert_eq!(lab.take(&root).unwrap(), (vec![2; 128 * 512], false));
        root.partition = Some(3);
        assert_eq!(lab.take(&root).unwrap().0, vec![0; 45 * 512]);
        root.partition = Some(9);
        assert!(lab.take(&root).unwrap_err().contains("no partition with the number 9"));
        let mut seen = |_| ControlFlow::Continue(());
        let named = ImageSource { role: "other".into(), ..boot };
        assert!(lab.images.take_if_there(&named, true, &mut seen).unwrap().is_none());
        lab.write("plain", b"plain");
        let plain = ImageSource { partition: Some(1), ..lab.source("plain", "testrootfs") };
        assert!(lab.take(&plain).unwrap_err().contains("has no partitions"));
    }

    #[test]
    fn folders_archives_and_boot_files_become_file_systems() {
        let lab = Lab::new();
        let top = lab.folder.path().join("rootfs");
        fs::create_dir(&top).unwrap();
        fs::write(top.join("motd"), "hello").unwrap();
        let (folder, _) = lab.take(&lab.source("rootfs", "testrootfs")).unwrap();
        assert_eq!(folder[1080..1082], [0x53, 0xef]);
        assert!(!lab.take(&lab.source("rootfs", "testrootfs")).unwrap().1);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_path_with_name(top.join("motd"), "motd").unwrap();
        let archive = gzip(&builder.into_inner().unwrap());
        lab.write("rootfs.tar.gz", &archive);
        let mut source = lab.source("rootfs.tar.gz", "testrootfs");
        source.sha256 = sha256(&archive);
        assert_eq!(lab.take(&source).unwrap().0[1080..1082], [0x53, 0xef]);
        assert!(!lab.take(&source).unwrap().1);
        source.sha256 = sha256(b"another");
        assert!(lab.take(&source).unwrap_err().contains("SHA-256"));
        let kernel = vec![NewFile {
            name: "vmlinuz".into(),
            content: top.join("motd"),
            mtime: 1_000_000_000,
            from: "motd".into(),
        }];
        let (boot, _) = lab.take(&ImageSource::new(ImageFrom::Files(kernel), "testboot")).unwrap();
        assert_eq!(&boot[1144..1152], b"testboot");
    }

    #[test]
    fn a_url_is_downloaded_once() {
        use super::super::fetch::tests::{answer, server};
        let lab = Lab::new();
        let packed = gzip(&[7; 10_000]);
        let whole = format!("Content-Length: {}\r\nETag: \"a\"\r\n", packed.len());
        let (url, requests) = server(vec![
            answer("200 OK", &whole, &packed),
            answer("304 Not Modified", "", b""),
            answer("200 OK", &whole, &packed),
        ]);
        let mut source = ImageSource::of_text(&url, "testrootfs");
        assert_eq!(lab.take(&source).unwrap(), (vec![7; 10_000], true));
        assert_eq!(lab.take(&source).unwrap(), (vec![7; 10_000], false));
        source.sha256 = sha256(&[7; 10_000]);
        assert_eq!(lab.take(&source).unwrap(), (vec![7; 10_000], false), "no server is asked");
        source.sha256 = sha256(b"another");
        let error = lab.take(&source).unwrap_err();
        assert!(error.contains("SHA-256") && error.contains(&url), "{error}");
        assert_eq!(requests.iter().count(), 3);
        let left = fs::read_dir(lab.images.folder().join(DOWNLOADS)).unwrap().count();
        assert_eq!((left, lab.images.list().unwrap().len()), (0, 1));
    }

    #[test]
    fn a_break_leaves_nothing() {
        let lab = Lab::new();
        lab.write("image", &[7; 3_000_000]);
        let source = lab.source("image", "testrootfs");
        for taken in [0, 1, 2_000_000] {
            let mut stop = |progress: Progress| match progress.done < taken {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            };
            let error = lab.images.take(&source, &mut stop).unwrap_err();
            assert!(error.to_string().contains("cancelled"), "{error}");
            let names: Vec<_> = fs::read_dir(lab.images.folder()).unwrap().collect();
            assert_eq!(names.len(), 1, "the lock alone");
        }
    }
}
