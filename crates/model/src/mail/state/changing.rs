//! Records change the mail: a message is taken out of the indexes, changed, and put back.

use std::sync::Arc;

use super::{
    EndpointNo, EndpointState, Mail, MailChange, MailRecord, Message, Numbered, QueueState, Seq,
    ServerNo, ServerState, Slot, SlotKey, Status, number_in,
};
use crate::name::Name;

type Sink<'a> = &'a mut dyn FnMut(MailChange);

impl Mail {
    /// Applies a record, which became durable at `now_ms`; false when it names a message that is
    /// missing, which only a bug can write.
    pub fn apply(&mut self, record: MailRecord, now_ms: u64, see: Sink<'_>) -> bool {
        match record {
            MailRecord::Queue { queue } => self.create_queue(queue),
            MailRecord::Registered { server, generation } => {
                let number = self.intern_server(&server);
                self.update_server(number, |server| server.generation = generation);
            }
            MailRecord::Moved { via, server, generation } => {
                self.move_all(&via, &server, generation, see);
            }
            MailRecord::Readdressed { endpoint, server, via, generation } => {
                // Of an endpoint without messages nothing has to be kept.
                if let Some(endpoint) = self.endpoint_number(&endpoint) {
                    let server = self.intern_server(&server);
                    self.is_routed_by(endpoint, via.as_deref());
                    self.readdress(endpoint, (server, generation), see);
                    self.release_server(server);
                }
            }
            stored @ MailRecord::Stored { .. } => return self.store(stored, now_ms, see),
            MailRecord::Routed { seq, server, via, generation } => {
                let Some(message) = self.messages.get(seq) else { return false };
                let server = self.intern_server(&server);
                self.is_routed_by(message.endpoint, via.as_deref());
                return self.reroute(seq, (server, generation), see);
            }
            MailRecord::SentBy { seq, scope } => drop(self.scopes.insert((seq, scope))),
            MailRecord::Confirmed { seq } => return self.end(seq, Status::Confirmed, now_ms, see),
            MailRecord::Expired { seq } => return self.end(seq, Status::Expired, now_ms, see),
            MailRecord::Delayed { seq, attempts, not_before } => {
                self.clocks.rests(seq, now_ms);
                return self.change(seq, see, true, |message| {
                    message.attempts = attempts;
                    message.not_before = not_before;
                });
            }
            MailRecord::Released { seq } => {
                self.clocks.rested(seq);
                return self.change(seq, see, true, |message| message.not_before = 0);
            }
            MailRecord::DeadLettered { seq, attempts, reason } => {
                self.clocks.forget(seq);
                self.dead.insert(seq, reason.into());
                return self.change(seq, see, true, |message| {
                    message.attempts = attempts;
                    message.not_before = 0;
                    message.status = Status::Dead;
                });
            }
            MailRecord::Retried { seq } => {
                self.clocks.forget(seq);
                self.dead.remove(&seq);
                return self.change(seq, see, true, |message| {
                    message.attempts = 0;
                    // A message that is revived has no expiry.
                    message.expires = 0;
                    message.status = Status::Pending;
                });
            }
            MailRecord::Forgotten { seqs } => seqs.iter().for_each(|seq| self.forget(*seq, see)),
            MailRecord::ServersForgotten { servers } => {
                servers.iter().for_each(|server| self.forget_server(server, see));
            }
        }
        true
    }

    fn store(&mut self, record: MailRecord, now_ms: u64, see: Sink<'_>) -> bool {
        let MailRecord::Stored {
            seq,
            queue,
            id,
            to,
            server,
            via,
            generation,
            priority,
            not_before,
            expires,
            digest,
            body,
        } = record
        else {
            return false;
        };
        let Some(queue) = self.queue(&queue) else { return false };
        let endpoint = self.intern_endpoint(&to);
        if server.is_some() {
            self.is_routed_by(endpoint, via.as_deref());
        }
        let server = server.map_or(ServerNo::NOWHERE, |server| self.intern_server(&server));
        let message = Message {
            id,
            digest,
            stored_ms: now_ms,
            not_before,
            expires,
            endpoint,
            server,
            generation,
            body_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
            attempts: 0,
            queue,
            priority,
            status: Status::Pending,
        };
        self.last = seq;
        see(MailChange::Stored { seq, body });
        if let Some(queue) = self.queues.get_mut(usize::from(queue)) {
            queue.stored += 1;
        }
        self.know(seq, &message);
        self.hold(endpoint, server);
        self.put(seq, message, see);
        true
    }

    /// Routes a message to a server.
    fn reroute(&mut self, seq: Seq, (server, generation): (ServerNo, u32), see: Sink<'_>) -> bool {
        let Some(before) = self.messages.get(seq).map(|message| message.server) else {
            return false;
        };
        let known = self.change(seq, see, false, |message| {
            message.server = server;
            message.generation = generation;
        });
        self.hold_server(server);
        self.let_go_server(before);
        known
    }

    /// An id that says its number needs no place in an index.
    pub(super) fn know(&mut self, seq: Seq, message: &Message) {
        if number_in(&message.id) != seq {
            self.ids.insert((message.id, seq));
        }
    }

    /// Puts a message where it belongs.
    pub(super) fn put(&mut self, seq: Seq, message: Message, see: Sink<'_>) {
        let message = self.messages.insert(seq, &message);
        self.link(seq, &message, see);
    }

    fn end(&mut self, seq: Seq, status: Status, now_ms: u64, see: Sink<'_>) -> bool {
        self.clocks.forget(seq);
        let known = self.change(seq, see, status == Status::Confirmed, |message| {
            message.status = status;
            message.expires = now_ms;
            message.not_before = 0;
        });
        if let Some(message) = self.messages.get(seq)
            && let Some(queue) = self.queues.get_mut(usize::from(message.queue))
        {
            match status {
                Status::Confirmed => queue.confirmed += 1,
                Status::Expired => queue.expired += 1,
                Status::Pending | Status::Dead => {}
            }
        }
        see(MailChange::BodyEnded { seq });
        known
    }

    /// Changes a message; `quiet`: its server need not be told that it is not its own any more.
    fn change(
        &mut self,
        seq: Seq,
        see: Sink<'_>,
        quiet: bool,
        change: impl FnOnce(&mut Message),
    ) -> bool {
        let Some(mut message) = self.messages.get(seq) else { return false };
        self.unlink(seq, &message, quiet, see);
        change(&mut message);
        self.put(seq, message, see);
        true
    }

    fn move_all(&mut self, via: &str, server: &str, generation: u32, see: Sink<'_>) {
        // If no endpoint is routed by it there is nothing to move.
        let Some(via) = self.endpoint_number(via) else { return };
        let server = self.intern_server(server);
        let all: Vec<EndpointNo> = self
            .followers
            .range((via, EndpointNo(0))..=(via, EndpointNo::NOWHERE))
            .map(|(_, endpoint)| *endpoint)
            .collect();
        for endpoint in all {
            self.readdress(endpoint, (server, generation), see);
        }
        self.release_server(server);
    }

    /// Counts the entries that a move of an endpoint looks at: the endpoints that are routed by it,
    /// and their pending messages. It stops counting beyond `most`.
    #[must_use]
    pub fn moves(&self, via: &str, most: u64) -> u64 {
        let Some(via) = self.endpoint_number(via) else { return 1 };
        let mut count = 1;
        for (_, endpoint) in self.followers.range((via, EndpointNo(0))..=(via, EndpointNo::NOWHERE))
        {
            count += 1 + self.pending_to(*endpoint);
            if count > most {
                break;
            }
        }
        count
    }

    /// The same of an endpoint that is given its route anew.
    #[must_use]
    pub fn readdresses(&self, endpoint: &str) -> u64 {
        self.endpoint_number(endpoint).map_or(1, |endpoint| 1 + self.pending_to(endpoint))
    }

    /// Pending messages of an endpoint that have a server.
    fn pending_to(&self, endpoint: EndpointNo) -> u64 {
        let of = (endpoint, ServerNo(0))..=(endpoint, ServerNo::LAST);
        self.counts.range(of).map(|(_, count)| *count).sum()
    }

    /// Unfinished messages, and endpoints.
    #[must_use]
    pub fn movable(&self) -> u64 {
        let pending: u64 = self.queues.iter().map(|queue| queue.pending).sum();
        pending + self.endpoints.len() as u64
    }

    fn readdress(
        &mut self,
        endpoint: EndpointNo,
        (server, generation): (ServerNo, u32),
        see: Sink<'_>,
    ) {
        let of = (endpoint, ServerNo(0))..=(endpoint, ServerNo::LAST);
        let servers: Vec<ServerNo> =
            self.counts.range(of).map(|((_, server), _)| *server).collect();
        // Messages at this server stay, by the route that brought them: the server keeps them.
        for from in servers.into_iter().filter(|from| *from != server) {
            for seq in self.pending_at(from, endpoint) {
                self.reroute(seq, (server, generation), see);
            }
        }
    }

    /// The pending messages of an endpoint at a server, resting ones too.
    fn pending_at(&self, server: ServerNo, endpoint: EndpointNo) -> Vec<Seq> {
        let from = SlotKey::new(Slot { server, endpoint, rank: 0, seq: Seq::ZERO });
        let to = SlotKey::new(Slot { server, endpoint, rank: u8::MAX, seq: Seq::MAX });
        let ready = self.ready.range(from, to);
        ready.chain(self.delayed.range(from, to)).map(|place| place.slot().seq).collect()
    }

    fn forget(&mut self, seq: Seq, see: Sink<'_>) {
        let Some(message) = self.messages.remove(seq) else { return };
        self.unlink(seq, &message, true, see);
        if self.dead.remove(&seq).is_some() {
            if let Some(queue) = self.queues.get_mut(usize::from(message.queue)) {
                queue.given_up += 1;
            }
            see(MailChange::BodyEnded { seq });
        }
        self.ids.remove((message.id, seq));
        if let Some(scope) = self.scope(seq) {
            self.scopes.remove((seq, scope));
        }
        self.let_go(message.endpoint, message.server);
    }

    pub(super) fn link(&mut self, seq: Seq, message: &Message, see: Sink<'_>) {
        let Message { server, endpoint, not_before, expires, .. } = *message;
        let Some(queue) = self.queues.get_mut(usize::from(message.queue)) else { return };
        match message.status {
            Status::Pending => {
                queue.pending += 1;
                queue.unrouted += u64::from(server == ServerNo::NOWHERE);
                self.by_server.insert(Numbered::new(server.0, seq));
                *self.counts.entry((endpoint, server)).or_default() += 1;
                if expires > 0 {
                    self.expiring.insert((expires, seq));
                }
                if not_before > 0 {
                    self.resting.insert((not_before, seq));
                    if server != ServerNo::NOWHERE {
                        self.delayed.insert(SlotKey::new(message.slot(seq)));
                    }
                } else if server != ServerNo::NOWHERE {
                    let slot = message.slot(seq);
                    self.ready.insert(SlotKey::new(slot));
                    see(MailChange::Ready(slot));
                }
                if server != ServerNo::NOWHERE {
                    self.update_server(server, |server| server.pending += 1);
                }
            }
            Status::Dead => queue.dead += 1,
            Status::Confirmed | Status::Expired => {
                queue.kept += 1;
                self.finished.insert((expires, seq));
            }
        }
    }

    fn unlink(&mut self, seq: Seq, message: &Message, quiet: bool, see: Sink<'_>) {
        let Message { server, endpoint, not_before, expires, .. } = *message;
        let Some(queue) = self.queues.get_mut(usize::from(message.queue)) else { return };
        match message.status {
            Status::Pending => {
                queue.pending -= 1;
                queue.unrouted -= u64::from(server == ServerNo::NOWHERE);
                self.by_server.remove(Numbered::new(server.0, seq));
                let left = self.counts.get_mut(&(endpoint, server)).map(|count| {
                    *count -= 1;
                    *count
                });
                if left == Some(0) {
                    self.counts.remove(&(endpoint, server));
                }
                self.expiring.remove((expires, seq));
                self.resting.remove((not_before, seq));
                if server != ServerNo::NOWHERE {
                    self.ready.remove(SlotKey::new(message.slot(seq)));
                    self.delayed.remove(SlotKey::new(message.slot(seq)));
                    self.update_server(server, |server| server.pending -= 1);
                    see(MailChange::Withdrawn { server, seq, quiet });
                }
            }
            Status::Dead => queue.dead -= 1,
            Status::Confirmed | Status::Expired => {
                queue.kept -= 1;
                self.finished.remove((expires, seq));
            }
        }
    }

    fn create_queue(&mut self, name: Name) {
        if self.queue(&name).is_none() {
            self.queues.push_back(QueueState {
                name,
                stored: 0,
                confirmed: 0,
                expired: 0,
                given_up: 0,
                pending: 0,
                unrouted: 0,
                dead: 0,
                kept: 0,
            });
        }
    }

    /// The endpoint whose row routes an endpoint, as far as was said when its messages were routed.
    #[must_use]
    pub fn routed_by(&self, endpoint: EndpointNo) -> Option<&str> {
        let via = self.endpoints.get(endpoint.index())?.via;
        (via != EndpointNo::NOWHERE).then(|| self.endpoint(via))
    }

    /// From now on an endpoint is routed by this one's row, or by none.
    fn is_routed_by(&mut self, endpoint: EndpointNo, via: Option<&str>) {
        let via = via.map_or(EndpointNo::NOWHERE, |via| self.intern_endpoint(via));
        self.follow(endpoint, via);
    }

    pub(super) fn follow(&mut self, endpoint: EndpointNo, via: EndpointNo) {
        // Looked at first: taking it to change it copies what stands around it.
        let before = self.endpoints.get(endpoint.index()).map(|state| state.via);
        if before.is_some_and(|before| before != via)
            && let Some(state) = self.endpoints.get_mut(endpoint.index())
        {
            let before = std::mem::replace(&mut state.via, via);
            self.followers.remove(&(before, endpoint));
            if via != EndpointNo::NOWHERE {
                self.followers.insert((via, endpoint));
            }
            // What is routed anew may have been the last that needed the other's name.
            if before != endpoint {
                self.release_endpoint(before);
            }
        }
    }

    pub(super) fn intern_server(&mut self, server: &str) -> ServerNo {
        if let Some(number) = self.server_numbers.get(server) {
            return *number;
        }
        let name: Arc<str> = server.into();
        let state = ServerState { server: Arc::clone(&name), ..ServerState::default() };
        let number = match self.vacant_servers.get_min().copied() {
            Some(vacant) => {
                self.vacant_servers.remove(&vacant);
                self.update_server(vacant, |server| *server = state);
                vacant
            }
            None => {
                self.servers.push_back(state);
                ServerNo::of(self.servers.len() - 1)
            }
        };
        self.server_numbers.insert(name, number);
        number
    }

    pub(super) fn intern_endpoint(&mut self, endpoint: &str) -> EndpointNo {
        if let Some(number) = self.endpoint_numbers.get(endpoint) {
            return *number;
        }
        let name: Arc<str> = endpoint.into();
        let state = EndpointState { name: Arc::clone(&name), via: EndpointNo::NOWHERE };
        let number = match self.vacant_endpoints.get_min().copied() {
            Some(vacant) => {
                self.vacant_endpoints.remove(&vacant);
                self.endpoints.set(vacant.index(), state);
                vacant
            }
            None => {
                self.endpoints.push_back(state);
                EndpointNo::of(self.endpoints.len() - 1)
            }
        };
        self.endpoint_numbers.insert(name, number);
        number
    }

    pub(super) fn update_server(
        &mut self,
        number: ServerNo,
        update: impl FnOnce(&mut ServerState),
    ) {
        if let Some(server) = self.servers.get_mut(number.index()) {
            update(server);
        }
    }
}
