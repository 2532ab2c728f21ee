//! What the loop tells of its boards and of itself, and whose the boards are.

use super::feed::Change;
use super::fleet::{Fleet, Settings};
use crate::config::value::Name;
use crate::io::emulator::BoardFolder;
use crate::lab::view::{BoardView, JobState, LabView};

impl Fleet {
    /// Tells how a board is.
    pub(super) fn show(&self, name: &str) {
        let station = self.by_name.get(name).and_then(|index| self.stations.get(index));
        let (Some(station), Some(standing)) = (station, self.lab.board(name)) else { return };
        let shown = station.shown.borrow();
        let kept = &standing.kept;
        let job = standing.job.and_then(|id| self.lab.job(id));
        self.feed.tell(Change::Board(BoardView {
            name: name.to_owned(),
            board_type: standing.board_type.clone(),
            tags: standing.tags.clone(),
            state: standing.state(),
            health: kept.health,
            health_reason: kept.reason.clone(),
            health_since: kept.since,
            phase: if standing.obstacle.is_empty() {
                station.phase()
            } else {
                standing.obstacle.clone()
            },
            job: standing.job,
            run: job.and_then(|job| job.run.clone()),
            action: shown.action.clone(),
            progress: shown.progress,
            lease: kept.lease.clone(),
            last_line: shown.last_line(),
            line: station.line.clone(),
            received_bytes: shown.received_bytes,
            recent: kept.recent.iter().cloned().collect(),
        }));
    }

    pub(super) fn tell_lab(&self) {
        let count = |state| self.lab.jobs().filter(|job| job.state == state).count() as u64;
        self.feed.tell(Change::Lab(LabView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: Some(self.started),
            paused: self.lab.paused().to_owned(),
            boards: self.stations.len() as u64,
            queued: count(JobState::Queued),
            running: count(JobState::Running),
        }));
    }

    /// Takes the folders of boards that nobody else uses, and lets go of those that somebody has acquired.
    pub(super) fn claim_folders(&mut self) {
        let names: Vec<String> = self.by_name.keys().cloned().collect();
        names.iter().for_each(|name| self.claim_folder(name));
    }

    pub(super) fn claim_folder(&mut self, name: &str) {
        let Some(station) = self.by_name.get(name).and_then(|index| self.stations.get_mut(index))
        else {
            return;
        };
        if !station.is_idle() {
            return;
        }
        if self.lab.is_acquired(name) {
            // Who has acquired it uses it with pumice's other commands, which want it for themselves.
            station.folder = None;
            return;
        }
        if station.folder.is_none() {
            match claim(&self.settings, name) {
                Ok(folder) => {
                    station.folder = Some(folder);
                    self.lab.set_obstacle(name, "");
                }
                Err(why) => self.lab.set_obstacle(name, why),
            }
        }
    }
}

/// Takes a board for this process.
pub(super) fn claim(settings: &Settings, name: &str) -> Result<BoardFolder, String> {
    let name: Name = name.parse().map_err(|_| "no name of a board".to_owned())?;
    BoardFolder::claim(&settings.folders, &name)
}
