//! `lava-send`, `lava-wait`, `lava-wait-all` and `lava-sync`: what a test says to the tests of the other boards.
//!
//! As in LAVA each call leaves a case (`multinode-wait-ID`), what was said lands in the cache file, one `NODE:KEY=VALUE` a
//! line, in the place of what an earlier call left there, and status 1 says that it will never be said.

use super::tell::{self, Told, exchange, problem, tell};
use super::{End, case, say, variable};
use crate::sys::file;
use crate::sys::path as paths;
use crate::text;
use agent_core::wire::codec;
use agent_core::wire::node::{NODE_ANSWER_MAX, NODE_CALL_MAX, NodeCall};
use agent_core::wire::request::NodeAnswer;
use agent_core::wire::test_signal::TestSignal;

/// Runs the helper of this name.
pub(super) fn run(name: &str, words: &[&str]) -> Result<(), End> {
    let [id, rest @ ..] = words else { return Err(End::Usage(USAGE)) };
    let mut data = Vec::new();
    let (kind, word) = match (name, rest) {
        ("lava-send", pairs) => {
            // As LAVA's: what has no key or no value is no data.
            let has_both = |pair: &&&str| {
                let at = pair.bytes().position(|byte| byte == b'=').unwrap_or(0);
                at > 0 && at + 1 < pair.len()
            };
            for pair in pairs.iter().filter(has_both) {
                data.extend_from_slice(pair.as_bytes());
                data.push(0);
            }
            (NodeCall::SEND, "send")
        }
        ("lava-wait", []) => (NodeCall::WAIT, "wait"),
        ("lava-wait-all", [] | [_]) => {
            data.extend_from_slice(rest.concat().as_bytes());
            (NodeCall::WAIT_ALL, "wait_all")
        }
        ("lava-sync", []) => (NodeCall::SYNC, "sync"),
        _ => return Err(End::Usage(USAGE)),
    };
    let done = call(&NodeCall { kind, id, data: &data });
    let result = if done.is_ok() { TestSignal::PASS } else { TestSignal::FAIL };
    if !matches!(done, Err(End::Usage(_))) {
        let name = &["multinode-", word, "-", id].concat();
        tell(&TestSignal { kind: TestSignal::CASE_ENDED, name, result, ..TestSignal::default() })?;
    }
    done
}

/// Calls, and returns when it is answered and the answer lies in the cache file.
fn call(call: &NodeCall<'_>) -> Result<(), End> {
    let mut buffer = vec![0; NODE_CALL_MAX];
    let packet = codec::encode(call, &mut buffer).map_err(|_| End::Usage(USAGE))?;
    let place = tell::place()?.ok_or_else(|| problem("no agent runs this"))?;
    let mut answer = vec![0; 1 + NODE_ANSWER_MAX];
    // A call waits for its turn as long as the test may take.
    let length = loop {
        match exchange(&place, packet, &mut answer)? {
            Told::Answer(length) if answer[0] != tell::EAGAIN => break length,
            Told::Answer(_) | Told::Unheard => tell::pause(),
        }
    };
    let data = &answer[1..length];
    match answer[0] {
        NodeAnswer::DONE if call.kind == NodeCall::SEND => Ok(()),
        NodeAnswer::DONE => keep(data),
        NodeAnswer::FAILED => {
            say(&[&text::lossy(data)]);
            Err(End::Status(1))
        }
        tell::EINVAL => Err(End::Usage(USAGE)),
        errno => Err(tell::refused(errno)),
    }
}

fn keep(data: &[u8]) -> Result<(), End> {
    let path = variable("LAVA_MULTI_NODE_CACHE=");
    let path = path.as_deref().unwrap_or("/tmp/lava_multi_node_cache.txt");
    let _ = paths::remove_file(path);
    if data.is_empty() {
        return Ok(());
    }
    let file = file::open(path, file::APPEND);
    file.and_then(|file| file.write_all(data)).map_err(|error| case::about(path, error))
}

/// Of `lava-send`, of `lava-wait-all`, and of the others the ID alone.
const USAGE: &str = "ID [KEY=VALUE...|ROLE] (an ID: 96 bytes, no space, no =; all pairs: 1024)";
