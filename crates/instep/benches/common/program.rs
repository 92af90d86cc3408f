//! This program once more, in another part: as the server, or as something that is measured apart.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process that ends with its standard input, at the latest when this is dropped.
pub(crate) struct Program {
    child: Child,
    lifeline: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(args: &[&OsStr]) -> Self {
        let program = std::env::current_exe().expect("the bench knows its own path");
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a process of its own");
        let lifeline = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        Self { child, lifeline, lines }
    }

    /// Reads the next line of its output.
    pub(crate) fn line(&mut self) -> String {
        self.lines.next().expect("it says something").expect("text")
    }

    /// Ends it in order, and waits for that.
    #[allow(dead_code, reason = "each bench asks for other things")]
    pub(crate) fn finish(mut self) {
        drop(self.lifeline.take());
        self.child.wait().expect("it was started");
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
