//! Routes of mail: moves, backfill, and audit of stale routes.

use std::path::PathBuf;

use instep_client::{Backfilled, Stale};
use serde_json::json;

use super::{MailAccess, Queue, in_batches, letters_of};
use crate::failure::Failure;
use crate::output::{self, counted};

#[derive(Debug, clap::Args)]
pub(crate) struct Move {
    /// The endpoint, KIND/ID.
    endpoint: String,
    /// The server, ID or server/ID.
    #[arg(long, value_name = "SERVER")]
    to: String,
    /// Refuse unless the route has this generation.
    #[arg(long, value_name = "GENERATION")]
    if_generation: Option<u64>,
    #[command(flatten)]
    mail: MailAccess,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Backfill {
    #[command(flatten)]
    queue: Queue,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    /// Correct the outdated routes.
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    mail: MailAccess,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Readdress {
    /// The endpoint.
    endpoint: String,
    #[command(flatten)]
    mail: MailAccess,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Objects with to, body and optionally id, priority, ttl_ms, not_before; `-` reads stdin.
    file: PathBuf,
    #[command(flatten)]
    queue: Queue,
}

pub(super) async fn move_endpoint(arguments: Move, json: bool) -> Result<(), Failure> {
    let Move { endpoint, to, if_generation, mail } = arguments;
    let client = mail.client()?;
    let moved = client.move_endpoint(&mail.dataset, &endpoint, &to, if_generation).await?;
    if json {
        output::json(&moved)
    } else {
        let from = moved.from.map_or(String::new(), |from| format!(" from server {from}"));
        let (endpoint, to, generation) = (moved.endpoint, moved.to, moved.generation);
        output::line(&format!("{endpoint} moved{from} to server {to}, generation {generation}"))
    }
}

pub(super) async fn readdress(arguments: Readdress, json: bool) -> Result<(), Failure> {
    let Readdress { endpoint, mail } = arguments;
    let done = mail.client()?.readdress(&mail.dataset, &endpoint).await?;
    if json {
        output::json(&done)
    } else {
        let (endpoint, to) = (done.endpoint, done.to.unwrap_or_default());
        output::line(&format!("unfinished messages of {endpoint} go to server {to}"))
    }
}

pub(super) async fn backfill(arguments: Backfill, json: bool) -> Result<(), Failure> {
    let Queue { queue, mail } = arguments.queue;
    let client = mail.client()?;
    let bar = output::bar(0, "{spinner} {pos} messages have a route");
    let (mut after, mut routed, mut failed) = (None, 0, Vec::new());
    loop {
        let turn: Backfilled = client.backfill(&mail.dataset, &queue, after).await?;
        routed += turn.routed;
        bar.inc(turn.routed);
        failed.extend(turn.failed);
        after = turn.next;
        if after.is_none() {
            break;
        }
    }
    bar.finish_and_clear();
    if json {
        output::json(&json!({"routed": routed, "failed": failed}))?
    } else {
        for message in &failed {
            let (seq, to, reason) = (message.seq, &message.to, &message.reason);
            output::line(&format!("message {seq} for {to}: {reason}"))?;
        }
        let routed = counted(routed, "message");
        output::line(&format!("{routed} routed, {} without a route", failed.len()))?;
    }
    match failed.len() {
        0 => Ok(()),
        left => {
            let left = counted(left as u64, "message");
            Err(Failure::Incomplete(format!("{left} without a route")))
        }
    }
}

pub(super) async fn audit(arguments: Audit, json: bool) -> Result<(), Failure> {
    let Audit { repair, mail } = arguments;
    let client = mail.client()?;
    let stale = client.audit_mail(&mail.dataset).await?;
    for one in &stale {
        let Stale { endpoint, stored, mapped, messages, way } = one;
        let moves = way.as_deref() == Some("move");
        if json {
            output::json(one)?
        } else {
            let word = |server: &Option<String>| match server {
                Some(server) => format!("server {server}"),
                None => "nowhere".into(),
            };
            let hint = match mapped {
                Some(mapped) if !repair && moves => {
                    format!(": instep mail move {endpoint} --to server/{mapped}")
                }
                Some(_) if !repair => format!(": instep mail readdress {endpoint}"),
                _ => String::new(),
            };
            let (stored, mapped) = (word(stored), word(mapped));
            let messages = counted(*messages, "message");
            output::line(&format!(
                "{endpoint}: {messages} for {stored}, its route says {mapped}{hint}"
            ))?;
        }
        match mapped {
            Some(mapped) if repair && moves => {
                client.move_endpoint(&mail.dataset, endpoint, mapped, None).await?;
            }
            Some(_) if repair => {
                client.readdress(&mail.dataset, endpoint).await?;
            }
            Some(_) | None => {}
        }
    }
    match (stale.iter().filter(|stale| !repair || stale.mapped.is_none()).count(), json) {
        (0, true) => Ok(()),
        (0, false) => output::line("every message is routed where its endpoint's route says"),
        (left, _) => {
            let left = counted(left as u64, "endpoint");
            Err(Failure::Incomplete(format!("{left} out of date")))
        }
    }
}

pub(super) async fn import(arguments: Import, json: bool) -> Result<(), Failure> {
    let Import { file, queue } = arguments;
    let Queue { queue, mail } = queue;
    let client = mail.client()?;
    let letters = letters_of(&file)?;
    let mut stored = 0;
    in_batches(&letters, async |batch| {
        stored += client.import_mail(&mail.dataset, &queue, batch).await?.len();
        Ok(())
    })
    .await?;
    if json {
        output::json(&json!({"stored": stored}))
    } else {
        let stored = counted(stored as u64, "message");
        output::line(&format!("{stored} stored; now: instep mail backfill"))
    }
}
