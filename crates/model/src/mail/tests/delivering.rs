//! The delivery machine under whatever happens in whatever order: the laws that hold all the while.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use crate::limits;
use crate::mail::ServerNo;
use crate::mail::delivery::{Delivery, Effect, Event, Times};
use crate::mail::{Mail, MailChange, MailRecord, Message, Seq, Status};
use crate::name::Name;
use crate::registration::Generation;

const SERVERS: [&str; 3] = ["7", "8", "9"];
const ENDPOINTS: [&str; 4] = ["org/1", "org/2", "org/3", "org/4"];
const TIMES: Times = Times { lease_ms: 1_000, ask_ms: 100 };

/// `nth` counts through what a server has unconfirmed.
#[derive(Debug, Clone)]
enum Step {
    Send { endpoint: usize, priority: u8 },
    Move { endpoint: usize, server: usize },
    Join { server: usize, credit: usize, says: Says },
    Leave { server: usize },
    Credit { server: usize, credit: usize },
    Start { server: usize, nth: usize },
    HasNot { server: usize, nth: usize },
    Confirm { server: usize, nth: usize },
    PutBack { server: usize, nth: usize },
    Release,
    Wait { ms: u64 },
}

/// Statement of a server that joins about the messages that it has.
#[derive(Debug, Clone, Copy)]
enum Says {
    Nothing,
    HasNone,
    HasSome,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let server = 0..SERVERS.len();
    let endpoint = 0..ENDPOINTS.len();
    let says = prop_oneof![Just(Says::Nothing), Just(Says::HasNone), Just(Says::HasSome)];
    let at = || (0..SERVERS.len(), 0..8_usize);
    let step = prop_oneof![
        8 => (endpoint.clone(), prop_oneof![3 => Just(4), 1 => Just(7)])
            .prop_map(|(endpoint, priority)| Step::Send { endpoint, priority }),
        2 => (endpoint, server.clone())
            .prop_map(|(endpoint, server)| Step::Move { endpoint, server }),
        3 => (server.clone(), 0..6_usize, says)
            .prop_map(|(server, credit, says)| Step::Join { server, credit, says }),
        1 => server.clone().prop_map(|server| Step::Leave { server }),
        1 => (server, 0..8_usize).prop_map(|(server, credit)| Step::Credit { server, credit }),
        2 => at().prop_map(|(server, nth)| Step::Start { server, nth }),
        2 => at().prop_map(|(server, nth)| Step::HasNot { server, nth }),
        6 => at().prop_map(|(server, nth)| Step::Confirm { server, nth }),
        2 => at().prop_map(|(server, nth)| Step::PutBack { server, nth }),
        1 => Just(Step::Release),
        4 => (1..2_000_u64).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..150)
}

/// A registration, as its server sees it.
#[derive(Default)]
struct Registration {
    generation: Generation,
    is_there: bool,
    credit: usize,
    /// Messages that it was given, was asked about, or said that it has, and has still.
    known: BTreeSet<Seq>,
    /// Messages that an earlier one was given, and that have no answer.
    unanswered: BTreeSet<Seq>,
}

struct Post {
    mail: Mail,
    delivery: Delivery,
    now_ms: u64,
    places: [usize; ENDPOINTS.len()],
    generation: u32,
    registrations: [Registration; SERVERS.len()],
    /// Messages given and asked about since the last look.
    given: Vec<(usize, Seq)>,
    asked: Vec<(usize, Seq)>,
}

impl Post {
    fn new() -> Self {
        let mut post = Self {
            mail: Mail::default(),
            delivery: Delivery::new(TIMES),
            now_ms: 1_000_000,
            places: [0; ENDPOINTS.len()],
            generation: 1,
            registrations: Default::default(),
            given: vec![],
            asked: vec![],
        };
        let queue = MailRecord::Queue { queue: Name::new("mail").unwrap() };
        let known = |server: &str| MailRecord::Registered {
            server: server.into(),
            generation: Generation(1),
        };
        for record in std::iter::once(queue).chain(SERVERS.map(known)) {
            post.mail.apply(record, post.now_ms, &mut |_| {});
        }
        post
    }

    /// Takes a record in; the delivery hears of it.
    fn write(&mut self, record: MailRecord) {
        let mut changes = vec![];
        assert!(self.mail.apply(record, self.now_ms, &mut |change| changes.push(change)));
        for change in &changes {
            if let MailChange::Withdrawn { server, seq, .. } = change {
                let at = self.at(*server);
                self.registrations[at].known.remove(seq);
                self.registrations[at].unanswered.remove(seq);
            }
        }
        self.handle(Event::Changed(changes));
    }

    fn register(&mut self, server: usize) -> Generation {
        let generation = Generation(self.registrations[server].generation.0.max(1) + 1);
        self.write(MailRecord::Registered { server: SERVERS[server].into(), generation });
        generation
    }

    fn number(&self, server: usize) -> ServerNo {
        self.mail.server_number(SERVERS[server]).unwrap()
    }

    fn at(&self, number: ServerNo) -> usize {
        let server = self.mail.server(number).unwrap();
        SERVERS.iter().position(|known| **known == *server.server).unwrap()
    }

    fn message(&self, seq: Seq) -> Message {
        self.mail.message(seq).unwrap()
    }

    fn unconfirmed(&self, server: usize) -> Vec<Seq> {
        let generation = self.registrations[server].generation;
        self.delivery.unconfirmed(self.number(server).at(generation), Seq::ZERO, Seq::MAX)
    }

    /// One of what a server has unconfirmed.
    fn nth(&self, server: usize, nth: usize) -> Option<Seq> {
        let all = self.unconfirmed(server);
        all.get(nth % all.len().max(1)).copied()
    }

    fn handle(&mut self, event: Event) {
        self.delivery.handle(event, &self.mail, self.now_ms);
        let mut given = vec![];
        while let Some(effect) = self.delivery.next_effect() {
            match effect {
                Effect::Give { registration, seqs, .. } => {
                    let at = self.at(registration.server);
                    self.is_for(at, registration.generation);
                    given.extend(seqs.into_iter().map(|seq| (at, seq)));
                }
                Effect::Ask { registration, seqs } => {
                    let at = self.at(registration.server);
                    self.is_for(at, registration.generation);
                    self.registrations[at].known.extend(&seqs);
                    self.asked.extend(seqs.into_iter().map(|seq| (at, seq)));
                }
                Effect::Gone { registration, .. } => {
                    self.is_for(self.at(registration.server), registration.generation);
                }
                Effect::WorkerDied { .. } | Effect::Replaced { .. } => {}
            }
        }
        self.each_is_in_one_hand();
        self.all_come_in_their_turn(&given);
        self.given.extend(given);
    }

    /// Asserts that an effect is for the registration that is there.
    fn is_for(&self, server: usize, generation: Generation) {
        let registration = &self.registrations[server];
        assert!(registration.is_there && registration.generation == generation);
    }

    /// No message is at two servers, and each is at its own, pending and not resting.
    fn each_is_in_one_hand(&self) {
        let mut hands = BTreeMap::new();
        for server in 0..SERVERS.len() {
            for seq in self.unconfirmed(server) {
                assert_eq!(hands.insert(seq, server), None, "message {seq} is at two servers");
                let message = self.message(seq);
                assert_eq!(
                    (message.server, message.status),
                    (self.number(server), Status::Pending)
                );
                assert_eq!(message.not_before, 0, "message {seq} rests");
            }
        }
    }

    fn all_come_in_their_turn(&mut self, given: &[(usize, Seq)]) {
        // Silence for long counts as a no: then it is not in the server's hands any more.
        for server in 0..SERVERS.len() {
            let hands = self.unconfirmed(server);
            self.registrations[server].unanswered.retain(|seq| hands.contains(seq));
        }
        for (server, seq) in given {
            self.registrations[*server].unanswered.remove(seq);
        }
        for &(server, seq) in given {
            let message = self.message(seq);
            let of_endpoint = |other: &Message| other.endpoint == message.endpoint;
            let registration = &self.registrations[server];
            let window = self.unconfirmed(server).len();
            assert!(window <= registration.credit, "{window} of {}", registration.credit);
            let slot = message.slot(seq);
            let comes_first = |other: &&Seq| {
                let message = self.message(**other);
                of_endpoint(&message) && message.slot(**other) < slot
            };
            let waits = registration.unanswered.iter().find(comes_first);
            assert_eq!(waits, None, "{seq} is given while its server is asked about another");
            let passed = self.mail.messages_after(Seq::ZERO).find(|(earlier, other)| {
                *earlier < seq
                    && of_endpoint(other)
                    && other.server == message.server
                    && other.priority == message.priority
                    && other.status == Status::Pending
                    && other.not_before == 0
                    && !registration.known.contains(earlier)
            });
            assert!(passed.is_none(), "{seq} is given before {passed:?}");
            self.registrations[server].known.insert(seq);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Send { endpoint, priority } => self.send(endpoint, priority),
            Step::Move { endpoint, server } => {
                self.places[endpoint] = server;
                self.generation += 1;
                let (via, server) = (ENDPOINTS[endpoint].into(), SERVERS[server].into());
                self.write(MailRecord::Moved { via, server, generation: self.generation });
            }
            Step::Join { server, credit, says } => self.join(server, credit, says),
            Step::Leave { server } => {
                let Registration { generation, is_there, .. } = &mut self.registrations[server];
                *is_there = false;
                let (server, generation) = (self.mail.server_number(SERVERS[server]), *generation);
                self.handle(Event::Left { registration: server.unwrap().at(generation) });
            }
            Step::Credit { server, credit } => {
                let registration = &mut self.registrations[server];
                registration.credit = credit;
                let generation = registration.generation;
                let server = self.number(server);
                self.handle(Event::Credit { registration: server.at(generation), credit });
            }
            Step::Start { server, nth } => {
                let seqs = self.nth(server, nth).into_iter().collect();
                let generation = self.registrations[server].generation;
                let server = self.number(server);
                self.handle(Event::Started { registration: server.at(generation), seqs });
            }
            Step::HasNot { server, nth } => {
                let seqs = self.nth(server, nth).into_iter().collect();
                self.has_not(server, seqs);
            }
            Step::Confirm { server, nth } => {
                if let Some(seq) = self.nth(server, nth) {
                    self.write(MailRecord::Confirmed { seq });
                }
            }
            Step::PutBack { server, nth } => {
                if let Some(seq) = self.nth(server, nth) {
                    let not_before = self.now_ms + 500;
                    self.write(MailRecord::Delayed { seq, attempts: 0, not_before });
                }
            }
            Step::Release => self.release(),
            Step::Wait { ms } => {
                self.now_ms += ms;
                self.handle(Event::Tick);
            }
        }
    }

    fn send(&mut self, endpoint: usize, priority: u8) {
        let (seq, to) = (self.mail.last().next(), ENDPOINTS[endpoint]);
        self.write(MailRecord::Stored {
            seq,
            queue: Name::new("mail").unwrap(),
            id: Uuid::from_u128(seq.0.into()),
            to: to.into(),
            server: Some(SERVERS[self.places[endpoint]].into()),
            via: Some(to.into()),
            generation: self.generation,
            priority,
            not_before: 0,
            expires: 0,
            digest: 0,
            body: Bytes::from_static(b"1"),
        });
    }

    fn join(&mut self, server: usize, credit: usize, says: Says) {
        let generation = self.register(server);
        let held = self.unconfirmed(server);
        let have = match says {
            Says::Nothing => None,
            Says::HasNone => Some(vec![]),
            Says::HasSome => Some(held.iter().copied().step_by(2).collect::<Vec<_>>()),
        };
        self.registrations[server] = Registration {
            generation,
            is_there: true,
            credit,
            known: have.clone().unwrap_or_default().into_iter().collect(),
            unanswered: if have.is_none() { held.into_iter().collect() } else { BTreeSet::new() },
        };
        let number = self.number(server);
        self.handle(Event::Registered { registration: number.at(generation), credit, have });
    }

    fn has_not(&mut self, server: usize, seqs: Vec<Seq>) {
        let registration = &mut self.registrations[server];
        if !registration.is_there {
            return;
        }
        for seq in &seqs {
            registration.known.remove(seq);
            registration.unanswered.remove(seq);
        }
        let generation = registration.generation;
        let server = self.number(server);
        self.handle(Event::HasNot { registration: server.at(generation), seqs });
    }

    fn release(&mut self) {
        let rests = |(seq, message): (Seq, Message)| {
            (message.status == Status::Pending && message.not_before > 0).then_some(seq)
        };
        let resting: Vec<Seq> = self.mail.messages_after(Seq::ZERO).filter_map(rests).collect();
        for seq in resting {
            self.write(MailRecord::Released { seq });
        }
    }

    /// Registers all servers, confirms until nothing more comes, and returns the messages left
    /// over.
    fn come_to_rest(&mut self) -> Vec<Seq> {
        self.release();
        for server in 0..SERVERS.len() {
            self.join(server, limits::MAIL_CREDIT, Says::HasNone);
        }
        for _ in 0..200 {
            for (server, seq) in std::mem::take(&mut self.asked) {
                // One of them never answers.
                if server > 0 {
                    self.has_not(server, vec![seq]);
                }
            }
            for (_, seq) in std::mem::take(&mut self.given) {
                if self.message(seq).status == Status::Pending {
                    self.write(MailRecord::Confirmed { seq });
                }
            }
            self.now_ms += 50;
            self.handle(Event::Tick);
        }
        let is_left = |message: &Message| message.status == Status::Pending;
        self.mail
            .messages_after(Seq::ZERO)
            .filter(|(_, one)| is_left(one))
            .map(|(seq, _)| seq)
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn i38_i39_i43_i44_one_hand_in_order_within_the_window_and_all_in_the_end(steps in steps()) {
        let mut post = Post::new();

        for step in steps {
            post.take(step);
        }

        prop_assert_eq!(post.come_to_rest(), Vec::<Seq>::new());
    }
}
