//! `instep mail take`: a server's mail as lines, each confirmed once it is written.

use std::collections::BTreeSet;

use instep::model::mail::kinds::id_of_server;
use instep_client::{Channel, ChannelEvent, Seq};
use serde_json::{Value, json};

use super::MailAccess;
use crate::failure::{self, Failure};
use crate::output;

/// Messages that are written before they are confirmed together.
const TOGETHER: usize = 64;
/// Messages that are remembered as written, for when the server asks.
const REMEMBERED: usize = 100_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Take {
    /// The server, ID or server/ID.
    #[arg(id = "taker", value_name = "SERVER")]
    server: String,
    /// Messages that may be unconfirmed at a time.
    #[arg(long, default_value_t = 64)]
    credit: usize,
    #[command(flatten)]
    mail: MailAccess,
}

pub(super) async fn take(arguments: Take, json: bool) -> Result<(), Failure> {
    let Take { server, credit, mail } = arguments;
    let channels = mail.access.channels().await?;
    let params = json!({"dataset": mail.dataset, "credit": credit});
    let topic = format!("server:{}", id_of_server(&server));
    let (greeting, mut channel) = channels.join(&topic, params).await?;
    print(&json!({"registered": greeting}), json)?;
    let mut written = BTreeSet::new();
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        let first = tokio::select! {
            event = channel.next() => event,
            _ = &mut stop => return Ok(()),
        };
        let Some(mut event) = first else { return Ok(()) };
        let mut done = vec![];
        loop {
            receive(&channel, event, &mut written, &mut done, json).await?;
            if done.len() >= TOGETHER {
                break;
            }
            match tokio::time::timeout(std::time::Duration::ZERO, channel.next()).await {
                Ok(Some(next)) => event = next,
                Ok(None) | Err(_) => break,
            }
        }
        if !done.is_empty() {
            // A message that is not confirmed now is asked about, or given again.
            if let Err(error) = channel.push("ack", json!({"seqs": done})).await {
                print(&json!({"not_confirmed": done, "reason": error.to_string()}), json)?;
            }
        }
        while written.len() > REMEMBERED {
            written.pop_first();
        }
    }
}

async fn receive(
    channel: &Channel,
    event: ChannelEvent,
    written: &mut BTreeSet<Seq>,
    done: &mut Vec<Seq>,
    json: bool,
) -> Result<(), Failure> {
    match event {
        ChannelEvent::Event { event, payload } if event == "message" => {
            print(&payload, json)?;
            if let Some(seq) = payload["seq"].as_u64().map(Seq) {
                written.insert(seq);
                done.push(seq);
            }
        }
        ChannelEvent::Event { event, payload } if event == "ask" => {
            let asked: Vec<Seq> = payload["seqs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_u64)
                .map(Seq)
                .collect();
            let (have, not): (Vec<Seq>, Vec<Seq>) =
                asked.into_iter().partition(|seq| written.contains(seq));
            // An answer that is lost is asked for again.
            let _ = channel.push("answer", json!({"have": have, "not": not})).await;
        }
        ChannelEvent::Event { event, payload } => print(&json!({event: payload}), json)?,
        ChannelEvent::Bytes { event, .. } => print(&json!({"unreadable": event}), json)?,
        ChannelEvent::Unreadable { problem, .. } => print(&json!({"unreadable": problem}), json)?,
        ChannelEvent::Joined(greeting) => print(&json!({"registered": greeting}), json)?,
        ChannelEvent::Lost => print(&json!({"lost": true}), json)?,
        ChannelEvent::Ended(answer) => {
            let words = format!("the registration is over: {answer}");
            return Err(Failure::refused(words, failure::with_code(answer)));
        }
    }
    Ok(())
}

fn print(value: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(value);
    }
    match (value["seq"].as_u64(), value.as_object()) {
        (Some(seq), _) => {
            let (to, attempt) = (value["to"].as_str().unwrap_or_default(), &value["attempt"]);
            output::line(&format!("message {seq} for {to}, attempt {attempt}: {}", value["body"]))
        }
        (None, Some(fields)) => {
            fields.iter().try_for_each(|(name, value)| output::line(&format!("-- {name}: {value}")))
        }
        (None, None) => Ok(()),
    }
}
