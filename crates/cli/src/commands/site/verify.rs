//! `instep site verify`: whether the tables of a site are those of the server.

use std::collections::BTreeSet;

use instep_client::Client;
use instep_sites::verification::{Table, VerifyError};
use instep_sites::{Identity, verify};
use serde_json::Value;

use super::target::{Postgres, TableTarget, Target, name, targets};
use crate::access::Access;
use crate::failure::Failure;
use crate::output;

/// Keys of a kind that are printed of each table.
const KEYS_SHOWN: usize = 10;

/// The site and its store.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Id of the site.
    #[arg(long, value_name = "ID", value_parser = name)]
    id: String,
    /// The dataset.
    #[arg(long, value_name = "NAME", env = "INSTEP_DATASET")]
    dataset: String,
    /// Store of the site: `sqlite:PATH` or `postgres://USER@HOST/DATABASE`. It is read in one
    /// snapshot, and not changed; its agent goes on.
    #[arg(long, value_name = "STORE")]
    apply: Target,
    /// Name of a table in the store, where it is another than in the dataset.
    #[arg(long, value_name = "TABLE=TARGET")]
    table: Vec<TableTarget>,
    /// Tables to compare; without it all of the dataset.
    #[arg(long, value_name = "TABLE,…", value_delimiter = ',', value_parser = name)]
    only_tables: Option<Vec<String>>,
    #[command(flatten)]
    postgres: Postgres,
    #[command(flatten)]
    access: Access,
}

pub(super) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { id, dataset, apply, table, only_tables, postgres, access } = arguments;
    let identity = Identity { dataset: dataset.clone(), site: id };
    let store = apply.store(&identity, (targets(table, vec![])?, postgres))?;
    let dumper = store.dumper().ok_or_else(|| {
        Failure::Usage("--apply: this store cannot be read: sqlite:PATH or postgres://…".into())
    })?;
    let client = access.client()?;
    let tables = match only_tables {
        Some(tables) => tables,
        None => followed(&client, &identity).await?,
    };
    let verification = verify(&client, &dataset, dumper, tables).await?;
    if json {
        output::json(&verification)?;
    } else {
        output::line(&format!("the site is at {}", verification.position))?;
        for (name, table) in &verification.tables {
            output::line(&format!("{name}: {}", words(table)))?;
        }
    }
    if verification.is_equal() {
        return Ok(());
    }
    let differ = verification.tables.iter().filter(|(_, table)| !table.is_equal());
    let names: Vec<&str> = differ.map(|(name, _)| name.as_str()).collect();
    Err(Failure::Incomplete(format!("tables differ: {}", names.join(", "))))
}

/// Tables that a site follows: those that it names, or all of the dataset.
async fn followed(client: &Client, identity: &Identity) -> Result<Vec<String>, Failure> {
    let Identity { dataset, site } = identity;
    let status = client.site(dataset, site).await?;
    let named = status.more.get("tables").and_then(Value::as_array);
    let is_followed = |name: &String| {
        let is_named = |named: &Vec<Value>| named.iter().any(|table| table == name.as_str());
        !name.starts_with("instep-") && named.is_none_or(is_named)
    };
    let tables = client.tables(dataset).await?.into_iter().map(|table| table.name);
    Ok(tables.filter(is_followed).collect())
}

fn words(table: &Table) -> String {
    if !table.compared {
        return "not compared: its rows are in columns of their own".into();
    }
    let mut words = format!("{} rows", table.rows);
    if table.changed_since > 0 {
        words.push_str(&format!(", {} of them have changed since", table.changed_since));
    }
    let kinds = [
        ("differ", &table.differs),
        ("missing at the site", &table.missing),
        ("only at the site", &table.extra),
    ];
    for (kind, keys) in kinds.iter().filter(|(_, keys)| !keys.is_empty()) {
        words.push_str(&format!("; {} {kind}: {}", keys.len(), listed(keys)));
    }
    if table.more > 0 {
        words.push_str(&format!("; {} more", table.more));
    }
    if table.is_equal() { format!("{words}, all the same") } else { words }
}

fn listed(keys: &BTreeSet<String>) -> String {
    let shown: Vec<String> = keys.iter().take(KEYS_SHOWN).map(|key| format!("{key:?}")).collect();
    let more = if keys.len() > KEYS_SHOWN { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Server(error) => error.into(),
            VerifyError::Store(error) => Self::Storage(error.to_string()),
            VerifyError::Unreadable(text) => Self::Storage(text),
        }
    }
}
