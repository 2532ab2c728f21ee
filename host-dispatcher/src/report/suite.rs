//! What a suite came to, folded from its events: its own end, its cases, and what the kernel reported meanwhile.
//!
//! Events may come in any order, and some never: what a crash left behind is put on record later. A case that began
//! and has no end is unknown, and so is a suite. Several cases of one name are all kept, in the order of their ends.

use std::borrow::Cow;
use std::ops::Deref;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::job::event::{Case, CaseOrigin, KernelReport, Rusage, SuiteEnd};
use crate::job::verdict::{CaseResult, Tally};

/// What a suite came to; with its cases, `tests/<suite>/results.json` in a run directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuiteSummary {
    /// The suite's name.
    pub suite: String,
    /// What it came to: `unknown` as long as its end was not seen.
    pub result: CaseResult,
    /// How it ended.
    pub end: Option<SuiteEnd>,
    /// How long it ran.
    pub seconds: f64,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rusage: Option<Rusage>,
    /// Its results, counted: its cases, and the suite itself as one more when it has none, or when something other than
    /// a case is wrong with it.
    #[serde(default)]
    pub tally: Tally,
    /// Its cases that have a result, in the order of their ends. [`Self::all_cases`] has those without one too.
    #[serde(default, skip_serializing)]
    pub cases: Vec<LoggedCase>,
    /// What its cases attached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// What the kernel reported while it ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_reports: Vec<KernelReport>,
    /// What its end alone comes to; nothing until it is seen.
    #[serde(skip)]
    own: Option<CaseResult>,
    /// Results of cases, those that are not kept too.
    #[serde(skip)]
    counted: Tally,
    /// Cases that began and have not ended: set, name, when.
    #[serde(skip)]
    open: Vec<(Option<String>, String, Timestamp)>,
    /// Places in `cases` of what the dispatcher said because nobody else had.
    #[serde(skip)]
    provisional: Vec<usize>,
}

/// A case, and when its result was put on record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedCase {
    /// The host's wall clock.
    pub logged: Timestamp,
    /// The case.
    #[serde(flatten)]
    pub inner: Case,
}

/// A file that a test attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The case; nothing for the suite as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Where it is, relative to the run directory.
    pub path: String,
}

/// A suite with all its cases, as `results.json` has it.
#[derive(Debug, Serialize)]
pub struct WholeSuite<'a> {
    #[serde(flatten)]
    suite: &'a SuiteSummary,
    cases: Vec<Cow<'a, LoggedCase>>,
}

impl SuiteSummary {
    /// A suite of which nothing is known yet.
    pub fn new(suite: &str) -> Self {
        let mut new = Self {
            suite: suite.to_owned(),
            result: CaseResult::Unknown,
            end: None,
            seconds: 0.0,
            rusage: None,
            tally: Tally::default(),
            cases: Vec::new(),
            attachments: Vec::new(),
            kernel_reports: Vec::new(),
            own: None,
            counted: Tally::default(),
            open: Vec::new(),
            provisional: Vec::new(),
        };
        new.settle();
        new
    }

    /// All its cases: those with a result, and as unknown those whose end was not seen.
    pub fn all_cases(&self) -> impl Iterator<Item = Cow<'_, LoggedCase>> {
        let open = self.open.iter().map(|(set, case, began)| {
            let inner = unended(&self.suite, set.clone(), case.clone());
            Cow::Owned(LoggedCase { logged: *began, inner })
        });
        self.cases.iter().map(Cow::Borrowed).chain(open)
    }

    /// Whether it has any cases, kept ones or not.
    pub fn has_cases(&self) -> bool {
        !self.counted.is_empty() || !self.open.is_empty()
    }

    /// Whether the suite itself is one more result beside those of its cases: it has none, or something other than a
    /// case is wrong with it.
    pub fn counts_itself(&self) -> bool {
        !self.has_cases() || self.itself() != CaseResult::Pass
    }

    /// What it comes to without its cases.
    pub fn itself(&self) -> CaseResult {
        if self.kernel_reports.iter().any(is_not_allowed) {
            return CaseResult::Fail;
        }
        self.own.unwrap_or(CaseResult::Unknown)
    }

    /// Why the suite itself did not pass; nothing when it did, or when only its cases did not.
    pub fn why(&self) -> Option<String> {
        if let Some(report) = self.kernel_reports.iter().find(|report| is_not_allowed(report)) {
            return Some(format!("kernel {}: {}", report.kind, report.title));
        }
        match &self.end {
            Some(end) if self.itself() != CaseResult::Pass => Some(end.to_string()),
            Some(_) => None,
            None => Some("its end was not seen".to_owned()),
        }
    }

    /// With its cases, for `results.json`.
    pub fn whole(&self) -> WholeSuite<'_> {
        WholeSuite { suite: self, cases: self.all_cases().collect() }
    }

    /// A case began.
    pub(super) fn start_case(&mut self, now: Timestamp, set: Option<&str>, case: &str) {
        if self.open.len() < OPEN_MAX {
            self.open.push((set.map(str::to_owned), case.to_owned(), now));
        }
        self.settle();
    }

    /// A case ended. Without `room` it is counted, not kept. Returns whether it was kept beside the others.
    pub(super) fn end_case(&mut self, now: Timestamp, case: &Case, room: bool) -> bool {
        let same = |(set, name, _): &(Option<String>, String, Timestamp)| {
            *set == case.set && *name == case.case
        };
        if let Some(index) = self.open.iter().position(same) {
            self.open.remove(index);
        }
        let logged = LoggedCase { logged: now, inner: case.clone() };
        let earlier = self.provisional.iter().position(|index| {
            self.cases
                .get(*index)
                .is_some_and(|known| known.set == case.set && known.case == case.case)
        });
        let mut kept = false;
        match earlier {
            // The dispatcher knew of no end; now there is one.
            Some(place) if case.origin != CaseOrigin::Dispatcher => {
                let index = self.provisional.swap_remove(place);
                if let Some(known) = self.cases.get_mut(index) {
                    self.counted.remove(known.result);
                    *known = logged;
                }
            }
            _ if room => {
                if case.origin == CaseOrigin::Dispatcher && self.provisional.len() < OPEN_MAX {
                    self.provisional.push(self.cases.len());
                }
                self.cases.push(logged);
                kept = true;
            }
            _ => {}
        }
        self.counted.add(case.result);
        self.settle();
        kept
    }

    /// The suite ended.
    pub(super) fn end(
        &mut self,
        end: &SuiteEnd,
        result: CaseResult,
        seconds: f64,
        rusage: Option<Rusage>,
    ) {
        self.own = Some(result);
        self.end = Some(end.clone());
        self.seconds = seconds;
        self.rusage = rusage;
        self.settle();
    }

    /// The kernel reported something while it ran.
    pub(super) fn report(&mut self, report: &KernelReport) {
        self.kernel_reports.push(report.clone());
        self.settle();
    }

    /// Counts, and says what it comes to: the worst of itself and its cases.
    fn settle(&mut self) {
        let mut tally = self.counted;
        self.open.iter().for_each(|_| tally.add(CaseResult::Unknown));
        if self.counts_itself() {
            tally.add(self.itself());
        }
        self.result = if tally.fail > 0 {
            CaseResult::Fail
        } else if tally.unknown > 0 {
            CaseResult::Unknown
        } else if tally.pass > 0 {
            CaseResult::Pass
        } else {
            CaseResult::Skip
        };
        tally.timed_out = u32::from(self.end == Some(SuiteEnd::TimedOut));
        self.tally = tally;
    }
}

impl Deref for LoggedCase {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.inner
    }
}

/// Whether a kernel report makes the run fail.
pub fn is_not_allowed(report: &KernelReport) -> bool {
    matches!(report.policy.as_str(), "fail" | "abort")
}

/// The result of a case that began and has no end.
fn unended(suite: &str, set: Option<String>, case: String) -> Case {
    Case {
        set,
        why: Some("its end was not seen".to_owned()),
        ..Case::new(suite, case, CaseResult::Unknown, CaseOrigin::Dispatcher)
    }
}

/// Cases run one after another, and a few in the background; this many at once are a fault of the board's.
const OPEN_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, result: CaseResult, origin: CaseOrigin) -> Case {
        Case { result, origin, why: None, ..unended("s", None, name.to_owned()) }
    }

    fn exited(suite: &mut SuiteSummary, status: i32) {
        let end = SuiteEnd::Exited { status };
        suite.end(&end, end.result(), 1.0, None);
    }

    fn oops(policy: &str) -> KernelReport {
        KernelReport {
            kind: "oops".into(),
            title: "Internal error: Oops: 5 [#1] ARM".into(),
            policy: policy.into(),
            suite: Some("s".into()),
            case: None,
            source: "kernel".into(),
            board_time_us: None,
            text: String::new(),
        }
    }

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    use CaseOrigin::{Dispatcher, Helper};
    use CaseResult::{Fail, Pass, Skip, Unknown};

    /// Every set of results of cases, every end, and a kernel report that is allowed, or not, or none.
    #[test]
    fn the_rule_exhaustively() {
        for bits in 0..16u32 {
            for (own, reports) in
                [Some(Pass), Some(Fail), Some(Unknown), None].into_iter().flat_map(|own| {
                    [vec![], vec!["record"], vec!["record", "fail"], vec!["abort"]]
                        .map(|reports| (own, reports))
                })
            {
                let mut suite = SuiteSummary::new("s");
                for (bit, result) in [Pass, Fail, Skip, Unknown].into_iter().enumerate() {
                    if bits >> bit & 1 == 1 {
                        suite.end_case(NOW, &case("c", result, Helper), true);
                    }
                }
                if let Some(own) = own {
                    suite.end(&SuiteEnd::Exited { status: 0 }, own, 1.0, None);
                }
                reports.iter().for_each(|policy| suite.report(&oops(policy)));
                let is_bad = reports.iter().any(|policy| *policy != "record");
                let expected = if bits & 0b10 != 0 || own == Some(Fail) || is_bad {
                    Fail
                } else if bits & 0b1000 != 0 || own != Some(Pass) {
                    Unknown
                } else if bits == 0b100 {
                    Skip
                } else {
                    Pass
                };
                let told = format!("cases {bits:04b}, end {own:?}, reports {reports:?}");
                assert_eq!(suite.result, expected, "{told}");
                let itself = bits == 0 || own != Some(Pass) || is_bad;
                assert_eq!(suite.tally.total(), bits.count_ones() + u32::from(itself), "{told}");
                assert_eq!(suite.why().is_some(), own != Some(Pass) || is_bad, "{told}");
            }
        }
    }

    #[test]
    fn a_case_without_an_end_is_unknown_until_one_comes() {
        let mut suite = SuiteSummary::new("s");
        suite.start_case(NOW, None, "a");
        suite.start_case(NOW, Some("set"), "a");
        exited(&mut suite, 0);
        assert_eq!((suite.result, suite.tally.unknown), (Unknown, 2));
        assert_eq!(suite.all_cases().count(), 2);
        suite.end_case(NOW, &case("a", Unknown, Dispatcher), true);
        assert_eq!((suite.result, suite.tally.unknown, suite.cases.len()), (Unknown, 2, 1));
        // The journal came home, and knows more.
        suite.end_case(NOW, &case("a", Pass, Helper), true);
        let in_set = Case { set: Some("set".into()), ..case("a", Pass, Helper) };
        suite.end_case(NOW, &in_set, true);
        assert_eq!((suite.result, suite.tally), (Pass, Tally { pass: 2, ..Tally::default() }));
        // Names may come again; all are kept.
        suite.end_case(NOW, &case("a", Fail, Helper), true);
        assert_eq!((suite.result, suite.all_cases().count()), (Fail, 3));
    }

    #[test]
    fn what_is_not_kept_counts() {
        let mut suite = SuiteSummary::new("s");
        exited(&mut suite, 0);
        assert!(!suite.end_case(NOW, &case("a", Fail, Helper), false));
        assert_eq!((suite.result, suite.cases.len(), suite.tally.fail), (Fail, 0, 1));
    }

    #[test]
    fn a_script_that_dies_after_passes_has_not_passed() {
        let mut suite = SuiteSummary::new("s");
        for name in ["a", "b", "c"] {
            suite.end_case(NOW, &case(name, Pass, Helper), true);
        }
        exited(&mut suite, 127);
        assert_eq!(suite.tally, Tally { pass: 3, fail: 1, ..Tally::default() });
        assert_eq!((suite.result, suite.why().as_deref()), (Fail, Some("exit status 127")));
    }

    #[test]
    fn the_file_has_every_case() {
        let mut suite = SuiteSummary::new("s");
        suite.end_case(NOW, &case("a", Pass, Helper), true);
        suite.start_case(NOW, None, "b");
        let json = serde_json::to_value(suite.whole()).unwrap();
        assert_eq!(json["cases"][0]["case"], "a");
        assert_eq!(json["cases"][1]["result"], "unknown");
        let read: SuiteSummary = serde_json::from_value(json).unwrap();
        assert_eq!(read.cases[0], suite.cases[0]);
    }
}
