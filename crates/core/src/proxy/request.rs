//! From a client's bytes to requests, and from a request to the way that it takes.

use super::forward::{Admit, resend};
use super::pipe::Work;
use super::pubsub::HOME;
use super::session::{End, Known, Stop};
use super::timing::Timed;
use super::{Proxy, SessionId};
use crate::command::{
    Command, Feed, Local, Lookup, Timeout, Treat, arity_ok, block_option, is_container, lookup,
};
use crate::metric::{Class, Metric};
use crate::resp::{Args, ErrorReply, Limits, Proto, Read, RequestReader, Span, Writer, split_inline};
use crate::topology::slot;

/// A piece of a request above which a client's buffer is filled by exact reservation.
const RESERVE: u64 = 64 * 1024;

impl Proxy {
    /// Bytes came from a client.
    pub fn client_bytes(&mut self, id: SessionId, bytes: &[u8]) {
        self.counts[Metric::ClientBytesIn as usize] += bytes.len() as u64;
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.stream.is_some() {
            return self.stream_bytes(id, bytes);
        }
        session.bulky = false; // until some of it passes unread
        if session.inbox.is_empty() {
            let taken = self.pump(id, bytes);
            self.keep(id, &bytes[taken..]);
        } else {
            self.pool.extend(&mut session.inbox, bytes);
            self.pump_inbox(id);
        }
    }

    /// Reads on in what a client sent before.
    pub(super) fn pump_inbox(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if session.inbox.is_empty() || session.stop.is_some() || session.stream.is_some() {
            return;
        }
        let mut inbox = std::mem::take(&mut session.inbox);
        let taken = self.pump(id, &inbox);
        match self.sessions.get_mut(id) {
            // Whatever a stream took over is in the stream's hands now.
            Some(session) if taken < inbox.len() && session.inbox.is_empty() => {
                inbox.drain(..taken);
                session.inbox = inbox;
            }
            Some(_) | None => self.pool.give(inbox),
        }
    }

    /// Keeps bytes of a request that is not whole or not admitted.
    fn keep(&mut self, id: SessionId, rest: &[u8]) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if rest.is_empty() || session.stop == Some(Stop::Closing) {
            return;
        }
        self.pool.extend(&mut session.inbox, rest);
    }

    /// Admits as many requests of `bytes` as may be; returns how many bytes are done with.
    fn pump(&mut self, id: SessionId, bytes: &[u8]) -> usize {
        let mut spans = std::mem::take(&mut self.spans);
        let mut at = 0;
        while at < bytes.len() {
            at += self.express(id, &bytes[at..], &mut spans);
            if at >= bytes.len() {
                break;
            }
            let Some(session) = self.sessions.get_mut(id) else { break };
            if session.stop.is_some() {
                break;
            }
            let limits = match session.known {
                Known::Yes => &Limits::SERVER,
                Known::No => &Limits::BEFORE_AUTH,
            };
            let rest = &bytes[at..];
            match session.reader.read(rest, &mut spans, limits) {
                Ok(Read::Frame { len }) => match self.request(id, &rest[..len], &Args::new(rest, &spans)) {
                    Admit::Yes => at += len,
                    Admit::Stopped => break,
                },
                Ok(Read::Inline { len }) => match self.inline(id, &rest[..len], &mut spans) {
                    Admit::Yes => at += len,
                    Admit::Stopped => break,
                },
                Ok(Read::Empty { len }) => at += len,
                Ok(Read::Partial { needs }) => {
                    at += self.partial(id, rest, needs, &mut spans);
                    break;
                }
                Err(error) => {
                    self.counts[Metric::ProtocolErrors as usize] += 1;
                    self.refuse_and_close(id, &ErrorReply::Protocol(error));
                    at = bytes.len();
                }
            }
        }
        spans.clear();
        self.spans = spans;
        at
    }

    /// A request is not whole: a large one is streamed if it can be, else room is made for it. Returns how many
    /// bytes a stream took over.
    fn partial(&mut self, id: SessionId, rest: &[u8], needs: u64, spans: &mut Vec<Span>) -> usize {
        if needs > self.settings.ordinary {
            if let Some(taken) = self.begin_stream(id, rest, needs, spans) {
                return taken;
            }
            if needs > self.settings.collect {
                let limit = self.settings.collect;
                self.refuse_and_close(id, &ErrorReply::TooLarge { limit });
                return rest.len();
            }
        }
        if needs > RESERVE
            && let Some(session) = self.sessions.get_mut(id)
            && session.inbox.capacity() == 0
        {
            session.inbox = Vec::with_capacity(needs.min(self.settings.ordinary) as usize);
        }
        0
    }

    /// An inline line becomes an ordinary request.
    fn inline(&mut self, id: SessionId, line: &[u8], spans: &mut Vec<Span>) -> Admit {
        let words = match split_inline(line) {
            Ok(words) if words.is_empty() => return Admit::Yes,
            Ok(words) => words,
            Err(error) => {
                self.counts[Metric::ProtocolErrors as usize] += 1;
                self.refuse_and_close(id, &ErrorReply::Protocol(error));
                return Admit::Yes;
            }
        };
        let mut frame = Vec::new();
        Writer::new(&mut frame, Proto::Two).request(words.iter().map(Vec::as_slice));
        match RequestReader::default().read(&frame, spans, &Limits::SERVER) {
            Ok(Read::Frame { len }) => self.request(id, &frame[..len], &Args::new(&frame, spans)),
            _ => Admit::Yes,
        }
    }

    /// One whole request.
    fn request(&mut self, id: SessionId, frame: &[u8], args: &Args<'_>) -> Admit {
        if self.sessions.get(id).is_some_and(|session| session.extra.is_some()) && !self.run_rest(id) {
            return Admit::Stopped; // the reply of its EXEC is not whole yet
        }
        let sub = (args.len() > 1).then(|| args.get(1));
        let found = match lookup(args.get(0), sub) {
            Lookup::Found(command) => Lookup::Found(command),
            unknown @ (Lookup::UnknownSubcommand(_) | Lookup::Unknown) => {
                self.find_learned(unknown, args.get(0), sub)
            }
        };
        let command = match found {
            Lookup::Found(command) => command,
            Lookup::UnknownSubcommand(container) => {
                let container = container.to_ascii_uppercase();
                return self.reject(id, &ErrorReply::UnknownSubcommand(args.get(1), &container));
            }
            // `networking.c`, securityWarningCommand: a browser was made to speak to us.
            Lookup::Unknown if is_http(args.get(0)) => {
                self.counts[Metric::ProtocolErrors as usize] += 1;
                self.evict(
                    id,
                    "it speaks HTTP (POST or Host:), possibly a cross-protocol attack through a browser",
                );
                return Admit::Yes;
            }
            Lookup::Unknown => {
                let shown: Vec<&[u8]> = args.iter().skip(1).take(20).collect();
                return self.reject(id, &ErrorReply::UnknownCommand(args.get(0), &shown));
            }
        };
        if !arity_ok(command, args.len()) {
            return match command.name {
                "exec" => self.exec_misspelt(id),
                name => self.reject(id, &ErrorReply::Arity(name)),
            };
        }
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        session.last_command = command.name;
        session.active = self.now.steady;
        if session.known == Known::No && !before_auth(command) {
            return self.refuse(id, &ErrorReply::NoAuth);
        }
        let admit = self.by_state(id, command, frame, args);
        if self.monitors.is_on() && admit == Admit::Yes {
            self.show(id, command, args);
        }
        admit
    }

    /// Routes a request unless its client's state decides otherwise.
    #[inline]
    fn by_state(&mut self, id: SessionId, command: &'static Command, frame: &[u8], args: &Args<'_>) -> Admit {
        if let Some(admit) = self.at_gate(id, command, args) {
            return admit;
        }
        if self.pause.is_some() && self.waits_for_pause(id, command, args) {
            return Admit::Stopped;
        }
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if session.extra.is_some() {
            self.keep_caching(id, command);
        }
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if session.extra.is_some()
            && let Some(admit) = self.by_mode(id, command, frame, args)
        {
            return admit;
        }
        self.route(id, command, frame, args)
    }

    /// Sends a request the way that its row says.
    pub(super) fn route(
        &mut self,
        id: SessionId,
        command: &'static Command,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Admit {
        match command.treat {
            Treat::Slot if block_option(command, args).is_some() => {
                self.block(id, command, Timeout::Option, frame, args)
            }
            Treat::Slot => self.by_keys(id, command, frame, args),
            Treat::Subscribe(feed) => self.subscribe(id, feed, args),
            Treat::Unsubscribe(feed) => self.unsubscribe(id, feed, args),
            Treat::Receivers(feed) => {
                let slot = if feed == Feed::Shard { slot(args.get(1)) } else { HOME };
                self.forward_as(id, slot, frame, (resend(command.access), Class::Other), Work::Count)
            }
            Treat::AnyPrimary => self.forward(id, HOME, frame, command),
            Treat::SlotNumber => self.by_slot_number(id, command, frame, args),
            Treat::Split(split) => self.split(id, command, split, frame, args),
            Treat::Every(scope, fold) => self.every(id, command, (scope, fold), frame, args),
            Treat::SetUser => self.set_user(id, command, frame, args),
            Treat::Settings => self.settings(id, command, frame, args),
            Treat::Blocking(timeout) => self.block(id, command, timeout, frame, args),
            Treat::Confirm => self.confirm(id, command, frame, args),
            Treat::Scan => self.scan(id, args),
            Treat::Here(Local::ClientTracking) => self.client_tracking(id, command, args),
            Treat::Here(local) => self.local(id, local, args),
            Treat::Later if is_container(command) => self.refuse(id, &ErrorReply::Arity(command.name)),
            Treat::Later => self.refuse(id, &ErrorReply::NotYet(command.name)),
            Treat::Refused(instead) => self.refuse(id, &ErrorReply::Refused(instead)),
        }
    }

    /// Answers with an error, in the reply's turn.
    pub(super) fn refuse(&mut self, id: SessionId, error: &impl std::fmt::Display) -> Admit {
        let admit = self.reply_with(id, |writer| writer.error(error));
        if admit == Admit::Yes {
            self.counts[Metric::Errors as usize] += 1; // one that has to wait comes here again
        }
        admit
    }

    /// Looks for a command that the table lacks among what the servers told.
    #[cold]
    fn find_learned(&self, unknown: Lookup, name: &[u8], sub: Option<&[u8]>) -> Lookup {
        match self.lexicon.find(name, sub) {
            Lookup::Unknown => unknown,
            learned @ (Lookup::Found(_) | Lookup::UnknownSubcommand(_)) => learned,
        }
    }

    /// Answers a request at once, in the reply's turn.
    pub(super) fn reply_with(&mut self, id: SessionId, write: impl FnOnce(&mut Writer<'_>)) -> Admit {
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if let Some(stop) = super::forward::full(session) {
            session.stop = Some(stop);
            return Admit::Stopped;
        }
        let (seq, proto) = (session.admit(), session.proto);
        let mut reply = std::mem::take(&mut self.scratch);
        reply.clear();
        write(&mut Writer::new(&mut reply, proto));
        self.deliver(id, seq, Timed::here(Class::Other, self.now.steady), &reply, End::Yes);
        self.scratch = reply;
        Admit::Yes
    }

    /// Answers with a reply that is there already, in its turn.
    pub(super) fn pass_on(&mut self, id: SessionId, reply: &[u8]) -> Admit {
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if let Some(stop) = super::forward::full(session) {
            session.stop = Some(stop);
            return Admit::Stopped;
        }
        let seq = session.admit();
        self.counts[Metric::Errors as usize] += u64::from(reply.first() == Some(&b'-'));
        self.deliver(id, seq, Timed::here(Class::Other, self.now.steady), reply, End::Yes);
        Admit::Yes
    }

    /// Answers with an error and closes once the client has it and all replies before it.
    pub(super) fn refuse_and_close(&mut self, id: SessionId, error: &ErrorReply<'_>) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.inbox = Vec::new();
            let seq = session.admit();
            let mut reply = Vec::new();
            Writer::new(&mut reply, Proto::Two).error(error);
            self.counts[Metric::Errors as usize] += 1;
            self.deliver(id, seq, Timed::here(Class::Other, self.now.steady), &reply, End::Yes);
            if let Some(session) = self.sessions.get_mut(id) {
                session.stop = Some(Stop::Closing);
            }
        }
    }
}

/// Words that a browser sends at the start of a line.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Commands that need no AUTH (`server.c`: `CMD_NO_AUTH`).
fn before_auth(command: &Command) -> bool {
    matches!(command.name, "auth" | "hello" | "quit" | "reset")
}
