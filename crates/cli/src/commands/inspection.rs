//! `instep connections`, `topics` and `sessions`: activity of a running server.

use std::time::Duration;

use instep_client::{Client, ConnectionStatus, TopicStatus};

use crate::access::Access;
use crate::failure::Failure;
use crate::output;

/// Interval of `--watch`.
const EVERY: Duration = Duration::from_secs(2);

/// Show connections, the furthest behind first.
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectionsArguments {
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    access: Access,
}

/// Show joined topics, in descending order of subscribers.
#[derive(Debug, clap::Args)]
pub(crate) struct TopicsArguments {
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    access: Access,
}

/// Show a connection with all that it has joined; without an id, all connections.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionsArguments {
    /// The id of a connection, or the token of a long-poll session.
    id: Option<String>,
    #[command(flatten)]
    look: Look,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
struct Look {
    /// Maximum number of results.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    top: u16,
    /// Look again every 2 seconds, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn connections(
    arguments: ConnectionsArguments,
    json: bool,
) -> Result<(), Failure> {
    let client = arguments.access.client()?;
    let top = arguments.look.top.into();
    arguments.look.repeat(async || show_connections(&client, top, json).await).await
}

pub(crate) async fn topics(arguments: TopicsArguments, json: bool) -> Result<(), Failure> {
    let client = arguments.access.client()?;
    let top = arguments.look.top.into();
    arguments.look.repeat(async || show_topics(&client, top, json).await).await
}

pub(crate) async fn sessions(arguments: SessionsArguments, json: bool) -> Result<(), Failure> {
    let SessionsArguments { id, look, access } = arguments;
    let client = access.client()?;
    let top = look.top.into();
    match id {
        Some(id) => look.repeat(async || show(&client.session(&id).await?, json)).await,
        None => look.repeat(async || show_connections(&client, top, json).await).await,
    }
}

impl Look {
    async fn repeat(&self, look: impl AsyncFn() -> Result<(), Failure>) -> Result<(), Failure> {
        loop {
            look().await?;
            if !self.watch {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
        }
    }
}

async fn show_connections(client: &Client, top: usize, json: bool) -> Result<(), Failure> {
    let all = client.connections(top).await?;
    if json {
        return output::json(&all);
    }
    let rows = all.connections.iter().map(|one| {
        vec![
            one.id.clone(),
            one.door.clone(),
            one.peer.clone().unwrap_or_default(),
            one.principal.clone(),
            age(one.age_ms),
            one.topics.len().to_string(),
            one.lag_frames.to_string(),
            output::bytes(one.waiting_bytes),
            one.user_agent.clone().unwrap_or_default(),
        ]
    });
    let heading =
        ["ID", "DOOR", "PEER", "PRINCIPAL", "AGE", "TOPICS", "BEHIND", "WAITING", "AGENT"];
    output::table(&heading, rows, "no connections")?;
    rest(all.connections.len(), all.count)
}

async fn show_topics(client: &Client, top: usize, json: bool) -> Result<(), Failure> {
    let all = client.topics(top).await?;
    if json {
        return output::json(&all);
    }
    let rows = all.topics.iter().map(|one: &TopicStatus| {
        let size = output::bytes(one.bytes);
        vec![one.topic.clone(), one.subscribers.to_string(), one.frames.to_string(), size]
    });
    output::table(&["TOPIC", "SUBSCRIBERS", "FRAMES", "SIZE"], rows, "no topic is joined")?;
    rest(all.topics.len(), all.count)
}

fn show(one: &ConnectionStatus, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(one);
    }
    let blocked = one.blocked_ms.map(|ms| format!(", blocked for {}", age(ms)));
    let mut text = format!(
        "{}  {} from {}\n  principal  {}\n  agent      {}\n  there for  {}\n  \
         waiting    {}{}\n",
        one.id,
        one.door,
        one.peer.as_deref().unwrap_or("?"),
        output::harmless(&one.principal),
        output::harmless(one.user_agent.as_deref().unwrap_or("?")),
        age(one.age_ms),
        output::bytes(one.waiting_bytes),
        blocked.unwrap_or_default(),
    );
    for joined in &one.topics {
        let (topic, behind) = (output::harmless(&joined.topic), joined.lag_frames);
        let behind = output::counted(behind, "frame");
        text.push_str(&format!("  {topic}  {behind} behind\n"));
    }
    output::lines(text.as_bytes())
}

fn rest(shown: usize, count: u64) -> Result<(), Failure> {
    match count.saturating_sub(shown as u64) {
        0 => Ok(()),
        more => output::line(&format!("and {more} more")),
    }
}

fn age(ms: u64) -> String {
    indicatif::HumanDuration(Duration::from_millis(ms)).to_string()
}
