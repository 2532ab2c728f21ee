//! Whole images through the thread: sizes, digests, packings, and the ends that are not the good one.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use agent_core::wire::block::{BIN_MAX, STEP_LEN};
use sha2::{Digest, Sha256};

use super::model::execute;
use super::steps::Effort;
use super::worker::{ImageEvent, ImageReader, ImageRequest};
use crate::io::test_folder::TestFolder;

struct Running {
    reader: ImageReader,
    woken: Receiver<()>,
    wakes: usize,
}

fn start(path: &Path, sha256: Option<[u8; 32]>) -> Running {
    let (wake, woken) = channel();
    let request = ImageRequest { path: path.to_owned(), sha256, effort: Effort::Low };
    let reader = ImageReader::start(request, move || wake.send(()).unwrap_or_default()).unwrap();
    Running { reader, woken, wakes: 0 }
}

impl Running {
    fn next(&mut self) -> Option<ImageEvent> {
        loop {
            match self.reader.poll() {
                Some(event) => return Some(event),
                None => self.wait()?,
            }
        }
    }

    fn wait(&mut self) -> Option<()> {
        self.wakes += 1;
        self.woken.recv().ok()
    }

    fn failure(&mut self) -> String {
        loop {
            match self.next().unwrap() {
                ImageEvent::Failed(error) => return error.to_string(),
                ImageEvent::Steps { .. } | ImageEvent::Complete { .. } => {
                    panic!("a step was given out")
                }
                ImageEvent::Sized { .. } => {}
            }
        }
    }
}

/// Text, a bin of zeros and more, noise, zeros.
fn image() -> Vec<u8> {
    let mut image = b"a line of text\n".repeat(3000);
    image.resize(5 * BIN_MAX, 0);
    image.extend(noise(300_000));
    image.resize(image.len() + 1_000_003, 0);
    image
}

/// Bytes that no packer makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn write(folder: &TestFolder, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn check(path: &Path, image: &[u8], sha256: Option<[u8; 32]>) {
    let digest: [u8; 32] = Sha256::digest(image).into();
    let mut running = start(path, sha256);
    let (mut steps, mut progress) = (Vec::new(), 0);
    let Some(ImageEvent::Sized { bytes, .. }) = running.next() else {
        panic!("the size comes first")
    };
    assert_eq!(bytes, image.len() as u64);
    loop {
        match running.next().unwrap() {
            ImageEvent::Steps { bytes, image_bytes } => {
                steps.extend(bytes);
                assert!(image_bytes >= progress);
                progress = image_bytes;
            }
            ImageEvent::Complete { bytes, sha256 } => {
                assert_eq!(
                    (bytes, progress, sha256),
                    (image.len() as u64, image.len() as u64, digest)
                );
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(running.reader.poll().is_none());
    let mut partition = vec![0x5a; image.len()];
    assert_eq!(execute(&steps, &mut partition), image.len() as u64);
    assert!(partition == image);
}

#[test]
fn every_packing_makes_the_same_image() {
    let folder = TestFolder::new();
    let image = image();
    let (half, other_half) = image.split_at(image.len() / 2);
    let gzip = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let xz = |bytes: &[u8]| {
        let mut xz =
            lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz.write_all(bytes).unwrap();
        xz.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    };
    let skipped = [0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let digest: [u8; 32] = Sha256::digest(&image).into();
    for (name, bytes) in [
        ("raw", image.clone()),
        ("gz", gzip(&image)),
        ("two.gz", [gzip(half), gzip(other_half)].concat()),
        ("xz", xz(&image)),
        ("two.xz", [xz(half), xz(other_half)].concat()),
        ("zst", zstd(&image)),
        ("two.zst", [&skipped[..], &zstd(half), &skipped, &zstd(other_half)].concat()),
    ] {
        let path = write(&folder, name, &bytes);
        check(&path, &image, None);
        check(&path, &image, Some(digest));
    }
}

#[test]
fn a_sparse_file_costs_what_it_holds() {
    let folder = TestFolder::new();
    let path = folder.path().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.write_all_at(b"one", 70_000).unwrap();
    file.set_len(100_000_001).unwrap();
    let mut image = vec![0; 100_000_001];
    image[70_000..70_003].copy_from_slice(b"one");
    check(&path, &image, None);
}

#[test]
fn a_wrong_digest_is_refused_before_a_step() {
    let folder = TestFolder::new();
    let path = write(&folder, "image", &image());
    let error = start(&path, Some([0xab; 32])).failure();
    assert!(error.contains("(of its unpacked bytes) and not abababab"), "{error}");
}

#[test]
fn an_image_that_cannot_be_read_says_so() {
    let folder = TestFolder::new();
    let error = start(&folder.path().join("none"), None).failure();
    assert!(error.ends_with("is missing"), "{error}");
    let path = write(&folder, "cut.gz", &[0x1f, 0x8b, 8, 0, 0, 0]);
    let error = start(&path, None).failure();
    assert!(error.contains("damaged or cut short gzip data"), "{error}");
}

#[test]
fn nobody_takes_and_little_waits() {
    let folder = TestFolder::new();
    let path = write(&folder, "noise", &noise(5_000_000));
    let mut running = start(&path, None);
    assert!(matches!(running.next(), Some(ImageEvent::Sized { .. })));
    // The thread wakes once for the size and once for each chunk that has found room, and then no more.
    while running.wakes < 17 {
        running.wait().unwrap();
    }
    let mut waiting = 0;
    for _ in 0..16 {
        let Some(ImageEvent::Steps { bytes, .. }) = running.reader.poll() else {
            panic!("a chunk waits")
        };
        waiting += bytes.len();
    }
    assert!(waiting <= 16 * (32 * 1024 + 2 * (BIN_MAX + STEP_LEN)), "{waiting}");
    // Dropped in the middle: the thread ends, and with it the other end of `woken`.
    let Running { reader, woken, .. } = running;
    drop(reader);
    while woken.recv().is_ok() {}
}

#[test]
fn a_file_that_grows_is_noticed() {
    let folder = TestFolder::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(&noise(5_000_000)).unwrap();
    let gzip = gzip.finish().unwrap();
    let path = write(&folder, "image.gz", &gzip);
    // The second pass waits for its chunks to be taken long before it comes to the file's end.
    let mut running = start(&path, None);
    assert!(matches!(running.next(), Some(ImageEvent::Sized { .. })));
    let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    (&file).write_all(&gzip).unwrap();
    let end = loop {
        match running.next().unwrap() {
            ImageEvent::Steps { .. } => {}
            other => break other,
        }
    };
    let ImageEvent::Failed(error) = end else { panic!("{end:?}") };
    assert!(error.to_string().ends_with("changed while it was read"), "{error}");
}
