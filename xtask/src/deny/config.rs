//! The part of deny.toml that we can hold without `cargo deny`.

use serde::Deserialize;

use crate::Fallible;
use crate::workspace::Workspace;

const FILE: &str = "deny.toml";

/// The lists of deny.toml.
#[derive(Deserialize)]
pub(crate) struct Config {
    bans: Bans,
    licenses: Licences,
    sources: Sources,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
    exceptions: Vec<LicenceException>,
}

#[derive(Deserialize)]
struct LicenceException {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

impl Config {
    /// Reads the file.
    pub(crate) fn read(workspace: &Workspace) -> Fallible<Self> {
        let text = workspace.text(FILE).ok_or_else(|| format!("{FILE} is missing"))?;
        Ok(toml::from_str(&text)?)
    }

    /// Reason why the crate must not be shipped, if it must not.
    pub(crate) fn banned(&self, name: &str) -> Option<&str> {
        self.bans.deny.iter().find(|ban| ban.name == name).map(|ban| ban.reason.as_str())
    }

    /// Returns true if this crate may come under this licence.
    pub(crate) fn allows(&self, name: &str, licence: &str) -> bool {
        let exceptions = self.licenses.exceptions.iter().filter(|e| e.name == name);
        let mut allowed = exceptions.flat_map(|e| &e.allow).chain(&self.licenses.allow);
        allowed.any(|allowed| allowed == licence)
    }

    /// Returns true if packages may come from that source.
    pub(crate) fn trusts(&self, source: &str) -> bool {
        let address = source.strip_prefix("registry+").unwrap_or(source);
        self.sources.allow_registry.iter().any(|allowed| allowed == address)
    }
}
