//! The texts in events and log records that may hold anything: what a board, a test or a person said.

use serde_json::Value;

use super::event::{ActionOutcome, CallbackSent, Case, Event, KernelReport, LogRecord, SuiteEnd};

type Work<'w> = &'w mut dyn FnMut(&mut String);

impl Event {
    /// Calls `work` for each text that is no word of this program.
    pub fn each_text(&mut self, work: Work<'_>) {
        match self {
            Self::Note { text } | Self::Warning { text } => work(text),
            Self::Phase { cause: text, .. } | Self::SessionClosed { reason: text } => work(text),
            Self::Error { message, console_tail, .. } => {
                work(message);
                work(console_tail);
            }
            Self::ActionStarted { action } | Self::ActionProgress { action, .. } => work(action),
            Self::ActionEnded { action, outcome, .. } => {
                work(action);
                match outcome {
                    ActionOutcome::Skipped { why } | ActionOutcome::Failed { why } => work(why),
                    ActionOutcome::Done => {}
                }
            }
            Self::CaseStarted { set, case, .. } => {
                set.iter_mut().for_each(&mut *work);
                work(case);
            }
            Self::CaseEnded(case) => texts_of_case(case, work),
            Self::Metadata { metadata } => metadata.values_mut().for_each(|value| {
                if let Value::Array(all) = value {
                    return all.iter_mut().for_each(|one| text_in(one, work));
                }
                text_in(value, work);
            }),
            Self::TestEnded { end, .. } => texts_of_end(end, work),
            Self::Attachment { case, path, .. } => {
                case.iter_mut().for_each(&mut *work);
                work(path);
            }
            Self::KernelReport(KernelReport { title, text, case, .. }) => {
                work(title);
                work(text);
                case.iter_mut().for_each(work);
            }
            Self::Callback(CallbackSent { url, why, .. }) => {
                work(url);
                why.iter_mut().for_each(work);
            }
            // Names of the lab and the job, and numbers.
            Self::RunStarted { .. }
            | Self::Job { .. }
            | Self::Power { .. }
            | Self::SessionOpened { .. }
            | Self::Clock(_)
            | Self::TestStarted { .. }
            | Self::Dropped(_)
            | Self::RunEnded { .. } => {}
        }
    }
}

impl LogRecord {
    /// As [`Event::each_text`].
    pub fn each_text(&mut self, work: Work<'_>) {
        work(&mut self.text);
        self.case.iter_mut().for_each(work);
    }
}

fn text_in(value: &mut Value, work: Work<'_>) {
    if let Value::String(text) = value {
        work(text);
    }
}

fn texts_of_case(case: &mut Case, work: Work<'_>) {
    work(&mut case.case);
    let Case { set, units, reference, why, .. } = case;
    [set, units, reference, why].into_iter().flatten().for_each(&mut *work);
    case.end.iter_mut().for_each(|end| texts_of_end(end, work));
}

fn texts_of_end(end: &mut SuiteEnd, work: Work<'_>) {
    if let SuiteEnd::NotRun { why } = end {
        work(why);
    }
}
