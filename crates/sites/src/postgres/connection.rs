//! Connection of the agent: its settings, the lock that it holds, its transactions.

use instep_model::position::Position;
use tokio_postgres::config::Config;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, NoTls, Socket};

use super::failure::{connect_failure, failure};
use super::position;
use super::schema::Schema;
use super::tls::{self, Authorities};
use crate::limits::{CONNECT_TIMEOUT, LOCK_WAIT, SILENCE};
use crate::ordinals::Ordinals;
use crate::site_row::SiteRow;
use crate::store::{Fatal, Identity, StoreError};

/// Key of the advisory lock that an agent holds: "instep" in ASCII. Each database has its own.
pub(super) const LOCK: i64 = 0x0000_696e_7374_6570;

/// An open connection, and what it knows by now.
pub(super) struct Open {
    pub(super) client: Client,
    pub(super) position: Option<Position>,
    /// Last ordinals of journals.
    pub(super) ordinals: Ordinals,
    pub(super) schema: Schema,
}

/// A database, and the authorities that vouch for it.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pub(super) config: Config,
    pub(super) authorities: Authorities,
}

/// Settings of the connection.
pub(super) fn config(url: &str, identity: &Identity) -> Result<Config, Fatal> {
    let mut config = tls::address(url)?;
    config.application_name(format!("instep site {}", identity.site));
    config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(SILENCE).keepalives_idle(SILENCE / 2);
    // As options, so that these are what a record's settings are reset to.
    let options = config.get_options().unwrap_or_default();
    let lock_ms = LOCK_WAIT.as_millis();
    config.options(format!("{options} -c lock_timeout={lock_ms} -c client_min_messages=warning"));
    Ok(config)
}

/// Connects.
pub(super) async fn connect(database: &Database) -> Result<Client, StoreError> {
    // As a whole: a peer that takes connections and says nothing may be no database at all.
    let connecting = tokio::time::timeout(2 * CONNECT_TIMEOUT, async {
        if tls::is_encrypted(&database.config) {
            connect_by(&database.config, database.authorities.connector()?).await
        } else {
            connect_by(&database.config, NoTls).await
        }
    });
    let silent = |_| StoreError::Passing("the database does not answer".into());
    connecting.await.map_err(silent)?
}

async fn connect_by<T>(config: &Config, tls: T) -> Result<Client, StoreError>
where
    T: MakeTlsConnect<Socket, Stream: Send + 'static>,
{
    let connected = config.connect(tls).await;
    let (client, connection) = connected.map_err(|error| connect_failure(&error))?;
    // The error of a broken connection is seen by the request that waits for an answer on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

impl Open {
    /// Connects, and reads the row of the site.
    pub(super) async fn connect(
        database: &Database,
        identity: &Identity,
    ) -> Result<(Self, SiteRow), StoreError> {
        let client = connect(database).await?;
        let told = |error| failure("the database", &error);
        let writable = "SELECT current_setting('transaction_read_only') = 'off'";
        let is_writable: bool = client.query_one(writable, &[]).await.map_err(told)?.get(0);
        if !is_writable {
            return Err(StoreError::Passing("the database is read only, as a standby is".into()));
        }
        position::make(&client).await?;
        let row = position::read(&client, identity).await?;
        let ordinals = Ordinals::new(position::ordinals(&client).await?);
        let position = row.position.kept();
        Ok((Self { client, position, ordinals, schema: Schema::default() }, row))
    }

    /// Takes the lock that one agent holds at a time. One that holds it is of an older
    /// registration, or was cut off, and is ended.
    pub(super) async fn lock(&mut self) -> Result<(), StoreError> {
        let told = |error| failure("the lock of the site", &error);
        // Taken once more by its holder, it would have to be given back as often.
        let held = self
            .client
            .query_one(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND pid = pg_backend_pid() AND objsubid = 1
                 AND (classid::bigint << 32) + objid::bigint = $1)",
                &[&LOCK],
            )
            .await
            .map_err(told)?;
        if held.get(0) {
            return Ok(());
        }
        let end_others = "SELECT pg_terminate_backend(pid) FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid() AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::bigint << 32) + objid::bigint = $1";
        match self.client.execute(end_others, &[&LOCK]).await {
            Ok(_) => {}
            // The holder is another user's: the lock is waited for.
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {}
            Err(error) => return Err(told(error)),
        }
        self.client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(told)?;
        Ok(())
    }

    /// Lets rows refer to rows that are not there yet, as far as the user of the database may.
    pub(super) async fn may_refer_to_later_rows(&mut self, may: bool) -> Result<(), StoreError> {
        let role = if may { "replica" } else { "origin" };
        let set = format!("SET session_replication_role = {role}");
        match self.client.batch_execute(&set).await {
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(()),
            set => set.map_err(|error| failure("the restore", &error)),
        }
    }

    /// Begins a transaction whose deferrable constraints are checked at its end: a commit is whole.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        let begin = "BEGIN; SET CONSTRAINTS ALL DEFERRED";
        self.client.batch_execute(begin).await.map_err(|error| failure("a transaction", &error))
    }

    /// Commits what was done, or undoes it.
    pub(super) async fn end<T>(
        &mut self,
        subject: &str,
        done: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = match done {
            Ok(value) => self.client.batch_execute("COMMIT").await.map(|()| value).map_err(
                // A connection that is lost here leaves open whether it was committed: the row of
                // the site decides.
                |error| failure(subject, &error),
            ),
            Err(error) => Err(error),
        };
        if done.is_err() {
            self.schema = Schema::default();
            self.client
                .batch_execute("ROLLBACK")
                .await
                .map_err(|error| failure("a rollback", &error))?;
        }
        done
    }
}
