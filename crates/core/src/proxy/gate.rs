//! What a user may do where no node is there to judge it: commands that the gateway answers itself.
//!
//! Requests go to the nodes on connections of their user, so the nodes enforce its rules. For a command that no node gets to
//! see, a node is asked by `ACL DRYRUN` first. Nothing is remembered: rules change at any time.

use super::forward::Admit;
use super::inquiry::Desk;
use super::{Proxy, SessionId};
use crate::command::{Command, Local, Treat};
use crate::resp::{Args, ErrorReply, Proto, Writer, text};

/// Who decides whether a user may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judge {
    /// The nodes that it is sent to; or nobody, as it is refused or open to everyone.
    Elsewhere,
    /// A node has to be asked, about the command itself.
    Asked,
    /// A node has to be asked, about another command, as the nodes may not know this one.
    AskedAbout(&'static [&'static [u8]]),
    /// Only the default user has it.
    DefaultOnly,
}

fn judge(command: &Command, args: &Args<'_>) -> Judge {
    match command.treat {
        Treat::Here(local) => judge_local(local, args),
        Treat::Confirm => Judge::Asked,
        Treat::Slot
        | Treat::Receivers(_)
        | Treat::Subscribe(_)
        | Treat::Unsubscribe(_)
        | Treat::Blocking(_)
        | Treat::AnyPrimary
        | Treat::Split(_)
        | Treat::Every(..)
        | Treat::SlotNumber
        | Treat::Settings
        | Treat::SetUser
        | Treat::Scan
        | Treat::Later
        | Treat::Refused(_) => Judge::Elsewhere,
    }
}

fn judge_local(local: Local, args: &Args<'_>) -> Judge {
    let metrics = args.len() > 1 && args.get(1).eq_ignore_ascii_case(b"metrics");
    if matches!(local, Local::Auth | Local::Hello | Local::Quit | Local::Reset | Local::Watch) {
        Judge::Elsewhere // `server.c`: CMD_NO_AUTH; the node of its keys is asked to watch them
    } else if local == Local::ClientSetinfo {
        Judge::AskedAbout(&[b"CLIENT", b"SETNAME", b"x"])
    } else if local != Local::Evenkeel {
        Judge::Asked
    } else if metrics {
        Judge::AskedAbout(&[b"INFO"])
    } else {
        Judge::DefaultOnly
    }
}

impl Proxy {
    /// Stops what a user may not do. `None`: it goes on.
    #[inline]
    pub(super) fn at_gate(&mut self, id: SessionId, command: &Command, args: &Args<'_>) -> Option<Admit> {
        let judge = judge(command, args);
        if judge == Judge::Elsewhere {
            return None;
        }
        let trunk = self.trunks.get(self.sessions.get(id)?.trunk)?;
        let user = trunk.login.as_ref()?.user.clone();
        let words: Vec<&[u8]> = match judge {
            Judge::Elsewhere => return None,
            Judge::DefaultOnly => {
                return Some(self.reject(id, &ErrorReply::NoPermCommand(command.name)));
            }
            Judge::Asked => args.iter().collect(),
            Judge::AskedAbout(words) => words.to_vec(),
        };
        let mut question = Vec::new();
        let head = [b"ACL".as_slice(), b"DRYRUN", &user];
        Writer::new(&mut question, Proto::Two)
            .request(head.into_iter().chain(words).collect::<Vec<_>>().into_iter());
        let Some(answer) = self.inquire(id, Desk::Own, question) else { return Some(Admit::Stopped) };
        if answer == b"+OK\r\n" {
            return None;
        }
        Some(match text(&answer) {
            Some(said) => self.reject(id, &ErrorReply::NoPerm(said)),
            None if answer.starts_with(b"-UNAVAILABLE ") => self.pass_on(id, &answer),
            // The nodes do not know the command, or not this form of it: nobody can say that it is allowed.
            None => self.reject(id, &ErrorReply::NoPermCommand(command.name)),
        })
    }
}
