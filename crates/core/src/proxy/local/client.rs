//! CLIENT: what a connection is called and how it looks in a list (`networking.c`: `clientCommand`).

use super::super::forward::Admit;
use super::super::session::{About, Session, Stop};
use super::super::{Gather, Proxy, SessionId};
use super::hello::is_plain;
use super::lines;
use crate::resp::{Args, ErrorReply, Proto, Writer, parse_u64};
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

    pub(super) fn client_info(&mut self, id: SessionId) -> Admit {
        let now = self.now.steady;
        let line = self.sessions.get(id).map(|session| describe(session, now)).unwrap_or_default() + "\n";
        self.reply_with(id, |out| out.verbatim(line.as_bytes()))
    }

    pub(super) fn client_list(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let option = args.get(2);
        if args.len() == 2 {
            self.gather(id, Gather::Clients(None))
        } else if args.len() == 4 && option.eq_ignore_ascii_case(b"type") {
            match args.get(3).to_ascii_lowercase().as_slice() {
                b"normal" => self.gather(id, Gather::Clients(None)),
                b"master" | b"replica" | b"slave" | b"pubsub" => self.reply_with(id, |out| out.verbatim(b"")),
                _ => self.refuse(id, &ErrorReply::ClientType(args.get(3))),
            }
        } else if args.len() >= 4 && option.eq_ignore_ascii_case(b"id") {
            let numbers: Option<Vec<u64>> = args.iter().skip(3).map(parse_u64).collect();
            match numbers {
                Some(numbers) => self.gather(id, Gather::Clients(Some(numbers))),
                None => self.refuse(id, &ErrorReply::ClientNumber),
            }
        } else {
            self.refuse(id, &ErrorReply::Syntax)
        }
    }

    /// The lines of CLIENT LIST for this worker's clients: those with these numbers, or all.
    pub fn list_clients(&self, numbers: Option<&[u64]>) -> String {
        let wanted = |session: &Session| numbers.is_none_or(|numbers| numbers.contains(&session.number));
        let lines = self.sessions.iter().filter(|(_, session)| wanted(session));
        lines.map(|(_, session)| describe(session, self.now.steady) + "\n").collect()
    }
}

enum Library {
    Name,
    Version,
}

/// One line as the server writes it, with the fields that mean something here.
fn describe(session: &Session, now: u64) -> String {
    let seconds = |since: u64| now.saturating_sub(since) / 1_000_000;
    let text = |bytes: Option<&Vec<u8>>| {
        bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    let about = session.about.as_deref();
    let mut line = String::new();
    let _ = write!(
        line,
        "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db=0 sub=0 psub=0 ssub=0 multi={} qbuf={} \
         qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={} tot-mem={} events=r cmd={} user={} \
         redir=-1 resp={} lib-name={} lib-ver={}",
        session.number,
        session.peer,
        session.local,
        text(about.map(|about| &about.name)),
        seconds(session.since),
        seconds(session.active),
        flags(session),
        session
            .extra
            .as_ref()
            .and_then(|extra| extra.transaction.queued())
            .map_or(-1, |queued| queued as i64),
        session.inbox.len(),
        session.out.len() + session.stashed(),
        session.inbox.len() + session.out.len() + session.stashed(),
        session.last_command,
        user_of(session),
        if session.proto == Proto::Three { 3 } else { 2 },
        text(about.map(|about| &about.lib_name)),
        text(about.map(|about| &about.lib_ver)),
    );
    line
}

/// What a client is doing, in the server's letters.
fn flags(session: &Session) -> &'static str {
    if session.stop == Some(Stop::Closing) {
        "c"
    } else if session.extra.as_ref().is_some_and(|extra| extra.transaction.queued().is_some()) {
        "x"
    } else if session.is_blocked() {
        "b"
    } else {
        "N"
    }
}

/// The user that a client is logged in as.
fn user_of(session: &Session) -> String {
    match session.about.as_deref() {
        Some(about) if !about.user.is_empty() => String::from_utf8_lossy(&about.user).into_owned(),
        Some(_) | None => "default".to_owned(),
    }
}

pub(super) fn help(out: &mut Writer<'_>) {
    lines(
        out,
        &[
            "CLIENT <subcommand> [<arg> ...]. Subcommands that the gateway answers are:",
            "GETNAME | SETNAME <name>",
            "    The name of this connection.",
            "ID",
            "    The number of this connection, unique in this gateway.",
            "INFO | LIST [TYPE normal]",
            "    This connection, or all client connections of this gateway.",
            "SETINFO LIB-NAME|LIB-VER <value>",
            "    What the client library says of itself.",
            "UNBLOCK <number> [TIMEOUT|ERROR]",
            "    Ends the wait of a connection in a blocking command.",
            "HELP",
            "    Print this help.",
        ],
    );
}
