//! `instep subscribe`: events as they come.

use instep_client::{Channel, ChannelError, Happening};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::access::Access;
use crate::failure::Failure;
use crate::{output, running};

/// Events that wait to be printed.
const WAITING: usize = 64;

/// Join topics and print what happens on them, until Ctrl-C.
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
    let stop = running::stop_signal()?;
    tokio::pin!(stop);
    let channels = access.channels().await?;
    let (happenings, mut happened) = mpsc::channel(WAITING);
    let mut open = topics.len();
    for topic in &topics {
        let params = since.as_ref().map_or(json!({}), |since| json!({"since": since}));
        let (reply, channel) = match channels.join(topic, params).await {
            // The other topics are none the worse for it.
            Err(ChannelError::Refused(answer)) => {
                open -= 1;
                over(topic, answer, open, json)?;
                continue;
            }
            joined => joined?,
        };
        print(topic, Happening::Joined(reply), json)?;
        tokio::spawn(forward(channel, happenings.clone()));
    }
    drop(happenings);
    loop {
        let (topic, happening) = tokio::select! {
            happened = happened.recv() => match happened {
                Some(happened) => happened,
                None => return Ok(()),
            },
            () = &mut stop => return Ok(()),
        };
        match happening {
            Happening::Ended(answer) => {
                open -= 1;
                over(&topic, answer, open, json)?;
            }
            happening @ (Happening::Event { .. } | Happening::Lost | Happening::Joined(_)) => {
                print(&topic, happening, json)?;
            }
        }
    }
}

/// Tells that a topic is over. With the last one so is the command.
fn over(topic: &str, answer: Value, open: usize, json: bool) -> Result<(), Failure> {
    print(topic, Happening::Ended(answer.clone()), json)?;
    if open > 0 {
        return Ok(());
    }
    let words = format!("topic {topic} is over: {}", ChannelError::Refused(answer.clone()));
    let mut answer = answer;
    if let Value::Object(fields) = &mut answer {
        let code = fields.get("code").or_else(|| fields.get("reason")).cloned();
        let code = code.as_ref().and_then(Value::as_str).unwrap_or("refused").replace(' ', "_");
        fields.insert("code".into(), code.into());
        fields.insert("topic".into(), topic.into());
    }
    Err(Failure::Refused { words, answer })
}

async fn forward(mut channel: Channel, happenings: mpsc::Sender<(String, Happening)>) {
    while let Some(happening) = channel.next().await {
        if happenings.send((channel.topic().to_owned(), happening)).await.is_err() {
            return;
        }
    }
}

fn print(topic: &str, happening: Happening, json: bool) -> Result<(), Failure> {
    match json {
        true => output::json(&match happening {
            Happening::Event { event, payload } => {
                json!({"topic": topic, "event": event, "payload": payload})
            }
            Happening::Joined(reply) => json!({"topic": topic, "joined": reply}),
            Happening::Lost => json!({"topic": topic, "lost": true}),
            Happening::Ended(reason) => json!({"topic": topic, "ended": reason}),
        }),
        false => output::lines(words(topic, &happening).as_bytes()),
    }
}

fn words(topic: &str, happening: &Happening) -> String {
    let topic = &output::harmless(topic);
    match happening {
        Happening::Event { event, payload } if event == "snapshot" => rows(topic, payload),
        Happening::Event { event, payload } => {
            format!("{topic}  {}  {payload}\n", output::harmless(event))
        }
        Happening::Joined(reply) => {
            let mode = reply["mode"].as_str().unwrap_or("unknown");
            let position = reply["position"].as_str();
            let at = position.map_or(String::new(), |position| format!(" at {position}"));
            format!("{topic}  -- joined ({mode}){at}\n{}", rows(topic, reply))
        }
        Happening::Lost => format!("{topic}  -- connection lost, joining again\n"),
        Happening::Ended(answer) => {
            format!("{topic}  -- over: {}\n", ChannelError::Refused(answer.clone()))
        }
    }
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
