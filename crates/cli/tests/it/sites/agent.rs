//! An agent in a process of its own, and its database.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use serde_json::Value;

use crate::running::Server;
use crate::shims::until;

/// A running agent; killed when dropped.
pub(super) struct Site {
    child: Child,
    told: Arc<Mutex<Vec<Value>>>,
    stderr: Arc<Mutex<String>>,
}

impl Site {
    /// `instep site run` of the site that the database is named after.
    pub(super) fn run(server: &Server, database: &Database, arguments: &[&str]) -> Self {
        Self::run_as(server, &database.site, database, arguments)
    }

    /// `instep site run` of a site.
    pub(super) fn run_as(
        server: &Server,
        site: &str,
        database: &Database,
        arguments: &[&str],
    ) -> Self {
        let store = format!("sqlite:{}", database.path.display());
        Self::applying(server, site, &store, arguments)
    }

    /// `instep site run` with any store.
    pub(super) fn applying(server: &Server, site: &str, store: &str, arguments: &[&str]) -> Self {
        let fixed = ["site", "run", "--id", site, "--dataset", "shop", "--apply", store, "--json"];
        Self::of(server.command(&[&fixed[..], arguments].concat()))
    }

    /// `instep site run` with any store, by another address of the server.
    pub(super) fn behind(url: &str, server: &Server, site: &str, store: &str) -> Self {
        let fixed = ["site", "run", "--id", site, "--dataset", "shop", "--apply", store, "--json"];
        let mut command = crate::running::binary();
        command.args(fixed).args(["--server", url, "--data"]).arg(&server.data);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (told, stderr) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Mutex<String>>::default());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let read = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                Mutex::lock(&read).unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let mut errors = child.stderr.take().unwrap();
        let heard = Arc::clone(&stderr);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = errors.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                Mutex::lock(&heard).unwrap().push_str(&text);
            }
        });
        Self { child, told, stderr }
    }

    /// Waits until the agent tells of an event; the event.
    pub(super) fn until_told(&self, event: &str) -> Value {
        let mut found = None;
        until(&format!("{event:?} of the agent: {}", self.stderr()), || {
            let told = self.told.lock().unwrap();
            found = told.iter().find(|told| told["event"] == event).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    /// Events so far, as text.
    pub(super) fn told(&self) -> String {
        format!("{:?}", self.told.lock().unwrap())
    }

    /// Memory of the process, in KiB.
    pub(super) fn resident_kib(&self) -> u64 {
        crate::running::resident_kib(self.child.id())
    }

    /// True when the process has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Errors so far.
    pub(super) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Ends the process; its exit code, none if a signal ended it.
    pub(super) fn signal(&mut self, signal: &str) -> Option<i32> {
        let process = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args([signal, &process]).status();
        assert!(sent.unwrap().success());
        self.ended()
    }

    /// Waits for the end of the process; its exit code, none if a signal ended it.
    pub(super) fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("the end of the agent", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        // The last words come through a thread of their own.
        until("its last words", || {
            status.is_some_and(|status| status.success() || status.code().is_none())
                || self.stderr().contains("instep:")
                || self.stderr().contains("\"code\"")
        });
        status.unwrap().code()
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of SQLite that a site applies to.
pub(super) struct Database {
    pub(super) site: String,
    pub(super) path: PathBuf,
}

impl Database {
    pub(super) fn in_directory(directory: &Path, site: &str) -> Self {
        Self { site: site.to_owned(), path: directory.join(format!("{site}.db")) }
    }

    fn reader(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(crate::running::PATIENCE).unwrap();
        connection
    }

    pub(super) fn execute(&self, sql: &str) {
        self.reader().execute_batch(sql).unwrap();
    }

    pub(super) fn number(&self, query: &str) -> i64 {
        self.reader().query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// Removes the files that are there.
    pub(super) fn remove(&self) {
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.path.display()));
        }
    }

    /// The value of a query, as text; none if it fails, or is null.
    pub(super) fn try_text(&self, query: &str) -> Option<String> {
        self.reader().query_row(query, [], |row| row.get(0)).ok().flatten()
    }

    /// Rows of the table `items` in the form that the agent makes.
    pub(super) fn items(&self) -> BTreeMap<String, String> {
        let reader = self.reader();
        let mut query = reader.prepare("SELECT key, row FROM items").unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    /// Waits until everything up to a position is applied; places compare as texts.
    pub(super) fn until_at(&self, position: &str) {
        until(&format!("{} at {position}", self.site), || {
            let row = "SELECT position FROM instep_site";
            let at = self.reader().query_row(row, [], |row| row.get::<_, Option<String>>(0));
            at.is_ok_and(|at| at.is_some_and(|at| at.as_str() >= position))
        });
    }
}
