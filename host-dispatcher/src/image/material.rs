//! Files that images are made of (kernels, device trees, archives that are laid over a root file system), and files for
//! boards: in the store as they lie there, packed or not.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::cache::{CachedImage, DOWNLOADS, IMAGE, Images, Origin};
use super::digests::FileDigests;
use super::error::{Cause, ImageError};
use super::fetch::{self, Fetched, Validators};
use super::take::{OnProgress, Phase, Progress, READ_BYTES, stamp};
use crate::store::hexadecimal;

/// A file that an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Material {
    /// Where it is: a path or a URL.
    pub path: PathBuf,
    /// Its SHA-256 as it lies there.
    pub sha256: Option<[u8; 32]>,
    /// Other digests of it.
    pub digests: FileDigests,
}

impl Material {
    /// The URL, if it is on a server.
    pub(super) fn url(&self) -> Option<&str> {
        self.path.to_str().filter(|text| fetch::is_url(text))
    }

    /// What a person calls it.
    pub fn name(&self) -> PathBuf {
        self.url().map_or_else(|| self.path.clone(), |url| fetch::shown(url).into())
    }
}

impl Images {
    /// A file as it is, packed or not: nothing is unpacked, and nothing looked for in it.
    ///
    /// # Errors
    /// The file cannot be read or is empty, the store has no room, or `progress` breaks off.
    pub fn take_file(
        &self,
        path: &Path,
        progress: OnProgress<'_>,
    ) -> Result<CachedImage, ImageError> {
        self.copied(path, None, "as it is", false, progress)
    }

    /// A file that an image is made of, from this host or a server.
    ///
    /// # Errors
    /// It cannot be had or is empty, its digest is another, the store has no room, or `progress` breaks off.
    pub fn take_material(
        &self,
        material: &Material,
        progress: OnProgress<'_>,
    ) -> Result<CachedImage, ImageError> {
        let taken = match material.url() {
            Some(url) => self.downloaded(url, material.sha256, progress),
            None => self.copied(&material.path, material.sha256, "material", true, progress),
        }?;
        material.digests.check(&taken.dir.join(IMAGE), &material.name())?;
        Ok(taken)
    }

    fn copied(
        &self,
        path: &Path,
        sha256: Option<[u8; 32]>,
        kind: &str,
        is_material: bool,
        progress: OnProgress<'_>,
    ) -> Result<CachedImage, ImageError> {
        let failed = |error| ImageError::new(path, Cause::Open(error));
        let metadata = fs::metadata(path).map_err(failed)?;
        // Not opened before it is known to be one: the open of a FIFO waits.
        if !metadata.is_file() {
            return Err(ImageError::new(path, Cause::NoFile));
        }
        let place = path.canonicalize().map_err(failed)?;
        let key = format!("{kind} {} {}", place.display(), stamp(&metadata));
        if let Some(image) = self.find(|origin| origin.key == key)? {
            check(path, sha256, &image.sha256)?;
            return Ok(image);
        }
        let from = place.display().to_string();
        let origin = Origin { from, key, is_material, ..Origin::default() };
        self.copy_in(path, path, sha256, origin, progress)
    }

    fn downloaded(
        &self,
        url: &str,
        sha256: Option<[u8; 32]>,
        progress: OnProgress<'_>,
    ) -> Result<CachedImage, ImageError> {
        // What a digest names needs no server, wherever it came from.
        if let Some(wanted) = &sha256
            && let Some(image) = self.get(wanted)?
        {
            return Ok(image);
        }
        let name = PathBuf::from(fetch::shown(url));
        // It may hold a password.
        let key = format!("material url {}", hexadecimal(&Sha256::digest(url)));
        let known = self.find(|origin| origin.key == key)?.filter(|_| sha256.is_none());
        let validators = known.as_ref().and_then(|image| {
            let origin = image.origins().iter().find(|origin| origin.key == key)?;
            let (etag, last_modified) = (origin.etag.clone(), origin.last_modified.clone());
            Some(Validators { etag, last_modified })
        });
        let folder = self.folder().join(DOWNLOADS);
        let mut told = |done, total| progress(Progress { phase: Phase::Download, done, total });
        let room = || self.make_room();
        let fetched = fetch::fetch(url, &folder, validators.as_ref(), &mut told, &room)?;
        let download = match (fetched, known) {
            (Fetched::File(download), _) => download,
            (Fetched::Unchanged, Some(image)) => return Ok(image),
            (Fetched::Unchanged, None) => {
                let why = format!("failed to download {}: it sends nothing", name.display());
                return Err(ImageError::new(&name, Cause::Said(why)));
            }
        };
        let Validators { etag, last_modified } = download.validators.clone();
        let from = name.display().to_string();
        let origin =
            Origin { from, key, etag, last_modified, is_material: true, ..Origin::default() };
        let taken = self.copy_in(&download.path, &name, sha256, origin, progress);
        // What was wrong with it is wrong the next time too.
        download.done();
        taken
    }

    fn copy_in(
        &self,
        path: &Path,
        name: &Path,
        sha256: Option<[u8; 32]>,
        origin: Origin,
        progress: OnProgress<'_>,
    ) -> Result<CachedImage, ImageError> {
        let failed = |cause| ImageError::new(name, cause);
        let mut file = File::open(path).map_err(|error| failed(Cause::Open(error)))?;
        let before = file.metadata().map_err(|error| failed(Cause::Open(error)))?;
        let mut image = self.begin()?;
        let (mut buffer, mut done) = (vec![0; READ_BYTES], 0);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(bytes) => {
                    image.data(&buffer[..bytes])?;
                    done += bytes as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(Cause::Read(error))),
            }
            let total = Some(before.len());
            if progress(Progress { phase: Phase::Unpack, done, total }) == ControlFlow::Break(()) {
                return Err(failed(Cause::Cancelled));
            }
        }
        let now = fs::metadata(path).map_err(|error| failed(Cause::Open(error)))?;
        if stamp(&now) != stamp(&before) {
            return Err(failed(Cause::Changed));
        }
        image.finish(origin, |found| check(name, sha256, found))
    }
}

fn check(name: &Path, wanted: Option<[u8; 32]>, found: &[u8; 32]) -> Result<(), ImageError> {
    let Some(wanted) = wanted.filter(|wanted| wanted != found) else { return Ok(()) };
    let (expected, found) = (hexadecimal(&wanted), hexadecimal(found));
    Err(ImageError::new(name, Cause::Digest { expected, found }))
}

#[cfg(test)]
mod tests {
    use super::super::cache::LIMIT_BYTES;
    use super::super::fetch::tests::{answer, server};
    use super::*;
    use crate::io::test_folder::TestFolder;

    fn take(images: &Images, path: &Path, sha256: Option<[u8; 32]>) -> Result<Vec<u8>, String> {
        let material = Material { path: path.to_owned(), sha256, ..Material::default() };
        let image = images.take_material(&material, &mut |_| ControlFlow::Continue(()));
        image.map(|image| fs::read(image.dir.join(IMAGE)).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_is_kept_as_it_is_and_is_no_image() {
        let folder = TestFolder::new();
        let images = Images::open(&folder.path().join("store"), LIMIT_BYTES).unwrap();
        let path = folder.path().join("a.gz");
        fs::write(&path, b"\x1f\x8bnot unpacked").unwrap();
        let good = Some(Sha256::digest(b"\x1f\x8bnot unpacked").into());
        for sha256 in [None, good] {
            assert_eq!(take(&images, &path, sha256).unwrap(), b"\x1f\x8bnot unpacked");
        }
        let error = take(&images, &path, Some([0; 32])).unwrap_err();
        assert!(error.contains("SHA-256") && error.contains("a.gz"), "{error}");
        let entries = images.list().unwrap();
        assert!(entries.len() == 1 && entries[0].is_material, "{entries:?}");
        // The same bytes for a board: from now on they are an image.
        images.take_file(&path, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(!images.list().unwrap()[0].is_material);
        assert!(take(&images, folder.path(), None).unwrap_err().contains("neither a file"));
    }

    #[test]
    fn a_url_is_downloaded_when_it_changed() {
        let folder = TestFolder::new();
        let images = Images::open(folder.path(), LIMIT_BYTES).unwrap();
        let (url, requests) = server(vec![
            answer("200 OK", "Content-Length: 4\r\nETag: \"a\"\r\n", b"on"),
            answer(
                "206 Partial Content",
                "Content-Length: 2\r\nContent-Range: bytes 2-3/4\r\nETag: \"a\"\r\n",
                b"ce",
            ),
            answer("304 Not Modified", "", b""),
            answer("200 OK", "Content-Length: 3\r\nETag: \"b\"\r\n", b"two"),
            answer("200 OK", "Content-Length: 3\r\n", b"bad"),
        ]);
        let path = PathBuf::from(&url);
        for expected in [&b"once"[..], b"once", b"two"] {
            assert_eq!(take(&images, &path, None).unwrap(), expected);
        }
        let once = Some(Sha256::digest(b"once").into());
        assert_eq!(take(&images, &path, once).unwrap(), b"once", "no server is asked");
        let error = take(&images, &path, Some([0; 32])).unwrap_err();
        assert!(error.contains("SHA-256") && error.contains(&url), "{error}");
        let requests: Vec<_> = requests.iter().collect();
        assert_eq!(requests.len(), 5);
        assert!(requests[1].contains("range: bytes=2-"), "{}", requests[1]);
        assert!(requests[2].contains("if-none-match: \"a\""), "{}", requests[2]);
        assert!(!requests[4].contains("if-none-match"), "{}", requests[4]);
    }
}
