//! What ran when: the stretches of each boot in which a test, or a case of it, ran. A kernel report belongs to what ran at
//! its time.
//!
//! Pure.

use super::cases::When;

/// The stretches of a run.
#[derive(Debug, Default)]
pub struct Spans {
    /// In the order they began; those of cases behind that of their test.
    all: Vec<Span>,
}

/// A stretch of a boot in which a test, or a case of it, ran.
#[derive(Debug)]
struct Span {
    boot: usize,
    from_us: u64,
    to_us: Option<u64>,
    test: u16,
    suite: String,
    case: Option<String>,
}

/// What ran at some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// The suite.
    pub suite: Option<String>,
    /// The case.
    pub case: Option<String>,
}

/// Which stretch: for [`Spans::end`]. Of one that was beyond the bound nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(usize);

impl Spans {
    /// A test, or a case of it, began to run.
    pub fn open(&mut self, when: &When<'_>, case: Option<String>) -> SpanId {
        let id = SpanId(self.all.len());
        if self.all.len() == SPANS_MAX {
            return SpanId(SPANS_MAX);
        }
        self.all.push(Span {
            boot: when.boot,
            from_us: when.board_us,
            to_us: None,
            test: when.test,
            suite: when.suite.to_owned(),
            case,
        });
        id
    }

    /// It ended, at that time of its boot.
    pub fn end(&mut self, id: SpanId, board_us: u64) {
        if let Some(span) = self.all.get_mut(id.0) {
            span.to_us = Some(board_us);
        }
    }

    /// A test ended, and with it whatever it had begun.
    pub fn end_test(&mut self, when: &When<'_>) {
        for span in &mut self.all {
            if span.test == when.test && span.boot == when.boot && span.to_us.is_none() {
                span.to_us = Some(when.board_us);
            }
        }
    }

    /// What ran at a time of a boot.
    pub fn running_at(&self, boot: usize, board_us: u64) -> Running {
        // Later ones are inside of earlier ones.
        let ran = self.all.iter().rfind(|span| {
            let is_before_end = span.to_us.is_none_or(|to_us| board_us <= to_us);
            span.boot == boot && span.from_us <= board_us && is_before_end
        });
        ran.map_or_else(Running::default, Span::running)
    }

    /// What runs now, as far as is known.
    pub fn running(&self) -> Running {
        let open = self.all.iter().rfind(|span| span.to_us.is_none());
        open.map_or_else(Running::default, Span::running)
    }
}

impl Span {
    fn running(&self) -> Running {
        Running { suite: Some(self.suite.clone()), case: self.case.clone() }
    }
}

/// More than a run has cases.
const SPANS_MAX: usize = 250_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn when(test: u16, boot: usize, board_us: u64) -> When<'static> {
        When { test, suite: "smoke", boot, board_us }
    }

    #[test]
    fn the_innermost_that_ran_in_that_boot() {
        let mut spans = Spans::default();
        spans.open(&when(0, 0, 10), None);
        let case = spans.open(&when(0, 0, 20), Some("ping".to_owned()));
        let at = |spans: &Spans, boot, us| spans.running_at(boot, us).case.unwrap_or_default();
        assert_eq!(spans.running().case.as_deref(), Some("ping"));
        spans.end(case, 30);
        assert_eq!([at(&spans, 0, 19), at(&spans, 0, 25), at(&spans, 0, 31)], ["", "ping", ""]);
        assert_eq!(spans.running(), Running { suite: Some("smoke".to_owned()), case: None });
        assert_eq!(spans.running_at(1, 25), Running::default());
        spans.end_test(&when(0, 0, 40));
        assert_eq!(spans.running(), Running::default());
        assert_eq!(spans.running_at(0, 41), Running::default());
    }

    #[test]
    fn what_is_beyond_the_bound_ends_nothing() {
        let mut spans = Spans::default();
        for _ in 0..SPANS_MAX {
            spans.open(&when(0, 0, 1), None);
        }
        let beyond = spans.open(&when(0, 0, 2), None);
        spans.end(beyond, 3);
        assert!(spans.all.len() == SPANS_MAX && spans.all.iter().all(|span| span.to_us.is_none()));
    }
}
