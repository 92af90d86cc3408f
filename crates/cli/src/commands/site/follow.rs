//! `instep site run`: the agent of a site.

use instep_client::Error as ClientError;
use instep_sites::{Agent, AgentError, Fatal, Identity, Notice, Origin, Settings};
use serde_json::json;

use super::target::{JournalWay, Postgres, TableTarget, Target, name, targets};
use crate::access::Access;
use crate::failure::Failure;
use crate::telemetry::{self, LogFormat};
use crate::{output, running};

/// Advice behind a registration that was taken over.
const TWO_AGENTS: &str = "two agents with one id take the site from each other when both are \
                          started again: let one of them run";

/// The site, its store and its start.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Id of the site.
    #[arg(long, value_name = "ID", value_parser = name)]
    id: String,
    /// The dataset.
    #[arg(long, value_name = "NAME", env = "INSTEP_DATASET")]
    dataset: String,
    /// Store that the log is applied to: `sqlite:PATH`, `postgres://USER@HOST/DATABASE`,
    /// `command:COMMAND`, `http://HOST/PATH` or `https://HOST/PATH`.
    #[arg(long, value_name = "STORE")]
    apply: Target,
    /// Name of a table in the store, where it is another than in the dataset.
    #[arg(long, value_name = "TABLE=TARGET")]
    table: Vec<TableTarget>,
    /// Way of a journal into the store: `JOURNAL=sql` executes each record, `JOURNAL=table` makes
    /// it a row.
    #[arg(long, value_name = "JOURNAL=WAY")]
    journal: Vec<JournalWay>,
    /// Tables that the site follows; without it all.
    #[arg(long, value_name = "TABLE,…", value_delimiter = ',', value_parser = name)]
    only_tables: Option<Vec<String>>,
    /// Journals that the site follows; without it all.
    #[arg(long, value_name = "JOURNAL,…", value_delimiter = ',', value_parser = name)]
    only_journals: Option<Vec<String>>,
    /// Start of a new site; without it a dump.
    #[arg(long, value_enum)]
    start: Option<Start>,
    /// Source of a dump: `server`, or the id of a site. Given, the agent also takes one by itself
    /// when only that heals the site; a dump replaces what is in the store.
    #[arg(long, value_name = "SOURCE", value_parser = name)]
    dump_from: Option<String>,
    #[command(flatten)]
    postgres: Postgres,
    /// The server's address: as --server, and before it.
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// End when standard input does, as when the process that started the agent was killed.
    #[arg(long)]
    until_stdin_ends: bool,
    /// Form of the log on stderr.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(flatten)]
    access: Access,
}

/// Start of a new site.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Start {
    /// Behind the newest commit.
    Head,
    /// The first commit, while it is still kept.
    Beginning,
    /// A dump, of the server if no source is given.
    Dump,
}

pub(super) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { id, dataset, apply, table, journal, start, dump_from, postgres, .. } =
        arguments;
    let identity = Identity { dataset, site: id };
    if dump_from.as_ref() == Some(&identity.site) {
        return Err(Failure::Usage("--dump-from: a site gives itself no dump".into()));
    }
    let takes_dumps = apply.keeps_position();
    let begins = matches!(start, Some(Start::Head | Start::Beginning));
    if !takes_dumps && (!begins || dump_from.is_some()) {
        let text = "--apply: this store takes no dumps: --start head or --start beginning";
        return Err(Failure::Usage(text.into()));
    }
    let is_renamed = !table.is_empty() || !journal.is_empty();
    if !takes_dumps && is_renamed {
        let text = "--table, --journal: this store is told names as they are in the dataset";
        return Err(Failure::Usage(text.into()));
    }
    let store = apply.store(&identity, (targets(table, journal)?, postgres))?;
    let origin = match start {
        Some(Start::Head) => Origin::Head,
        Some(Start::Beginning) => Origin::Beginning,
        Some(Start::Dump) | None => {
            Origin::Dump(dump_from.clone().unwrap_or_else(|| "server".into()))
        }
    };
    let settings = Settings {
        identity,
        origin,
        dump_from,
        tables: arguments.only_tables,
        journals: arguments.only_journals,
    };
    let client = arguments.access.to(arguments.from).client()?;
    let stop = running::stop_signal()?;
    let end = arguments.until_stdin_ends.then(running::stdin_end).transpose()?;
    let _log = telemetry::start(arguments.log_format)?;
    // Progress that is not read keeps no site from going on.
    let print = move |notice: &Notice| drop(tell(notice, json));
    let stop = async move {
        match end {
            Some(end) => tokio::select! {
                () = stop => {}
                () = end => {}
            },
            None => stop.await,
        }
    };
    Ok(Agent::new(client, settings, store, print).run(stop).await?)
}

fn tell(notice: &Notice, json: bool) -> Result<(), Failure> {
    if json { output::json(notice) } else { output::line(&words(notice)) }
}

fn words(notice: &Notice) -> String {
    match notice {
        Notice::Registered { generation, position } => {
            format!("registered (generation {generation}), goes on behind {position}")
        }
        Notice::Restoring { dump, bytes } => format!("dump {dump}: {bytes} bytes so far"),
        Notice::Restored { position, bytes } => {
            format!("dump restored: {bytes} bytes, at {position}")
        }
        Notice::Applied { position, commits, records, drift, skipped } => {
            let mut words =
                format!("applied up to {position}: {commits} commits, {records} records");
            if *drift > 0 {
                words.push_str(&format!(", {drift} rows were not as expected"));
            }
            if *skipped > 0 {
                words.push_str(&format!(", {skipped} records were skipped"));
            }
            words
        }
        Notice::Sought { position } => format!("set to {position} by an operator"),
        Notice::Waiting { reason } => format!("waiting, trying again: {reason}"),
        Notice::Refused { position: None, reason, .. } => {
            format!("refused, trying again every 10 s: {reason}")
        }
        Notice::Refused { position: Some(position), record, reason } => {
            let at = record.map_or(String::new(), |record| format!(", record {record}"));
            format!("refused at {position}{at}, trying again every 10 s: {reason}")
        }
        Notice::Healed => "going on".into(),
        Notice::DumpRequired { reason } => format!("a dump is required and taken: {reason}"),
        Notice::Giving { dump } => format!("giving dump {dump}"),
        Notice::Given { dump, bytes } => format!("dump {dump} given: {bytes} bytes"),
        Notice::NotGiven { dump, reason } => format!("dump {dump} not given: {reason}"),
        Notice::Stopped { position } => format!("stopped at {position}"),
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let words = error.to_string();
        let refused = |code: &str| {
            let words = format!("{code}: {words}");
            Self::Refused { answer: json!({"code": code, "detail": words}), words }
        };
        match error {
            // A supervisor that starts it again would fence the other one, and so for ever.
            AgentError::Server(ClientError::Refused(problem)) if problem.code == "fenced" => {
                Self::Fenced(format!("{words}; {TWO_AGENTS}"))
            }
            AgentError::Server(error) => error.into(),
            AgentError::DumpRequired(_) => refused("dump_required"),
            AgentError::Store(fatal) => match fatal {
                Fatal::OtherSite { .. } => Self::Usage(format!("--apply: {words}")),
                Fatal::OtherHistory => refused("other_history"),
                Fatal::Fenced { .. } => Self::Fenced(format!("fenced: {words}; {TWO_AGENTS}")),
                Fatal::NeedsDump(_) => refused("dump_required"),
                Fatal::Unreadable(_) | Fatal::Unusable(_) => Self::Storage(words),
            },
        }
    }
}
