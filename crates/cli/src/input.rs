//! JSON from arguments, files and stdin.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;

use instep::model::json::{Fault, check_exact};
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::failure::Failure;

/// Reads one JSON value that must be an object.
pub(crate) fn object(name: &str, text: &str) -> Result<Value, Failure> {
    match exact(name, text)? {
        value @ Value::Object(_) => Ok(value),
        _ => Err(Failure::Usage(format!("{name}: it must be a JSON object"))),
    }
}

/// Reads a JSON value, or else takes the words as they are.
pub(crate) fn value_or_text(name: &str, text: String) -> Result<Value, Failure> {
    match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(_) => exact(name, &text),
        Err(_) => Ok(Value::String(text)),
    }
}

/// Reads a value that comes to the server as it stands here, or is refused here.
fn exact(name: &str, text: &str) -> Result<Value, Failure> {
    let not_json = |error: &dyn Display| Failure::Usage(format!("{name}: not JSON: {error}"));
    if let Err(inexact) = check_exact(text, usize::MAX)
        && inexact.fault != Fault::Syntax
    {
        return Err(Failure::Usage(format!("{name}: {inexact}")));
    }
    serde_json::from_str(text).map_err(|error| not_json(&error))
}

/// Reads objects: one after the other, or in lists.
pub(crate) fn objects(name: &str, text: &[u8]) -> Result<Vec<Value>, Failure> {
    let mut objects = Vec::new();
    for value in serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>() {
        let value = value.map_err(|error| Failure::Usage(format!("{name}: not JSON: {error}")))?;
        match exact(name, value.get())? {
            Value::Array(list) => objects.extend(list),
            value => objects.push(value),
        }
    }
    match objects.iter().position(|object| !object.is_object()) {
        Some(at) => Err(Failure::Usage(format!("{name}[{at}]: it must be a JSON object"))),
        None => Ok(objects),
    }
}

/// Reads a file, or stdin when it is `-`, up to a limit.
pub(crate) fn file(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let mut content = Vec::new();
    // One byte more, to tell a full one from one that is too long.
    let most = limit as u64 + 1;
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut content)
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(most).read_to_end(&mut content)
    }
    .map_err(unreadable)?;
    if content.len() > limit {
        let path = path.display();
        Err(Failure::Usage(format!("{path}: longer than {limit} bytes, the limit")))
    } else {
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_one_after_the_other_or_in_lists() {
        assert_eq!(objects("ops", b"[{},{}]\n{}").unwrap().len(), 3);
        assert_eq!(objects("ops", b"").unwrap().len(), 0);
        assert!(objects("ops", b"{} 3").unwrap_err().to_string().contains("ops[1]"));
        assert!(objects("ops", b"{").unwrap_err().to_string().contains("ops: not JSON"));
    }

    #[test]
    fn values_that_the_server_would_read_otherwise_are_refused_here() {
        for text in ["{\"a\":1,\"a\":2}", "{\"a\":18446744073709551616}", "{\"a\":1e999}"] {
            for error in [
                object("row", text),
                objects("row", text.as_bytes()).map(Value::Array),
                value_or_text("row", text.to_owned()),
            ] {
                assert!(error.unwrap_err().to_string().starts_with("row: "), "{text}");
            }
        }
        assert_eq!(value_or_text("body", "hello".into()).unwrap(), "hello");
    }
}
