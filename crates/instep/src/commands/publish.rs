//! `instep publish`: an event for everybody who has joined a live topic.

use serde_json::json;

use crate::access::Access;
use crate::failure::Failure;
use crate::{input, output};

/// Publish an event to a live topic. Who has not joined does not get it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The topic.
    topic: String,
    /// The event.
    event: String,
    /// The payload, a JSON object.
    #[arg(default_value = "{}")]
    payload: String,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { topic, event, payload, access } = arguments;
    let payload = input::object("PAYLOAD", &payload)?;
    let subscribers = access.client()?.publish(&topic, &event, &payload).await?;
    match json {
        true => output::json(&json!({"subscribers": subscribers})),
        false => output::line(&format!("published to {subscribers} subscribers")),
    }
}
