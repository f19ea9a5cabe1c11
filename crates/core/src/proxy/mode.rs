//! What a client's state does to a request before it is routed: whether it is queued in a transaction, held back
//! while the gateway is paused, or not allowed at all between subscriptions.
//!
//! The order is the server's (`server.c`: `processCommand`): what is not allowed, then what has to wait, then the
//! queue of a transaction.

use super::forward::Admit;
use super::monitor::is_refused_to_monitors;
use super::{Proxy, SessionId};
use crate::command::{Command, Treat};
use crate::resp::{Args, ErrorReply, Proto};

impl Proxy {
    /// What becomes of a request of a client that has [`super::session::Extra`] state; `None`: it is routed.
    pub(super) fn by_mode(
        &mut self,
        id: SessionId,
        command: &'static Command,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Option<Admit> {
        let session = self.sessions.get(id)?;
        if session.proto == Proto::Two && !among_subscriptions(command) && session.is_subscriber() {
            return Some(self.refuse(id, &ErrorReply::Subscribed(command.name)));
        }
        if session.extra.as_ref().is_some_and(|extra| extra.monitors) && is_refused_to_monitors(command) {
            return Some(self.refuse(id, &ErrorReply::Monitor));
        }
        self.in_transaction(id, command, frame, args)
    }
}

/// What a client of RESP2 may send while it is subscribed: its other replies could not be told from messages
/// (`server.c`: `processCommand`).
fn among_subscriptions(command: &Command) -> bool {
    matches!(command.treat, Treat::Subscribe(_) | Treat::Unsubscribe(_))
        || matches!(command.name, "ping" | "quit" | "reset")
}
