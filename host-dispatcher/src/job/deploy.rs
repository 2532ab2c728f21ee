//! What a job deploys: `deploy:` of a job file.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::value::shorten;
use crate::config::yaml::{FileError, Place, Spanned, place};
use crate::image::digests::FileDigests;
use crate::image::fetch::is_url;

/// The images to deploy; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deploy {
    /// The image of the partition `testrootfs`.
    pub rootfs: Option<Image>,
    /// The image of the partition `testboot`.
    pub boot: Option<Image>,
    /// A kernel to boot instead of the image's own; never together with `boot`.
    pub kernel: Option<Image>,
    /// Its initial ramdisk.
    pub ramdisk: Option<Image>,
    /// Its device tree.
    pub dtb: Option<Image>,
    /// An image of a whole disk, in the place of `rootfs` and `boot`.
    pub disk: Option<Image>,
    /// Which of its partitions is for `testboot` and which for `testrootfs`, where names do not tell.
    pub partitions: DiskPartitions,
    /// The block map of `rootfs` or of `disk`, where it does not lie beside it.
    pub bmap: Option<PathBuf>,
    /// The size in bytes of the file system that a folder or an archive becomes.
    pub rootfs_size: Option<u64>,
    /// What is laid over the files of `rootfs`, in this order: modules first.
    pub overlays: Vec<DeployOverlay>,
}

/// An archive or a file that is laid over the root file system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployOverlay {
    /// Where it is.
    pub image: Image,
    /// Whether it is an archive, and unpacked.
    pub is_archive: bool,
    /// Its place on the board, from `/`: of an archive the folder, of a file its path, or with `/` at the end its folder.
    pub path: String,
}

/// Partitions of a disk image, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskPartitions {
    /// For `testboot`.
    pub testboot: Option<u32>,
    /// For `testrootfs`.
    pub testrootfs: Option<u32>,
}

/// A file of this host or of a server that goes to the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it is, as the dispatcher opens it; or a URL.
    pub path: PathBuf,
    /// How long it was when the job was read; 0 for a URL and for a folder.
    pub size_bytes: u64,
    /// What it must be, where the job says so: of the file, or of the unpacked image.
    pub sha256: Option<[u8; 32]>,
    /// Other digests, of the file as it lies there.
    pub digests: FileDigests,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployForm {
    rootfs: Option<Spanned<String>>,
    rootfs_sha256: Option<Spanned<String>>,
    rootfs_sha512: Option<Spanned<String>>,
    rootfs_md5: Option<Spanned<String>>,
    pub(super) boot: Option<Spanned<String>>,
    pub(super) kernel: Option<Spanned<String>>,
    kernel_sha256: Option<Spanned<String>>,
    kernel_sha512: Option<Spanned<String>>,
    kernel_md5: Option<Spanned<String>>,
    ramdisk: Option<Spanned<String>>,
    ramdisk_sha256: Option<Spanned<String>>,
    ramdisk_sha512: Option<Spanned<String>>,
    ramdisk_md5: Option<Spanned<String>>,
    dtb: Option<Spanned<String>>,
    dtb_sha256: Option<Spanned<String>>,
    dtb_sha512: Option<Spanned<String>>,
    dtb_md5: Option<Spanned<String>>,
    disk: Option<Spanned<String>>,
    disk_sha256: Option<Spanned<String>>,
    disk_sha512: Option<Spanned<String>>,
    disk_md5: Option<Spanned<String>>,
    partitions: Option<Spanned<DiskPartitions>>,
    bmap: Option<Spanned<String>>,
    rootfs_size: Option<Spanned<String>>,
    modules: Option<Spanned<String>>,
    modules_sha256: Option<Spanned<String>>,
    modules_sha512: Option<Spanned<String>>,
    modules_md5: Option<Spanned<String>>,
    overlays: Option<Spanned<Vec<OverlayForm>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OverlayForm {
    archive: Option<Spanned<String>>,
    file: Option<Spanned<String>>,
    path: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    sha512: Option<Spanned<String>>,
    md5: Option<Spanned<String>>,
}

/// The digests of one file.
#[derive(Clone, Copy)]
struct DigestsForm<'f> {
    sha256: Option<&'f Spanned<String>>,
    sha512: Option<&'f Spanned<String>>,
    md5: Option<&'f Spanned<String>>,
}

impl DeployForm {
    /// The digests of the file at a key.
    fn digests(&self, key: &str) -> DigestsForm<'_> {
        let (sha256, sha512, md5) = match key {
            "rootfs" => (&self.rootfs_sha256, &self.rootfs_sha512, &self.rootfs_md5),
            "disk" => (&self.disk_sha256, &self.disk_sha512, &self.disk_md5),
            "kernel" => (&self.kernel_sha256, &self.kernel_sha512, &self.kernel_md5),
            "ramdisk" => (&self.ramdisk_sha256, &self.ramdisk_sha512, &self.ramdisk_md5),
            "dtb" => (&self.dtb_sha256, &self.dtb_sha512, &self.dtb_md5),
            "modules" => (&self.modules_sha256, &self.modules_sha512, &self.modules_md5),
            _ => (&None, &None, &None),
        };
        DigestsForm { sha256: sha256.as_ref(), sha512: sha512.as_ref(), md5: md5.as_ref() }
    }
}

/// The length of an image; a folder or a device is none.
pub(super) fn size_of_file(path: &Path) -> io::Result<u64> {
    let metadata = std::fs::metadata(path)?;
    match metadata.file_type() {
        kind if kind.is_file() => Ok(metadata.len()),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::other("not a file")),
    }
}

/// Reads the files that a job names.
pub(super) struct Images<'a, F> {
    /// The job file's name, for errors.
    pub(super) file: &'a str,
    /// What relative paths are relative to.
    pub(super) folder: &'a Path,
    /// How long a file is.
    pub(super) size_of: F,
}

impl<F: Fn(&Path) -> io::Result<u64>> Images<'_, F> {
    /// What `deploy:` says.
    ///
    /// # Errors
    /// What is wrong, where, and how to mend it.
    pub(super) fn deploy(&self, form: Spanned<DeployForm>) -> Result<Deploy, FileError> {
        let at_deploy = place(&form);
        let form = form.value;
        if let (Some(_), Some(kernel)) = (&form.boot, &form.kernel) {
            return Err(self
                .wrong(kernel, "boot is an image with a kernel already")
                .mend("keep one of boot and kernel"));
        }
        if let (None, Some(file)) = (&form.kernel, form.ramdisk.as_ref().or(form.dtb.as_ref())) {
            return Err(self
                .wrong(file, "a ramdisk or device tree goes with a kernel")
                .mend("add \"kernel: PATH\""));
        }
        if let (Some(_), Some(other)) = (&form.disk, form.rootfs.as_ref().or(form.boot.as_ref())) {
            return Err(self
                .wrong(other, "disk has the images of both partitions already")
                .mend("keep disk, or rootfs and boot"));
        }
        if let (None, Some(key)) = (&form.disk, &form.partitions) {
            return Err(FileError::at(self.file, place(key), "partitions without disk")
                .mend("add \"disk: PATH\""));
        }
        if let (None, None, Some(map)) = (&form.rootfs, &form.disk, &form.bmap) {
            return Err(self
                .wrong(map, "bmap without rootfs or disk")
                .mend("add \"rootfs: PATH\""));
        }
        if let (None, Some(size)) = (&form.rootfs, &form.rootfs_size) {
            return Err(self
                .wrong(size, "rootfs_size without rootfs")
                .mend("add \"rootfs: PATH\""));
        }
        let over = form.modules.as_ref().map(place).or_else(|| form.overlays.as_ref().map(place));
        if let (None, Some(at)) = (&form.rootfs, over) {
            let message = "modules and overlays are laid over the files of rootfs";
            return Err(FileError::at(self.file, at, message)
                .mend("add \"rootfs: PATH\", a folder or an archive"));
        }
        for (key, image) in [
            ("rootfs", &form.rootfs),
            ("disk", &form.disk),
            ("kernel", &form.kernel),
            ("ramdisk", &form.ramdisk),
            ("dtb", &form.dtb),
            ("modules", &form.modules),
        ] {
            let digests = form.digests(key);
            let all =
                [("sha256", digests.sha256), ("sha512", digests.sha512), ("md5", digests.md5)];
            for (kind, digest) in all {
                if let (None, Some(digest)) = (image, digest) {
                    return Err(self
                        .wrong(digest, &format!("{key}_{kind} without {key}"))
                        .mend(format!("add \"{key}: PATH\"")));
                }
            }
        }
        let mut overlays = Vec::new();
        if let Some(image) = self.file(form.modules.as_ref(), form.digests("modules"))? {
            overlays.push(DeployOverlay { image, is_archive: true, path: "/".to_owned() });
        }
        if let Some(forms) = &form.overlays {
            if forms.value.len() > OVERLAYS_MAX {
                let message = format!("a job has at most {OVERLAYS_MAX} overlays");
                return Err(FileError::at(self.file, place(forms), message)
                    .mend("put several into one archive"));
            }
            for overlay in &forms.value {
                overlays.push(self.overlay(overlay, place(forms))?);
            }
        }
        let deploy = Deploy {
            overlays,
            rootfs: self.source(form.rootfs.as_ref(), form.digests("rootfs"))?,
            boot: self.source(form.boot.as_ref(), form.digests("boot"))?,
            disk: self.source(form.disk.as_ref(), form.digests("disk"))?,
            partitions: form.partitions.as_ref().map(|key| key.value).unwrap_or_default(),
            bmap: self.block_map(form.bmap.as_ref())?,
            rootfs_size: form.rootfs_size.as_ref().map(|size| self.size(size)).transpose()?,
            kernel: self.file(form.kernel.as_ref(), form.digests("kernel"))?,
            ramdisk: self.file(form.ramdisk.as_ref(), form.digests("ramdisk"))?,
            dtb: self.file(form.dtb.as_ref(), form.digests("dtb"))?,
        };
        if deploy == Deploy::default() {
            return Err(FileError::at(self.file, at_deploy, "deploy names no image")
                .mend("add \"rootfs: PATH\", or leave deploy out to test what the board holds"));
        }
        Ok(deploy)
    }

    /// What becomes an image: a file, also on a server, or a folder.
    fn source(
        &self,
        text: Option<&Spanned<String>>,
        digests: DigestsForm<'_>,
    ) -> Result<Option<Image>, FileError> {
        if let Some(at) = text
            && !at.value.is_empty()
            && !at.value.contains("://")
        {
            let path = self.folder.join(&at.value);
            if let Err(error) = (self.size_of)(&path)
                && error.kind() == io::ErrorKind::IsADirectory
            {
                return self.image(path, 0, digests).map(Some);
            }
        }
        self.file(text, digests)
    }

    /// A file, also on a server.
    fn file(
        &self,
        text: Option<&Spanned<String>>,
        digests: DigestsForm<'_>,
    ) -> Result<Option<Image>, FileError> {
        let Some(at) = text else { return Ok(None) };
        if is_url(&at.value) && !at.value.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return self.image(PathBuf::from(&at.value), 0, digests).map(Some);
        }
        if at.value.contains("://") {
            let message = format!("\"{}\" is a URL that is not fetched", shorten(&at.value));
            return Err(self
                .wrong(at, &message)
                .mend("http and https are; download it and name the file"));
        }
        let (path, size_bytes) = self.local(at)?;
        self.image(path, size_bytes, digests).map(Some)
    }

    fn block_map(&self, text: Option<&Spanned<String>>) -> Result<Option<PathBuf>, FileError> {
        let Some(at) = text else { return Ok(None) };
        if at.value.contains("://") {
            return Err(self
                .wrong(at, "a block map is a file of this host")
                .mend("download it and name the file"));
        }
        Ok(Some(self.local(at)?.0))
    }

    fn overlay(&self, form: &OverlayForm, at: Place) -> Result<DeployOverlay, FileError> {
        let wrong = |at: Place, message: &str| FileError::at(self.file, at, message);
        let (source, is_archive) = match (&form.archive, &form.file) {
            (Some(archive), None) => (archive, true),
            (None, Some(file)) => (file, false),
            (Some(archive), Some(_)) => {
                return Err(wrong(place(archive), "an overlay is an archive or a file")
                    .mend("keep one of archive: and file:"));
            }
            (None, None) => {
                let at = form.path.as_ref().or(form.sha256.as_ref()).map_or(at, place);
                return Err(wrong(at, "an overlay misses the key \"archive\" or \"file\"")
                    .mend("add \"archive: PATH\""));
            }
        };
        let path = match &form.path {
            None if is_archive => "/".to_owned(),
            None => {
                return Err(wrong(place(source), "a file misses the key \"path\"")
                    .mend("add \"path: /usr/bin/tool\""));
            }
            Some(path) => {
                let is_good = path.value.starts_with('/')
                    && path.value.len() <= PATH_BYTES_MAX
                    && !path.value.chars().any(char::is_control)
                    && path.value.split('/').all(|part| part != "..");
                if !is_good {
                    return Err(self
                        .wrong(
                            path,
                            "an overlay's path is a place on the board, from /, without ..",
                        )
                        .mend("write it as /usr/share"));
                }
                path.value.clone()
            }
        };
        let (sha256, sha512, md5) = (form.sha256.as_ref(), form.sha512.as_ref(), form.md5.as_ref());
        let image = self.file(Some(source), DigestsForm { sha256, sha512, md5 })?;
        let image = image.ok_or_else(|| wrong(place(source), "a path is expected"))?;
        Ok(DeployOverlay { image, is_archive, path })
    }

    /// `512M`: bytes, or with K, M, G the powers of 1024.
    fn size(&self, text: &Spanned<String>) -> Result<u64, FileError> {
        let units = [('K', 10), ('M', 20), ('G', 30)];
        let with_unit = |(unit, power)| Some((text.value.strip_suffix(unit)?, power));
        let (digits, power) = units.into_iter().find_map(with_unit).unwrap_or((&text.value, 0));
        let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(1 << power));
        bytes
            .filter(|bytes| SIZES.contains(bytes))
            .ok_or_else(|| self.wrong(text, "a size is 1M to 128G").mend("write it as 512M, 4G"))
    }

    /// A file of this host, and its length.
    fn local(&self, text: &Spanned<String>) -> Result<(PathBuf, u64), FileError> {
        if text.value.is_empty() || text.value.contains('\0') {
            return Err(self.wrong(text, "a path is expected"));
        }
        let path = self.folder.join(&text.value);
        match (self.size_of)(&path) {
            Ok(0) => Err(self.wrong(text, &format!("the image {} is empty", path.display()))),
            Ok(size_bytes) => Ok((path, size_bytes)),
            Err(error) => {
                let message = format!("the image {} cannot be read: {error}", shown(&path));
                Err(self
                    .wrong(text, &message)
                    .mend("paths are relative to the job file; make the image, or mend the path"))
            }
        }
    }

    fn image(
        &self,
        path: PathBuf,
        size_bytes: u64,
        digests: DigestsForm<'_>,
    ) -> Result<Image, FileError> {
        let DigestsForm { sha256, sha512, md5 } = digests;
        let digests = FileDigests {
            md5: md5.map(|text| digest_of(self.file, text, "an MD5", "md5sum")).transpose()?,
            sha512: sha512
                .map(|text| digest_of(self.file, text, "a SHA-512", "sha512sum"))
                .transpose()?,
        };
        let sha256 = sha256.map(|text| sha256_of(self.file, text)).transpose()?;
        Ok(Image { path, size_bytes, sha256, digests })
    }

    fn wrong(&self, at: &Spanned<String>, message: &str) -> FileError {
        FileError::at(self.file, place(at), message)
    }
}

/// A SHA-256 as a file has it.
pub(super) fn sha256_of(file: &str, text: &Spanned<String>) -> Result<[u8; 32], FileError> {
    digest_of(file, text, "a SHA-256", "sha256sum")
}

fn digest_of<const N: usize>(
    file: &str,
    text: &Spanned<String>,
    what: &str,
    program: &str,
) -> Result<[u8; N], FileError> {
    let mut digest = [0; N];
    let digits = text.value.as_bytes();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut is_digest = digits.len() == 2 * N;
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => is_digest = false,
        }
    }
    if is_digest {
        return Ok(digest);
    }
    let message = format!("{what} has {} hexadecimal digits", 2 * N);
    Err(FileError::at(file, place(text), message)
        .mend(format!("write what {program} prints, in quotes")))
}

/// A path as a person recognises it: without the `./` and empty parts that joining leaves.
fn shown(path: &Path) -> String {
    path.components().collect::<PathBuf>().display().to_string()
}

/// A root file system needs no more.
const OVERLAYS_MAX: usize = 32;
/// As long as a path of an image can be.
const PATH_BYTES_MAX: usize = 1024;
/// As large as an image can be.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=128 << 30;
