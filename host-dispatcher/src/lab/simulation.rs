//! The lab with jobs of one and of several boards, in seeded runs: what must hold at every moment, and that all jobs end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{INFRASTRUCTURE, at, end, new};
use super::*;

const BOARDS: [&str; 4] = ["a", "b", "c", "d"];
const SUBMITTERS: [&str; 3] = ["ann", "bob", "cid"];

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Happening {
    Submit { submitter: usize, priority: u8, wishes: Vec<usize> },
    EndRun { which: usize, verdict: Verdict, is_others: bool },
    Cancel(usize),
    Acquire(usize),
    Release(usize),
    DispatcherDies,
}

fn happening() -> impl Strategy<Value = Happening> {
    let verdict = prop_oneof![3 => Just(Verdict::Passed), 1 => Just(INFRASTRUCTURE)];
    let priority = prop_oneof![4 => Just(50), 1 => Just(80)];
    prop_oneof![
        6 => (0..3_usize, priority, prop::collection::vec(0..6_usize, 1..4))
            .prop_map(|(submitter, priority, wishes)| Happening::Submit { submitter, priority, wishes }),
        8 => (any::<usize>(), verdict, any::<bool>())
            .prop_map(|(which, verdict, is_others)| Happening::EndRun { which, verdict, is_others }),
        1 => any::<usize>().prop_map(Happening::Cancel),
        1 => (0..4_usize).prop_map(Happening::Acquire),
        2 => (0..4_usize).prop_map(Happening::Release),
        1 => Just(Happening::DispatcherDies),
    ]
}

/// One of the boards, one of the first two, or any.
fn wish(number: usize) -> BoardWish {
    match BOARDS.get(number) {
        Some(name) => BoardWish::named(*name),
        None if number == BOARDS.len() => {
            BoardWish { tags: vec!["eth".into()], ..BoardWish::default() }
        }
        None => BoardWish::default(),
    }
}

fn entries() -> impl Iterator<Item = BoardEntry> {
    let tags = |name: &str| if name < "c" { vec!["eth".into()] } else { Vec::new() };
    BOARDS.into_iter().map(move |name| BoardEntry {
        name: name.into(),
        board_type: "t".into(),
        tags: tags(name),
        check: None,
    })
}

fn fresh(jobs: Vec<JobView>, next_id: JobId, kept: &BTreeMap<String, Kept>) -> Lab {
    let mut lab = Lab::new(at(0), next_id, jobs);
    lab.set_boards(entries(), |name| kept.get(name).cloned().unwrap_or_default());
    lab
}

fn submit(lab: &mut Lab, submitter: usize, priority: u8, wishes: &[usize]) -> bool {
    let node = NewNode { label: "n".into(), role: "r".into() };
    let jobs = wishes.iter().map(|number| NewJob {
        board_wish: wish(*number),
        priority,
        node: (wishes.len() > 1).then(|| node.clone()),
        ..new("j", SUBMITTERS[submitter])
    });
    lab.submit_group(at(0), jobs.collect()).is_ok()
}

/// Those that are on a board.
fn on_boards(lab: &Lab) -> Vec<JobId> {
    let is_on = |job: &&JobView| job.state == JobState::Running && job.verdict.is_none();
    lab.jobs().filter(is_on).map(|job| job.id).collect()
}

/// Lets the lab decide, and looks at what it has decided.
fn decide(lab: &mut Lab) {
    while lab.poll_step(at(0)).is_some() {}
    let mut used = BTreeSet::new();
    for id in on_boards(lab) {
        let job = lab.job(id).unwrap();
        let name = job.board.clone().unwrap();
        assert!(used.insert(name.clone()), "{name} has two jobs");
        assert_eq!(lab.board(&name).unwrap().job, Some(id));
        assert!(job.board_wish.is_met(&name, "t", &lab.board(&name).unwrap().tags));
    }
    for job in lab.jobs() {
        let ids = lab.group_of(job);
        assert_eq!(ids.len(), job.group.as_ref().map_or(1, |group| group.boards as usize));
        assert!(ids.iter().all(|id| lab.job(*id).unwrap().state == job.state), "{job:?}");
        assert!(ids.iter().all(|id| lab.job(*id).unwrap().attempt == job.attempt), "{job:?}");
        if job.state == JobState::Running {
            assert!(ids.iter().any(|id| lab.job(*id).unwrap().verdict.is_none()), "{job:?}");
        }
    }
    let free = |name: &&str| lab.board(name).unwrap().is_free();
    for name in &lab.held {
        assert!(free(&name.as_str()), "{name} is held, and not free");
    }
    let holder = lab.holder.and_then(|id| lab.job(id));
    assert!(lab.held.is_empty() || holder.is_some());
    assert!(holder.is_none_or(|job| job.group.is_some() && job.state == JobState::Queued));
    // Nobody waits for a board that he could have.
    for job in lab.jobs().filter(|job| job.state == JobState::Queued && job.group.is_none()) {
        let could = BOARDS.iter().find(|name| {
            let board = lab.board(name).unwrap();
            free(name) && !lab.held.contains(**name) && board.meets(name, &job.board_wish)
        });
        assert_eq!(could, None, "{job:?} waits");
    }
}

fn end_run(lab: &mut Lab, id: JobId, verdict: Verdict, is_others: bool) {
    let name = lab.job(id).unwrap().board.clone().unwrap();
    lab.handle_run_ended(at(0), id, RunEnd { is_others, ..end(verdict) });
    // How healthy boards become by that is looked at elsewhere.
    lab.set_health(at(0), &name, Health::Good, "").unwrap();
}

proptest! {
    #[test]
    fn groups_begin_as_a_whole_and_all_jobs_end(
        happenings in prop::collection::vec(happening(), 1..80),
    ) {
        let mut lab = fresh(Vec::new(), 1, &BTreeMap::new());
        decide(&mut lab);
        for happening in happenings {
            match happening {
                Happening::Submit { submitter, priority, wishes } => {
                    let before = lab.jobs().count();
                    let is_taken = submit(&mut lab, submitter, priority, &wishes);
                    let more = if is_taken { wishes.len() } else { 0 };
                    prop_assert_eq!(lab.jobs().count(), before + more);
                }
                Happening::EndRun { which, verdict, is_others } => {
                    let running = on_boards(&lab);
                    if let Some(id) = running.get(which % running.len().max(1)) {
                        end_run(&mut lab, *id, verdict, is_others);
                    }
                }
                Happening::Cancel(which) => {
                    let ids: Vec<JobId> = lab.jobs().map(|job| job.id).collect();
                    if let Some(id) = ids.get(which % ids.len().max(1)) {
                        lab.cancel(at(0), *id).unwrap();
                    }
                }
                // Whoever may not have it does not get it.
                Happening::Acquire(board) => {
                    drop(lab.acquire(at(0), BOARDS[board], "dan", "", 1));
                }
                Happening::Release(board) => drop(lab.release(BOARDS[board], None)),
                Happening::DispatcherDies => {
                    let kept = lab.boards().map(|(name, board)| (name.to_owned(), board.kept.clone()));
                    let kept = kept.collect();
                    lab = fresh(lab.jobs().cloned().collect(), lab.next_id, &kept);
                }
            }
            decide(&mut lab);
        }
        // From here on somebody always wants a board more than there are.
        for name in BOARDS {
            let _ = lab.release(name, None);
        }
        decide(&mut lab);
        let waiting = |lab: &Lab| -> Vec<JobId> {
            let groups = lab.jobs().filter(|job| job.group.is_some());
            groups.filter(|job| job.state == JobState::Queued).map(|job| job.id).collect()
        };
        let mut before = waiting(&lab);
        let mut since = 0;
        while !before.is_empty() {
            submit(&mut lab, 2, 50, &[5]);
            decide(&mut lab);
            let running = on_boards(&lab);
            end_run(&mut lab, running[since % running.len()], Verdict::Passed, false);
            decide(&mut lab);
            let after = waiting(&lab);
            since = if after.len() < before.len() { 0 } else { since + 1 };
            prop_assert!(since < ENDS_MAX, "{:?} wait for ever: {:?}", after, lab);
            before = after;
        }
        while let Some(id) = on_boards(&lab).first() {
            end_run(&mut lab, *id, Verdict::Passed, false);
            decide(&mut lab);
        }
        prop_assert_eq!(lab.jobs().count(), 0);
    }
}

/// The runs that may end before a group of those that wait begins: each board's two, and as many of jobs that are more
/// urgent.
const ENDS_MAX: usize = 100;
