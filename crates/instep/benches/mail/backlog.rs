//! The messages that wait before a measurement: many servers, and among them ours.

use instep::model::commit::digest;
use uuid::Uuid;

/// The server whose messages are asked for.
pub(crate) const OUR_SERVER: u32 = 7;
/// Endpoints that are assigned to it.
pub(crate) const OUR_ENDPOINTS: usize = 5_000;
/// Messages that wait for it, whatever waits for others.
pub(crate) const OURS: usize = 1_000;
/// The other servers, and the endpoints of each.
const OTHERS: u64 = 1_000;
const ENDPOINTS_OF_OTHERS: u64 = 20;
/// Their organisations begin here.
const FIRST_OF_OTHERS: u64 = 1_000_000;

/// So many messages, ours spread evenly among them.
#[derive(Clone, Copy)]
pub(crate) struct Backlog {
    pub(crate) pending: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Message {
    pub(crate) number: usize,
    pub(crate) org: u64,
    pub(crate) server: u32,
}

impl Backlog {
    /// Body of every message: about 200 bytes with its number.
    pub(crate) const BODY: &str = "an order of four pairs of size 42 and one of size 38, to be \
        delivered to the warehouse in the harbour before noon, the receipt goes to the accounting \
        of the buyer, and the boxes are not to be bent";

    /// The endpoints of our server.
    pub(crate) fn our_orgs() -> impl Iterator<Item = u64> {
        1..=OUR_ENDPOINTS as u64
    }

    /// Each endpoint with its server.
    pub(crate) fn orgs() -> impl Iterator<Item = (u64, u32)> {
        let others = (0..OTHERS * ENDPOINTS_OF_OTHERS).map(|org| FIRST_OF_OTHERS + org);
        let others = others.map(|org| (org, server_of_other(org)));
        Self::our_orgs().map(|org| (org, OUR_SERVER)).chain(others)
    }

    pub(crate) fn messages(self) -> impl Iterator<Item = Message> {
        let every = (self.pending / OURS).max(1);
        let ours_to = (OUR_ENDPOINTS / OURS) as u64;
        (0..self.pending).map(move |number| {
            if number.is_multiple_of(every) {
                let org = 1 + (number / every) as u64 * ours_to % OUR_ENDPOINTS as u64;
                return Message { number, org, server: OUR_SERVER };
            }
            let org = FIRST_OF_OTHERS + number as u64 % (OTHERS * ENDPOINTS_OF_OTHERS);
            Message { number, org, server: server_of_other(org) }
        })
    }
}

fn server_of_other(org: u64) -> u32 {
    100 + (org % OTHERS) as u32
}

impl Message {
    pub(crate) fn body(self) -> String {
        format!("{} {}", self.number, Backlog::BODY)
    }

    /// The id that its sender gave it.
    pub(crate) fn id(self) -> Uuid {
        let half = |salt: u64| {
            u128::from(digest(&[salt, self.number as u64].map(u64::to_le_bytes).concat()))
        };
        uuid::Builder::from_random_bytes((half(1) << 64 | half(2)).to_be_bytes()).into_uuid()
    }
}
