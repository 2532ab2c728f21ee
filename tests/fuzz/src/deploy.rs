//! Plans: whatever the stream, nothing is read beyond a source nor written beyond the image, a step takes nothing that it
//! does not say, and how the stream is cut makes no difference.
//!
//! Input: whether it is a file, blocks and bytes of image and partition, bytes of the source, then the stream.

use agent_core::agent::deploy::{Limits, Plan, Storage, Trouble};
use agent_core::wire::response::Written;
use agent_core::wire::steps::BLOCK;

pub(crate) fn run(input: &[u8]) {
    let Some((&[kind, image, part, behind, source], stream)) = input.split_first_chunk() else {
        return;
    };
    let image_bytes = usize::from(image & 63) * BLOCK + usize::from(part) * 16;
    let before = Disk {
        target: pattern(image_bytes + usize::from(behind) * 100),
        old: (kind & 1 == 1).then(|| pattern(usize::from(behind) * 300)),
        source: pattern(usize::from(source) * 900),
        image_bytes,
    };
    let (whole, disk) = carry_out(&before, stream, usize::MAX);
    let (pieces, other) = carry_out(&before, stream, 1 + usize::from(part) % 97);
    assert_eq!(whole, pieces, "a stream means the same wherever it is cut");
    if whole.is_ok() {
        assert!(disk.target == other.target);
    }
    assert!(disk.target[image_bytes..] == before.target[image_bytes..], "behind the image");
}

/// A target, an old file if it is one, and a source.
#[derive(Clone)]
struct Disk {
    target: Vec<u8>,
    old: Option<Vec<u8>>,
    source: Vec<u8>,
    image_bytes: usize,
}

/// What was written and whether the plan has ended, and the disk then.
fn carry_out(
    before: &Disk,
    stream: &[u8],
    piece: usize,
) -> (Result<(Written, bool), Trouble>, Disk) {
    let mut disk = before.clone();
    let sizes = [disk.old.as_ref().unwrap_or(&disk.target).len(), disk.source.len()];
    let memory = vec![0xA5; Limits::STANDARD.memory()].into_boxed_slice();
    let is_in_place = disk.old.is_none();
    let plan = Plan::new(
        memory,
        Box::default(),
        Limits::STANDARD,
        before.image_bytes as u64,
        &sizes.map(|size| size as u64),
        is_in_place,
    );
    let mut plan = plan.expect("the image fits");
    for piece in stream.chunks(piece.min(4096)) {
        if let Err(trouble) = plan.push(piece) {
            return (Err(trouble), disk);
        }
        let mut left = TURNS_MAX;
        loop {
            match plan.work(&mut disk) {
                Ok((_, false)) => break,
                Ok((_, true)) => left -= 1,
                Err(trouble) => return (Err(trouble), disk),
            }
            assert!(left > 0, "work without end");
        }
    }
    (Ok((plan.written(), plan.has_ended())), disk)
}

impl Storage for Disk {
    fn read(&mut self, source: u8, offset: u64, out: &mut [u8]) -> Result<(), i32> {
        let from = match source {
            0 => self.old.as_ref().unwrap_or(&self.target),
            1 => &self.source,
            _ => panic!("there is no source {source}"),
        };
        out.copy_from_slice(&from[offset as usize..offset as usize + out.len()]);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), i32> {
        let end = offset as usize + bytes.len();
        assert!(end <= self.image_bytes && !bytes.is_empty(), "beyond the image");
        self.target[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, offset: u64, length: u64) -> Result<(), i32> {
        self.write(offset, &vec![0; length as usize])
    }

    fn sync(&mut self) -> Result<(), i32> {
        Ok(())
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| ((at / 7) ^ (at / BLOCK)) as u8).collect()
}

/// A piece of the stream has at most one step for each of its bytes, each of some blocks, and a packed group unpacks to
/// more steps than that.
const TURNS_MAX: u32 = 20_000;
