//! The client's end of a connection: joins one topic, reads frames, records what it is told.

use instep_model::feed::{BOOKMARK_EVENT, GONE_EVENT, LEAVE_EVENT, ROW_EVENT};
use instep_model::position::Position;
use serde_json::{Value, json};

use crate::history::{By, Event, JoinAnswer};
use crate::socket::CATCH_UP_EVENT;

/// A subscriber of one topic that keeps its position through every loss.
pub(crate) struct Subscriber {
    pub(crate) reader: u32,
    pub(crate) topic: &'static str,
    /// Repeats the params of its first join at every rejoin, as phoenix.js does.
    pub(crate) plain: bool,
    params: Option<Value>,
    /// The newest position that it was given.
    pub(crate) position: Option<Position>,
    state: State,
    joins: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Away,
    Joining,
    /// The answer has come, what belongs to it has not.
    Filling,
    Joined,
}

impl Subscriber {
    pub(crate) fn new(reader: u32, topic: &'static str, plain: bool) -> Self {
        Self { reader, topic, plain, params: None, position: None, state: State::Away, joins: 0 }
    }

    pub(crate) fn is_away(&self) -> bool {
        self.state == State::Away
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.state == State::Joined
    }

    /// The page is loaded anew: params are made from what was kept.
    pub(crate) fn reload(&mut self) {
        self.params = None;
    }

    /// A phx_join, as text.
    pub(crate) fn join(&mut self) -> String {
        self.joins += 1;
        self.state = State::Joining;
        let fresh = || self.position.map_or(json!({}), |p| json!({"since": p}));
        let params = match &self.params {
            Some(params) if self.plain => params.clone(),
            _ => fresh(),
        };
        self.params = Some(params.clone());
        let join = self.joins.to_string();
        json!([join, join, self.topic, "phx_join", params]).to_string()
    }

    pub(crate) fn lose(&mut self, trace: &mut Vec<Event>) {
        if self.state != State::Away {
            self.state = State::Away;
            let reader = self.reader;
            trace.push(Event::Lost { reader });
        }
    }

    /// Reads a frame.
    pub(crate) fn read(&mut self, frame: &[u8], trace: &mut Vec<Event>) {
        let message: Value = serde_json::from_slice(frame).expect("the server speaks JSON");
        let (join_ref, event, payload) = (&message[0], &message[3], &message[4]);
        let stale = join_ref.as_str().is_some_and(|join| join != self.joins.to_string());
        if stale {
            return;
        }
        match (event.as_str().unwrap_or_default(), self.state) {
            ("phx_reply", State::Joining) => self.answered(payload, trace),
            ("phx_close" | "phx_error", _) => self.lose(trace),
            // Whatever was sent before the answer is covered by the answer.
            (_, State::Away | State::Joining) | ("phx_reply", _) => {}
            (CATCH_UP_EVENT, _) => {
                let since = payload["since"].as_str().map(str::to_owned);
                self.accepted(since, payload, trace);
            }
            (BOOKMARK_EVENT, _) => self.complete(payload, By::Bookmark, trace),
            (event, _) => {
                self.told(event, payload, trace);
                if !payload["position"].is_null() {
                    self.complete(payload, By::Frame, trace);
                }
            }
        }
    }

    fn answered(&mut self, payload: &Value, trace: &mut Vec<Event>) {
        let response = &payload["response"];
        let params = self.params.as_ref();
        let since = params.and_then(|params| params["since"].as_str().map(str::to_owned));
        if payload["status"] != "ok" {
            let reason = response["reason"].as_str().unwrap_or_default().to_owned();
            let (reader, topic) = (self.reader, self.topic.to_owned());
            trace.push(Event::Joined {
                reader,
                topic,
                since,
                answer: JoinAnswer::Refused { reason },
            });
            self.state = State::Away;
            // What is ahead of every node is of no use to anybody.
            self.params = None;
            return;
        }
        self.accepted(since, response, trace);
        let Some(rows) = response["rows"].as_array() else {
            return;
        };
        for row in rows {
            self.told(row[0].as_str().unwrap_or_default(), &row[1], trace);
        }
        self.complete(response, By::Reply, trace);
    }

    fn accepted(&mut self, since: Option<String>, response: &Value, trace: &mut Vec<Event>) {
        self.state = State::Filling;
        trace.push(Event::Joined {
            reader: self.reader,
            topic: self.topic.to_owned(),
            since,
            answer: JoinAnswer::Accepted {
                mode: response["mode"].as_str().unwrap_or_default().to_owned(),
                position: position_in(response),
            },
        });
    }

    fn told(&mut self, event: &str, payload: &Value, trace: &mut Vec<Event>) {
        let row = match event {
            GONE_EVENT | LEAVE_EVENT => None,
            ROW_EVENT => Some(payload["row"].clone()),
            _ => {
                let mut row = payload.clone();
                if let Some(fields) = row.as_object_mut() {
                    fields.remove("key");
                    fields.remove("position");
                }
                Some(row)
            }
        };
        let key = payload["key"].as_str().unwrap_or_default().to_owned();
        let reader = self.reader;
        trace.push(Event::Told { reader, key, row });
    }

    fn complete(&mut self, payload: &Value, by: By, trace: &mut Vec<Event>) {
        let position = position_in(payload);
        let newer = match self.position.and_then(|p| p.place_in(position.incarnation)) {
            Some(place) => place <= position.place,
            None => true,
        };
        if newer {
            self.position = Some(position);
        }
        self.state = State::Joined;
        let reader = self.reader;
        trace.push(Event::At { reader, position, by });
    }
}

fn position_in(payload: &Value) -> Position {
    let text = payload["position"].as_str().unwrap_or_default();
    text.parse().expect("the server gives whole positions")
}
