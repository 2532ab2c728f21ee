//! What became of the requests that must not be repeated, for a dispatcher whose session ended before it heard.
//!
//! It lives as long as the agent, whatever happens to sessions, and is bounded: of more than [`OUTCOMES_MAX`] requests
//! the oldest is forgotten, one that is under way last of all. Which methods these are, the registry says
//! ([`Method::is_idempotent`]); what else is asked leaves no trace here.

use super::shortened;
use crate::wire::codec::Body;
use crate::wire::response::Outcome;
use crate::wire::{Failure, Method, codec};
use heapless::Vec;

/// Requests that are remembered: more than a dispatcher has under way at a time.
pub(super) const OUTCOMES_MAX: usize = 16;

/// Longest answer that is kept: an exit status with its rusage takes up to 42 bytes.
pub(super) const BODY_MAX: usize = 48;

/// Text of a failure that is kept, in bytes; kind and `errno` before it take up to 9.
const TEXT_MAX: usize = 36;

/// See the module.
#[derive(Debug)]
pub(super) struct Outcomes {
    /// The oldest first.
    kept: Vec<Kept, OUTCOMES_MAX>,
}

/// One request.
#[derive(Clone, Debug)]
struct Kept {
    request: u32,
    end: End,
}

#[derive(Clone, Debug)]
enum End {
    /// It is under way, in the session that there is.
    None,
    Stopped,
    Answered(Method, Vec<u8, BODY_MAX>),
}

impl Outcomes {
    pub(super) const fn new() -> Self {
        Self { kept: Vec::new() }
    }

    /// A request was read. One with the same id before it is forgotten: the dispatcher has begun to count anew.
    pub(super) fn begin(&mut self, method: Method, request: u32) {
        if method.is_idempotent() {
            return;
        }
        self.kept.retain(|kept| kept.request != request);
        if self.kept.is_full() {
            let is_over = |kept: &Kept| !matches!(kept.end, End::None);
            self.kept.remove(self.kept.iter().position(is_over).unwrap_or(0));
        }
        // There is room now.
        let _ = self.kept.push(Kept { request, end: End::None });
    }

    /// A request was answered, if it is one of these.
    pub(super) fn answer(&mut self, method: Method, request: u32, body: &[u8]) {
        let Some(kept) = self.kept.iter_mut().find(|kept| kept.request == request) else { return };
        let mut bytes = Vec::new();
        if bytes.extend_from_slice(body).is_err() {
            // Only a failure is so long, for its text.
            let _ = bytes.resize(BODY_MAX, 0);
            let failure = codec::decode::<Failure<'_>>(body).map(|long| shortened(&long, TEXT_MAX));
            let length = failure.map(|short| codec::encoded(&short, &mut bytes));
            bytes.truncate(length.unwrap_or(Ok(0)).unwrap_or(0));
        }
        kept.end = End::Answered(method, bytes);
    }

    /// Notes an answer that is not sent, because its session is over.
    pub(super) fn note(&mut self, method: Method, request: u32, body: &dyn Body) {
        let mut buffer = [0; BODY_MAX];
        if let Ok(length) = codec::encoded(body, &mut buffer) {
            self.answer(method, request, &buffer[..length]);
        }
    }

    /// The session is over: what has no answer was stopped with it.
    pub(super) fn stop(&mut self) {
        for kept in &mut self.kept {
            if matches!(kept.end, End::None) {
                kept.end = End::Stopped;
            }
        }
    }

    /// What became of a request, its answer in `body`; `None` while it is under way.
    pub(super) fn find<'b>(
        &self,
        request: u32,
        body: &'b mut [u8; BODY_MAX],
    ) -> Option<Outcome<'b>> {
        let found = self.kept.iter().find(|kept| kept.request == request);
        let (state, method, length) = match found.map(|kept| &kept.end) {
            None => (Outcome::UNKNOWN, 0, 0),
            Some(End::None) => return None,
            Some(End::Stopped) => (Outcome::STOPPED, 0, 0),
            Some(End::Answered(method, answer)) => {
                body[..answer.len()].copy_from_slice(answer);
                (Outcome::ANSWERED, method.0, answer.len())
            }
        };
        Some(Outcome { state, method, body: &body[..length] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FailureKind;

    fn state(outcomes: &Outcomes, request: u32) -> Option<u8> {
        outcomes.find(request, &mut [0; BODY_MAX]).map(|outcome| outcome.state)
    }

    #[test]
    fn a_request_is_unknown_under_way_stopped_or_answered() {
        let mut outcomes = Outcomes::new();
        outcomes.begin(Method::EXEC, 7);
        outcomes.begin(Method::SIGNAL, 8);
        outcomes.begin(Method::STAT, 9);
        assert_eq!(state(&outcomes, 7), None);
        outcomes.answer(Method::EXEC, 7, &[0, 3]);
        outcomes.answer(Method::STAT, 9, &[1]);
        outcomes.stop();
        let expected = Outcome { state: Outcome::ANSWERED, method: Method::EXEC.0, body: &[0, 3] };
        assert_eq!(outcomes.find(7, &mut [0; BODY_MAX]), Some(expected));
        assert_eq!(state(&outcomes, 8), Some(Outcome::STOPPED));
        assert_eq!(state(&outcomes, 9), Some(Outcome::UNKNOWN));
        assert_eq!(state(&outcomes, 10), Some(Outcome::UNKNOWN));
    }

    #[test]
    fn the_oldest_that_is_over_is_forgotten_first() {
        let mut outcomes = Outcomes::new();
        outcomes.begin(Method::EXEC, 1);
        for request in 2..=40 {
            outcomes.begin(Method::SIGNAL, request);
            outcomes.answer(Method::SIGNAL, request, &[]);
        }
        assert_eq!(state(&outcomes, 1), None, "it is under way");
        assert_eq!(state(&outcomes, 40 - 15), Some(Outcome::UNKNOWN));
        assert_eq!(state(&outcomes, 40 - 14), Some(Outcome::ANSWERED));
        for request in 41..=80 {
            outcomes.begin(Method::EXEC, request);
        }
        assert_eq!(outcomes.kept.len(), OUTCOMES_MAX);
        assert_eq!(state(&outcomes, 80), None);
    }

    #[test]
    fn an_id_that_is_used_again_means_the_new_request() {
        let mut outcomes = Outcomes::new();
        outcomes.begin(Method::EXEC, 1);
        outcomes.answer(Method::EXEC, 1, &[0, 0]);
        outcomes.begin(Method::EXEC, 1);
        outcomes.stop();
        assert_eq!((state(&outcomes, 1), outcomes.kept.len()), (Some(Outcome::STOPPED), 1));
    }

    #[test]
    fn a_long_failure_is_kept_with_a_short_text() {
        let mut outcomes = Outcomes::new();
        outcomes.begin(Method::EXEC, 1);
        let text = "ü".repeat(40);
        let failure = Failure { kind: FailureKind::OS, os_error: i32::MIN, text: &text };
        let mut buffer = [0; 128];
        let body = codec::encode(&failure, &mut buffer).unwrap();
        outcomes.answer(Method::FAILED, 1, body);
        let mut buffer = [0; BODY_MAX];
        let outcome = outcomes.find(1, &mut buffer).unwrap();
        let kept: Failure<'_> = codec::decode(outcome.body).unwrap();
        assert_eq!((kept.kind, kept.os_error, kept.text), (FailureKind::OS, i32::MIN, &text[..36]));
    }
}
