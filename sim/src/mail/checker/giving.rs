//! Laws of delivery: which server is given which message, and when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use instep_model::mail::Seq;
use instep_model::registration::Generation;

use super::books::{Books, State};
use crate::judged::Finding;
use crate::mail::fact::Fact;

pub(super) fn no_server_is_given_the_mail_of_another(facts: &[Fact]) -> Result<(), Finding> {
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        let Fact::Given { server, generation, seq, .. } = fact else { continue };
        let message = books.messages.get(seq);
        let is_its_own = message.is_some_and(|message| {
            message.state == State::Pending && message.server.as_deref() == Some(server)
        });
        if !is_its_own || books.generations.get(*server) != Some(generation) {
            return Err((at, format!("message {seq} is not for this registration: {message:?}")));
        }
    }
    Ok(())
}

pub(super) fn nothing_is_given_after_its_time(facts: &[Fact]) -> Result<(), Finding> {
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        let Fact::Given { seq, now_ms, .. } = fact else { continue };
        let over = |one: &super::books::Message| one.expires > 0 && one.expires <= *now_ms;
        if books.messages.get(seq).is_some_and(over) {
            return Err((at, format!("message {seq} is given after its time")));
        }
    }
    Ok(())
}

/// The books as the delivery has seen them: messages stored later are not in them yet.
#[derive(Default)]
struct Shown<'a> {
    books: Books,
    waiting: VecDeque<&'a Fact>,
}

impl<'a> Shown<'a> {
    fn take(&mut self, fact: &'a Fact) {
        match fact {
            Fact::Stored { .. } => self.waiting.push_back(fact),
            Fact::Shown { revision: shown } => {
                while let Some(Fact::Stored { revision, .. }) = self.waiting.front()
                    && revision <= shown
                    && let Some(stored) = self.waiting.pop_front()
                {
                    self.books.take(stored);
                }
            }
            _ => {}
        }
    }
}

pub(super) fn each_endpoint_keeps_its_order(facts: &[Fact]) -> Result<(), Finding> {
    let mut shown = Shown::default();
    // What a registration has been given or asked about, and what is still to be written to it.
    let mut known = BTreeMap::<(&str, Generation), BTreeSet<Seq>>::new();
    let mut chosen = BTreeMap::<(&str, Generation), Outbox>::new();
    let mut books = Books::default();
    // What was over once by the clock may have been left out then.
    let mut latest = 0;
    for (at, fact) in facts.iter().enumerate() {
        shown.take(fact);
        books.take(fact);
        if let Fact::Chosen { now_ms, .. } | Fact::Given { now_ms, .. } = fact {
            latest = latest.max(*now_ms);
        }
        match fact {
            Fact::Joined { server, generation, have, .. } => {
                let have = have.iter().flatten().copied().collect();
                known.insert((server, *generation), have);
            }
            Fact::Asked { server, generation, seqs } => {
                known.entry((server, *generation)).or_default().extend(seqs);
            }
            Fact::HasNot { server, generation, seqs } => {
                let known = known.entry((server, *generation)).or_default();
                known.retain(|seq| !seqs.contains(seq));
            }
            Fact::Chosen { server, generation, seqs, .. } => {
                let outbox = chosen.entry((server, *generation)).or_default();
                outbox.waiting.extend(seqs.iter().map(|seq| (at, *seq)));
                let known = known.entry((server, *generation)).or_default();
                for seq in seqs {
                    if let Some(earlier) = overtaken(&shown.books, *seq, known, latest) {
                        return Err((at, format!("message {seq} is given before {earlier}")));
                    }
                    known.insert(*seq);
                }
            }
            Fact::Given { server, generation, seq, .. } => {
                let outbox = chosen.entry((server, *generation)).or_default();
                if let Err(what) = outbox.write(at, *seq, &books, latest) {
                    return Err((at, what));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Messages that were chosen for a registration and wait to be written.
#[derive(Default)]
struct Outbox {
    /// The fact that chose it, and the message.
    waiting: VecDeque<(usize, Seq)>,
    /// Messages that were left out, by when that was.
    left_out: Vec<(usize, Seq)>,
    /// Messages that were written, the first time or another.
    written: BTreeSet<Seq>,
}

impl Outbox {
    fn write(&mut self, at: usize, seq: Seq, books: &Books, latest: u64) -> Result<(), String> {
        // What ended or moved meanwhile is not written, so some may be left out.
        let chosen_at = loop {
            match self.waiting.pop_front() {
                Some((chosen_at, next)) if next == seq => break chosen_at,
                Some((_, next)) => self.left_out.push((at, next)),
                None => return Err(format!("message {seq} is written out of its turn")),
            }
        };
        self.written.insert(seq);
        // An earlier one that was left out and is this server's again comes anew, and so must all
        // that were chosen with it.
        let Some(message) = books.messages.get(&seq) else { return Ok(()) };
        let passed = self.left_out.iter().find(|(left_out_at, earlier)| {
            books.messages.get(earlier).is_some_and(|other| {
                *earlier < seq
                    && chosen_at < *left_out_at
                    && !self.written.contains(earlier)
                    && (&other.to, &other.server) == (&message.to, &message.server)
                    && other.priority == message.priority
                    && other.state == State::Pending
                    && !other.rests
                    && !other.has_lived(latest)
            })
        });
        match passed {
            Some((_, earlier)) => Err(format!("message {seq} is written before {earlier}")),
            None => Ok(()),
        }
    }
}

/// A message of the same endpoint and priority that should come before this one.
fn overtaken(books: &Books, seq: Seq, known: &BTreeSet<Seq>, latest: u64) -> Option<Seq> {
    let message = books.messages.get(&seq)?;
    let earlier = books.messages.range(..seq).find(|(earlier, other)| {
        other.to == message.to
            && other.server == message.server
            && other.priority == message.priority
            && other.state == State::Pending
            && !other.rests
            && !other.has_lived(latest)
            && !known.contains(earlier)
    });
    earlier.map(|(earlier, _)| *earlier)
}

pub(super) fn unconfirmed_messages_are_asked_about_first(facts: &[Fact]) -> Result<(), Finding> {
    // By server and message: the registration that was given it last, since the hub came up.
    let mut given = BTreeMap::<(&str, Seq), Generation>::new();
    let mut asked = BTreeMap::<(&str, Generation, Seq), u32>::new();
    let mut newest = BTreeMap::<&str, Generation>::new();
    let mut declared = BTreeSet::<(&str, Generation)>::new();
    let mut shown = Shown::default();
    for (at, fact) in facts.iter().enumerate() {
        let before: BTreeMap<Seq, _> = match fact {
            Fact::Shown { .. } => takings(&shown.books),
            _ => BTreeMap::new(),
        };
        shown.take(fact);
        match fact {
            Fact::Restarted => given.clear(),
            // What was put back, or belongs to another server, is not in its hands any more.
            Fact::Shown { .. } => {
                let now = takings(&shown.books);
                given.retain(|(_, seq), _| now.get(seq) == before.get(seq));
            }
            Fact::Joined { server, generation, have, .. } => {
                newest.insert(*server, *generation);
                if let Some(have) = have {
                    given.retain(|(of, seq), _| of != server || have.contains(seq));
                    declared.insert((server, *generation));
                }
            }
            Fact::HasNot { server, generation, seqs } if newest.get(server) == Some(generation) => {
                given.retain(|(of, seq), _| of != server || !seqs.contains(seq));
            }
            Fact::Asked { server, generation, seqs } => {
                for seq in seqs {
                    let asks = asked.entry((*server, *generation, *seq)).or_insert(0);
                    *asks += 1;
                    // Silence for so long counts as a no.
                    if *asks >= instep_model::limits::MAIL_ASKS {
                        given.remove(&(*server, *seq));
                    }
                }
            }
            Fact::Chosen { server, generation, seqs, .. } => {
                for seq in seqs {
                    let last = given.insert((server, *seq), *generation);
                    let is_settled = asked.contains_key(&(*server, *generation, *seq))
                        || declared.contains(&(*server, *generation));
                    if last.is_some_and(|last| last != *generation) && !is_settled {
                        return Err((at, format!("message {seq} is given again without asking")));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Times that each message was taken from the server that had it.
fn takings(books: &Books) -> BTreeMap<Seq, u64> {
    books.messages.iter().map(|(seq, message)| (*seq, message.takings)).collect()
}

pub(super) fn a_window_is_kept(facts: &[Fact]) -> Result<(), Finding> {
    let mut credits = BTreeMap::<(&str, Generation), usize>::new();
    for (at, fact) in facts.iter().enumerate() {
        match fact {
            Fact::Joined { server, generation, credit, .. } => {
                credits.insert((server, *generation), *credit);
            }
            Fact::Chosen { server, generation, seqs, unconfirmed, .. } => {
                let credit = credits.get(&(*server, *generation)).copied().unwrap_or(0);
                // What an earlier registration was given counts, and may be more.
                if *unconfirmed > credit && !seqs.is_empty() {
                    return Err((at, format!("{unconfirmed} messages in a window of {credit}")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
