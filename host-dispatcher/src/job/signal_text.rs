//! `<LAVA_SIGNAL_…>` texts that scripts print themselves instead of calling a helper.
//!
//! As LAVA's dispatcher reads them (`lava_dispatcher/actions/test/shell.py`): anywhere in a line, several in one, words
//! `KEY=VALUE` between spaces. Beyond LAVA, a value may stand in quotes and then hold spaces, and a value may hold `=`.
//! What LAVA stops a job for (no result, a bad measurement) is a case with the result `unknown` here, which says why.

use super::event::CaseOrigin;
use super::output::{Found, FoundCase, NAME_BYTES_MAX, WHY_BYTES_MAX, clipped};
use super::verdict::CaseResult;

/// Knows which set is open.
#[derive(Debug, Default)]
pub(super) struct SignalText {
    set: Option<String>,
    malformed: u64,
}

impl SignalText {
    /// One more line of output.
    pub(super) fn line(&mut self, line: &str, found: &mut Vec<Found>) {
        let mut rest = line;
        while let Some(at) = rest.find(PREFIX) {
            rest = &rest[at + PREFIX.len()..];
            let Some((signal, after)) = rest.split_once('>') else {
                // Its end is on no line: somebody else printed into it.
                self.malformed += 1;
                return;
            };
            rest = after;
            let (name, parameters) = signal.split_once(' ').unwrap_or((signal, ""));
            match self.signal(name, &words(parameters)) {
                Some(one) => found.push(one),
                None if matches!(name, "STARTRUN" | "ENDRUN" | "ENDTC") => {}
                None => self.malformed += 1,
            }
        }
    }

    /// The set that is open.
    pub(super) fn set(&self) -> Option<&str> {
        self.set.as_deref()
    }

    /// Signals that could not be understood.
    pub(super) fn malformed(&self) -> u64 {
        self.malformed
    }

    fn signal(&mut self, name: &str, words: &[String]) -> Option<Found> {
        let first = words.first().filter(|word| !word.is_empty());
        let text = || clipped(&words.join(" "), WHY_BYTES_MAX);
        match name {
            "STARTTC" => {
                let case = clipped(first?, NAME_BYTES_MAX);
                Some(Found::CaseStarted { set: self.set.clone(), case })
            }
            "TESTCASE" => self.test_case(words).map(Found::CaseEnded),
            "TESTSET" => match (first?.as_str(), words.get(1)) {
                ("START", Some(set)) if !set.is_empty() => {
                    let set = clipped(set, NAME_BYTES_MAX);
                    self.set = Some(set.clone());
                    Some(Found::SetStarted { set })
                }
                ("STOP", _) => {
                    self.set = None;
                    Some(Found::SetEnded)
                }
                _ => None,
            },
            "TESTREFERENCE" => match words {
                [case, result, reference] if !case.is_empty() => Some(Found::Reference {
                    set: self.set.clone(),
                    case: clipped(case, NAME_BYTES_MAX),
                    result: result_of(result).unwrap_or(CaseResult::Unknown),
                    reference: clipped(reference, WHY_BYTES_MAX),
                }),
                _ => None,
            },
            "TESTRAISE" => Some(Found::Raise { text: text() }),
            "TESTEVENT" => Some(Found::Event { text: text() }),
            "TESTFEEDBACK" => Some(Found::Feedback { namespace: clipped(first?, NAME_BYTES_MAX) }),
            _ => None,
        }
    }

    fn test_case(&self, words: &[String]) -> Option<FoundCase> {
        let (mut case, mut result, mut measurement, mut units) = (None, None, None, None);
        let mut faults = Vec::new();
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                faults.push(format!("\"{word}\" is no KEY=VALUE"));
                continue;
            };
            match key.to_ascii_lowercase().as_str() {
                "test_case_id" if !value.is_empty() => case = Some(clipped(value, NAME_BYTES_MAX)),
                "result" => match result_of(value) {
                    Some(known) => result = Some(known),
                    None => faults.push(format!("\"{value}\" is no result")),
                },
                "measurement" => match value.parse::<f64>() {
                    Ok(number) if number.is_finite() => measurement = Some(number),
                    _ => faults.push(format!("\"{value}\" is no measurement")),
                },
                "units" => units = Some(clipped(value, NAME_BYTES_MAX)),
                // LAVA copies what it does not know, and nobody reads it.
                _ => {}
            }
        }
        if result.is_none() && faults.is_empty() {
            faults.push("it says no result".to_owned());
        }
        let is_clear = faults.is_empty();
        Some(FoundCase {
            origin: CaseOrigin::Signal,
            set: self.set.clone(),
            case: case?,
            result: result.filter(|_| is_clear).unwrap_or(CaseResult::Unknown),
            measurement,
            units,
            why: (!is_clear).then(|| clipped(&faults.join("; "), WHY_BYTES_MAX)),
        })
    }
}

fn result_of(word: &str) -> Option<CaseResult> {
    [CaseResult::Pass, CaseResult::Fail, CaseResult::Skip, CaseResult::Unknown]
        .into_iter()
        .find(|result| result.as_str() == word)
}

/// Words between spaces. A double quote holds spaces together up to the next one, and is left out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut has_word) = (false, false);
    // A quote without its partner is a character like any other.
    let mut quotes = text.matches('"').count();
    for c in text.chars() {
        if c == '"' && (is_quoted || quotes > 1) {
            is_quoted = !is_quoted;
            has_word = true;
            quotes -= 1;
        } else if c.is_ascii_whitespace() && !is_quoted {
            if has_word {
                words.push(std::mem::take(&mut word));
            }
            has_word = false;
        } else {
            word.push(c);
            has_word = true;
        }
    }
    if has_word {
        words.push(word);
    }
    words
}

const PREFIX: &str = "<LAVA_SIGNAL_";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (Vec<Found>, u64) {
        let mut reader = SignalText::default();
        let mut found = Vec::new();
        lines.iter().for_each(|line| reader.line(line, &mut found));
        (found, reader.malformed())
    }

    fn ended(found: &[Found]) -> Vec<String> {
        found
            .iter()
            .filter_map(|found| match found {
                Found::CaseEnded(case) => Some(format!(
                    "{} {} {:?} {:?} {}",
                    case.case,
                    case.result,
                    case.measurement,
                    case.units.as_deref().unwrap_or(""),
                    case.why.as_deref().unwrap_or("")
                )),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn cases() {
        for (line, expected) in [
            ("<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=pwd RESULT=pass>", "pwd pass None \"\" "),
            (
                "noise <LAVA_SIGNAL_TESTCASE TEST_CASE_ID=io RESULT=pass UNITS=MB/s MEASUREMENT=41.5>\r",
                "io pass Some(41.5) \"MB/s\" ",
            ),
            ("<LAVA_SIGNAL_TESTCASE test_case_id=a=b result=skip>", "a=b skip None \"\" "),
            (
                "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=\"two words\" RESULT=fail>",
                "two words fail None \"\" ",
            ),
            (
                "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RESULT=good>",
                "a unknown None \"\" \"good\" is no result",
            ),
            ("<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a>", "a unknown None \"\" it says no result"),
            (
                "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RESULT=pass MEASUREMENT=inf>",
                "a unknown None \"\" \"inf\" is no measurement",
            ),
            ("<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=6\" RESULT=pass>", "6\" pass None \"\" "),
            (
                "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a [   12.3] usb RESULT=pass>",
                "a unknown None \"\" \"[\" is no KEY=VALUE; \"12.3]\" is no KEY=VALUE; \"usb\" is no KEY=VALUE",
            ),
        ] {
            assert_eq!(ended(&read(&[line]).0), [expected], "{line}");
        }
    }

    #[test]
    fn a_run_as_lava_prints_it() {
        let (found, malformed) = read(&[
            "<LAVA_SIGNAL_STARTRUN 0_smoke-tests 1234_1.5.2>",
            "<LAVA_SIGNAL_TESTSET START net><LAVA_SIGNAL_STARTTC ping>",
            "64 bytes from 10.0.2.2",
            "<LAVA_SIGNAL_ENDTC ping>",
            "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=ping RESULT=pass>",
            "<LAVA_SIGNAL_TESTSET STOP>",
            "<LAVA_SIGNAL_TESTREFERENCE dmesg pass https://example.org/x>",
            "<LAVA_SIGNAL_TESTEVENT half done>",
            "<LAVA_SIGNAL_TESTFEEDBACK server>",
            "<LAVA_SIGNAL_TESTRAISE no disk>",
            "<LAVA_SIGNAL_ENDRUN 0_smoke-tests 1234_1.5.2>",
        ]);
        let set = Some("net".to_owned());
        assert_eq!(found[0], Found::SetStarted { set: "net".into() });
        assert_eq!(found[1], Found::CaseStarted { set: set.clone(), case: "ping".into() });
        assert!(matches!(&found[2], Found::CaseEnded(case) if case.set == set));
        assert_eq!(
            found[3..],
            [
                Found::SetEnded,
                Found::Reference {
                    set: None,
                    case: "dmesg".into(),
                    result: CaseResult::Pass,
                    reference: "https://example.org/x".into()
                },
                Found::Event { text: "half done".into() },
                Found::Feedback { namespace: "server".into() },
                Found::Raise { text: "no disk".into() },
            ]
        );
        assert_eq!(malformed, 0);
    }

    #[test]
    fn what_is_torn_is_counted() {
        for line in [
            "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=a RESU",
            "<LAVA_SIGNAL_TESTCASE RESULT=pass>",
            "<LAVA_SIGNAL_TESTSET START>",
            "<LAVA_SIGNAL_DANCE now>",
            "<LAVA_SIGNAL_STARTTC >",
        ] {
            assert_eq!(read(&[line]), (vec![], 1), "{line}");
        }
        assert_eq!(read(&["<LAVA_SIGNAL", "LAVA_SIGNAL_TESTCASE x>"]), (vec![], 0));
    }
}
