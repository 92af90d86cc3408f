//! Process of an agent: this binary with `site run`.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use instep_shop::DATASET;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Variables by which an operator's shell would talk into it.
const FOREIGN: [&str; 5] =
    ["INSTEP_SERVER", "INSTEP_KEY", "INSTEP_TOKEN", "INSTEP_CA", "INSTEP_DATASET"];
/// Bytes of a line of an agent.
const LINE_BYTES: u64 = 64 * 1024;

/// A process that was started and not yet seen to end. Its input is a pipe from here: when this
/// process is killed, it ends too.
pub(super) struct Process {
    child: Child,
    notice: Newest,
    trouble: Newest,
}

/// Newest line.
type Newest = Arc<Mutex<Option<String>>>;

impl Process {
    /// Starts the agent of a site.
    ///
    /// # Errors
    /// When the system starts no process or thread.
    pub(super) fn start(
        site: &str,
        url: &str,
        (data, file): (&Path, &Path),
        source: &str,
    ) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut store = std::ffi::OsString::from("sqlite:");
        store.push(file);
        command
            .args(["--json", "site", "run", "--until-stdin-ends"])
            .args(["--id", site, "--dataset", DATASET, "--from", url, "--data"])
            .arg(data)
            .arg("--apply")
            .arg(store)
            .args(["--start", "dump", "--dump-from", source])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for variable in FOREIGN {
            command.env_remove(variable);
        }
        let mut child = command.spawn()?;
        let (notice, trouble) = (Newest::default(), Newest::default());
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            // The threads end with the pipes.
            let read = follow(site, out, &notice).and_then(|()| follow(site, err, &trouble));
            if let Err(error) = read {
                Self { child, notice, trouble }.kill();
                return Err(error);
            }
        }
        Ok(Self { child, notice, trouble })
    }

    /// The number by which the system knows it.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The newest notice of the agent.
    pub(super) fn notice(&self) -> Option<Value> {
        serde_json::from_str(newest(&self.notice)?.as_str()).ok()
    }

    /// The reason of its end, once it has ended.
    pub(super) fn end(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(match newest(&self.trouble) {
                Some(line) => detail(&line),
                None => status.to_string(),
            }),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Asks it to end in order.
    pub(super) fn stop(&self) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It was not waited for yet, so the number is still its own.
        if let Some(id) = id
            && let Err(error) = kill_process(id, Signal::TERM)
        {
            tracing::warn!(%error, "the agent of a site cannot be stopped");
        }
    }

    /// Ends it at once, and waits until it has.
    pub(super) fn kill(mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::warn!(%error, "the agent of a site cannot be killed");
        }
    }
}

/// Keeps the newest line of a pipe.
fn follow(site: &str, pipe: impl Read + Send + 'static, newest: &Newest) -> std::io::Result<()> {
    let (site, newest) = (site.to_owned(), Arc::clone(newest));
    let read = move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            tracing::debug!(site, line = text, "told");
            *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            line.clear();
        }
    };
    thread::Builder::new().name("site".into()).spawn(read).map(drop)
}

fn newest(of: &Newest) -> Option<String> {
    of.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The words of a refusal in JSON, or of a line of the log.
fn detail(line: &str) -> String {
    let refusal: Option<Value> = serde_json::from_str(line).ok();
    let detail = refusal.as_ref().and_then(|refusal| refusal["detail"].as_str());
    detail.unwrap_or(line).to_owned()
}
