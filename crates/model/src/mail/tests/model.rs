//! Random histories against a naive model: every list is a list, every question a search.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::{Fixture, Seq, Status, ack, lease};
use crate::mail::MailOperation;
use crate::registration::Generation;

#[derive(Debug, Clone)]
enum Step {
    Send { to: usize, priority: u8, ttl: bool },
    Import { to: usize },
    Route { nth: usize },
    Move { org: usize, server: usize },
    Register { server: usize },
    Ack { nth: usize, server: usize, stale: bool },
    Nack { nth: usize, failed: bool },
    Reject { nth: usize },
    Retry { nth: usize },
    Pass,
}

const ENDPOINTS: [&str; 5] = ["org/1", "org/2", "user/1/a", "user/2/a", "server/9"];
const SERVERS: [&str; 3] = ["7", "8", "9"];

fn step() -> impl Strategy<Value = Step> {
    let nth = 0..40_usize;
    let server = 0..SERVERS.len();
    prop_oneof![
        6 => (0..ENDPOINTS.len(), 3..6_u8, any::<bool>())
            .prop_map(|(to, priority, ttl)| Step::Send { to, priority, ttl }),
        1 => (0..ENDPOINTS.len()).prop_map(|to| Step::Import { to }),
        1 => nth.clone().prop_map(|nth| Step::Route { nth }),
        2 => (1..3_usize, server.clone()).prop_map(|(org, server)| Step::Move { org, server }),
        1 => server.clone().prop_map(|server| Step::Register { server }),
        4 => (nth.clone(), server, any::<bool>())
            .prop_map(|(nth, server, stale)| Step::Ack { nth, server, stale }),
        2 => (nth.clone(), any::<bool>()).prop_map(|(nth, failed)| Step::Nack { nth, failed }),
        1 => nth.clone().prop_map(|nth| Step::Reject { nth }),
        1 => nth.prop_map(|nth| Step::Retry { nth }),
        2 => Just(Step::Pass),
    ]
}

#[derive(Debug, Clone)]
struct Known {
    to: &'static str,
    server: Option<String>,
    priority: u8,
    attempts: u16,
    status: Status,
    rests: bool,
    expires: Option<u64>,
}

/// The naive model.
#[derive(Default)]
struct Naive {
    directory: BTreeMap<usize, String>,
    generations: BTreeMap<String, Generation>,
    messages: Vec<Known>,
}

impl Naive {
    fn org_of(to: &str) -> Option<usize> {
        to.strip_prefix("org/").or(to.strip_prefix("user/"))?.split('/').next()?.parse().ok()
    }

    fn route(&self, to: &str) -> Option<String> {
        match Self::org_of(to) {
            Some(org) => self.directory.get(&org).cloned(),
            None => Some("9".into()),
        }
    }

    fn generation(&self, server: &str) -> Generation {
        self.generations.get(server).copied().unwrap_or_default()
    }

    fn ready(&self, server: &str) -> Vec<(&'static str, u8, usize)> {
        let mut all: Vec<_> = (1..)
            .zip(&self.messages)
            .filter(|(_, m)| m.status == Status::Pending && !m.rests)
            .filter(|(_, m)| m.server.as_deref() == Some(server))
            .map(|(seq, m)| (m.to, u8::MAX - m.priority, seq))
            .collect();
        all.sort_unstable();
        all
    }
}

struct Both {
    house: Fixture,
    naive: Naive,
}

impl Both {
    fn new() -> Self {
        let mut naive = Naive::default();
        naive.directory.extend([(1, "7".to_owned()), (2, "8".to_owned())]);
        let mut house = Fixture::new();
        for server in SERVERS {
            naive.generations.insert(server.to_owned(), house.register(server));
        }
        Self { house, naive }
    }

    fn pending(&self, nth: usize) -> Option<(u64, Known)> {
        let known = self.naive.messages.get(nth)?;
        (known.status == Status::Pending).then(|| (nth as u64 + 1, known.clone()))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { to, priority, ttl } => self.send(ENDPOINTS[to], priority, ttl),
            Step::Import { to } => {
                let to = ENDPOINTS[to];
                self.house.result(json!({"op": "import", "queue": "mail", "to": to, "body": 1}));
                self.store(to, None, 4, None);
            }
            Step::Route { nth } => {
                self.house.mail(MailOperation::Route { seq: Seq(nth as u64 + 1) });
                if let Some((_, known)) = self.pending(nth).filter(|(_, m)| m.server.is_none()) {
                    self.naive.messages[nth].server = self.naive.route(known.to);
                }
            }
            Step::Move { org, server } => {
                let (endpoint, to) = (format!("org/{org}"), SERVERS[server]);
                self.house.result(json!({"op": "move", "endpoint": endpoint, "to": to}));
                self.naive.directory.insert(org, to.to_owned());
                for known in &mut self.naive.messages {
                    let follows = Naive::org_of(known.to) == Some(org) && known.server.is_some();
                    if follows && known.status == Status::Pending {
                        known.server = Some(to.to_owned());
                    }
                }
            }
            Step::Register { server } => {
                let generation = self.house.register(SERVERS[server]);
                self.naive.generations.insert(SERVERS[server].to_owned(), generation);
            }
            Step::Ack { nth, server, stale } => {
                let server = SERVERS[server];
                let generation = self.naive.generation(server);
                let generation =
                    if stale { Generation(generation.0.wrapping_sub(1)) } else { generation };
                let outcome = self.house.mail(ack(server, generation, Seq(nth as u64 + 1)));
                let own = self.pending(nth).filter(|(_, m)| m.server.as_deref() == Some(server));
                if own.is_some() && !stale {
                    assert_eq!(outcome, 0);
                    self.naive.messages[nth].status = Status::Confirmed;
                } else {
                    assert_ne!(outcome, 0);
                }
            }
            Step::Nack { nth, failed } => self.nack(nth, failed),
            Step::Reject { nth } => {
                let Some((seq, known)) = self.pending(nth) else { return };
                let Some(server) = known.server else { return };
                let lease = lease(&server, self.naive.generation(&server), Seq(seq));
                self.house.mail(MailOperation::Reject { lease, reason: "no".into() });
                let known = &mut self.naive.messages[nth];
                (known.status, known.rests) = (Status::Dead, false);
            }
            Step::Retry { nth } => {
                let retried = self.house.commit(json!([{"op": "retry", "seq": nth + 1}]));
                let Ok(_) = retried else { return };
                let to = self.naive.messages[nth].to;
                let server = self.naive.route(to);
                let known = &mut self.naive.messages[nth];
                assert_eq!(known.status, Status::Dead);
                *known = Known {
                    server,
                    status: Status::Pending,
                    attempts: 0,
                    expires: None,
                    ..known.clone()
                };
            }
            Step::Pass => self.pass(),
        }
    }

    fn send(&mut self, to: &'static str, priority: u8, ttl: bool) {
        let mut letter =
            json!({"op": "send", "queue": "mail", "to": to, "body": 1, "priority": priority});
        if ttl {
            letter["ttl_ms"] = 5_000.into();
        }
        self.house.result(letter);
        let server = self.naive.route(to);
        self.store(to, server, priority, ttl.then_some(self.house.now_ms + 5_000));
    }

    fn store(
        &mut self,
        to: &'static str,
        server: Option<String>,
        priority: u8,
        expires: Option<u64>,
    ) {
        let (attempts, status, rests) = (0, Status::Pending, false);
        self.naive.messages.push(Known { to, server, priority, attempts, status, rests, expires });
    }

    fn nack(&mut self, nth: usize, failed: bool) {
        let Some((seq, known)) = self.pending(nth) else { return };
        let Some(server) = known.server else { return };
        let lease = lease(&server, self.naive.generation(&server), Seq(seq));
        self.house.mail(MailOperation::Nack { lease, delay_ms: 100, failed });
        let known = &mut self.naive.messages[nth];
        known.attempts += u16::from(failed);
        let dead = known.attempts == 3;
        (known.status, known.rests) =
            if dead { (Status::Dead, false) } else { (Status::Pending, true) };
    }

    /// Three seconds pass: all that rests has rested, and some expire.
    fn pass(&mut self) {
        self.house.now_ms += 3_000;
        self.house.tend();
        for known in &mut self.naive.messages {
            known.rests = false;
            let over = known.expires.is_some_and(|at| at <= self.house.now_ms);
            if over && known.status == Status::Pending {
                known.status = Status::Expired;
            }
        }
    }

    fn check(&self) {
        for server in SERVERS {
            let mut wanted = BTreeMap::<&str, Vec<Seq>>::new();
            for (to, _, seq) in self.naive.ready(server) {
                wanted.entry(to).or_default().push(Seq(seq as u64));
            }
            let mut found = BTreeMap::<String, Vec<Seq>>::new();
            for (to, seq) in self.house.ready(server) {
                found.entry(to).or_default().push(seq);
            }
            let found: Vec<_> = found.iter().map(|(to, seqs)| (&**to, seqs)).collect();
            assert_eq!(found, wanted.iter().map(|(to, seqs)| (*to, seqs)).collect::<Vec<_>>());
        }
        for (seq, known) in (1..).zip(&self.naive.messages) {
            // Forgotten ones are gone from the house only.
            let Some(status) = self.house.status(Seq(seq)) else {
                assert_ne!(known.status, Status::Pending, "{seq}");
                continue;
            };
            assert_eq!(status, known.status, "{seq}");
            if status == Status::Pending {
                assert_eq!(self.house.server_of(Seq(seq)), known.server, "{seq}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn i40_i43_any_history_is_what_a_naive_model_says(
            steps in prop::collection::vec(step(), 1..80)
        ) {
        let mut both = Both::new();
        for step in &steps {
            both.step(step);
            both.check();
        }
        both.house.check_books();
        both.house.check_copies();
    }
}
