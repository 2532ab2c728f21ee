//! The text of a line for a person who looks: frames of an agent are no text, and none is answered.

use agent_core::link::LineConfig;
use agent_core::time::Instant;

use super::link_memory::HostLink;
use super::spec::coding;
use crate::config::board_type::Line;

/// Tells text from frames; only the link's demultiplexer is used.
#[derive(Debug)]
pub struct RawLine(Box<HostLink>);

impl RawLine {
    /// For a line of this kind.
    pub fn new(line: &Line) -> Self {
        let config = LineConfig { coding: coding(line), baud: line.baud };
        let mut link = Box::new(HostLink::host(config, 1));
        link.set_answering(false);
        Self(link)
    }

    /// What of these bytes is text.
    pub fn text(&mut self, now: Instant, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        self.0.handle_input(now, bytes, &mut |console| text.extend_from_slice(console));
        while self.0.poll_event().is_some() {}
        text
    }
}
