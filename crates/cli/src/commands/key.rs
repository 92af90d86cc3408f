//! `instep key`: keys for programs, in a data directory.

use std::path::PathBuf;

use clap::Subcommand;
use instep::{KeyError, KeyFile};
use serde_json::json;

use crate::failure::Failure;
use crate::output;

/// Make, list and remove keys for programs. Only their hashes are kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The data directory of the server; it need not run, and takes changes while it does.
    #[arg(long, value_name = "DIR", default_value = "data", global = true)]
    data: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key and show it, this once.
    Create {
        /// Its name: it stands in rights as `key:NAME`.
        name: String,
        /// A role of its holder; may be repeated.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
    },
    /// List the keys.
    List,
    /// Remove a key.
    Remove {
        /// Its name.
        name: String,
    },
}

pub(crate) fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { command, data } = arguments;
    if !data.is_dir() {
        return Err(Failure::Usage(format!("there is no data directory {}", data.display())));
    }
    let file = KeyFile::in_directory(&data);
    match command {
        Command::Create { name, roles } => {
            let key = file.create(&name, roles)?;
            if json { output::json(&json!({"name": name, "key": key})) } else { output::line(&key) }
        }
        Command::List => {
            let keys = file.list().map_err(KeyError::from)?;
            if json {
                let keys = keys.iter().map(|key| json!({"name": key.name, "roles": key.roles}));
                return output::json(&keys.collect::<Vec<_>>());
            }
            let rows = keys.into_iter().map(|key| vec![key.name, key.roles.join(", ")]);
            output::table(&["key", "roles"], rows, "no keys")
        }
        Command::Remove { name } => {
            file.remove(&name)?;
            if json {
                output::json(&json!({"removed": name}))
            } else {
                output::line(&format!("{name} is removed"))
            }
        }
    }
}
