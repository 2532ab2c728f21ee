//! Groups in the lab: accepted, begun, ended, canceled and tried again together.

use super::tests::{INFRASTRUCTURE, at, begun, end, entry, lab, new};
use super::*;

/// Jobs of a group, one for each of these boards; an empty name is any board.
pub(super) fn group(submitter: &str, boards: &[&str]) -> Vec<NewJob> {
    let jobs = boards.iter().enumerate().map(|(index, board)| NewJob {
        board_wish: if board.is_empty() { BoardWish::default() } else { BoardWish::named(*board) },
        node: Some(NewNode { label: format!("peer-{index}"), role: "peer".into() }),
        ..new("g", submitter)
    });
    jobs.collect()
}

fn submit(lab: &mut Lab, submitter: &str, boards: &[&str]) -> JobId {
    lab.submit_group(at(0), group(submitter, boards)).unwrap()[0].id
}

fn states(lab: &Lab) -> Vec<(JobId, JobState)> {
    lab.jobs().map(|job| (job.id, job.state)).collect()
}

fn steps(lab: &mut Lab) -> Vec<Step> {
    std::iter::from_fn(|| lab.poll_step(at(9))).collect()
}

const PASSED: Verdict = Verdict::Passed;

#[test]
fn a_group_is_accepted_whole_or_refused_with_the_reason() {
    let mut lab = lab(&["a", "b"]);
    let views = lab.submit_group(at(0), group("ann", &["", "a"])).unwrap();
    let groups: Vec<_> = views.iter().map(|view| view.group.clone().unwrap()).collect();
    assert_eq!(views.iter().map(|view| view.id).collect::<Vec<_>>(), [1, 2]);
    assert!(groups.iter().all(|group| (group.first, group.boards) == (1, 2)));
    assert_eq!((groups[1].node.as_str(), groups[1].role.as_str()), ("peer-1", "peer"));
    for (boards, expected) in [
        (
            &["", "", ""][..],
            "the job needs 3 boards at once, and the lab has not enough for it: there is none left",
        ),
        (
            &["a", "a"],
            "the job needs 2 boards at once, and the lab has not enough for it: there is none left named a",
        ),
        (&["a", "c"], "no board of the lab is what the job asks for: named c"),
    ] {
        let refused = lab.submit_group(at(0), group("ann", boards)).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }
    assert_eq!(lab.jobs().count(), 2, "nothing of what is refused is left");
    lab.set_health(at(0), "b", Health::Retired, "").unwrap();
    assert!(lab.submit_group(at(0), group("ann", &["", ""])).is_err());
}

#[test]
fn a_group_begins_at_once_and_holds_boards_until_it_does() {
    let mut lab = lab(&["a", "b", "c"]);
    lab.submit(at(0), new("j", "bob")).unwrap();
    assert_eq!(begun(&mut lab, at(0)), [(1, "a".into())]);
    assert_eq!(submit(&mut lab, "ann", &["a", ""]), 2);
    // Somebody with fewer jobs on boards than anybody else has.
    lab.submit(at(0), new("j", "cid")).unwrap();
    lab.submit(at(0), new("j", "cid")).unwrap();
    assert_eq!(begun(&mut lab, at(0)), [(4, "c".into())], "b is held, c not needed");
    let why = |id| lab.job(id).unwrap().waits_for.clone();
    assert_eq!(why(2), "2 free boards at once; held for it: b");
    assert_eq!(why(3), why(2));
    assert_eq!(why(5), "a free board; b is held for job 2, which needs several at once");
    lab.handle_run_ended(at(1), 4, end(PASSED));
    assert_eq!(begun(&mut lab, at(1)), [(5, "c".into())]);
    lab.handle_run_ended(at(2), 1, end(PASSED));
    assert_eq!(begun(&mut lab, at(2)), [(2, "a".into()), (3, "b".into())]);
}

/// Who has jobs elsewhere comes after who has none; what his group holds nobody takes all the same.
#[test]
fn a_group_does_not_wait_for_ever() {
    let mut lab = lab(&["a", "b", "c"]);
    let on = |lab: &mut Lab, who: &str, board: &str| {
        let job = NewJob { board_wish: BoardWish::named(board), ..new("j", who) };
        lab.submit(at(0), job).unwrap().id
    };
    on(&mut lab, "ann", "c");
    let mut runs = vec![on(&mut lab, "bob", "a")];
    assert_eq!(begun(&mut lab, at(0)).len(), 2);
    let first = submit(&mut lab, "ann", &["a", "b"]);
    assert_eq!(begun(&mut lab, at(0)), []);
    for _ in 0..3 {
        for board in ["a", "b"] {
            on(&mut lab, "bob", board);
            on(&mut lab, "cid", board);
        }
    }
    assert_eq!(begun(&mut lab, at(1)), [], "b is held");
    lab.handle_run_ended(at(1), runs.remove(0), end(PASSED));
    assert_eq!(begun(&mut lab, at(1)), [(first, "a".into()), (first + 1, "b".into())]);
}

/// Two groups that need each other's boards, and one that is more urgent than both.
#[test]
fn one_group_at_a_time_holds_boards() {
    let mut lab = lab(&["a", "b", "c"]);
    for board in ["a", "b", "c"] {
        let job = NewJob { board_wish: BoardWish::named(board), ..new("j", "ann") };
        lab.submit(at(0), job).unwrap();
    }
    begun(&mut lab, at(0));
    let one = submit(&mut lab, "bob", &["a", "b", "c"]);
    let other = submit(&mut lab, "cid", &["c", "b"]);
    lab.handle_run_ended(at(1), 3, end(PASSED));
    assert_eq!(begun(&mut lab, at(1)), [], "c is held for the first");
    let mut urgent = group("dan", &["c", "a"]);
    urgent.iter_mut().for_each(|job| job.priority = 90);
    let urgent = lab.submit_group(at(1), urgent).unwrap()[0].id;
    begun(&mut lab, at(1));
    assert_eq!(lab.job(urgent).unwrap().waits_for, "2 free boards at once; held for it: c");
    lab.handle_run_ended(at(2), 1, end(PASSED));
    assert_eq!(begun(&mut lab, at(2)), [(urgent, "c".into()), (urgent + 1, "a".into())]);
    lab.handle_run_ended(at(3), 2, end(PASSED));
    assert_eq!(begun(&mut lab, at(3)), []);
    lab.handle_run_ended(at(4), urgent, end(PASSED));
    assert_eq!(begun(&mut lab, at(4)), [], "the first goes on holding b, and c with it");
    lab.handle_run_ended(at(5), urgent + 1, end(PASSED));
    assert_eq!(begun(&mut lab, at(5)).len(), 3);
    for id in one..one + 3 {
        lab.handle_run_ended(at(6), id, end(PASSED));
    }
    assert_eq!(begun(&mut lab, at(6)), [(other, "c".into()), (other + 1, "b".into())]);
}

/// Nobody knows when a person gives a board back: nothing is held until then.
#[test]
fn boards_are_not_held_for_one_that_is_not_given_to_jobs() {
    let mut lab = lab(&["a", "b"]);
    lab.acquire(at(0), "a", "ann", "", 100).unwrap();
    let first = submit(&mut lab, "ann", &["a", "b"]);
    lab.submit(at(0), new("j", "bob")).unwrap();
    assert_eq!(begun(&mut lab, at(0)), [(3, "b".into())]);
    let why = "2 boards at once, of which some are not given to jobs now";
    assert_eq!(lab.job(first).unwrap().waits_for, why);
    lab.set_health(at(1), "b", Health::Maintenance, "").unwrap();
    lab.release("a", None).unwrap();
    begun(&mut lab, at(1));
    let why = "every board that it could have is bad or in maintenance";
    assert_eq!(lab.job(first).unwrap().waits_for, why);
}

#[test]
fn a_group_ends_when_all_its_runs_are_over() {
    let mut lab = lab(&["a", "b"]);
    submit(&mut lab, "ann", &["", ""]);
    begun(&mut lab, at(0));
    lab.handle_run_ended(at(1), 1, end(Verdict::Failed));
    lab.submit(at(1), new("j", "bob")).unwrap();
    assert_eq!(begun(&mut lab, at(1)), [(3, "a".into())], "its board is free");
    let over = lab.job(1).unwrap();
    assert_eq!((over.state, over.verdict), (JobState::Running, Some(Verdict::Failed)));
    assert_eq!(over.waits_for, "the job's other boards");
    lab.handle_run_ended(at(2), 2, end(PASSED));
    let ended = steps(&mut lab).into_iter().find_map(|step| match step {
        Step::Jobs(jobs) if jobs.len() == 2 => Some(jobs),
        _ => None,
    });
    let ended: Vec<_> =
        ended.unwrap().into_iter().map(|job| (job.state, job.verdict.unwrap())).collect();
    assert_eq!(ended, [(JobState::Ended, Verdict::Failed), (JobState::Ended, PASSED)]);
    assert_eq!(states(&lab), [(3, JobState::Running)]);
}

#[test]
fn what_the_lab_failed_is_tried_again_as_a_whole() {
    let mut lab = lab(&["a", "b", "c"]);
    submit(&mut lab, "ann", &["", ""]);
    let mut boards = Vec::new();
    for attempt in 1..=ATTEMPTS_MAX {
        let places = begun(&mut lab, at(0));
        boards.push(places.iter().map(|(_, board)| board.clone()).collect::<String>());
        lab.handle_run_ended(at(1), 1, end(INFRASTRUCTURE));
        assert_eq!(begun(&mut lab, at(1)), [], "the other one runs on");
        lab.handle_run_ended(at(1), 2, RunEnd { is_others: true, ..end(INFRASTRUCTURE) });
        let is_left = attempt < ATTEMPTS_MAX;
        assert_eq!(lab.jobs().filter(|job| job.verdict.is_none()).count() == 2, is_left);
    }
    assert_eq!(boards, ["ab", "ca", "ba"], "other boards come first");
    assert_eq!((begun(&mut lab, at(2)), lab.jobs().count()), (vec![], 0));
    let failures = |name| lab.board(name).unwrap().kept.failures_in_a_row;
    assert_eq!(["a", "b", "c"].map(failures), [1, 1, 1], "not for what others did");
}

#[test]
fn cancel_of_one_is_cancel_of_all() {
    let mut lab = lab(&["a", "b"]);
    submit(&mut lab, "ann", &["", ""]);
    submit(&mut lab, "ann", &["", ""]);
    begun(&mut lab, at(0));
    let waiting = lab.cancel(at(1), 4).unwrap();
    assert_eq!((waiting.id, waiting.state), (4, JobState::Ended));
    assert_eq!(lab.cancel(at(1), 3), Err(LabError::NoJob(3)));
    steps(&mut lab);
    lab.handle_run_ended(at(1), 1, end(INFRASTRUCTURE));
    steps(&mut lab);
    lab.cancel(at(2), 1).unwrap();
    let told = steps(&mut lab);
    let [Step::Jobs(kept), Step::Stop { board }, ..] = &told[..] else { panic!("{told:?}") };
    assert!(kept.len() == 2 && kept.iter().all(|job| job.is_canceled));
    assert_eq!(board, "b", "the other one's run is over");
    lab.handle_run_ended(at(3), 2, end(Verdict::Error(ErrorClass::Canceled)));
    assert_eq!((begun(&mut lab, at(3)), lab.jobs().count()), (vec![], 0), "not tried again");
}

/// What a dispatcher kept before it died.
#[test]
fn a_group_outlives_the_dispatcher() {
    let mut first = lab(&["a", "b"]);
    submit(&mut first, "ann", &["", ""]);
    begun(&mut first, at(0));
    first.handle_run_ended(at(1), 1, end(PASSED));
    let kept: Vec<JobView> = first.jobs().cloned().collect();
    let boards = || [entry("a", None), entry("b", None)];
    let mut next = Lab::new(at(2), 1, kept.clone());
    next.set_boards(boards(), |_| Kept::default());
    let on = |lab: &Lab, name| lab.board(name).unwrap().job;
    assert_eq!((on(&next, "a"), on(&next, "b")), (None, Some(2)), "only where a run goes on");
    next.handle_run_ended(at(3), 2, RunEnd { was_interrupted: true, ..end(INFRASTRUCTURE) });
    assert_eq!(begun(&mut next, at(3)).len(), 2, "both, although one had passed");
    // A database that was made anew may have lost some.
    let mut torn = Lab::new(at(2), 1, kept[..1].to_vec());
    assert_eq!(torn.jobs().count(), 0);
    let told = steps(&mut torn);
    let [Step::Jobs(jobs)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((jobs[0].state, jobs[0].verdict), (JobState::Ended, Some(PASSED)));
}
