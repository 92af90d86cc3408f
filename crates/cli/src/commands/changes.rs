//! `instep changes`: the commits of a dataset, in order.

use instep_client::{Change, Commit};
use serde_json::{Value, json};

use crate::access::Access;
use crate::failure::Failure;
use crate::{output, running};

/// Print the commits of a dataset, in order.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The dataset.
    dataset: String,
    /// Commits after this position; without it from the oldest one kept.
    #[arg(long, value_name = "POSITION")]
    since: Option<String>,
    /// Go on with commits as they come, also over lost connections.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { dataset, since, follow, access } = arguments;
    let mut changes = access.client()?.changes(&dataset, since, follow);
    let stop = running::stop_signal()?;
    tokio::pin!(stop);
    loop {
        let change = tokio::select! {
            change = changes.next() => change?,
            () = &mut stop => return Ok(()),
        };
        match change {
            Some(Change::Commit(commit)) if json => output::json(&commit)?,
            Some(Change::Commit(commit)) => output::lines(words(&commit).as_bytes())?,
            Some(Change::Bookmark(position)) if json => {
                output::json(&json!({"bookmark": position}))?;
            }
            Some(Change::Bookmark(_)) => {}
            None => return Ok(()),
        }
    }
}

fn words(commit: &Commit) -> String {
    let mut text = format!("{}\n", commit.position);
    for record in &commit.records {
        let fields = record.as_object().into_iter().flatten();
        for (kind, body) in fields {
            let name = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
            let line = match (body.get("row"), body.get("key")) {
                (Some(row), _) => format!("{kind} {} {} {row}", name("table"), name("key")),
                (None, Some(_)) => format!("{kind} {} {}", name("table"), name("key")),
                (None, None) => format!("{kind} {}", plain(body)),
            };
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

/// The values of an object, without its punctuation.
fn plain(body: &Value) -> String {
    let values = body.as_object().into_iter().flatten().map(|(name, value)| match value {
        Value::String(text) if name == "table" || name == "journal" => text.clone(),
        other => format!("{name}={other}"),
    });
    values.collect::<Vec<_>>().join(" ")
}
