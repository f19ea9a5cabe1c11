//! MONITOR: what the gateway's clients ask, as the server writes it (`replication.c`: `replicationFeedMonitors`).
//!
//! A monitor hears of the clients of every worker: the workers tell each other whether there are monitors, and then
//! what they were asked ([`Tidings`]). Without monitors it costs a request one branch.

use super::forward::Admit;
use super::session::Stop;
use super::{Output, Proxy, SessionId};
use crate::command::{Access, Command};
use crate::resp::Args;
use std::io::Write;
use std::sync::Arc;

/// What one worker tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tidings {
    /// It has a monitor, and had none.
    MonitorsCame,
    /// It has no monitor any more.
    MonitorsWent,
    /// Commands of its clients, as monitors get them.
    Commands(Arc<[u8]>),
}

/// The monitors of one worker, and what it knows of others.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    here: Vec<SessionId>,
    /// Other workers that have monitors.
    elsewhere: u32,
    /// Lines of this turn for those.
    lines: Vec<u8>,
}

impl Monitors {
    /// Whether anybody wants to know what is asked.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.elsewhere > 0 || !self.here.is_empty()
    }
}

impl Proxy {
    /// MONITOR.
    pub(super) fn monitor(&mut self, id: SessionId) -> Admit {
        if self.monitors.here.contains(&id) {
            return Admit::Yes; // the server does not answer it again
        }
        let admit = self.reply_with(id, |out| out.simple("OK"));
        if admit == Admit::Yes
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.extra.get_or_insert_default().monitors = true;
            self.monitors.here.push(id);
            if self.monitors.here.len() == 1 {
                self.tell(Tidings::MonitorsCame);
            }
        }
        admit
    }

    /// A client is gone, or starts anew.
    pub(super) fn end_monitor(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id)
            && let Some(extra) = &mut session.extra
        {
            extra.monitors = false;
            session.tidy();
        }
        let before = self.monitors.here.len();
        self.monitors.here.retain(|monitor| *monitor != id);
        if before > 0 && self.monitors.here.is_empty() {
            self.tell(Tidings::MonitorsWent);
        }
    }

    /// Shows a request to the monitors.
    pub(super) fn show(&mut self, id: SessionId, command: &Command, args: &Args<'_>) {
        let Some(peer) = self.sessions.get(id).map(|session| session.peer) else { return };
        if is_hidden(command.name) {
            return;
        }
        let now = self.now.unix;
        let mut line = Vec::new();
        let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
        write!(line, "+{seconds}.{micros:06} [0 {peer}]").expect("writing to memory does not fail");
        for (at, arg) in args.iter().enumerate() {
            line.push(b' ');
            quote(&mut line, if is_secret(command.name, args, at) { b"(redacted)" } else { arg });
        }
        line.extend_from_slice(b"\r\n");
        self.show_lines(&line);
        if self.monitors.elsewhere > 0 {
            self.monitors.lines.extend_from_slice(&line);
        }
    }

    fn show_lines(&mut self, lines: &[u8]) {
        let mut too_slow = Vec::new();
        for at in 0..self.monitors.here.len() {
            let id = self.monitors.here[at];
            let Some(session) =
                self.sessions.get_mut(id).filter(|session| session.stop != Some(Stop::Closing))
            else {
                continue;
            };
            session.announce(lines, &mut self.pool);
            if session.unread() > self.settings.unread_messages {
                too_slow.push(id);
            }
            self.touch_client(id);
        }
        for id in too_slow {
            self.evict(id, "it did not read what MONITOR shows: more than it may leave unread waits for it");
        }
    }

    /// The turn ends: what was asked in it is told to the other workers.
    pub(super) fn tell_commands(&mut self) {
        if !self.monitors.lines.is_empty() {
            let lines = std::mem::take(&mut self.monitors.lines);
            self.tell(Tidings::Commands(lines.into()));
        }
    }

    fn tell(&mut self, tidings: Tidings) {
        if self.settings.workers > 1 {
            self.outputs.push(Output::Tell(tidings));
        }
    }

    /// What another worker told.
    pub fn told(&mut self, tidings: &Tidings) {
        match tidings {
            Tidings::MonitorsCame => self.monitors.elsewhere += 1,
            Tidings::MonitorsWent => self.monitors.elsewhere = self.monitors.elsewhere.saturating_sub(1),
            Tidings::Commands(lines) => self.show_lines(lines),
        }
    }
}

/// What a monitor may not ask (`server.c`: `processCommand`, where it counts as a replica).
pub(super) fn is_refused_to_monitors(command: &Command) -> bool {
    command.access != Access::Admin
}

/// What the server does not show: administration (`CMD_ADMIN`).
fn is_hidden(name: &str) -> bool {
    match name.split_once('|') {
        Some(("config" | "slowlog" | "latency" | "debug" | "module" | "script" | "cluster", "help")) => false,
        Some(("config" | "slowlog" | "latency" | "debug" | "module", _)) => true,
        Some(("acl", sub)) => !matches!(sub, "whoami" | "cat" | "genpass" | "help"),
        Some(("client", sub)) => matches!(sub, "kill" | "list" | "pause" | "unpause" | "no-evict"),
        Some(_) => false,
        None => matches!(name, "monitor" | "debug" | "save" | "bgsave" | "bgrewriteaof" | "shutdown"),
    }
}

/// Whether an argument is a user's name or password (`acl.c`: `authCommand`, `networking.c`: `helloCommand`).
fn is_secret(name: &str, args: &Args<'_>, at: usize) -> bool {
    let auth = |at: usize| args.get(at).eq_ignore_ascii_case(b"auth");
    match name {
        "auth" => at > 0,
        "hello" => (at > 2 && auth(at - 1)) || (at > 3 && auth(at - 2)),
        _ => false,
    }
}

/// A text in quotes (`sds.c`: `sdscatrepr`).
fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(*byte),
            byte => write!(out, "\\x{byte:02x}").expect("writing to memory does not fail"),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::{is_hidden, quote};

    #[test]
    fn texts_are_quoted_as_the_server_does() {
        let mut out = Vec::new();
        quote(&mut out, b"a\"\\\n\r\t\x07\x08\x00\xff b");
        assert_eq!(out, br#""a\"\\\n\r\t\a\b\x00\xff b""#);
    }

    #[test]
    fn administration_is_hidden() {
        for hidden in ["config|get", "acl|setuser", "client|list", "monitor", "slowlog|get"] {
            assert!(is_hidden(hidden), "{hidden}");
        }
        for shown in ["get", "acl|whoami", "client|setname", "cluster|info", "object|encoding", "flushall"] {
            assert!(!is_hidden(shown), "{shown}");
        }
    }
}
