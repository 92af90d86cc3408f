//! `instep commit`: operations that become visible together.

use std::path::PathBuf;

use instep::model::limits;
use instep_client::{Receipt, Uuid};

use crate::access::Access;
use crate::failure::Failure;
use crate::{input, output};

/// Commit operations to a dataset: all of them, or none.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The dataset.
    dataset: String,
    /// The operations: a JSON object, or a list of them, such as
    /// '{"op":"put","table":"items","key":"7","row":{"count":3}}'.
    #[arg(required_unless_present = "file")]
    ops: Option<String>,
    /// A file with the operations, '-' for stdin: a list, or one object after the other.
    #[arg(long, value_name = "FILE", conflicts_with = "ops")]
    file: Option<PathBuf>,
    /// A UUIDv7: repeating the commit with the same id takes effect at most once.
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    #[command(flatten)]
    access: Access,
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { dataset, ops, file, id, access } = arguments;
    let ops = match (ops, file) {
        (_, Some(file)) => {
            let content = input::file(&file, limits::COMMIT_BYTES)?;
            input::objects(&file.display().to_string(), &content)?
        }
        (ops, None) => input::objects("OPS", ops.unwrap_or_default().as_bytes())?,
    };
    let receipt = access.client()?.commit(&dataset, &ops, id).await?;
    print(&receipt, json)
}

/// Prints the answer to a commit.
pub(crate) fn print(receipt: &Receipt, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(receipt);
    }
    let again = if receipt.replayed { " before; this was a repetition" } else { "" };
    let mut text = format!("committed{again}\n  id        {}\n", receipt.id);
    text.push_str(&format!("  position  {}\n", receipt.position));
    if receipt.results.iter().any(Option::is_some) {
        let number = |result: &Option<i64>| result.map_or("-".to_owned(), |n| n.to_string());
        let results: Vec<String> = receipt.results.iter().map(number).collect();
        text.push_str(&format!("  results   {}\n", results.join(" ")));
    }
    output::lines(text.as_bytes())
}
