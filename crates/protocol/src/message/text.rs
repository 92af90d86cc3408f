//! Text frames. The five parts are found first, as raw JSON, and understood afterwards, so that a
//! frame with a fault still tells its reference.

use std::borrow::Cow;
use std::fmt;

use instep_model::json::Fault;
use instep_model::limits::{self, REF_BYTES};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{DecodeError, Message, Origin, Payload, Rejected, SOCKET_TOPIC};
use crate::reference::{Ref, string_of};
use crate::vsn::Vsn;

pub(super) fn decode(vsn: Vsn, frame: &str) -> Result<Message<'_>, Rejected> {
    let mut parts = Parts::default();
    if frame.len() > limits::FRAME_BYTES {
        // Only the reference is of interest, so the array is not read beyond the topic, and what
        // follows is no error.
        let _ = parts.find(vsn, frame, TOPIC + 1);
        return Err(parts.reject(DecodeError::FrameTooLarge));
    }
    if let Err(error) = parts.find(vsn, frame, ALL) {
        return Err(parts.reject(match error.classify() {
            Category::Data => DecodeError::BadFrame(error.to_string()),
            Category::Io | Category::Syntax | Category::Eof => {
                DecodeError::BadJson(error.to_string())
            }
        }));
    }
    parts.message(vsn).map_err(|error| parts.reject(error))
}

const JOIN_REF: usize = 0;
const REFERENCE: usize = 1;
const TOPIC: usize = 2;
const EVENT: usize = 3;
const PAYLOAD: usize = 4;
const ALL: usize = 5;

/// The parts of a frame in the order of version 2, as far as they have been found.
#[derive(Default)]
struct Parts<'a> {
    raw: [Option<&'a RawValue>; ALL],
}

impl<'a> Parts<'a> {
    /// Finds the first `wanted` parts of an array; those of an object come in any order.
    fn find(&mut self, vsn: Vsn, frame: &'a str, wanted: usize) -> Result<(), serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(frame);
        match vsn {
            Vsn::V1 => Object(self).deserialize(&mut json)?,
            Vsn::V2 => Array(self, wanted).deserialize(&mut json)?,
        }
        json.end()
    }

    fn message(&self, vsn: Vsn) -> Result<Message<'a>, DecodeError> {
        let (topic, event) = (self.name(TOPIC, "topic", vsn)?, self.name(EVENT, "event", vsn)?);
        let message = Message {
            join_ref: self.reference(JOIN_REF)?,
            reference: self.reference(REFERENCE)?,
            payload: Payload::Json(self.payload(&topic, &event)?),
            topic,
            event,
        };
        if message.topic.len() > limits::TOPIC_BYTES {
            return Err(DecodeError::TopicTooLong);
        }
        if message.event.len() > limits::EVENT_BYTES {
            return Err(DecodeError::EventTooLong);
        }
        Ok(message)
    }

    fn reject(&self, error: DecodeError) -> Rejected {
        Rejected { error, origin: self.origin().map(Box::new) }
    }

    fn origin(&self) -> Option<Origin> {
        let reference = self.reference(REFERENCE).ok()??.into_owned();
        let join_ref = self.reference(JOIN_REF).ok()?.map(Ref::into_owned);
        let sent = self.raw[TOPIC].filter(|topic| topic.get().starts_with('"'))?;
        let topic = string_of(sent).map(Cow::into_owned);
        let topic_json = topic.is_none().then(|| sent.get().to_owned());
        let topic = topic.unwrap_or_default();
        let fits = sent.get().len() <= limits::FRAME_BYTES;
        fits.then_some(Origin { join_ref, reference, topic, topic_json })
    }

    /// A ref: a string, a number, or nothing.
    fn reference(&self, part: usize) -> Result<Option<Ref<'a>>, DecodeError> {
        let Some(raw) = self.raw[part] else {
            return Ok(None);
        };
        if raw.get() == "null" {
            return Ok(None);
        }
        let wrong = || DecodeError::BadFrame("a ref must be a string or null".to_owned());
        let reference = Ref::from_json(raw).ok_or_else(wrong)?;
        if reference.as_str().len() > REF_BYTES {
            return Err(DecodeError::RefTooLong);
        }
        Ok(Some(reference))
    }

    fn name(&self, part: usize, noun: &str, vsn: Vsn) -> Result<Cow<'a, str>, DecodeError> {
        let what = match vsn {
            Vsn::V1 => "key",
            Vsn::V2 => "element",
        };
        let raw = self.raw[part].filter(|raw| raw.get().starts_with('"'));
        let raw = raw
            .ok_or_else(|| DecodeError::BadFrame(format!("the {what} {noun} must be a string")))?;
        // All else was found to be JSON.
        string_of(raw)
            .ok_or_else(|| DecodeError::BadJson(format!("the {noun}: {}", Fault::Surrogate)))
    }

    /// The payload: an object. Of what the protocol itself says, clients leave it out or say null.
    fn payload(&self, topic: &str, event: &str) -> Result<&'a str, DecodeError> {
        let text = self.raw[PAYLOAD].map_or("null", RawValue::get);
        match event {
            _ if text.starts_with('{') => Ok(text),
            // Nothing is read of these.
            "phx_leave" => Ok("{}"),
            "heartbeat" if topic == SOCKET_TOPIC => Ok("{}"),
            "phx_join" if text == "null" => Ok("{}"),
            _ if self.raw[PAYLOAD].is_none() => {
                Err(DecodeError::BadFrame("the payload is missing".to_owned()))
            }
            _ => Err(DecodeError::PayloadNotObject),
        }
    }
}

/// Version 2: an array of at least five elements, or of four without a payload.
struct Array<'p, 'a>(&'p mut Parts<'a>, usize);

impl<'de> DeserializeSeed<'de> for Array<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Array<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array [join_ref, ref, topic, event, payload]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for part in 0..self.1 {
            match elements.next_element()? {
                Some(raw) => self.0.raw[part] = Some(raw),
                // Whether it may be left out is said by what stands before it.
                None if part == PAYLOAD => return Ok(()),
                None => return Err(A::Error::invalid_length(part, &self)),
            }
        }
        if self.1 == ALL {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(())
    }
}

/// Version 1: an object.
struct Object<'p, 'a>(&'p mut Parts<'a>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    JoinRef,
    Ref,
    Topic,
    Event,
    Payload,
    #[serde(other)]
    Unknown,
}

impl<'de> DeserializeSeed<'de> for Object<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the keys topic, event, payload and ref")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key()? {
            let part = match key {
                Key::JoinRef => JOIN_REF,
                Key::Ref => REFERENCE,
                Key::Topic => TOPIC,
                Key::Event => EVENT,
                Key::Payload => PAYLOAD,
                Key::Unknown => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if self.0.raw[part].replace(entries.next_value()?).is_some() {
                return Err(A::Error::custom("a key stands in the frame twice"));
            }
        }
        Ok(())
    }
}
