//! Every error text that a client of the gateway can see. Texts that the server has too are the server's
//! (`networking.c`, `server.c`, `cluster.c`), since client libraries decide by them.

use std::fmt;

/// The client's bytes are not the protocol: it gets this text and its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// More than the inline limit without a newline.
    #[error("Protocol error: too big inline request")]
    InlineTooBig,
    /// The line after `*` is longer than the inline limit.
    #[error("Protocol error: too big mbulk count string")]
    CountTooBig,
    /// The line after `$` is longer than the inline limit.
    #[error("Protocol error: too big bulk count string")]
    LengthTooBig,
    /// The argument count is no number or above the limit.
    #[error("Protocol error: invalid multibulk length")]
    Count,
    /// The bulk length is no number, negative or above the limit.
    #[error("Protocol error: invalid bulk length")]
    Length,
    /// Something else stands where `$` should.
    #[error("Protocol error: expected '$', got '{}'", shown(*.0))]
    ExpectedBulk(u8),
    /// An inline command's quotes do not match.
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    /// More than ten arguments before AUTH.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// More than 16 KiB in an argument before AUTH.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedLength,
    /// A node's reply starts with a byte that no reply starts with.
    #[error("reply type byte 0x{0:02x} is not RESP2 or RESP3")]
    ReplyType(u8),
    /// A node's reply has a length that is no number or out of bounds.
    #[error("reply has an invalid length line")]
    ReplyLength,
}

/// A byte that cannot break a reply line.
fn shown(byte: u8) -> char {
    if matches!(byte, b'\r' | b'\n') { ' ' } else { char::from(byte) }
}

/// What is wrong with a CLIENT TRACKING or CLIENT CACHING, in the server's words (`networking.c`, `tracking.c`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackingError {
    /// REDIRECT twice.
    #[error("A client can only redirect to a single other client")]
    TwoTargets,
    /// REDIRECT to nobody.
    #[error("The client ID you want redirect to does not exist")]
    NoTarget,
    /// PREFIX alone.
    #[error("PREFIX option requires BCAST mode to be enabled")]
    PrefixWithoutBcast,
    /// BCAST where it was not before, or the other way round.
    #[error(
        "You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with \
         a different mode."
    )]
    SwitchedBcast,
    /// BCAST with OPTIN or OPTOUT.
    #[error("OPTIN and OPTOUT are not compatible with BCAST")]
    BcastWithOpt,
    /// OPTIN with OPTOUT.
    #[error("You can't specify both OPTIN mode and OPTOUT mode")]
    OptInAndOut,
    /// OPTIN where OPTOUT was before, or the other way round.
    #[error(
        "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with \
         a different mode."
    )]
    SwitchedOpt,
    /// A prefix that contains another one.
    #[error(
        "Prefix '{prefix}' overlaps with {which} prefix '{other}'. Prefixes for a single client must not overlap."
    )]
    Overlap {
        /// The new one.
        prefix: String,
        /// Where the other one comes from.
        which: &'static str,
        /// The other one.
        other: String,
    },
    /// CLIENT CACHING of a client that is not tracked.
    #[error(
        "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
    )]
    NotTracked,
    /// CLIENT CACHING YES without OPTIN.
    #[error("CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")]
    YesWithoutOptin,
    /// CLIENT CACHING NO without OPTOUT.
    #[error("CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")]
    NoWithoutOptout,
}

impl TrackingError {
    /// Two prefixes that overlap.
    pub fn overlap(prefix: &[u8], other: &[u8], which: &'static str) -> Self {
        let text = |bytes: &[u8]| Printable(bytes).to_string();
        TrackingError::Overlap { prefix: text(prefix), which, other: text(other) }
    }
}

/// An error reply that the gateway makes itself. `Display` is the line without `-` and CRLF.
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorReply<'a> {
    /// Broken protocol; the connection closes after it.
    Protocol(ProtocolError),
    /// No such command: its name and the first arguments.
    UnknownCommand(&'a [u8], &'a [&'a [u8]]),
    /// A container command has no such subcommand: subcommand as sent, container in upper case.
    UnknownSubcommand(&'a [u8], &'a str),
    /// Too few or too many arguments for this command (lower-case full name).
    Arity(&'a str),
    /// Keys of one command lie in different slots.
    CrossSlot,
    /// A command came before AUTH.
    NoAuth,
    /// Wrong user name or password.
    WrongPass,
    /// CLIENT KILL of a client that does not exist.
    NoSuchClient,
    /// CLIENT KILL USER of a user that does not exist.
    NoSuchUser(&'a str),
    /// CLIENT KILL ID of something that is no number of a client.
    ClientIdPositive,
    /// A number of seconds or a database that is no number.
    NamedNotAnInteger(&'a str),
    /// A number of seconds that is 0 or less.
    NamedNotPositive(&'a str),
    /// CLIENT LIST or KILL with a database that does not exist.
    ClientDatabase(&'a str),
    /// CLIENT LIST or KILL with letters that mean nothing.
    ClientLetters {
        /// What they should be.
        what: &'a str,
        /// Where they stand.
        filter: &'a str,
        letters: &'a [u8],
    },
    /// CLIENT PAUSE with a mode that does not exist.
    PauseMode,
    /// A time in milliseconds that is no number.
    TimeoutNotAnInteger,
    /// A time in milliseconds that is below 0.
    TimeoutNegative,
    /// A subcommand with too many arguments: as sent, and its container in upper case.
    SubcommandSyntax(&'a [u8], &'a str),
    /// ACL SETUSER of the user that the gateway itself is.
    OwnUser,
    /// A user may not do this: the text of a node's ACL DRYRUN.
    NoPerm(&'a [u8]),
    /// A user may not use this command (lower-case full name).
    NoPermCommand(&'a str),
    /// AUTH without a password being set.
    AuthNotNeeded,
    /// HELLO with a version other than 2 or 3.
    NoProto,
    /// HELLO before AUTH on a gateway with a password.
    HelloNoAuth,
    /// A number was expected.
    NotAnInteger,
    /// HELLO's version is no number.
    ProtoNotAnInteger,
    /// Arguments do not fit together.
    Syntax,
    /// `HELLO` option that it does not know.
    HelloSyntax(&'a [u8]),
    /// SELECT of a database that the cluster does not have.
    DbIndex,
    /// A slot that does not exist.
    InvalidSlot,
    /// A node id that the one node does not have.
    UnknownNode(&'a [u8]),
    /// EVENKEEL NODE: nothing, or more than one node, is called so.
    NoSuchNode,
    ManySuchNodes,
    /// CONFIG SET of something by which evenkeel itself lives.
    OwnSetting(&'a str),
    /// A SCAN cursor that is no number.
    Cursor,
    /// CLIENT SETNAME with a space or control character.
    ClientName,
    /// CLIENT SETINFO of an attribute that does not exist, or with bad characters.
    ClientInfoOption(&'a [u8]),
    /// CLIENT SETINFO value with spaces or newlines.
    ClientInfoValue(&'a str),
    /// CLIENT TRACKING or CLIENT CACHING that makes no sense.
    Tracking(TrackingError),
    /// EXEC of a transaction that was refused.
    ExecAbort,
    /// EXEC of a transaction of which the node refused a command: the node's words.
    ExecAbortBecause(&'a str),
    /// EXEC with arguments.
    ExecArity,
    /// MULTI inside of MULTI.
    NestedMulti,
    /// A command that no transaction may hold.
    NotInMulti,
    /// WATCH inside of MULTI.
    WatchInMulti,
    /// EXEC or DISCARD without MULTI.
    WithoutMulti(&'a str),
    /// A transaction holds more bytes than it may.
    QueueFull {
        limit: u64,
    },
    /// A command that needs a node behind FLUSHALL in one transaction.
    BehindFlush,
    /// CLIENT LIST TYPE of something that no client is.
    ClientType(&'a [u8]),
    /// CLIENT LIST ID of something that is no number.
    ClientNumber,
    /// A command that a subscribed client of RESP2 may not send.
    Subscribed(&'a str),
    /// A command with keys of a client that monitors.
    Monitor,
    /// More subscriptions than a worker keeps.
    TooManyTopics {
        limit: usize,
    },
    /// A command that the gateway does not do yet.
    NotYet(&'a str),
    /// A command that the gateway refuses: what to do instead.
    Refused(&'a str),
    /// The hold time is over: slot, node and seconds waited, and the last reason.
    Unavailable {
        slot: Option<u16>,
        node: &'a str,
        waited_ms: u64,
        because: &'a str,
    },
    /// The hold buffer is full.
    HoldFull {
        slot: Option<u16>,
        node: &'a str,
    },
    /// A write was sent and its connection was lost.
    Uncertain {
        node: &'a str,
    },
    /// A write of keys in several slots was done in some of them and could not be done in others.
    Partly,
    /// The connection broke while a large request was being streamed; nothing was applied.
    StreamBroken {
        node: &'a str,
    },
    /// A request that cannot be streamed is larger than the gateway collects.
    TooLarge {
        limit: u64,
    },
    /// The merged reply of all nodes is larger than the gateway collects.
    MergedTooLarge {
        limit: u64,
    },
    /// A node answered a fan-out with something that it never should.
    BadMerge {
        node: &'a str,
    },
    /// Too many clients have a connection of their own already.
    TooManyWait {
        limit: usize,
    },
    /// A write is on its primary only: no replica confirmed it in time.
    Unreplicated {
        node: &'a str,
        waited_ms: u64,
    },
    /// A write was executed by a primary that is lost, or is none any more, before a replica confirmed it.
    LostUnreplicated {
        node: &'a str,
    },
    /// A wait that was ended by CLIENT UNBLOCK … ERROR.
    Unblocked,
    /// CLIENT UNBLOCK with a reason that there is not.
    UnblockReason,
    /// The gateway has all the clients it may have.
    MaxClients,
}

impl fmt::Display for ErrorReply<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ErrorReply::Protocol(error) => write!(out, "ERR {error}"),
            ErrorReply::UnknownCommand(..) | ErrorReply::UnknownSubcommand(..) => {
                out.write_str(&String::from_utf8_lossy(&self.line()))
            }
            ErrorReply::Arity(name) => write!(out, "ERR wrong number of arguments for '{name}' command"),
            ErrorReply::CrossSlot => out.write_str("CROSSSLOT Keys in request don't hash to the same slot"),
            ErrorReply::NoAuth => out.write_str("NOAUTH Authentication required."),
            ErrorReply::WrongPass => {
                out.write_str("WRONGPASS invalid username-password pair or user is disabled.")
            }
            ErrorReply::NoPerm(said) => no_permission(out, said),
            ErrorReply::NoPermCommand(name) => {
                write!(out, "NOPERM this user has no permissions to run the '{name}' command")
            }
            ErrorReply::AuthNotNeeded => out.write_str(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ),
            ErrorReply::NoProto => out.write_str("NOPROTO unsupported protocol version"),
            ErrorReply::HelloNoAuth => out.write_str(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH \
                 <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
                 the same time",
            ),
            ErrorReply::NotAnInteger => out.write_str("ERR value is not an integer or out of range"),
            ErrorReply::ProtoNotAnInteger => {
                out.write_str("ERR Protocol version is not an integer or out of range")
            }
            ErrorReply::Syntax => out.write_str("ERR syntax error"),
            ErrorReply::HelloSyntax(option) => {
                write!(out, "ERR Syntax error in HELLO option '{:.128}'", Printable(option))
            }
            ErrorReply::DbIndex => out.write_str("ERR DB index is out of range"),
            ErrorReply::InvalidSlot => out.write_str("ERR Invalid slot"),
            ErrorReply::UnknownNode(id) => write!(out, "ERR Unknown node {:.128}", Printable(id)),
            ErrorReply::Cursor => out.write_str("ERR invalid cursor"),
            ErrorReply::ExecAbort => {
                out.write_str("EXECABORT Transaction discarded because of previous errors.")
            }
            ErrorReply::ExecAbortBecause(because) => {
                write!(out, "EXECABORT Transaction discarded because of: {because}")
            }
            ErrorReply::ExecArity => out.write_str(
                "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command",
            ),
            ErrorReply::Tracking(ref error) => write!(out, "ERR {error}"),
            ErrorReply::NestedMulti => out.write_str("ERR MULTI calls can not be nested"),
            ErrorReply::NotInMulti => out.write_str("ERR Command not allowed inside a transaction"),
            ErrorReply::WatchInMulti => out.write_str("ERR WATCH inside MULTI is not allowed"),
            ErrorReply::WithoutMulti(name) => write!(out, "ERR {name} without MULTI"),
            ErrorReply::Monitor => out.write_str("ERR Replica can't interact with the keyspace"),
            ErrorReply::Subscribed(name) => write!(
                out,
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
                 in this context"
            ),
            _ => self.about_clients(out),
        }
    }
}

impl ErrorReply<'_> {
    /// The line without `-` and CRLF, with the client's own bytes in it as the server shows them: any but CR and LF, up
    /// to the first NUL. `Display` can show text only.
    pub fn line(&self) -> Vec<u8> {
        match *self {
            ErrorReply::UnknownCommand(name, args) => unknown_command(name, args),
            ErrorReply::UnknownSubcommand(sub, container) => {
                let end = format!("'. Try {container} HELP.");
                [b"ERR unknown subcommand '", shown_bytes(sub, 128).as_slice(), end.as_bytes()].concat()
            }
            _ => self.to_string().into_bytes(),
        }
    }

    /// The server's words about clients (`networking.c`: `clientCommand`).
    fn about_clients(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ErrorReply::NoSuchClient => out.write_str("ERR No such client"),
            ErrorReply::NoSuchUser(name) => {
                write!(out, "ERR No such user '{:.128}'", Printable(name.as_bytes()))
            }
            ErrorReply::NamedNotAnInteger(name) => {
                write!(out, "ERR {name} is not an integer or out of range")
            }
            ErrorReply::NamedNotPositive(name) => write!(out, "ERR {name} should be greater than 0"),
            ErrorReply::ClientDatabase(name) => write!(out, "ERR {name} number should be between 0 and 0"),
            ErrorReply::ClientLetters { what, filter, letters } => {
                write!(out, "ERR Unknown {what} found in the {filter} filter: {}", Printable(letters))
            }
            ErrorReply::ClientIdPositive => out.write_str("ERR client-id should be greater than 0"),
            ErrorReply::PauseMode => out.write_str("ERR CLIENT PAUSE mode must be WRITE or ALL"),
            ErrorReply::TimeoutNotAnInteger => out.write_str("ERR timeout is not an integer or out of range"),
            ErrorReply::TimeoutNegative => out.write_str("ERR timeout is negative"),
            ErrorReply::SubcommandSyntax(sub, container) => write!(
                out,
                "ERR unknown subcommand or wrong number of arguments for '{:.128}'. Try {container} HELP.",
                Printable(sub)
            ),
            ErrorReply::ClientName => {
                out.write_str("ERR Client names cannot contain spaces, newlines or special characters.")
            }
            ErrorReply::ClientInfoOption(option) => {
                write!(out, "ERR Unrecognized option '{:.128}'", Printable(option))
            }
            ErrorReply::ClientInfoValue(attribute) => {
                write!(out, "ERR {attribute} cannot contain spaces, newlines or special characters.")
            }
            ErrorReply::ClientType(kind) => write!(out, "ERR Unknown client type '{}'", Printable(kind)),
            ErrorReply::Unblocked => out.write_str("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
            ErrorReply::UnblockReason => {
                out.write_str("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
            }
            ErrorReply::ClientNumber => out.write_str("ERR Invalid client ID"),
            _ => self.own_words(out),
        }
    }

    /// Errors that only a gateway can have, in our words: what, where, and what to do.
    fn own_words(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ErrorReply::OwnUser => out.write_str(
                "ERR evenkeel: the user default is how the gateway and the nodes themselves log in to the nodes, so it \
                 is not changed through the gateway: make another user (ACL SETUSER <name> ...); the password of clients \
                 that give no name is gateway.auth's",
            ),
            ErrorReply::NotYet(name) => {
                write!(out, "ERR evenkeel: '{name}' is not supported through the gateway yet")
            }
            ErrorReply::TooManyTopics { limit } => write!(
                out,
                "ERR evenkeel: the clients of this gateway are subscribed to as many channels as it keeps ({limit})"
            ),
            ErrorReply::NoSuchNode => out.write_str(
                "ERR evenkeel: no node has this address, port or id (or start of an id, of 4 digits at least); EVENKEEL \
                 NODES lists them",
            ),
            ErrorReply::ManySuchNodes => out
                .write_str("ERR evenkeel: more than one node is called so; give the whole address or id (EVENKEEL NODES)"),
            ErrorReply::OwnSetting(name) => write!(
                out,
                "ERR evenkeel: '{name}' is evenkeel's own: set it in evenkeel.toml, or on one node with EVENKEEL NODE \
                 <node> CONFIG SET {name} …"
            ),
            ErrorReply::QueueFull { limit } => write!(
                out,
                "ERR evenkeel: a transaction may hold {limit} bytes, and all of them together four times as much; \
                 split it"
            ),
            ErrorReply::BehindFlush => out.write_str(
                "ERR evenkeel: behind FLUSHALL or FLUSHDB a transaction takes no command for a node: all nodes are \
                 flushed after its other commands",
            ),
            ErrorReply::Refused(instead) => write!(out, "ERR {instead}"),
            _ => self.troubles(out),
        }
    }

    /// What went wrong, or is too much.
    fn troubles(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ErrorReply::Unavailable { slot, node, waited_ms, because } => write!(
                out,
                "UNAVAILABLE {}{node} could not serve this for {:.1} s ({because}); nothing was applied, try again",
                Place(slot),
                waited_ms as f64 / 1000.0
            ),
            ErrorReply::HoldFull { slot, node } => write!(
                out,
                "UNAVAILABLE {}{node} cannot serve this and the gateway holds as many requests as it may; nothing \
                 was applied, try again",
                Place(slot)
            ),
            ErrorReply::Uncertain { node } => write!(
                out,
                "UNCERTAIN the connection to {node} was lost after this command was sent: it may or may not have \
                 been applied; read before you repeat it"
            ),
            ErrorReply::Partly => out.write_str(
                "UNCERTAIN some keys of this command were written and others could not be; read before you repeat it",
            ),
            ErrorReply::StreamBroken { node } => write!(
                out,
                "UNAVAILABLE {node} went away or handed the slot over while this large request was being sent; \
                 nothing was applied, try again"
            ),
            ErrorReply::TooLarge { limit } => write!(
                out,
                "ERR evenkeel: only commands with one key may be larger than {limit} bytes; send large values one \
                 by one"
            ),
            ErrorReply::MergedTooLarge { limit } => {
                write!(
                    out,
                    "ERR evenkeel: the merged reply would be larger than {limit} bytes; ask for less at a time"
                )
            }
            ErrorReply::BadMerge { node } => {
                write!(out, "ERR evenkeel: {node} gave an answer that cannot be merged with the others'")
            }
            ErrorReply::Unreplicated { node, waited_ms } => write!(
                out,
                "UNREPLICATED this was applied on {node} only: no replica confirmed it within {:.1} s; it is lost if \
                 that node is",
                waited_ms as f64 / 1000.0
            ),
            ErrorReply::LostUnreplicated { node } => write!(
                out,
                "UNCERTAIN {node} applied this and was lost, or replaced, before a replica confirmed it: it may or \
                 may not have been kept; read before you repeat it"
            ),
            ErrorReply::TooManyWait { limit } => write!(
                out,
                "ERR evenkeel: {limit} clients have a connection of their own already, as many as gateway.max-private \
                 allows; raise it"
            ),
            ErrorReply::MaxClients => out.write_str("ERR max number of clients reached"),
            _ => unreachable!("all others are written above"),
        }
    }
}

/// `server.c`, `processCommand`: the name and the first arguments, 128 bytes of each list at most.
fn unknown_command(name: &[u8], args: &[&[u8]]) -> Vec<u8> {
    let mut line = b"ERR unknown command '".to_vec();
    line.extend_from_slice(&shown_bytes(name, 128));
    line.extend_from_slice(b"', with args beginning with: ");
    let mut room = 128usize;
    for arg in args {
        if room == 0 {
            break;
        }
        let shown = shown_bytes(arg, room);
        room = room.saturating_sub(shown.len() + 3);
        line.push(b'\'');
        line.extend_from_slice(&shown);
        line.extend_from_slice(b"' ");
    }
    line
}

/// Bytes of a client as the server prints them into an error: as a C string, CR and LF as spaces.
fn shown_bytes(bytes: &[u8], most: usize) -> Vec<u8> {
    let text = bytes.iter().take(most).take_while(|byte| **byte != 0);
    text.map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

/// ACL DRYRUN names the key or channel that is refused, the command itself does not (`acl.c`: `getAclErrorMessage`).
fn no_permission(out: &mut fmt::Formatter<'_>, said: &[u8]) -> fmt::Result {
    let text = Printable(said).to_string();
    let text = text.strip_prefix("This user").map_or(text.clone(), |rest| format!("this user{rest}"));
    match text.split_once(" to access the '") {
        Some((who, what)) if what.ends_with("' key") => {
            write!(out, "NOPERM {who} to access one of the keys used as arguments")
        }
        Some((who, what)) if what.ends_with("' channel") => {
            write!(out, "NOPERM {who} to access one of the channels used as arguments")
        }
        Some(_) | None => write!(out, "NOPERM {text}"),
    }
}

/// Bytes of a client as text that cannot break a reply line: CR and LF become spaces, as the server does it.
struct Printable<'a>(&'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = out.precision().unwrap_or(usize::MAX).min(self.0.len());
        let text = String::from_utf8_lossy(&self.0[..most]);
        for part in text.chars() {
            fmt::Write::write_char(out, if matches!(part, '\r' | '\n') { ' ' } else { part })?;
        }
        Ok(())
    }
}

/// `slot 7, ` or nothing.
struct Place(Option<u16>);

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(slot) => write!(out, "slot {slot}, "),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorReply;

    #[test]
    fn unknown_commands_are_one_line_and_bounded() {
        let long = vec![b'x'; 4000];
        let text = ErrorReply::UnknownCommand(b"fo\r\no", &[b"a", &long, b"c"]).to_string();
        assert!(text.starts_with("ERR unknown command 'fo  o', with args beginning with: 'a' 'xxx"));
        assert!(text.len() < 400 && !text.contains('\n'));
    }

    #[test]
    fn bytes_are_shown_as_the_server_shows_them() {
        let line = ErrorReply::UnknownCommand(b"f\xffo\0x", &[b"a\0b", b"c\xffd", b"e\nf"]).line();
        assert_eq!(line, b"ERR unknown command 'f\xffo', with args beginning with: 'a' 'c\xffd' 'e f' ");
        let line = ErrorReply::UnknownSubcommand(b"f\xff\0o", "CLIENT").line();
        assert_eq!(line, b"ERR unknown subcommand 'f\xff'. Try CLIENT HELP.");
    }
}
