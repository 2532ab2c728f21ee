//! A kernel, a ramdisk or a device tree for the partition `testboot`, as a boot loader loads it: without the header of
//! U-Boot's old images, and an ARM64 kernel unpacked.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::cache::{CachedImage, IMAGE, Images, Origin};
use super::error::{Cause, ImageError};
use super::ext4::EPOCH;
use super::material::Material;
use super::packing::{Packing, Stream};
use super::source::read_first;
use super::take::{NewFile, OnProgress, Phase, Progress, READ_BYTES};
use super::uboot::{HEADER_BYTES, Header, Kind};
use crate::store::hexadecimal;

/// What a file is to the boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootRole {
    /// The kernel.
    Kernel,
    /// Its initial ramdisk.
    Ramdisk,
    /// Its device tree.
    DeviceTree,
}

/// A file for `testboot`, which stays in the store as long as this value is there.
#[derive(Debug)]
pub struct BootFile {
    /// The file.
    pub file: NewFile,
    _held: CachedImage,
}

impl Images {
    /// Takes a file for `testboot`. With `keeps_form` it stays in the form that it has: the board boots U-Boot's own images.
    ///
    /// # Errors
    /// As for [`Images::take_material`]; or it is something else than its role says, damaged, or more than 1 GiB.
    pub fn take_boot_file(
        &self,
        material: &Material,
        role: BootRole,
        keeps_form: bool,
        progress: OnProgress<'_>,
    ) -> Result<BootFile, ImageError> {
        let name = material.name();
        let failed = |cause| ImageError::new(&name, cause);
        let mtime = match material.url() {
            Some(_) => EPOCH,
            None => {
                let metadata = std::fs::metadata(&material.path);
                let metadata = metadata.map_err(|error| failed(Cause::Open(error)))?;
                u64::try_from(metadata.mtime()).unwrap_or(0)
            }
        };
        let taken = self.take_material(material, progress)?;
        if taken.bytes > BOOT_FILE_BYTES_MAX {
            return Err(failed(too_large()));
        }
        let content = match content_of(&taken.file, role, keeps_form).map_err(failed)? {
            None => taken,
            Some((packing, content)) => {
                let digest = hexadecimal(&taken.sha256);
                let key = format!("boot file {digest} {packing}");
                match self.find(|origin| origin.key == key)? {
                    Some(known) => known,
                    None => self.unpack_boot_file(content, packing, &name, key, progress)?,
                }
            }
        };
        check_role(&content.file, role, keeps_form).map_err(failed)?;
        let file = NewFile {
            name: role.file_name().to_owned(),
            content: content.dir.join(IMAGE),
            mtime,
            from: name.display().to_string(),
        };
        Ok(BootFile { file, _held: content })
    }

    fn unpack_boot_file(
        &self,
        mut content: Stream,
        packing: Packing,
        name: &Path,
        key: String,
        progress: OnProgress<'_>,
    ) -> Result<CachedImage, ImageError> {
        let failed = |cause| ImageError::new(name, cause);
        let mut image = self.begin()?;
        let (mut buffer, mut done) = (vec![0; READ_BYTES], 0);
        loop {
            if progress(Progress { phase: Phase::Unpack, done, total: None }).is_break() {
                return Err(failed(Cause::Cancelled));
            }
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(bytes) => {
                    done += bytes as u64;
                    if done > BOOT_FILE_BYTES_MAX {
                        return Err(failed(too_large()));
                    }
                    image.data(&buffer[..bytes])?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(Cause::Unpack(packing, error))),
            }
        }
        let from = name.display().to_string();
        image.finish(Origin { from, key, is_material: true, ..Origin::default() }, |_| Ok(()))
    }
}

impl BootRole {
    /// What boot loaders load.
    fn file_name(self) -> &'static str {
        match self {
            Self::Kernel => "vmlinuz",
            Self::Ramdisk => "initrd.img",
            Self::DeviceTree => "dtb",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ramdisk => "ramdisk",
            Self::DeviceTree => "dtb",
        }
    }
}

/// What is in a file, and how it is packed outermost, if that is not the file itself.
fn content_of(
    file: &File,
    role: BootRole,
    keeps_form: bool,
) -> Result<Option<(Packing, Stream)>, Cause> {
    if keeps_form {
        return Ok(None);
    }
    let mut first = [0; HEADER_BYTES];
    let known = read_first(file, &mut first).map_err(Cause::Read)?;
    let header = Header::of(&first[..known])
        .map_err(|why| Cause::Damaged("U-Boot image", why.to_owned()))?;
    let mut packing = Packing::Raw;
    if let Some(header) = header {
        check_kind(header.kind, role)?;
        packing = Packing::UBoot;
    }
    if role == BootRole::Kernel
        && let Some((inner, content)) = unpacked_kernel(whole(file, packing)?, packing)?
    {
        return Ok(Some((if packing == Packing::Raw { inner } else { packing }, content)));
    }
    if packing == Packing::Raw {
        return Ok(None);
    }
    Ok(Some((packing, whole(file, packing)?)))
}

/// The content from its beginning, without U-Boot's header.
fn whole(file: &File, packing: Packing) -> Result<Stream, Cause> {
    let from_start = FromStart { file: file.try_clone().map_err(Cause::Read)?, at: 0 };
    Ok(packing.unpack(Box::new(from_start)).unwrap_or_else(|| Box::new(std::io::empty())))
}

/// A packed ARM64 kernel without its packing: `booti` takes it so from every U-Boot. Others unpack themselves.
fn unpacked_kernel(mut kernel: Stream, outer: Packing) -> Result<Option<(Packing, Stream)>, Cause> {
    let failed = |error| Cause::Unpack(outer, error);
    let first = first_of(&mut kernel).map_err(failed)?;
    let packing = Packing::of(&first);
    if let Packing::Raw | Packing::Zip | Packing::UBoot = packing {
        return Ok(None);
    }
    let packed = Box::new(std::io::Cursor::new(first).chain(kernel));
    let Some(mut unpacked) = packing.unpack(packed) else { return Ok(None) };
    let first = first_of(&mut unpacked).map_err(|error| Cause::Unpack(packing, error))?;
    let is_arm64 = first.get(ARM64_MAGIC_AT..).is_some_and(|rest| rest.starts_with(&ARM64_MAGIC));
    let content = Box::new(std::io::Cursor::new(first).chain(unpacked));
    Ok(is_arm64.then_some((packing, content)))
}

fn first_of(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let mut first = Vec::new();
    stream.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut first)?;
    Ok(first)
}

fn check_kind(kind: Kind, role: BootRole) -> Result<(), Cause> {
    match (kind, role) {
        (Kind::Kernel, BootRole::Kernel)
        | (Kind::Ramdisk, BootRole::Ramdisk)
        | (Kind::DeviceTree, BootRole::DeviceTree) => Ok(()),
        (Kind::Multi, _) => Err(Cause::unusable(
            "it is a U-Boot image of several files",
            "name kernel, ramdisk and dtb as files of their own",
        )),
        (Kind::Other(number), _) => {
            Err(wrong_role(role, &format!("a U-Boot image of the kind {number}")))
        }
        (Kind::Kernel, _) => Err(wrong_role(role, "a kernel")),
        (Kind::Ramdisk, _) => Err(wrong_role(role, "a ramdisk")),
        (Kind::DeviceTree, _) => Err(wrong_role(role, "a device tree")),
    }
}

/// Whether the beginning is what the role says, as far as that can be told.
fn check_role(file: &File, role: BootRole, keeps_form: bool) -> Result<(), Cause> {
    let mut first = [0; HEADER_BYTES];
    let known = read_first(file, &mut first).map_err(Cause::Read)?;
    let first = &first[..known];
    let is_tree = first.starts_with(&TREE_MAGIC);
    match role {
        BootRole::DeviceTree if !is_tree => Err(wrong_role(role, "no device tree")),
        BootRole::DeviceTree => {
            let length = first.get(4..8).and_then(|word| word.first_chunk().copied());
            let length = u64::from(length.map_or(u32::MAX, u32::from_be_bytes));
            let bytes = file.metadata().map_err(Cause::Read)?.len();
            if length > bytes {
                let why = format!("it says that it has {length} bytes, and has {bytes}");
                return Err(Cause::Damaged("device tree", why));
            }
            Ok(())
        }
        BootRole::Kernel if is_tree && !keeps_form => Err(Cause::unusable(
            "it is a device tree or a FIT image, and no kernel",
            "name the kernel's own file, and the device tree as dtb:",
        )),
        BootRole::Ramdisk if is_tree => Err(wrong_role(role, "a device tree")),
        BootRole::Kernel | BootRole::Ramdisk => Ok(()),
    }
}

fn wrong_role(role: BootRole, what: &str) -> Cause {
    let word = role.word();
    Cause::unusable(format!("it is {what}"), format!("give another file as {word}:"))
}

fn too_large() -> Cause {
    let mebibytes = BOOT_FILE_BYTES_MAX >> 20;
    Cause::unusable(
        format!("a file for testboot has more than {mebibytes} MiB"),
        "give an image of the partition as boot:",
    )
}

/// Reads a file from its beginning, whoever else reads it.
struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.file.read_at(buffer, self.at)?;
        self.at += bytes as u64;
        Ok(bytes)
    }
}

/// It lies in the board's memory when the kernel starts.
const BOOT_FILE_BYTES_MAX: u64 = 1 << 30;
/// Linux, `Documentation/arch/arm64/booting.rst`.
const ARM64_MAGIC: [u8; 4] = *b"ARM\x64";
const ARM64_MAGIC_AT: usize = 56;
/// Of a flattened device tree: the Devicetree Specification §5.2.
const TREE_MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::ops::ControlFlow;

    use super::super::cache::LIMIT_BYTES;
    use super::super::uboot::tests::image;
    use super::*;
    use crate::io::test_folder::TestFolder;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn arm64() -> Vec<u8> {
        let mut kernel = vec![7; 200_000];
        kernel[ARM64_MAGIC_AT..][..4].copy_from_slice(&ARM64_MAGIC);
        kernel
    }

    fn tree() -> Vec<u8> {
        [&TREE_MAGIC[..], &[0, 0, 0, 40], &[1; 40]].concat()
    }

    fn take(bytes: &[u8], role: BootRole, keeps_form: bool) -> Result<Vec<u8>, String> {
        let folder = TestFolder::new();
        let images = Images::open(&folder.path().join("store"), LIMIT_BYTES).unwrap();
        let path = folder.path().join("file");
        fs::write(&path, bytes).unwrap();
        let material = Material { path, ..Material::default() };
        let mut taken = Vec::new();
        // The second time it comes from the store.
        for _ in 0..2 {
            let mut go_on = |_| ControlFlow::Continue(());
            let file = images.take_boot_file(&material, role, keeps_form, &mut go_on);
            let file = file.map_err(|error| error.to_string())?;
            taken.push(fs::read(&file.file.content).unwrap());
        }
        assert!(taken[0] == taken[1]);
        assert!(images.list().unwrap().iter().all(|entry| entry.is_material));
        Ok(taken.remove(0))
    }

    #[test]
    fn what_a_boot_loader_loads() {
        let (arm64, tree) = (arm64(), tree());
        let zimage = [&[0; 36][..], &[0x18, 0x28, 0x6f, 0x01], &[3; 1000]].concat();
        let ramdisk = gzip(b"070701 and so on");
        for (bytes, role, expected) in [
            (arm64.clone(), BootRole::Kernel, &arm64),
            (gzip(&arm64), BootRole::Kernel, &arm64),
            (image(2, &gzip(&arm64)), BootRole::Kernel, &arm64),
            (image(14, &zimage), BootRole::Kernel, &zimage),
            // What is packed and no kernel of ARM64 is left alone.
            (gzip(&zimage), BootRole::Kernel, &gzip(&zimage)),
            (ramdisk.clone(), BootRole::Ramdisk, &ramdisk),
            (image(3, &ramdisk), BootRole::Ramdisk, &ramdisk),
            (tree.clone(), BootRole::DeviceTree, &tree),
            (image(8, &tree), BootRole::DeviceTree, &tree),
        ] {
            assert!(take(&bytes, role, false).unwrap() == *expected, "{role:?}");
        }
        let kept = image(2, &gzip(&arm64));
        assert!(take(&kept, BootRole::Kernel, true).unwrap() == kept);
    }

    #[test]
    fn what_it_cannot_load() {
        let mut damaged = image(2, b"kernel");
        *damaged.last_mut().unwrap() ^= 1;
        for (bytes, role, expected) in [
            (tree(), BootRole::Kernel, "a FIT image, and no kernel: name the kernel's own file"),
            (arm64(), BootRole::DeviceTree, "it is no device tree: give another file as dtb:"),
            (tree(), BootRole::Ramdisk, "it is a device tree: give another file as ramdisk:"),
            (image(3, b"x"), BootRole::Kernel, "it is a ramdisk: give another file as kernel:"),
            (image(4, b"x"), BootRole::Kernel, "a U-Boot image of several files"),
            (image(1, b"x"), BootRole::Kernel, "a U-Boot image of the kind 1"),
            (damaged, BootRole::Kernel, "damaged or cut short U-Boot data: the check value"),
            (image(2, b"x")[..50].to_vec(), BootRole::Kernel, "it ends within its header"),
            (tree()[..30].to_vec(), BootRole::DeviceTree, "it says that it has 40 bytes"),
            (gzip(&arm64())[..40].to_vec(), BootRole::Kernel, "cut short gzip data"),
            (image(2, b""), BootRole::Kernel, "is empty"),
        ] {
            let error = take(&bytes, role, false).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
