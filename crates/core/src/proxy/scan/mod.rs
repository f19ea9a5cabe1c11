//! SCAN over the whole keyspace: one primary after the other, in the order of their lowest slots.
//!
//! What is promised: every key that is there from the first call to the last is returned at least once, whichever
//! gateways are asked, whatever fails over, is started again or moves meanwhile. A node's cursor means something to one
//! run of one server only, and a slot may move from a primary that is still to come to one that has been walked. So:
//!
//! - A cursor has a fingerprint of the map and of the server's run. Where the fingerprint does not fit what is now, the walk starts over: keys come twice, none is missed.
//! - Before the last cursor, 0, is given out, every primary is asked for its own view (`confirm`): the map may be older
//!   than the last move. Where one owns other slots than the map says, the walk starts over.
//! - A slot that is being moved has keys in both places, and they go one way: to a primary that is importing. Such
//!   primaries are walked once more after all others.

mod cursor;

use super::forward::Admit;
use super::merge::Policy;
use super::pipe::{Resend, Run, Ticket, Work};
use super::upstream::Way;
use super::{MergeId, PipeId, Proxy, SessionId};
use crate::resp::{Args, Elements, ErrorReply, Proto, Writer, parse_u64, text};
use crate::topology::View;
use cursor::{Cursor, Stage, cursor_of, fingerprint, mix};

/// Times that one call starts over before the client has to ask again.
const MAX_RESTARTS: u8 = 3;
/// How long a walk waits before it starts over once more (microseconds): what changed twice is not settled yet.
const SETTLING: u64 = 25_000;
/// Asks which run of a server it is.
const INFO_SERVER: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";
/// Asks for a node's view.
const CLUSTER_NODES: &[u8] = b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nNODES\r\n";

/// How far one SCAN call is.
#[derive(Debug)]
pub(super) struct Walk {
    stage: Stage,
    /// The cursor that the node was asked with.
    node_cursor: u64,
    /// The fingerprint that came with it; `None`: it was not continued.
    mark: Option<u32>,
    /// The map that the walk goes by.
    map: u64,
    restarts: u8,
    /// What the primaries answered when they were asked for their views.
    views: Vec<Seen>,
    /// The arguments behind the cursor.
    options: Vec<Vec<u8>>,
    /// Keys that the caller would like to get in one call (COUNT).
    wanted: u64,
    /// Keys found, as they stand in the nodes' replies.
    keys: Vec<u8>,
    found: u64,
}

/// What a primary's own view says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It has not answered yet.
    Nothing,
    /// It owns what the map says.
    Fits,
    /// That, and it is importing a slot.
    Imports,
    /// It owns something else.
    Differs,
}

impl Proxy {
    /// SCAN cursor …
    pub(super) fn scan(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let Some(cursor) = cursor_of(args.get(1)) else {
            return self.refuse(id, &ErrorReply::Cursor);
        };
        let primaries = self.topology.primaries().len();
        if primaries == 0 {
            self.learn();
        }
        if self.may_send(id).is_none() {
            return Admit::Stopped;
        }
        let options: Vec<Vec<u8>> = args.iter().skip(2).map(<[u8]>::to_vec).collect();
        let mut walk = Walk {
            stage: Stage::At(0),
            node_cursor: 0,
            mark: None,
            map: self.topology.fingerprint(),
            restarts: 0,
            views: Vec::new(),
            wanted: count_of(&options),
            options,
            keys: Vec::new(),
            found: 0,
        };
        walk.resume(cursor, primaries);
        if let Some((merge, ticket)) = self.begin_merge(id, Policy::Walk(Box::new(walk)), Resend::Yes, 1) {
            self.step(merge, ticket);
        }
        Admit::Yes
    }

    fn walk(&mut self, id: MergeId) -> Option<&mut Walk> {
        match &mut self.merges.get_mut(id)?.policy {
            Policy::Walk(walk) => Some(walk),
            Policy::Gather { .. } | Policy::AllOk | Policy::Sum | Policy::Fan(_) | Policy::Alone => None,
        }
    }

    /// Asks whoever comes next.
    fn step(&mut self, id: MergeId, ticket: Ticket) {
        let primaries = self.topology.primaries();
        let Some(walk) = self.walk(id) else { return };
        match walk.stage {
            Stage::At(place) | Stage::Again(place) => {
                // Without any primary the request waits for slot 0's, as any other does.
                let slot = primaries.get(place).map_or(0, |(_, lowest)| *lowest);
                let frame = walk.request();
                let ticket = Ticket { slot, work: Work::Part { merge: id, part: 0 }, ..ticket };
                self.ask_which_run(&ticket);
                self.dispatch(ticket, &frame);
            }
            Stage::Confirm { .. } => {
                walk.views = vec![Seen::Nothing; primaries.len()];
                for (part, (_, lowest)) in primaries.into_iter().enumerate() {
                    let work = Work::Part { merge: id, part: part as u32 };
                    self.dispatch(Ticket { slot: lowest, work, ..ticket }, CLUSTER_NODES);
                }
            }
        }
    }

    /// A node answered, or an error takes the place of its answer: goes on while there is more and the caller wants
    /// more.
    pub(super) fn walked(&mut self, id: MergeId, pipe: Option<PipeId>, part: u32, reply: &[u8]) {
        let Some(merge) = self.merges.get(id) else { return };
        let ticket = Ticket {
            session: merge.session,
            seq: merge.seq,
            born: merge.born,
            ..Ticket::of_nobody(Work::Nobody, self.now.steady)
        };
        if self.sessions.get(ticket.session).is_none() {
            self.merges.remove(id); // nobody waits for it
            return;
        }
        let Policy::Walk(walk) = &merge.policy else { return };
        if let Stage::Confirm { again } = walk.stage {
            if reply.starts_with(b"-UNAVAILABLE ") {
                return self.give_up_walk(id, reply);
            }
            return self.viewed(id, ticket, again, part as usize, reply);
        }
        let Some(run) = pipe.and_then(|pipe| self.pipes.get(pipe)).map(|pipe| pipe.run) else {
            return self.give_up_walk(id, reply);
        };
        let Run::Known(run) = run else {
            return self.step(id, ticket); // it was held, and sent without the question
        };
        let map = self.topology.fingerprint();
        let Some(walk) = self.walk(id) else { return };
        let continued = walk.mark.take().is_none_or(|mark| mark == fingerprint(map, run));
        if walk.map != map || !continued {
            return self.rescan(id, ticket);
        }
        let Some(cursor) = walk.take(reply) else { return self.give_up_walk(id, reply) };
        let (enough, stage) = (walk.found >= walk.wanted, walk.stage);
        if cursor > 0 {
            return self.pause_walk(id, stage, cursor, run);
        }
        let next = match stage {
            Stage::At(place) if place + 1 < self.topology.primaries().len() => Stage::At(place + 1),
            Stage::At(_) => Stage::Confirm { again: None },
            Stage::Again(place) => Stage::Confirm { again: Some(place) },
            Stage::Confirm { again } => Stage::Confirm { again },
        };
        self.go_to(id, ticket, next, enough);
    }

    /// Goes on with the next stage, or leaves it to the next call.
    fn go_to(&mut self, id: MergeId, ticket: Ticket, next: Stage, enough: bool) {
        let Some(walk) = self.walk(id) else { return };
        (walk.stage, walk.node_cursor) = (next, 0);
        match next {
            Stage::At(_) | Stage::Again(_) if enough => self.pause_walk(id, next, 0, 0),
            Stage::At(_) | Stage::Again(_) | Stage::Confirm { .. } => self.step(id, ticket),
        }
    }

    /// One primary's own view came, at the end of a walk.
    fn viewed(&mut self, id: MergeId, ticket: Ticket, again: Option<usize>, part: usize, reply: &[u8]) {
        let seen = self.seen(part, reply);
        let map = self.topology.fingerprint();
        let Some(walk) = self.walk(id) else { return };
        if let Some(place) = walk.views.get_mut(part) {
            *place = seen;
        }
        if walk.views.contains(&Seen::Nothing) {
            return;
        }
        if walk.map != map || walk.views.contains(&Seen::Differs) {
            self.learn();
            return self.rescan(id, ticket);
        }
        let from = again.map_or(0, |again| again + 1);
        let next = (from..walk.views.len()).find(|place| walk.views[*place] == Seen::Imports);
        let enough = walk.found >= walk.wanted;
        match next {
            Some(place) => self.go_to(id, ticket, Stage::Again(place), enough),
            None => self.answer_walk(id, 0),
        }
    }

    /// Compares what a primary says of itself with the map.
    fn seen(&self, place: usize, reply: &[u8]) -> Seen {
        let node = self.topology.primaries().get(place).map(|(node, _)| *node);
        let Some(node) = node else { return Seen::Differs };
        // A user who may not ask is believed to see nothing else.
        if reply.starts_with(b"-NOPERM") {
            return Seen::Fits;
        }
        let said = text(reply).and_then(|text| std::str::from_utf8(text).ok());
        let known = self.topology.node(node);
        match said.map(|said| (said, View::parse(said, known.addr))) {
            Some((said, Ok(view))) => {
                let me = view.me();
                let owns = me.slots.ranges() == self.topology.ranges(node).as_slice();
                match me.id.0 == known.id && me.epoch == known.epoch && owns {
                    true if View::is_importing(said) => Seen::Imports,
                    true => Seen::Fits,
                    false => Seen::Differs,
                }
            }
            Some((_, Err(_))) | None => Seen::Differs,
        }
    }

    /// Something changed since the walk began: it begins again.
    fn rescan(&mut self, id: MergeId, ticket: Ticket) {
        let map = self.topology.fingerprint();
        let Some(walk) = self.walk(id) else { return };
        (walk.stage, walk.node_cursor, walk.mark, walk.map) = (Stage::At(0), 0, None, map);
        walk.restarts += 1;
        walk.keys.clear();
        walk.found = 0;
        match walk.restarts {
            0..=1 => self.step(id, ticket),
            2..=MAX_RESTARTS => {
                let frame = walk.request();
                let slot = self.topology.primaries().first().map_or(0, |(_, lowest)| *lowest);
                let ticket = Ticket { slot, work: Work::Part { merge: id, part: 0 }, ..ticket };
                self.hold(ticket, &frame, self.now.steady + SETTLING);
            }
            _ => self.pause_walk(id, Stage::At(0), 0, 0),
        }
    }

    /// Answers what was found, with the cursor from which the next call goes on.
    fn pause_walk(&mut self, id: MergeId, stage: Stage, node_cursor: u64, run: u64) {
        let map = self.topology.fingerprint();
        let mark = fingerprint(map, if node_cursor == 0 { 0 } else { run });
        match (Cursor { stage, node_cursor, mark }).encode(self.topology.primaries().len()) {
            Some(cursor) => self.answer_walk(id, cursor),
            None => {
                let mut reply = Vec::new();
                Writer::new(&mut reply, Proto::Two).error(ErrorReply::BadMerge { node: "a node" });
                self.give_up_walk(id, &reply);
            }
        }
    }

    fn answer_walk(&mut self, id: MergeId, cursor: u64) {
        let Some(merge) = self.merges.remove(id) else { return };
        let Policy::Walk(walk) = &merge.policy else { return };
        let mut out = Vec::with_capacity(walk.keys.len() + 64);
        let mut writer = Writer::new(&mut out, Proto::Two);
        writer.array(2);
        writer.bulk(cursor.to_string().as_bytes());
        writer.array(walk.found as usize);
        out.extend_from_slice(&walk.keys);
        self.deliver_merged(&merge, &out);
    }

    /// Answers with an error.
    fn give_up_walk(&mut self, id: MergeId, error: &[u8]) {
        if let Some(merge) = self.merges.remove(id) {
            self.deliver_merged(&merge, error);
        }
    }

    /// Has the server at the other end say which run it is, before the request that goes there now.
    fn ask_which_run(&mut self, ticket: &Ticket) {
        let Some(trunk) = self.sessions.get(ticket.session).map(|session| session.trunk) else { return };
        let Way::Pipe(id) = self.way(ticket.slot, trunk) else { return };
        let now = self.now.steady;
        if let Some(pipe) = self.pipes.get_mut(id)
            && pipe.run == Run::Unasked
        {
            pipe.run = Run::Asked;
            self.push(id, INFO_SERVER, Ticket::of_nobody(Work::Run, now));
        }
    }

    /// The server said which run it is, or that it does not tell this user.
    pub(super) fn run_told(&mut self, id: PipeId, reply: &[u8]) {
        let info = text(reply).unwrap_or_default();
        let line = info.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"run_id:"));
        let run = line.map_or(0, |run| mix(run.trim_ascii_end()));
        if let Some(pipe) = self.pipes.get_mut(id) {
            pipe.run = Run::Known(run);
        }
    }
}

impl Walk {
    /// Goes on from a client's cursor, or from the start where that is not from here and now.
    fn resume(&mut self, cursor: u64, primaries: usize) {
        if let Some(cursor) = Cursor::decode(cursor, primaries)
            && (cursor.node_cursor > 0 || cursor.mark == fingerprint(self.map, 0))
        {
            (self.stage, self.node_cursor) = (cursor.stage, cursor.node_cursor);
            self.mark = (cursor.node_cursor > 0).then_some(cursor.mark);
        }
    }

    fn request(&self) -> Vec<u8> {
        let cursor = self.node_cursor.to_string();
        let mut words: Vec<&[u8]> = vec![b"SCAN", cursor.as_bytes()];
        words.extend(self.options.iter().map(Vec::as_slice));
        let mut frame = Vec::new();
        Writer::new(&mut frame, Proto::Two).request(words.into_iter());
        frame
    }

    /// Takes the keys of a node's reply and returns its cursor; `None` when it is an error.
    fn take(&mut self, reply: &[u8]) -> Option<u64> {
        let mut pair = Elements::of(reply)?;
        let cursor = parse_u64(text(pair.next()?)?)?;
        let keys = Elements::of(pair.next()?)?;
        self.found += keys.left();
        self.keys.extend_from_slice(keys.raw());
        Some(cursor)
    }
}

/// The value of COUNT, 10 where there is none (`db.c`: `scanGenericCommand`).
fn count_of(options: &[Vec<u8>]) -> u64 {
    let at = options.iter().position(|word| word.eq_ignore_ascii_case(b"count"));
    at.and_then(|at| options.get(at + 1)).and_then(|count| parse_u64(count)).unwrap_or(10)
}
