//! Servers, and taking mail without a socket.

use instep::model::mail::kinds::id_of_server;
use instep_client::{Answers, Seq};

use super::{MailAccess, age, print_outcomes};
use crate::failure::Failure;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Servers {
    /// Only the ids.
    #[arg(long)]
    ids: bool,
    #[command(flatten)]
    mail: MailAccess,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// The server, ID or server/ID.
    #[arg(id = "taker", value_name = "SERVER")]
    server: String,
    /// Go on as this registration; without it a new one takes over.
    #[arg(long)]
    registration: Option<u64>,
    /// Maximum number of messages.
    #[arg(long, default_value_t = 10)]
    max: usize,
    /// Maximum wait for the first message, in milliseconds.
    #[arg(long, default_value_t = 0)]
    wait_ms: u64,
    #[command(flatten)]
    mail: MailAccess,
}

/// Server and registration that answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Taker {
    /// The server, ID or server/ID.
    #[arg(id = "taker", value_name = "SERVER")]
    server: String,
    /// The registration that `pull` printed.
    #[arg(long)]
    registration: u64,
    #[command(flatten)]
    mail: MailAccess,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ack {
    #[command(flatten)]
    taker: Taker,
    /// The messages.
    #[arg(required = true)]
    seqs: Vec<Seq>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Nack {
    #[command(flatten)]
    taker: Taker,
    /// Delay until it is given again, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// It was tried, and failed: that counts.
    #[arg(long)]
    failed: bool,
    /// The messages.
    #[arg(required = true)]
    seqs: Vec<Seq>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reject {
    #[command(flatten)]
    taker: Taker,
    /// Reason of the rejection.
    #[arg(long)]
    reason: String,
    /// The messages.
    #[arg(required = true)]
    seqs: Vec<Seq>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Not {
    #[command(flatten)]
    taker: Taker,
    /// The messages.
    #[arg(required = true)]
    seqs: Vec<Seq>,
}

pub(super) async fn servers(arguments: Servers, json: bool) -> Result<(), Failure> {
    let Servers { ids, mail } = arguments;
    let client = mail.client()?;
    if ids {
        let servers = client.mail_servers(&mail.dataset).await?;
        return if json {
            output::json(&servers)
        } else {
            servers.iter().try_for_each(|server| output::line(server))
        };
    }
    let servers = client.mail_servers_in_detail(&mail.dataset).await?;
    if json {
        return servers.iter().try_for_each(output::json);
    }
    let rows = servers.into_iter().map(|server| {
        vec![
            server.server,
            server.pending.to_string(),
            server.oldest_ms.map_or("-".into(), age),
            if server.registered { "yes" } else { "no" }.into(),
            server.generation.to_string(),
        ]
    });
    let heading = ["SERVER", "PENDING", "OLDEST", "REGISTERED", "GENERATION"];
    output::table(&heading, rows, "no servers")
}

pub(super) async fn pull(arguments: Pull, json: bool) -> Result<(), Failure> {
    let Pull { server, registration, max, wait_ms, mail } = arguments;
    let client = mail.client()?;
    let wait = (max, wait_ms);
    let pulled = client.pull(&mail.dataset, id_of_server(&server), registration, wait).await?;
    if json {
        return output::json(&pulled);
    }
    let mut text = format!("registration {}\n", pulled.registration);
    for message in &pulled.messages {
        let (seq, to, attempt) = (message.seq, &message.to, message.attempt);
        let body = message.body.to_string();
        let (to, body) = (output::harmless(to), output::harmless(&body));
        text.push_str(&format!("message {seq} for {to}, attempt {attempt}: {body}\n"));
    }
    for seq in &pulled.ask {
        text.push_str(&format!("message {seq} was taken before: have you got it? "));
        text.push_str("`instep mail ack` is yes, `instep mail not` is no\n");
    }
    output::lines(text.as_bytes())
}

pub(super) async fn ack(arguments: Ack, json: bool) -> Result<(), Failure> {
    let Ack { taker, seqs } = arguments;
    answer(taker, Answers { ack: seqs, ..Answers::default() }, json).await
}

pub(super) async fn nack(arguments: Nack, json: bool) -> Result<(), Failure> {
    let Nack { taker, delay_ms, failed, seqs } = arguments;
    let nack = seqs.into_iter().map(|seq| instep_client::Nack { seq, delay_ms, failed }).collect();
    answer(taker, Answers { nack, ..Answers::default() }, json).await
}

pub(super) async fn reject(arguments: Reject, json: bool) -> Result<(), Failure> {
    let Reject { taker, reason, seqs } = arguments;
    let reject =
        seqs.into_iter().map(|seq| instep_client::Reject { seq, reason: reason.clone() }).collect();
    answer(taker, Answers { reject, ..Answers::default() }, json).await
}

pub(super) async fn not(arguments: Not, json: bool) -> Result<(), Failure> {
    let Not { taker, seqs } = arguments;
    answer(taker, Answers { not: seqs, ..Answers::default() }, json).await
}

async fn answer(taker: Taker, answers: Answers, json: bool) -> Result<(), Failure> {
    let Taker { server, registration, mail } = taker;
    let answers = Answers { registration, ..answers };
    let client = mail.client()?;
    let outcomes = client.answer_mail(&mail.dataset, id_of_server(&server), &answers).await?;
    print_outcomes(&outcomes, json)
}
