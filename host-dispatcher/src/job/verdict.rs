//! What a run's results come to, and the exit status of the program.
//!
//! Owns the four results of a case, the classes of errors, and the one rule that makes a verdict of them. It
//! guarantees that a run which did not show all its tests as passed never exits with 0. It knows nothing of boards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What one case (or a suite as a whole) came to; LAVA's four words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseResult {
    /// It did what it should.
    Pass,
    /// It ran, and did not do what it should.
    Fail,
    /// It says itself that it does not apply here.
    Skip,
    /// It did not run, or its end was not seen.
    Unknown,
}

/// Who must mend what stopped a run; LAVA's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// The lab: power, line, emulator, a full disk.
    InfrastructureError,
    /// The job: an image that does not fit, a file that is not there.
    JobError,
    /// The image or the test: a kernel panic, an init that dies.
    TestError,
    /// A lab, board type or job file that cannot be meant so.
    ConfigurationError,
    /// Something that should have happened in time did not.
    Timeout,
    /// A person or a program asked the run to stop.
    Canceled,
}

/// The word that stands for a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Verdict {
    /// Every test passed (or said that it does not apply).
    Passed,
    /// At least one test failed, or has no known result though nothing stopped the run.
    Failed,
    /// The run was stopped, or a test ran past its time.
    Error(ErrorClass),
}

/// The results of a run, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Cases with [`CaseResult::Pass`].
    pub pass: u32,
    /// Cases with [`CaseResult::Fail`].
    pub fail: u32,
    /// Cases with [`CaseResult::Skip`].
    pub skip: u32,
    /// Cases with [`CaseResult::Unknown`].
    pub unknown: u32,
    /// Tests that ran past their own time; they count above as well.
    pub timed_out: u32,
    /// Kernel reports that the job does not allow; one that came while a suite ran fails that suite as well.
    #[serde(default)]
    pub kernel_reports: u32,
}

impl CaseResult {
    /// The word, as it stands in every file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Unknown => "unknown",
        }
    }
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 6] = [
        Self::InfrastructureError,
        Self::JobError,
        Self::TestError,
        Self::ConfigurationError,
        Self::Timeout,
        Self::Canceled,
    ];

    /// The name, as it stands in every file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InfrastructureError => "InfrastructureError",
            Self::JobError => "JobError",
            Self::TestError => "TestError",
            Self::ConfigurationError => "ConfigurationError",
            Self::Timeout => "Timeout",
            Self::Canceled => "Canceled",
        }
    }

    /// The one of several errors that the run's verdict names: what a person did or must mend first.
    pub fn worst(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        errors.into_iter().max_by_key(|class| match class {
            Self::Canceled => 5,
            Self::InfrastructureError => 4,
            Self::ConfigurationError => 3,
            Self::JobError => 2,
            Self::Timeout => 1,
            Self::TestError => 0,
        })
    }

    /// The exit status of a program that this class of error ends.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::TestError => 1,
            Self::JobError | Self::ConfigurationError => 2,
            Self::InfrastructureError => 3,
            Self::Timeout => 4,
            Self::Canceled => 130,
        }
    }
}

impl Verdict {
    /// The one rule. `error` is what stopped the run, if anything did.
    ///
    /// What stopped the run decides, with one exception: a test that ran past its own time outweighs a
    /// `TestError`, because the panic or dead init that followed is most likely its consequence. A run without
    /// any result, with unknown ones, or with a kernel report that the job does not allow, is not a passed run.
    pub fn of(tally: &Tally, error: Option<ErrorClass>) -> Self {
        match error {
            Some(ErrorClass::TestError) | None if tally.timed_out > 0 => {
                Self::Error(ErrorClass::Timeout)
            }
            Some(class) => Self::Error(class),
            None if tally.fail > 0 || tally.unknown > 0 || tally.kernel_reports > 0 => Self::Failed,
            None if tally.is_empty() => Self::Failed,
            None => Self::Passed,
        }
    }

    /// 0 all passed · 1 a test failed · 2 usage, configuration or job error · 3 infrastructure error ·
    /// 4 timeout · 130 cancelled.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Error(class) => class.exit_status(),
        }
    }

    /// The word, as it stands in every file: `passed`, `failed`, or the name of the error's class.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error(class) => class.as_str(),
        }
    }

    /// The class of the error, if the run ended by one.
    pub fn error_class(self) -> Option<ErrorClass> {
        match self {
            Self::Error(class) => Some(class),
            Self::Passed | Self::Failed => None,
        }
    }
}

impl Tally {
    /// Counts one result.
    pub fn add(&mut self, result: CaseResult) {
        let count = self.count(result);
        *count = count.saturating_add(1);
    }

    /// Takes back one result that was counted.
    pub fn remove(&mut self, result: CaseResult) {
        let count = self.count(result);
        *count = count.saturating_sub(1);
    }

    /// Counts everything that another one has counted.
    pub fn add_all(&mut self, other: &Self) {
        self.pass = self.pass.saturating_add(other.pass);
        self.fail = self.fail.saturating_add(other.fail);
        self.skip = self.skip.saturating_add(other.skip);
        self.unknown = self.unknown.saturating_add(other.unknown);
        self.timed_out = self.timed_out.saturating_add(other.timed_out);
        self.kernel_reports = self.kernel_reports.saturating_add(other.kernel_reports);
    }

    fn count(&mut self, result: CaseResult) -> &mut u32 {
        match result {
            CaseResult::Pass => &mut self.pass,
            CaseResult::Fail => &mut self.fail,
            CaseResult::Skip => &mut self.skip,
            CaseResult::Unknown => &mut self.unknown,
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// All cases.
    pub fn total(&self) -> u32 {
        [self.pass, self.fail, self.skip, self.unknown]
            .iter()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }
}

impl FromIterator<CaseResult> for Tally {
    fn from_iter<I: IntoIterator<Item = CaseResult>>(results: I) -> Self {
        let mut tally = Self::default();
        results.into_iter().for_each(|result| tally.add(result));
        tally
    }
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<Verdict> for &'static str {
    fn from(verdict: Verdict) -> Self {
        verdict.as_str()
    }
}

impl TryFrom<String> for Verdict {
    type Error = NotAVerdict;

    fn try_from(word: String) -> Result<Self, NotAVerdict> {
        word.parse()
    }
}

impl FromStr for Verdict {
    type Err = NotAVerdict;

    fn from_str(word: &str) -> Result<Self, NotAVerdict> {
        match word {
            "passed" => Ok(Self::Passed),
            "failed" => Ok(Self::Failed),
            _ => ErrorClass::ALL
                .into_iter()
                .find(|class| class.as_str() == word)
                .map(Self::Error)
                .ok_or(NotAVerdict),
        }
    }
}

/// A word that is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAVerdict;

impl fmt::Display for NotAVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a verdict: passed, failed or the name of an error class is expected")
    }
}

impl std::error::Error for NotAVerdict {}

/// The worse of two exit statuses, in the order in which a run's errors outweigh each other.
pub fn worse_exit_status(one: u8, other: u8) -> u8 {
    let rank = |status| ORDER.iter().position(|known| *known == status).unwrap_or(ORDER.len());
    if rank(other) > rank(one) { other } else { one }
}

/// Passed, failed, timeout, job or configuration error, infrastructure error, canceled.
const ORDER: [u8; 6] = [0, 1, 4, 2, 3, 130];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of "some of this result or none", and every error: 64 tallies (some impossible)
    /// by 7 errors.
    #[test]
    fn the_rule_exhaustively() {
        for bits in 0..64u32 {
            let some = |bit: u32| (bits >> bit) & 1;
            let tally = Tally {
                pass: some(0),
                fail: some(1),
                skip: some(2),
                unknown: some(3),
                timed_out: some(4),
                kernel_reports: some(5),
            };
            for error in std::iter::once(None).chain(ErrorClass::ALL.map(Some)) {
                let expected = match (error, tally.timed_out) {
                    (Some(ErrorClass::InfrastructureError), _) => 3,
                    (Some(ErrorClass::JobError | ErrorClass::ConfigurationError), _) => 2,
                    (Some(ErrorClass::Canceled), _) => 130,
                    (Some(ErrorClass::Timeout), _) | (_, 1) => 4,
                    (Some(ErrorClass::TestError), _) => 1,
                    (None, _) => u8::from(bits & 0b10_1010 != 0 || bits & 0b0101 == 0),
                };
                let verdict = Verdict::of(&tally, error);
                assert_eq!(verdict.exit_status(), expected, "{tally:?} {error:?} gave {verdict}");
            }
        }
    }

    #[test]
    fn the_worst_of_several_runs_counts() {
        for (statuses, expected) in
            [(&[0, 0][..], 0), (&[0, 1], 1), (&[1, 4, 0], 4), (&[3, 130, 2], 130), (&[2, 3, 4], 3)]
        {
            let worst = statuses.iter().fold(0, |worst, one| worse_exit_status(worst, *one));
            assert_eq!(worst, expected);
        }
    }

    #[test]
    fn the_worst_error_is_named() {
        assert_eq!(ErrorClass::worst([]), None);
        assert_eq!(ErrorClass::worst(ErrorClass::ALL), Some(ErrorClass::Canceled));
        let panic_then_lost = [ErrorClass::TestError, ErrorClass::InfrastructureError];
        assert_eq!(ErrorClass::worst(panic_then_lost), Some(ErrorClass::InfrastructureError));
    }

    #[test]
    fn words_survive_a_round_trip() {
        let all = [Verdict::Passed, Verdict::Failed]
            .into_iter()
            .chain(ErrorClass::ALL.map(Verdict::Error));
        for verdict in all {
            let json = serde_json::to_string(&verdict).unwrap();
            assert_eq!(json, format!("\"{verdict}\""));
            assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict);
        }
        assert!("Passed".parse::<Verdict>().is_err());
    }

    #[test]
    fn a_tally_counts() {
        let tally: Tally =
            [CaseResult::Pass, CaseResult::Pass, CaseResult::Skip].into_iter().collect();
        assert_eq!(tally, Tally { pass: 2, skip: 1, ..Tally::default() });
        assert_eq!(Verdict::of(&tally, None), Verdict::Passed);
        let mut twice = tally;
        twice.add_all(&tally);
        assert_eq!(twice, Tally { pass: 4, skip: 2, ..Tally::default() });
        twice.remove(CaseResult::Pass);
        twice.remove(CaseResult::Fail);
        assert_eq!(twice, Tally { pass: 3, skip: 2, ..Tally::default() });
    }
}
