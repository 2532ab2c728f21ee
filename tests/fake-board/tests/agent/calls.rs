//! What tests call to other boards: once, whatever becomes of the session, and answered to who waits.

use super::bench::{Bench, plan_bytes, secs};
use super::{Does, lose_session, test_board};
use agent_core::wire::node::NodeCall;
use agent_core::wire::response::TestStatus;
use agent_core::wire::{FailureKind, Method, request, response};
use fake_board::Program;

fn call(kind: u8, id: &str) -> NodeCall<'_> {
    NodeCall { kind, id, data: b"" }
}

/// A board whose test does `program`, in a session.
fn running(program: Program) -> Bench {
    let mut bench = test_board(&plan_bytes("r1", &[("one", 600_000)]));
    bench.board.script().suite("one", program);
    bench.board.power_on(bench.now);
    bench.run_for(secs(2));
    bench.follow(3);
    bench.run_for(secs(1));
    bench
}

/// Asks for what is behind call `taken`.
fn next(bench: &mut Bench, taken: u32) -> u32 {
    let request = bench.ask(Method::NODE_CALL, &request::NodeCall { taken });
    bench.run_for(secs(1));
    request
}

/// Number, kind and id of the call that answered.
fn called(bench: &Bench, request: u32) -> (u32, u8, String) {
    let answer: response::NodeCall<'_> = bench.answer(request, Method::NODE_CALL);
    (answer.number, answer.call.kind, answer.call.id.to_owned())
}

fn answer(bench: &mut Bench, number: u32, data: &[u8]) {
    let status = request::NodeAnswer::DONE;
    let request = bench.ask(Method::NODE_ANSWER, &request::NodeAnswer { number, status, data });
    bench.run_for(secs(1));
    bench.answer::<response::Done>(request, Method::NODE_ANSWER);
}

#[test]
fn a_call_is_taken_once_and_its_answer_comes_in_a_later_session() {
    let program = Program::new()
        .call(&NodeCall { data: b"ip=10.0.0.1\0", ..call(NodeCall::SEND, "ready") })
        .call(&call(NodeCall::WAIT, "go"))
        .out("went\n");
    let mut bench = running(program);
    let first = next(&mut bench, 0);
    assert_eq!(called(&bench, first), (1, NodeCall::SEND, "ready".to_owned()));
    let answered: response::NodeCall<'_> = bench.answer(first, Method::NODE_CALL);
    assert_eq!(answered.call.data, b"ip=10.0.0.1\0");
    // The dispatcher never heard it: the same again.
    lose_session(&mut bench);
    let again = next(&mut bench, 0);
    assert_eq!(called(&bench, again), (1, NodeCall::SEND, "ready".to_owned()));
    assert!(bench.board.heard().is_empty(), "nobody has answered");
    answer(&mut bench, 1, b"");
    let second = next(&mut bench, 1);
    assert_eq!(called(&bench, second), (2, NodeCall::WAIT, "go".to_owned()));
    let third = next(&mut bench, 2);
    lose_session(&mut bench);
    assert!(!bench.is_answered(third));
    assert_eq!(bench.status().0, TestStatus::RUNNING);
    // What nobody waits for changes nothing.
    answer(&mut bench, 1, b"late");
    answer(&mut bench, 7, b"never");
    answer(&mut bench, 2, &[b'x'; 3072]);
    answer(&mut bench, 2, b"twice");
    assert_eq!(*bench.board.heard(), [(0, b"".to_vec()), (0, vec![b'x'; 3072])]);
    bench.run_for(secs(5));
    assert_eq!(bench.status().0, TestStatus::ENDED);
}

#[test]
fn a_question_that_waits_gives_way_to_a_newer_one_and_answers_when_there_is_a_call() {
    let program =
        Program::new().then(Does::Wait(secs(20))).call(&call(NodeCall::SYNC, "start")).exit(3);
    let mut bench = running(program);
    let (first, second) = (next(&mut bench, 0), next(&mut bench, 0));
    assert_eq!(bench.failure_kind(first), FailureKind::CANCELED);
    bench.run_for(secs(10));
    assert!(!bench.is_answered(second));
    bench.run_for(secs(10));
    assert_eq!(called(&bench, second), (1, NodeCall::SYNC, "start".to_owned()));
    let failed = request::NodeAnswer { number: 1, status: 255, data: b"bbb-02 died" };
    bench.ask(Method::NODE_ANSWER, &failed);
    bench.run_for(secs(2));
    assert_eq!(*bench.board.heard(), [(255, b"bbb-02 died".to_vec())]);
}
