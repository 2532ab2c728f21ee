//! From whatever a job or a person names to an image of the store: [`Images::take`].
//!
//! A file, a folder, an archive, files for a boot partition, or one partition of a disk image become raw bytes once;
//! as long as the source does not change, the image is found again without reading it.

use std::fs::{self, File, Metadata};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use sha2::{Digest, Sha256};

use super::bmap::BlockMap;
use super::cache::{CachedImage, DOWNLOADS, IMAGE, Images, NewImage, Origin, Workspace};
use super::cpio;
use super::digests::FileDigests;
use super::disk;
use super::error::{Cause, ImageError};
use super::ext4::{self, Ext4};
use super::fetch::{self, Fetched, Validators};
use super::material::Material;
use super::overlay::{Overlay, Overlays};
use super::source::{Archive, Piece, Source};
use super::tree::{self, Kind, Node, Tree};
use crate::store::hexadecimal;

/// An image to be taken into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSource {
    /// Where it is.
    pub from: ImageFrom,
    /// Its SHA-256: of the file as it lies there, or of the unpacked image. One of both must be it.
    pub sha256: Option<[u8; 32]>,
    /// Other digests, of the file as it lies there.
    pub digests: FileDigests,
    /// Its block map; without it the one that lies beside a file, if there is one.
    pub bmap: Option<PathBuf>,
    /// The partition that it is for: `testboot`, `testrootfs`.
    pub role: String,
    /// Which partition of a disk image that is, where names do not tell.
    pub partition: Option<u32>,
    /// Whether it must be a disk image: one without partitions is refused.
    pub is_disk: bool,
    /// Whether a disk image goes as it is, with its partition table.
    pub is_whole: bool,
    /// The size of a file system that is made of files.
    pub file_system_bytes: Option<u64>,
    /// No time in such a file system is later, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<u64>,
    /// What is laid over the files of a folder or an archive, in this order.
    pub overlays: Vec<Overlay>,
}

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFrom {
    /// A file or block device with an image, packed or not; a tar or cpio archive; or a folder.
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
            digests: FileDigests::default(),
            bmap: None,
            role: role.to_owned(),
            partition: None,
            is_disk: false,
            is_whole: false,
            file_system_bytes: None,
            epoch: None,
            overlays: Vec::new(),
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
        let overlays = Overlays::take(&source.overlays, self, progress)?;
        let mut taking = Taking { images: self, source, overlays, progress };
        let (image, name) = match &source.from {
            ImageFrom::Files(files) => (taking.files(files)?, PathBuf::from(&source.role)),
            ImageFrom::Path(path) => (taking.path(path)?, path.clone()),
            ImageFrom::Url(url) if !source.overlays.is_empty() || !source.digests.is_empty() => {
                (taking.kept_url(url)?, PathBuf::from(fetch::shown(url)))
            }
            ImageFrom::Url(url) => (taking.url(url)?, PathBuf::from(fetch::shown(url))),
        };
        taking.part(image, &name, is_optional)
    }
}

struct Taking<'a> {
    images: &'a Images,
    source: &'a ImageSource,
    overlays: Overlays,
    progress: OnProgress<'a>,
}

impl Taking<'_> {
    /// The file stays as it is in the store, because it is needed again: with other overlays, or for digests that are asked for.
    fn kept_url(&mut self, url: &str) -> Result<CachedImage, ImageError> {
        let from = fetch::shown(url);
        let is_image = self.source.overlays.is_empty();
        // That of an image may be of what is packed.
        let sha256 = self.source.sha256.filter(|_| !is_image);
        let material = Material { path: url.into(), sha256, digests: self.source.digests };
        let file = self.images.take_material(&material, &mut *self.progress)?;
        let key = format!("material {}", hexadecimal(&file.sha256));
        let made = self.key_of_made(&key);
        let same = |origin: &Origin| origin.key == made || (is_image && origin.key == key);
        if let Some(image) = self.images.find(same)?
            && self.fits(&image, &key)
        {
            return Ok(image);
        }
        let map = self.source.bmap.as_deref().map(BlockMap::load).transpose()?;
        let source = Source::open_mapped(&file.dir.join(IMAGE), map);
        let source = source.map_err(|error| error.at(&from))?;
        let file_sha256 = Some(hexadecimal(&file.sha256));
        let origin = Origin { from: from.clone(), key, file_sha256, ..Origin::default() };
        let made = self.unpack(source, Path::new(&from), origin, Some(file.sha256));
        made.map_err(|error| error.at(&from))
    }

    fn url(&mut self, url: &str) -> Result<CachedImage, ImageError> {
        let from = fetch::shown(url);
        // It may hold a password.
        let key = format!("url {}", hexadecimal(&Sha256::digest(url)));
        let made = self.key_of_made(&key);
        let known = self.images.find(|origin| origin.key == key || origin.key == made)?;
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
            if self.source.sha256.is_some() || !self.source.digests.is_empty() {
                let cause = Cause::unusable("it is a folder, which has no digest", "remove sha256");
                return Err(ImageError::new(path, cause));
            }
            let tree = tree::of_folder(&place)?;
            let key = self.key_of_tree(&tree)?;
            let from = place.display().to_string();
            return self.file_system(tree, Origin { from, key, ..Origin::default() });
        }
        self.source.digests.check(&place, path)?;
        let map = self.source.bmap.clone().or_else(|| BlockMap::beside(&place));
        let mut key = format!("file {} {}", place.display(), stamp(&metadata));
        if let Some(map) = &map {
            let metadata =
                fs::metadata(map).map_err(|error| ImageError::new(map, Cause::Open(error)))?;
            key += &format!(" map {} {}", map.display(), stamp(&metadata));
        }
        // A block device changes without telling.
        if metadata.is_file() {
            let made = self.key_of_made(&key);
            let is_image = self.source.overlays.is_empty();
            let same = |origin: &Origin| origin.key == made || (is_image && origin.key == key);
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
        if let Some(archive) = source.archive() {
            origin.key = self.key_of_made(&origin.key);
            return self.archive(archive, source, path, origin, file_sha256);
        }
        if !self.source.overlays.is_empty() {
            let cause = Cause::unusable(
                "it is an image, and files are laid over a folder or an archive only",
                "give as rootfs: what the image was made of, or leave modules: and overlays: out",
            );
            return Err(ImageError::new(path, cause));
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

    fn archive(
        &mut self,
        archive: Archive,
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
        let tree = self.files_of(archive, source, path, &work)?;
        self.file_system(tree, origin)
    }

    /// The files of an archive, unpacked into `work`.
    fn files_of(
        &mut self,
        archive: Archive,
        source: Source,
        path: &Path,
        work: &Workspace,
    ) -> Result<Tree, ImageError> {
        let (total, read) = source.file_progress();
        let mut checked = 0;
        let check = |bytes| {
            let done = read.load(Ordering::Relaxed);
            self.tell(Phase::Unpack, done, Some(total), path).map_err(|_| Cause::Cancelled)?;
            if bytes - checked > ROOM_STEP_BYTES {
                checked = bytes;
                self.images.make_room().map_err(|error| Cause::Said(error.to_string()))?;
            }
            Ok(())
        };
        let unpacked = source.into_archive()?;
        let tree = match archive {
            Archive::Tar => tree::of_tar(unpacked, &work.dir, check),
            Archive::Cpio => cpio::of_cpio(unpacked, &work.dir, check),
        };
        tree.map_err(|cause| ImageError::new(path, cause))
    }

    /// Lays the overlays over a tree; the folders that come out hold their contents.
    fn lay_over(&mut self, tree: &mut Tree) -> Result<Vec<Workspace>, ImageError> {
        let overlays = std::mem::take(&mut self.overlays);
        let mut works = Vec::new();
        overlays.lay(tree, |content, name| {
            let source =
                Source::open(content).map_err(|error| error.at(&name.to_string_lossy()))?;
            let Some(archive) = source.archive() else {
                let cause = Cause::unusable("it is no archive", "name it as file:");
                return Err(ImageError::new(name, cause));
            };
            let work = self.images.workspace()?;
            let over = self.files_of(archive, source, name, &work)?;
            works.push(work);
            Ok(over)
        })?;
        self.overlays = overlays;
        Ok(works)
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
        self.file_system(tree, Origin { from: from.join(" "), key, ..Origin::default() })
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
        Ok(self.key_of_made(&format!("files {}", hexadecimal(&hash.finalize()))))
    }

    /// The key of a file system that is made of what has a key.
    fn key_of_made(&self, key: &str) -> String {
        format!("{key} {:?}{}", self.source.ext4(), self.overlays.key)
    }

    fn file_system(&mut self, mut tree: Tree, origin: Origin) -> Result<CachedImage, ImageError> {
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
        let _contents = self.lay_over(&mut tree)?;
        let work = self.images.workspace()?;
        let place = work.dir.join("image");
        ext4::make(&tree, &self.source.ext4(), &place, &work.dir)
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
        if self.source.is_whole {
            return Ok(Some(image));
        }
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
        let whole = Source::open(&image.dir.join(IMAGE))?;
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

    fn debugfs(lab: &Lab, image: &[u8], command: &str) -> String {
        let place = lab.write("image.raw", image);
        let mut debugfs = ext4::tool("debugfs", "1");
        let output = debugfs.args(["-R", command]).arg(&place).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o600);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn overlays_are_laid_over_folders_and_archives() {
        let lab = Lab::new();
        let top = lab.folder.path().join("rootfs");
        fs::create_dir_all(top.join("usr/lib")).unwrap();
        fs::create_dir_all(top.join("opt")).unwrap();
        fs::write(top.join("motd"), "old").unwrap();
        std::os::unix::fs::symlink("usr/lib", top.join("lib")).unwrap();
        lab.write("base.tar", &tar_of(&[("motd", "old"), ("opt/x", "")]));
        lab.write("tool", b"#!");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
        fs::set_permissions(lab.folder.path().join("tool"), mode).unwrap();
        let modules = gzip(&tar_of(&[("lib/modules/6.1/a.ko", "module"), ("motd", "new")]));
        lab.write("modules.tgz", &modules);
        let overlay = |name: &str, is_archive, path: &str| Overlay {
            material: Material { path: lab.folder.path().join(name), ..Material::default() },
            is_archive,
            path: path.into(),
        };
        let overlays = vec![
            overlay("modules.tgz", true, "/"),
            overlay("tool", false, "/opt"),
            overlay("tool", false, "/new/folder/other"),
        ];
        for (name, module) in
            [("rootfs", "/usr/lib/modules/6.1/a.ko"), ("base.tar", "/lib/modules/6.1/a.ko")]
        {
            let plain = lab.source(name, "testrootfs");
            let (plain_image, _) = lab.take(&plain).unwrap();
            let source = ImageSource { overlays: overlays.clone(), ..plain.clone() };
            let (image, _) = lab.take(&source).unwrap();
            assert!(image != plain_image);
            assert_eq!(debugfs(&lab, &image, &format!("cat {module}")), "module");
            assert_eq!(debugfs(&lab, &image, "cat /motd"), "new");
            for tool in ["/opt/tool", "/new/folder/other"] {
                let stat = debugfs(&lab, &image, &format!("stat {tool}"));
                assert!(stat.contains("Mode:  04755") && stat.contains("Size: 2"), "{stat}");
            }
            // Both are found again, each by its own key.
            assert!(lab.take(&source).unwrap() == (image, false));
            assert!(lab.take(&plain).unwrap() == (plain_image, false));
        }
        let source = ImageSource { overlays, ..lab.source("rootfs", "testrootfs") };
        let (before, _) = lab.take(&source).unwrap();
        lab.write("modules.tgz", &gzip(&tar_of(&[("motd", "newer")])));
        let (after, _) = lab.take(&source).unwrap();
        assert!(before != after);
        assert_eq!(debugfs(&lab, &after, "cat /motd"), "newer");
    }

    #[test]
    fn what_cannot_be_laid_over_it() {
        let lab = Lab::new();
        lab.write("image", &[7; 10_000]);
        lab.write("base.tar", &tar_of(&[("etc/motd", "old")]));
        lab.write("a.tar", &tar_of(&[("a", "1")]));
        lab.write("etc.tar", &tar_of(&[("etc", "1")]));
        for (rootfs, over, is_archive, path, expected) in [
            ("image", "a.tar", true, "/", "it is an image, and files are laid over"),
            ("base.tar", "image", true, "/", "it is no archive: name it as file:"),
            ("base.tar", "etc.tar", true, "/", "its file etc would lie where a folder is"),
            ("base.tar", "none", true, "/", "is missing"),
            ("base.tar", "image", false, "/../x", "outside of the root file system"),
        ] {
            let material = Material { path: lab.folder.path().join(over), ..Material::default() };
            let overlays = vec![Overlay { material, is_archive, path: path.into() }];
            let source = ImageSource { overlays, ..lab.source(rootfs, "testrootfs") };
            let error = lab.take(&source).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn other_digests_are_of_the_file_as_it_lies_there() {
        use super::super::fetch::tests::{answer, server};
        let lab = Lab::new();
        let packed = gzip(&[7; 10_000]);
        lab.write("image.gz", &packed);
        let raw = vec![7; 10_000];
        let whole = format!("Content-Length: {}\r\nETag: \"a\"\r\n", raw.len());
        let unchanged = answer("304 Not Modified", "", b"");
        let (url, _requests) =
            server(vec![answer("200 OK", &whole, &raw), unchanged.clone(), unchanged]);
        for (plain, file) in [
            (lab.source("image.gz", "testrootfs"), &packed),
            (ImageSource::of_text(&url, "testrootfs"), &raw),
        ] {
            let good = FileDigests { md5: None, sha512: Some(sha2::Sha512::digest(file).into()) };
            let source =
                ImageSource { digests: good, sha256: sha256(&[7; 10_000]), ..plain.clone() };
            for _ in 0..2 {
                assert_eq!(lab.take(&source).unwrap().0, vec![7; 10_000]);
            }
            let digests = FileDigests { md5: Some([0; 16]), ..good };
            let error = lab.take(&ImageSource { digests, ..plain }).unwrap_err();
            assert!(error.contains("it has the MD5"), "{error}");
        }
    }

    #[test]
    fn an_archive_below_overlays_is_downloaded_once() {
        use super::super::fetch::tests::{answer, server};
        let lab = Lab::new();
        let archive = gzip(&tar_of(&[("motd", "old")]));
        let whole = format!("Content-Length: {}\r\nETag: \"a\"\r\n", archive.len());
        let unchanged = answer("304 Not Modified", "", b"");
        let (url, requests) =
            server(vec![answer("200 OK", &whole, &archive), unchanged.clone(), unchanged]);
        for content in ["one", "two", "two"] {
            lab.write("over.tar", &tar_of(&[("motd", content)]));
            let material =
                Material { path: lab.folder.path().join("over.tar"), ..Material::default() };
            let overlays = vec![Overlay { material, is_archive: true, path: "/".into() }];
            let source = ImageSource { overlays, ..ImageSource::of_text(&url, "testrootfs") };
            let (image, _) = lab.take(&source).unwrap();
            assert_eq!(debugfs(&lab, &image, "cat /motd"), content);
        }
        assert_eq!(requests.iter().count(), 3);
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
