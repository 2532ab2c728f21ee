//! What a suite's standard output says of its cases: `<LAVA_SIGNAL_…>` texts, TAP and KTAP.
//!
//! Lines go in as they come, what was found comes out. The rules stand in `docs/jobs.md`. Output is hostile: any bytes
//! are taken, nothing grows without a bound, and what is no result by the rules is none.

use super::signal_text::SignalText;
use super::tap::Tap;
use super::verdict::CaseResult;
use super::watch::Watch;
use super::watcher::Watcher;

use super::event::CaseOrigin;

/// Reads the output of one suite, line by line.
#[derive(Debug, Default)]
pub struct OutputReader {
    signals: SignalText,
    tap: Tap,
    /// Where the job has patterns of its own, only these count.
    watcher: Option<Watcher>,
}

/// Something that a test said in its output.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A case began: what is printed from here on is its own.
    CaseStarted {
        /// The set that the output had opened.
        set: Option<String>,
        /// The case's name.
        case: String,
    },
    /// A case has a result.
    CaseEnded(FoundCase),
    /// The cases that follow belong to this set.
    SetStarted {
        /// The set's name.
        set: String,
    },
    /// The cases that follow belong to no set.
    SetEnded,
    /// The result of a case stands elsewhere.
    Reference {
        /// The set that the output had opened.
        set: Option<String>,
        /// The case's name.
        case: String,
        /// What it came to.
        result: CaseResult,
        /// Where it stands.
        reference: String,
    },
    /// The test asks for the run to be stopped.
    Raise {
        /// Why.
        text: String,
    },
    /// Something happened that a person may want to know.
    Event {
        /// What.
        text: String,
    },
    /// The test asks for what another board of its group prints.
    Feedback {
        /// The other's name.
        namespace: String,
    },
}

/// The result of a case that was found in an output.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundCase {
    /// [`CaseOrigin::Signal`], [`CaseOrigin::Tap`] or [`CaseOrigin::Pattern`].
    pub origin: CaseOrigin,
    /// The set that the output had opened.
    pub set: Option<String>,
    /// The case's name; of a nested subtest `parent/child`.
    pub case: String,
    /// What it came to.
    pub result: CaseResult,
    /// A number that it measured; never infinite.
    pub measurement: Option<f64>,
    /// The measurement's unit.
    pub units: Option<String>,
    /// Why it came to that, if the output says so.
    pub why: Option<String>,
}

impl OutputReader {
    /// A reader at the beginning of an output.
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader that looks for what a job's own patterns say, and for nothing else.
    pub fn watching(watch: Watch) -> Self {
        Self { watcher: Some(Watcher::new(watch)), ..Self::default() }
    }

    /// One more line, with or without its line end. What stands beyond 64 KiB of it is not looked at.
    ///
    /// A failed case may be told with the line after it, which may say why.
    pub fn line(&mut self, line: &[u8]) -> Vec<Found> {
        let line = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]);
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some(watcher) = &mut self.watcher {
            return watcher.line(line);
        }
        let mut found = Vec::new();
        self.signals.line(line, &mut found);
        for case in self.tap.line(line) {
            found.push(self.in_set(case));
        }
        found
    }

    /// The output is over: what a plan announced and never came is unknown.
    pub fn finish(mut self) -> Vec<Found> {
        if let Some(watcher) = self.watcher.take() {
            return watcher.finish();
        }
        self.tap.finish().into_iter().map(|case| self.in_set(case)).collect()
    }

    /// Signal texts that could not be understood.
    pub fn malformed(&self) -> u64 {
        self.signals.malformed()
    }

    fn in_set(&self, mut case: FoundCase) -> Found {
        case.set = self.signals.set().map(str::to_owned);
        Found::CaseEnded(case)
    }
}

/// The first bytes of a text, at most `max`, without half a character at the end.
pub(super) fn clipped(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// No line with a result is longer.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// A name that is longer is cut.
pub(super) const NAME_BYTES_MAX: usize = 512;
/// A reason that is longer is cut; all of it stands in the output.
pub(super) const WHY_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_in_one_output() {
        let mut reader = OutputReader::new();
        let output = "<LAVA_SIGNAL_TESTSET START mm>\nTAP version 13\n1..2\nok 1 - map\n\
             <LAVA_SIGNAL_TESTCASE TEST_CASE_ID=boot RESULT=fail>\n";
        let mut found: Vec<Found> =
            output.lines().flat_map(|line| reader.line(line.as_bytes())).collect();
        found.extend(reader.finish());
        let told: Vec<String> = found
            .iter()
            .filter_map(|found| match found {
                Found::CaseEnded(case) => {
                    Some(format!("{}/{} {}", case.set.as_deref()?, case.case, case.result))
                }
                _ => None,
            })
            .collect();
        assert_eq!(told, ["mm/map pass", "mm/boot fail", "mm/test 2 unknown"]);
    }

    /// Pieces of what is understood, and of what is not.
    fn piece() -> impl Strategy<Value = String> {
        let words = [
            "ok 1",
            "not ok 2",
            "ok",
            "1..3",
            "1..4294967295",
            "1..0 # SKIP no",
            "TAP version 13",
            "KTAP version 1",
            "# Subtest: a",
            "  ---",
            "  ...",
            "Bail out!",
            " # SKIP x",
            " # TODO",
            "# ",
            "    ",
            "  ",
            "[    1.5] ",
            "- name",
            "<LAVA_SIGNAL_TESTCASE ",
            "TEST_CASE_ID=a ",
            "RESULT=pass",
            ">",
            "<LAVA_SIGNAL_TESTSET START s>",
            "\u{1F600}",
            "\"",
            "=",
            "\u{0}",
            "é",
            "99999999999999999999",
            "# selftests: a: b",
        ];
        prop_oneof![
            8 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
            1 => ".{0,40}",
            1 => Just("x".repeat(70_000)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Any lines: no panic, and no more results than lines and what plans may announce.
        #[test]
        fn any_lines_are_taken(lines in proptest::collection::vec(
            proptest::collection::vec(piece(), 0..6).prop_map(|pieces| pieces.concat()), 0..40)
        ) {
            let mut reader = OutputReader::new();
            let mut found: Vec<Found> =
                lines.iter().flat_map(|line| reader.line(line.as_bytes())).collect();
            found.extend(reader.finish());
            prop_assert!(found.len() < 20 * lines.len() + 2000, "{}", found.len());
            for found in found {
                if let Found::CaseEnded(case) = found {
                    prop_assert!(!case.case.is_empty());
                    prop_assert!(case.case.len() <= 20 * NAME_BYTES_MAX);
                    prop_assert!(case.why.is_none_or(|why| why.len() <= WHY_BYTES_MAX + 64));
                    prop_assert!(case.measurement.is_none_or(f64::is_finite));
                }
            }
        }

        /// Lines without a plan and a version hold no case.
        #[test]
        fn prose_is_no_result(lines in proptest::collection::vec("(not )?(ok|okay|OK)( [0-9]{1,2})?[ a-z]{0,20}", 0..30)) {
            let mut reader = OutputReader::new();
            for line in &lines {
                prop_assert_eq!(reader.line(line.as_bytes()), vec![]);
            }
            prop_assert_eq!(reader.finish(), vec![]);
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut reader = OutputReader::new();
            for line in bytes.split(|byte| *byte == b'\n') {
                reader.line(line);
            }
            reader.finish();
        }
    }
}
