//! Parts of large replies that may pass from a node's socket to a client's without being read here.
//!
//! Only the rest of a text of known length passes so, and only where the client has everything before it: the first
//! bytes, by which a reply is judged, go the ordinary way, and so does the end of a write's reply, which may have to
//! wait for replicas. What the client's socket does not take goes the ordinary way too, so a slow client is held up and
//! relieved as ever.

use super::pipe::{Resend, Work};
use super::{PipeId, Proxy, SessionId};
use crate::metric::Metric;

/// Bytes that are read of what is probably large: as many as show what it is.
pub(super) const HEAD: usize = 16 * 1024;

/// What may pass unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Through {
    /// Whom the next bytes of the node are for.
    pub client: SessionId,
    /// How many of them at most.
    pub most: usize,
}

impl Proxy {
    /// Whether the next bytes of a node may go to a client as they are.
    #[inline]
    pub fn pipe_through(&self, id: PipeId) -> Option<Through> {
        let pipe = self.pipes.get(id)?;
        if !pipe.midway || pipe.stalled_by.is_some() || !pipe.inbox.is_empty() {
            return None;
        }
        let ticket = pipe.tickets.front().filter(|ticket| matches!(ticket.work, Work::Whole | Work::Body))?;
        let kept = match ticket.resend {
            Resend::Yes => 0,
            Resend::Never => 1,
        };
        let most = pipe.scan.body().saturating_sub(kept);
        let session = self.sessions.get(ticket.session)?;
        let next = session.is_head(ticket.seq) && session.out.unsent() == 0 && session.extra.is_none();
        (next && most >= self.settings.unread)
            .then_some(Through { client: ticket.session, most: usize::try_from(most).ok()? })
    }

    /// How much to read of a node at a time: little where a large reply is likely, so that the most of it can pass unread.
    #[inline]
    pub fn pipe_most(&self, id: PipeId) -> usize {
        match self.pipes.get(id) {
            Some(pipe) if pipe.bulky && !pipe.midway => HEAD,
            Some(_) | None => usize::MAX,
        }
    }

    /// `bytes` of [`Proxy::pipe_through`] have gone to the client; what else the node gave follows by
    /// [`Proxy::pipe_bytes`].
    pub fn pipe_passed(&mut self, id: PipeId, bytes: usize) {
        self.counts[Metric::NodeBytesIn as usize] += bytes as u64;
        self.counts[Metric::ClientBytesOut as usize] += bytes as u64;
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        pipe.heard = self.now.steady;
        pipe.bulky = true;
        if pipe.scan.skip(bytes as u64) {
            self.reply(id, b"");
            self.after_replies(id);
        }
    }
}
