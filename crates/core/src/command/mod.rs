//! What the gateway knows about each command: arity, where its keys are, what it may do, how it is routed.
//!
//! `table` holds one row a command, `lookup` finds a row by name, `keys` finds the keys among the arguments of a
//! call, `learned` makes rows of what servers say of commands that the table lacks. Nothing here routes or replies: those who call it do, by what the row says.

mod keys;
mod learned;
mod lookup;
mod refusals;
mod table;

use crate::metric::Class;
pub use crate::resp::{Args, Span};
pub use keys::{KeyIter, KeysError, block_option, keys};
pub use learned::{Learner, Lexicon};
pub use lookup::{Lookup, is_container, lookup};
pub use table::TABLE;

/// One row of the command table. `name` is lower case; a subcommand's row is named `container|sub`.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// The row's place in the table.
    pub id: CommandId,
    /// Lower-case name as the server's `COMMAND` prints it, e.g. `get` or `client|getname`.
    pub name: &'static str,
    /// The server's arity: counts the command name (and the subcommand); negative means "at least".
    pub arity: i16,
    /// Where the key names are among the arguments.
    pub keys: Keys,
    /// What the command may do to data.
    pub access: Access,
    /// How the gateway treats it.
    pub treat: Treat,
}

/// A command's place in the table: small and dense, so that a value per command can live in an array of
/// `TABLE.len()`. It is stable within one build only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u16);

impl Command {
    /// The row's place in the table, as an index.
    pub const fn index(&self) -> usize {
        self.id.0 as usize
    }

    /// What it is to whoever looks at times.
    pub fn class(&self) -> Class {
        match (self.treat, self.keys, self.access) {
            (Treat::Blocking(_) | Treat::Confirm, _, _) => Class::Blocking,
            (_, Keys::Counted { rule: CountRule::Script, .. }, _) => Class::Script,
            (_, _, access) => access.class(),
        }
    }
}

/// Whether a call with `argc` arguments (the name and a subcommand count) has as many as the command wants.
pub const fn arity_ok(command: &Command, argc: usize) -> bool {
    let wanted = command.arity.unsigned_abs() as usize;
    if command.arity < 0 { argc >= wanted } else { argc == wanted }
}

/// Key positions. Argument 0 is the command name; for subcommands, argument 1 is the subcommand.
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// No key at all.
    None,
    /// From `first` to `last` (negative counts from the end: -1 is the last argument) in steps of `step`.
    Range { first: u8, last: i8, step: u8 },
    /// A count at argument `count`, then that many keys from argument `count + 1` in steps of `step` (ZUNION,
    /// SINTERCARD …), preceded by one destination key at argument 1 where `dest` is `Dest::First` (ZUNIONSTORE …).
    Counted { count: u8, step: u8, dest: Dest, rule: CountRule },
    /// After the word STREAMS: the first half of what follows (XREAD, XREADGROUP).
    Streams,
    /// First argument, and the argument after the last STORE or STOREDIST among the options, which start at
    /// argument `from` (SORT, GEORADIUS …).
    Store { from: u8 },
}

/// What a counted command accepts as a count, and so the words in which the server turns another one down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountRule {
    /// EVAL, FCALL and their kin: 0 is a legal count.
    Script,
    /// ZUNION, ZINTERSTORE …: at least one input key.
    SortedSets,
    /// SINTERCARD: a positive count.
    Sets,
    /// LMPOP, ZMPOP …: a positive count.
    Pop,
}

/// Whether a counted command names a destination key before the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// No destination key.
    Absent,
    /// Argument 1 is a key as well.
    First,
}

/// What a command may do to data: decides whether it may be sent again after its connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only: may be sent again.
    Read,
    /// May change data: never sent again once it may have been executed.
    Write,
    /// Touches no keys (administration, connection state).
    Admin,
}

impl Access {
    /// What a command with one key that does this is to whoever looks at times.
    #[inline]
    pub const fn class(self) -> Class {
        match self {
            Access::Read => Class::Read,
            Access::Write => Class::Write,
            Access::Admin => Class::Other,
        }
    }
}

/// How the gateway treats a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treat {
    /// All keys are in one slot: sent verbatim to the slot's primary.
    Slot,
    /// Adds subscriptions.
    Subscribe(Feed),
    /// Takes subscriptions away.
    Unsubscribe(Feed),
    /// Sent to the node where the subscribers of a channel meet; the receivers in its reply are counted as clients of
    /// the gateway count them.
    Receivers(Feed),
    /// Sent verbatim to one fixed primary (the answer is the same everywhere).
    AnyPrimary,
    /// Split by slot and merged.
    Split(Split),
    /// Argument 2 is a slot's number: sent to the primary that owns it.
    SlotNumber,
    /// Sent to several nodes and merged.
    Every(Scope, Fold),
    /// CONFIG SET: to every node, but for the settings that evenkeel itself lives by.
    Settings,
    /// ACL SETUSER: to every node, but for the user that evenkeel itself lives by.
    SetUser,
    /// Walks the primaries one after the other (SCAN).
    Scan,
    /// All keys are in one slot, and the reply may be long in coming: sent to the slot's primary on a connection of its
    /// own. XREAD and XREADGROUP go this way too when they are called with BLOCK.
    Blocking(Timeout),
    /// Waits until replicas have what the client wrote (WAIT, WAITAOF): asked of every shard that it wrote to.
    Confirm,
    /// Answered by the gateway itself.
    Here(Local),
    /// Only a row so that the error can say what the command is; not supported by the gateway yet.
    Later,
    /// Refused: dangerous or meaningless behind a gateway; the text says what to do instead and stands after
    /// the error code (`-ERR `).
    Refused(&'static str),
}

/// Where a blocking command says how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Seconds, the last argument (BLPOP …).
    Last,
    /// Seconds, argument 1 (BLMPOP, BZMPOP).
    First,
    /// Milliseconds, the value of the option BLOCK.
    Option,
}

/// Commands that are split over slots, by what their merged reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// MGET: array in the order of the keys asked for.
    Gather,
    /// MSET: +OK when every part is done.
    AllOk,
    /// DEL, UNLINK, EXISTS, TOUCH: integers added up.
    Sum,
}

/// To which nodes a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every primary, in line with the client's other requests.
    Primaries,
    /// Every primary, and every other node that can be reached: what a replica has to be told too, as it may be the next
    /// primary, and what nobody should have to wait for where a replica is gone.
    Nodes,
    /// Every primary, past the other requests: what has to reach a node that is busy with a script.
    Aside,
}

/// How the replies of several nodes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Integers added up (DBSIZE).
    Sum,
    /// The smallest integer (LASTSAVE).
    Least,
    /// The largest integer.
    Greatest,
    /// +OK when all say so; the first error otherwise (FLUSHALL, SCRIPT FLUSH).
    AllOk,
    /// Arrays one after the other (KEYS).
    Concat,
    /// Arrays of 0/1, or one of them, joined by a logical and (SCRIPT EXISTS).
    And,
    /// All say the same; the first is passed on, an error wins (SCRIPT LOAD, FUNCTION LOAD).
    Same,
    /// One success is enough; only where there is none, an error is passed on (SCRIPT KILL).
    Any,
    /// One of them at random, weighted by DBSIZE (RANDOMKEY).
    Weighted,
    /// INFO texts merged into one.
    Info,
    /// Channels, each with the sum of its receivers (PUBSUB SHARDNUMSUB).
    Receivers,
    /// Log entries, the newest first, as many as were asked for, each with its node's address (SLOWLOG GET).
    Newest,
    /// Log entries, the youngest first, as many as were asked for (ACL LOG).
    Youngest,
    /// The worst spike of each event (LATENCY LATEST).
    Spikes,
    /// Pairs of time and value by time (LATENCY HISTORY).
    Timeline,
    /// Counts of calls added up by command (LATENCY HISTOGRAM).
    Histograms,
    /// Maps with their integers added up (MEMORY STATS).
    Stats,
    /// The node that runs a function, if one does (FUNCTION STATS).
    Running,
    /// Texts for people, each under its node's address where they differ (MEMORY DOCTOR).
    Texts,
    /// Digests of the nodes' data joined by exclusive or, as the server joins those of keys (DEBUG DIGEST).
    Digest,
}

/// What a client can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// A channel: SUBSCRIBE.
    Channel,
    /// All channels that a pattern matches: PSUBSCRIBE.
    Pattern,
    /// A channel that lives where its slot does: SSUBSCRIBE.
    Shard,
}

impl Feed {
    /// For arrays by feed.
    pub fn index(self) -> usize {
        match self {
            Feed::Channel => 0,
            Feed::Pattern => 1,
            Feed::Shard => 2,
        }
    }

    /// The command that subscribes, as a confirmation names it.
    pub fn subscribe(self) -> &'static str {
        match self {
            Feed::Channel => "subscribe",
            Feed::Pattern => "psubscribe",
            Feed::Shard => "ssubscribe",
        }
    }

    /// The command that ends a subscription.
    pub fn unsubscribe(self) -> &'static str {
        match self {
            Feed::Channel => "unsubscribe",
            Feed::Pattern => "punsubscribe",
            Feed::Shard => "sunsubscribe",
        }
    }
}

/// Commands that the gateway answers itself, each named after its row (READWRITE shares READONLY's).
#[expect(missing_docs, reason = "each variant is the command of its name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    Ping,
    Echo,
    Time,
    Select,
    Quit,
    Reset,
    Auth,
    Hello,
    Readonly,
    Role,
    ClientSetname,
    ClientGetname,
    ClientId,
    ClientSetinfo,
    ClientKill,
    ClientCapa,
    ClientNoEvict,
    ClientNoTouch,
    ClientPause,
    ClientReply,
    ClientUnpause,
    AclWhoami,
    ClientInfo,
    ClientList,
    ClientUnblock,
    ClientHelp,
    ClusterSlots,
    ClusterShards,
    ClusterNodes,
    ClusterInfo,
    ClusterKeyslot,
    ClusterMyid,
    ClusterLinks,
    ClusterReplicas,
    ClusterFailureReports,
    ClusterHelp,
    Monitor,
    Evenkeel,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    ClientTracking,
    ClientCaching,
    ClientGetredir,
    ClientTrackinginfo,
}
