//! `instep site skip`: a site leaves out a record that it cannot apply.

use instep_client::{SiteSkip, SiteStand};
use instep_model::position::Position;
use serde_json::json;

use super::{Dataset, Named};
use crate::failure::Failure;
use crate::output;

/// The site, and the record.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    named: Named,
    /// Reason, which is kept in the database of the site beside the record.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Position of the commit that the site must stand at; without it, where it stands now.
    #[arg(long, value_name = "POSITION")]
    position: Option<Position>,
    /// Index of the record in that commit, from 0; without it, all of the commit.
    #[arg(long, value_name = "N", requires = "position")]
    record: Option<u32>,
}

pub(super) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { named, reason, position, record } = arguments;
    let Named { id, of: Dataset { dataset, access } } = named;
    let client = access.client()?;
    let at = match position {
        Some(position) => SiteStand { position, record },
        None => client.site(&dataset, &id).await?.stands.ok_or_else(|| {
            let words = format!("site {id} stands at no record");
            let answer = json!({"code": "stands_elsewhere", "detail": words});
            Failure::Refused { answer, words }
        })?,
    };
    let skip = SiteSkip { at, reason };
    client.skip_record(&dataset, &id, &skip).await?;
    if json {
        return output::json(&json!({"site": id, "done": "skipped", "at": at}));
    }
    let SiteStand { position, record } = at;
    let record = record.map_or_else(|| "all of".to_owned(), |record| format!("record {record} of"));
    output::line(&format!("site {id}: {record} the commit {position} is left out"))
}
