//! `[[mail]]`: datasets that keep mail, and how endpoints are mapped to servers.

use std::time::Duration;

use instep_model::limits;
use instep_model::mail::delivery::Times;
use instep_model::mail::{Kind, MailRules, Mapping};
use instep_model::name::Name;
use instep_node::mail::MailOptions;
use serde::Deserialize;

use super::{Fault, KeyPath};

/// The mail of one dataset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// The dataset.
    pub dataset: Name,
    /// Queues that exist from the start.
    #[serde(default = "queues")]
    pub queues: Vec<Name>,
    /// The table of routes: endpoint to server.
    #[serde(default = "directory")]
    pub directory: Name,
    /// Kinds of endpoints; without any, and without a preset, any name is one.
    #[serde(default, rename = "kind")]
    pub kinds: Vec<KindConfig>,
    /// Kinds that need not be written out.
    #[serde(default)]
    pub preset: Option<KindPreset>,
    /// Lease: time for work on a message before its server is asked about it, in milliseconds.
    #[serde(default = "lease_ms")]
    pub lease_ms: u64,
    /// Timeout of a server's answer about the messages that it has, before it is asked again, in
    /// milliseconds.
    #[serde(default = "ask_ms")]
    pub ask_ms: u64,
    /// Delay after a message's first failure, in milliseconds; doubled by each further one.
    #[serde(default = "retry_ms")]
    pub retry_ms: u64,
    /// A message that has failed so often is a dead letter.
    #[serde(default = "max_attempts")]
    pub max_attempts: u16,
    /// Finished messages that are remembered, so that their ids are stored once.
    #[serde(default = "keep_finished")]
    pub keep_finished: u64,
    /// Retention of finished messages, in hours.
    #[serde(default = "keep_hours")]
    pub keep_hours: u64,
    /// Dead letters that are kept; the oldest are given up.
    #[serde(default = "keep_dead")]
    pub keep_dead: u64,
    /// A message that waits for longer is an alarm, in seconds.
    #[serde(default = "alarm_age_s")]
    pub alarm_age_s: u64,
}

/// A set of kinds of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindPreset {
    /// Kinds with the numbers by which older systems call them.
    Numbered,
}

/// A kind of endpoints, and how one is mapped to its server: by exactly one of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindConfig {
    /// Its name.
    pub name: Name,
    /// Its number, by which it may be called too.
    pub number: u16,
    /// By the directory.
    #[serde(default)]
    pub by_directory: bool,
    /// The endpoint is a server itself.
    #[serde(default)]
    pub is_server: bool,
    /// The first part of its id names an endpoint of this kind, whose server it has.
    #[serde(default)]
    pub follows: Option<Name>,
    /// By a row of this table, under the endpoint …
    #[serde(default)]
    pub table: Option<Name>,
    /// … and this field of it.
    #[serde(default)]
    pub field: Option<String>,
}

/// Checks everything that is said about mail.
pub(super) fn check(all: &[MailConfig]) -> Result<(), Fault> {
    let path = |at: usize| KeyPath::new("mail").at(at);
    all.iter().enumerate().try_for_each(|(at, mail)| mail.check(&path(at)))
}

impl MailConfig {
    /// Mail as it is where nothing else is said.
    #[must_use]
    pub fn of(dataset: Name) -> Self {
        Self {
            dataset,
            queues: queues(),
            directory: directory(),
            kinds: vec![],
            preset: None,
            lease_ms: lease_ms(),
            ask_ms: ask_ms(),
            retry_ms: retry_ms(),
            max_attempts: max_attempts(),
            keep_finished: keep_finished(),
            keep_hours: keep_hours(),
            keep_dead: keep_dead(),
            alarm_age_s: alarm_age_s(),
        }
    }

    fn check(&self, path: &KeyPath) -> Result<(), Fault> {
        if self.queues.is_empty() {
            return Err(Fault::new(path.clone().key("queues"), "at least one"));
        }
        for (key, value) in [
            ("lease_ms", self.lease_ms),
            ("ask_ms", self.ask_ms),
            ("retry_ms", self.retry_ms),
            ("max_attempts", u64::from(self.max_attempts)),
        ] {
            if value == 0 {
                return Err(Fault::new(path.clone().key(key), "at least 1"));
            }
        }
        if self.preset.is_some() && !self.kinds.is_empty() {
            let fault = Fault::new(path.clone().key("preset"), "kinds are declared as well");
            return Err(fault.with(path.clone().key("kind").at(0)));
        }
        let path = |at: usize| path.clone().key("kind").at(at);
        for (at, kind) in self.kinds.iter().enumerate() {
            let taken = |other: &KindConfig| other.name == kind.name || other.number == kind.number;
            if let Some(before) = self.kinds[..at].iter().position(taken) {
                let fault = Fault::new(path(at), "its name or its number is taken");
                return Err(fault.with(path(before)));
            }
            kind.check(&self.kinds).map_err(|(key, problem)| {
                let path = path(at);
                Fault::new(if key.is_empty() { path } else { path.key(key) }, problem)
            })?;
        }
        Ok(())
    }
}

impl MailConfig {
    /// Options of the node's mail.
    #[must_use]
    pub fn options(&self) -> MailOptions {
        let defaults = MailRules::default();
        let declared: Vec<Kind> = self.kinds.iter().map(KindConfig::kind).collect();
        let (kinds, any_kind) = match self.preset {
            Some(KindPreset::Numbered) => (Kind::numbered(), false),
            None if declared.is_empty() => (defaults.kinds, defaults.any_kind),
            None => (declared, false),
        };
        MailOptions {
            rules: MailRules {
                kinds,
                any_kind,
                directory: self.directory.clone(),
                max_attempts: self.max_attempts,
                retry_ms: self.retry_ms,
                keep_finished: self.keep_finished,
                keep_ms: self.keep_hours.saturating_mul(60 * 60 * 1000),
                keep_dead: self.keep_dead,
            },
            times: Times { lease_ms: self.lease_ms, ask_ms: self.ask_ms },
            alarm_age: Duration::from_secs(self.alarm_age_s),
        }
    }
}

impl KindConfig {
    fn kind(&self) -> Kind {
        let mapping = match (&self.follows, &self.table, &self.field) {
            (Some(followed), _, _) => Mapping::Follows(followed.clone()),
            (None, Some(table), Some(field)) => {
                Mapping::Field { table: table.clone(), field: field.clone() }
            }
            _ if self.is_server => Mapping::Itself,
            _ => Mapping::Directory,
        };
        Kind { name: self.name.clone(), number: self.number, mapping }
    }

    fn check(&self, all: &[Self]) -> Result<(), (&'static str, String)> {
        let ways = [
            self.by_directory,
            self.is_server,
            self.follows.is_some(),
            self.table.is_some() && self.field.is_some(),
        ];
        if ways.iter().filter(|way| **way).count() != 1 || self.table.is_some() != ways[3] {
            let problem = "nothing maps its endpoints to servers: say by_directory, is_server, \
                           follows, or table and field, and only one of them";
            return Err(("", problem.into()));
        }
        match &self.follows {
            Some(followed) if !all.iter().any(|kind| kind.name == *followed) => {
                Err(("follows", format!("there is no kind {followed:?}")))
            }
            _ => Ok(()),
        }
    }
}

fn queues() -> Vec<Name> {
    Name::new("mail").into_iter().collect()
}

fn directory() -> Name {
    Name::new("directory").expect("a name")
}

fn lease_ms() -> u64 {
    limits::MAIL_LEASE_MS
}

fn ask_ms() -> u64 {
    limits::MAIL_ASK_MS
}

fn retry_ms() -> u64 {
    limits::MAIL_RETRY_MS
}

fn max_attempts() -> u16 {
    limits::MAIL_ATTEMPTS
}

fn keep_finished() -> u64 {
    limits::MAIL_FINISHED
}

fn keep_hours() -> u64 {
    limits::MAIL_FINISHED_HOURS
}

fn keep_dead() -> u64 {
    limits::MAIL_DEAD
}

fn alarm_age_s() -> u64 {
    limits::MAIL_ALARM_AGE_S
}
