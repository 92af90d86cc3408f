//! What a client may not any more: channels that it may not have are closed (I24).

use instep_access::Refusal;
use instep_protocol::encode::Body;
use instep_protocol::session::{Channel, Ending, Event};

use super::mail::Role;
use super::{ENDED_EVENT, Talk, Wants, refused};
use crate::house::House;

impl Talk {
    /// Closes the channels that the client may not have any more.
    pub(crate) fn review(&mut self, house: &House, now: u64, wants: &mut Wants) {
        let credential = self.credential.clone();
        let is_channels = self.speaker.is_channels();
        let may = |topic: &str| Role::of(topic, is_channels).may(topic, &credential, house);
        self.end_access(may, now, wants);
        // The clock may have been set.
        self.ends = house.end_of(&self.credential);
    }

    /// Closes the channels that `may` does not allow any more (I24). Each is told so once, and by
    /// an end after which clients do not come back by themselves.
    pub(super) fn end_access(
        &mut self,
        may: impl Fn(&str) -> Result<(), Refusal>,
        now: u64,
        wants: &mut Wants,
    ) {
        let channels: Vec<Channel> =
            self.joined.iter().map(|joined| joined.channel.clone()).collect();
        for channel in channels {
            if let Err(refusal) = may(channel.topic()) {
                let payload = Body::Json(refused(&refusal).to_string().into());
                let told = Event::Pushed { channel: channel.clone(), event: ENDED_EVENT, payload };
                self.step(told, now, wants);
                wants.left.extend(self.leave(channel.id()));
                self.step(Event::ChannelEnded { channel, how: Ending::Closed }, now, wants);
            }
        }
    }
}
