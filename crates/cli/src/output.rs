//! Output on stdout, and the progress bars on stderr.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// Writes whole lines, and lets them go at once.
pub(crate) fn lines(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(Failure::Output)
}

/// Writes a line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    lines(format!("{}\n", harmless(text)).as_bytes())
}

/// Text of other users, made harmless for a terminal: control characters, which could clear it or
/// forge lines, and characters that turn the direction of writing, are written as `\u{…}`.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    escaped(text, |code| format!("\\u{{{code:x}}}"))
}

fn escaped(text: &str, escape: impl Fn(u32) -> String) -> Cow<'_, str> {
    let written = |c: char| if is_harmful(c) { escape(c.into()) } else { c.into() };
    if text.contains(is_harmful) { text.chars().map(written).collect() } else { text.into() }
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::System(format!("the answer as JSON: {error}")))?;
    // Only strings have such characters: JSON escapes the others by itself.
    let text = escaped(&text, |code| format!("\\u{code:04x}"));
    lines(format!("{text}\n").as_bytes())
}

/// Writes rows under a heading; nothing but a remark when there are none.
pub(crate) fn table(
    heading: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    none: &str,
) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| harmless(cell)));
    }
    if table.is_empty() {
        line(none)
    } else {
        let trimmed = table.to_string();
        lines(
            trimmed.lines().map(|line| format!("{}\n", line.trim())).collect::<String>().as_bytes(),
        )
    }
}

/// Says on stderr how far a command is, also without a terminal.
pub(crate) fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "instep: {}", harmless(text));
}

/// A bar on stderr; nothing is drawn without a terminal.
pub(crate) fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━━╌"));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Count with its noun: `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// Bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
