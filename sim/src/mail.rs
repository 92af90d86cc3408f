//! A world of mail: senders, a hub that crashes, servers that die, vanish, linger and are asked,
//! endpoints that move.
//!
//! The hub is the owner, the fold, the snapshots and the delivery machine that the server runs;
//! its log is a list that keeps flushed entries. Events are recorded as [`fact::Fact`]s, and
//! [`checker`] judges them alone.

pub mod checker;
pub mod fact;
mod hub;
mod process;
mod world;

use crate::judged::Judged;
use checker::CHECKERS;
use fact::Fact;

/// Steps of a seed unless something else is wanted.
pub const STEPS: usize = 900;

/// A mistake that a shell around the machines could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Law 1: a sender is answered before the append.
    AnswerBeforeDurable,
    /// I38: a confirmation counts as the newest registration's, whichever one sends it.
    ForgetGenerations,
    /// I41: messages that wait for a socket are written without looking whose they are by now.
    WriteWithoutLooking,
    /// I39: a server that comes back is taken for having nothing.
    ResendWithoutAsking,
    /// I35: everything that a dead server was given counts as begun with.
    CountPrefetched,
    /// I40: an endpoint is moved by writing its row.
    EditTheDirectory,
    /// I17, I40: some of what changed is not told to the delivery.
    DropNews,
    /// I37: a message is confirmed when it is written.
    ConfirmOnWrite,
    /// I43: messages that wait for a socket are written in reverse.
    WriteBackwards,
    /// I43: messages that wait for a socket are written by whatever route they have by now.
    WriteByAnyRoute,
    /// Law 6: a server's window is not its own.
    IgnoreCredit,
    /// I37: a range is resolved by the books of the hub, not by the messages read.
    RangesByTheBooks,
    /// I46: only the house looks whether the time of a message is over.
    GiveExpired,
    /// I45: a sender that heard nothing sends under another id.
    NewIdOnRetry,
}

use Fault::*;

/// Every fault with its name and the checker that must catch it.
pub const FAULTS: &[(Fault, &str, &str)] = &[
    (AnswerBeforeDurable, "mail-answer-before-durable", "an_accepted_message_is_in_the_books"),
    (ForgetGenerations, "mail-forget-generations", "only_the_newest_registration_confirms"),
    (WriteWithoutLooking, "mail-write-without-looking", "no_server_is_given_the_mail_of_another"),
    (
        ResendWithoutAsking,
        "mail-resend-without-asking",
        "unconfirmed_messages_are_asked_about_first",
    ),
    (CountPrefetched, "mail-count-prefetched", "only_failures_are_counted"),
    (EditTheDirectory, "mail-edit-the-directory", "every_route_is_what_the_directory_says"),
    (DropNews, "mail-drop-news", "everything_is_done_in_the_end"),
    (ConfirmOnWrite, "mail-confirm-on-write", "confirmed_messages_were_done"),
    (WriteBackwards, "mail-write-backwards", "each_endpoint_keeps_its_order"),
    (WriteByAnyRoute, "mail-write-by-any-route", "each_endpoint_keeps_its_order"),
    (IgnoreCredit, "mail-ignore-credit", "a_window_is_kept"),
    (RangesByTheBooks, "mail-ranges-by-the-books", "confirmed_messages_were_done"),
    (GiveExpired, "mail-give-expired", "nothing_is_given_after_its_time"),
    (NewIdOnRetry, "mail-new-id-on-retry", "a_letter_is_stored_once"),
];

impl Fault {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        FAULTS.iter().find(|(fault, _, _)| *fault == self).map_or("unknown", |(_, name, _)| name)
    }

    /// The fault with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        FAULTS.iter().find(|(_, known, _)| *known == name).map(|(fault, _, _)| *fault)
    }
}

/// Lives through one seed and judges it.
#[must_use]
pub fn seed(seed: u64, steps: usize, fault: Option<Fault>) -> Judged<Fact> {
    let mut world = world::World::new(seed, fault);
    world.run(steps);
    Judged::new("mail", CHECKERS, (seed, fault.map(Fault::name)), world.into_facts())
}
