//! `pumice info`: what is known of a board.

use std::io::Write;

use agent_core::wire::response::Info;
use agent_core::wire::{Method, request};
use serde::Serialize;

use super::hands_on::{fail, with_agent};
use crate::board::line_quality::{End, counted};
use crate::cli::Global;
use crate::report::text::printable;
use crate::script::files::SHORT_DEADLINE;
use crate::script::line::LineReport;

/// A board, as its agent describes it; `board.json` of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// Name in the lab.
    pub board: String,
    /// Board type.
    pub board_type: String,
    /// The device tree's model.
    pub model: String,
    /// `uname -n`.
    pub host_name: String,
    /// `uname -srvm`.
    pub kernel: String,
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Labels of the partitions.
    pub partitions: Vec<String>,
    /// `interface address/prefix`.
    pub addresses: Vec<String>,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Time since boot in seconds.
    pub uptime_seconds: f64,
    /// Which image the agent runs in.
    pub role: &'static str,
    /// The agent's version.
    pub agent_version: String,
    /// Memory that the agent keeps resident, KiB.
    pub agent_resident_kib: u64,
    /// Bytes that the UART lost.
    pub line_overruns: u32,
    /// Framing and parity errors of the UART.
    pub line_errors: u32,
}

/// Whether bulk may go over the network.
#[derive(Clone, Debug, Serialize)]
struct LaneReport {
    /// This host, as the board is told.
    address: String,
    /// Why there is none now.
    problem: Option<String>,
}

impl std::fmt::Display for LaneReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.problem {
            None => write!(f, "the board reaches this host at {}", self.address),
            Some(why) => write!(f, "none, bulk goes over the line: {why}"),
        }
    }
}

/// What an agent said, in words of ours.
pub fn describe(board: &str, board_type: &str, info: &Info<'_>) -> Description {
    Description {
        board: board.to_owned(),
        board_type: board_type.to_owned(),
        model: info.model.to_owned(),
        host_name: info.host_name.to_owned(),
        kernel: info.kernel.to_owned(),
        memory_kib: info.memory_kib,
        partitions: words(info.partitions),
        addresses: words(info.addresses),
        machine_id: info.machine_id.to_owned(),
        boot_id: info.boot_id.to_owned(),
        uptime_seconds: info.uptime_us as f64 / 1e6,
        role: if info.role == Info::TEST { "test" } else { "master" },
        agent_version: info.version.to_owned(),
        agent_resident_kib: info.agent_resident_kib,
        line_overruns: info.line_overruns,
        line_errors: info.line_errors,
    }
}

/// Shows a board.
pub fn info(global: &Global, board: &str) -> u8 {
    let described = with_agent(global, board, async |bench, lab| {
        let answer = bench.ask(Method::INFO, &request::Info {}, SHORT_DEADLINE).await?;
        let info: Info<'_> = answer.read()?;
        bench.note_line().await;
        let lane = match lab.side_lane {
            Some(lane) => {
                Some(LaneReport { address: lane.to_string(), problem: bench.try_lane().await })
            }
            None => None,
        };
        Ok((describe(board, &lab.board_type.name, &info), bench.line_report(), lane))
    });
    let (description, line, lane) = match described {
        Ok(described) => described,
        Err(fault) => return fail(&fault),
    };
    let mut out = std::io::stdout();
    let written = if global.json {
        let mut value = serde_json::json!(description);
        value["line"] = line.to_json().clone();
        value["side_lane"] = serde_json::json!(lane);
        writeln!(out, "{value}")
    } else {
        write_table(&mut out, &description, &line, lane.as_ref())
    };
    u8::from(written.is_err())
}

fn write_table(
    out: &mut impl Write,
    description: &Description,
    line: &LineReport,
    lane: Option<&LaneReport>,
) -> std::io::Result<()> {
    let rows = [
        ("board", format!("{} ({})", description.board, description.board_type)),
        ("model", description.model.clone()),
        ("kernel", description.kernel.clone()),
        ("host name", description.host_name.clone()),
        ("memory", format!("{} MiB", description.memory_kib / 1024)),
        ("partitions", description.partitions.join(", ")),
        ("addresses", description.addresses.join(", ")),
        ("uptime", format!("{:.1} s", description.uptime_seconds)),
        (
            "agent",
            format!(
                "{} {}, {} KiB resident",
                description.role, description.agent_version, description.agent_resident_kib
            ),
        ),
    ];
    let line = line_rows(line, description);
    let lane = lane.map(|lane| ("side lane", lane.to_string()));
    for (name, value) in rows.into_iter().chain(line).chain(lane) {
        let value = if value.is_empty() { "-".to_owned() } else { printable(&value) };
        writeln!(out, "{name:<11} {value}")?;
    }
    Ok(())
}

/// The line: the verdict, and what each end has counted.
fn line_rows(line: &LineReport, description: &Description) -> [(&'static str, String); 4] {
    let round_trip = line.round_trip.map_or_else(String::new, |round_trip| {
        format!(" (round trip {:.1} ms)", round_trip.as_micros() as f64 / 1e3)
    });
    let board = line.board.unwrap_or_default();
    let to_board = match line.board {
        Some(board) => way(&board, line.host.resent),
        None => format!(
            "{} sent, {} again; the agent does not tell what arrived",
            counted(line.host.frames_out, "frame"),
            line.host.resent
        ),
    };
    let uart = format!(
        "{} baud; board: {}, {} of framing or parity; host: {}",
        line.baud,
        counted(u64::from(description.line_overruns), "overrun"),
        counted(u64::from(description.line_errors), "error"),
        counted(line.host.overruns, "overrun"),
    );
    [
        ("line", format!("{}{round_trip}", line.verdict)),
        ("  to board", to_board),
        ("  to host", way(&line.host, board.resent)),
        ("  UARTs", uart),
    ]
}

/// What arrived at an end, and how often its peer had to send again.
fn way(end: &End, resent: u64) -> String {
    let damaged = if end.damaged == 0 { "none".to_owned() } else { end.damaged.to_string() };
    format!("{} arrived, {damaged} damaged, {resent} sent again", counted(end.arrived(), "frame"))
}

/// Words that each end with a NUL.
fn words(list: &[u8]) -> Vec<String> {
    list.split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}
