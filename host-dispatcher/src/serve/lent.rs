//! A board's line as it is, lent to who has acquired the board, for a dispatcher elsewhere: every command that works on a
//! board of its own lab works through it.
//!
//! Bytes are carried in both directions and never read. The board's power is switched when that is asked, and an
//! emulator's with the line.

use std::time::Duration;

use super::control::{LinePiece, PowerView, Refusal, Reply, WiringView};
use super::fleet::Fleet;
use super::requests::no_board;
use crate::config::connection::PowerOperation;
use crate::config::power::{Power, Switch};

impl Fleet {
    /// Lends the line of a board that `holder` has acquired; its number.
    pub(super) fn lend(
        &mut self,
        name: &str,
        holder: &str,
        output: tokio::sync::mpsc::Sender<LinePiece>,
    ) -> Result<u64, Refusal> {
        let index = self.station_in_hand(name, Some(holder))?;
        let wiring = self.wiring(index).map_err(Refusal::conflict)?;
        refuse_two_lines(name, wiring.agent_endpoint.is_some())?;
        let station = self.stations.get_mut(&index).ok_or_else(|| no_board(name))?;
        if !station.is_idle() {
            return Err(Refusal::conflict(format!(
                "the console of {name} is in use: close it first"
            )));
        }
        station.begin_lending(&mut self.reactor, wiring, output);
        self.note_due(index);
        Ok(self.number_console(index))
    }

    /// Takes a line back that is not needed any more.
    pub(super) fn take_back(&mut self, number: u64) {
        let Some(index) = self.consoles.remove(&number) else { return };
        if let Some(station) = self.stations.get_mut(&index).filter(|station| station.is_lent()) {
            station.end_use_by_hand(&mut self.reactor, "it was given back");
            self.note_due(index);
        }
    }

    /// Switches the power of a board whose line is lent. The reply comes back with why it is not.
    pub(super) fn switch_lent(
        &mut self,
        name: &str,
        holder: &str,
        operation: PowerOperation,
        reply: Reply<()>,
    ) -> Result<(), (Refusal, Reply<()>)> {
        if let Err(refusal) = self.refuse_others(name, Some(holder)) {
            return Err((refusal, reply));
        }
        let station = self.by_name.get(name).and_then(|index| self.stations.get_mut(index));
        match station.filter(|station| station.is_lent()) {
            Some(station) => station.switch_lent(&mut self.reactor, operation, reply),
            None => Err((Refusal::conflict(format!("the line of {name} is not lent")), reply)),
        }
    }

    /// What `holder`, who has acquired a board, must know to drive it.
    pub(super) fn wiring_view(&self, name: &str, holder: &str) -> Result<WiringView, Refusal> {
        self.refuse_others(name, Some(holder))?;
        let station = self.by_name.get(name).and_then(|index| self.stations.get(index));
        let board = &station.ok_or_else(|| no_board(name))?.board;
        refuse_two_lines(name, board.agent_connection.is_some())?;
        let power = match &board.power {
            Power::None => PowerView::None,
            Power::WithConnection => PowerView::WithConnection,
            Power::Switch(Switch::Ask, _) => PowerView::Ask,
            Power::Switch(switch, patience) => PowerView::Switched {
                has_cycle: switch.has_cycle(),
                retries: patience.retries,
                retry_delay_ms: milliseconds(patience.retry_delay),
                deadline_ms: milliseconds(patience.deadline),
                settle_ms: milliseconds(patience.settle),
                delay_ms: milliseconds(patience.delay),
            },
        };
        let board_type = board.board_type.source.to_string();
        Ok(WiringView { board_type, power, image_files: board.image_files.clone() })
    }
}

/// One line is lent: a dispatcher elsewhere could not reach the agent by the console's.
fn refuse_two_lines(name: &str, has_two_lines: bool) -> Result<(), Refusal> {
    if !has_two_lines {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "{name} has two lines, and one is lent: use it on the lab's host"
    )))
}

fn milliseconds(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}
