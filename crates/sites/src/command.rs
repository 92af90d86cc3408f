//! Store behind a command: a process that is told each commit as a line of JSON, and answers each.
//!
//! | the process answers | the commit |
//! | --- | --- |
//! | `ok POSITION` | is applied |
//! | `fail TEXT` | is refused: the site stands at it, and it is told again |
//! | `fatal TEXT` | can never be applied: the site needs a dump |
//!
//! A process that ends, or says anything else, is started again. The server's cursor is the
//! position: commits that were not answered are told again, so that each comes at least once.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use instep_client::SiteCommit;
use instep_model::position::Position;

use crate::batch::Batch;
use crate::limits::{ANSWER_BYTES, COMMAND_COMMITS};
use crate::store::{Applied, Fatal, Identity, Store, StoreError, StorePosition, bounded};

/// A command that applies.
pub struct CommandStore {
    command: String,
    identity: Identity,
    /// Everything up to here was answered.
    position: Option<Position>,
    process: Option<Process>,
}

/// The process. It ends when its input does.
struct Process {
    child: Child,
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl CommandStore {
    /// A store behind a command of the shell.
    #[must_use]
    pub fn new(command: &str, identity: Identity) -> Self {
        Self { command: command.to_owned(), identity, position: None, process: None }
    }

    fn start(&self) -> Result<Process, StoreError> {
        let position = self.position.map(|position| position.to_string()).unwrap_or_default();
        let spawned = Command::new("sh")
            .args(["-c", &self.command])
            .env("INSTEP_DATASET", &self.identity.dataset)
            .env("INSTEP_SITE", &self.identity.site)
            .env("INSTEP_POSITION", position)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|error| passing(&error))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => {
                Ok(Process { child, stdin, answers: BufReader::new(stdout) })
            }
            _ => Err(passing(&"it has no input or output")),
        }
    }

    fn is_applied(&self, commit: &SiteCommit) -> bool {
        let applied = |position: Position| {
            let place = commit.position.place_in(position.incarnation);
            place.is_some_and(|place| place <= position.place)
        };
        self.position.is_some_and(applied)
    }
}

impl Store for CommandStore {
    fn open(&mut self) -> Result<StorePosition, StoreError> {
        self.process = None;
        Ok(StorePosition::Unkept)
    }

    fn fence(
        &mut self,
        _generation: u64,
        position: Option<Position>,
    ) -> Result<StorePosition, StoreError> {
        self.position = position.or(self.position);
        self.process = Some(self.start()?);
        Ok(StorePosition::Unkept)
    }

    fn apply(&mut self, batch: &Batch) -> Result<Applied, StoreError> {
        if batch.leaves_all_out() {
            self.position = Some(batch.through);
            return Ok(Applied::default());
        }
        let left: Vec<&SiteCommit> =
            batch.commits.iter().filter(|commit| !self.is_applied(commit)).collect();
        let Some(process) = &mut self.process else {
            return Err(passing(&"it does not run"));
        };
        for commit in left {
            // One at a time: nothing is applied behind a commit that is refused.
            process.tell(commit)?;
            match process.answer(commit.position)? {
                Answer::Ok => self.position = Some(commit.position),
                Answer::Fail(text) => return Err(StoreError::record("the command", text)),
                Answer::Fatal(text) => return Err(Fatal::NeedsDump(text).into()),
            }
        }
        Ok(Applied::default())
    }

    fn batch_commits(&self) -> usize {
        COMMAND_COMMITS
    }
}

/// Answer of a process about a commit.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Ok,
    Fail(String),
    Fatal(String),
}

impl Process {
    fn tell(&mut self, commit: &SiteCommit) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(commit).map_err(|error| passing(&error))?;
        line.push(b'\n');
        self.stdin.write_all(&line).map_err(|error| passing(&error))
    }

    fn answer(&mut self, position: Position) -> Result<Answer, StoreError> {
        let mut line = Vec::new();
        let read = (&mut self.answers).take(ANSWER_BYTES as u64).read_until(b'\n', &mut line);
        if read.map_err(|error| passing(&error))? == 0 {
            let status = self.child.wait().map_err(|error| passing(&error))?;
            return Err(passing(&format!("it has ended: {status}")));
        }
        let line = String::from_utf8_lossy(&line);
        read_answer(line.trim_end(), position).map_err(|text| passing(&text))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_answer(line: &str, position: Position) -> Result<Answer, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "ok" if rest.parse() == Ok(position) => Ok(Answer::Ok),
        "ok" => Err(format!("it says ok to {rest:?}, and {position} was told")),
        "fail" => Ok(Answer::Fail(bounded(rest))),
        "fatal" => Ok(Answer::Fatal(bounded(rest))),
        _ => Err(format!("{:?} is no answer: ok POSITION, fail TEXT or fatal TEXT", bounded(line))),
    }
}

fn passing(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Passing(bounded(&format!("the command: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_about_the_commit_that_was_told() {
        let position: Position =
            "00000000000000000000000000000007-00000000000000000042-00000".parse().unwrap();

        assert_eq!(read_answer(&format!("ok {position}"), position), Ok(Answer::Ok));
        assert_eq!(read_answer("fail", position), Ok(Answer::Fail(String::new())));
        assert_eq!(
            read_answer("fatal it is gone", position),
            Ok(Answer::Fatal("it is gone".into()))
        );
        for bad in ["ok", "ok 7", "okay", "", "OK"] {
            assert!(read_answer(bad, position).is_err(), "{bad}");
        }
    }
}
