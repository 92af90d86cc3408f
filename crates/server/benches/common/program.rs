//! This program once more, in another part: as the server, or as something that is measured apart.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process that ends with its standard input, at the latest when this is dropped.
pub(crate) struct Program {
    child: Child,
    _lifeline: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(args: &[&OsStr]) -> Self {
        let program = std::env::current_exe().expect("the bench knows its own path");
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a process of its own");
        let lifeline = child.stdin.take().expect("it was asked for");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        Self { child, _lifeline: lifeline, lines }
    }

    /// Reads the next line of its output.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().expect("it says something").expect("text")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
