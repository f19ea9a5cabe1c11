//! AUTH and HELLO (`acl.c`: `authCommand`; `networking.c`: `helloCommand`).

use super::super::forward::Admit;
use super::super::session::{About, Known};
use super::super::{Proxy, SessionId};
use crate::resp::{Args, ErrorReply, Proto, parse_i64};

/// What HELLO asks for.
struct Hello<'a> {
    proto: Option<Proto>,
    auth: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
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
        if !self.opens(user, password) {
            return self.refuse(id, &ErrorReply::WrongPass);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.known = Known::Yes;
        }
        self.reply_with(id, |out| out.simple("OK"))
    }

    /// Whether user and password are right. Without a password being set, any opens for `default`, as it is
    /// with the server's `nopass`.
    fn opens(&self, user: &[u8], password: &[u8]) -> bool {
        let right = match &self.settings.client_password {
            None => true,
            Some(wanted) => same(wanted.as_bytes(), password),
        };
        right && user == b"default"
    }

    pub(super) fn hello(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let hello = match parse(args) {
            Ok(hello) => hello,
            Err(error) => return self.refuse(id, &error),
        };
        if let Some((user, password)) = hello.auth
            && !self.opens(user, password)
        {
            return self.refuse(id, &ErrorReply::WrongPass);
        }
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if session.known == Known::No && hello.auth.is_none() {
            return self.refuse(id, &ErrorReply::HelloNoAuth);
        }
        // What comes back for requests under way is in the old protocol: the change waits for them.
        if hello.proto.is_some_and(|proto| proto != session.proto) && session.under_way() > 0 {
            session.stop = Some(super::super::session::Stop::Quiet);
            return Admit::Stopped;
        }
        session.known = Known::Yes;
        if let Some(name) = hello.name {
            session.about.get_or_insert_with(Box::<About>::default).name = name.to_vec();
        }
        let (number, proto) = (session.number, hello.proto.unwrap_or(session.proto));
        if proto != session.proto {
            let trunk = self.shared_trunk(proto, None);
            self.join_trunk(id, trunk);
        }
        let version = self.version.clone();
        self.reply_with(id, |out| {
            out.map(7);
            out.bulk(b"server");
            out.bulk(b"redis");
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
