//! Child processes: run and watch, run and listen, run and keep the output.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use crate::Fallible;

/// Output of a watched child, and its success.
pub(crate) struct ChildOutput {
    /// The exit code was zero.
    pub(crate) success: bool,
    /// Everything it wrote on both streams, without colours.
    pub(crate) output: String,
}

/// The cargo that started us, so that a pinned toolchain stays pinned.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).stdin(Stdio::null());
    command
}

/// Returns true if `program args…` can be started and succeeds.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs with our own streams; a failing child is an error that names it.
pub(crate) fn watch(command: &mut Command) -> Fallible<()> {
    println!("$ {}", line_of(command));
    let status = command.status().map_err(|reason| cannot_start(command, &reason))?;
    if status.success() { Ok(()) } else { Err(format!("`{}`: {status}", line_of(command)).into()) }
}

/// Runs with our own streams and keeps the output, to count tests in it.
pub(crate) fn listen(command: &mut Command) -> Fallible<ChildOutput> {
    println!("$ {}", line_of(command));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|reason| cannot_start(command, &reason))?;
    let stdout = child.stdout.take().map(|stream| repeat(stream, std::io::stdout()));
    let stderr = child.stderr.take().map(|stream| repeat(stream, std::io::stderr()));
    let mut output = String::new();
    for stream in [stdout, stderr].into_iter().flatten() {
        output.push_str(&stream.join().map_err(|_| "a reader of the child's output panicked")?);
    }
    let success = child.wait()?.success();
    Ok(ChildOutput { success, output: without_colours(&output) })
}

/// Runs silently and returns stdout; a failing child is an error with its stderr.
pub(crate) fn read(command: &mut Command) -> Fallible<String> {
    let output = command.output().map_err(|reason| cannot_start(command, &reason))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}`: {}\n{stderr}", line_of(command), output.status).into())
}

/// Copies each line as it comes, on a thread of its own, and returns them all.
fn repeat(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut all = String::new();
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            // A closed terminal must not lose the count, so a failed echo is ignored.
            let _ = to.write_all(&line).and_then(|()| to.flush());
            all.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
        all
    })
}

fn line_of(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

fn cannot_start(command: &Command, reason: &std::io::Error) -> String {
    format!("`{}` cannot be started: {reason}", line_of(command))
}

/// Drops ANSI escapes: from ESC to the letter that ends the sequence.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_dropped_and_text_is_kept() {
        assert_eq!(
            without_colours("\u{1b}[32;1m3 passed\u{1b}[0m, 0 failed"),
            "3 passed, 0 failed"
        );
    }

    #[test]
    fn both_streams_are_heard() {
        let heard = listen(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        let heard = heard.unwrap();
        assert!(!heard.success);
        assert_eq!(heard.output, "out\nerr\n");
    }

    #[test]
    fn a_missing_program_is_named() {
        let reason = read(&mut Command::new("no-such-program-here")).unwrap_err().to_string();
        assert!(reason.contains("no-such-program-here"), "{reason}");
    }
}
