//! `instep publish`: events for all subscribers of live topics.

use std::path::PathBuf;

use instep_client::{Message, Published};
use serde_json::Value;

use crate::access::Access;
use crate::failure::Failure;
use crate::{input, output};

/// Bytes of messages that are read at most.
const INPUT_BYTES: usize = 64 * 1024 * 1024;
/// Messages sent together, and their bytes: the limits of one request.
const MESSAGES: usize = 1_000;
const BYTES: usize = 512 * 1024;

/// Publish to live topics. Clients that join later get it only where a topic keeps history.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The topic.
    #[arg(required_unless_present = "file")]
    topic: Option<String>,
    /// The event.
    #[arg(required_unless_present = "file")]
    event: Option<String>,
    /// The payload, a JSON object.
    #[arg(default_value = "{}")]
    payload: String,
    /// An id of your own: the same one publishes once.
    #[arg(long, conflicts_with = "file")]
    id: Option<String>,
    /// Publish many: objects with topic, event, payload and optionally id; `-` reads stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["topic", "event"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { topic, event, payload, id, file, access } = arguments;
    let client = access.client()?;
    let (Some(topic), Some(event)) = (topic, event) else {
        return publish_all(&client, file.unwrap_or_default(), json).await;
    };
    let payload = input::object("PAYLOAD", &payload)?;
    let published = match id {
        None => client.publish(&topic, &event, &payload).await?,
        Some(id) => {
            let message = Message { topic, event, payload, id: Some(id) };
            let mut published = client.publish_all(&[message]).await?;
            published.pop().ok_or(Failure::System("the server answers nothing".into()))?
        }
    };
    print(&published, json)
}

async fn publish_all(
    client: &instep_client::Client,
    file: PathBuf,
    json: bool,
) -> Result<(), Failure> {
    let content = input::file(&file, INPUT_BYTES)?;
    let objects = input::objects("messages", &content)?;
    let read = |(at, object): (usize, Value)| {
        let message = serde_json::from_value::<Message>(object);
        message.map_err(|error| Failure::Usage(format!("messages[{at}]: {error}")))
    };
    let messages: Vec<Message> =
        objects.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let mut rest = &messages[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(batch(rest));
        for published in client.publish_all(now).await? {
            print(&published, json)?;
        }
        rest = later;
    }
    Ok(())
}

/// Number of messages that one request carries; at least one.
fn batch(messages: &[Message]) -> usize {
    let mut bytes = 0;
    let fits = |message: &&Message| {
        bytes += message.payload.to_string().len() + message.topic.len() + message.event.len() + 64;
        bytes <= BYTES
    };
    messages.iter().take(MESSAGES).take_while(fits).count().max(1)
}

fn print(published: &Published, json: bool) -> Result<(), Failure> {
    let Published { subscribers, epoch, offset, replayed } = published;
    if json {
        return output::json(&serde_json::json!({
            "subscribers": subscribers, "epoch": epoch, "offset": offset, "replayed": replayed,
        }));
    }
    let place = epoch.as_ref().zip(*offset);
    let place = place.map_or(String::new(), |(epoch, offset)| format!(", at {epoch}-{offset}"));
    let before = if *replayed { " before," } else { "" };
    let subscribers = output::counted(*subscribers, "subscriber");
    output::line(&format!("published{before} to {subscribers}{place}"))
}
