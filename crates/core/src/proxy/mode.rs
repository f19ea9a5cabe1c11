//! What a client's state does to a request before it is routed: whether it is queued in a transaction, held back
//! while the gateway is paused, or not allowed at all between subscriptions.
//!
//! The order is the server's (`server.c`: `processCommand`): what is not allowed, then what has to wait, then the
//! queue of a transaction.

use super::forward::Admit;
use super::{Proxy, SessionId};
use crate::command::Command;
use crate::resp::Args;

impl Proxy {
    /// What becomes of a request of a client that has [`super::session::Extra`] state; `None`: it is routed.
    pub(super) fn by_mode(
        &mut self,
        id: SessionId,
        command: &'static Command,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Option<Admit> {
        self.in_transaction(id, command, frame, args)
    }
}
