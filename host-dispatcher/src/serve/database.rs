//! What of the lab outlives the dispatcher: the queue, the boards' health and leases, and an index of runs.
//!
//! `lab.db` in the store is SQLite. What it says of a job also stands in the job's folder, `jobs/<id>/`, and of a run in
//! its directory: a database that is lost or broken is made again from these. A job's folder is on the disk before the
//! database knows it, and the database before anybody is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Row, ToSql, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::callbacks;
use super::control::Submission;
use super::history::{History, JobFilter, RunFilter, RunRow};
use super::secrets;
use crate::lab::board::Kept;
use crate::lab::view::{JobId, JobState, JobView};
use crate::report::summary::Summary;
use crate::store::{StoreError, reader, sync_folder, write_json, write_private};

/// The writer's end; one in a store.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    store: PathBuf,
}

/// What a dispatcher begins with.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The number of the next job.
    pub next_id: JobId,
    /// Jobs that have not ended.
    pub jobs: Vec<JobView>,
    /// What was known of boards.
    pub boards: BTreeMap<String, Kept>,
    /// Why the database had to be made anew, where it had.
    pub rebuilt: Option<String>,
}

/// A reader's end: [`History`].
#[derive(Debug)]
pub struct Reader {
    connection: Mutex<Connection>,
    store: PathBuf,
}

impl Database {
    /// The database of a store, made from the folders of its jobs and runs if it is not there or broken.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(store: &Path) -> Result<(Self, Loaded), DatabaseError> {
        let path = path(store);
        let is_there = path.exists();
        let opened = connect(&path).and_then(|connection| {
            let database = Self { connection, store: store.to_owned() };
            let loaded = database.load()?;
            Ok((database, loaded))
        });
        let why = match opened {
            Ok((database, loaded)) if is_there => return Ok((database, loaded)),
            Ok(_) => None,
            Err(error @ (DatabaseError::Sql(_) | DatabaseError::Broken(_))) => {
                Some(error.to_string())
            }
            Err(error) => return Err(error),
        };
        for suffix in ["", "-wal", "-shm"] {
            let old = store.join(format!("lab.db{suffix}"));
            let broken = store.join(format!("lab.db{suffix}.broken"));
            match fs::rename(&old, broken) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::of("rename", &old)(error).into());
                }
                _ => {}
            }
        }
        let mut database = Self { connection: connect(&path)?, store: store.to_owned() };
        database.rebuild()?;
        let loaded = database.load()?;
        Ok((database, Loaded { rebuilt: why, ..loaded }))
    }

    /// Another connection that only reads.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn reader(&self) -> Result<Reader, DatabaseError> {
        let connection = Connection::open(path(&self.store))?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(Reader { connection: Mutex::new(connection), store: self.store.clone() })
    }

    /// Keeps a job that is accepted, or those of a group: for each its folder with its file and what goes with it, then
    /// the database.
    ///
    /// # Errors
    /// Something cannot be written; nothing of any of them is left then.
    pub fn accept(
        &mut self,
        jobs: &[JobView],
        submission: &Submission,
    ) -> Result<(), DatabaseError> {
        let folder = |job: &JobView| job_folder(&self.store, job.id);
        let keep = |job: &JobView| self.keep_folder(&folder(job), job, submission);
        let kept = jobs.iter().try_for_each(keep);
        let kept = kept.and_then(|()| self.put_jobs(jobs));
        if kept.is_err() {
            for job in jobs {
                let _ = fs::remove_dir_all(job_folder(&self.store, job.id));
                secrets::forget(&self.store, job);
            }
        }
        kept
    }

    fn keep_folder(
        &self,
        folder: &Path,
        job: &JobView,
        submission: &Submission,
    ) -> Result<(), DatabaseError> {
        // Of a job that was never acknowledged: its dispatcher died in the next lines.
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(StoreError::of("create", folder))?;
        let mut touched = BTreeSet::new();
        for (name, from) in &submission.files {
            let place = folder.join(name);
            let above = place.parent().unwrap_or(folder);
            fs::create_dir_all(above).map_err(StoreError::of("create", above))?;
            // The same file system, by construction: no byte is copied.
            fs::hard_link(from, &place).map_err(StoreError::of("link", &place))?;
            // A name is on the disk when its folder is, and so on up to the store.
            let folders = place.ancestors().skip(1).take_while(|above| above.starts_with(folder));
            touched.extend(folders.map(Path::to_owned));
        }
        let place = job_file(&self.store, job);
        let above = place.parent().unwrap_or(folder);
        fs::create_dir_all(above).map_err(StoreError::of("create", above))?;
        write_private(&place, submission.definition.as_bytes())?;
        secrets::keep(&self.store, job.id, &submission.secrets)?;
        write_json(&folder.join(JOB_JSON), job)?;
        touched.insert(folder.to_owned());
        for folder in touched.into_iter().rev() {
            sync_folder(&folder.join("x"))?;
        }
        sync_folder(folder)?;
        Ok(())
    }

    /// A job is different now, or all those of a group: the database knows of all of them or of none.
    ///
    /// # Errors
    /// Something cannot be written.
    pub fn put_jobs(&mut self, jobs: &[JobView]) -> Result<(), DatabaseError> {
        for job in jobs.iter().filter(|job| job.state == JobState::Ended) {
            let folder = job_folder(&self.store, job.id);
            if folder.is_dir() {
                let place = folder.join(JOB_JSON);
                if !is_ended(&place) {
                    callbacks::keep(&self.store, job)?;
                }
                write_json(&place, job)?;
                secrets::forget(&self.store, job);
            }
        }
        let transaction = self.connection.transaction()?;
        jobs.iter().try_for_each(|job| insert_job(&transaction, job))?;
        Ok(transaction.commit()?)
    }

    /// What outlives the dispatcher of a board is different now.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put_board(&mut self, name: &str, kept: &Kept) -> Result<(), DatabaseError> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO boards (name, kept) VALUES (?1, ?2)")?
            .execute(params![name, json(kept)?])?;
        Ok(())
    }

    /// A run has begun, or has ended.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put_run(&mut self, row: &RunRow) -> Result<(), DatabaseError> {
        insert_run(&self.connection, row)
    }

    fn load(&self) -> Result<Loaded, DatabaseError> {
        let check: String =
            self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(DatabaseError::Broken(check));
        }
        let query = "SELECT view FROM jobs WHERE state != 'ended' ORDER BY id";
        let jobs = all(&self.connection, query, &[])?;
        let last: Option<JobId> =
            self.connection.query_row("SELECT max(id) FROM jobs", [], |row| row.get(0))?;
        let mut boards = BTreeMap::new();
        let mut statement = self.connection.prepare("SELECT name, kept FROM boards")?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        for row in rows {
            let (name, kept) = row?;
            boards.insert(name, serde_json::from_str(&kept).unwrap_or_default());
        }
        Ok(Loaded { next_id: last.map_or(1, |last| last + 1), jobs, boards, rebuilt: None })
    }

    /// Everything again from the folders of jobs and runs. What of these cannot be read is left out.
    fn rebuild(&mut self) -> Result<(), DatabaseError> {
        let transaction = self.connection.transaction()?;
        for folder in folders(&self.store.join("jobs")) {
            let job = fs::read(folder.join(JOB_JSON)).unwrap_or_default();
            if let Ok(job) = serde_json::from_slice::<JobView>(&job) {
                insert_job(&transaction, &job)?;
            }
        }
        for folder in folders(&runs_folder(&self.store)) {
            let summary = fs::read(folder.join("run.json")).unwrap_or_default();
            let summary = serde_json::from_slice::<Summary>(&summary).ok();
            let Some(summary) = summary.or_else(|| reader::summary(&folder).ok()) else { continue };
            insert_run(&transaction, &row_of(&summary))?;
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Reader {
    fn query<T: DeserializeOwned>(&self, query: &str, values: &[&dyn ToSql]) -> Vec<T> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        all(&connection, query, values).unwrap_or_else(|error| {
            super::log::warn(&format!("the database cannot be read: {error}"));
            Vec::new()
        })
    }
}

impl History for Reader {
    fn jobs(&self, filter: &JobFilter, before: Option<JobId>, limit: usize) -> Vec<JobView> {
        self.query(
            "SELECT view FROM jobs WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR board = ?2) \
             AND (?3 IS NULL OR submitter = ?3) AND (?4 IS NULL OR name = ?4) \
             AND (?5 IS NULL OR id < ?5) ORDER BY id DESC LIMIT ?6",
            &[
                &filter.state.map(JobState::as_str),
                &filter.board,
                &filter.submitter,
                &filter.name,
                &before,
                &limit,
            ],
        )
    }

    fn job(&self, id: JobId) -> Option<JobView> {
        self.query("SELECT view FROM jobs WHERE id = ?1", &[&id]).pop()
    }

    fn definition(&self, id: JobId) -> Option<String> {
        fs::read_to_string(job_file(&self.store, &self.job(id)?)).ok()
    }

    fn runs(&self, filter: &RunFilter, before: Option<&str>, limit: usize) -> Vec<RunRow> {
        self.query(
            "SELECT row FROM runs WHERE (?1 IS NULL OR board = ?1) AND (?2 IS NULL OR job = ?2) \
             AND (?3 IS NULL OR number < (SELECT number FROM runs WHERE run = ?3)) \
             ORDER BY number DESC LIMIT ?4",
            &[&filter.board, &filter.job, &before, &limit],
        )
    }
}

/// Whether a job's own file says that it has ended.
fn is_ended(place: &Path) -> bool {
    let bytes = fs::read(place).unwrap_or_default();
    serde_json::from_slice::<JobView>(&bytes).is_ok_and(|job| job.state == JobState::Ended)
}

/// The line of a run's summary.
pub fn row_of(summary: &Summary) -> RunRow {
    RunRow {
        run: summary.run.clone(),
        job: summary.job.clone(),
        job_id: summary.job_id,
        board: summary.board.clone(),
        board_type: summary.board_type.clone(),
        started: summary.started,
        ended: summary.ended.filter(|_| summary.verdict.is_some()),
        verdict: summary.verdict,
        tally: summary.tally,
        seconds: summary.seconds,
    }
}

/// Where a job's file and what goes with it lie.
pub fn job_folder(store: &Path, id: JobId) -> PathBuf {
    store.join("jobs").join(id.to_string())
}

/// Where a job's file lies. Its name is that of no file that came with it.
pub fn job_file(store: &Path, job: &JobView) -> PathBuf {
    job_folder(store, job.id).join(&job.folder).join(JOB_FILE)
}

/// Where run directories lie.
pub fn runs_folder(store: &Path) -> PathBuf {
    store.join("runs")
}

fn path(store: &Path) -> PathBuf {
    store.join("lab.db")
}

fn connect(path: &Path) -> Result<Connection, DatabaseError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(StoreError::of("create", folder))?;
    }
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Readers do not hold the writer up; what is committed is on the disk.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn insert_job(connection: &Connection, job: &JobView) -> Result<(), DatabaseError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO jobs (id, name, submitter, state, board, view) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            job.id,
            job.name,
            job.submitter,
            job.state.as_str(),
            job.board,
            json(job)?
        ])?;
    Ok(())
}

/// The number of a run is its place in the order in which runs began.
fn insert_run(connection: &Connection, row: &RunRow) -> Result<(), DatabaseError> {
    let number = row.started.map_or(0, |started| started.as_microsecond());
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO runs (run, number, job, board, row) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![row.run, number, row.job, row.board, json(row)?])?;
    Ok(())
}

fn all<T: DeserializeOwned>(
    connection: &Connection,
    query: &str,
    values: &[&dyn ToSql],
) -> Result<Vec<T>, DatabaseError> {
    let mut statement = connection.prepare_cached(query)?;
    let text = |row: &Row<'_>| row.get::<_, String>(0);
    let rows = statement.query_map(values, text)?;
    // A later version may have written what this one cannot read.
    Ok(rows
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .filter_map(|text| serde_json::from_str(text).ok())
        .collect())
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn json(value: &impl Serialize) -> Result<String, DatabaseError> {
    serde_json::to_string(value).map_err(|error| {
        StoreError::of("encode", Path::new("lab.db"))(io::Error::other(error)).into()
    })
}

const JOB_FILE: &str = ".job.yaml";
const JOB_JSON: &str = ".job.json";

const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, submitter TEXT NOT NULL, state TEXT NOT NULL,
    board TEXT, view TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_state ON jobs (state, id);
CREATE INDEX IF NOT EXISTS jobs_board ON jobs (board, id);
CREATE TABLE IF NOT EXISTS boards (name TEXT PRIMARY KEY, kept TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, number INTEGER NOT NULL, job TEXT NOT NULL, board TEXT NOT NULL,
    row TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS runs_number ON runs (number);
CREATE INDEX IF NOT EXISTS runs_job ON runs (job, number);
CREATE INDEX IF NOT EXISTS runs_board ON runs (board, number);
";

/// Why the database could not do something.
#[derive(Debug)]
pub enum DatabaseError {
    /// SQLite's reason.
    Sql(rusqlite::Error),
    /// Its own check found it broken, and says how.
    Broken(String),
    /// A file of the store.
    Store(StoreError),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for DatabaseError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sql(error) => write!(f, "the lab's database: {error}"),
            Self::Broken(how) => write!(f, "the lab's database is broken: {how}"),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DatabaseError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::lab::BoardWish;
    use crate::io::test_folder::TestFolder;
    use crate::lab::NewJob;
    use crate::report::summary::tests::panicked_run;
    use crate::store::run_dir::RunDir;

    fn new_job() -> NewJob {
        NewJob {
            name: "smoke".into(),
            submitter: "ann".into(),
            priority: 50,
            board_wish: BoardWish::default(),
            folder: String::new(),
            node: None,
        }
    }

    fn job(id: JobId) -> JobView {
        new_job().numbered(id, jiff::Timestamp::UNIX_EPOCH)
    }

    fn submission(files: &[(&str, PathBuf)]) -> Submission {
        let named = |(name, path): &(&str, PathBuf)| ((*name).to_owned(), path.clone());
        Submission {
            jobs: vec![new_job()],
            definition: "name: smoke\n".into(),
            files: files.iter().map(named).collect(),
            secrets: BTreeMap::new(),
        }
    }

    fn fill(store: &Path) -> Database {
        let (mut database, loaded) = Database::open(store).unwrap();
        assert_eq!((loaded.next_id, loaded.jobs.len()), (1, 0));
        let image = store.join("image");
        fs::write(&image, "bytes").unwrap();
        database.accept(&[job(1)], &submission(&[("images/a.ext4", image)])).unwrap();
        let mut ended = job(2);
        database.accept(std::slice::from_ref(&ended), &submission(&[])).unwrap();
        ended.state = JobState::Ended;
        database.put_jobs(&[ended]).unwrap();
        let kept = Kept { jobs_since_check: 3, ..Kept::default() };
        database.put_board("a", &kept).unwrap();
        let mut run = RunDir::create(&runs_folder(store), "smoke", jiff::Timestamp::UNIX_EPOCH, 1);
        let run = run.as_mut().unwrap();
        panicked_run().iter().for_each(|event| run.event(event).unwrap());
        run.finish(&serde_json::Value::Null).unwrap();
        database.put_run(&row_of(run.summary())).unwrap();
        database
    }

    #[test]
    fn a_lab_goes_on_where_it_was() {
        let store = TestFolder::new();
        drop(fill(store.path()));
        let linked = job_folder(store.path(), 1).join("images/a.ext4");
        assert_eq!(fs::read_to_string(linked).unwrap(), "bytes");
        let (database, loaded) = Database::open(store.path()).unwrap();
        assert_eq!((loaded.next_id, loaded.jobs.as_slice()), (3, &[job(1)][..]));
        assert_eq!(loaded.boards["a"].jobs_since_check, 3);
        let reader = database.reader().unwrap();
        let all = JobFilter::default();
        let ids = |filter: &JobFilter, before| {
            reader.jobs(filter, before, 10).iter().map(|job| job.id).collect::<Vec<_>>()
        };
        assert_eq!((ids(&all, None), ids(&all, Some(2))), (vec![2, 1], vec![1]));
        let ended = JobFilter { state: Some(JobState::Ended), ..JobFilter::default() };
        assert_eq!(ids(&ended, None), [2]);
        assert_eq!(reader.definition(2).unwrap(), "name: smoke\n");
        let run = reader.runs(&RunFilter::default(), None, 10).remove(0);
        assert_eq!((run.job.as_str(), run.tally.fail), ("smoke", 1));
        assert_eq!(reader.runs(&RunFilter::default(), Some(&run.run), 10), []);
    }

    #[test]
    fn a_lost_or_broken_database_is_made_again() {
        let store = TestFolder::new();
        drop(fill(store.path()));
        for content in [None, Some("no database at all".repeat(1000))] {
            for suffix in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(store.path().join(format!("lab.db{suffix}")));
            }
            let is_broken = content.is_some();
            if let Some(content) = content {
                fs::write(path(store.path()), content).unwrap();
            }
            let (database, loaded) = Database::open(store.path()).unwrap();
            assert_eq!((loaded.next_id, loaded.jobs.as_slice()), (3, &[job(1)][..]));
            assert_eq!(loaded.rebuilt.is_some(), is_broken);
            assert_eq!(database.reader().unwrap().runs(&RunFilter::default(), None, 10).len(), 1);
        }
        assert!(store.path().join("lab.db.broken").exists());
    }

    #[test]
    fn what_a_dead_dispatcher_left_of_an_unacknowledged_job_is_not_the_next_ones() {
        let store = TestFolder::new();
        let (mut database, _) = Database::open(store.path()).unwrap();
        let folder = job_folder(store.path(), 1);
        fs::create_dir_all(folder.join("images")).unwrap();
        fs::write(folder.join("images/old"), "old").unwrap();
        database.accept(&[job(1)], &submission(&[])).unwrap();
        assert!(!folder.join("images").exists());
    }

    #[test]
    fn secrets_are_the_owners_alone_until_the_job_has_ended() {
        let store = TestFolder::new();
        let (mut database, _) = Database::open(store.path()).unwrap();
        let definition = "name: smoke\nsecrets: {A: hunter222, B: {environment: B}}\n";
        let secrets = BTreeMap::from([("B".to_owned(), "hunter333".to_owned())]);
        let sent = Submission { definition: definition.into(), secrets, ..submission(&[]) };
        let mut job = job(1);
        database.accept(std::slice::from_ref(&job), &sent).unwrap();
        assert_eq!(secrets::read(store.path(), 1), sent.secrets);
        let private = [job_file(store.path(), &job), store.path().join("jobs/secrets/1.json")];
        for path in &private {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        }
        job.state = JobState::Ended;
        database.put_jobs(std::slice::from_ref(&job)).unwrap();
        assert!(secrets::read(store.path(), 1).is_empty() && !private[1].exists());
        let left = fs::read_to_string(&private[0]).unwrap();
        assert_eq!(left, definition.replace("hunter222", "(secret:A)"));
        assert_eq!(fs::metadata(&private[0]).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_job_that_cannot_be_kept_leaves_nothing() {
        let store = TestFolder::new();
        let (mut database, _) = Database::open(store.path()).unwrap();
        let missing = store.path().join("missing");
        let jobs = [job(1), job(2)];
        fs::create_dir_all(job_folder(store.path(), 2)).unwrap();
        assert!(database.accept(&jobs, &submission(&[("a", missing)])).is_err());
        let is_left = jobs.iter().any(|job| job_folder(store.path(), job.id).exists());
        assert!(!is_left);
        drop(database);
        assert_eq!(Database::open(store.path()).unwrap().1.jobs, []);
    }
}
