//! The client's end of a connection: joins one topic, reads frames, records them.
//!
//! It behaves as the documents tell clients to: it adopts every position that it sees, but for
//! those that it has already, and forgets its rows when it is told to begin anew.

use instep_model::feed::{
    BOOKMARK_EVENT, GONE_EVENT, LAGGED_EVENT, LEAVE_EVENT, ROW_EVENT, SNAPSHOT_EVENT,
};
use instep_model::position::Position;
use serde_json::{Value, json};

use crate::history::{By, Event, JoinAnswer};

/// A subscriber of one topic that keeps its position through every loss.
pub(crate) struct Subscriber {
    pub(crate) reader: u32,
    pub(crate) topic: &'static str,
    habits: Habits,
    params: Option<Value>,
    /// The newest position that it was given.
    pub(crate) position: Option<Position>,
    state: State,
    joins: u64,
}

/// Habits in which correct clients differ.
#[derive(Clone, Copy)]
pub(crate) struct Habits {
    /// Repeats the params of its first join at every rejoin, as phoenix.js does.
    pub(crate) plain: bool,
    /// Clears its rows when it is to begin anew, and its position with them, as the page of the
    /// README does. Others keep both until the new rows are there.
    pub(crate) clears: bool,
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
    pub(crate) fn new(reader: u32, topic: &'static str, habits: Habits) -> Self {
        let (params, position) = (None, None);
        Self { reader, topic, habits, params, position, state: State::Away, joins: 0 }
    }

    pub(crate) fn is_away(&self) -> bool {
        self.state == State::Away
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.state == State::Joined
    }

    /// The page is loaded anew: params are made from its storage.
    pub(crate) fn reload(&mut self) {
        self.params = None;
    }

    /// A phx_join, as text.
    pub(crate) fn join(&mut self) -> String {
        self.joins += 1;
        self.state = State::Joining;
        let fresh = || self.position.map_or(json!({}), |p| json!({"since": p}));
        let params = match &self.params {
            Some(params) if self.habits.plain => params.clone(),
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
            (LAGGED_EVENT, _) => {
                let (reader, mode) = (self.reader, mode_in(payload));
                trace.push(Event::Lagged { reader, mode: mode.clone() });
                self.begin(&mode, trace);
            }
            (SNAPSHOT_EVENT, _) => self.rows(payload, trace),
            (BOOKMARK_EVENT, _) => self.adopt(payload, By::Bookmark, trace),
            (event, _) => {
                self.told(event, payload, trace);
                self.adopt(payload, By::Frame, trace);
            }
        }
    }

    fn answered(&mut self, payload: &Value, trace: &mut Vec<Event>) {
        let response = &payload["response"];
        let params = self.params.as_ref();
        let since = params.and_then(|params| params["since"].as_str().map(str::to_owned));
        let (reader, topic) = (self.reader, self.topic.to_owned());
        if payload["status"] != "ok" {
            let reason = response["reason"].as_str().unwrap_or_default().to_owned();
            let answer = JoinAnswer::Refused { reason };
            trace.push(Event::Joined { reader, topic, since, answer });
            self.state = State::Away;
            // A position ahead of every node is of no use.
            self.params = None;
            return;
        }
        let (mode, position) = (mode_in(response), position_in(response));
        let pending = response["pending"] == true;
        let answer = JoinAnswer::Accepted { mode: mode.clone(), position, pending };
        trace.push(Event::Joined { reader, topic, since: since.clone(), answer });
        self.begin(&mode, trace);
        self.rows(response, trace);
        // Its own position, from which it goes on, is no news.
        let is_own = pending && response["position"].as_str() == since.as_deref();
        if !is_own {
            self.adopt(response, By::Reply, trace);
        }
    }

    /// Goes on in a mode: with what it has, or from nothing.
    fn begin(&mut self, mode: &str, trace: &mut Vec<Event>) {
        self.state = State::Filling;
        if mode != "resume" && self.habits.clears {
            self.position = None;
            trace.push(Event::Cleared { reader: self.reader });
        }
    }

    /// Takes the rows of a reply or of a chunk, if it has any.
    fn rows(&mut self, payload: &Value, trace: &mut Vec<Event>) {
        for row in payload["rows"].as_array().into_iter().flatten() {
            self.told(row["event"].as_str().unwrap_or_default(), &row["payload"], trace);
        }
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

    /// Adopts the position that stands in a payload, if one does.
    fn adopt(&mut self, payload: &Value, by: By, trace: &mut Vec<Event>) {
        let Some(position) = position_in(payload) else { return };
        let known = self.position.and_then(|known| known.place_in(position.incarnation));
        if known.is_none_or(|known| known <= position.place) {
            self.position = Some(position);
        }
        self.state = State::Joined;
        let reader = self.reader;
        trace.push(Event::At { reader, position, by });
    }
}

fn mode_in(payload: &Value) -> String {
    payload["mode"].as_str().unwrap_or_default().to_owned()
}

fn position_in(payload: &Value) -> Option<Position> {
    let text = payload["position"].as_str()?;
    Some(text.parse().expect("the server gives whole positions"))
}
