use serde_json::json;

use super::*;
use crate::lava_worker::protocol::{Answer, Order};

const JOB: &str = "
job_name: smoke
device_type: beaglebone-black
visibility: public
timeouts: {job: {minutes: 5}}
actions:
- boot: {method: u-boot, commands: nfs, prompts: ['#']}
- test:
    definitions:
    - from: inline
      name: t
      path: t.yaml
      repository: {metadata: {format: Lava-Test Test Definition 1.0, name: t}, run: {steps: ['true']}}
";
const EVERY: Duration = Duration::from_secs(2);

/// A job with a server and a lab that say what the test wants.
struct Bench {
    job: Job,
    now: Now,
    kept: Option<Record>,
    hashes: Vec<u64>,
    /// The server stumbles over lines with this.
    bad: Option<&'static str>,
    /// What was asked, a word each.
    asked: Vec<String>,
    /// What the server took, and where each batch began.
    taken: Vec<(u64, String)>,
    /// The results as the server has them: those of lines that come twice, too.
    results: Vec<String>,
    device: Option<&'static str>,
    definition: String,
    /// Answers of the server in place of its own: to what, and what; the first that fits is used up.
    odd: Vec<(&'static str, Reply)>,
    /// What comes of the group.
    gathered: Gathered,
    lab: Lab,
}

/// A lab.
#[derive(Default)]
struct Lab {
    jobs: Vec<String>,
    state: Option<JobState>,
    run: Option<&'static str>,
    verdict: Option<Verdict>,
    timeline: String,
    events: String,
    is_away: bool,
    refusal: Option<String>,
    canceled: bool,
    /// What the next job that is submitted comes to.
    events_of_next: Option<Verdict>,
}

impl Bench {
    fn new() -> Self {
        let record = Record::new(&Order { id: 7, token: "t".into() });
        Self {
            job: Job::new("w", record, Told::default(), EVERY),
            now: Now { instant: Instant::from_micros(1), wall: Timestamp::UNIX_EPOCH },
            kept: None,
            hashes: Vec::new(),
            bad: None,
            asked: Vec::new(),
            taken: Vec::new(),
            results: Vec::new(),
            device: Some("commands: {connect: pumice console b}"),
            definition: JOB.into(),
            odd: Vec::new(),
            gathered: Gathered::Wait,
            lab: Lab { state: Some(JobState::Queued), ..Lab::default() },
        }
    }

    /// Does what the job wants until it waits or is over; whether it is over.
    fn go_on(&mut self) -> bool {
        for _ in 0..200 {
            match self.job.poll(self.now) {
                Want::Keep => self.keep(),
                Want::Lava(request) => {
                    let reply = self.lava(&request);
                    self.job.handle_lava(&reply, self.now);
                }
                Want::Lab(request) => {
                    let answer = self.lab(&request);
                    self.job.handle_lab(answer, self.now);
                }
                Want::Gather(member) => {
                    assert_eq!(member.id, 7);
                    self.asked.push("gather".into());
                    self.job.handle_gathered(self.gathered.clone(), self.now);
                }
                Want::Wait(_) => return false,
                Want::Forget => return true,
            }
        }
        panic!("it goes round and round: {:?}", self.asked);
    }

    fn pass(&mut self, seconds: u64) -> bool {
        self.now.instant = self.now.instant + Duration::from_secs(seconds);
        self.go_on()
    }

    fn keep(&mut self) {
        self.hashes.extend(self.job.take_new_hashes());
        self.kept = Some(self.job.record().clone());
        self.job.handle_kept(true);
    }

    /// The process is killed, and another one goes on with what was on the disk.
    fn die(&mut self) {
        let told = Told::known(self.hashes.clone());
        self.job = Job::new("w", self.kept.clone().unwrap(), told, EVERY);
    }

    fn lava(&mut self, request: &Request) -> Reply {
        let field = |name: &str| {
            let form = request.form.iter().flatten();
            form.clone()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let word = match (request.path.as_str(), field("state").as_str()) {
            (path, _) if path.ends_with("/logs/") => "logs".to_owned(),
            (path, _) if path.ends_with("/tests/?limit=1") => "results".to_owned(),
            (path, _) if path.starts_with("/api/") => "device".to_owned(),
            (_, "") => "files".to_owned(),
            (_, "FINISHED") => {
                format!("finished {} {}", field("result"), field("error_type")).trim().to_owned()
            }
            (_, state) => state.to_lowercase(),
        };
        self.asked.push(word.clone());
        if let Some(at) = self.odd.iter().position(|(to, _)| word.starts_with(to)) {
            return self.odd.remove(at).1;
        }
        let body = match word.as_str() {
            "logs" => {
                let lines = field("lines");
                if self.bad.is_some_and(|bad| lines.contains(bad)) {
                    return Ok(Answer { status: 500, body: b"<html>".to_vec() });
                }
                let count = lines.lines().count();
                let results = lines.lines().filter(|line| line.contains("\"lvl\": \"results\""));
                self.results.extend(results.map(str::to_owned));
                self.taken.push((field("index").parse().unwrap(), lines));
                json!({"line_count": count})
            }
            "files" => json!({"definition": self.definition, "device": self.device, "env-dut": ""}),
            "device" => json!({"actual_device": "b"}),
            "results" => json!({"count": self.results.len()}),
            _ => json!({}),
        };
        Ok(Answer { status: 200, body: body.to_string().into_bytes() })
    }

    fn lab(&mut self, request: &LabRequest) -> Result<LabAnswer, Refusal> {
        if self.lab.is_away {
            return Err(Refusal::Away("no lab answers".into()));
        }
        if let Some(why) = self.lab.refusal.take() {
            return Err(Refusal::Never(why));
        }
        Ok(match request {
            LabRequest::Find(part) => {
                assert!(
                    ["smoke", "smoke (client)", "smoke (server)"].contains(&part.name.as_str())
                );
                let at = self.lab.jobs.iter().position(|job| convert::is_same(job, part));
                LabAnswer::Found(at.map(|at| at as u64 + 1))
            }
            LabRequest::Submit(file, text) => {
                assert_eq!(file, "lava-job-7.yaml");
                self.lab.jobs.push(text.clone());
                if let Some(verdict) = self.lab.events_of_next.take() {
                    self.lab.events.clear();
                    self.ends(verdict);
                }
                self.view()
            }
            LabRequest::Look(_) => self.view(),
            LabRequest::Cancel(_) => {
                self.lab.canceled = true;
                self.lab.state = Some(JobState::Ended);
                self.lab.verdict = Some(Verdict::Error(ErrorClass::Canceled));
                self.view()
            }
            LabRequest::File(_, file, from) => {
                let text =
                    if *file == "events.ndjson" { &self.lab.events } else { &self.lab.timeline };
                LabAnswer::Bytes(text.as_bytes().get(*from as usize..).unwrap_or_default().to_vec())
            }
        })
    }

    fn view(&self) -> LabAnswer {
        let view = json!({
            "id": self.lab.jobs.len(), "name": "smoke", "submitter": "w", "priority": 50, "board_wish": {},
            "is_health_check": false, "state": self.lab.state, "waits_for": "", "submitted": "2026-01-01T00:00:00Z",
            "started": null, "ended": null, "board": "b", "run": self.lab.run, "attempt": 1,
            "verdict": self.lab.verdict, "error": "", "tally": json!(crate::job::verdict::Tally::default()),
        });
        LabAnswer::Job(Box::new(serde_json::from_value(view).unwrap()))
    }

    fn runs(&mut self, lines: &[&str]) {
        (self.lab.state, self.lab.run) = (Some(JobState::Running), Some("r"));
        self.lab.timeline += &lines.iter().map(|text| line(text)).collect::<String>();
    }

    fn ends(&mut self, verdict: Verdict) {
        if self.lab.run.is_some() {
            let end = json!({
                "time": "2026-01-01T00:00:09Z", "event": "run_ended", "verdict": verdict, "exit_status": 0,
                "seconds": 9.5,
            });
            self.lab.events += &format!("{end}\n");
        }
        (self.lab.state, self.lab.verdict) = (Some(JobState::Ended), Some(verdict));
    }

    /// The log as the server has it, and that each batch began where the last one ended.
    fn log(&self) -> String {
        let (mut log, mut next) = (String::new(), 0);
        for (index, lines) in &self.taken {
            assert!(*index <= next, "lines are missing before {index}");
            for line in lines.split_inclusive('\n').skip((next - index) as usize) {
                log += line;
                next += 1;
            }
        }
        log
    }

    fn count(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }
}

fn line(text: &str) -> String {
    json!({"host_time": "2026-01-01T00:00:00Z", "source": "stdout", "text": text}).to_string()
        + "\n"
}

fn case(name: &str) -> String {
    let case = json!({
        "time": "2026-01-01T00:00:01Z", "event": "case_ended", "suite": "s", "case": name, "result": "pass",
        "origin": "helper",
    });
    format!("{case}\n")
}

#[test]
fn from_order_to_end() {
    let mut bench = Bench::new();
    assert!(!bench.go_on());
    assert_eq!(bench.asked, ["files", "running", "logs"]);
    assert_eq!(bench.lab.jobs.len(), 1);
    bench.runs(&["one.", "two."]);
    assert!(!bench.pass(2));
    assert_eq!((bench.count("one."), bench.count("two.")), (1, 1));
    // Put into the order of time at the end, with a line that had not come before.
    bench.lab.timeline = line("zero.") + &bench.lab.timeline;
    bench.ends(Verdict::Failed);
    assert!(bench.pass(2));
    for text in [
        "zero.",
        "one.",
        "two.",
        "\"case\": \"job\", \"definition\": \"lava\", \"duration\": \"9.50\"",
    ] {
        assert_eq!(bench.count(text), 1, "{text} in {}", bench.log());
    }
    assert_eq!(bench.asked.last().unwrap(), "finished pass");
}

#[test]
fn ends_in_lava_s_words() {
    let cases = [
        (Verdict::Passed, "finished pass"),
        (Verdict::Failed, "finished pass"),
        (Verdict::Error(ErrorClass::InfrastructureError), "finished fail Infrastructure"),
        (Verdict::Error(ErrorClass::JobError), "finished fail Job"),
        (Verdict::Error(ErrorClass::TestError), "finished fail Test"),
        (Verdict::Error(ErrorClass::ConfigurationError), "finished fail Configuration"),
        (Verdict::Error(ErrorClass::Timeout), "finished fail LAVATimeout"),
        (Verdict::Error(ErrorClass::Canceled), "finished fail Canceled"),
    ];
    for (verdict, end) in cases {
        for run in [None, Some("r")] {
            let mut bench = Bench::new();
            bench.lab.run = run;
            bench.ends(verdict);
            assert!(bench.go_on());
            // A job without a run has nothing that could have passed.
            let end = match (run, verdict) {
                (None, Verdict::Passed | Verdict::Failed) => "finished fail Infrastructure",
                _ => end,
            };
            assert_eq!(bench.asked.last().unwrap(), end, "{run:?}");
            assert_eq!(bench.count("\"case\": \"job\""), 1, "{}", bench.log());
        }
    }
}

#[test]
fn what_is_repeated_is_done_one_after_the_other() {
    for (first, second, end) in [
        (Verdict::Passed, Verdict::Failed, "finished pass"),
        (Verdict::Error(ErrorClass::TestError), Verdict::Passed, "finished fail Test"),
        (Verdict::Passed, Verdict::Error(ErrorClass::JobError), "finished fail Job"),
    ] {
        let mut bench = Bench::new();
        assert!(!bench.go_on());
        let part = Part { name: "smoke".into(), text: "the second".into() };
        bench.job.record.rest = vec![part];
        bench.lab.run = Some("r");
        bench.ends(first);
        // The lab is given the second one as soon as the first has ended.
        bench.lab.events_of_next = Some(second);
        assert!(bench.pass(2) || bench.pass(2), "{:?}", bench.asked);
        assert_eq!(bench.lab.jobs.len(), 2);
        assert_eq!(bench.asked.last().unwrap(), end);
        assert_eq!(bench.count("\"case\": \"job\""), 1, "{}", bench.log());
    }
}

/// The job of a role, of which LAVA made two jobs; this one is number 7.
fn of_two(roles: &str, role: &str) -> Bench {
    let mut bench = Bench::new();
    let protocol = format!(
        "protocols: {{lava-multinode: {{target_group: g, role: {role}, group_size: 2, sub_id: 0, roles: {{{roles}}}}}}}\n"
    );
    let actions = JOB.replace("- boot: {", &format!("- boot: {{role: {role}, "));
    let actions = actions.replace("- test:\n", &format!("- test:\n    role: {role}\n"));
    bench.definition = actions + &protocol;
    bench
}

#[test]
fn the_first_of_a_group_gives_the_lab_the_job() {
    let mut bench = of_two("'7': client, '8': server", "client");
    assert!(!bench.go_on());
    assert_eq!(bench.asked, ["files", "running", "gather"]);
    bench.die();
    bench.gathered = Gathered::Whole("# LAVA group g, by worker w\n{}\n".into());
    assert!(!bench.pass(2));
    assert_eq!(bench.lab.jobs.len(), 1);
    bench.runs(&["one."]);
    bench.ends(Verdict::Passed);
    assert!(bench.pass(2) || bench.pass(2));
    assert_eq!((bench.count("one."), bench.asked.last().unwrap().as_str()), (1, "finished pass"));
}

#[test]
fn the_others_of_a_group_find_it_there() {
    let follower = || {
        let mut bench = of_two("'6': client, '7': server", "server");
        bench.gathered = Gathered::Whole("# LAVA group g, by worker w\n{}\n".into());
        assert!(!bench.go_on());
        assert!(!bench.pass(2));
        assert_eq!(bench.lab.jobs.len(), 0, "it is not for this one to give it");
        bench
    };
    let mut bench = follower();
    bench.die();
    bench.lab.jobs.push("# LAVA group g, by worker w\nanything".into());
    assert!(!bench.pass(2));
    bench.runs(&["one."]);
    bench.ends(Verdict::Failed);
    assert!(bench.pass(2) || bench.pass(2));
    assert_eq!(bench.asked.last().unwrap(), "finished pass");
    let mut bench = follower();
    assert!(bench.pass(300));
    assert_eq!(bench.asked.last().unwrap(), "finished fail Infrastructure");
    assert_eq!(bench.count("the log of its first job says why"), 2);
    let mut bench = follower();
    bench.job.cancel();
    assert!(bench.pass(2));
    assert_eq!(bench.asked.last().unwrap(), "finished fail Canceled");
}

#[test]
fn one_whose_group_does_not_come_ends() {
    let mut bench = of_two("'7': server, '8': client", "server");
    assert!(!bench.go_on());
    bench.gathered = Gathered::Missing("8 did not come".into());
    assert!(bench.pass(2));
    assert_eq!(bench.asked.last().unwrap(), "finished fail Configuration");
    let mut bench = of_two("'7': server, '8': client", "server");
    assert!(!bench.go_on());
    bench.job.cancel();
    assert!(bench.pass(2));
    assert_eq!(bench.asked.last().unwrap(), "finished fail Canceled");
}

#[test]
fn what_cannot_be_done_ends_at_once() {
    let mut bench = Bench::new();
    bench.definition = "job_name: x".into();
    assert!(bench.go_on());
    assert_eq!(bench.asked.last().unwrap(), "finished fail Job");
    assert!(bench.log().contains("lava-job-7.yaml"), "{}", bench.log());
    assert!(bench.lab.jobs.is_empty());

    // The lab finds something that the importer does not know.
    let mut bench = Bench::new();
    bench.lab.refusal = Some("there is no board \"b\"".into());
    bench.job.is_uncertain = false;
    assert!(bench.go_on());
    assert_eq!(bench.asked.last().unwrap(), "finished fail Job");
    assert!(bench.log().contains("there is no board"), "{}", bench.log());
}

#[test]
fn the_device_is_asked_for_where_its_dictionary_names_no_board() {
    let mut bench = Bench::new();
    bench.device = Some("commands: {}");
    assert!(!bench.go_on());
    assert_eq!(bench.asked, ["files", "running", "device", "logs"]);
    assert!(bench.lab.jobs[0].contains("\"name\": \"b\""), "{}", bench.lab.jobs[0]);

    let mut bench = Bench::new();
    bench.device = None;
    bench.odd =
        vec![("device", Ok(Answer { status: 404, body: br#"{"detail": "Not found."}"#.to_vec() }))];
    assert!(bench.go_on());
    assert_eq!(bench.asked.last().unwrap(), "finished fail Configuration");
    assert!(bench.log().contains("connection_command"), "{}", bench.log());
}

#[test]
fn killed_at_any_moment_everything_is_told_once() {
    // However many things were done before the process died.
    for moment in 0..40_u32 {
        let mut bench = Bench::new();
        bench.lab.events = case("c");
        bench.runs(&["one.", "two."]);
        let mut left = moment;
        loop {
            if left == 0 && bench.kept.is_some() {
                bench.die();
                break;
            }
            match bench.job.poll(bench.now) {
                Want::Keep => bench.keep(),
                Want::Lava(request) => {
                    let reply = bench.lava(&request);
                    // The server has it; the answer comes no more.
                    if left > 1 {
                        bench.job.handle_lava(&reply, bench.now);
                    }
                }
                Want::Lab(request) => {
                    let answer = bench.lab(&request);
                    if left > 1 {
                        bench.job.handle_lab(answer, bench.now);
                    }
                }
                Want::Wait(_) => bench.now.instant = bench.now.instant + EVERY,
                Want::Forget | Want::Gather(_) => panic!("it goes another way"),
            }
            left = left.saturating_sub(1);
        }
        bench.ends(Verdict::Passed);
        assert!(bench.pass(2) || bench.pass(2), "{moment}: {:?}", bench.asked);
        assert_eq!(bench.lab.jobs.len(), 1, "{moment}");
        for text in ["one.", "two.", "\"case\": \"job\""] {
            assert_eq!(bench.count(text), 1, "{moment}: {text} in {}", bench.log());
        }
        // The case, its suite, whose end was not seen, and the job.
        assert_eq!(bench.results.len(), 3, "{moment}: {:?}", bench.results);
        assert_eq!(bench.asked.last().unwrap(), "finished pass", "{moment}");
    }
}

#[test]
fn a_server_that_is_away_gets_it_later() {
    let mut bench = Bench::new();
    bench.runs(&["one."]);
    bench.odd = vec![
        ("files", Err("refused".into())),
        ("running", Ok(Answer { status: 502, body: Vec::new() })),
        ("logs", Err("reset".into())),
        ("finished", Err("reset".into())),
    ];
    bench.ends(Verdict::Passed);
    let mut turns = 0;
    while !bench.pass(30) {
        turns += 1;
        assert!(turns < 10, "{:?}", bench.asked);
    }
    assert_eq!(bench.count("one."), 1);
    assert_eq!(bench.asked.iter().filter(|word| *word == "finished pass").count(), 2);
}

#[test]
fn a_line_that_the_server_stumbles_over_is_left_out() {
    let mut bench = Bench::new();
    assert!(!bench.go_on());
    bench.runs(&["one.", "two.", "bad."]);
    bench.bad = Some("bad.");
    let mut turns = 0;
    while bench.count("is missing here") == 0 {
        assert!(!bench.pass(30));
        turns += 1;
        assert!(turns < 60, "{:?}", bench.job);
    }
    assert_eq!((bench.count("one."), bench.count("two."), bench.count("bad.")), (1, 1, 0));
}

#[test]
fn a_lab_that_is_away_is_said_once_and_waited_for() {
    let mut bench = Bench::new();
    bench.lab.is_away = true;
    for _ in 0..5 {
        assert!(!bench.pass(60));
    }
    assert_eq!(bench.count("no lab answers"), 1);
    bench.lab.is_away = false;
    bench.lab.run = Some("r");
    bench.ends(Verdict::Passed);
    assert!(bench.pass(60));
    assert_eq!(bench.lab.jobs.len(), 1);
}

#[test]
fn cancel() {
    // Before the lab has it.
    let mut bench = Bench::new();
    bench.job.cancel();
    assert!(bench.go_on());
    assert_eq!(bench.asked.last().unwrap(), "finished fail Canceled");
    assert!(bench.lab.jobs.is_empty());

    // While it runs.
    let mut bench = Bench::new();
    bench.runs(&["one."]);
    assert!(!bench.go_on());
    bench.job.cancel();
    assert!(bench.go_on());
    assert!(bench.lab.canceled);
    assert_eq!((bench.count("one."), bench.count("\"case\": \"job\"")), (1, 1));
    assert_eq!(bench.asked.last().unwrap(), "finished fail Canceled");

    // While the lab is away.
    let mut bench = Bench::new();
    bench.runs(&[]);
    assert!(!bench.go_on());
    bench.lab.is_away = true;
    bench.job.cancel();
    assert!(!bench.go_on());
    let mut seconds = 0;
    while !bench.pass(10) {
        seconds += 10;
    }
    assert_eq!(seconds, 110);
    assert_eq!(bench.asked.last().unwrap(), "finished fail Canceled");
}

#[test]
fn a_job_that_the_server_does_not_know_any_more_is_ended_in_the_lab() {
    let mut bench = Bench::new();
    bench.runs(&["one."]);
    assert!(!bench.go_on());
    bench.lab.timeline += &line("two.");
    let unknown = || Ok(Answer { status: 404, body: br#"{"error": "Unknown job '7'"}"#.to_vec() });
    bench.odd = (0..9).flat_map(|_| [("logs", unknown()), ("finished", unknown())]).collect();
    assert!(bench.pass(2));
    assert!(bench.lab.canceled);
}
