//! AUTH and HELLO (`acl.c`: `authCommand`; `networking.c`: `helloCommand`).

use super::super::forward::Admit;
use super::super::inquiry::Desk;
use super::super::session::{Known, Stop};
use super::super::trunk::Login;
use super::super::{Proxy, SessionId};
use crate::resp::{Args, ErrorReply, Proto, Writer, parse_i64};

/// What HELLO asks for.
struct Hello<'a> {
    proto: Option<Proto>,
    auth: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

/// What came of a user name and a password.
enum Verified {
    /// It is known later: the request waits.
    Later,
    /// They are right.
    As(Option<Login>),
    /// They are not, or nobody could tell: the reply.
    Not(Vec<u8>),
}

impl Proxy {
    pub(super) fn auth(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let (user, password) = match args.len() {
            2 if self.settings.client_password.is_none() => {
                return self.refuse(id, &ErrorReply::AuthNotNeeded);
            }
            2 => (b"default".as_slice(), args.get(1)),
            3 => (args.get(1), args.get(2)),
            _ => return self.refuse(id, &ErrorReply::Syntax),
        };
        match self.verify(id, user, password) {
            Verified::Later => Admit::Stopped,
            Verified::Not(reply) => self.pass_on(id, &reply),
            Verified::As(login) => {
                let proto = self.client_proto(id);
                self.log_in(id, user, login, proto);
                self.reply_with(id, |out| out.simple("OK"))
            }
        }
    }

    /// Finds out whether user and password are right: the gateway knows its own names, the nodes know theirs. Waits
    /// until nothing of the client is under way, since the answer changes the way of what comes next.
    fn verify(&mut self, id: SessionId, user: &[u8], password: &[u8]) -> Verified {
        let Some(session) = self.sessions.get_mut(id) else { return Verified::Later };
        if session.under_way() > 0 {
            session.stop = Some(Stop::Quiet);
            return Verified::Later;
        }
        let wrong = || {
            let mut reply = Vec::new();
            Writer::new(&mut reply, Proto::Two).error(ErrorReply::WrongPass);
            Verified::Not(reply)
        };
        if user == b"default" {
            // Without a password being set, any opens for `default`, as it is with the server's `nopass`.
            let wanted = self.settings.client_password.as_ref();
            let right = wanted.is_none_or(|wanted| same(wanted.as_bytes(), password));
            return if right { Verified::As(None) } else { wrong() };
        }
        if let Some(named) = self.settings.users.iter().find(|named| named.name.as_bytes() == user) {
            let right = same(named.password.as_bytes(), password);
            return if right { Verified::As(named.login.clone()) } else { wrong() };
        }
        let mut question = Vec::new();
        Writer::new(&mut question, Proto::Two).request([b"AUTH".as_slice(), user, password].into_iter());
        match self.inquire(id, Desk::Door, question) {
            None => Verified::Later,
            Some(answer) if answer == b"+OK\r\n" => {
                Verified::As(Some(Login { user: user.to_vec(), password: password.to_vec() }))
            }
            Some(answer) => Verified::Not(answer),
        }
    }

    /// A client has shown that it is this user: what it asks from now on goes on that user's connections.
    fn log_in(&mut self, id: SessionId, user: &[u8], login: Option<Login>, proto: Proto) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.known = Known::Yes;
        let old = session.trunk;
        if user != b"default" || session.about.is_some() {
            let user = if user == b"default" { b"".as_slice() } else { user };
            session.about.get_or_insert_default().user = user.to_vec();
        }
        self.set_durability(id, user);
        let trunk = self.trunk_for(id, proto, login.as_ref());
        if trunk != old {
            self.join_trunk(id, trunk);
        }
        if login.is_some() {
            self.connect_all(trunk);
        }
    }

    pub(super) fn hello(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let hello = match parse(args) {
            Ok(hello) => hello,
            Err(error) => return self.refuse(id, &error),
        };
        if let Some((user, password)) = hello.auth {
            match self.verify(id, user, password) {
                Verified::Later => return Admit::Stopped,
                Verified::Not(reply) => return self.pass_on(id, &reply),
                Verified::As(login) => {
                    let proto = hello.proto.unwrap_or_else(|| self.client_proto(id));
                    self.log_in(id, user, login, proto);
                }
            }
        }
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if session.known == Known::No {
            return self.refuse(id, &ErrorReply::HelloNoAuth);
        }
        let (number, old, trunk) = (session.number, session.proto, session.trunk);
        let proto = hello.proto.unwrap_or(old);
        // What comes back for requests under way is in the old protocol: the change waits for them.
        if proto != old && session.under_way() > 0 {
            session.stop = Some(Stop::Quiet);
            return Admit::Stopped;
        }
        if let Some(name) = hello.name {
            session.about.get_or_insert_default().name = name.to_vec();
        }
        if proto != old && !self.turn_trunk(id, proto) {
            let login = self.login_of(trunk).cloned();
            let trunk = self.trunk_for(id, proto, login.as_ref());
            self.join_trunk(id, trunk);
        }
        let (server, version) = (self.server.clone(), self.version.clone());
        self.reply_with(id, |out| {
            out.map(7);
            out.bulk(b"server");
            out.bulk(server.as_bytes());
            out.bulk(b"version");
            out.bulk(version.as_bytes());
            out.bulk(b"proto");
            out.integer(if proto == Proto::Three { 3 } else { 2 });
            out.bulk(b"id");
            out.integer(number as i64);
            out.bulk(b"mode");
            out.bulk(b"cluster");
            out.bulk(b"role");
            out.bulk(b"master");
            out.bulk(b"modules");
            out.array(0);
        })
    }
}

/// The request by which a connection to a node goes on in this protocol.
pub(in super::super) fn switch_to(proto: Proto) -> &'static [u8] {
    match proto {
        Proto::Two => b"*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n",
        Proto::Three => b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
    }
}

fn parse<'a>(args: &Args<'a>) -> Result<Hello<'a>, ErrorReply<'a>> {
    let mut hello = Hello { proto: None, auth: None, name: None };
    if args.len() >= 2 {
        hello.proto = Some(match parse_i64(args.get(1)) {
            None => return Err(ErrorReply::ProtoNotAnInteger),
            Some(2) => Proto::Two,
            Some(3) => Proto::Three,
            Some(_) => return Err(ErrorReply::NoProto),
        });
    }
    let mut at = 2;
    while at < args.len() {
        let (option, more) = (args.get(at), args.len() - at - 1);
        if option.eq_ignore_ascii_case(b"auth") && more >= 2 {
            hello.auth = Some((args.get(at + 1), args.get(at + 2)));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"setname") && more >= 1 {
            let name = args.get(at + 1);
            if !is_plain(name) {
                return Err(ErrorReply::ClientName);
            }
            hello.name = Some(name);
            at += 2;
        } else {
            return Err(ErrorReply::HelloSyntax(option));
        }
    }
    Ok(hello)
}

/// Neither spaces nor control characters (`networking.c`: `validateClientAttr`).
pub(super) fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// Compares without telling by its time where the texts differ.
fn same(wanted: &[u8], given: &[u8]) -> bool {
    let differing = given.iter().enumerate().fold(0u8, |differing, (at, byte)| {
        differing | byte ^ wanted.get(at % wanted.len().max(1)).copied().unwrap_or(0)
    });
    wanted.len() == given.len() && differing == 0
}
