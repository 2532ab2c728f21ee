//! Calls of the running test to the tests on other boards: numbered, kept until the dispatcher has them, and answered to
//! the helper that waits when the dispatcher says so.
//!
//! One call at a time is on its way to the dispatcher, so what a helper hears of it survives a lost session: the
//! dispatcher asks for what is behind the newest that it has, and the same call comes again, under the same number.

use super::queue::Queue;
use super::signals::{self, refuse};
use crate::wire::codec::BadBody;
use crate::wire::node::{NODE_CALL_MAX, NodeCall};
use heapless::Vec;

/// See the module.
#[derive(Debug)]
pub(super) struct Calls {
    /// Number of the newest.
    last: u32,
    /// The newest as it came, until the dispatcher has it; empty then.
    packet: Vec<u8, NODE_CALL_MAX>,
    /// Which call each client waits for; 0: none.
    waiting: [u32; CLIENTS_MAX],
    /// The request that is answered with the next call.
    pub(super) asked: Option<u32>,
}

impl Calls {
    pub(super) const fn new() -> Self {
        Self { last: 0, packet: Vec::new(), waiting: [0; CLIENTS_MAX], asked: None }
    }

    /// Takes a helper's packet; one that is refused is answered at once. `is_running`: a test is.
    pub(super) fn take(&mut self, client: u8, packet: &[u8], is_running: bool, queue: &mut Queue) {
        let others = self.waiting.iter().filter(|number| **number != 0).count();
        let place = self.waiting.get_mut(usize::from(client));
        let refused = match (place, NodeCall::parse(packet)) {
            _ if !is_running => signals::ENOENT,
            (_, Err(BadBody)) | (None, _) => signals::EINVAL,
            (Some(place), Ok(_)) => {
                let is_full = !self.packet.is_empty() || others >= WAITING_MAX || *place != 0;
                // What could be read is no longer than this.
                if !is_full && self.packet.extend_from_slice(packet).is_ok() {
                    self.last += 1;
                    *place = self.last;
                    return;
                }
                signals::EAGAIN
            }
        };
        refuse(client, refused, queue);
    }

    /// A client has closed its end: nobody waits there any more. What it called for goes its way.
    pub(super) fn handle_gone(&mut self, client: u8) {
        if let Some(place) = self.waiting.get_mut(usize::from(client)) {
            *place = 0;
        }
    }

    /// The dispatcher has all up to this one, and wants the next as answer to `request`. Returns the request that is not
    /// to be answered so any more.
    pub(super) fn ask(&mut self, request: u32, taken: u32) -> Option<u32> {
        self.handle_taken(taken);
        self.asked.replace(request)
    }

    /// The request that is due to be answered with the newest call, once; and that call's number and bytes.
    pub(super) fn take_due(&mut self) -> Option<(u32, u32, &[u8])> {
        if self.packet.is_empty() {
            return None;
        }
        Some((self.asked.take()?, self.last, &self.packet))
    }

    /// The client that a call's answer is for, if it still waits.
    pub(super) fn take_client(&mut self, number: u32) -> Option<u8> {
        self.handle_taken(number);
        let client = self.waiting.iter().position(|waiting| number != 0 && *waiting == number)?;
        self.waiting[client] = 0;
        u8::try_from(client).ok()
    }

    fn handle_taken(&mut self, number: u32) {
        if number == self.last {
            self.packet.clear();
        }
    }
}

/// Clients of the test's socket.
const CLIENTS_MAX: usize = 8;

/// Helpers that wait at a time. The other clients' places are for those that are answered at once.
const WAITING_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::queue::Queued;
    use crate::wire::codec;

    fn packet(kind: u8, id: &str) -> Vec<u8, NODE_CALL_MAX> {
        let mut buffer = [0; NODE_CALL_MAX];
        let call = NodeCall { kind, id, data: &[] };
        Vec::from_slice(codec::encode(&call, &mut buffer).unwrap()).unwrap()
    }

    /// Takes one, and returns what it is answered at once.
    fn take(calls: &mut Calls, client: u8, packet: &[u8]) -> Option<u8> {
        let mut queue = Queue::new();
        calls.take(client, packet, true, &mut queue);
        match queue.pop() {
            Some(Queued::AnswerSignal { client: answered, os_error }) => {
                assert_eq!(answered, client);
                Some(os_error)
            }
            other => {
                assert_eq!(other, None);
                None
            }
        }
    }

    fn due(calls: &mut Calls) -> Option<(u32, u32, u8)> {
        calls.take_due().map(|(request, number, packet)| (request, number, packet[0]))
    }

    #[test]
    fn a_call_comes_again_until_the_dispatcher_has_it() {
        let mut calls = Calls::new();
        assert_eq!(calls.ask(70, 0), None);
        assert_eq!(due(&mut calls), None, "nobody has called");
        assert_eq!(take(&mut calls, 3, &packet(NodeCall::SEND, "a")), None);
        assert_eq!(due(&mut calls), Some((70, 1, NodeCall::SEND)));
        assert_eq!(due(&mut calls), None, "nobody asks");
        assert_eq!(take(&mut calls, 4, &packet(NodeCall::WAIT, "b")), Some(signals::EAGAIN));
        // The session was lost, and with it the answer.
        assert_eq!(calls.ask(71, 0), None);
        assert_eq!(due(&mut calls), Some((71, 1, NodeCall::SEND)));
        assert_eq!(calls.ask(72, 1), None);
        assert_eq!(due(&mut calls), None);
        assert_eq!(calls.ask(73, 1), Some(72), "the newer counts");
        assert_eq!(take(&mut calls, 4, &packet(NodeCall::WAIT, "b")), None);
        assert_eq!(due(&mut calls), Some((73, 2, NodeCall::WAIT)));
        assert_eq!(
            [2, 1, 1, 0, 9].map(|number| calls.take_client(number)),
            [Some(4), Some(3), None, None, None]
        );
    }

    #[test]
    fn what_is_no_call_or_finds_no_room_is_refused() {
        let mut calls = Calls::new();
        let wait = packet(NodeCall::WAIT, "x");
        for bad in [&[][..], &[NodeCall::WAIT], &[255; 40], &packet(1, "x"), &packet(33, "a=b")] {
            assert_eq!(take(&mut calls, 0, bad), Some(signals::EINVAL));
        }
        assert_eq!(take(&mut calls, 8, &wait), Some(signals::EINVAL), "no such client");
        let mut queue = Queue::new();
        calls.take(0, &wait, false, &mut queue);
        let no_test = Queued::AnswerSignal { client: 0, os_error: signals::ENOENT };
        assert_eq!(queue.pop(), Some(no_test));
        for client in 0..4 {
            assert_eq!(take(&mut calls, client, &wait), None);
            calls.ask(1, calls.last);
        }
        assert_eq!(take(&mut calls, 4, &wait), Some(signals::EAGAIN), "four wait");
        calls.handle_gone(2);
        calls.handle_gone(200);
        assert_eq!(calls.take_client(3), None, "it has gone");
        assert_eq!(take(&mut calls, 0, &wait), Some(signals::EAGAIN), "it waits already");
        assert_eq!(take(&mut calls, 2, &wait), None);
        assert_eq!(calls.take_client(5), Some(2));
    }
}
