//! Text frames of version 2: `[join_ref, ref, topic, event, payload]`.

use instep_protocol::encode::{Address, encode_message};
use instep_protocol::reference::Ref;
use instep_protocol::vsn::Vsn;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// What the server says.
#[derive(Debug, PartialEq)]
pub(super) struct Heard {
    /// The join that it belongs to; none for broadcasts.
    pub(super) join_ref: Option<u64>,
    /// The request that it answers.
    pub(super) reference: Option<u64>,
    pub(super) topic: String,
    pub(super) event: String,
    pub(super) payload: Value,
}

/// Encodes a request.
pub(super) fn encode(
    join_ref: Option<u64>,
    reference: u64,
    topic: &str,
    event: &str,
    payload: &Value,
) -> Utf8Bytes {
    let join_ref = join_ref.map(|join_ref| Ref::string(join_ref.to_string()));
    let reference = Ref::string(reference.to_string());
    let to = Address { join_ref: join_ref.as_ref(), reference: Some(&reference), topic };
    let bytes = encode_message(Vsn::V2, &to, event, payload.to_string().as_bytes());
    Utf8Bytes::try_from(bytes).expect("names and JSON are UTF-8")
}

/// Reads a frame; none if it is not one.
pub(super) fn decode(text: &str) -> Option<Heard> {
    type Frame = (Option<String>, Option<String>, String, String, Value);
    let (join_ref, reference, topic, event, payload): Frame = serde_json::from_str(text).ok()?;
    let number = |text: Option<String>| text.map(|text| text.parse().ok());
    Some(Heard {
        // Refs that are not numbers are none of ours, and match nothing.
        join_ref: number(join_ref).map(|number| number.unwrap_or(u64::MAX)),
        reference: number(reference).flatten(),
        topic,
        event,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_encoded_is_read_back() {
        let frame = encode(Some(1), 2, "room:\"é", "say", &json!({"a": [1, null]}));

        let heard = decode(&frame).unwrap();

        let (topic, event) = ("room:\"é".to_owned(), "say".to_owned());
        let payload = json!({"a": [1, null]});
        let expected = Heard { join_ref: Some(1), reference: Some(2), topic, event, payload };
        assert_eq!(heard, expected);
    }

    #[test]
    fn what_is_no_frame_is_none() {
        for bad in ["", "{}", "[]", "[1,2,3]", r#"["1","2","t","e"]"#] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
