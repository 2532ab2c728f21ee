//! The output of a test: however a stream is cut on its way, and whatever of it the live log leaves out, every line is
//! shown once, and the same cases are found in it.

use arbitrary::Unstructured;
use host_dispatcher::job::event::Source;
use host_dispatcher::job::output::{Found, OutputReader};
use host_dispatcher::script::output::{LINE_MAX, Line, Outputs};

/// How it is cut, up to the first 0xff, and the stream.
pub(crate) fn run(input: &[u8]) {
    let at = input.iter().position(|byte| *byte == 0xff).unwrap_or(0);
    let (cuts, stream) = input.split_at(at);
    let stream = stream.strip_prefix(&[0xff]).unwrap_or(stream);
    let (found, lines) = reference(stream);
    check(&found, stream);
    for has_gaps in [false, true] {
        let (told, mut shown) = through_the_line(stream, &mut Unstructured::new(cuts), has_gaps);
        assert_eq!(told, found, "with gaps: {has_gaps}");
        shown.sort_by_key(|line| line.offset);
        let shown: Vec<(u64, Vec<u8>)> =
            shown.into_iter().map(|line| (line.offset, line.bytes)).collect();
        assert_eq!(shown, lines, "with gaps: {has_gaps}");
    }
}

/// All of the stream at once.
fn reference(stream: &[u8]) -> (Vec<Found>, Vec<(u64, Vec<u8>)>) {
    let mut reader = OutputReader::new();
    let (mut found, mut lines, mut offset) = (Vec::new(), Vec::new(), 0);
    let stream_end = stream.len();
    for whole in stream.split_inclusive(|byte| *byte == b'\n') {
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        found.extend(reader.line(&line[..line.len().min(LINE_MAX)]));
        let mut at = offset;
        for piece in line.chunks(LINE_MAX) {
            lines.push((at as u64, piece.to_vec()));
            at += piece.len();
        }
        if line.is_empty() {
            lines.push((offset as u64, Vec::new()));
        }
        offset += whole.len();
    }
    assert_eq!(offset, stream_end);
    found.extend(reader.finish());
    (found, lines)
}

/// As `script::live` and `script::complete` take it: pieces that come or do not, then the file.
fn through_the_line(
    stream: &[u8],
    cuts: &mut Unstructured<'_>,
    has_gaps: bool,
) -> (Vec<Found>, Vec<Line>) {
    let mut outputs = Outputs::default();
    let mut reader = OutputReader::new();
    let (mut found, mut shown, mut at, mut followed) = (Vec::new(), Vec::new(), 0, Vec::new());
    while at < stream.len() {
        let cut: u8 = cuts.arbitrary().unwrap_or(0);
        let end = stream.len().min(at + 1 + usize::from(cut >> 1) * 9);
        let is_left_out = has_gaps && cut & 1 == 1;
        if !is_left_out {
            let taken = outputs.take_live(7, Source::Stdout, at as u64, &stream[at..end]);
            followed.extend_from_slice(&stream[end - taken.appendable..end]);
            for line in taken.lines {
                if line.is_first && line.is_in_order {
                    found.extend(reader.line(&line.bytes));
                }
                shown.push(line);
            }
        }
        at = end;
    }
    assert!(stream.starts_with(&followed) && (has_gaps || followed == stream));
    let mut rest = outputs.rest(7, Source::Stdout);
    let from = rest.from();
    let mut late = Vec::new();
    for (offset, byte) in (from..).zip(&stream[from as usize..]) {
        late.extend(rest.push(offset, *byte));
    }
    late.extend(rest.finish());
    for line in late {
        if line.is_first && line.is_in_order {
            found.extend(reader.line(&line.bytes));
        }
        if !rest.is_shown(&line) {
            shown.push(line);
        }
    }
    found.extend(reader.finish());
    (found, shown)
}

fn check(found: &[Found], stream: &[u8]) {
    let lines = stream.iter().filter(|byte| **byte == b'\n').count() + 1;
    assert!(found.len() <= 20 * lines + 2000, "{} of {lines} lines", found.len());
    for found in found {
        if let Found::CaseEnded(case) = found {
            assert!(!case.case.is_empty() && case.case.len() <= 20 * 512);
            assert!(case.why.as_ref().is_none_or(|why| why.len() <= 4096 + 64));
            assert!(case.measurement.is_none_or(f64::is_finite));
        }
    }
}
