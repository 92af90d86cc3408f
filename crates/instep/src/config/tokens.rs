//! Tokens in the configuration: one `[tokens]`, or `[[tokens]]` for each of several issuers.

use std::fmt;
use std::path::{Path, PathBuf};

use instep_access::issuer::Terms;
use instep_model::limits;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::checks::twice;
use super::fault::{Fault, KeyPath};

/// Verification of the tokens of an issuer. Without one of the files no token is taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokensConfig {
    /// File of a secret that tokens are signed with (HS256).
    pub secret: Option<PathBuf>,
    /// File of a public key in PEM (RSA, Ed25519, P-256).
    pub public_key: Option<PathBuf>,
    /// File of a JSON Web Key Set.
    pub jwks: Option<PathBuf>,
    /// Tokens must be of this issuer.
    pub issuer: Option<String>,
    /// Tokens must be meant for this audience.
    pub audience: Option<String>,
    /// Text in front of the subjects of its tokens.
    pub subject_prefix: Option<String>,
    /// Clock skew that is tolerated, in seconds.
    pub leeway_s: u64,
}

/// Form of a file of keys for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyForm {
    Secret,
    Pem,
    Jwks,
}

impl KeyForm {
    /// The key of the configuration that names such a file.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Pem => "public_key",
            Self::Jwks => "jwks",
        }
    }
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            secret: None,
            public_key: None,
            jwks: None,
            issuer: None,
            audience: None,
            subject_prefix: None,
            leeway_s: limits::TOKEN_LEEWAY_S,
        }
    }
}

impl TokensConfig {
    /// The files of keys.
    pub(crate) fn files(&self) -> impl Iterator<Item = (KeyForm, &Path)> {
        let files = [
            (KeyForm::Secret, &self.secret),
            (KeyForm::Pem, &self.public_key),
            (KeyForm::Jwks, &self.jwks),
        ];
        files.into_iter().filter_map(|(form, path)| Some((form, path.as_deref()?)))
    }

    /// Terms of the issuer, which its tokens have to meet.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            name: self.issuer.clone(),
            audience: self.audience.clone(),
            leeway_s: self.leeway_s,
            subject_prefix: self.subject_prefix.clone().unwrap_or_default(),
        }
    }

    fn check(&self, path: &KeyPath, is_only: bool) -> Result<(), Fault> {
        let refuse = |key: &str, problem: String| Err(Fault::new(path.clone().key(key), problem));
        let prefix = self.subject_prefix.as_deref().unwrap_or_default();
        if prefix.len() > limits::SUBJECT_PREFIX_BYTES {
            let most = limits::SUBJECT_PREFIX_BYTES;
            return refuse("subject_prefix", format!("at most {most} bytes"));
        }
        if prefix.contains([':', '/']) {
            let problem = "without : and /, because no placeholder stands for them";
            return refuse("subject_prefix", problem.into());
        }
        if is_only {
            return Ok(());
        }
        let needed = "needed where there are several [[tokens]]";
        if self.issuer.is_none() {
            return refuse("issuer", needed.into());
        }
        if self.subject_prefix.is_none() {
            let problem = format!("{needed}; \"\" where its subjects are those of the others");
            return refuse("subject_prefix", problem);
        }
        match self.files().next() {
            Some(_) => Ok(()),
            None => refuse("jwks", "none of secret, public_key and jwks is given".into()),
        }
    }
}

/// The path of one of these sections.
pub(crate) fn path_of(all: &[TokensConfig], at: usize) -> KeyPath {
    let path = KeyPath::new("tokens");
    if all.len() == 1 { path } else { path.at(at) }
}

/// Refuses issuers that cannot be told apart, or whose subjects could not.
pub(super) fn check(all: &[TokensConfig]) -> Result<(), Fault> {
    if all.len() > limits::TOKEN_ISSUERS {
        return Err(Fault::new("tokens", format!("at most {} issuers", limits::TOKEN_ISSUERS)));
    }
    for (at, tokens) in all.iter().enumerate() {
        tokens.check(&path_of(all, at), all.len() == 1)?;
    }
    twice("tokens", all.iter().filter_map(|tokens| tokens.issuer.clone()))
}

/// Reads `[tokens]`, or several `[[tokens]]`.
pub(super) fn one_or_several<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<TokensConfig>, D::Error> {
    struct OneOrSeveral;

    impl<'de> Visitor<'de> for OneOrSeveral {
        type Value = Vec<TokensConfig>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("[tokens], or [[tokens]] for each issuer")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Ok(vec![TokensConfig::deserialize(MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, all: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(all))
        }
    }

    deserializer.deserialize_any(OneOrSeveral)
}
