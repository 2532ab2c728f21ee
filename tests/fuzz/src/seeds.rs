//! What fuzzing begins with: the bytes of docs/protocol.md, in the form that each target reads.

/// The inputs for a target, at most a few hundred bytes each.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let blocks = blocks(include_str!("../../../docs/protocol.md"));
    match target {
        "demultiplexer" => demultiplexer(&blocks),
        // The page itself is text with matches of every length.
        "pack" => include_str!("../../../docs/protocol.md")
            .as_bytes()
            .chunks(4096)
            .map(<[u8]>::to_vec)
            .collect(),
        "frames" => blocks.iter().map(|block| block.bytes.clone()).collect(),
        "messages" => messages(&blocks),
        "agent" => agent(&blocks),
        // Operations, not bytes: mutation finds them sooner than anybody writes them down.
        _ => vec![(0..200).collect()],
    }
}

/// A block marked `hex`.
struct Block {
    name: String,
    bytes: Vec<u8>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.any(|line| line == "```hex") {
        let name = lines.next().unwrap_or_default().to_owned();
        let bytes = lines
            .by_ref()
            .take_while(|line| *line != "```")
            .flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace())
            .map(|digits| u8::from_str_radix(digits, 16).expect("two hex digits"))
            .collect();
        blocks.push(Block { name, bytes });
    }
    blocks
}

/// Both ends' whole exchange, and every frame, in each mode.
fn demultiplexer(blocks: &[Block]) -> Vec<Vec<u8>> {
    let said = |who: &str| -> Vec<u8> {
        let of = |block: &&Block| block.name.starts_with(who);
        blocks.iter().filter(of).flat_map(|block| block.bytes.clone()).collect()
    };
    let lines = [said("exchange board"), said("exchange host"), said("text-safe"), said("binary")];
    let text = b"U-Boot 2023.01\r\nlogin: \x1b[0m\x00\x1e\x81\x80text\r\n\x1f\x00\x05abc\x00";
    let lines = lines.iter().map(Vec::as_slice).chain([&text[..]]);
    let modes = |line| (0..32).map(move |mode| pieces(&[mode, 7, 40, 0, 12], line));
    lines.flat_map(modes).collect()
}

/// The line in pieces, and behind it what others could say: frames of every kind, a beacon, a hello and its answer.
fn pieces(header: &[u8], line: &[u8]) -> Vec<u8> {
    let mut seed = header.to_vec();
    for piece in line.chunks(255) {
        seed.extend([0, piece.len() as u8]);
        seed.extend(piece);
    }
    seed.extend([5, 0, 7, 7]);
    for kind in 0..6 {
        for flags in [1, 2] {
            seed.extend([4, flags, kind, 9, 0, 0, 3, 0x20, b'a', b'b']);
        }
    }
    seed.extend([6, 1, 2, 3, 4, 1, 1, 8, 7, 0, 7, 7, 1, 16, 1, 2, 3, 4]);
    seed
}

/// Bodies behind the byte that says where to cut them, whole messages, and what else is read so.
fn messages(blocks: &[Block]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for block in blocks {
        seeds.push([&[3], &block.bytes[..]].concat());
        if block.name.starts_with("message") {
            seeds.push([&[5], &block.bytes[8..]].concat());
        }
    }
    seeds
}

/// Requests, one after the other, each a step of the agent's target.
fn agent(blocks: &[Block]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for role in 0..4 {
        let mut all = vec![role];
        for block in blocks.iter().filter(|block| block.name.ends_with(" request")) {
            let (method, body) = (&block.bytes[2..4], &block.bytes[8..]);
            let mut step = vec![1, method[0], method[1], body.len() as u8];
            step.extend_from_slice(body);
            // Three reports, and some time.
            step.extend([5, 0, 3, 5, 0, 4, 5, 0, 9, 4, 10]);
            seeds.push([&[role], &step[..]].concat());
            all.extend(step);
        }
        seeds.push(all);
    }
    seeds
}
