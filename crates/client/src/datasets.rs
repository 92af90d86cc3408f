//! Administration of datasets, tables and journals.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;
use crate::http::Client;

/// A dataset and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetStatus {
    /// Its name.
    pub name: String,
    /// `ready`, `stopped` when it takes no commits any more, `unopened` or `damaged` when it is
    /// there and not open.
    pub state: String,
    /// Reason why it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Complete up to here; none while it is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The oldest entry of the log that can be read.
    pub log_floor: u64,
    /// The newest entry of the log.
    pub log_head: u64,
    /// Commits made durable since the start.
    pub commits: u64,
    /// Commits refused since the start.
    pub refusals: u64,
    /// Group commits since the start.
    pub entries: u64,
    /// Snapshots written since the start.
    pub snapshots: u64,
    /// Rows that views could not show because an expression failed on them, since the start.
    pub view_errors: u64,
    /// Its tables.
    pub tables: Vec<TableStatus>,
    /// Its journals.
    pub journals: BTreeMap<String, JournalStatus>,
}

/// A journal, and which of its records can still be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// Number of the newest record: as many were appended so far.
    pub last: u64,
    /// The number of the oldest record that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_kept: Option<u64>,
    /// Records kept; none when the server cannot say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<u64>,
}

/// A view, and the rows that it could not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewStatus {
    /// Its name.
    pub name: String,
    /// The table whose rows it shows.
    pub table: String,
    /// The topics that it shows them on.
    pub topic: String,
    /// The event by which it announces them.
    pub event: String,
    /// Rows written since the start that are hidden because an expression of the view failed on
    /// them.
    pub errors: u64,
    /// The newest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_error: Option<ViewFailure>,
}

/// A row on which an expression of a view failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewFailure {
    /// The row's key.
    pub key: String,
    /// The expression, and what happened.
    pub error: String,
}

/// A table and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// Its name.
    pub name: String,
    /// Readable without any right.
    pub public: bool,
    /// Rows.
    pub rows: u64,
    /// Bytes of keys and rows.
    pub bytes: u64,
}

impl Client {
    /// Lists the datasets.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn datasets(&self) -> Result<Vec<DatasetStatus>, Error> {
        self.request(Method::GET, &["v1", "datasets"], None).await
    }

    /// Shows a dataset.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_dataset` …
    pub async fn dataset(&self, name: &str) -> Result<DatasetStatus, Error> {
        self.request(Method::GET, &["v1", "datasets", name], None).await
    }

    /// Creates a dataset; no error when it exists.
    ///
    /// # Errors
    /// [`Error::Refused`] with `bad_name` …
    pub async fn create_dataset(&self, name: &str) -> Result<DatasetStatus, Error> {
        self.request(Method::PUT, &["v1", "datasets", name], None).await
    }

    /// Removes a dataset with everything in it.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_dataset` …
    pub async fn remove_dataset(&self, name: &str) -> Result<(), Error> {
        self.request(Method::DELETE, &["v1", "datasets", name], None).await
    }

    /// Lists the views of a dataset, with the rows that they could not show.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_dataset` …
    pub async fn views(&self, dataset: &str) -> Result<Vec<ViewStatus>, Error> {
        self.request(Method::GET, &["v1", "datasets", dataset, "views"], None).await
    }

    /// Lists the tables of a dataset.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_dataset` …
    pub async fn tables(&self, dataset: &str) -> Result<Vec<TableStatus>, Error> {
        self.request(Method::GET, &["v1", "datasets", dataset, "tables"], None).await
    }

    /// Shows a table.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_table` …
    pub async fn table(&self, dataset: &str, table: &str) -> Result<TableStatus, Error> {
        self.request(Method::GET, &["v1", "datasets", dataset, "tables", table], None).await
    }

    /// Creates a table, or sets whether an existing one is public.
    ///
    /// # Errors
    /// [`Error::Refused`] with `bad_name`, `too_many_tables` …
    pub async fn create_table(
        &self,
        dataset: &str,
        table: &str,
        public: bool,
    ) -> Result<TableStatus, Error> {
        let path = ["v1", "datasets", dataset, "tables", table];
        self.request(Method::PUT, &path, Some(&json!({"public": public}))).await
    }

    /// Removes a table with all its rows.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_table` …
    pub async fn drop_table(&self, dataset: &str, table: &str) -> Result<(), Error> {
        self.request(Method::DELETE, &["v1", "datasets", dataset, "tables", table], None).await
    }

    /// Creates a journal; no error when it exists.
    ///
    /// # Errors
    /// [`Error::Refused`] with `bad_name` …
    pub async fn create_journal(&self, dataset: &str, journal: &str) -> Result<(), Error> {
        let path = ["v1", "datasets", dataset, "journals", journal];
        self.request::<Value>(Method::PUT, &path, None).await.map(drop)
    }
}
