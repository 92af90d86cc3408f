//! `instep site`: databases elsewhere that apply the log of a dataset.

mod follow;
mod show;
mod skip;
mod target;
mod verify;

use clap::Subcommand;
use instep_client::SiteStatus;
use instep_model::position::Position;
use serde_json::json;

use crate::access::Access;
use crate::failure::Failure;
use crate::output;

/// Run the agent of a site, and look after sites.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Apply the log of a dataset to a database, until Ctrl-C.
    Run(Box<follow::Arguments>),
    /// List the sites of a dataset, and how far they are.
    List(Dataset),
    /// Show all that is known of a site: state, positions, lag, records that it leaves out.
    Show(Named),
    /// Show how far sites are: positions where they began, were sent and have confirmed, and lag.
    Lag(show::Lag),
    /// Compare the tables of a site with those of the server, where its database can be reached.
    Verify(Box<verify::Arguments>),
    /// Pause a site: it is sent nothing, and history is held for it.
    Pause(Named),
    /// Let a paused site go on.
    Resume(Named),
    /// Let a site leave out the record that it stands at, and go on behind it.
    Skip(skip::Arguments),
    /// Set the position of a site: commits behind it are applied again, those before it are not.
    Seek(Seek),
    /// Remove a site: no history is held for it, and it needs a dump to come back.
    Remove(Named),
}

/// Dataset of the sites.
#[derive(Debug, clap::Args)]
struct Dataset {
    /// The dataset.
    #[arg(long, value_name = "NAME", env = "INSTEP_DATASET")]
    dataset: String,
    #[command(flatten)]
    access: Access,
}

/// A site of a dataset.
#[derive(Debug, clap::Args)]
struct Named {
    /// Id of the site.
    id: String,
    #[command(flatten)]
    of: Dataset,
}

/// A site, and where it is to go.
#[derive(Debug, clap::Args)]
struct Seek {
    #[command(flatten)]
    named: Named,
    /// The position.
    #[arg(long, value_name = "POSITION")]
    to: Position,
    /// Reason, for the log of the server.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    match arguments.action {
        Action::Run(arguments) => follow::run(*arguments, json).await,
        Action::List(of) => list(&of, json).await,
        Action::Show(named) => show::run(&named, json).await,
        Action::Lag(arguments) => show::lag(&arguments, json).await,
        Action::Verify(arguments) => verify::run(*arguments, json).await,
        Action::Pause(named) => act(&named, Change::Pause, json).await,
        Action::Resume(named) => act(&named, Change::Resume, json).await,
        Action::Skip(arguments) => skip::run(arguments, json).await,
        Action::Seek(arguments) => seek(&arguments, json).await,
        Action::Remove(named) => act(&named, Change::Remove, json).await,
    }
}

async fn seek(arguments: &Seek, json: bool) -> Result<(), Failure> {
    let Seek { named: Named { id, of: Dataset { dataset, access } }, to, reason } = arguments;
    access.client()?.seek_site(dataset, id, (*to, reason)).await?;
    if json {
        return output::json(&json!({"site": id, "done": "sought", "to": to}));
    }
    output::line(&format!("site {id}: goes on behind {to}"))
}

async fn list(of: &Dataset, json: bool) -> Result<(), Failure> {
    let list = of.access.client()?.sites(&of.dataset).await?;
    if json {
        return output::json(&list);
    }
    let heading = ["SITE", "STATE", "ONLINE", "BEHIND", "CURSOR", "REASON"];
    output::table(&heading, list.sites.iter().map(row), "no sites")
}

fn row(site: &SiteStatus) -> Vec<String> {
    let text = |name: &str| show::word(site.more.get(name));
    vec![
        site.site.clone(),
        site.state.clone(),
        text("online"),
        text("behind_entries"),
        show::word_of(site.cursor.as_ref()),
        show::word_of(site.reason.as_ref()),
    ]
}

/// Change of a site by an operator.
#[derive(Debug, Clone, Copy)]
enum Change {
    Pause,
    Resume,
    Remove,
}

async fn act(named: &Named, change: Change, json: bool) -> Result<(), Failure> {
    let Named { id, of: Dataset { dataset, access } } = named;
    let client = access.client()?;
    let word = match change {
        Change::Pause => {
            client.pause_site(dataset, id, true).await?;
            "paused"
        }
        Change::Resume => {
            client.pause_site(dataset, id, false).await?;
            "resumed"
        }
        Change::Remove => {
            client.remove_site(dataset, id).await?;
            "removed"
        }
    };
    if json {
        output::json(&json!({"site": id, "done": word}))
    } else {
        output::line(&format!("site {id}: {word}"))
    }
}
