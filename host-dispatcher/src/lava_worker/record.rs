//! What of a job must outlive this process: enough to go on exactly where it was.
//!
//! It is on the disk, synced, before what it says is done, and again before what was done counts: a line that the server
//! may have is either here as pending, or behind `index`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::convert::Part;
use super::group::Member;
use super::protocol::{End, LavaId, Order};
use crate::lab::view::JobId;

/// A job of LAVA that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in LAVA.
    pub id: LavaId,
    /// Its token there.
    pub token: String,
    /// How far it is.
    pub stage: Stage,
    /// Whether LAVA wants it to end.
    #[serde(default)]
    pub is_canceled: bool,
    /// How many lines of its log the server has, for sure.
    #[serde(default)]
    pub index: u64,
    /// The lines after these; the server may have the first ones.
    #[serde(default)]
    pub pending: Vec<String>,
    /// How many results are among the lines that the server has.
    #[serde(default)]
    pub results: u64,
    /// What the lab is given when it is done with what it has, the last one first.
    #[serde(default)]
    pub rest: Vec<Part>,
    /// What the first part came to that did not come to its end.
    #[serde(default)]
    pub failed: Option<End>,
    /// Another one of its group gives it to the lab.
    #[serde(default)]
    pub is_given_by_another: bool,
    /// How long the runs took that are over.
    #[serde(default)]
    pub milliseconds: u64,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// LAVA has ordered it.
    Ordered,
    /// It waits for the others that do one job with it, unless the lab has that already.
    Gathering(Box<Member>),
    /// It is being given to the lab, which may have it already.
    Submitting(Part),
    /// The lab has it.
    Submitted(Run),
    /// The lab is done with it, or never had it; what is pending is to be sent, and then this.
    Over(End),
}

/// A job of the lab, and how much of its run was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The job's number in the lab.
    pub job: JobId,
    /// The run, once there is one.
    #[serde(default)]
    pub run: Option<String>,
    /// Bytes of its `timeline.ndjson` that were read.
    #[serde(default)]
    pub timeline: u64,
    /// Bytes of its `events.ndjson` that were read.
    #[serde(default)]
    pub events: u64,
    /// How many hashes of lines that were told belong to this; see [`Told`](super::lines::Told).
    #[serde(default)]
    pub told: u64,
    /// When the run ended, the timeline is read once again from its beginning.
    #[serde(default)]
    pub is_second_reading: bool,
}

impl Record {
    /// A job that was just ordered.
    pub fn new(order: &Order) -> Self {
        Self {
            id: order.id,
            token: order.token.clone(),
            stage: Stage::Ordered,
            is_canceled: false,
            index: 0,
            pending: Vec::new(),
            results: 0,
            rest: Vec::new(),
            failed: None,
            is_given_by_another: false,
            milliseconds: 0,
        }
    }

    /// What its requests carry.
    pub fn order(&self) -> Order {
        Order { id: self.id, token: self.token.clone() }
    }

    /// Puts lines into the order of time, and behind those that wait.
    pub fn add(&mut self, mut lines: Vec<(Timestamp, String)>) {
        lines.sort_by_key(|(time, _)| *time);
        self.pending.extend(lines.into_iter().map(|(_, line)| line));
    }

    /// The first of the pending lines, as many as one request takes.
    pub fn batch(&self, lines_max: usize) -> &[String] {
        let mut bytes = 0;
        let count = self.pending.iter().take(lines_max.clamp(1, LINES_MAX)).take_while(|line| {
            bytes += line.len();
            bytes <= BYTES_MAX
        });
        // One that is too long for a request is sent all the same: the server has its own opinion.
        let count = count.count().max(1).min(self.pending.len());
        &self.pending[..count]
    }

    /// The server has taken so many of the pending lines.
    pub fn taken(&mut self, count: usize) {
        let count = count.min(self.pending.len());
        self.results += results_in(&self.pending[..count]);
        self.pending.drain(..count);
        self.index += count as u64;
    }
}

/// How many of these lines are results. In a text the quotes would be escaped.
pub fn results_in(lines: &[String]) -> u64 {
    lines.iter().filter(|line| line.contains("\"lvl\": \"results\"")).count() as u64
}

/// As LAVA's own worker (`lava_common/log.py`, `MAX_RECORDS`).
const LINES_MAX: usize = 1000;
/// A third of what a server takes whose settings say nothing (Django's `DATA_UPLOAD_MAX_MEMORY_SIZE`, 2.5 MiB): as a form
/// a line may become three times as long.
const BYTES_MAX: usize = 800 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(lengths: &[usize]) -> Record {
        let mut record = Record::new(&Order { id: 1, token: "t".into() });
        record.pending = lengths.iter().map(|length| "x".repeat(*length)).collect();
        record
    }

    #[test]
    fn batches_fit_into_a_request() {
        assert_eq!(record(&[1, 2, 3]).batch(usize::MAX).len(), 3);
        assert_eq!(record(&[1, 2, 3]).batch(2).len(), 2);
        assert_eq!(record(&[1, 2, 3]).batch(0).len(), 1);
        assert_eq!(record(&[BYTES_MAX - 1, 1, 1]).batch(usize::MAX).len(), 2);
        assert_eq!(record(&[BYTES_MAX + 1, 1]).batch(usize::MAX).len(), 1);
        assert_eq!(record(&vec![0; LINES_MAX + 1]).batch(usize::MAX).len(), LINES_MAX);
        assert!(record(&[]).batch(usize::MAX).is_empty());
    }

    #[test]
    fn lines_are_counted_and_ordered() {
        let mut record = record(&[1, 1]);
        record.taken(9);
        assert_eq!((record.index, record.pending.len()), (2, 0));
        let at = |second| Timestamp::new(second, 0).unwrap();
        record.add(vec![(at(2), "b".into()), (at(1), "a".into()), (at(2), "c".into())]);
        assert_eq!(record.pending, ["a", "b", "c"]);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
