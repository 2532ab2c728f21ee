//! The lines of a board: one that carries everything, or two, one for text and one for the agent's frames.
//!
//! Where there are two, the boot loader, the kernel and every other writer have the console line, which is typed at and
//! watched for banners and panics; the agent has the other one, and nothing is told from text there. Either may be away
//! while the other is used: a session outlives the console line, and a boot loader is driven without the agent's.

use super::event::BoardEvent;
use super::spec::PowerKind;
use super::switching::Connection;
use super::{Board, ConsoleSource, Goal, Phase};
use crate::config::connection::LineRole;
use agent_core::link::Stats;
use agent_core::time::Instant;

impl Board {
    /// The line that carries the agent's frames.
    pub fn agents_line(&self) -> LineRole {
        if self.agent_connection.is_some() { LineRole::Agent } else { LineRole::Console }
    }

    /// Why the agent cannot be reached, for people; `None` while its line is open.
    pub fn line_problem(&self) -> Option<String> {
        self.problem_of(self.agents_line())
    }

    pub(super) fn has_two_lines(&self) -> bool {
        self.agent_connection.is_some()
    }

    pub(super) fn connection_of(&self, line: LineRole) -> Option<&Connection> {
        match line {
            LineRole::Console => Some(&self.connection),
            LineRole::Agent => self.agent_connection.as_ref(),
        }
    }

    pub(super) fn is_line_open(&self, line: LineRole) -> bool {
        self.connection_of(line).is_some_and(Connection::is_open)
    }

    /// Why the phase cannot be left in time, if that is because a line is away.
    pub(super) fn missing_line(&self) -> Option<String> {
        let (first, second) = match self.phase {
            Phase::PoweringOn | Phase::BootLoader if self.driver.is_some() => {
                (LineRole::Console, None)
            }
            Phase::Booting(_) => (self.agents_line(), None),
            _ => (LineRole::Console, Some(self.agents_line())),
        };
        self.problem_of(first).or_else(|| self.problem_of(second?))
    }

    /// Why it is away, if it is.
    pub(super) fn problem_of(&self, line: LineRole) -> Option<String> {
        let connection = self.connection_of(line).filter(|connection| !connection.is_open())?;
        let why = connection.why();
        Some(if self.has_two_lines() { format!("{line}: {why}") } else { why.to_owned() })
    }

    /// One of two lines is away, or back; each is told once. What a power operation does to a line is no news.
    pub(super) fn tell_line(&mut self, line: LineRole, problem: Option<&str>) {
        let is_expected = self.power.is_some() || matches!(self.goal, None | Some(Goal::Off));
        if !self.has_two_lines() || is_expected && problem.is_some() {
            return;
        }
        let connection = match line {
            LineRole::Console => Some(&mut self.connection),
            LineRole::Agent => self.agent_connection.as_mut(),
        };
        let is_news = connection.is_some_and(|connection| connection.note_away(problem.is_some()));
        if is_news {
            self.events.push(BoardEvent::Line { line, problem: problem.map(str::to_owned) });
        }
    }

    /// The agent's own line is open.
    pub(super) fn open_agents_line(&mut self, now: Instant) {
        if let Some(connection) = &mut self.agent_connection {
            connection.opened(now);
            self.tell_line(LineRole::Agent, None);
        }
    }

    /// The agent's own line is closed, or was not opened: its session is over, and the board goes on.
    pub(super) fn lose_agents_line(&mut self, now: Instant, why: &str) {
        let Some(connection) = &mut self.agent_connection else { return };
        connection.lose(now, why);
        self.forget_speed();
        self.tell_line(LineRole::Agent, Some(why));
        self.lose_session(now, &format!("the agent's line was lost: {why}"));
        self.link.mute(now);
    }

    /// Whether the agent's own line is to be opened now.
    pub(super) fn wants_agents_line(&self) -> bool {
        // An emulator that does not run has none.
        let is_there =
            self.spec.power.kind != PowerKind::WithConnection || self.connection.is_open();
        let is_closed = self.agent_connection.as_ref().is_some_and(Connection::is_closed);
        is_closed && is_there && self.goal.is_some() && !self.is_deaf()
    }

    /// What may be wrong with a line, for people.
    pub(super) fn suspicion(&self, now: Instant) -> Option<String> {
        let found = self.sense.suspicion(now, self.link.stats());
        let Some(sense) = &self.console_sense else { return found.map(|found| found.to_string()) };
        let of_text = sense.suspicion(now, &Stats::default());
        let [console, agents] = [LineRole::Console, LineRole::Agent];
        let of_text = of_text.map(|found| format!("{console}: {found}"));
        of_text.or_else(|| found.map(|found| format!("{agents}: {found}")))
    }

    /// Text on the agent's own line that belongs to no frame: it is noted, and shows nothing.
    pub(super) fn read_agents_text(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !self.link.is_open() && !self.is_deaf() {
            self.sense.handle_text(&text);
        }
        self.events.push_console(ConsoleSource::AgentLine, &text);
        self.text = text;
        self.text.clear();
    }
}
