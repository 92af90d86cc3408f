//! Databases of sites, read as any program would: the position, and the shop's rows.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use instep::model::position::Position;
use instep::model::state::State;
use instep_shop::domain::tables::{AVAILABILITY, ORDERS};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use serde_json::Value;

/// Wait for an agent that has its database locked.
const LOCK_WAIT: Duration = Duration::from_millis(100);

/// The shop's rows, counted, in the server's memory or in a site's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Rows {
    /// Pairs in stock.
    pairs: i64,
    /// Orders.
    orders: u64,
    /// Digest of the keys and values of the stock.
    digest: String,
}

impl Rows {
    /// The rows in the server's memory.
    pub(super) fn of_server(state: &State) -> Self {
        let rows = |table: &str| state.tables.get(table).map(|table| &table.rows);
        let stock = rows(AVAILABILITY).into_iter().flatten();
        let stock = stock.map(|(key, stored)| (key.as_str().to_owned(), stored.row.as_bytes()));
        let orders = rows(ORDERS).map_or(0, |rows| rows.len());
        Self::new(stock, u64::try_from(orders).unwrap_or(u64::MAX))
    }

    fn new(stock: impl Iterator<Item = (String, impl AsRef<[u8]>)>, orders: u64) -> Self {
        let mut digest = DefaultHasher::new();
        let mut pairs = 0;
        for (key, row) in stock {
            // Parsed, so that the order of fields makes no difference.
            let row: Value = serde_json::from_slice(row.as_ref()).unwrap_or_default();
            pairs += row["count"].as_i64().unwrap_or_default();
            (key, row.to_string()).hash(&mut digest);
        }
        Self { pairs, orders, digest: format!("{:016x}", digest.finish()) }
    }
}

/// Reads a database at one moment: its position, and its rows. None while there is no database,
/// or it is not filled yet.
pub(super) fn read(file: &Path) -> Option<(Position, Rows)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file, flags).ok()?;
    connection.busy_timeout(LOCK_WAIT).ok()?;
    let moment = connection.transaction().ok()?;
    let applied = "SELECT position FROM instep_site WHERE state = 'applied'";
    let position: String = moment.query_row(applied, [], |row| row.get(0)).ok()?;
    let orders = format!("SELECT count(*) FROM {ORDERS}");
    let orders: i64 = moment.query_row(&orders, [], |row| row.get(0)).ok()?;
    let stock = format!("SELECT key, row FROM {AVAILABILITY} ORDER BY key");
    let mut stock = moment.prepare(&stock).ok()?;
    let stock = stock.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
    let stock: Vec<(String, String)> = stock.ok()?.collect::<Result<_, _>>().ok()?;
    let rows = Rows::new(stock.into_iter(), u64::try_from(orders).unwrap_or_default());
    Some((position.parse().ok()?, rows))
}

/// Bytes of the files of a database: also of one that a restore fills.
pub(super) fn bytes(file: &Path) -> u64 {
    let files = file.parent().and_then(|directory| directory.read_dir().ok());
    let sizes = files.into_iter().flatten().flatten().filter_map(|file| file.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_values_and_not_of_their_order_in_a_row() {
        let rows = |row: &str| Rows::new([("101".to_owned(), row.to_owned())].into_iter(), 0);

        let one = rows(r#"{"item_id":101,"count":5}"#);

        assert_eq!(one, rows(r#"{"count":5,"item_id":101}"#));
        assert_ne!(one.digest, rows(r#"{"count":4,"item_id":101}"#).digest);
        assert_eq!(one.pairs, 5);
    }
}
