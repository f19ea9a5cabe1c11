//! The commands between MULTI and EXEC: where each has to be carried out, and the bytes for the node.

use super::super::buffer::Pool;
use super::super::forward::{ANYWHERE, resend};
use super::super::pause::may_write;
use super::super::pipe::{Resend, Work};
use super::block::{Block, Goal};
use super::rehearse::Rehearsal;
use super::rest::{Piece, Rest};
use crate::command::{Command, Local, Treat, keys};
use crate::resp::{Args, Elements, ErrorReply, text};
use crate::topology::slot;

/// Most bytes that the transactions of all clients of a worker may hold.
pub(super) const MAX_ALL: usize = 256 * 1024 * 1024;

/// MULTI as it is sent.
pub(super) const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// EXEC as it is sent.
pub(super) const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// Where a command of a transaction is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the node, in its turn.
    Node,
    /// By the gateway, after the node has done its part.
    Gateway,
    /// Both: it has to be at the node when the commands behind it are executed, and everywhere in the end.
    Both,
}

/// What was queued so far.
#[derive(Debug)]
pub(super) struct Queue {
    /// What was said of its reads by CLIENT CACHING before MULTI.
    pub(super) caching: Option<&'static [u8]>,
    /// The requests for the node, one after the other.
    frames: Vec<u8>,
    pieces: Vec<Piece>,
    /// The slot of all keys; none yet where no command has named a key.
    slot: Option<u16>,
    resend: Resend,
    /// Requests in `frames`.
    node_commands: u32,
    /// Bytes of all requests.
    bytes: usize,
    /// Whether a command was refused: EXEC will not execute the others.
    pub(super) is_broken: bool,
    /// The last command, while its node is asked whether it may be queued.
    pub(super) rehearsal: Option<Rehearsal>,
    /// Whether all keys are to be deleted at the end.
    flushes: bool,
    /// Whether a command counts as a write for a pause, wherever it is carried out.
    may_write: bool,
    /// Whether EXEC stands at the end of `frames`.
    is_closed: bool,
}

impl Queue {
    /// An empty queue for keys of this slot only.
    pub(super) fn new(slot: Option<u16>, caching: Option<&'static [u8]>) -> Self {
        Queue {
            caching,
            frames: Vec::new(),
            pieces: Vec::new(),
            slot,
            resend: Resend::Yes,
            node_commands: 0,
            bytes: 0,
            is_broken: false,
            rehearsal: None,
            flushes: false,
            may_write: false,
            is_closed: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.iter().map(Piece::replies).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn node_commands(&self) -> u32 {
        self.node_commands
    }

    /// The slot that decides which node executes it: that of its keys, and always the same where it has none.
    pub(super) fn slot(&self) -> u16 {
        self.slot.unwrap_or(ANYWHERE)
    }

    pub(super) fn resend(&self) -> Resend {
        self.resend
    }

    /// Whether something in it has to wait for the end of a pause of writes.
    pub(super) fn may_write(&self) -> bool {
        self.may_write
    }

    /// Whether the node's replies are all that EXEC answers.
    pub(super) fn goal(&self) -> Goal {
        let all_at_node = |piece: &Piece| matches!(piece, Piece::Node { .. });
        if self.node_commands > 0 && self.pieces.iter().all(all_at_node) { Goal::Whole } else { Goal::Parts }
    }

    /// Where a command has to be carried out, or why it cannot be part of this transaction.
    pub(super) fn place(
        &mut self,
        command: &'static Command,
        args: &Args<'_>,
    ) -> Result<Place, ErrorReply<'static>> {
        // `server.c`: CMD_NO_MULTI
        if matches!(command.name, "save" | "shutdown" | "sync" | "psync") {
            return Err(ErrorReply::NotInMulti);
        }
        let place = match command.treat {
            Treat::Slot | Treat::Split(_) | Treat::AnyPrimary => Place::Node,
            // It is for what follows in this transaction.
            Treat::Here(Local::ClientCaching) => Place::Node,
            // The node waits for nobody inside of a transaction.
            Treat::Blocking(_) | Treat::Confirm => Place::Node,
            // A script that is loaded may be called by the next command.
            Treat::Every(..) if command.name == "script|load" => Place::Both,
            Treat::Receivers(_)
            | Treat::Subscribe(_)
            | Treat::Unsubscribe(_)
            | Treat::Every(..)
            | Treat::SlotNumber
            | Treat::Settings
            | Treat::SetUser
            | Treat::Scan
            | Treat::Here(_) => Place::Gateway,
            Treat::Later => return Err(ErrorReply::NotYet(command.name)),
            Treat::Refused(instead) => return Err(ErrorReply::Refused(instead)),
        };
        if place == Place::Gateway {
            return Ok(place);
        }
        if self.flushes {
            return Err(ErrorReply::BehindFlush);
        }
        // Keys that cannot be told are the node's to complain about: its error stands at its place in EXEC's reply.
        if let Ok(found) = keys(command, args) {
            let before = self.slot;
            for at in found {
                let here = slot(args.get(at));
                if *self.slot.get_or_insert(here) != here {
                    self.slot = before;
                    return Err(ErrorReply::CrossSlot);
                }
            }
        }
        Ok(place)
    }

    /// Adds a request.
    pub(super) fn push(&mut self, command: &'static Command, place: Place, frame: &[u8], pool: &mut Pool) {
        self.bytes += frame.len();
        let first = Elements::of(frame).and_then(|mut words| words.nth(1)).and_then(text);
        self.may_write = self.may_write || may_write(command, first.unwrap_or_default());
        match place {
            Place::Node => {
                self.at_node(command, frame, pool);
                match self.pieces.last_mut() {
                    Some(Piece::Node { count }) => *count += 1,
                    Some(Piece::Gateway { .. } | Piece::Both { .. }) | None => {
                        self.pieces.push(Piece::Node { count: 1 });
                    }
                }
            }
            Place::Gateway => {
                self.flushes |= matches!(command.name, "flushall" | "flushdb");
                self.pieces.push(Piece::Gateway { command, frame: frame.into() });
            }
            Place::Both => {
                self.at_node(command, frame, pool);
                self.pieces.push(Piece::Both { command, frame: frame.into() });
            }
        }
    }

    fn at_node(&mut self, command: &'static Command, frame: &[u8], pool: &mut Pool) {
        if self.frames.is_empty() {
            pool.extend(&mut self.frames, MULTI);
        }
        pool.extend(&mut self.frames, frame);
        self.node_commands += 1;
        if resend(command.access) == Resend::Never {
            self.resend = Resend::Never;
        }
    }

    /// All of it as it is sent: MULTI, the commands, EXEC.
    pub(super) fn frame(&mut self, pool: &mut Pool) -> &[u8] {
        if self.frames.is_empty() {
            pool.extend(&mut self.frames, MULTI);
        }
        if !std::mem::replace(&mut self.is_closed, true) {
            pool.extend(&mut self.frames, EXEC);
        }
        &self.frames
    }

    /// What its ticket says of the replies that come.
    pub(super) fn work(&self) -> Work {
        Work::Block(Block::new(self.node_commands, self.goal()))
    }

    /// What is left to do when the node has executed its commands.
    pub(super) fn rest(&self) -> Rest {
        Rest::new(&self.pieces)
    }

    /// Gives its memory back to the pool.
    pub(super) fn dissolve(self, pool: &mut Pool) {
        pool.give(self.frames);
    }
}
