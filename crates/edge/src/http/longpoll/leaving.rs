//! Leaving: a session that the server sends away has its answers first, and a poll to take them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use instep_model::limits;
use instep_protocol::encode::Frame;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::polls::{Polls, put_back};
use super::{Request, WINDOW};
use crate::state::EdgeState;

const LINGER: Duration = Duration::from_millis(limits::DRAIN_LINGER_MS);

/// Leaving state of a session: nothing that is posted is carried out any more.
pub(super) struct Leaving {
    until: Instant,
    /// Posts that came since; their clients learn with the end of the session that it is gone.
    held: Vec<oneshot::Sender<()>>,
}

impl Leaving {
    /// A session that has the answers that it waits for until then.
    pub(super) fn until(until: Instant) -> Self {
        Self { until, held: vec![] }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    /// True when the session can be closed.
    pub(super) fn is_due(&self, is_answered: bool) -> bool {
        is_answered || Instant::now() >= self.until
    }

    /// Leaves a post unanswered until the session ends: a client that is refused would give up the
    /// poll that brings its answers.
    pub(super) fn hold(&mut self, done: oneshot::Sender<()>) {
        self.held.push(done);
    }

    /// Gives what is left to the next poll, if one comes soon.
    pub(super) async fn give_rest(
        self,
        outbox: &mut VecDeque<Frame>,
        polls: &mut Polls,
        requests: &mut mpsc::Receiver<Request>,
    ) {
        let end = Instant::now() + LINGER;
        let mut held = self.held;
        while !outbox.is_empty() {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::Poll(reply)) => {
                        polls.take(reply, WINDOW, outbox);
                        polls.serve(outbox, true);
                    }
                    Some(Request::Post(_, _, done)) => held.push(done),
                    Some(Request::State(_)) => {}
                    None => return,
                },
                frames = polls.returned() => put_back(frames, outbox),
                () = tokio::time::sleep_until(end) => return,
            }
        }
    }
}

/// Waits until it is this session's turn to be sent away, and tells by when it is. Sessions have
/// their turns evenly within the time for all: what is random in a token says when.
pub(super) async fn drained(edge: Arc<EdgeState>, token: String) -> Instant {
    if edge.draining().wait_for(|drain| *drain).await.is_ok() {
        let share = u64::from_str_radix(&token[..4], 16).unwrap_or(0);
        let wait = edge.spread_ms() * share / 0x1_0000;
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    let left = edge.drained_by().saturating_sub(edge.now());
    let now = Instant::now();
    now.checked_add(Duration::from_millis(left)).unwrap_or(now)
}
