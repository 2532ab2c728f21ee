//! TAP 12 to 14 and KTAP 1 in the output of a test, as a stream.
//!
//! A document begins with a version line or a plan; without one of these a line is prose, whatever it looks like. A
//! document inside another stands deeper, and its cases are named `parent/child`. What a plan announced and never came
//! is unknown. The whole rule is in `docs/jobs.md`, the grammar of a line in [`tap_line`](super::tap_line).

use std::collections::VecDeque;

use super::event::CaseOrigin;
use super::output::{FoundCase, NAME_BYTES_MAX, WHY_BYTES_MAX, clipped};
use super::tap_line::{Test, Token, parse};
use super::verdict::CaseResult;

/// The documents that are open.
#[derive(Debug, Default)]
pub(super) struct Tap {
    /// The outermost first; each stands deeper than the one before.
    documents: Vec<Document>,
    /// What the next document inside another is called.
    subtest: Option<String>,
    /// Points that stand in order and count when a plan follows them.
    candidates: Vec<Test>,
    /// A case that did not pass: the line after it may say why.
    held: Option<FoundCase>,
    /// The block of YAML that is being read: its depth, and its text.
    yaml: Option<(usize, String)>,
    after_test: bool,
    /// How many cases that never came were told.
    missing: usize,
}

#[derive(Debug)]
struct Document {
    columns: usize,
    /// What stands before the names of its cases: nothing, or `parent/`.
    path: String,
    has_name: bool,
    has_version: bool,
    plan: Option<u32>,
    count: u32,
    highest: u32,
    /// Numbers that were left out so far.
    gaps: Vec<u32>,
    /// The last comments before the next point.
    comments: VecDeque<String>,
}

impl Tap {
    /// One more line.
    pub(super) fn line(&mut self, line: &str) -> Vec<FoundCase> {
        let (columns, token) = parse(line);
        let mut found = Vec::new();
        if self.takes_as_yaml(columns, &token, line) {
            return found;
        }
        if token == Token::YamlStart && self.after_test {
            self.yaml = Some((columns, String::new()));
            return found;
        }
        self.after_test = false;
        found.extend(self.held.take());
        match token {
            Token::Version => {
                self.close(&mut found, |document| document.columns >= columns, NEVER_CAME);
                self.open(columns, true, None);
            }
            Token::Plan { count, skip } => self.plan(columns, count, skip, &mut found),
            Token::Test(test) => self.test(columns, test, &mut found),
            Token::Subtest(name) => self.name(columns, name),
            Token::BailOut(why) => self.bail_out(why, &mut found),
            Token::Comment { at, text } => self.comment(at, text),
            Token::YamlStart | Token::YamlEnd | Token::Other => {}
        }
        found
    }

    /// The output is over.
    pub(super) fn finish(&mut self) -> Vec<FoundCase> {
        let mut found = Vec::new();
        self.end_yaml();
        found.extend(self.held.take());
        self.close(&mut found, |_| true, NEVER_CAME);
        found
    }

    /// Lines of a block of YAML are the reason of the case before it, whatever they look like.
    fn takes_as_yaml(&mut self, columns: usize, token: &Token<'_>, line: &str) -> bool {
        let Some((depth, text)) = &mut self.yaml else { return false };
        let is_inside = columns >= *depth || matches!(token, Token::Other);
        if *token == Token::YamlEnd || !is_inside {
            self.end_yaml();
            return *token == Token::YamlEnd;
        }
        if text.len() < WHY_BYTES_MAX {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line.get(*depth..).unwrap_or(line).trim_end());
        }
        true
    }

    fn end_yaml(&mut self) {
        if let (Some((_, text)), Some(held)) = (self.yaml.take(), &mut self.held)
            && !text.is_empty()
        {
            let why = match held.why.take() {
                Some(why) => format!("{why}\n{text}"),
                None => text,
            };
            held.why = Some(clipped(&why, WHY_BYTES_MAX));
        }
    }

    fn plan(&mut self, columns: usize, count: u32, skip: Option<&str>, found: &mut Vec<FoundCase>) {
        self.close(found, |document| document.columns > columns, NEVER_CAME);
        let candidates = std::mem::take(&mut self.candidates);
        match self.documents.last_mut() {
            Some(document) if document.columns == columns && document.plan.is_none() => {
                document.plan = Some(count);
            }
            _ => {
                self.close(found, |document| document.columns == columns, NEVER_CAME);
                self.open(columns, false, Some(count));
            }
        }
        if let (1, 0, Some(why)) = (self.documents.len(), count, skip) {
            let why = Some(clipped(why, WHY_BYTES_MAX));
            found.push(case_of("plan".to_owned(), CaseResult::Skip, why));
        }
        if candidates.len() as u64 <= u64::from(count) {
            for test in candidates {
                self.point(self.documents.len() - 1, test, found);
                found.extend(self.held.take());
            }
        }
    }

    fn test(&mut self, columns: usize, test: Test, found: &mut Vec<FoundCase>) {
        if let Some(index) = self.documents.iter().position(|document| document.columns == columns)
        {
            self.close(found, |document| document.columns > columns, NEVER_CAME);
            return self.point(index, test, found);
        }
        match self.documents.last() {
            // It was announced by its name, and has its plan at its end, if any.
            Some(outer)
                if columns > outer.columns && self.subtest.is_some() && test.number.is_some() =>
            {
                self.open(columns, false, None);
                let index = self.documents.len() - 1;
                if self.documents[index].columns == columns {
                    self.point(index, test, found);
                }
            }
            Some(_) => {}
            None => {
                let next = u32::try_from(self.candidates.len()).unwrap_or(u32::MAX) + 1;
                if test.number != Some(next) {
                    self.candidates.clear();
                }
                let is_next = test.number == Some(next) || test.number == Some(1);
                if is_next && self.candidates.len() < CANDIDATES_MAX {
                    self.candidates.push(test);
                }
            }
        }
    }

    /// A point of a document that is open.
    fn point(&mut self, index: usize, test: Test, found: &mut Vec<FoundCase>) {
        let Some(document) = self.documents.get_mut(index) else { return };
        let number = match test.number {
            Some(number) => number,
            None if document.has_version && test.is_strict => document.highest.saturating_add(1),
            None => return,
        };
        let is_beyond = document.plan.is_some_and(|plan| number > plan);
        if (is_beyond && !document.has_version) || !document.take(number) {
            return;
        }
        self.subtest = None;
        let name = if test.name.is_empty() { format!("test {number}") } else { test.name };
        let comments = std::mem::take(&mut document.comments);
        let why = match (test.why, test.result) {
            (None, CaseResult::Fail) if !comments.is_empty() => {
                let lines: Vec<String> = comments.into();
                Some(clipped(&lines.join("\n"), WHY_BYTES_MAX))
            }
            (why, _) => why,
        };
        let case = case_of(format!("{}{name}", document.path), test.result, why);
        self.after_test = true;
        if case.result == CaseResult::Fail {
            self.held = Some(case);
        } else {
            found.push(case);
        }
    }

    /// What comes deeper belongs to this name; or what has just begun, where the name stands inside it (KUnit).
    fn name(&mut self, columns: usize, name: &str) {
        let name = clipped(name, NAME_BYTES_MAX);
        let parent = self.documents.iter().rev().nth(1).map(|parent| parent.path.clone());
        match (self.documents.last_mut(), parent) {
            (Some(document), Some(parent))
                if document.columns == columns && document.count == 0 && !document.has_name =>
            {
                document.path = format!("{parent}{name}/");
                document.has_name = true;
            }
            _ => self.subtest = Some(name),
        }
    }

    fn comment(&mut self, at: usize, text: &str) {
        let says_nothing = ["Totals:", "timeout set to", "Planned tests:"];
        if says_nothing.iter().any(|start| text.starts_with(start)) {
            return;
        }
        let owner = self.documents.iter_mut().rev().find(|document| document.columns <= at);
        if let Some(document) = owner {
            if document.comments.len() >= COMMENTS_MAX {
                document.comments.pop_front();
            }
            document.comments.push_back(clipped(text, COMMENT_BYTES_MAX));
        }
    }

    fn bail_out(&mut self, why: &str, found: &mut Vec<FoundCase>) {
        if self.documents.is_empty() {
            return;
        }
        let why = clipped(why, WHY_BYTES_MAX);
        self.close(found, |_| true, "the test bailed out before it");
        let why = Some(why).filter(|why| !why.is_empty());
        found.push(case_of("Bail out!".to_owned(), CaseResult::Fail, why));
    }

    fn open(&mut self, columns: usize, has_version: bool, plan: Option<u32>) {
        self.candidates.clear();
        if self.documents.len() >= DEPTH_MAX {
            return;
        }
        let subtest = self.subtest.take();
        let has_name = subtest.is_some();
        let path = match (self.documents.last(), subtest) {
            (None, None) => String::new(),
            (None, Some(name)) => format!("{name}/"),
            (Some(parent), Some(name)) => format!("{}{name}/", parent.path),
            // Nobody says what it is called: it is the parent's next point.
            (Some(parent), None) => {
                format!("{}test {}/", parent.path, parent.highest.saturating_add(1))
            }
        };
        self.documents.push(Document {
            columns,
            path,
            has_name,
            has_version,
            plan,
            count: 0,
            highest: 0,
            gaps: Vec::new(),
            comments: VecDeque::new(),
        });
    }

    /// Closes the innermost documents as long as `which` says so; what they announced and never came is unknown.
    fn close(
        &mut self,
        found: &mut Vec<FoundCase>,
        which: impl Fn(&Document) -> bool,
        why: &'static str,
    ) {
        while self.documents.last().is_some_and(&which) {
            let Some(document) = self.documents.pop() else { return };
            self.tell_missing(&document, why, found);
        }
    }

    fn tell_missing(&mut self, document: &Document, why: &'static str, found: &mut Vec<FoundCase>) {
        let Some(plan) = document.plan else { return };
        // A plan alone is not enough: prose has `1..10` too.
        if !document.has_version && document.count == 0 {
            return;
        }
        let behind = document.highest.saturating_add(1)..=plan;
        let left_out = document.gaps.iter().copied().filter(|number| *number <= plan);
        let told = left_out.chain(behind).take(MISSING_MAX - self.missing);
        let mut count = 0;
        for number in told {
            let name = format!("{}test {number}", document.path);
            found.push(case_of(name, CaseResult::Unknown, Some(why.to_owned())));
            count += 1;
        }
        self.missing += count;
        let all = u64::from(plan).saturating_sub(u64::from(document.count));
        if all > count as u64 && self.missing == MISSING_MAX {
            let name = format!("{}{} more", document.path, all - count as u64);
            found.push(case_of(name, CaseResult::Unknown, Some(why.to_owned())));
        }
    }
}

impl Document {
    /// Whether a point with this number is one of the document's.
    fn take(&mut self, number: u32) -> bool {
        if number > self.highest {
            let left_out = self.highest.saturating_add(1)..number;
            let room = MISSING_MAX.saturating_sub(self.gaps.len());
            self.gaps.extend(left_out.take(room));
            self.highest = number;
        } else if let Some(index) = self.gaps.iter().position(|gap| *gap == number) {
            self.gaps.remove(index);
        } else if !self.has_version {
            // A number that comes again is prose, or a loop of somebody who does not know TAP.
            return false;
        }
        self.count = self.count.saturating_add(1);
        true
    }
}

fn case_of(case: String, result: CaseResult, why: Option<String>) -> FoundCase {
    let origin = CaseOrigin::Tap;
    FoundCase { origin, set: None, case, result, measurement: None, units: None, why }
}

const NEVER_CAME: &str = "it was announced, and never came";
/// KTAP is three deep, at most five in practice.
const DEPTH_MAX: usize = 16;
/// Points before a plan at the end; a program that knows its plan only then is a small one.
const CANDIDATES_MAX: usize = 10_000;
/// So many that never came are told one by one, of a whole output; then they are counted.
const MISSING_MAX: usize = 1000;
/// Of the comments before a point that failed, so many say why.
const COMMENTS_MAX: usize = 8;
/// As much of one.
const COMMENT_BYTES_MAX: usize = 256;

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
