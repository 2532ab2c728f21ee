//! What fuzzing begins with: the bytes of docs/protocol.md, the examples, and texts as boards print them, in the form that
//! each target reads.

use crate::board_files::SEPARATOR;
use crate::kernel_reports::samples;

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
        "deploy" => deploy(&blocks),
        "definitions" => definitions(),
        "kernel_reports" => kernel_reports(),
        "outputs" => outputs(),
        "board_files" => board_files(),
        "telnet" => telnet(),
        "lava" => lava(),
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

/// Jobs of the corpus, and a device.
fn lava() -> Vec<Vec<u8>> {
    let texts: [&str; 7] = [
        include_str!("../../../host-dispatcher/tests/lava/v2/timeouts-everywhere.yaml"),
        include_str!("../../../host-dispatcher/tests/lava/v2/artifacts-every-form.yaml"),
        include_str!("../../../host-dispatcher/tests/lava/v2/interactive-shell.yaml"),
        include_str!("../../../host-dispatcher/tests/lava/v2/kunit-monitors.yaml"),
        include_str!("../../../host-dispatcher/tests/lava/v2/multinode-server-clients.yaml"),
        include_str!("../../../host-dispatcher/tests/lava/v1/test-shell-repos-git-bzr.json"),
        include_str!("../../../host-dispatcher/tests/lava/devices/bbb-01.yaml"),
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// What serial servers say when a client comes: one that agrees to everything, one that refuses, one that counts.
fn telnet() -> Vec<Vec<u8>> {
    let servers: [&[u8]; 4] = [
        b"\xff\xfd\x00\xff\xfb\x00\xff\xfd\x2c\xff\xfa\x2c\x65\x00\x01\xc2\x00\xff\xf0U-Boot\r\n",
        b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x18\xff\xfe\x2c\xff\xfc\x00login:\r\x00\xff\xff",
        b"\xff\xfd\x2c\xff\xfa\x2c\x64ser2net\xff\xf0\xff\xfa\x2c\x6a\x0e\xff\xf0\xff\xfa\x2c\x6c\xff\xf0text",
        b"\xff\xfa\x18\x01\xff\xf0\xff\xf6\xff\xfa\x2c\x65\x00\xff\xff\xff\xff\x00\xff\xf1\xff\xf9",
    ];
    servers
        .iter()
        .flat_map(|server| [0, 5, 15].map(|mode| [&[mode][..], server].concat()))
        .collect()
}

/// The groups of a plan behind each header, whole and one by one.
fn deploy(blocks: &[Block]) -> Vec<Vec<u8>> {
    let header = |steps: &[u8]| {
        let length = (steps.len() as u16).to_le_bytes();
        [&[0], &length[..], &length, steps].concat()
    };
    let groups: Vec<Vec<u8>> = blocks
        .iter()
        .filter_map(|block| match block.name.split(' ').next() {
            Some("group") => Some(block.bytes.clone()),
            Some("steps") => Some(header(&block.bytes)),
            _ => None,
        })
        .collect();
    let headers = [[0, 9, 0, 40, 0], [1, 40, 80, 3, 7], [0, 255, 255, 200, 1]];
    let streams = groups.iter().cloned().chain([groups.concat()]);
    streams.flat_map(|stream| headers.map(|header| [&header[..], &stream].concat())).collect()
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

/// The examples, and what was made to break a reader of YAML.
fn definitions() -> Vec<Vec<u8>> {
    let head = "metadata: {format: Lava-Test Test Definition 1.0, name: x}\n";
    let examples = [
        include_str!("../../../examples/definition.yaml"),
        include_str!("../../../examples/suite/kernel.yaml"),
    ];
    let mut laughs = format!("{head}parse: &a [x,x,x,x,x,x,x,x,x]\n");
    for (from, to) in ('a'..='h').zip('b'..) {
        laughs.push_str(&format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(",")));
    }
    let text = "x".repeat(60_000);
    let hostile = [
        laughs,
        format!("{head}run: {{steps: [&a \"{text}\", {}]}}\n", vec!["*a"; 900].join(", ")),
        format!("{head}expected: &a [&b x]\nrun: {{steps: [*b, *a]}}\n"),
        format!("{head}run: {{steps: {}", "[".repeat(10_000)),
        format!("{head}parse: {}1{}\nrun: {{steps: [x]}}\n", "{a: ".repeat(40), "}".repeat(40)),
        format!("{head}run: &a\n  <<: *a\n  steps: [x]\n"),
        format!(
            "{head}parameters: {{A: {}, B: 0x{}, C: 1e999, D: .inf, E: -0, F: 1_0}}\nrun: {{steps: [x]}}\n",
            "9".repeat(400),
            "f".repeat(400)
        ),
        format!(
            "{head}parameters: {{A: \"it's\\n'\\\\''\", B: '''''', IFS: x}}\nrun: {{steps: ['x']}}\n"
        ),
        format!(
            "{head}install: {{git-repos: [{{url: u, branch: b}}], deps-x: [a b]}}\nrun: {{steps: [a: b]}}\n"
        ),
        format!("%YAML 1.2\n---\n{head}run: !!binary aGk=\n...\n---\n{head}"),
    ];
    let all = examples.into_iter().map(str::to_owned).chain(hostile);
    all.map(String::into_bytes).collect()
}

/// Each report on the raw line, in pstore and in the log.
fn kernel_reports() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut all = String::new();
    for text in samples::ALL.map(|(text, _)| text).into_iter().chain([samples::ARM_PANIC]) {
        let line = samples::console(text, 12_000_000);
        seeds.push([&[0, 7], line.as_bytes()].concat());
        let left = format!("Panic#1 Part1\n{}", line.replace("[   ", "<4>[   "));
        seeds.push([&[1], left.as_bytes()].concat());
        let mut records = vec![2];
        for (_, text) in samples::records(text, 0) {
            records.extend([1, 0, 0, 0, 9, 0]);
            records.extend(text.as_bytes());
        }
        seeds.push(records);
        all.push_str(&line);
    }
    seeds.push([&[0, 3], all.as_bytes()].concat());
    seeds
}

/// Signals, TAP and KTAP, between prose and lines that are too long.
fn outputs() -> Vec<Vec<u8>> {
    let signals = "\
<LAVA_SIGNAL_TESTSET START mm>
<LAVA_SIGNAL_STARTTC map>
x
<LAVA_SIGNAL_ENDTC map>
<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=map RESULT=pass UNITS=ms MEASUREMENT=1e3>
<LAVA_SIGNAL_TESTSET STOP>
<LAVA_SIGNAL_TESTREFERENCE a pass http://x>
<LAVA_SIGNAL_TESTRAISE no>
<LAVA_SIGNAL_TESTEVENT e>
<LAVA_SIGNAL_TESTFEEDBACK FEEDBACK ns>
";
    let tap = "\
TAP version 14
1..4
ok 1 - a
not ok 2 - b
  ---
  message: 'no'
  ...
ok 3 - c # SKIP no
Bail out! x
TAP version 13
# Subtest: a
    1..2
    ok 1
    not ok 2 # TODO
ok 1 - a
1..7
";
    let ktap = "\
[    1.5] KTAP version 1
[    1.5] 1..1
[    1.5]   KTAP version 1
[    1.5]   1..2
[    1.5]   ok 1 x
[    1.6]   # x: why
[    1.6]   not ok 2 y
[    1.6] ok 1 s
";
    let odd = "1..0 # SKIP none\n1..4294967295\nok 99999999999999999999\nok\n\u{1F600}\0\nok 1 no line end";
    let long = format!("{}\nok 1 - late\n{}", "x".repeat(4096), "y".repeat(9000));
    let returns = tap.replace('\n', "\r\n");
    let texts = [signals, tap, ktap, odd, &long, &returns];
    let cuts: [&[u8]; 2] = [&[], &[0, 9, 3, 1, 2, 40, 5]];
    let seed = |text: &&str| cuts.map(|cut| [cut, &[0xff], text.as_bytes()].concat());
    texts.iter().flat_map(seed).collect()
}

/// A run of two tests as the agent writes it down, and a hostile one.
fn board_files() -> Vec<Vec<u8>> {
    let separator = char::from(SEPARATOR).to_string();
    let hostile = include_str!("board_files/hostile.txt");
    [include_str!("board_files/whole.txt"), hostile]
        .map(|files| files.replace("\n====\n", &separator).into_bytes())
        .to_vec()
}
