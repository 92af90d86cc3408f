//! `instep subscribe`: events as they come.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use instep_client::{Channel, ChannelError, ChannelEvent};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::access::Access;
use crate::failure::{self, Failure};
use crate::{output, running};

/// Events that wait to be printed.
const WAITING: usize = 64;

/// Join topics and print their events, until Ctrl-C.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The topics.
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Go on after this position of the topics' dataset.
    #[arg(long, value_name = "POSITION")]
    since: Option<String>,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { topics, since, access } = arguments;
    if let Some(twice) = (1..topics.len()).find(|at| topics[..*at].contains(&topics[*at])) {
        return Err(Failure::Usage(format!("TOPIC: {} is there twice", topics[twice])));
    }
    let stop = running::stop_signal()?;
    tokio::pin!(stop);
    let channels = access.channels().await?;
    let (events, mut received) = mpsc::channel(WAITING);
    let mut failed = None;
    for topic in &topics {
        let params = since.as_ref().map_or(json!({}), |since| json!({"since": since}));
        match channels.join(topic, params).await {
            Ok((reply, channel)) => {
                print(topic, ChannelEvent::Joined(reply), json)?;
                tokio::spawn(forward(channel, events.clone()));
            }
            // The other topics are none the worse for it.
            Err(ChannelError::Refused(answer)) => failed = Some(over(topic, answer, json)?),
            Err(error) => return Err(Failure::from(error).about(&format!("topic {topic}"))),
        }
    }
    drop(events);
    loop {
        let next = tokio::select! {
            next = received.recv() => next,
            () = &mut stop => None,
        };
        match next {
            Some((topic, ChannelEvent::Ended(answer))) => {
                failed = Some(over(&topic, answer, json)?)
            }
            Some((topic, event)) => print(&topic, event, json)?,
            // With the last topic so is the command, and at the latest when it is told to stop.
            None => return failed.map_or(Ok(()), Err),
        }
    }
}

/// Tells that a topic is over, and answers why as a failure.
fn over(topic: &str, answer: Value, json: bool) -> Result<Failure, Failure> {
    print(topic, ChannelEvent::Ended(answer.clone()), json)?;
    let mut answer = failure::with_code(answer);
    let words = format!("topic {topic} is over: {}", ChannelError::Refused(answer.clone()));
    answer["topic"] = topic.into();
    Ok(Failure::refused(words, answer))
}

async fn forward(mut channel: Channel, events: mpsc::Sender<(String, ChannelEvent)>) {
    while let Some(event) = channel.next().await {
        if events.send((channel.topic().to_owned(), event)).await.is_err() {
            return;
        }
    }
}

fn print(topic: &str, event: ChannelEvent, json: bool) -> Result<(), Failure> {
    if json {
        output::json(&match event {
            ChannelEvent::Event { event, payload } => {
                json!({"topic": topic, "event": event, "payload": payload})
            }
            ChannelEvent::Bytes { event, bytes } => {
                json!({"topic": topic, "event": event, "payload": in_json(&bytes)})
            }
            ChannelEvent::Unreadable { event, problem } => {
                json!({"topic": topic, "event": event, "unreadable": problem})
            }
            ChannelEvent::Joined(reply) => json!({"topic": topic, "joined": reply}),
            ChannelEvent::Lost => json!({"topic": topic, "lost": true}),
            ChannelEvent::Ended(reason) => {
                let code = failure::with_code(reason.clone())["code"].take();
                json!({"topic": topic, "ended": reason, "code": code})
            }
        })
    } else {
        output::lines(words(topic, &event).as_bytes())
    }
}

fn words(topic: &str, event: &ChannelEvent) -> String {
    let topic = &output::harmless(topic);
    match event {
        ChannelEvent::Event { event, payload } if event == "snapshot" => rows(topic, payload),
        ChannelEvent::Event { event, payload } => {
            format!("{topic}  {}  {payload}\n", output::harmless(event))
        }
        ChannelEvent::Bytes { event, bytes } => {
            format!("{topic}  {}  {}\n", output::harmless(event), in_json(bytes))
        }
        ChannelEvent::Unreadable { event, problem } => {
            let event = output::harmless(event.as_deref().unwrap_or("an event"));
            format!("{topic}  -- {event} cannot be read: {}\n", output::harmless(problem))
        }
        ChannelEvent::Joined(reply) => {
            let mode = reply["mode"].as_str().unwrap_or("unknown");
            let position = reply["position"].as_str();
            let at = position.map_or(String::new(), |position| format!(" at {position}"));
            format!("{topic}  -- joined ({mode}){at}\n{}", rows(topic, reply))
        }
        ChannelEvent::Lost => format!("{topic}  -- connection lost, joining again\n"),
        ChannelEvent::Ended(answer) => {
            format!("{topic}  -- over: {}\n", ChannelError::Refused(answer.clone()))
        }
    }
}

/// Bytes as the events of a topic over HTTP show them.
fn in_json(bytes: &[u8]) -> Value {
    json!({"base64": BASE64.encode(bytes)})
}

/// The rows that a reply or a chunk of a snapshot carries.
fn rows(topic: &str, carrier: &Value) -> String {
    let rows = carrier["rows"].as_array().into_iter().flatten();
    rows.map(|row| {
        let event = row["event"].as_str().unwrap_or("row");
        format!("{topic}  {event}  {}\n", row["payload"])
    })
    .collect()
}
