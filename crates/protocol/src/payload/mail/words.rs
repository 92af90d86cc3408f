//! Words of a server about its messages (ack, nack, …). Every door reads them here, so a word has
//! one meaning: unknown fields are refused, and numbers are whole ones.

use instep_model::limits;
use instep_model::mail::Seq;
use instep_model::registration::Generation;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Error in what a server says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// It is malformed.
    #[error("{0}")]
    Bad(String),
    /// The event is unknown.
    #[error("{event:?} is not {known}")]
    Event {
        /// Event that was sent.
        event: String,
        /// Events that are known.
        known: &'static str,
    },
}

/// Answer of a server about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Ack,
    /// Not done now: it is given again later.
    Nack {
        /// Delay until the retry, in milliseconds.
        delay_ms: u64,
        /// True for a failed attempt, which counts.
        failed: bool,
    },
    /// Never to be given again.
    Reject {
        /// Reason of the rejection.
        reason: String,
    },
}

/// Event of a server about its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// Answer about each of these.
    Answer(Which, Answer),
    /// Reply to a query: those that have arrived, and those that have not.
    Have {
        /// Messages that have arrived.
        have: Vec<Seq>,
        /// Messages that have not.
        not: Vec<Seq>,
    },
    /// Start of work on these.
    Started(Which),
    /// Credit: messages that may be unconfirmed.
    Credit(usize),
}

/// Messages one by one, or those of ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Their numbers.
    pub seqs: Vec<Seq>,
    /// The first and the last number of each range.
    pub ranges: Vec<(Seq, Seq)>,
}

/// Negative acknowledgement: the message is to be given again later.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nack {
    /// The message.
    pub seq: Seq,
    /// Delay until the retry, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
    /// True for a failed attempt, which counts.
    #[serde(default)]
    pub failed: bool,
}

/// Rejection: the message is never to be given again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// The message.
    pub seq: Seq,
    /// Reason of the rejection.
    pub reason: String,
}

/// Answers of a server about several messages at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// Registration, as the first pull returned it.
    pub registration: Generation,
    /// Messages that are done.
    #[serde(default)]
    pub ack: Vec<Seq>,
    /// Messages to be given again later.
    #[serde(default)]
    pub nack: Vec<Nack>,
    /// Messages that are never to be given again.
    #[serde(default)]
    pub reject: Vec<Reject>,
    /// Messages that were asked about and did not arrive.
    #[serde(default)]
    pub not: Vec<Seq>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Only {
    seqs: Option<Vec<Seq>>,
    ranges: Option<Vec<(Seq, Seq)>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Later {
    seqs: Option<Vec<Seq>>,
    ranges: Option<Vec<(Seq, Seq)>>,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    failed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Never {
    seqs: Option<Vec<Seq>>,
    ranges: Option<Vec<(Seq, Seq)>>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Have {
    #[serde(default)]
    have: Vec<Seq>,
    #[serde(default)]
    not: Vec<Seq>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    window: usize,
}

impl Words {
    /// Reads an event and its payload.
    ///
    /// # Errors
    /// [`WordsError`].
    pub fn read(event: &str, text: &[u8]) -> Result<Self, WordsError> {
        match event {
            "ack" => read::<Only>(text)?.which().map(|which| Self::Answer(which, Answer::Ack)),
            "nack" => {
                let Later { seqs, ranges, delay_ms, failed } = read(text)?;
                let which = Only { seqs, ranges }.which()?;
                Ok(Self::Answer(which, Answer::Nack { delay_ms, failed }))
            }
            "reject" => {
                let Never { seqs, ranges, reason } = read(text)?;
                Ok(Self::Answer(Only { seqs, ranges }.which()?, Answer::Reject { reason }))
            }
            "answer" => {
                let Have { have, not } = read(text)?;
                Ok(Self::Have { have: few("have", have)?, not: few("not", not)? })
            }
            "started" => read::<Only>(text)?.which().map(Self::Started),
            "credit" => {
                let Window { window } = read(text)?;
                credit("window", window).map(Self::Credit)
            }
            other => Err(WordsError::Event {
                event: other.to_owned(),
                known: "ack, nack, reject, started, answer or credit",
            }),
        }
    }
}

impl Answers {
    /// Reads what is said over HTTP.
    ///
    /// # Errors
    /// [`WordsError::Bad`].
    pub fn read(text: &[u8]) -> Result<Self, WordsError> {
        let answers: Self = read(text)?;
        let Self { ack, nack, reject, not, .. } = &answers;
        if ack.len() + nack.len() + reject.len() + not.len() > limits::COMMIT_PROPOSALS {
            let most = limits::COMMIT_PROPOSALS;
            return Err(WordsError::Bad(format!(
                "ack, nack, reject, not: at most {most} messages together"
            )));
        }
        Ok(answers)
    }
}

impl Only {
    fn which(self) -> Result<Which, WordsError> {
        let Self { seqs, ranges } = self;
        if seqs.is_none() && ranges.is_none() {
            return Err(WordsError::Bad("seqs: a list of numbers of messages is wanted".into()));
        }
        let seqs = few("seqs", seqs.unwrap_or_default())?;
        let ranges = ranges.unwrap_or_default();
        if ranges.len() > limits::MAIL_CREDIT_MOST {
            return Err(WordsError::Bad(format!("ranges: at most {}", limits::MAIL_CREDIT_MOST)));
        }
        if let Some((first, last)) = ranges.iter().find(|(first, last)| first > last) {
            return Err(WordsError::Bad(format!("ranges: {first} is behind {last}")));
        }
        Ok(Which { seqs, ranges })
    }
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, WordsError> {
    instep_model::json::read_object(text).map_err(|error| WordsError::Bad(error.to_string()))
}

/// Checks that a list of messages is within the limit.
///
/// # Errors
/// [`WordsError::Bad`], with the field.
pub fn few(field: &str, seqs: Vec<Seq>) -> Result<Vec<Seq>, WordsError> {
    let most = limits::MAIL_CREDIT_MOST;
    if seqs.len() > most {
        return Err(WordsError::Bad(format!("{field}: at most {most}")));
    }
    Ok(seqs)
}

/// Checks that a window is within the limit.
///
/// # Errors
/// [`WordsError::Bad`], with the field.
pub fn credit(field: &str, window: usize) -> Result<usize, WordsError> {
    let most = limits::MAIL_CREDIT_MOST;
    if window > most {
        return Err(WordsError::Bad(format!("{field}: 0 to {most}")));
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(event: &str, text: &str) -> String {
        Words::read(event, text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_delay_is_a_whole_number_of_milliseconds_at_every_door() {
        for delay in ["\"60000\"", "60000.5", "-5", "null", "true"] {
            let channel = format!("{{\"seqs\": [1], \"delay_ms\": {delay}}}");
            assert!(Words::read("nack", channel.as_bytes()).is_err(), "{delay}");
            let http = format!(
                "{{\"registration\": 1, \"nack\": [{{\"seq\": 1, \"delay_ms\": {delay}}}]}}"
            );
            assert!(Answers::read(http.as_bytes()).is_err(), "{delay}");
        }
        let text = br#"{"seqs": [1], "delay_ms": 60000, "failed": true}"#;
        let which = Which { seqs: vec![Seq(1)], ranges: vec![] };
        let nack = Answer::Nack { delay_ms: 60_000, failed: true };
        assert_eq!(Words::read("nack", text).unwrap(), Words::Answer(which, nack));
    }

    #[test]
    fn a_field_that_means_nothing_is_refused_at_every_door() {
        for (event, text) in [
            ("ack", r#"{"seqs": [1], "delay_ms": 5}"#),
            ("nack", r#"{"seqs": [1], "delay": 5}"#),
            ("nack", r#"{"seqs": [1], "failed": "true"}"#),
            ("reject", r#"{"seqs": [1], "reason": 5}"#),
            ("started", r#"{"seq": 1}"#),
            ("answer", r#"{"have": [1], "nott": [2]}"#),
            ("credit", r#"{"window": 5, "more": 1}"#),
            ("credit", r#"{"window": 5.5}"#),
            ("ack", r#"{"ranges": [[1, 2, 3]]}"#),
            ("ack", r#"{"ranges": [[3, 1]]}"#),
            ("ack", r#"[1]"#),
            ("ack", "{}"),
        ] {
            refused(event, text);
        }
        assert!(Answers::read(br#"{"registration": 1, "acks": [1]}"#).is_err());
        assert!(Answers::read(br#"{"registration": 1.0}"#).is_err());
    }

    #[test]
    fn the_field_at_fault_is_named_at_every_door() {
        for (event, text, field) in [
            ("ack", r#"{"seqs": ["1"]}"#, "seqs[0]: "),
            ("ack", r#"{"seqs": 1}"#, "seqs: "),
            ("ack", r#"{"ranges": [[1, 2], [3, 1.5]]}"#, "ranges[1][1]: "),
            ("nack", r#"{"seqs": [1], "delay_ms": "x"}"#, "delay_ms: "),
            ("nack", r#"{"seqs": [1], "failed": 1}"#, "failed: "),
            ("reject", r#"{"seqs": [1], "reason": 5}"#, "reason: "),
            ("started", r#"{"seqs": [-1]}"#, "seqs[0]: "),
            ("answer", r#"{"have": [1], "not": ["2"]}"#, "not[0]: "),
            ("credit", r#"{"window": "9"}"#, "window: "),
            ("credit", r#"{"window": 1025}"#, "window: 0 to 1024"),
        ] {
            let said = refused(event, text);
            assert!(said.starts_with(field), "{event} {text}: {said}");
        }
        for (text, field) in [
            (r#"{"registration": "1"}"#, "registration: "),
            (r#"{"registration": 1, "ack": [1.0]}"#, "ack[0]: "),
            (r#"{"registration": 1, "nack": [{"seq": 1, "delay_ms": -1}]}"#, "nack[0]: delay_ms: "),
            (r#"{"registration": 1, "reject": [{"seq": 1}]}"#, "reject[0]: missing field `reason`"),
        ] {
            let said = Answers::read(text.as_bytes()).unwrap_err().to_string();
            assert!(said.starts_with(field), "{text}: {said}");
        }
    }

    #[test]
    fn more_messages_than_may_be_unconfirmed_are_refused() {
        let seqs = vec![1; limits::MAIL_CREDIT_MOST + 1];
        assert!(refused("ack", &format!("{{\"seqs\": {seqs:?}}}")).contains("at most 1024"));
        assert!(refused("credit", "{\"window\": 1025}").contains("0 to 1024"));
    }
}
