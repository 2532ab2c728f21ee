//! The lab, without a line or a clock.

use super::*;

pub(super) fn job(id: JobId) -> JobView {
    new("j", "ann").numbered(id, Timestamp::UNIX_EPOCH)
}

impl Lab {
    /// A job of one board is accepted.
    pub(super) fn submit(&mut self, now: Timestamp, job: NewJob) -> Result<JobView, LabError> {
        self.submit_group(now, vec![job]).map(|mut jobs| jobs.remove(0))
    }
}

pub(super) fn new(name: &str, submitter: &str) -> NewJob {
    NewJob {
        name: name.into(),
        submitter: submitter.into(),
        priority: 50,
        board_wish: BoardWish::default(),
        folder: String::new(),
        node: None,
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn entry(name: &str, check: Option<HealthCheck>) -> BoardEntry {
    BoardEntry { name: name.into(), board_type: "t".into(), tags: Vec::new(), check }
}

pub(super) fn lab(boards: &[&str]) -> Lab {
    let mut lab = Lab::new(at(0), 1, []);
    lab.set_boards(boards.iter().map(|name| entry(name, None)), |_| Kept::default());
    lab
}

pub(super) fn end(verdict: Verdict) -> RunEnd {
    RunEnd {
        run: "run".into(),
        verdict,
        error: String::new(),
        tally: Tally::default(),
        was_interrupted: false,
        is_others: false,
    }
}

/// What is begun now: job and board.
pub(super) fn begun(lab: &mut Lab, now: Timestamp) -> Vec<(JobId, String)> {
    std::iter::from_fn(|| lab.poll_step(now))
        .filter_map(|step| match step {
            Step::Begin { job, .. } => Some((job.id, job.board.unwrap())),
            _ => None,
        })
        .collect()
}

pub(super) const INFRASTRUCTURE: Verdict = Verdict::Error(ErrorClass::InfrastructureError);

#[test]
fn jobs_take_turns_on_boards() {
    let mut lab = lab(&["a", "b"]);
    for submitter in ["ann", "ann", "bob"] {
        lab.submit(at(0), new("j", submitter)).unwrap();
    }
    assert_eq!(begun(&mut lab, at(0)), [(1, "a".into()), (3, "b".into())]);
    assert_eq!(lab.job(2).unwrap().waits_for, "a free board");
    lab.handle_run_ended(at(1), 3, end(Verdict::Passed));
    assert_eq!(begun(&mut lab, at(1)), [(2, "b".into())]);
    assert_eq!(lab.job(3), None);
}

#[test]
fn what_the_lab_failed_is_tried_again_elsewhere_up_to_a_bound() {
    let mut lab = lab(&["a", "b"]);
    lab.submit(at(0), new("j", "ann")).unwrap();
    let mut boards = Vec::new();
    for _ in 0..ATTEMPTS_MAX {
        let [(1, board)] = &begun(&mut lab, at(0))[..] else { panic!("{lab:?}") };
        boards.push(board.clone());
        lab.handle_run_ended(at(1), 1, end(INFRASTRUCTURE));
    }
    assert_eq!(boards, ["a", "b", "a"]);
    let steps: Vec<Step> = std::iter::from_fn(|| lab.poll_step(at(1))).collect();
    assert!(
        steps
            .iter()
            .any(|step| matches!(step, Step::Jobs(jobs) if jobs[0].state == JobState::Ended
            && jobs[0].verdict == Some(INFRASTRUCTURE) && jobs[0].attempt == ATTEMPTS_MAX))
    );
    assert_eq!(lab.jobs().count(), 0);
}

#[test]
fn a_job_that_no_board_can_run_is_refused() {
    let mut lab = lab(&["a"]);
    let wish = BoardWish { tags: vec!["audio".into()], ..BoardWish::default() };
    let refused = lab.submit(at(0), NewJob { board_wish: wish.clone(), ..new("j", "ann") });
    assert_eq!(refused, Err(LabError::NoSuchBoard(wish)));
}

#[test]
fn cancel() {
    let mut lab = lab(&["a"]);
    lab.submit(at(0), new("j", "ann")).unwrap();
    lab.submit(at(0), new("j", "ann")).unwrap();
    begun(&mut lab, at(0));
    assert_eq!(lab.cancel(at(1), 2).unwrap().state, JobState::Ended);
    assert_eq!(lab.cancel(at(1), 2), Err(LabError::NoJob(2)));
    lab.cancel(at(1), 1).unwrap();
    let steps: Vec<Step> = std::iter::from_fn(|| lab.poll_step(at(1))).collect();
    assert!(steps.contains(&Step::Stop { board: "a".into() }));
    lab.handle_run_ended(at(2), 1, end(Verdict::Error(ErrorClass::Canceled)));
    assert_eq!((lab.jobs().count(), lab.board("a").unwrap().job), (0, None));
}

/// Also when the dispatcher dies in between: what it kept says so.
#[test]
fn a_cancel_outlives_the_dispatcher() {
    let mut first = lab(&["a"]);
    first.submit(at(0), new("j", "ann")).unwrap();
    begun(&mut first, at(0));
    assert!(first.cancel(at(1), 1).unwrap().is_canceled);
    let steps: Vec<Step> = std::iter::from_fn(|| first.poll_step(at(1))).collect();
    let [Step::Jobs(kept), Step::Stop { .. }] = &steps[..] else { panic!("{steps:?}") };
    let mut next = Lab::new(at(2), 1, kept.clone());
    next.set_boards([entry("a", None)], |_| Kept::default());
    assert!(next.job(1).unwrap().is_canceled);
    next.handle_run_ended(at(2), 1, RunEnd { was_interrupted: true, ..end(INFRASTRUCTURE) });
    assert_eq!((begun(&mut next, at(2)), next.jobs().count()), (vec![], 0));
}

/// A run that is stopped while the lab looks for its board ends as the lab's fault.
#[test]
fn what_is_canceled_is_not_tried_again() {
    let mut lab = lab(&["a"]);
    lab.submit(at(0), new("j", "ann")).unwrap();
    begun(&mut lab, at(0));
    lab.cancel(at(1), 1).unwrap();
    lab.handle_run_ended(at(2), 1, end(INFRASTRUCTURE));
    assert_eq!(begun(&mut lab, at(2)), []);
    assert_eq!(lab.jobs().count(), 0);
}

#[test]
fn leases_keep_jobs_away_and_end() {
    let mut lab = lab(&["a"]);
    lab.acquire(at(0), "a", "ann", "", 1).unwrap();
    lab.submit(at(0), new("j", "bob")).unwrap();
    assert_eq!(begun(&mut lab, at(0)), []);
    assert_eq!(
        lab.acquire(at(0), "a", "bob", "", 1),
        Err(LabError::InUse("a".into(), BoardState::Acquired))
    );
    assert_eq!(lab.release("a", Some("bob")), Err(LabError::NotYours("a".into(), "ann".into())));
    lab.acquire(at(30), "a", "ann", "", 1).unwrap();
    assert_eq!(lab.poll_timeout(), Some(at(90)));
    lab.handle_timeout(at(89));
    assert_eq!(begun(&mut lab, at(89)), []);
    lab.handle_timeout(at(90));
    assert_eq!(begun(&mut lab, at(90)), [(1, "a".into())]);
    assert_eq!(
        lab.acquire(at(91), "a", "ann", "", 1),
        Err(LabError::InUse("a".into(), BoardState::Running))
    );
}

#[test]
fn a_new_board_is_checked_first_and_a_bad_one_gets_nothing() {
    let mut lab = Lab::new(at(0), 1, []);
    let check = HealthCheck {
        file: "health.yaml".into(),
        name: "health".into(),
        every: Some(std::time::Duration::from_secs(100)),
        every_jobs: None,
    };
    lab.set_boards([entry("a", Some(check))], |_| Kept::default());
    lab.submit(at(0), new("j", "ann")).unwrap();
    assert_eq!(begun(&mut lab, at(0)), [(2, "a".into())], "the check has the next number");
    assert!(lab.job(2).unwrap().is_health_check);
    lab.handle_run_ended(at(1), 2, end(Verdict::Passed));
    assert_eq!(begun(&mut lab, at(1)), [(1, "a".into())]);
    lab.handle_run_ended(at(2), 1, end(Verdict::Passed));
    assert_eq!((begun(&mut lab, at(2)), lab.poll_timeout()), (vec![], Some(at(101))));
    lab.handle_timeout(at(101));
    assert_eq!(begun(&mut lab, at(101)), [(3, "a".into())]);
    lab.handle_run_ended(at(102), 3, end(Verdict::Failed));
    lab.submit(at(102), new("j", "ann")).unwrap();
    assert_eq!(begun(&mut lab, at(500)), []);
    assert_eq!(
        lab.job(4).unwrap().waits_for,
        "every board that it could have is bad or in maintenance"
    );
    lab.set_health(at(500), "a", Health::Good, "mended").unwrap();
    assert_eq!(begun(&mut lab, at(500)), [(5, "a".into())], "the check is old");
}

#[test]
fn a_pause_and_an_obstacle_hold_jobs_back() {
    let mut lab = lab(&["a"]);
    lab.set_paused("the disk is full");
    lab.submit(at(0), new("j", "ann")).unwrap();
    assert_eq!(begun(&mut lab, at(0)), []);
    assert_eq!(lab.job(1).unwrap().waits_for, "the disk is full");
    lab.set_paused("");
    lab.set_obstacle("a", "a is in use by pumice (12)");
    assert_eq!(begun(&mut lab, at(0)), []);
    assert_eq!(lab.job(1).unwrap().waits_for, "a is in use by pumice (12)");
    lab.set_obstacle("a", "");
    assert_eq!(begun(&mut lab, at(0)), [(1, "a".into())]);
}

#[test]
fn boards_come_and_go_when_they_are_idle() {
    let mut lab = lab(&["a", "b"]);
    lab.submit(at(0), new("j", "ann")).unwrap();
    begun(&mut lab, at(0));
    lab.set_boards([entry("c", None)], |_| Kept::default());
    let gone = |lab: &mut Lab| {
        std::iter::from_fn(|| lab.poll_step(at(1)))
            .filter(|step| matches!(step, Step::BoardGone(_)))
            .collect::<Vec<_>>()
    };
    assert_eq!(gone(&mut lab), [Step::BoardGone("b".into())]);
    lab.handle_run_ended(at(1), 1, end(Verdict::Passed));
    assert_eq!(gone(&mut lab), [Step::BoardGone("a".into())]);
    assert_eq!(lab.boards().map(|(name, _)| name).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn a_job_that_ran_when_the_dispatcher_ended_is_on_its_board() {
    let running = JobView {
        state: JobState::Running,
        board: Some("a".into()),
        attempt: 1,
        run: Some("r".into()),
        ..job(7)
    };
    let mut lab = Lab::new(at(0), 1, [running, job(8)]);
    lab.set_boards([entry("a", None)], |_| Kept::default());
    assert_eq!(lab.board("a").unwrap().job, Some(7));
    assert_eq!(begun(&mut lab, at(0)), []);
    for _ in 0..3 {
        let end = RunEnd { was_interrupted: true, ..end(INFRASTRUCTURE) };
        lab.boards.get_mut("a").unwrap().note_run(
            at(1),
            "r",
            end.verdict,
            false,
            end.was_interrupted,
        );
    }
    assert_eq!(lab.board("a").unwrap().kept.health, Health::Unknown);
    lab.handle_run_ended(at(1), 7, end(INFRASTRUCTURE));
    assert_eq!(begun(&mut lab, at(1)), [(7, "a".into())], "it is the older one");
    assert_eq!(lab.submit(at(2), new("j", "ann")).unwrap().id, 9);
}
