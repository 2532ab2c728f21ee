//! The line of a bench, as both of its ends count it.

use agent_core::link::Stats;
use agent_core::time::Duration;
use agent_core::wire::response::Line;
use agent_core::wire::{Method, request};
use serde_json::{Map, Value};

use super::Bench;
use crate::board::line_quality::{End, UartErrors, Verdict, counters, judge};
use crate::board::{AgentStart, Phase};

/// What is known of both ends of a line.
#[derive(Clone, Debug)]
pub struct LineReport {
    /// What they come to.
    pub verdict: Verdict,
    /// The host's end, since this program began.
    pub host: End,
    /// The board's, if an agent has told: of each agent that was asked, from its start to then.
    pub board: Option<End>,
    /// Its speed now, bits per second.
    pub baud: u32,
    /// Smoothed, once it was measured in the session that there is.
    pub round_trip: Option<Duration>,
    json: Value,
}

impl LineReport {
    /// For programs: the host's counters that are not 0, `baud`, `round_trip_us`, `verdict`, `text`, and in `agents` those of
    /// each agent that has told.
    pub fn to_json(&self) -> &Value {
        &self.json
    }
}

/// What an agent has told of its end.
#[derive(Clone, Debug)]
pub(super) struct Told {
    start: Option<AgentStart>,
    role: &'static str,
    line: Line,
}

/// The host's UART over all its openings: a driver's counters begin anew with each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uart {
    before: UartErrors,
    now: UartErrors,
}

impl Bench {
    /// Opens the side lane, where there may be one. Why there is none, if there is none.
    pub async fn try_lane(&self) -> Option<String> {
        self.board(|board, now| board.want_lane(now));
        self.until(|| self.board(|board, _| (!board.is_lane_awaited()).then_some(()))).await;
        self.board(|board, _| match board.has_lane() {
            true => None,
            false => Some(board.lane_problem().unwrap_or("there is no session").to_owned()),
        })
    }

    /// What the host's UART has counted since its line was opened, told from time to time.
    pub fn set_uart(&self, now: UartErrors) {
        let Uart { mut before, now: last } = self.inner.uart.get();
        if now.overruns < last.overruns || now.errors < last.errors {
            before.overruns = before.overruns.saturating_add(last.overruns);
            before.errors = before.errors.saturating_add(last.errors);
        }
        self.inner.uart.set(Uart { before, now });
    }

    /// What the host's UART has counted over all its openings.
    pub(super) fn uart(&self) -> UartErrors {
        let Uart { before, now } = self.inner.uart.get();
        UartErrors {
            overruns: before.overruns.saturating_add(now.overruns),
            errors: before.errors.saturating_add(now.errors),
        }
    }

    /// Asks the agent for its end of the line, where there is a session. That it does not tell is no fault: an older
    /// one cannot.
    pub async fn note_line(&self) {
        let Phase::Up(slot) = self.board(|board, _| board.phase()) else { return };
        let start = self.board(|board, _| board.agent_start());
        let Ok(answer) = self.ask(Method::LINE, &request::Line {}, DEADLINE).await else { return };
        let Ok(line) = answer.read::<Line>() else { return };
        let mut told = self.inner.told.borrow_mut();
        // An agent counts from its start: what it says later includes what it said before.
        told.retain(|told| told.start != start);
        if told.len() < AGENTS_MAX {
            told.push(Told { start, role: slot.as_str(), line });
        }
    }

    /// What is known of the line.
    pub fn line_report(&self) -> LineReport {
        let (stats, round_trip, baud): (Stats, _, _) =
            self.board(|board, _| (*board.stats(), board.round_trip(), board.baud()));
        let uart = self.uart();
        let host = End::host(&stats, uart);
        let told = self.inner.told.borrow();
        let board = (!told.is_empty()).then(|| {
            let mut end = End::default();
            told.iter().for_each(|told| end.add_agent(&told.line));
            end
        });
        let verdict = judge(&host, board.as_ref());
        let mut json = counters(&stats, uart);
        json.insert("baud".to_owned(), baud.into());
        if let Some(round_trip) = round_trip {
            json.insert("round_trip_us".to_owned(), round_trip.as_micros().into());
        }
        json.insert("verdict".to_owned(), verdict.as_str().into());
        json.insert("text".to_owned(), verdict.to_string().into());
        json.insert("agents".to_owned(), told.iter().map(Told::to_json).collect());
        LineReport { verdict, host, board, baud, round_trip, json: json.into() }
    }
}

impl Told {
    fn to_json(&self) -> Value {
        let Line { overruns, errors, stats } = self.line;
        let mut json = Map::new();
        json.insert("role".to_owned(), self.role.into());
        json.extend(counters(&stats, UartErrors { overruns, errors }));
        json.into()
    }
}

/// An agent answers at once; a run does not wait long for counters.
const DEADLINE: Duration = Duration::from_secs(5);

/// A job has three: master, test, and master again. More are restarts that the first ones tell of as well.
const AGENTS_MAX: usize = 8;
