//! CLIENT: what a connection is called and how it looks in a list (`networking.c`: `clientCommand`).

use super::super::forward::{Admit, full};
use super::super::mute::Reply;
use super::super::session::{About, Session};
use super::super::{Gather, Proxy, SessionId};
use super::filter::{Dialect, Filter, flags, user_of};
use super::hello::is_plain;
use super::lines;
use crate::resp::{Args, ErrorReply, Proto, Writer};
use std::fmt::Write;

impl Proxy {
    fn about(&mut self, id: SessionId) -> Option<&mut About> {
        let session = self.sessions.get_mut(id)?;
        Some(session.about.get_or_insert_with(Box::<About>::default))
    }

    pub(super) fn client_setname(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        if !is_plain(args.get(2)) {
            return self.refuse(id, &ErrorReply::ClientName);
        }
        if let Some(about) = self.about(id) {
            about.name = args.get(2).to_vec();
        }
        self.reply_with(id, |out| out.simple("OK"))
    }

    pub(super) fn client_getname(&mut self, id: SessionId) -> Admit {
        let about = self.sessions.get(id).and_then(|session| session.about.as_ref());
        let name = about.map(|about| about.name.clone()).unwrap_or_default();
        self.reply_with(id, |out| if name.is_empty() { out.null() } else { out.bulk(&name) })
    }

    pub(super) fn client_id(&mut self, id: SessionId) -> Admit {
        let number = self.sessions.get(id).map_or(0, |session| session.number);
        self.reply_with(id, |out| out.integer(number as i64))
    }

    pub(super) fn client_setinfo(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let (attribute, value) = (args.get(2), args.get(3));
        let (library, shown) = if attribute.eq_ignore_ascii_case(b"lib-name") {
            (Library::Name, "lib-name")
        } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
            (Library::Version, "lib-ver")
        } else {
            return self.refuse(id, &ErrorReply::ClientInfoOption(attribute));
        };
        if !is_plain(value) {
            return self.refuse(id, &ErrorReply::ClientInfoValue(shown));
        }
        if let Some(about) = self.about(id) {
            match library {
                Library::Name => about.lib_name = value.to_vec(),
                Library::Version => about.lib_ver = value.to_vec(),
            }
        }
        self.reply_with(id, |out| out.simple("OK"))
    }

    pub(super) fn client_info(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let now = self.now.steady;
        self.note_length(id, args);
        let asked = self.sessions.get(id).and_then(|session| session.about.as_ref()).map(|about| about.asked);
        let dialect = self.dialect();
        let describe = |session| describe(session, now, asked.unwrap_or_default(), dialect);
        let line = self.sessions.get(id).map(describe).unwrap_or_default() + "\n";
        self.reply_with(id, |out| out.verbatim(line.as_bytes()))
    }

    pub(super) fn client_list(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        self.note_length(id, args);
        let mut users = Vec::new();
        let filter = Filter::listed(args, self.number_of(id), self.dialect(), &mut users);
        if let Some(admit) = self.knows_users(id, &users) {
            return admit;
        }
        match filter {
            Ok(filter) => self.gather(id, Gather::Clients(filter)),
            Err(error) => self.refuse(id, &error),
        }
    }

    /// A list shows the request that asks for it, as it stands in a server's buffer then.
    fn note_length(&mut self, id: SessionId, args: &Args<'_>) {
        let request = args.spans().last().map_or(0, |span| span.at as usize + span.len as usize + 2);
        let words = args.iter().map(<[u8]>::len).sum();
        if let Some(about) = self.about(id) {
            about.asked = (request, words);
        }
    }

    /// The lines of CLIENT LIST for this worker's clients that are asked for.
    pub fn list_clients(&self, filter: &Filter) -> String {
        let now = self.now.steady;
        let lines = self.sessions.iter().filter(|(_, session)| filter.means(session, now));
        let dialect = self.dialect();
        let asking = |session: &Session| {
            let about = session.about.as_ref().filter(|_| session.last_command == "client|list");
            about.filter(|_| session.under_way() > 0).map_or((0, 0), |about| about.asked)
        };
        lines.map(|(_, session)| describe(session, now, asking(session), dialect) + "\n").collect()
    }

    /// The protocol that a client speaks.
    pub fn client_proto(&self, id: SessionId) -> Proto {
        self.sessions.get(id).map_or(Proto::Two, |session| session.proto)
    }

    pub(super) fn client_no_evict(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let word = args.get(2);
        let no_evict = word.eq_ignore_ascii_case(b"on");
        if !no_evict && !word.eq_ignore_ascii_case(b"off") {
            return self.refuse(id, &ErrorReply::Syntax);
        }
        if let Some(about) = self.about(id) {
            about.no_evict = no_evict;
        }
        self.reply_with(id, |out| out.simple("OK"))
    }

    /// What a library says that it can do: kept and shown; nothing else that the gateway says depends on it.
    pub(super) fn client_capa(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        if args.iter().skip(2).any(|word| word.eq_ignore_ascii_case(b"redirect"))
            && let Some(about) = self.about(id)
        {
            about.redirects = true;
        }
        self.reply_with(id, |out| out.simple("OK"))
    }

    /// Kept and shown. The nodes serve many clients on one connection, so what is read counts as used nevertheless.
    pub(super) fn client_no_touch(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let word = args.get(2);
        let no_touch = word.eq_ignore_ascii_case(b"on");
        if !no_touch && !word.eq_ignore_ascii_case(b"off") {
            return self.refuse(id, &ErrorReply::Syntax);
        }
        if let Some(about) = self.about(id) {
            about.no_touch = no_touch;
        }
        self.reply_with(id, |out| out.simple("OK"))
    }

    pub(super) fn client_reply(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let reply = match args.get(2).to_ascii_lowercase().as_slice() {
            b"on" => Reply::On,
            b"off" => Reply::Off,
            b"skip" => Reply::Skip,
            _ => return self.refuse(id, &ErrorReply::Syntax),
        };
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if let Some(stop) = full(session) {
            session.stop = Some(stop);
            return Admit::Stopped;
        }
        let seq = session.upcoming();
        session.extra.get_or_insert_default().mute.ask(seq, reply);
        session.tidy();
        self.reply_with(id, |out| out.simple("OK"))
    }

    pub(super) fn acl_whoami(&mut self, id: SessionId) -> Admit {
        let user = self.sessions.get(id).map(user_of).unwrap_or_default();
        self.reply_with(id, |out| out.bulk(user.as_bytes()))
    }
}

enum Library {
    Name,
    Version,
}

/// One line as the server writes it, with the fields that mean something here. `asked`: the length of the request that it
/// waits for, and of its words.
fn describe(session: &Session, now: u64, asked: (usize, usize), dialect: Dialect) -> String {
    let seconds = |since: u64| now.saturating_sub(since) / 1_000_000;
    let text = |bytes: Option<&Vec<u8>>| {
        bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    let about = session.about.as_deref();
    let subscribed = session.subscribed();
    let mut line = String::new();
    let _ = write!(
        line,
        "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={}{} db=0 sub={} psub={} ssub={} multi={} qbuf={} \
         qbuf-free=0 argv-mem={} multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={} tot-mem={} events=r cmd={} user={} \
         redir={} resp={} lib-name={} lib-ver={}",
        session.number,
        session.peer,
        session.local,
        text(about.map(|about| &about.name)),
        seconds(session.since),
        seconds(session.active),
        flags(session),
        match (dialect, about.is_some_and(|about| about.redirects)) {
            (Dialect::Redis, _) => "",
            (Dialect::Valkey | Dialect::ValkeyNot, true) => " capa=r",
            (Dialect::Valkey | Dialect::ValkeyNot, false) => " capa=",
        },
        subscribed[0],
        subscribed[1],
        subscribed[2],
        session
            .extra
            .as_ref()
            .and_then(|extra| extra.transaction.queued())
            .map_or(-1, |queued| queued as i64),
        session.inbox.len() + asked.0,
        asked.1,
        session.out.len() + session.stashed(),
        session.inbox.len() + session.out.len() + session.stashed(),
        session.last_command,
        user_of(session),
        session
            .extra
            .as_ref()
            .and_then(|extra| extra.tracking.as_ref())
            .map_or(-1, |tracking| tracking.redirect()),
        if session.proto == Proto::Three { 3 } else { 2 },
        text(about.map(|about| &about.lib_name)),
        text(about.map(|about| &about.lib_ver)),
    );
    line
}

pub(super) fn help(out: &mut Writer<'_>) {
    lines(
        out,
        &[
            "CLIENT <subcommand> [<arg> ...]. Subcommands that the gateway answers are:",
            "GETNAME | SETNAME <name>",
            "    The name of this connection.",
            "CAPA <option> [<option> ...]",
            "    Kept and shown; no other answer of the gateway depends on what a client can do.",
            "ID",
            "    The number of this connection, unique in this gateway.",
            "INFO | LIST [TYPE NORMAL|PUBSUB | ID <number> ...]",
            "    This connection, or client connections of this gateway. In front of Valkey, LIST has the options of KILL.",
            "KILL <ip:port> | KILL <option> <value> [...]",
            "    Close client connections of this gateway: ADDR, LADDR, ID, TYPE, USER, MAXAGE, SKIPME YES|NO. In front of",
            "    Valkey 8.1 also FLAGS, NAME, IDLE, LIB-NAME, LIB-VER, DB, CAPA, IP, and in front of Valkey 9.0 NOT-<option>.",
            "NO-EVICT ON|OFF",
            "    Accepted; the gateway closes no client for the memory of others.",
            "NO-TOUCH ON|OFF",
            "    Accepted; what is read counts as used at the nodes nevertheless.",
            "PAUSE <milliseconds> [WRITE|ALL] | UNPAUSE",
            "    Have the requests (that write) of all clients of this gateway wait.",
            "REPLY ON|OFF|SKIP",
            "    Whether this connection wants replies.",
            "SETINFO LIB-NAME|LIB-VER <value>",
            "    What the client library says of itself.",
            "UNBLOCK <number> [TIMEOUT|ERROR]",
            "    Ends the wait of a connection in a blocking command.",
            "HELP",
            "    Print this help.",
        ],
    );
}
