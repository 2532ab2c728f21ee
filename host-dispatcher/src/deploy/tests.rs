//! Random pairs of images, planned and carried out, in one go and with cuts.

use agent_core::tree::leaf;
use agent_core::wire::steps::BLOCK;

use super::content::{Content, FileContent};
use super::effort::Effort;
use super::model::Board;
use super::plan::{Held, Limits, Plan, PlanStep, Task};
use super::state::State;
use super::tree::Tree;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        // Words of few letters: like what images are made of they can be packed, and no two blocks are the same.
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            let word = self.next();
            bytes.extend((word & 0x0F0F_0F0F_0F0F).to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    fn range(&mut self, bound: usize) -> std::ops::Range<usize> {
        let (one, other) = (self.below(bound + 1), self.below(bound + 1));
        one.min(other)..one.max(other)
    }
}

fn image(random: &mut Random) -> Vec<u8> {
    let mut image = Vec::new();
    for _ in 0..1 + random.below(6) {
        let blocks = 1 + random.below(10);
        match random.below(4) {
            0 => image.resize(image.len() + blocks * BLOCK, 0),
            1 => {
                let block = random.bytes(BLOCK);
                (0..blocks).for_each(|_| image.extend(&block));
            }
            _ => image.extend(random.bytes(blocks * BLOCK)),
        }
    }
    image
}

fn change(random: &mut Random, image: &mut Vec<u8>) {
    let blocks = image.len() / BLOCK;
    let run = random.range(blocks);
    let (start, end) = (run.start * BLOCK, run.end * BLOCK);
    match random.below(11) {
        0 => {
            for _ in 0..1 + random.below(40) {
                let at = random.below(image.len());
                image[at] = random.next() as u8;
            }
        }
        1 => {
            let length = 1 + random.below(300);
            let inserted = random.bytes(length);
            let at = random.below(image.len());
            image.splice(at..at, inserted);
        }
        2 => {
            let at = random.below(image.len());
            let length = random.below(300).min(image.len() - at - 1);
            image.drain(at..at + length);
        }
        3 => {
            let run: Vec<u8> = image.drain(start..end).collect();
            let at = random.below(image.len() / BLOCK + 1) * BLOCK;
            image.splice(at.min(image.len())..at.min(image.len()), run);
        }
        4 => image.rotate_left(random.below(blocks + 1) * BLOCK),
        5 if blocks > 0 => image.rotate_right(BLOCK),
        6 => {
            for pair in image[start..end].chunks_exact_mut(2 * BLOCK) {
                let (one, other) = pair.split_at_mut(BLOCK);
                one.swap_with_slice(other);
            }
        }
        7 => image[start..end].fill(0),
        8 => {
            let run = image[start..end].to_vec();
            let to = random.below(blocks - run.len() / BLOCK + 1) * BLOCK;
            image[to..to + run.len()].copy_from_slice(&run);
        }
        9 => {
            let new = random.bytes(end - start);
            image[start..end].copy_from_slice(&new);
        }
        _ => {
            let length = 1 + random.below(image.len() + 5000);
            let more = random.bytes(length.saturating_sub(image.len()));
            image.truncate(length);
            image.extend(more);
        }
    }
    if image.is_empty() {
        image.push(1);
    }
}

/// What a scan of the board would tell, some of it left out.
fn state(bytes: &[u8], random: &mut Random) -> State {
    let mut state = State::unknown(bytes.len() as u64);
    let (every, width) = (random.below(8), 8 + random.below(9));
    for (block, number) in bytes.chunks(BLOCK).zip(0..) {
        if every != 1 || !random.one_in(4) {
            state.set(number, &leaf(block)[..width]);
        }
    }
    state
}

fn stream(plan: &Plan<'_>, threads: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    let encoded = plan
        .encode(Effort::Low, threads, &mut |bytes, _| {
            stream.extend(bytes);
            Ok(())
        })
        .unwrap();
    assert_eq!(encoded.stream_bytes, stream.len() as u64);
    stream
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let old = image(&mut random);
    let mut new = old.clone();
    for _ in 0..random.below(4) {
        change(&mut random, &mut new);
    }
    let is_in_place = !random.one_in(4);
    let mut sources = vec![old.clone()];
    // The partition is larger than the image, as a rule, or much smaller than what the host thinks of it.
    if is_in_place {
        let tail = random.below(3) * BLOCK + random.below(2) * 77;
        sources[0].resize(old.len().max(new.len()) + tail, 0x5A);
    }
    for _ in 0..random.below(3) {
        let mut other = if random.one_in(2) { new.clone() } else { old.clone() };
        change(&mut random, &mut other);
        sources.push(other);
    }
    let mut library = vec![old.clone()];
    if random.one_in(2) {
        library.extend(sources[1..].to_vec());
    }
    if random.one_in(6) {
        library.clear();
    }
    let limits = match random.below(4) {
        0 => Limits { bin_max: BLOCK, dictionary_max: 2 * BLOCK },
        1 => Limits { bin_max: 1 << 20, dictionary_max: 0 },
        _ => Limits::default(),
    };
    let mut board = Board {
        sources,
        beside: (!is_in_place).then(Vec::new),
        image_bytes: new.len(),
        limits,
        unsynced: Vec::new(),
        most_unsynced: 0,
    };
    let target = Tree::of(&new).unwrap();
    let trees: Vec<Tree> = library.iter().map(|one| Tree::of(one).unwrap()).collect();
    let held: Vec<Held<'_>> =
        trees.iter().zip(&library).map(|(tree, content)| Held { tree, content }).collect();
    let plan = |board: &Board, random: &mut Random| {
        let mut sources = board.sources.clone();
        if is_in_place && random.one_in(2) {
            sources[0].truncate(new.len());
        }
        let states: Vec<State> = sources.iter().map(|one| state(one, random)).collect();
        let states: Vec<&State> = states.iter().collect();
        let target = Held { tree: &target, content: &new };
        let task = Task { target, is_in_place, sources: &states, library: &held, limits };
        let plan = Plan::new(&task).unwrap();
        let blocks = plan.blocks();
        assert_eq!(blocks.kept + blocks.zero + blocks.copied + blocks.literal, held_blocks(&new));
        stream(&plan, 1 + random.below(2))
    };
    let is_right = |board: &Board| match &board.beside {
        Some(beside) => *beside == new,
        None => board.sources[0][..new.len()] == new,
    };
    let untouched = board.sources.clone();
    let whole = plan(&board, &mut random);
    for _ in 0..random.below(3) {
        let cut = random.below(whole.len());
        let mut torn = board.clone();
        assert!(!torn.execute(&whole[..cut]), "a cut stream has no end");
        tear(&mut torn, &mut random);
        let again = plan(&torn, &mut random);
        assert!(torn.execute(&again) && is_right(&torn), "after a cut at {cut}");
    }
    assert!(board.execute(&whole) && is_right(&board), "in one go");
    assert!(board.unsynced.is_empty(), "what was written last is synced");
    let first = usize::from(is_in_place);
    assert!(board.sources[first..] == untouched[first..], "only the target changes");
    if is_in_place {
        assert!(board.sources[0][new.len()..] == untouched[0][new.len()..], "the tail stays");
    }
}

fn held_blocks(bytes: &[u8]) -> u32 {
    bytes.len().div_ceil(BLOCK) as u32
}

/// Power fails: of what was written since the last sync, some blocks are as they were. A file beside is begun anew.
fn tear(board: &mut Board, random: &mut Random) {
    let unsynced = std::mem::take(&mut board.unsynced);
    match &mut board.beside {
        Some(beside) => beside.clear(),
        None => {
            for (start, before) in unsynced.into_iter().rev() {
                if random.one_in(3) {
                    board.sources[0][start..start + before.len()].copy_from_slice(&before);
                }
            }
        }
    }
}

fn run_all(seeds: std::ops::Range<u64>) {
    let given = std::env::var("PUMICE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = given.map_or(seeds, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = result {
            eprintln!(
                "again: PUMICE_SEED={seed} cargo test -p host-dispatcher --lib deploy::tests"
            );
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn plans_make_images_first_half() {
    run_all(0..250);
}

#[test]
fn plans_make_images_second_half() {
    run_all(250..500);
}

/// Old and new blocks by letters, `.` for zeros; what must come out: kept, zero, copied, literal, stashed, and steps
/// without syncs.
const ADVERSE: [(&str, &str, [u32; 5], usize); 14] = [
    ("abcd", "abcd", [4, 0, 0, 0, 0], 0),
    ("....", "....", [4, 0, 0, 0, 0], 0),
    // Shifts by one, down and up: one step, as memmove.
    ("abcdefgh", "bcdefghh", [1, 0, 7, 0, 0], 1),
    ("abcdefgh", "aabcdefg", [1, 0, 7, 0, 0], 1),
    ("abcdefgh", "aaabcdef", [1, 0, 7, 0, 0], 2),
    // Circles without room: one block is sent.
    ("ab", "ba", [0, 0, 1, 1, 0], 2),
    ("abcdefgh", "bcdefgha", [0, 0, 7, 1, 0], 2),
    ("abcdefgh", "habcdefg", [0, 0, 7, 1, 0], 3),
    // With room none is.
    ("ab.", "ba.", [1, 0, 2, 0, 1], 3),
    ("abcdefgh.", "bcdefgha.", [1, 0, 8, 0, 1], 3),
    ("abcdefghx", "habcdefg.", [0, 1, 8, 0, 1], 5),
    // What becomes zeros is read before.
    ("abcd....", "....abcd", [0, 4, 4, 0, 0], 2),
    // The same new block is sent once.
    ("abcd", "axxx", [1, 0, 2, 1, 0], 3),
    // Everything moves away from below everything.
    ("abcdefgh", "efghabcd", [0, 0, 4, 4, 0], 2),
];

#[test]
fn adverse_overlaps_cost_no_more_than_they_must() {
    let image = |text: &str| -> Vec<u8> {
        let block =
            |byte: u8| if byte == b'.' { vec![0; BLOCK] } else { Random(byte.into()).bytes(BLOCK) };
        text.bytes().flat_map(block).collect()
    };
    for (old, new, expected, steps) in ADVERSE {
        let (before, after) = (image(old), image(new));
        let (old_tree, new_tree) = (Tree::of(&before).unwrap(), Tree::of(&after).unwrap());
        let limits = Limits::default();
        let task = Task {
            target: Held { tree: &new_tree, content: &after },
            is_in_place: true,
            sources: &[&State::of(&old_tree)],
            library: &[Held { tree: &old_tree, content: &before }],
            limits,
        };
        let plan = Plan::new(&task).unwrap();
        let blocks = plan.blocks();
        let found = [blocks.kept, blocks.zero, blocks.copied, blocks.literal, blocks.stashed];
        let found_steps = plan.steps.iter().filter(|step| **step != PlanStep::Sync).count();
        let mut board = Board {
            sources: vec![before.clone()],
            beside: None,
            image_bytes: after.len(),
            limits,
            unsynced: Vec::new(),
            most_unsynced: 0,
        };
        assert!(board.execute(&stream(&plan, 1)) && board.sources[0] == after, "{old} {new}");
        assert_eq!((found, found_steps), (expected, steps), "{old} {new} {:?}", plan.steps);
    }
}

/// Plans a pair of files, tells what it costs, and carries it out:
/// `PUMICE_OLD=A PUMICE_NEW=B cargo test --release -p host-dispatcher --lib a_pair_of_files -- --ignored --nocapture`
#[test]
#[ignore = "for measuring: needs two images"]
fn a_pair_of_files() {
    let open = |name: &str| {
        let path = std::env::var(name).unwrap_or_else(|_| panic!("{name} names an image"));
        let bytes = std::fs::metadata(&path).unwrap().len();
        FileContent::new(std::fs::File::open(path).unwrap(), bytes)
    };
    let all = |content: &FileContent| {
        let mut bytes = vec![0; (content.bytes() as usize).next_multiple_of(BLOCK)];
        content.read(0, &mut bytes).unwrap();
        bytes.truncate(content.bytes() as usize);
        bytes
    };
    let (old, new) = (open("PUMICE_OLD"), open("PUMICE_NEW"));
    let (old_tree, new_tree) = (Tree::of(&old).unwrap(), Tree::of(&new).unwrap());
    eprintln!("trees made");
    let is_empty = std::env::var_os("PUMICE_EMPTY").is_some();
    let state = if is_empty { State::unknown(old.bytes()) } else { State::of(&old_tree) };
    let limits = Limits::default();
    let task = Task {
        target: Held { tree: &new_tree, content: &new },
        is_in_place: true,
        sources: &[&state],
        library: &[Held { tree: &old_tree, content: &old }],
        limits,
    };
    let plan = Plan::new(&task).unwrap();
    eprintln!("planned: {plan:?}");
    let mut stream = Vec::new();
    let encoded = plan.encode(Effort::High, 2, &mut |bytes, _| {
        stream.extend(bytes);
        Ok(())
    });
    eprintln!("encoded: {:?}", encoded.unwrap());
    drop(plan);
    if std::env::var_os("PUMICE_DRY").is_some() {
        return;
    }
    let mut board = Board {
        sources: vec![all(&old)],
        beside: None,
        image_bytes: new.bytes() as usize,
        limits,
        unsynced: Vec::new(),
        most_unsynced: 0,
    };
    assert!(board.execute(&stream));
    eprintln!("carried out, at most {} blocks between two syncs", board.most_unsynced);
    assert!(board.sources[0][..new.bytes() as usize] == all(&new));
}
