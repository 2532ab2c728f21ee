//! The images of a job: taken into the store before a board is touched, a kernel among them as an image of `testboot`.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::hands_on::configuration;
use crate::cli::Global;
use crate::config::board_type::BoardType;
use crate::image::cache::{CachedImage, IMAGE, Images};
use crate::image::error::ImageError;
use crate::image::take::{ImageFrom, ImageSource, Phase, Progress};
use crate::job::event::Slot;
use crate::job::spec::{Deploy, Image, Job};
use crate::script::Fault;

/// What is deployed, and what keeps it in the store.
#[derive(Debug, Default)]
pub(super) struct DeployImages {
    /// For `testboot`.
    pub(super) boot: Option<Image>,
    _held: Vec<CachedImage>,
}

/// Takes the job's images into the store. Afterwards the job names the raw image for `testrootfs`.
pub(super) fn deploy_images(
    global: &Global,
    job: &mut Job,
    board_type: &BoardType,
) -> Result<DeployImages, Fault> {
    let Some(deploy) = &mut job.deploy else { return Ok(DeployImages::default()) };
    let boot_files = boot_files(deploy, board_type)?;
    let images = super::images::open(global).map_err(fault)?;
    let is_told = !global.json && std::io::stderr().is_terminal();
    let mut taking = Taking { images, held: Vec::new(), is_told };
    let mut boot = None;
    if let Some(image) = &deploy.rootfs {
        let bmap = deploy.bmap.clone();
        let file_system_bytes = deploy.rootfs_size;
        let source = ImageSource { bmap, file_system_bytes, ..source(image, "testrootfs") };
        deploy.rootfs = taking.take(&source, false)?;
    }
    if let Some(image) = &deploy.boot {
        boot = taking.take(&source(image, "testboot"), false)?;
    }
    if let Some(image) = &deploy.disk {
        let part = |role: &str, partition| ImageSource {
            bmap: deploy.bmap.clone(),
            partition,
            is_disk: true,
            ..source(image, role)
        };
        let rootfs = taking.take(&part("testrootfs", deploy.partitions.testrootfs), false)?;
        if boot_files.is_none() {
            boot = taking.take(&part("testboot", deploy.partitions.testboot), true)?;
        }
        deploy.rootfs = rootfs;
    }
    if let Some(files) = boot_files {
        let files = ImageSource::new(ImageFrom::Files(files), "testboot");
        boot = taking.take(&ImageSource { epoch: epoch(), ..files }, false)?;
    }
    Ok(DeployImages { boot, _held: taking.held })
}

fn source(image: &Image, role: &str) -> ImageSource {
    let source = ImageSource::of_text(&image.path.to_string_lossy(), role);
    ImageSource { sha256: image.sha256, epoch: epoch(), ..source }
}

/// The files that a kernel brings into `testboot`, with the names that boot loaders load.
fn boot_files(
    deploy: &Deploy,
    board_type: &BoardType,
) -> Result<Option<Vec<(String, PathBuf)>>, Fault> {
    let Some(kernel) = &deploy.kernel else { return Ok(None) };
    let commands = board_type.boot.as_ref().map(|boot| boot.loader.commands.get(Slot::Test));
    let loads = |name: &str| {
        commands
            .is_some_and(|commands| commands.iter().any(|command| command.source().contains(name)))
    };
    if deploy.ramdisk.is_none() && loads("initrd.img") {
        return Err(configuration(format!(
            "the board type {} boots a kernel with an initial ramdisk: add ramdisk: to deploy:",
            board_type.name
        )));
    }
    let files = [
        ("vmlinuz", Some(kernel)),
        ("initrd.img", deploy.ramdisk.as_ref()),
        ("dtb", deploy.dtb.as_ref()),
    ];
    let named =
        files.into_iter().filter_map(|(name, image)| Some((name.into(), image?.path.clone())));
    Ok(Some(named.collect()))
}

struct Taking {
    images: Images,
    held: Vec<CachedImage>,
    is_told: bool,
}

impl Taking {
    fn take(&mut self, source: &ImageSource, is_optional: bool) -> Result<Option<Image>, Fault> {
        let mut told = None;
        let mut progress = |Progress { phase, .. }: Progress| {
            if self.is_told && told != Some(phase) {
                let what = match phase {
                    Phase::Download => "downloading",
                    Phase::Check => "checking",
                    Phase::Unpack => "unpacking",
                    Phase::Make => "making a file system of",
                };
                let _ = writeln!(std::io::stderr(), "{what} the image for {}", source.role);
                told = Some(phase);
            }
            ControlFlow::Continue(())
        };
        let taken = self.images.take_if_there(source, is_optional, &mut progress).map_err(fault)?;
        Ok(taken.map(|image| {
            let path = image.dir.join(IMAGE);
            let taken = Image { path, size_bytes: image.bytes, sha256: Some(image.sha256) };
            self.held.push(image);
            taken
        }))
    }
}

fn fault(error: ImageError) -> Fault {
    if error.is_of_store() {
        Fault::infrastructure(error.to_string())
    } else {
        Fault::job(error.to_string())
    }
}

/// As all builders of images read it: <https://reproducible-builds.org/specs/source-date-epoch/>.
fn epoch() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok()?.parse().ok()
}
