//! The outputs of tests as lines: what came live, where something was left out, and what the files still have to bring.
//!
//! Pure. Everything is counted in bytes of the board's file. A line that came live behind a gap is shown as soon as its
//! beginning is certain, which is behind the next line end; so what is shown is always whole lines, and so are the holes.

use std::collections::HashMap;

use crate::job::event::Source;

/// A line of output that is longer becomes several.
pub const LINE_MAX: usize = 4096;

/// A whole line without its end, or a piece of one that is longer than [`LINE_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it begins in its file.
    pub offset: u64,
    /// It is a line's beginning.
    pub is_first: bool,
    /// It follows on all before it, from the first byte on: none was left out.
    pub is_in_order: bool,
    /// The text.
    pub bytes: Vec<u8>,
}

/// What a piece of the live log brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes that were left out before it.
    pub elided: u64,
    /// How many of its last bytes follow on all before them, and may be appended to the live file.
    pub appendable: usize,
    /// The lines that ended in it.
    pub lines: Vec<Line>,
}

/// What is known of the outputs of all tests.
#[derive(Debug, Default)]
pub struct Outputs {
    of: HashMap<(u16, Source), Output>,
}

#[derive(Debug, Default)]
struct Output {
    /// Where the live log is.
    next: u64,
    /// All bytes before this one came.
    contiguous: u64,
    /// Whole lines that were shown: first byte, and the one behind the last.
    shown: Vec<(u64, u64)>,
    /// The first of them ends inside of a long line.
    ends_inside: bool,
    splitter: Splitter,
    /// Behind a gap, in the middle of a line.
    is_skipping: bool,
}

impl Outputs {
    /// A piece of an output came live, from byte `offset` on.
    pub fn take_live(&mut self, test: u16, source: Source, offset: u64, bytes: &[u8]) -> Taken {
        let output = self.of.entry((test, source)).or_default();
        let seen = usize::try_from(output.next.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(bytes) = bytes.get(seen..).filter(|bytes| !bytes.is_empty()) else {
            return Taken::default();
        };
        let mut taken = Taken { elided: offset.saturating_sub(output.next), ..Taken::default() };
        if taken.elided > 0 {
            output.next = offset;
            output.splitter = Splitter::default();
            output.is_skipping = true;
        }
        if output.next == output.contiguous {
            output.contiguous += bytes.len() as u64;
            taken.appendable = bytes.len();
        }
        for byte in bytes {
            let at = output.next;
            output.next += 1;
            if output.is_skipping {
                if *byte == b'\n' {
                    output.is_skipping = false;
                    output.splitter = Splitter::at(output.next);
                    output.shown.push((output.next, output.next));
                }
                continue;
            }
            if let Some(line) = output.splitter.push(at, *byte) {
                let end = output.splitter.from;
                match output.shown.last_mut() {
                    Some(last) => last.1 = end,
                    None => output.shown.push((0, end)),
                }
                let is_in_order = output.shown.len() == 1 && output.shown[0].0 == 0;
                if is_in_order {
                    output.ends_inside = output.splitter.is_inside;
                }
                taken.lines.push(Line { is_in_order, ..line });
            }
        }
        taken
    }

    /// Gives up what is known of an output, for its file to bring the rest. [`Self::end_rest`] takes it back.
    pub fn rest(&mut self, test: u16, source: Source) -> Rest {
        let output = self.of.remove(&(test, source)).unwrap_or_default();
        // The lines before the first gap have been dealt with.
        let from = output.shown.first().filter(|first| first.0 == 0).map_or(0, |first| first.1);
        let splitter = Splitter { is_inside: output.ends_inside, ..Splitter::at(from) };
        Rest { shown: output.shown, splitter }
    }

    /// The file brought the rest, up to this byte. A file that is read once more, and is longer then, goes on behind it.
    pub fn end_rest(&mut self, test: u16, source: Source, rest: Rest, end: u64) {
        let ends_inside = rest.splitter.is_inside;
        let output = Output { next: end, shown: vec![(0, end)], ends_inside, ..Output::default() };
        self.of.insert((test, source), output);
    }
}

/// Brings what the live log left out, from the board's file.
#[derive(Debug)]
pub struct Rest {
    shown: Vec<(u64, u64)>,
    splitter: Splitter,
}

impl Rest {
    /// The first byte of the file that is wanted.
    pub fn from(&self) -> u64 {
        self.splitter.from
    }

    /// The byte at `offset`, each in its turn; a line that ended with it.
    pub fn push(&mut self, offset: u64, byte: u8) -> Option<Line> {
        self.splitter.push(offset, byte)
    }

    /// The line that has no end.
    pub fn finish(&mut self) -> Option<Line> {
        self.splitter.take()
    }

    /// Whether a line was shown live.
    pub fn is_shown(&self, line: &Line) -> bool {
        let behind = self.shown.partition_point(|shown| shown.1 <= line.offset);
        self.shown.get(behind).is_some_and(|shown| shown.0 <= line.offset)
    }
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Splitter {
    line: Vec<u8>,
    /// Where what is in `line` begins.
    from: u64,
    /// It is not the line's beginning.
    is_inside: bool,
}

impl Splitter {
    fn at(from: u64) -> Self {
        Self { from, ..Self::default() }
    }

    fn push(&mut self, offset: u64, byte: u8) -> Option<Line> {
        if byte == b'\n' {
            // The end of a line that was cut at its very last byte is no line of its own.
            let line = if self.is_inside && self.line.is_empty() { None } else { Some(self.cut()) };
            (self.from, self.is_inside) = (offset + 1, false);
            return line;
        }
        self.line.push(byte);
        if self.line.len() < LINE_MAX {
            return None;
        }
        let line = self.cut();
        (self.from, self.is_inside) = (offset + 1, true);
        Some(line)
    }

    fn cut(&mut self) -> Line {
        let bytes = std::mem::take(&mut self.line);
        Line { offset: self.from, is_first: !self.is_inside, is_in_order: true, bytes }
    }

    fn take(&mut self) -> Option<Line> {
        if self.line.is_empty() {
            return None;
        }
        let line = self.cut();
        // What may follow on it is no line of its own.
        self.is_inside = true;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use agent_core::xorshift::Xorshift32;

    use super::*;

    const OUT: Source = Source::Stdout;

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| std::str::from_utf8(&line.bytes).unwrap()).collect()
    }

    #[test]
    fn behind_a_gap_only_whole_lines_are_shown() {
        let mut outputs = Outputs::default();
        let taken = outputs.take_live(0, OUT, 0, b"one\ntw");
        assert_eq!((texts(&taken.lines), taken.appendable), (vec!["one"], 6));
        let taken = outputs.take_live(0, OUT, 10, b"ree\nfour\nfi");
        assert_eq!((taken.elided, taken.appendable), (4, 0));
        assert_eq!(texts(&taken.lines), ["four"]);
        assert!(!taken.lines[0].is_in_order);
        // Sent again in another session: nothing is taken twice.
        assert_eq!(outputs.take_live(0, OUT, 10, b"ree\nfour\n"), Taken::default());
        let file = b"one\ntwo\nthree\nfour\nfive\nsix";
        let mut rest = outputs.rest(0, OUT);
        assert_eq!(rest.from(), 4);
        let mut shown = Vec::new();
        for (offset, byte) in (4..).zip(&file[4..]) {
            shown.extend(rest.push(offset, *byte));
        }
        shown.extend(rest.finish());
        let holes: Vec<Line> = shown.iter().filter(|line| !rest.is_shown(line)).cloned().collect();
        assert_eq!(texts(&holes), ["two", "three", "five", "six"]);
    }

    #[test]
    fn a_file_that_is_read_again_goes_on_where_it_ended() {
        let mut outputs = Outputs::default();
        let mut read = |file: &[u8]| {
            let mut rest = outputs.rest(0, OUT);
            let mut lines = Vec::new();
            for (offset, byte) in (rest.from()..).zip(&file[rest.from() as usize..]) {
                lines.extend(rest.push(offset, *byte));
            }
            lines.extend(rest.finish());
            outputs.end_rest(0, OUT, rest, file.len() as u64);
            lines
        };
        assert_eq!(texts(&read(b"one\ntw")), ["one", "tw"]);
        assert_eq!(read(b"one\ntw"), []);
        let lines = read(b"one\ntwo\nthree\n");
        assert_eq!(texts(&lines), ["o", "three"]);
        assert!(!lines[0].is_first && lines[1].is_first);
        assert_eq!(read(b"one\ntwo\nthree\n"), []);
    }

    /// Whatever was left out, live and file together show every line once.
    #[test]
    fn every_line_comes_once() {
        for seed in 1..500 {
            let mut random = Xorshift32::new(std::num::NonZeroU32::new(seed).unwrap());
            let mut next = |below: u32| random.next() % below;
            let mut file = Vec::new();
            while file.len() < 20_000 {
                let length = if next(20) == 0 { LINE_MAX as u32 + next(3) } else { next(60) };
                file.extend((0..length).map(|index| b'a' + (index % 26) as u8));
                file.push(b'\n');
            }
            let (mut outputs, mut at, mut lines) = (Outputs::default(), 0, Vec::new());
            while at < file.len() {
                let end = file.len().min(at + 1 + next(700) as usize);
                if next(4) != 0 {
                    lines.extend(outputs.take_live(1, OUT, at as u64, &file[at..end]).lines);
                }
                at = end;
            }
            let mut rest = outputs.rest(1, OUT);
            let from = rest.from();
            let mut late = Vec::new();
            for (offset, byte) in (from..).zip(&file[from as usize..]) {
                let line = rest.push(offset, *byte);
                late.extend(line.filter(|line| !rest.is_shown(line)));
            }
            late.extend(rest.finish().filter(|line| !rest.is_shown(line)));
            lines.extend(late);
            lines.sort_by_key(|line| line.offset);
            let joined = lines.iter().fold(Vec::new(), |mut all, line| {
                if line.is_first && line.offset > 0 {
                    all.push(b'\n');
                }
                all.extend_from_slice(&line.bytes);
                all
            });
            assert_eq!(joined, file[..file.len() - 1], "seed {seed}");
        }
    }
}
