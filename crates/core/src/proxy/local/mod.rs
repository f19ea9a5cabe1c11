//! Commands that the gateway answers itself: the connection's own state, and the view of one big node.

mod client;
mod cluster;
mod filter;
mod hello;
mod kill;

pub use filter::Filter;
pub(super) use hello::switch_to;
pub use kill::Kill;

use super::forward::Admit;
use super::mute::Reply;
use super::pipe::{Resend, Work};
use super::session::{Known, Session, Stop};
use super::{Gather, Output, Proxy, SessionId};
use crate::command::Local;
use crate::metric::Class;
use crate::resp::{Args, ErrorReply, Proto, Writer, parse_i64};

impl Proxy {
    /// Answers a command.
    pub(super) fn local(&mut self, id: SessionId, local: Local, args: &Args<'_>) -> Admit {
        match local {
            Local::Ping => self.ping(id, args),
            Local::Echo => self.reply_with(id, |out| out.bulk(args.get(1))),
            Local::Time => self.time(id),
            Local::Select => self.select(id, args),
            Local::Quit => self.quit(id),
            Local::Reset => self.reset(id),
            Local::Readonly => self.reply_with(id, |out| out.simple("OK")),
            Local::Role => self.reply_with(id, role),
            Local::Auth => self.auth(id, args),
            Local::Hello => self.hello(id, args),
            Local::ClientSetname => self.client_setname(id, args),
            Local::ClientGetname => self.client_getname(id),
            Local::ClientId => self.client_id(id),
            Local::ClientSetinfo => self.client_setinfo(id, args),
            Local::ClientInfo => self.client_info(id, args),
            Local::ClientList => self.client_list(id, args),
            Local::ClientKill => self.client_kill(id, args),
            Local::ClientCapa => self.client_capa(id, args),
            Local::ClientNoEvict => self.client_no_evict(id, args),
            Local::ClientNoTouch => self.client_no_touch(id, args),
            Local::ClientPause => self.client_pause(id, args),
            Local::ClientReply => self.client_reply(id, args),
            Local::ClientUnpause => self.gather(id, Gather::Pause(None)),
            Local::AclWhoami => self.acl_whoami(id),
            Local::ClientUnblock => self.client_unblock(id, args),
            Local::ClientHelp => self.reply_with(id, client::help),
            Local::ClusterSlots => self.cluster_slots(id),
            Local::ClusterShards => self.cluster_shards(id),
            Local::ClusterNodes => self.cluster_nodes(id),
            Local::ClusterInfo => self.cluster_info(id),
            Local::ClusterKeyslot => self.cluster_keyslot(id, args),
            Local::ClusterMyid => self.cluster_myid(id),
            Local::ClusterLinks => self.reply_with(id, |out| out.array(0)),
            Local::ClusterReplicas => self.cluster_replicas(id, args),
            Local::ClusterFailureReports => self.cluster_failure_reports(id, args),
            Local::ClusterHelp => self.reply_with(id, cluster::help),
            Local::ClientTracking => Admit::Yes, // it went its way in `route`
            Local::ClientCaching => self.client_caching(id, args),
            Local::ClientGetredir => self.client_getredir(id),
            Local::ClientTrackinginfo => self.client_trackinginfo(id),
            Local::Monitor => self.monitor(id),
            Local::Multi => self.multi(id),
            Local::Exec => self.exec(id),
            Local::Discard => self.discard_transaction(id),
            Local::Watch => self.watch(id, args),
            Local::Unwatch => self.unwatch(id),
            Local::Evenkeel => self.evenkeel(id, args),
        }
    }

    fn ping(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let among_messages = |session: &Session| session.proto == Proto::Two && session.is_subscriber();
        match args.len() {
            1 | 2 if self.sessions.get(id).is_some_and(among_messages) => self.reply_with(id, |out| {
                out.array(2);
                out.bulk(b"pong");
                out.bulk(args.get(1));
            }),
            1 => match self.busy_slot() {
                // Whoever asks whether Redis is there wants to know that it is busy: the node says so.
                Some(slot) => self.forward_as(
                    id,
                    slot,
                    b"*1\r\n$4\r\nPING\r\n",
                    (Resend::Yes, Class::Other),
                    Work::Whole,
                ),
                None => self.reply_with(id, |out| out.simple("PONG")),
            },
            2 => self.reply_with(id, |out| out.bulk(args.get(1))),
            _ => self.refuse(id, &ErrorReply::Arity("ping")),
        }
    }

    fn time(&mut self, id: SessionId) -> Admit {
        let now = self.now.unix;
        self.reply_with(id, |out| {
            out.array(2);
            out.bulk((now / 1_000_000).to_string().as_bytes());
            out.bulk((now % 1_000_000).to_string().as_bytes());
        })
    }

    fn select(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        match parse_i64(args.get(1)) {
            Some(0) => self.reply_with(id, |out| out.simple("OK")),
            Some(_) => self.refuse(id, &ErrorReply::DbIndex),
            None => self.refuse(id, &ErrorReply::NotAnInteger),
        }
    }

    fn quit(&mut self, id: SessionId) -> Admit {
        if self.has_messages_on_their_way(id) {
            return Admit::Stopped;
        }
        let admit = self.reply_with(id, |out| out.simple("OK"));
        if admit == Admit::Yes
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.stop = Some(Stop::Closing);
        }
        admit
    }

    /// Back to how the connection began (`networking.c`: `resetCommand`).
    fn reset(&mut self, id: SessionId) -> Admit {
        let locked = self.settings.client_password.is_some();
        // What is under way is answered in its protocol still, and what comes next goes another way: see `hello`.
        if let Some(session) = self.sessions.get_mut(id)
            && session.trunk != self.base[0]
            && session.under_way() > 0
        {
            session.stop = Some(Stop::Quiet);
            return Admit::Stopped;
        }
        if self.has_messages_on_their_way(id) {
            return Admit::Stopped;
        }
        if let Some(session) = self.sessions.get_mut(id)
            && super::forward::full(session).is_none()
        {
            let seq = session.upcoming();
            if let Some(extra) = &mut session.extra {
                extra.mute.ask(seq, Reply::On); // this reply is wanted, whatever was not before
            }
        }
        self.reset_subscriptions(id);
        self.end_monitor(id);
        let admit = self.reply_with(id, |out| out.simple("RESET"));
        if admit == Admit::Yes
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.known = if locked { Known::No } else { Known::Yes };
            if let Some(about) = &mut session.about {
                about.name.clear();
                about.user.clear();
                about.no_touch = false;
            }
            self.end_transaction(id);
            self.end_tracking(id);
            self.join_trunk(id, self.base[0]);
            self.set_durability(id, b"default");
        }
        admit
    }

    fn evenkeel(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        if args.get(1).eq_ignore_ascii_case(b"metrics") && args.len() == 2 {
            return self.gather(id, Gather::Metrics);
        }
        if args.get(1).eq_ignore_ascii_case(b"node") {
            return self.evenkeel_node(id, args);
        }
        if args.get(1).eq_ignore_ascii_case(b"nodes") && args.len() == 2 {
            return self.evenkeel_nodes(id);
        }
        if args.get(1).eq_ignore_ascii_case(b"help") && args.len() == 2 {
            return self.reply_with(id, |out| {
                lines(
                    out,
                    &[
                        "EVENKEEL <subcommand>. Subcommands are:",
                        "METRICS",
                        "    The gateway's counters and latencies as JSON.",
                        "NODE <id|address|port> <command> [<arg> ...]",
                        "    Send a command to one node, and its reply back as it is.",
                        "NODES",
                        "    The nodes: id, address, role and slots.",
                        "HELP",
                        "    Print this help.",
                    ],
                );
            });
        }
        self.refuse(id, &ErrorReply::UnknownSubcommand(args.get(1), "EVENKEEL"))
    }

    /// Has the shell ask all workers; the answer comes by [`Proxy::answer`].
    pub(super) fn gather(&mut self, id: SessionId, what: Gather) -> Admit {
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if let Some(stop) = super::forward::full(session) {
            session.stop = Some(stop);
            return Admit::Stopped;
        }
        let seq = session.admit();
        self.outputs.push(Output::Gather { what, session: id, seq });
        Admit::Yes
    }
}

/// ROLE of the one big node: a primary without replicas of its own.
fn role(out: &mut Writer<'_>) {
    out.array(3);
    out.bulk(b"master");
    out.integer(0);
    out.array(0);
}

/// A help text as the server writes it: an array of simple strings.
fn lines(out: &mut Writer<'_>, text: &[&str]) {
    out.array(text.len());
    text.iter().for_each(|line| out.simple(line));
}
