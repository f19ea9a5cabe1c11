//! Transactions: MULTI, the commands that are queued behind it, EXEC and DISCARD (`multi.c`).
//!
//! The queue is here and not at a node: what a client sends after MULTI is checked as a node would check it, and kept.
//! EXEC sends all of it at once, MULTI and EXEC around it, on the connection that everybody shares: nothing can come
//! in between, and a node that goes away took all of it or nothing. [`block`] reads the replies of that one send.
//!
//! Commands that no single node can answer (CLIENT ID, DBSIZE, PUBLISH …) are carried out by [`rest`] once the node
//! has executed the others; their replies stand at their places. Keys of one slot only; watched keys have a
//! connection of their own ([`watch`]).

pub(super) mod block;
mod queue;
mod rehearse;
mod rest;
pub(super) mod watch;

use super::forward::{Admit, full};
use super::session::Stop;
use super::{Proxy, SessionId, busy};
use crate::command::{Access, Command};
use crate::metric::{Class, Metric};
use crate::resp::{Args, ErrorReply};
use block::Goal;
use queue::{Place, Queue};
use rest::Rest;
use watch::Watch;

/// What a client has begun and not ended. Nearly always there is none of it.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    /// From MULTI to EXEC.
    queue: Option<Box<Queue>>,
    /// From WATCH to EXEC.
    watch: Option<Box<Watch>>,
    /// From EXEC to the last reply of a command that no node answers for us.
    rest: Option<Box<Rest>>,
}

impl Transaction {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_none() && self.watch.is_none() && self.rest.is_none()
    }

    /// Commands that are queued; `None` outside of MULTI.
    pub(crate) fn queued(&self) -> Option<usize> {
        self.queue.as_ref().map(|queue| queue.len())
    }
}

impl Proxy {
    fn transaction(&mut self, id: SessionId) -> Option<&mut Transaction> {
        Some(&mut self.sessions.get_mut(id)?.extra.as_mut()?.transaction)
    }

    fn queue(&mut self, id: SessionId) -> Option<&mut Queue> {
        self.transaction(id)?.queue.as_deref_mut()
    }

    /// Whether something that a client has queued counts as a write for a pause.
    pub(super) fn queues_writes(&mut self, id: SessionId) -> bool {
        self.queue(id).is_some_and(|queue| queue.may_write())
    }

    /// Whether a client is between MULTI and EXEC.
    pub(super) fn is_queueing(&self, id: SessionId) -> bool {
        let extra = self.sessions.get(id).and_then(|session| session.extra.as_ref());
        extra.is_some_and(|extra| extra.transaction.queue.is_some())
    }

    /// What becomes of a request of a client with a transaction; `None`: it is routed as any other.
    pub(super) fn in_transaction(
        &mut self,
        id: SessionId,
        command: &'static Command,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Option<Admit> {
        let queue = self.queue(id)?;
        Some(match command.name {
            "exec" | "discard" | "quit" | "reset" => return None,
            "multi" => self.refuse(id, &ErrorReply::NestedMulti),
            "watch" => self.refuse(id, &ErrorReply::WatchInMulti),
            _ => match queue.place(command, args) {
                Ok(place) => self.enqueue(id, command, place, frame),
                Err(error) => self.reject(id, &error),
            },
        })
    }

    fn enqueue(&mut self, id: SessionId, command: &'static Command, place: Place, frame: &[u8]) -> Admit {
        let limit = self.settings.collect as usize;
        let queued = self.queued;
        let Some(queue) = self.queue(id) else { return Admit::Yes };
        if queue.bytes() + frame.len() > limit || queued + frame.len() > queue::MAX_ALL {
            return self.reject(id, &ErrorReply::QueueFull { limit: limit as u64 });
        }
        if place != Place::Gateway && command.access == Access::Write && self.is_suspicious(id) {
            return self.rehearse(id, command, place, frame);
        }
        let admit = self.reply_with(id, |out| out.simple("QUEUED"));
        let extra = self.sessions.get_mut(id).and_then(|session| session.extra.as_mut());
        if admit == Admit::Yes
            && let Some(queue) = extra.and_then(|extra| extra.transaction.queue.as_deref_mut())
        {
            queue.push(command, place, frame, &mut self.pool);
            self.queued += frame.len();
        }
        admit
    }

    /// Refuses a request; the transaction that it was meant for is not executed any more.
    pub(super) fn reject(&mut self, id: SessionId, error: &ErrorReply<'_>) -> Admit {
        let admit = self.reply_with(id, |writer| writer.error_line(&error.line()));
        if admit == Admit::Yes {
            self.add(Metric::Errors, 1);
            if let Some(queue) = self.queue(id) {
                queue.is_broken = true;
            }
        }
        admit
    }

    pub(super) fn multi(&mut self, id: SessionId) -> Admit {
        let caching = self.caching_word(id);
        let admit = self.reply_with(id, |out| out.simple("OK"));
        if admit == Admit::Yes
            && let Some(session) = self.sessions.get_mut(id)
        {
            let transaction = &mut session.extra.get_or_insert_default().transaction;
            let slot = transaction.watch.as_ref().map(|watch| watch.slot());
            transaction.queue = Some(Box::new(Queue::new(slot, caching)));
        }
        admit
    }

    pub(super) fn discard_transaction(&mut self, id: SessionId) -> Admit {
        if !self.is_queueing(id) {
            return self.refuse(id, &ErrorReply::WithoutMulti("DISCARD"));
        }
        let admit = self.reply_with(id, |out| out.simple("OK"));
        if admit == Admit::Yes {
            self.end_transaction(id);
        }
        admit
    }

    /// EXEC with arguments ends the transaction too, says the server.
    pub(super) fn exec_misspelt(&mut self, id: SessionId) -> Admit {
        let admit = self.refuse(id, &ErrorReply::ExecArity);
        if admit == Admit::Yes {
            self.end_transaction(id);
        }
        admit
    }

    pub(super) fn exec(&mut self, id: SessionId) -> Admit {
        let Some(queue) = self.queue(id) else {
            return self.refuse(id, &ErrorReply::WithoutMulti("EXEC"));
        };
        let (broken, goal, empty) = (queue.is_broken, queue.goal(), queue.node_commands() == 0);
        let slot = queue.slot();
        if broken {
            // A busy server refuses EXEC itself (`server.c`: rejectCommand), whatever was refused before it.
            let error = if self.is_busy(slot) {
                ErrorReply::ExecAbortBecause(busy::SCRIPT)
            } else {
                ErrorReply::ExecAbort
            };
            let admit = self.refuse(id, &error);
            if admit == Admit::Yes {
                self.end_transaction(id);
            }
            return admit;
        }
        let watching = self.transaction(id).is_some_and(|transaction| transaction.watch.is_some());
        // Replies that are put together come in one piece; what was written on the shared connections has to be
        // there before watched keys are looked at.
        let alone = watching || goal == Goal::Parts;
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if alone && session.under_way() > 0 {
            session.stop = Some(Stop::Quiet);
            return Admit::Stopped;
        }
        if watching {
            self.exec_watched(id)
        } else if empty {
            self.exec_here(id)
        } else {
            self.exec_shared(id)
        }
    }

    /// EXEC of commands of which none needs a node.
    fn exec_here(&mut self, id: SessionId) -> Admit {
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if let Some(stop) = full(session) {
            session.stop = Some(stop);
            return Admit::Stopped;
        }
        let (seq, born) = (session.admit(), self.now.steady);
        let Some(queue) = self.take_queue(id) else { return Admit::Yes };
        if let Some(transaction) = self.transaction(id) {
            transaction.rest = Some(Box::new(queue.rest()));
        }
        self.begin_rest(id, seq, born, b"*0\r\n");
        Admit::Yes
    }

    /// EXEC on the connection that everybody shares.
    fn exec_shared(&mut self, id: SessionId) -> Admit {
        let Some(mut queue) = self.take_queue(id) else { return Admit::Yes };
        self.keep_rest(id, &queue);
        let (slot, resend, work) = (queue.slot(), queue.resend(), queue.work());
        if let Some(word) = queue.caching {
            self.say_caching(id, word);
        }
        let frame = queue.frame(&mut self.pool);
        match self.forward_as(id, slot, frame, (resend, Class::Other), work) {
            Admit::Yes => {}
            Admit::Stopped => {
                if let Some(transaction) = self.transaction(id) {
                    (transaction.queue, transaction.rest) = (Some(queue), None);
                }
                return Admit::Stopped;
            }
        }
        self.drop_queue(*queue);
        self.wait_for_rest(id);
        self.tidy(id);
        Admit::Yes
    }

    /// Keeps what has to be done when the node has executed its commands.
    fn keep_rest(&mut self, id: SessionId, queue: &Queue) {
        let rest = (queue.goal() == Goal::Parts).then(|| Box::new(queue.rest()));
        if let Some(transaction) = self.transaction(id) {
            transaction.rest = rest;
        }
    }

    /// Admits nothing more before that is done.
    fn wait_for_rest(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id)
            && session.under_way() > 0
            && session.extra.as_ref().is_some_and(|extra| extra.transaction.rest.is_some())
        {
            session.stop = Some(Stop::Quiet);
        }
    }

    fn take_queue(&mut self, id: SessionId) -> Option<Box<Queue>> {
        self.transaction(id)?.queue.take()
    }

    fn drop_queue(&mut self, queue: Queue) {
        self.queued -= queue.bytes();
        queue.dissolve(&mut self.pool);
    }

    /// Forgets what a client has queued and what it watches.
    pub(super) fn end_transaction(&mut self, id: SessionId) {
        let Some(transaction) = self.transaction(id) else { return };
        let transaction = std::mem::take(transaction);
        self.forget_transaction(transaction);
        self.tidy(id);
    }

    /// The same for a client that is gone.
    pub(super) fn forget_transaction(&mut self, transaction: Transaction) {
        if let Some(queue) = transaction.queue {
            self.drop_queue(*queue);
        }
        if let Some(watch) = transaction.watch {
            self.release_watch(*watch);
        }
    }
}
