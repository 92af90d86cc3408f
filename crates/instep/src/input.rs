//! JSON from arguments, files and stdin.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;

/// Reads one JSON value that must be an object.
pub(crate) fn object(name: &str, text: &str) -> Result<Value, Failure> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Failure::Usage(format!("{name}: it must be a JSON object"))),
        Err(error) => Err(Failure::Usage(format!("{name}: not JSON: {error}"))),
    }
}

/// Reads objects: one after the other, or in lists.
pub(crate) fn objects(name: &str, text: &[u8]) -> Result<Vec<Value>, Failure> {
    let mut objects = Vec::new();
    for value in serde_json::Deserializer::from_slice(text).into_iter::<Value>() {
        let value = value.map_err(|error| Failure::Usage(format!("{name}: not JSON: {error}")))?;
        match value {
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
    match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(most).read_to_end(&mut content),
        false => {
            let file = std::fs::File::open(path).map_err(unreadable)?;
            file.take(most).read_to_end(&mut content)
        }
    }
    .map_err(unreadable)?;
    match content.len() > limit {
        true => {
            let path = path.display();
            Err(Failure::Usage(format!("{path}: longer than {limit} bytes, the limit")))
        }
        false => Ok(content),
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
}
