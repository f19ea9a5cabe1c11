//! Parts of large requests that may pass from a client's socket to a node's without being read here.
//!
//! The first bytes, by which a request is known and routed, and its very last ones go the ordinary way, so the queue of
//! the lane knows where it begins and ends. What passes unread in between stands in no queue; the shell keeps it outside
//! (in a pipe of the kernel's) as long as the rest of the request is kept here, and gives it back only where the request
//! has to be sent again:
//!
//! ```text
//!              the lane's queue        outside           the lane's queue
//! request  = │ first bytes (`at`) │ passed (`len`) │ what was read after it │
//! ```

use super::pipe::{State, Work};
use super::stream::{KEPT, Kept, Phase, Stream};
use super::through::HEAD;
use super::{Output, PipeId, Proxy, SessionId};
use crate::metric::Metric;
use crate::resp::ErrorReply;

/// What of a client may pass unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onward {
    /// Where the client's next bytes go.
    pub lane: PipeId,
    /// How many of them at most.
    pub most: usize,
    /// Whether they have to be kept until [`Output::Forget`]; if not, what was kept of this client may go.
    pub keep: bool,
}

/// What of a large request has passed unread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outside {
    /// Bytes of the request before it.
    at: usize,
    len: usize,
    /// How many of them the node's socket has not taken yet.
    ahead: usize,
}

impl Outside {
    /// Whether the node has all of it, so that other bytes may follow.
    pub(crate) fn is_through(&self) -> bool {
        self.ahead == 0
    }

    /// Whether there is anything that the shell keeps.
    pub(crate) fn is_something(&self) -> bool {
        self.len > 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Proxy {
    /// Whether the next bytes of a client may go to a node as they are. Then tell of them by [`Proxy::client_passed`].
    #[inline]
    pub fn client_onward(&self, id: SessionId) -> Option<Onward> {
        let session = self.sessions.get(id)?;
        let stream = session.stream.as_ref().filter(|_| session.inbox.is_empty())?;
        self.onward(stream)
    }

    fn onward(&self, stream: &Stream) -> Option<Onward> {
        let Phase::Body(lane) = stream.phase else { return None };
        let pipe = self.pipes.get(lane).filter(|pipe| pipe.state == State::Open)?;
        // Bytes that were read must not be overtaken, and have to follow all that is outside.
        let ticket = pipe.tickets.back().filter(|ticket| ticket.work == Work::Body)?;
        let outside = &stream.outside;
        let fits = outside.len == 0 || outside.at == ticket.len as usize || stream.kept == Kept::No;
        let most = stream.scan.body().saturating_sub(1);
        (fits && outside.ahead == 0 && pipe.out.unsent() == 0 && most >= self.settings.unread)
            .then_some(Onward { lane, most: usize::try_from(most).ok()?, keep: stream.kept == Kept::Yes })
    }

    /// How much to read of a client at a time: little where a large request is likely, so that the most of it can pass unread.
    #[inline]
    pub fn client_most(&self, id: SessionId) -> usize {
        match self.sessions.get(id) {
            Some(session) if session.bulky && session.stream.is_none() => HEAD,
            Some(_) | None => usize::MAX,
        }
    }

    /// `bytes` of [`Proxy::client_onward`] have left the client's socket and are on their way to the node; when its
    /// socket has taken them: [`Proxy::node_took`].
    pub fn client_passed(&mut self, id: SessionId, bytes: usize) {
        self.counts[Metric::ClientBytesIn as usize] += bytes as u64;
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.bulky = true;
        let Some(stream) = session.stream.as_mut() else { return };
        let Phase::Body(lane) = stream.phase else { return };
        let Some(pipe) = self.pipes.get_mut(lane) else { return };
        let Some(ticket) = pipe.tickets.back_mut() else { return };
        let outside = &mut stream.outside;
        if outside.len == 0 {
            outside.at = ticket.len as usize;
        }
        outside.len += bytes;
        outside.ahead += bytes;
        stream.scan.skip(bytes as u64);
        if stream.kept == Kept::Yes && ticket.len as usize + outside.len > KEPT {
            (stream.kept, ticket.len) = (Kept::No, 0);
            pipe.let_go_of_unkept(&mut self.pool);
        }
    }

    /// A node's socket has taken `bytes` of what has passed unread.
    pub fn node_took(&mut self, id: SessionId, bytes: usize) {
        self.counts[Metric::NodeBytesOut as usize] += bytes as u64;
        if let Some(stream) = self.sessions.get_mut(id).and_then(|session| session.stream.as_mut()) {
            stream.outside.ahead = stream.outside.ahead.saturating_sub(bytes);
            if stream.outside.is_through() {
                self.wake_stream(id);
            }
        }
    }

    /// Bytes on their way to a node outside its queue.
    pub(super) fn ahead(&self, lane: PipeId, tenant: SessionId) -> usize {
        let stream = self.sessions.get(tenant).and_then(|session| session.stream.as_ref());
        stream.filter(|stream| stream.phase == Phase::Body(lane)).map_or(0, |stream| stream.outside.ahead)
    }

    /// The shell need no longer keep what has passed of a request.
    pub(super) fn forget_outside(&mut self, id: SessionId) {
        if let Some(stream) = self.sessions.get_mut(id).and_then(|session| session.stream.as_mut())
            && std::mem::take(&mut stream.outside).is_something()
        {
            self.outputs.push(Output::Forget(id));
        }
    }

    /// What [`Output::Recall`] asked for: all that has passed unread. The request starts over.
    pub fn client_recalled(&mut self, id: SessionId, mut bytes: Vec<u8>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(stream) = session.stream.as_mut() else { return };
        let Phase::Recalling { due } = stream.phase else { return };
        let outside = std::mem::take(&mut stream.outside);
        if bytes.len() != outside.len || session.inbox.len() < outside.at {
            let ticket = stream.ticket(id, Work::Whole);
            self.deliver_error(&ticket, &ErrorReply::StreamBroken { node: "its node" });
            return self.break_off(id);
        }
        bytes.extend_from_slice(&session.inbox[outside.at..]);
        session.inbox.truncate(outside.at);
        session.inbox.append(&mut bytes);
        stream.phase = Phase::Seeking { due };
        self.lane_waiters.push(id);
    }
}
