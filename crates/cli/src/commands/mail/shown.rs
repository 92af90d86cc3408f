//! `instep mail status` and `instep mail show`, for people.

use serde_json::Value;

use super::age;
use crate::failure::Failure;
use crate::output::{self, counted, harmless};

/// Prints the status of a dataset's mail: a row for each queue, then its faults and their remedies.
pub(super) fn status(answer: &Value, dataset: &str) -> Result<(), Failure> {
    let heading =
        ["QUEUE", "PENDING", "UNROUTED", "DEAD", "CONFIRMED", "EXPIRED", "GIVEN UP", "STORED"];
    let fields = ["pending", "unrouted", "dead", "confirmed", "expired", "given_up", "stored"];
    let queues = answer["queues"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = queues.iter().map(|queue| {
        let mut row = vec![plain(&queue["name"])];
        row.extend(fields.map(|field| match field {
            "pending" => number(queue, field).saturating_sub(number(queue, "unrouted")).to_string(),
            _ => number(queue, field).to_string(),
        }));
        row
    });
    output::table(&heading, rows, "no queues")?;
    let oldest = answer["oldest_ms"].as_u64().map_or("none waits".into(), age);
    let (servers, registered) = (number(answer, "servers"), number(answer, "registered"));
    let mut text = format!(
        "\n  oldest message   {oldest}\n  servers          {servers}, {registered} of them \
         registered\n  in work          {}\n",
        counted(number(answer, "unconfirmed"), "message"),
    );
    for line in troubles(answer, queues, dataset) {
        text.push_str(&format!("  !  {line}\n"));
    }
    output::lines(text.as_bytes())
}

/// Problems of the mail, each with the command that helps.
fn troubles(answer: &Value, queues: &[Value], dataset: &str) -> Vec<String> {
    let place = |queue: &Value| {
        let dataset = match dataset {
            "mail" => String::new(),
            other => format!(" --dataset {other}"),
        };
        format!("{dataset} --queue {}", plain(&queue["name"]))
    };
    let mut lines = vec![];
    for queue in queues {
        let (unrouted, dead) = (number(queue, "unrouted"), number(queue, "dead"));
        if unrouted > 0 {
            let unrouted = counted(unrouted, "message");
            lines.push(format!("{unrouted} without a route: instep mail backfill{}", place(queue)));
        }
        if dead > 0 {
            let dead = counted(dead, "dead letter");
            lines.push(format!("{dead}: instep mail list --state dead{}", place(queue)));
        }
    }
    let damaged = number(answer, "damaged");
    if damaged > 0 {
        let damaged = counted(damaged, "time");
        lines.push(format!("{damaged} a body could not be read: see `instep check`"));
    }
    if answer["bodies"]["failing"] == true {
        lines.push("bodies cannot be written: see the server's log".into());
    }
    lines
}

/// Prints a message, field by field.
pub(super) fn message(shown: &Value) -> Result<(), Failure> {
    let now = number(shown, "stored_ms") + number(shown, "age_ms");
    let id = plain(&shown["id"]);
    let mut text = format!("message {} ({})\n", shown["seq"], harmless(&id));
    for (name, value) in shown.as_object().into_iter().flatten() {
        let value = match (&**name, value.as_u64()) {
            ("seq" | "id" | "age_ms" | "body", _) => continue,
            _ if value.is_null() => "-".into(),
            ("stored_ms" | "ended_ms" | "expires_ms" | "not_before", Some(at)) => when(at, now),
            ("bytes", Some(bytes)) => output::bytes(bytes),
            _ => plain(value),
        };
        let (name, value) = (name.trim_end_matches("_ms").replace('_', " "), harmless(&value));
        text.push_str(&format!("  {name:<10}  {value}\n"));
    }
    if let Some(body) = shown.get("body") {
        text.push_str(&format!("  {:<10}  {}\n", "body", harmless(&body.to_string())));
    }
    output::lines(text.as_bytes())
}

/// A time as the distance from now; both in milliseconds since 1970.
fn when(at: u64, now: u64) -> String {
    if at > now { format!("in {}", age(at - now)) } else { format!("{} ago", age(now - at)) }
}

fn number(answer: &Value, field: &str) -> u64 {
    answer[field].as_u64().unwrap_or_default()
}

/// A text without its quotes; anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
