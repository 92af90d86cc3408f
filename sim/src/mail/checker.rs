//! The laws of mail, each once, over recorded facts.

use std::collections::{BTreeMap, BTreeSet};

use instep_model::mail::{Seq, outcome};
use uuid::Uuid;

use crate::judged::{Checker, Finding};

use super::fact::{Fact, Noted};
use books::{Books, State};

mod books;
mod giving;

/// Every checker with what it guards, in the order in which a failure is best understood.
pub const CHECKERS: &[Checker<Fact>] = &[
    ("an_accepted_message_is_in_the_books", "law 1, I37", an_accepted_message_is_in_the_books),
    ("a_letter_is_stored_once", "I45", a_letter_is_stored_once),
    ("a_message_ends_once", "I45, I46", a_message_ends_once),
    ("no_message_expires_before_its_time", "I46", no_message_expires_before_its_time),
    ("confirmed_messages_were_done", "I37, I39", confirmed_messages_were_done),
    ("only_the_newest_registration_confirms", "I38, I41", only_the_newest_registration_confirms),
    ("every_route_is_what_the_directory_says", "I40", every_route_is_what_the_directory_says),
    ("only_failures_are_counted", "I35", only_failures_are_counted),
    (
        "no_server_is_given_the_mail_of_another",
        "I38, I41, I42",
        giving::no_server_is_given_the_mail_of_another,
    ),
    ("nothing_is_given_after_its_time", "I46", giving::nothing_is_given_after_its_time),
    ("each_endpoint_keeps_its_order", "I43", giving::each_endpoint_keeps_its_order),
    (
        "unconfirmed_messages_are_asked_about_first",
        "I39",
        giving::unconfirmed_messages_are_asked_about_first,
    ),
    ("a_window_is_kept", "law 6, I44", giving::a_window_is_kept),
    ("everything_is_done_in_the_end", "I17, I34, I40, I44", everything_is_done_in_the_end),
];

fn an_accepted_message_is_in_the_books(facts: &[Fact]) -> Result<(), Finding> {
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        if let Fact::Accepted { id, seq } = fact
            && books.ids.get(seq) != Some(id)
        {
            return Err((at, format!("message {seq} was accepted as {id}, which is not stored")));
        }
    }
    Ok(())
}

fn a_letter_is_stored_once(facts: &[Fact]) -> Result<(), Finding> {
    let mut letters = BTreeMap::<Uuid, u64>::new();
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        if let Fact::Sent { letter, id } = fact {
            letters.insert(*id, *letter);
        }
        if matches!(fact, Fact::Stored { .. }) {
            let mut seen = BTreeSet::new();
            // What was forgotten may come again.
            for (seq, message) in &books.messages {
                let letter = letters.get(&message.id);
                if letter.is_some_and(|letter| !seen.insert(*letter)) {
                    return Err((at, format!("message {seq} was stored before, as another one")));
                }
            }
        }
    }
    Ok(())
}

fn a_message_ends_once(facts: &[Fact]) -> Result<(), Finding> {
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        if let Some(problem) = books.problems.first() {
            return Err((at, problem.clone()));
        }
    }
    Ok(())
}

fn no_message_expires_before_its_time(facts: &[Fact]) -> Result<(), Finding> {
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        let before = books.clone();
        books.take(fact);
        let Fact::Stored { time_ms, .. } = fact else { continue };
        for (seq, message) in &books.messages {
            let was = before.messages.get(seq).map(|message| message.state);
            if message.state == State::Expired
                && was == Some(State::Pending)
                && !message.has_lived(*time_ms)
            {
                return Err((at, format!("message {seq} has expired before its time")));
            }
        }
    }
    Ok(())
}

fn confirmed_messages_were_done(facts: &[Fact]) -> Result<(), Finding> {
    let mut done = BTreeSet::new();
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        if let Fact::Done { server, seq } = fact {
            done.insert((*server, *seq));
        }
        for (seq, server) in std::mem::take(&mut books.confirmed) {
            if !done.iter().any(|(by, what)| (*by, *what) == (&*server, seq)) {
                return Err((
                    at,
                    format!("message {seq} is confirmed, but {server} has not done it"),
                ));
            }
        }
    }
    Ok(())
}

fn only_the_newest_registration_confirms(facts: &[Fact]) -> Result<(), Finding> {
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        let Fact::Judged { server, generation, seq, outcome: outcome::OK, place, .. } = fact else {
            continue;
        };
        let place = (place.revision.0, usize::from(place.index));
        let verdict = books.verdicts.get(&(place.0, place.1, *seq));
        let wanted = (String::from(*server), *generation);
        if verdict != Some(&wanted) {
            let what = format!("message {seq} was {verdict:?}'s when {wanted:?} spoke of it");
            return Err((at, what));
        }
    }
    Ok(())
}

fn every_route_is_what_the_directory_says(facts: &[Fact]) -> Result<(), Finding> {
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        if !matches!(fact, Fact::Stored { .. }) {
            continue;
        }
        for (seq, message) in books.messages.iter().filter(|(_, m)| m.state == State::Pending) {
            let wanted = message.via.as_ref().map(|via| books.directory.get(via));
            if let Some(wanted) = wanted
                && message.server.is_some()
                && wanted != message.server.as_ref()
            {
                return Err((
                    at,
                    format!("message {seq} is for {:?}, not {wanted:?}", message.server),
                ));
            }
        }
    }
    Ok(())
}

fn only_failures_are_counted(facts: &[Fact]) -> Result<(), Finding> {
    let mut causes = BTreeMap::<Seq, u64>::new();
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        if let Fact::Failed { seq, .. } | Fact::Began { seq, .. } = fact {
            *causes.entry(*seq).or_default() += 1;
        }
        for (seq, failures) in &books.failures {
            if *failures > causes.get(seq).copied().unwrap_or(0) {
                return Err((at, format!("message {seq} has {failures} failures without a cause")));
            }
        }
    }
    Ok(())
}

fn everything_is_done_in_the_end(facts: &[Fact]) -> Result<(), Finding> {
    let mut books = Books::default();
    for (at, fact) in facts.iter().enumerate() {
        books.take(fact);
        if *fact != Fact::Rested {
            continue;
        }
        let left = books.messages.iter().find(|(_, message)| message.state == State::Pending);
        if let Some((seq, message)) = left {
            return Err((at, format!("message {seq} was never done: {message:?}")));
        }
    }
    Ok(())
}

/// Notes of the commits of an entry, in order, each with its commit's index.
fn notes_of(fact: &Fact) -> impl Iterator<Item = (usize, &Noted)> {
    let commits = match fact {
        Fact::Stored { commits, .. } => &commits[..],
        _ => &[],
    };
    let numbered = commits.iter().enumerate();
    numbered.flat_map(|(at, commit)| commit.iter().map(move |noted| (at, noted)))
}
