//! `instep mail`: messages for endpoints, and the servers that take them.

mod routes;
mod shown;
mod take;
mod taking;

use std::path::PathBuf;

use clap::Subcommand;
use instep_client::{Client, MessageQuery, MessageStatus, NewMessage, Sent, Seq};
use serde_json::{Value, json};

use crate::access::Access;
use crate::failure::Failure;
use crate::{input, output};

/// Bytes of messages that are read at most.
const INPUT_BYTES: usize = 256 * 1024 * 1024;
/// Messages sent together, and their bytes: the limits of one request.
const MESSAGES: usize = 500;
const BYTES: usize = 512 * 1024;
/// Messages of one page.
const PAGE: usize = 1_000;

/// Send, look at, move and take durable messages.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

/// Dataset of the mail, and access to its server.
#[derive(Debug, clap::Args)]
pub(crate) struct MailAccess {
    /// The dataset.
    #[arg(long, value_name = "NAME", default_value = "mail", env = "INSTEP_DATASET")]
    dataset: String,
    #[command(flatten)]
    access: Access,
}

/// One queue of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Queue {
    /// The queue.
    #[arg(long, value_name = "NAME", default_value = "mail")]
    queue: String,
    #[command(flatten)]
    mail: MailAccess,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send a message, or many from a file. Without a route nothing is stored.
    Send(Send),
    /// List messages.
    List(List),
    /// Show a message with its body.
    Show {
        /// Its number or its id.
        message: String,
        #[command(flatten)]
        queue: Queue,
    },
    /// Queue a dead letter again.
    Retry {
        /// Its number or its id.
        message: String,
        #[command(flatten)]
        queue: Queue,
    },
    /// Show the queues of a dataset with their counts, and their faults.
    Status {
        #[command(flatten)]
        mail: MailAccess,
    },
    /// Move an endpoint to a server, with its unfinished messages.
    Move(routes::Move),
    /// Route messages that have no route. The exit code is 9 if some cannot be routed.
    Backfill(routes::Backfill),
    /// Reroute an endpoint's unfinished messages, after its mapping has changed.
    Readdress(routes::Readdress),
    /// List endpoints whose messages have an outdated route.
    Audit(routes::Audit),
    /// Store messages without a route: they wait for a backfill.
    Import(routes::Import),
    /// List servers that have mail or take it.
    Servers(taking::Servers),
    /// Take the mail of a server as it comes: each message is a line, and confirmed once written.
    Take(take::Take),
    /// Take messages of a server, for programs that hold no socket.
    Pull(taking::Pull),
    /// Acknowledge pulled messages: they are done.
    Ack(taking::Ack),
    /// Put pulled messages back: they are given again later.
    Nack(taking::Nack),
    /// Reject pulled messages: they become dead letters.
    Reject(taking::Reject),
    /// Say that a message that `pull` asks about never arrived: it is given again in its place.
    Not(taking::Not),
}

#[derive(Debug, clap::Args)]
struct Send {
    /// The endpoint, KIND/ID.
    #[arg(required_unless_present = "file")]
    to: Option<String>,
    /// The body: JSON, or else it is taken as a text.
    #[arg(required_unless_present = "file")]
    body: Option<String>,
    /// Id of the message (UUID): a message with the same id is stored once.
    #[arg(long, conflicts_with = "file")]
    id: Option<String>,
    /// Priority, 0 to 9 (default 4): higher ones are given first.
    #[arg(long, conflicts_with = "file")]
    priority: Option<u8>,
    /// Time to live in milliseconds: it expires if it was not acknowledged.
    #[arg(long, value_name = "MS", conflicts_with = "file")]
    ttl_ms: Option<u64>,
    /// Earliest delivery, in milliseconds since 1970.
    #[arg(long, value_name = "MS", conflicts_with = "file")]
    not_before: Option<u64>,
    /// Send many: objects with to, body and optionally id, priority, ttl_ms, not_before;
    /// `-` reads stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "body"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    queue: Queue,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Messages for this endpoint.
    #[arg(long)]
    endpoint: Option<String>,
    /// Messages routed to this server.
    #[arg(long, value_name = "ID")]
    to_server: Option<String>,
    /// Messages in this state: pending, delayed, unrouted, dead.
    #[arg(long)]
    state: Option<String>,
    /// Minimum age of a message, in milliseconds.
    #[arg(long, value_name = "MS")]
    older_than_ms: Option<u64>,
    /// Only messages with a greater number.
    #[arg(long, value_name = "SEQ")]
    after: Option<Seq>,
    /// Maximum number of messages.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    queue: Queue,
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    match arguments.action {
        Action::Send(send) => send_mail(send, json).await,
        Action::List(list) => list_mail(list, json).await,
        Action::Show { message, queue } => {
            let Queue { queue, mail } = queue;
            let shown = mail.access.client()?.message(&mail.dataset, &queue, &message).await?;
            if json { output::json(&shown) } else { shown::message(&shown) }
        }
        Action::Retry { message, queue } => {
            let Queue { queue, mail } = queue;
            let client = mail.access.client()?;
            let retried = client.retry_message(&mail.dataset, &queue, &message).await?;
            if json {
                output::json(&retried)
            } else {
                output::line(&format!("message {message} is given again"))
            }
        }
        Action::Status { mail } => {
            let answer = mail.access.client()?.mail(&mail.dataset).await?;
            if json { output::json(&answer) } else { shown::status(&answer, &mail.dataset) }
        }
        Action::Move(arguments) => routes::move_endpoint(arguments, json).await,
        Action::Backfill(arguments) => routes::backfill(arguments, json).await,
        Action::Readdress(arguments) => routes::readdress(arguments, json).await,
        Action::Audit(arguments) => routes::audit(arguments, json).await,
        Action::Import(arguments) => routes::import(arguments, json).await,
        Action::Servers(arguments) => taking::servers(arguments, json).await,
        Action::Take(arguments) => take::take(arguments, json).await,
        Action::Pull(arguments) => taking::pull(arguments, json).await,
        Action::Ack(arguments) => taking::ack(arguments, json).await,
        Action::Nack(arguments) => taking::nack(arguments, json).await,
        Action::Reject(arguments) => taking::reject(arguments, json).await,
        Action::Not(arguments) => taking::not(arguments, json).await,
    }
}

async fn send_mail(send: Send, json: bool) -> Result<(), Failure> {
    let Send { to, body, id, priority, ttl_ms, not_before, file, queue } = send;
    let Queue { queue, mail } = queue;
    let client = mail.access.client()?;
    let letters = match (to, body) {
        (Some(to), Some(body)) => {
            let body = input::value_or_text("BODY", body)?;
            vec![NewMessage { to, body, id, priority, ttl_ms, not_before }]
        }
        _ => letters_of(&file.unwrap_or_default())?,
    };
    in_batches(&letters, async |batch| {
        let sent = client.send_mail(&mail.dataset, &queue, batch).await?;
        print_sent(&sent, json)
    })
    .await
}

/// Messages of a file: objects, one after the other or in lists.
fn letters_of(file: &std::path::Path) -> Result<Vec<NewMessage>, Failure> {
    let content = input::file(file, INPUT_BYTES)?;
    let read = |(at, object): (usize, Value)| {
        let letter = serde_json::from_value::<NewMessage>(object);
        letter.map_err(|error| Failure::Usage(format!("messages[{at}]: {error}")))
    };
    input::objects("messages", &content)?.into_iter().enumerate().map(read).collect()
}

/// Runs `work` on messages, as many at a time as one request carries.
async fn in_batches(
    letters: &[NewMessage],
    mut work: impl AsyncFnMut(&[NewMessage]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bar = output::bar(letters.len() as u64, "{spinner} {bar:30} {pos} of {len} messages");
    let mut rest = letters;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |letter: &&NewMessage| {
            bytes += letter.body.to_string().len() + letter.to.len() + 128;
            bytes <= BYTES
        };
        let count = rest.iter().take(MESSAGES).take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        work(now).await?;
        bar.inc(count as u64);
        rest = later;
    }
    bar.finish_and_clear();
    Ok(())
}

fn print_sent(sent: &[Sent], json: bool) -> Result<(), Failure> {
    sent.iter().try_for_each(|sent| match (json, &sent.server) {
        (true, _) => output::json(sent),
        (false, Some(server)) => {
            output::line(&format!("message {} ({}) for server {server}", sent.seq, sent.id))
        }
        (false, None) => {
            output::line(&format!("message {} ({}), without a route", sent.seq, sent.id))
        }
    })
}

async fn list_mail(list: List, json: bool) -> Result<(), Failure> {
    let List { endpoint, to_server, state, older_than_ms, mut after, limit, queue } = list;
    let Queue { queue, mail } = queue;
    let client = mail.access.client()?;
    let (mut shown, mut rows) = (0, Vec::new());
    while shown < limit {
        let query = MessageQuery {
            endpoint: endpoint.clone(),
            server: to_server.clone(),
            state: state.clone(),
            older_than_ms,
            after,
            limit: Some(PAGE.min(limit - shown)),
        };
        let page = client.messages(&mail.dataset, &queue, &query).await?;
        shown += page.messages.len();
        if json {
            page.messages.iter().try_for_each(output::json)?
        } else {
            rows.extend(page.messages.iter().map(row))
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if json {
        Ok(())
    } else {
        let heading = ["SEQ", "TO", "SERVER", "STATE", "ATTEMPTS", "AGE", "ID"];
        output::table(&heading, rows, "no messages")
    }
}

fn row(message: &MessageStatus) -> Vec<String> {
    let number = |name: &str| message.more.get(name).and_then(Value::as_u64).unwrap_or_default();
    vec![
        message.seq.to_string(),
        message.to.clone(),
        message.server.clone().unwrap_or_else(|| "-".into()),
        message.state.clone(),
        number("attempts").to_string(),
        age(number("age_ms")),
        message.id.clone(),
    ]
}

/// Milliseconds for people.
fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// Prints the outcomes of answers; a refused one is a failure of the command.
fn print_outcomes(outcomes: &[instep_client::Answered], json: bool) -> Result<(), Failure> {
    for answered in outcomes {
        if json {
            output::json(answered)?
        } else {
            output::line(&format!("message {}: {}", answered.seq, answered.outcome))?
        }
    }
    let refused = outcomes.iter().find(|answered| !["ok", "done"].contains(&&*answered.outcome));
    match refused {
        None => Ok(()),
        Some(answered) => Err(Failure::Refused {
            words: format!("{}: message {}", answered.outcome, answered.seq),
            answer: json!({"code": answered.outcome, "seq": answered.seq}),
        }),
    }
}

impl MailAccess {
    fn client(&self) -> Result<Client, Failure> {
        self.access.client()
    }
}
