//! `pumice boards`, `acquire`, `release` and `health`: the boards of a lab.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::lab_client::with_lab;
use crate::cli::{Global, HealthWord};
use crate::client::Client;
use crate::lab::view::{BoardState, BoardView};
use crate::report::text::printable;
use crate::script::Fault;

#[derive(Deserialize)]
struct Boards {
    boards: Vec<BoardView>,
}

/// Lists the boards, or shows one.
pub fn boards(global: &Global, name: Option<&str>) -> u8 {
    with_lab(global, |client| {
        let boards = match name {
            Some(name) => vec![client.get(&path(name, ""))?],
            None => client.get::<Boards>("/boards")?.boards,
        };
        boards.iter().for_each(|board| show(global, board));
        Ok(0)
    })
}

/// Takes a board for oneself.
pub fn acquire(global: &Global, name: &str, period: Duration, reason: &str) -> u8 {
    change(global, |client| {
        let minutes = period.as_secs().div_ceil(60);
        client.post(&path(name, "/acquire"), &json!({"minutes": minutes, "reason": reason}))
    })
}

/// Gives it back.
pub fn release(global: &Global, name: &str) -> u8 {
    change(global, |client| client.post(&path(name, "/release"), &json!({})))
}

/// Says how healthy a board is.
pub fn health(global: &Global, name: &str, health: HealthWord, reason: &str) -> u8 {
    let health = health.health();
    change(global, |client| {
        client.post(&path(name, "/health"), &json!({"health": health, "reason": reason}))
    })
}

fn change(global: &Global, work: impl FnOnce(&Client) -> Result<BoardView, Fault>) -> u8 {
    with_lab(global, |client| {
        show(global, &work(client)?);
        Ok(0)
    })
}

fn show(global: &Global, board: &BoardView) {
    if global.json {
        println!("{}", json!(board));
        return;
    }
    let use_ = match (&board.state, &board.lease) {
        (BoardState::Running, _) => {
            let progress = board.progress.map(|part| format!(" {:.0} %", part * 100.0));
            format!(
                "job {}: {}{}",
                board.job.unwrap_or_default(),
                board.action,
                progress.unwrap_or_default()
            )
        }
        (_, Some(lease)) => format!("{}'s until {}", lease.holder, lease.until),
        _ => String::new(),
    };
    let line = format!(
        "{:<16}  {:<18}  {:<11}  {:<14}  {use_}",
        board.name,
        board.board_type,
        board.health.as_str(),
        board.phase,
    );
    println!("{}", printable(line.trim_end()));
}

fn path(name: &str, verb: &str) -> String {
    format!("/boards/{}{verb}", super::jobs::encoded(name))
}
