//! `instep token`: a token for development, signed with a secret.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use instep::access::token::sign_hs256;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::{input, output};

/// Bytes of a file that holds a secret.
const SECRET_BYTES: usize = 64 * 1024;

/// Sign a token with the secret that `tokens.secret` names, for development.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The subject (claim `sub`).
    subject: String,
    /// The file of the secret, at least 32 bytes.
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// Lifetime in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "3600")]
    ttl_s: u64,
    /// A role of its holder; may be repeated.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// More claims, a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    claims: String,
}

pub(crate) fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    let Arguments { subject, secret, ttl_s, roles, claims } = arguments;
    let Value::Object(mut claims) = input::object("--claims", &claims)? else {
        return Err(Failure::Usage("--claims: it must be a JSON object".into()));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    claims.insert("sub".into(), subject.into());
    claims.insert("iat".into(), now.into());
    claims.insert("exp".into(), now.saturating_add(ttl_s).into());
    if !roles.is_empty() {
        claims.insert("roles".into(), roles.into());
    }
    let secret = input::file(&secret, SECRET_BYTES)?;
    let token = sign_hs256(&secret, &claims)
        .map_err(|problem| Failure::Usage(format!("--secret: {problem}")))?;
    if json {
        output::json(&json!({"token": token, "claims": claims}))
    } else {
        output::line(&token)
    }
}
