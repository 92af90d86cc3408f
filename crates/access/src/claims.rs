//! Claims of a token, read before its signature is checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instep_model::json::read_value;
use instep_model::limits;
use instep_model::row::Fields;
use serde_json::Value;

use crate::refusal::Refusal;

/// Claims of a token whose signature is not checked yet. A claim whose value is ambiguous is
/// refused: a name that stands there twice, or an integer that is not held exactly, could be
/// another right.
pub(crate) fn claims_of(text: &str) -> Option<Fields> {
    let mut parts = text.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    object(claims)
}

/// Checks the header of a token: a member that stands there twice could be read as another one
/// elsewhere. Extensions that have to be understood (`crit`) are not known here.
pub(crate) fn check_header(text: &str) -> Result<(), Refusal> {
    let invalid = |problem: &str| Refusal::TokenInvalid(problem.to_owned());
    let header = text.split('.').next().and_then(object);
    let header = header.ok_or_else(|| invalid("its header is no JSON object of exact values"))?;
    if header.contains_key("crit") {
        return Err(invalid("its header asks for extensions (crit)"));
    }
    Ok(())
}

fn object(part: &str) -> Option<Fields> {
    let part = URL_SAFE_NO_PAD.decode(part).ok()?;
    match read_value(&part, limits::VALUE_DEPTH).ok()? {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// Returns the expiry of a token with these claims, the leeway included.
pub(crate) fn end_ms(claims: &Fields, leeway_s: u64) -> Result<u64, Refusal> {
    let none = || Refusal::TokenInvalid("it never expires: no exp".to_owned());
    let expires = seconds(claims, "exp")?.ok_or_else(none)?;
    Ok(expires.saturating_add(leeway_s).saturating_mul(1000))
}

/// A time among the claims; fractions are cut off.
pub(crate) fn seconds(claims: &Fields, name: &str) -> Result<Option<u64>, Refusal> {
    let invalid = || Refusal::TokenInvalid(format!("{name} is no time in seconds"));
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            (None, Some(part)) if (0.0..1e15).contains(&part) => Ok(Some(part as u64)),
            _ => Err(invalid()),
        },
        Some(_) => Err(invalid()),
    }
}
