//! What a job needs before a board is touched: its file read, and its images taken into the store.
//!
//! Downloads, unpacks and waits, so it has its place on a thread; [`take_images`] also in a command's own.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Bench, Fault};
use crate::config::board_type::BoardType;
use crate::config::yaml::{self, FileError};
use crate::definition::fence::Fence;
use crate::image::boot_file::{BootFile, BootRole};
use crate::image::cache::{CachedImage, IMAGE, Images, LIMIT_BYTES};
use crate::image::digests::FileDigests;
use crate::image::error::ImageError;
use crate::image::material::Material;
use crate::image::overlay::Overlay;
use crate::image::take::{ImageFrom, ImageSource, Phase, Progress};
use crate::job::event::{Event, Slot};
use crate::job::spec::{Deploy, DeployOverlay, Image, Job, Roles};
use crate::worker::Worker;

/// A job whose images are in the store, and what keeps them there.
#[derive(Debug)]
pub struct Prepared {
    /// The job, which names the raw images.
    pub job: Job,
    /// What else is deployed.
    pub images: JobImages,
    /// How long a test of one of several boards waits for what another one is to say.
    pub wait_timeout: Option<Duration>,
}

/// One of the boards of a job with roles.
#[derive(Clone, Debug)]
pub struct NodeWanted {
    /// Its place among them.
    pub index: usize,
    /// The names of all of them, in order.
    pub boards: Vec<String>,
}

/// What is deployed, and what keeps it in the store.
#[derive(Debug, Default)]
pub struct JobImages {
    /// For `testboot`.
    pub boot: Option<Image>,
    _held: Vec<CachedImage>,
}

/// What a preparation tells.
enum Told {
    Doing(&'static str),
    Done(Box<Result<Prepared, Fault>>),
}

impl Bench {
    /// Reads a job's file, within `fence` if it came from elsewhere, and takes its images, on a thread. Of a job with roles
    /// that is what `node` says.
    ///
    /// # Errors
    /// A ConfigurationError, JobError or InfrastructureError of the job's file or its images.
    pub async fn prepare(
        &self,
        file: PathBuf,
        fence: Option<Fence>,
        node: Option<NodeWanted>,
        store: PathBuf,
        board_type: BoardType,
    ) -> Result<Prepared, Fault> {
        let waker = self.waker();
        let stopped = Fault::infrastructure("what prepares jobs stopped without a word");
        let worker = Worker::spawn(
            "prepare",
            AHEAD,
            move || waker(),
            Told::Done(Box::new(Err(stopped))),
            move |teller| {
                let mut tell = |what| match teller.tell(Told::Doing(what)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                };
                let read = match &node {
                    Some(node) => read_node(&file, fence.as_ref(), node),
                    None => read(&file, fence.as_ref()),
                };
                let prepared = read.and_then(|mut prepared| {
                    prepared.images =
                        take_images(&store, &mut prepared.job, &board_type, &mut tell)?;
                    Ok(prepared)
                });
                Told::Done(Box::new(prepared))
            },
        );
        let mut worker = worker
            .map_err(|error| Fault::infrastructure(format!("no thread can be started: {error}")))?;
        loop {
            match self.until(|| worker.poll()).await {
                Told::Doing(what) => self.tell(Event::Note { text: what.to_owned() }),
                Told::Done(outcome) => return *outcome,
            }
        }
    }
}

fn read(file: &Path, fence: Option<&Fence>) -> Result<Prepared, Fault> {
    let job = match fence {
        Some(fence) => Job::load_within(file, fence),
        None => Job::load(file),
    };
    let job = job.map_err(|error| Fault::configuration(error.to_string()))?;
    Ok(Prepared { job, images: JobImages::default(), wait_timeout: None })
}

fn read_node(file: &Path, fence: Option<&Fence>, node: &NodeWanted) -> Result<Prepared, Fault> {
    let wrong = |error: FileError| Fault::configuration(error.to_string());
    let text = yaml::read(file).map_err(wrong)?;
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let roles = match fence {
        Some(fence) => Roles::from_str_within(&file.display().to_string(), &text, folder, fence),
        None => Roles::of_text(file, &text),
    };
    let roles = roles.map_err(wrong)?;
    let Some(mut roles) = roles.filter(|roles| roles.nodes.len() == node.boards.len()) else {
        let message = "the job is for other boards than when it was accepted";
        return Err(Fault::infrastructure(message));
    };
    roles.introduce(&node.boards);
    let wait_timeout = Some(roles.wait_timeout);
    let found = roles.nodes.into_iter().nth(node.index);
    let found = found.ok_or_else(|| Fault::infrastructure("the job has no such board"))?;
    Ok(Prepared { job: found.job, images: JobImages::default(), wait_timeout })
}

/// Takes the job's images into the store. Afterwards the job names the raw image for `testrootfs`. `tell` is told what is
/// being done, and says whether to go on.
///
/// # Errors
/// A ConfigurationError, JobError or InfrastructureError.
pub fn take_images(
    store: &Path,
    job: &mut Job,
    board_type: &BoardType,
    tell: &mut dyn FnMut(&'static str) -> ControlFlow<()>,
) -> Result<JobImages, Fault> {
    let needs_boot_loader = job.boot.needs_boot_loader() || !job.boot_loader_tests.is_empty();
    if board_type.boot.is_none() && needs_boot_loader {
        return Err(Fault::configuration(format!(
            "nothing is typed to a boot loader of the board type {}: leave out preboot:, boot_commands: and boot_loader_tests:",
            board_type.name
        )));
    }
    let board_type = board_type.for_job(&job.boot);
    let Some(deploy) = &mut job.deploy else { return Ok(JobImages::default()) };
    check_ramdisk(deploy, &board_type)?;
    let images = Images::open(store, LIMIT_BYTES).map_err(fault)?;
    let mut taking = Taking { images, held: Vec::new(), tell };
    let boot_files = taking.boot_files(deploy, &board_type)?;
    let mut boot = None;
    if let Some(image) = &deploy.rootfs {
        let bmap = deploy.bmap.clone();
        let file_system_bytes = deploy.rootfs_size;
        let overlays = deploy.overlays.iter().map(overlay).collect();
        let source =
            ImageSource { bmap, file_system_bytes, overlays, ..source(image, "testrootfs") };
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
        if boot_files.is_empty() {
            boot = taking.take(&part("testboot", deploy.partitions.testboot), true)?;
        }
        deploy.rootfs = rootfs;
    }
    if !boot_files.is_empty() {
        let files = boot_files.iter().map(|file| file.file.clone()).collect();
        let files = ImageSource::new(ImageFrom::Files(files), "testboot");
        boot = taking.take(&ImageSource { epoch: epoch(), ..files }, false)?;
    }
    Ok(JobImages { boot, _held: taking.held })
}

fn source(image: &Image, role: &str) -> ImageSource {
    let source = ImageSource::of_text(&image.path.to_string_lossy(), role);
    let (sha256, digests) = (image.sha256, image.digests);
    ImageSource { sha256, digests, epoch: epoch(), ..source }
}

fn overlay(overlay: &DeployOverlay) -> Overlay {
    Overlay {
        material: material(&overlay.image),
        is_archive: overlay.is_archive,
        path: overlay.path.clone(),
    }
}

fn material(image: &Image) -> Material {
    Material { path: image.path.clone(), sha256: image.sha256, digests: image.digests }
}

fn check_ramdisk(deploy: &Deploy, board_type: &BoardType) -> Result<(), Fault> {
    if deploy.kernel.is_some()
        && deploy.ramdisk.is_none()
        && boots_with(board_type, |command| command.contains("initrd.img"))
    {
        return Err(Fault::configuration(format!(
            "the board type {} boots a kernel with an initial ramdisk: add ramdisk: to deploy:",
            board_type.name
        )));
    }
    Ok(())
}

fn boots_with(board_type: &BoardType, is_wanted: impl Fn(&str) -> bool) -> bool {
    let commands = board_type.boot.as_ref().map(|boot| boot.loader.commands.get(Slot::Test));
    commands.is_some_and(|commands| commands.iter().any(|command| is_wanted(command.source())))
}

struct Taking<'t> {
    images: Images,
    held: Vec<CachedImage>,
    tell: &'t mut dyn FnMut(&'static str) -> ControlFlow<()>,
}

impl Taking<'_> {
    /// The files that a kernel brings into `testboot`; none where the job deploys no kernel.
    fn boot_files(
        &mut self,
        deploy: &Deploy,
        board_type: &BoardType,
    ) -> Result<Vec<BootFile>, Fault> {
        // It alone wants U-Boot's images.
        let keeps_form = boots_with(board_type, |command| {
            command.split(|c: char| c.is_whitespace() || c == ';').any(|word| word == "bootm")
        });
        let files = [
            (BootRole::Kernel, &deploy.kernel),
            (BootRole::Ramdisk, &deploy.ramdisk),
            (BootRole::DeviceTree, &deploy.dtb),
        ];
        let mut taken = Vec::new();
        for (role, file) in files {
            let Some(file) = file else { continue };
            let material = material(file);
            let mut progress = once_each(&mut *self.tell, true);
            let file = self.images.take_boot_file(&material, role, keeps_form, &mut progress);
            taken.push(file.map_err(fault)?);
        }
        Ok(taken)
    }

    fn take(&mut self, source: &ImageSource, is_optional: bool) -> Result<Option<Image>, Fault> {
        let mut progress = once_each(&mut *self.tell, source.role == "testboot");
        let taken = self.images.take_if_there(source, is_optional, &mut progress).map_err(fault)?;
        Ok(taken.map(|image| {
            let path = image.dir.join(IMAGE);
            let (size_bytes, sha256) = (image.bytes, Some(image.sha256));
            let taken = Image { path, size_bytes, sha256, digests: FileDigests::default() };
            self.held.push(image);
            taken
        }))
    }
}

/// Tells of each phase when it begins.
fn once_each(
    tell: &mut dyn FnMut(&'static str) -> ControlFlow<()>,
    is_boot: bool,
) -> impl FnMut(Progress) -> ControlFlow<()> {
    let mut told = None;
    move |Progress { phase, .. }| {
        if told == Some(phase) {
            return ControlFlow::Continue(());
        }
        told = Some(phase);
        tell(sentence(phase, is_boot))
    }
}

fn sentence(phase: Phase, is_boot: bool) -> &'static str {
    match (phase, is_boot) {
        (Phase::Download, false) => "downloading the image for testrootfs",
        (Phase::Check, false) => "checking the image for testrootfs",
        (Phase::Unpack, false) => "unpacking the image for testrootfs",
        (Phase::Make, false) => "making a file system of the image for testrootfs",
        (Phase::Download, true) => "downloading the image for testboot",
        (Phase::Check, true) => "checking the image for testboot",
        (Phase::Unpack, true) => "unpacking the image for testboot",
        (Phase::Make, true) => "making a file system of the image for testboot",
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

/// What waits to be told is some sentences.
const AHEAD: usize = 4;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::image::fetch::tests::{answer, server};
    use crate::io::test_folder::TestFolder;
    use crate::job::verdict::ErrorClass;

    fn cat(image: &Path, path: &str) -> Vec<u8> {
        let tools = "/usr/sbin:/sbin:/usr/bin:/bin";
        let command = format!("cat {path}");
        let mut debugfs = Command::new("debugfs");
        debugfs.env("PATH", tools).arg("-R").arg(command).arg(image).output().unwrap().stdout
    }

    #[test]
    fn kernels_from_servers_become_testboot() {
        let folder = TestFolder::new();
        let (url, _requests) = server(vec![
            answer("200 OK", "Content-Length: 6\r\n", b"kernel"),
            answer("200 OK", "Content-Length: 7\r\n", b"ramdisk"),
            answer("200 OK", "Content-Length: 6\r\n", b"kernel"),
            answer("200 OK", "Content-Length: 7\r\n", b"ramdisk"),
        ]);
        let host = url.trim_end_matches("/image.gz");
        let text = format!(
            "name: x\ndeploy: {{kernel: '{host}/zImage', ramdisk: '{host}/initrd', dtb: a.dtb}}\ntests: [{{name: a, run: b}}]\n"
        );
        fs::write(folder.path().join("a.dtb"), b"\xd0\x0d\xfe\xed\0\0\0\x08").unwrap();
        let mut job = Job::of_text(&folder.path().join("job.yaml"), &text).unwrap();
        let board_type = BoardType::by_name("qemu-virt-armv7").unwrap();
        let store = folder.path().join("store");
        let mut told = Vec::new();
        let mut tell = |what| {
            told.push(what);
            ControlFlow::Continue(())
        };
        let images = take_images(&store, &mut job, &board_type, &mut tell).unwrap();
        let boot = images.boot.unwrap();
        assert_eq!(cat(&boot.path, "/vmlinuz"), b"kernel");
        assert_eq!(cat(&boot.path, "/initrd.img"), b"ramdisk");
        assert_eq!(cat(&boot.path, "/dtb"), b"\xd0\x0d\xfe\xed\0\0\0\x08");
        assert_eq!(told[0], "downloading the image for testboot");
        job.deploy.as_mut().unwrap().dtb.as_mut().unwrap().path = boot.path;
        let mut go_on = |_| ControlFlow::Continue(());
        let error = take_images(&store, &mut job, &board_type, &mut go_on).unwrap_err();
        assert_eq!(error.class, ErrorClass::JobError);
        assert!(error.message.contains("it is no device tree"), "{}", error.message);
    }

    #[test]
    fn an_initial_ramdisk_and_modules_become_testrootfs() {
        let folder = TestFolder::new();
        let make = "mkdir -p ram/usr/lib ram/bin over/lib/modules/6.1 && ln -s usr/lib ram/lib && \
            echo box > ram/bin/box && ln ram/bin/box ram/bin/sh && \
            echo ko > over/lib/modules/6.1/a.ko && \
            (cd ram && find . | cpio --quiet -o -H newc | gzip > ../initrd.gz) && \
            tar -C over -czf modules.tgz lib";
        let mut shell = Command::new("sh");
        let made = shell.args(["-e", "-c", make]).current_dir(folder.path()).status().unwrap();
        assert!(made.success());
        let text = "name: x\ndeploy:\n  rootfs: initrd.gz\n  modules: modules.tgz\n  overlays: [{file: modules.tgz, path: /opt/}]\ntests: [{name: a, run: b}]\n";
        let mut job = Job::of_text(&folder.path().join("job.yaml"), text).unwrap();
        let board_type = BoardType::by_name("qemu-virt-armv7").unwrap();
        let store = folder.path().join("store");
        let mut go_on = |_| ControlFlow::Continue(());
        let images = take_images(&store, &mut job, &board_type, &mut go_on).unwrap();
        assert!(images.boot.is_none());
        let image = job.deploy.unwrap().rootfs.unwrap().path;
        assert_eq!(cat(&image, "/usr/lib/modules/6.1/a.ko"), b"ko\n");
        assert_eq!(cat(&image, "/bin/sh"), b"box\n");
        let modules = fs::read(folder.path().join("modules.tgz")).unwrap();
        assert_eq!(cat(&image, "/opt/modules.tgz"), modules);
    }
}
