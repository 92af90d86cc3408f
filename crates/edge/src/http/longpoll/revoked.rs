//! Frames that were queued before a right ended, and that were not polled: they are not given
//! any more (I24).
//!
//! | frame of the topic | becomes |
//! | --- | --- |
//! | a message, a row, an event | nothing |
//! | the answer to a join that carries rows | the same answer, refused |
//! | any other answer | it stays: it tells what became of a request |

use std::borrow::Cow;

use bytes::Bytes;
use instep_protocol::encode::{Address, Frame, encode_reply};
use instep_protocol::payload::refusal::RefusalPayload;
use instep_protocol::reference::Ref;
use instep_protocol::vsn::Vsn;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::driver::{ENDED_EVENT, Revoked};

/// Channels of one connection that were closed because their right had ended.
pub(super) struct Revocations {
    pub(super) vsn: Vsn,
    pub(super) topics: Vec<Revoked>,
}

impl Revocations {
    /// Filters frames that were queued before.
    pub(super) fn of(
        &self,
        frames: impl IntoIterator<Item = Frame>,
    ) -> impl Iterator<Item = Frame> {
        frames.into_iter().filter_map(|frame| {
            self.topics.iter().try_fold(frame, |frame, revoked| revoked.of(self.vsn, frame))
        })
    }
}

impl Revoked {
    /// Filters a frame that was queued before: it stays, is replaced by a refusal, or is removed.
    pub(super) fn of(&self, vsn: Vsn, frame: Frame) -> Option<Frame> {
        let Frame::Text(text) = &frame else { return Some(frame) };
        let Some(parts) = Parts::read(vsn, text).filter(|parts| parts.topic == self.topic) else {
            return Some(frame);
        };
        match &*parts.event {
            "phx_close" | "phx_error" | ENDED_EVENT => Some(frame),
            "phx_reply" => match serde_json::from_str::<Answer<'_>>(parts.payload.get()) {
                Ok(Answer { response: Response { rows: Some(_), .. } }) => {
                    Some(self.refusal(vsn, &parts))
                }
                Ok(_) | Err(_) => Some(frame),
            },
            _ => None,
        }
    }

    fn refusal(&self, vsn: Vsn, parts: &Parts<'_>) -> Frame {
        let (join_ref, reference) = (parts.join_ref.as_ref(), parts.reference.as_ref());
        let to = Address { join_ref, reference, topic: &self.topic };
        let response = RefusalPayload { detail: None, reason: self.reason }.encode();
        Frame::Text(encode_reply(vsn, &to, "error", &response))
    }
}

struct Parts<'a> {
    join_ref: Option<Ref<'a>>,
    reference: Option<Ref<'a>>,
    topic: Cow<'a, str>,
    event: Cow<'a, str>,
    payload: &'a RawValue,
}

impl<'a> Parts<'a> {
    fn read(vsn: Vsn, text: &'a Bytes) -> Option<Self> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            topic: Cow<'a, str>,
            #[serde(borrow)]
            event: Cow<'a, str>,
            #[serde(borrow)]
            payload: &'a RawValue,
            #[serde(borrow)]
            r#ref: &'a RawValue,
        }
        match vsn {
            Vsn::V1 => {
                let Object { topic, event, payload, r#ref } = serde_json::from_slice(text).ok()?;
                let reference = Ref::from_json(r#ref);
                Some(Self { join_ref: None, reference, topic, event, payload })
            }
            Vsn::V2 => {
                type Array<'a> = (&'a RawValue, &'a RawValue, Text<'a>, Text<'a>, &'a RawValue);
                let (join_ref, reference, Text(topic), Text(event), payload): Array<'a> =
                    serde_json::from_slice(text).ok()?;
                let (join_ref, reference) = (Ref::from_json(join_ref), Ref::from_json(reference));
                Some(Self { join_ref, reference, topic, event, payload })
            }
        }
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    response: Response<'a>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    rows: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(vsn: Vsn, frame: &str) -> Option<String> {
        let revoked = Revoked { topic: "room:\"é".into(), reason: "token_expired" };
        let left = revoked.of(vsn, Frame::Text(Bytes::copy_from_slice(frame.as_bytes())));
        left.map(|frame| String::from_utf8(frame.bytes().to_vec()).unwrap())
    }

    #[test]
    fn what_was_queued_of_a_topic_is_taken_out_and_nothing_else() {
        for stays in [
            r#"[null,null,"room:2","said",{"a":1}]"#,
            r#"["1","2","room:\"é","phx_reply",{"status":"ok","response":{}}]"#,
            r#"["1",null,"room:\"é","phx_close",{}]"#,
            r#"["1",null,"room:\"é","access_ended",{"reason":"token_expired"}]"#,
        ] {
            assert_eq!(left(Vsn::V2, stays).as_deref(), Some(stays));
        }
        assert_eq!(left(Vsn::V2, r#"[null,null,"room:\"é","said",{"a":1}]"#), None);
        assert_eq!(left(Vsn::V2, r#"["1",null,"room:\"\u00e9","snapshot",{"rows":[]}]"#), None);
        let one = r#"{"topic":"room:\"é","event":"said","payload":{},"ref":null}"#;
        assert_eq!(left(Vsn::V1, one), None);
    }

    #[test]
    fn rows_in_the_answer_to_a_join_go_with_the_right_and_the_join_is_answered() {
        let answer = r#"["1","1","room:\"é","phx_reply",{"status":"ok","response":{"rows":[1]}}]"#;
        let refused = concat!(
            r#"["1","1","room:\"é","phx_reply","#,
            r#"{"status":"error","response":{"reason":"token_expired"}}]"#
        );

        assert_eq!(left(Vsn::V2, answer).as_deref(), Some(refused));
        let answer = concat!(
            r#"{"topic":"room:\"é","event":"phx_reply","#,
            r#""payload":{"status":"ok","response":{"rows":[]}},"ref":"1"}"#
        );
        assert!(left(Vsn::V1, answer).unwrap().contains("token_expired"));
    }
}
