//! Revocation: closes channels whose right was lost (I24), and those of datasets that were removed.

use instep_access::Refusal;
use instep_node::Dataset;
use instep_protocol::encode::Body;
use instep_protocol::session::{Channel, Ending, SharedEvent};

use super::refusal::Refusal as ToldRefusal;
use super::role::{MailRole, Role};
use super::{Actions, ENDED_EVENT, Joined, Revoked, SessionDriver};
use crate::state::EdgeState;

impl SessionDriver {
    /// Closes the channels that the client may not have any more, or that have lost their dataset.
    pub(crate) fn review(&mut self, edge: &EdgeState, now: u64, actions: &mut Actions) {
        let credential = self.credential.clone();
        let is_channels = self.machine.is_channels();
        let may = |joined: &Joined| {
            let topic = joined.channel.topic();
            let role = joined.mail.as_deref().map(MailRole::role);
            role.unwrap_or_else(|| Role::of(topic, is_channels)).may(topic, &credential, edge)
        };
        self.end_access(may, now, actions);
        self.end_removed(now, actions);
        // The clock may have been set.
        self.ends = edge.end_of(&self.credential);
    }

    /// Ends the channels of datasets that were removed. Their clients join again and are told that
    /// nothing is there, or what is there now.
    fn end_removed(&mut self, now: u64, actions: &mut Actions) {
        let is_removed = |joined: &&Joined| joined.dataset().is_some_and(Dataset::is_removed);
        let channels = self.joined.iter().filter(is_removed).map(|joined| joined.channel.clone());
        for channel in channels.collect::<Vec<_>>() {
            self.end_channel(channel, now, actions);
        }
    }

    /// Closes the channels that `may` does not allow any more (I24). Each is told so once, and by
    /// an end after which clients do not come back by themselves.
    pub(super) fn end_access(
        &mut self,
        may: impl Fn(&Joined) -> Result<(), Refusal>,
        now: u64,
        actions: &mut Actions,
    ) {
        let lost: Vec<(Channel, Refusal)> = self
            .joined
            .iter()
            .filter_map(|joined| Some((joined.channel.clone(), may(joined).err()?)))
            .collect();
        for (channel, refusal) in lost {
            let code = refusal.code();
            let payload = Body::Json(ToldRefusal::from(refusal).payload());
            let told =
                SharedEvent::Pushed { channel: channel.clone(), event: ENDED_EVENT, payload };
            self.step(told, now, actions);
            let (topic, reason) = (channel.topic().to_string(), code);
            actions.revoked.push(Revoked { topic, reason });
            actions.left.extend(self.leave(channel.id()));
            self.step(SharedEvent::ChannelEnded { channel, how: Ending::Closed }, now, actions);
        }
    }
}
