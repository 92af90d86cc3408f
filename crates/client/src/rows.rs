//! Rows: one, a page, a whole table.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::http::Client;
use crate::lines::Lines;

/// A row with its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyedRow {
    /// The key.
    pub key: String,
    /// The row.
    pub row: Value,
}

/// A row as it is at a position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowAt {
    /// The row is read as it is here.
    pub position: String,
    /// The key.
    pub key: String,
    /// The row.
    pub row: Value,
}

/// Filter and page of a table's rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// Keys after this one.
    pub after: Option<String>,
    /// Keys that begin with this.
    pub prefix: Option<String>,
    /// Rows on the page.
    pub limit: Option<usize>,
    /// Minimum freshness: the page is read at this position, or a later one.
    pub at_least: Option<String>,
}

/// A page of rows in key order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The table is read as it is here.
    pub position: String,
    /// The rows.
    pub rows: Vec<KeyedRow>,
    /// Pass it as `after` for the next page; none on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A whole table at one position, as it arrives.
#[derive(Debug)]
pub struct Snapshot {
    /// The table is read as it is here.
    pub position: String,
    /// Rows of the table.
    pub rows: u64,
    lines: Lines,
    address: String,
}

#[derive(Deserialize)]
struct Head {
    position: String,
    rows: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Row(KeyedRow),
    Bookmark {
        #[serde(rename = "bookmark")]
        _position: String,
    },
}

impl Client {
    /// Reads one row.
    ///
    /// # Errors
    /// [`Error::Refused`] with `row_not_found`, `unknown_table` …
    pub async fn row(&self, dataset: &str, table: &str, key: &str) -> Result<RowAt, Error> {
        // An address cannot hold these keys. They are the first of their prefix, if they exist.
        if [".", ".."].contains(&key) {
            let query =
                PageQuery { prefix: Some(key.into()), limit: Some(1), ..PageQuery::default() };
            let Page { position, mut rows, .. } = self.page(dataset, table, &query).await?;
            let found = rows.pop().filter(|found| found.key == key);
            let missing = || crate::error::Problem {
                r#type: String::new(),
                title: "Not Found".into(),
                status: 404,
                code: "row_not_found".into(),
                detail: format!("there is no row {key:?} in table {table:?}"),
            };
            let KeyedRow { key, row } = found.ok_or_else(|| Error::Refused(Box::new(missing())))?;
            return Ok(RowAt { position, key, row });
        }
        let path = ["v1", "datasets", dataset, "tables", table, "rows", key];
        self.request(Method::GET, &path, None).await
    }

    /// A page of rows in key order.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_table`, `bad_query` …
    pub async fn page(&self, dataset: &str, table: &str, query: &PageQuery) -> Result<Page, Error> {
        let mut url = self.url(&["v1", "datasets", dataset, "tables", table, "rows"])?;
        let limit = query.limit.map(|limit| limit.to_string());
        let pairs = [
            ("after", &query.after),
            ("prefix", &query.prefix),
            ("limit", &limit),
            ("at_least", &query.at_least),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        self.read(self.send(Method::GET, url, None).await?).await
    }

    /// A whole table at one position, row by row as it arrives.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unknown_table` …
    pub async fn snapshot(&self, dataset: &str, table: &str) -> Result<Snapshot, Error> {
        let url = self.url(&["v1", "datasets", dataset, "tables", table, "snapshot"])?;
        let mut lines = Lines::new(self.send(Method::GET, url, None).await?, self.base_url());
        let missing = || self.unexpected("the snapshot is empty".into());
        let Head { position, rows } = lines.next().await?.ok_or_else(missing)?;
        Ok(Snapshot { position, rows, lines, address: self.base_url().to_owned() })
    }
}

impl Snapshot {
    /// The next row; none when the table is complete.
    ///
    /// # Errors
    /// [`Error::Lost`] when the answer ends before the table is complete.
    pub async fn next(&mut self) -> Result<Option<KeyedRow>, Error> {
        match self.lines.next::<Line>().await? {
            Some(Line::Row(row)) => Ok(Some(row)),
            Some(Line::Bookmark { .. }) => Ok(None),
            None => Err(Error::Lost {
                address: self.address.clone(),
                reason: "the snapshot ended before its last line".into(),
            }),
        }
    }
}
