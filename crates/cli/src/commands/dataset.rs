//! `instep dataset`: datasets of the server.

use clap::Subcommand;
use instep_client::{DatasetStatus, JournalStatus, ViewStatus};
use serde_json::json;

use crate::access::Access;
use crate::failure::Failure;
use crate::output;

/// List, create, show and remove datasets.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the datasets.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Create a dataset; no error when it exists.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        access: Access,
    },
    /// Show a dataset, its tables and its journals.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        access: Access,
    },
    /// List the views of a dataset, with the rows that they cannot show.
    Views {
        /// Its name.
        name: String,
        #[command(flatten)]
        access: Access,
    },
    /// Remove a dataset with everything in it. There is no way back.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        access: Access,
    },
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    match arguments.action {
        Action::List { access } => list(&access.client()?.datasets().await?, json),
        Action::Create { name, access } => {
            show(&access.client()?.create_dataset(&name).await?, json)
        }
        Action::Show { name, access } => show(&access.client()?.dataset(&name).await?, json),
        Action::Views { name, access } => views(&access.client()?.views(&name).await?, json),
        Action::Remove { name, access } => {
            access.client()?.remove_dataset(&name).await?;
            if json {
                output::json(&json!({"removed": name}))
            } else {
                output::line(&format!("dataset {name} removed"))
            }
        }
    }
}

fn list(datasets: &[DatasetStatus], json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&datasets);
    }
    let rows = datasets.iter().map(|dataset| {
        let rows: u64 = dataset.tables.iter().map(|table| table.rows).sum();
        let bytes: u64 = dataset.tables.iter().map(|table| table.bytes).sum();
        vec![
            dataset.name.clone(),
            dataset.state.clone(),
            dataset.tables.len().to_string(),
            rows.to_string(),
            output::bytes(bytes),
            dataset.log_head.to_string(),
        ]
    });
    let heading = ["DATASET", "STATE", "TABLES", "ROWS", "SIZE", "ENTRIES"];
    output::table(&heading, rows, "no datasets")
}

fn views(views: &[ViewStatus], json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&views);
    }
    let rows = views.iter().map(|view| {
        let newest = view.newest_error.as_ref();
        let newest = newest.map(|newest| format!("row {:?}: {}", newest.key, newest.error));
        vec![
            view.name.clone(),
            view.table.clone(),
            view.topic.clone(),
            view.event.clone(),
            view.errors.to_string(),
            newest.unwrap_or_default(),
        ]
    });
    let heading = ["VIEW", "TABLE", "TOPIC", "EVENT", "ERRORS", "NEWEST"];
    output::table(&heading, rows, "no views")
}

fn show(dataset: &DatasetStatus, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(dataset);
    }
    let DatasetStatus { name, state, position, log_floor, log_head, .. } = dataset;
    let mut text = format!("{name}  {state}\n");
    if let Some(reason) = &dataset.reason {
        text.push_str(&format!("  reason     {reason}\n"));
    }
    let Some(position) = position else { return output::lines(text.as_bytes()) };
    text.push_str(&format!(
        "  position   {position}\n  log        entries {log_floor} to {log_head}\n  \
         commits    {} since the start, {} refused, in {} flushes\n",
        dataset.commits, dataset.refusals, dataset.entries
    ));
    for table in &dataset.tables {
        let public = if table.public { ", public" } else { "" };
        let size = output::bytes(table.bytes);
        text.push_str(&format!(
            "  table      {}: {}, {size}{public}\n",
            table.name,
            output::counted(table.rows, "row")
        ));
    }
    if dataset.view_errors > 0 {
        text.push_str(&format!(
            "  views      hide {} rows on which their expressions failed: instep dataset views \
             {name}\n",
            dataset.view_errors
        ));
    }
    for (journal, JournalStatus { last, first_kept, kept }) in &dataset.journals {
        let kept = match (first_kept, kept) {
            (Some(first), Some(kept)) => format!("{kept} kept, the oldest is number {first}"),
            (None, Some(_)) => "none kept".to_owned(),
            (_, None) => "the log cannot be read".to_owned(),
        };
        text.push_str(&format!("  journal    {journal}: {last} records appended, {kept}\n"));
    }
    output::lines(text.as_bytes())
}
