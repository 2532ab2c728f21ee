//! Tests of the boot loader: the board waits at its prompt while they run, and boots the image under test behind them.

use std::cell::Cell;

use super::deploy::seconds;
use super::job::duration;
use super::{Bench, Fault};
use crate::board::{Goal, Phase, RanEnd};
use crate::job::boot_loader_test::{BootLoaderTest, Matched, Typed};
use crate::job::event::{Case, CaseOrigin, Event, SuiteEnd};
use crate::job::output::Found;
use crate::job::verdict::{CaseResult, ErrorClass};
use crate::job::watcher::{ended, name_of};

/// How one of them went, so far.
#[derive(Debug, Default)]
struct Progress {
    /// Why it wants the job to stop.
    stop: Option<String>,
    matched: Matched,
}

impl Bench {
    /// Runs them, in order, and counts in `ended` those whose end is on record. A test that fails does not stop the next;
    /// one that takes too long costs a power cycle.
    ///
    /// # Errors
    /// The board does not come to its boot loader's prompt, or a test wants the job to stop.
    pub async fn test_boot_loader(
        &self,
        tests: &[BootLoaderTest],
        ended: &Cell<usize>,
    ) -> Result<(), Fault> {
        for test in tests.iter().skip(ended.get()) {
            self.action(ACTION, self.test_at_prompt(test, ended)).await?;
        }
        Ok(())
    }

    /// The last word on those that have no end.
    pub fn close_boot_loader_tests(&self, tests: &[BootLoaderTest], ended: &Cell<usize>) {
        for test in tests.iter().skip(ended.get()) {
            self.end(test, SuiteEnd::NotRun { why: "it did not come to its end".to_owned() }, 0.0);
        }
    }

    async fn test_at_prompt(
        &self,
        test: &BootLoaderTest,
        ended: &Cell<usize>,
    ) -> Result<(), Fault> {
        self.reach(Goal::BootLoader).await?;
        self.tell(Event::TestStarted { suite: test.name.clone() });
        let started = self.now();
        let mut progress = Progress::default();
        let work = self.type_all(test, &mut progress);
        let outcome = self.within(duration(test.timeout), work).await;
        // That it restarted is what its commands did.
        self.clear_trouble();
        let end = match &outcome {
            Some(Ok(())) => SuiteEnd::Exited { status: 0 },
            Some(Err(fault)) => SuiteEnd::NotRun { why: fault.message.clone() },
            None => SuiteEnd::TimedOut,
        };
        self.end(test, end, seconds(self.now().since(started)));
        ended.set(ended.get() + 1);
        match (outcome, progress.stop) {
            (_, Some(text)) => {
                let message = format!("the test {} stopped the job: {text}", test.name);
                Err(Fault { class: ErrorClass::TestError, message })
            }
            (Some(outcome), None) => outcome,
            // What was typed last has it: nothing but a start brings its prompt back.
            (None, None) => self.reach(Goal::Off).await,
        }
    }

    async fn type_all(&self, test: &BootLoaderTest, progress: &mut Progress) -> Result<(), Fault> {
        for (number, command) in (1..).zip(&test.commands) {
            if command.delay > std::time::Duration::ZERO {
                self.sleep(duration(command.delay)).await;
            }
            if command.text.is_empty() {
                continue;
            }
            self.type_one(test, number, command, progress).await?;
            if progress.stop.is_some() {
                break;
            }
        }
        Ok(())
    }

    async fn type_one(
        &self,
        test: &BootLoaderTest,
        number: usize,
        command: &Typed,
        progress: &mut Progress,
    ) -> Result<(), Fault> {
        let judged = &command.judged;
        let text = match progress.matched.fill(&command.text) {
            Ok(text) => text,
            Err(word) => {
                let why = format!("nothing fit for a command was matched as {word} before");
                let name = name_of(judged, number);
                self.tell_case(test, &name, CaseResult::Fail, Some(why));
                return Ok(());
            }
        };
        // The last one may have restarted the board.
        loop {
            self.reach(Goal::BootLoader).await?;
            let is_typed = self.until(|| {
                self.board(|board, now| {
                    let is_typed = board.run_in_boot_loader(now, &text);
                    (is_typed || board.phase() != Phase::BootLoader).then_some(is_typed)
                })
            });
            if is_typed.await {
                break;
            }
        }
        let ran = self.until(|| self.board(|board, _| board.take_ran())).await;
        progress.matched.read(judged, &ran.output);
        let mut found = ended(judged, number, &ran.output);
        if let RanEnd::Left(why) = &ran.end
            && judged.successes.is_empty()
        {
            // Nothing says that this was meant.
            let name = name_of(judged, number);
            found.clear();
            self.tell_case(test, &name, CaseResult::Fail, Some(format!("no prompt came: {why}")));
        }
        for found in found {
            match found {
                Found::CaseEnded(case) => self.tell_case(test, &case.case, case.result, case.why),
                Found::Raise { text } => progress.stop = Some(text),
                _ => {}
            }
        }
        Ok(())
    }

    fn tell_case(
        &self,
        test: &BootLoaderTest,
        name: &str,
        result: CaseResult,
        why: Option<String>,
    ) {
        let case = Case::new(&test.name, name, result, CaseOrigin::Pattern);
        self.tell(Event::CaseEnded(Case { why, ..case }));
    }

    fn end(&self, test: &BootLoaderTest, end: SuiteEnd, seconds: f64) {
        let (suite, result) = (test.name.clone(), end.result());
        self.tell(Event::TestEnded { suite, end, result, seconds, rusage: None });
    }
}

const ACTION: &str = "test the boot loader";
