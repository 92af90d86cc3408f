//! Mail over sockets: joining `server:ID` is to register, and what is pushed there is about
//! messages; who has joined `mail:DATASET/QUEUE` sends there.

use std::net::IpAddr;

use bytes::Bytes;
use instep_access::Credential;
use instep_model::commit::Operation;
use instep_model::name::Name;
use instep_node::mail::{Letters, MailError, Push, RegisterParams, Registration};
use instep_node::{Dataset, Node, Subscriber};
use instep_protocol::encode::Body;
use instep_protocol::session::{Channel, ChannelId, Ending, JoinOutcome, ReplyTo, SharedEvent};
use serde_json::Value;

use super::refusal::Refusal;
use super::role::{MailRole, Role};
use super::{Actions, Answer, Completion, Joined, PushRequest, SessionDriver, Wait};
use crate::permits::PermitKind;
use crate::state::EdgeState;

/// The event by which messages are sent.
const SEND_EVENT: &str = "send";

/// The queue of a dataset, for a client whose right to that was checked.
pub(super) fn open(dataset: &str, queue: &str, edge: &EdgeState) -> Result<Box<MailRole>, Refusal> {
    let found =
        edge.node().dataset(dataset).ok_or_else(|| match edge.node().why_unopened(dataset) {
            Some(_) => Refusal::DatasetUnavailable(dataset.into()),
            None => Refusal::UnknownDataset(dataset.into()),
        })?;
    let name = Name::new(queue).ok().filter(|name| found.state().mail.queue(name).is_some());
    let name = name.ok_or_else(|| Refusal::UnknownQueue(queue.into()));
    Ok(Box::new(MailRole::Sender { dataset: found, queue: name? }))
}

/// Registers a server, for a client that may do that somewhere.
pub(super) fn register(
    channel: Channel,
    params: &Value,
    credential: &Credential,
    (edge, from): (&EdgeState, Option<IpAddr>),
) -> Answer {
    let (wish, dataset) = match wish(channel.topic(), params, credential, edge) {
        Ok(found) => found,
        Err(reason) => return Answer::Now(Completion::Refused(channel, reason)),
    };
    let permit = match edge.take_permit(PermitKind::Registration, from) {
        Ok(permit) => permit,
        Err(full) => {
            let error = MailError::from(full);
            return Answer::Now(Completion::Refused(channel, error.into()));
        }
    };
    Answer::Awaited(Box::pin(async move {
        match dataset.register(wish.server, wish.credit, wish.have).await {
            Ok(registration) => {
                let mail_role = MailRole::Server { dataset, registration, _permit: permit };
                Completion::Entered(channel, Box::new(mail_role))
            }
            Err(error) => Completion::Refused(channel, error.into()),
        }
    }))
}

/// Reads a request to register, and finds the dataset that it is allowed in.
fn wish(
    topic: &str,
    params: &Value,
    credential: &Credential,
    edge: &EdgeState,
) -> Result<(RegisterParams, Dataset), Refusal> {
    let wish = RegisterParams::of(topic, params)?;
    let may = |dataset: &str| {
        let may = Role::Server { dataset: Some(dataset) }.may(topic, credential, edge);
        may.map_err(Refusal::from)
    };
    // Before it is looked whether there is such a dataset.
    wish.dataset.as_deref().map_or(Ok(()), may)?;
    let dataset = edge.node().mail_of(wish.dataset.as_deref())?;
    may(dataset.name().as_str())?;
    Ok((wish, dataset))
}

/// Takes a push to a topic of mail that the client has joined.
pub(super) fn push(
    mail_role: &MailRole,
    push: PushRequest,
    credential: &Credential,
    edge: &EdgeState,
) -> Answer {
    let PushRequest { channel, reply_to, event, payload } = push;
    let now = |refusal| Answer::Now(Completion::Answered(reply_to.clone(), Err(refusal)));
    if let Err(refusal) = mail_role.role().may(channel.topic(), credential, edge) {
        return now(refusal.into());
    }
    let Body::Json(text) = payload else {
        return now(Refusal::JsonWanted);
    };
    let wait = match mail_role {
        MailRole::Server { registration, .. } => {
            answer(registration, reply_to.clone(), &event, &text)
        }
        MailRole::Sender { dataset, queue } => {
            let principal = credential.principal().name();
            send(dataset, (queue, principal), reply_to.clone(), (&event, &text))
        }
    };
    wait.map_or_else(|error| now(error.into()), Answer::Awaited)
}

/// Takes an event of a registered server about its messages.
fn answer(
    registration: &Registration,
    reply_to: Option<ReplyTo>,
    event: &str,
    text: &[u8],
) -> Result<Wait, MailError> {
    let said = registration.say(event, text)?;
    Ok(Box::pin(async move {
        let said = said.await.map(|reply| reply.to_json());
        Completion::Answered(reply_to, said.map_err(Refusal::from))
    }))
}

/// Sends messages. All of them are stored, or none.
fn send(
    dataset: &Dataset,
    (queue, principal): (&Name, &str),
    reply_to: Option<ReplyTo>,
    (event, text): (&str, &[u8]),
) -> Result<Wait, MailError> {
    if event != SEND_EVENT {
        return Err(MailError::Event { event: event.to_owned(), known: SEND_EVENT });
    }
    let letters =
        Letters::read(queue, principal, text).map_err(|error| MailError::Bad(error.to_string()))?;
    let dataset = dataset.clone();
    Ok(Box::pin(async move {
        let sent = dataset.store_mail(letters, Operation::Send).await;
        let answer = sent.map_err(MailError::from).and_then(|sent| {
            let text = serde_json::to_vec(&sent);
            text.map(Bytes::from).map_err(|error| MailError::Bad(error.to_string()))
        });
        Completion::Answered(reply_to, answer.map_err(Refusal::from))
    }))
}

impl SessionDriver {
    /// Enters a client on a topic of mail.
    pub(super) fn enter_mail(
        &mut self,
        channel: Channel,
        mail_role: Box<MailRole>,
        edge: &EdgeState,
        listener: &Subscriber,
        actions: &mut Actions,
    ) -> Option<ChannelId> {
        let node: &Node = edge.node();
        let subscription = node.topics().subscribe(channel.topic(), listener);
        let response = match &*mail_role {
            MailRole::Server { registration, .. } => registration.greeting(),
            MailRole::Sender { .. } => Bytes::from_static(b"{}"),
        };
        let outcome = JoinOutcome::Accepted { response };
        self.tell(
            SharedEvent::JoinAnswered { channel: channel.clone(), outcome },
            edge.now(),
            actions,
        );
        if !self.machine.is_joined(&channel) {
            return None;
        }
        if let MailRole::Server { registration, .. } = &*mail_role {
            registration.listen(listener.clone());
        }
        let joined = Joined { mail: Some(mail_role), ..Joined::new(channel.clone(), subscription) };
        self.joined.push(joined);
        Some(channel.id())
    }

    /// Tells a server some of what waits for it; how many messages that were, and whether there is
    /// more.
    pub(crate) fn tell_server(
        &mut self,
        id: ChannelId,
        (most, bytes): (usize, usize),
        now: u64,
        actions: &mut Actions,
    ) -> (usize, bool) {
        let (mut count, mut size) = (0, 0);
        while count < most && size < bytes {
            let Some(joined) = self.find(id) else { return (count, false) };
            let Some(told) = joined.server().and_then(Registration::take) else {
                return (count, false);
            };
            let channel = joined.channel.clone();
            let (event, payload) = told.event();
            size += payload.len();
            count += 1;
            self.push(&channel, event, payload, now, actions);
            if told == Push::Replaced {
                actions.left.extend(self.leave(id));
                self.tell(SharedEvent::ChannelEnded { channel, how: Ending::Closed }, now, actions);
                return (count, false);
            }
        }
        (count, true)
    }
}
