//! The command table: one row a command and subcommand, nothing but data.
//!
//! It holds every command of Redis 7.0 and the ones that Redis 7.2 to 8.4 and Valkey 8 to 9.1 added. A container's
//! row (`client`) is followed by the rows of its subcommands (`client|getname`), which `lookup` relies on. To add a
//! command, add its row; `tests/command_table.rs` holds the table against a real server's `COMMAND`.

use super::Access::{Admin, Read, Write};
use super::Scope::{Aside, Nodes, Primaries};
use super::Treat::{
    AnyPrimary, Blocking, Confirm, Every, Here, Later, Receivers, Refused, Scan, SetUser, Settings, Slot,
    SlotNumber, Subscribe, Unsubscribe,
};
use super::refusals::{
    ASKING, DEBUG, FAILOVER, IMPORT, MIGRATE, MODULES, REPLICATION, RESTORE, SCRIPT_DEBUG, SHUTDOWN, SLOTS,
    SWAPDB, TOPOLOGY,
};
use super::{Access, Command, CommandId, CountRule, Dest, Feed, Fold, Keys, Local, Split, Timeout, Treat};

const NONE: Keys = Keys::None;
/// The first argument.
const ONE: Keys = range(1, 1, 1);
/// The first two arguments.
const TWO: Keys = range(1, 2, 1);
/// Every argument.
const ALL: Keys = range(1, -1, 1);
/// Every other argument.
const PAIRS: Keys = range(1, -1, 2);
/// The argument after the subcommand.
const SECOND: Keys = range(2, 2, 1);
/// EVAL and its kin: the number of keys stands after the script.
const SCRIPT: Keys = counted(2, 1, Dest::Absent, CountRule::Script);

/// The table; a command's place in it is its id.
pub static TABLE: [Command; ROWS.len()] = numbered();

const ROWS: &[Command] = &[
    // strings and bits
    row("append", 3, ONE, Write, Slot),
    row("decr", 2, ONE, Write, Slot),
    row("decrby", 3, ONE, Write, Slot),
    row("delex", -2, ONE, Write, Slot),
    row("delifeq", 3, ONE, Write, Slot),
    row("digest", 2, ONE, Read, Slot),
    row("get", 2, ONE, Read, Slot),
    row("getdel", 2, ONE, Write, Slot),
    row("getex", -2, ONE, Write, Slot),
    row("getrange", 4, ONE, Read, Slot),
    row("getset", 3, ONE, Write, Slot),
    row("incr", 2, ONE, Write, Slot),
    row("incrby", 3, ONE, Write, Slot),
    row("incrbyfloat", 3, ONE, Write, Slot),
    row("lcs", -3, TWO, Read, Slot),
    row("mget", -2, ALL, Read, Treat::Split(Split::Gather)),
    row("mset", -3, PAIRS, Write, Treat::Split(Split::AllOk)),
    row("msetex", -4, counted(1, 2, Dest::Absent, CountRule::Pop), Write, Slot),
    row("msetnx", -3, PAIRS, Write, Slot),
    row("psetex", 4, ONE, Write, Slot),
    row("set", -3, ONE, Write, Slot),
    row("setex", 4, ONE, Write, Slot),
    row("setnx", 3, ONE, Write, Slot),
    row("setrange", 4, ONE, Write, Slot),
    row("strlen", 2, ONE, Read, Slot),
    row("substr", 4, ONE, Read, Slot),
    row("bitcount", -2, ONE, Read, Slot),
    row("bitfield", -2, ONE, Write, Slot),
    row("bitfield_ro", -2, ONE, Read, Slot),
    row("bitop", -4, range(2, -1, 1), Write, Slot),
    row("bitpos", -3, ONE, Read, Slot),
    row("getbit", 3, ONE, Read, Slot),
    row("setbit", 4, ONE, Write, Slot),
    // keys of any type
    row("copy", -3, TWO, Write, Slot),
    row("del", -2, ALL, Write, Treat::Split(Split::Sum)),
    row("dump", 2, ONE, Read, Slot),
    row("exists", -2, ALL, Read, Treat::Split(Split::Sum)),
    row("expire", -3, ONE, Write, Slot),
    row("expireat", -3, ONE, Write, Slot),
    row("expiretime", 2, ONE, Read, Slot),
    row("keys", 2, NONE, Read, Every(Primaries, Fold::Concat)),
    row("migrate", -6, range(3, 3, 1), Write, Refused(MIGRATE)),
    row("move", 3, ONE, Write, Slot), // a node has one database, and says so
    row("object", -2, NONE, Admin, Later),
    row("object|encoding", 3, SECOND, Read, Slot),
    row("object|freq", 3, SECOND, Read, Slot),
    row("object|help", 2, NONE, Admin, AnyPrimary),
    row("object|idletime", 3, SECOND, Read, Slot),
    row("object|refcount", 3, SECOND, Read, Slot),
    row("persist", 2, ONE, Write, Slot),
    row("pexpire", -3, ONE, Write, Slot),
    row("pexpireat", -3, ONE, Write, Slot),
    row("pexpiretime", 2, ONE, Read, Slot),
    row("pttl", 2, ONE, Read, Slot),
    row("randomkey", 1, NONE, Read, Every(Primaries, Fold::Weighted)),
    row("rename", 3, TWO, Write, Slot),
    row("renamenx", 3, TWO, Write, Slot),
    row("restore", -4, ONE, Write, Slot),
    row("restore-asking", -4, ONE, Write, Refused(RESTORE)),
    // its cursor holds a hash tag of the slot where the walk goes on, so it is routed as a key is
    row("clusterscan", -2, ONE, Read, Slot),
    row("scan", -2, NONE, Read, Scan),
    row("sort", -2, Keys::Store { from: 2 }, Write, Slot),
    row("sort_ro", -2, ONE, Read, Slot),
    row("touch", -2, ALL, Read, Treat::Split(Split::Sum)),
    row("ttl", 2, ONE, Read, Slot),
    row("type", 2, ONE, Read, Slot),
    row("unlink", -2, ALL, Write, Treat::Split(Split::Sum)),
    // hashes
    row("hdel", -3, ONE, Write, Slot),
    row("hexists", 3, ONE, Read, Slot),
    row("hexpire", -6, ONE, Write, Slot),
    row("hexpireat", -6, ONE, Write, Slot),
    row("hexpiretime", -5, ONE, Read, Slot),
    row("hget", 3, ONE, Read, Slot),
    row("hgetall", 2, ONE, Read, Slot),
    row("hgetdel", -5, ONE, Write, Slot),
    row("hgetex", -5, ONE, Write, Slot),
    row("hincrby", 4, ONE, Write, Slot),
    row("hincrbyfloat", 4, ONE, Write, Slot),
    row("hkeys", 2, ONE, Read, Slot),
    row("hlen", 2, ONE, Read, Slot),
    row("hmget", -3, ONE, Read, Slot),
    row("hmset", -4, ONE, Write, Slot),
    row("hpersist", -5, ONE, Write, Slot),
    row("hpexpire", -6, ONE, Write, Slot),
    row("hpexpireat", -6, ONE, Write, Slot),
    row("hpexpiretime", -5, ONE, Read, Slot),
    row("hpttl", -5, ONE, Read, Slot),
    row("hrandfield", -2, ONE, Read, Slot),
    row("hscan", -3, ONE, Read, Slot),
    row("hset", -4, ONE, Write, Slot),
    row("hsetex", -6, ONE, Write, Slot),
    row("hsetnx", 4, ONE, Write, Slot),
    row("hstrlen", 3, ONE, Read, Slot),
    row("httl", -5, ONE, Read, Slot),
    row("hvals", 2, ONE, Read, Slot),
    // lists
    row("blmove", 6, TWO, Write, Blocking(Timeout::Last)),
    row("blmpop", -5, counted(2, 1, Dest::Absent, CountRule::Pop), Write, Blocking(Timeout::First)),
    row("blpop", -3, range(1, -2, 1), Write, Blocking(Timeout::Last)),
    row("brpop", -3, range(1, -2, 1), Write, Blocking(Timeout::Last)),
    row("brpoplpush", 4, TWO, Write, Blocking(Timeout::Last)),
    row("lindex", 3, ONE, Read, Slot),
    row("linsert", 5, ONE, Write, Slot),
    row("llen", 2, ONE, Read, Slot),
    row("lmove", 5, TWO, Write, Slot),
    row("lmpop", -4, counted(1, 1, Dest::Absent, CountRule::Pop), Write, Slot),
    row("lpop", -2, ONE, Write, Slot),
    row("lpos", -3, ONE, Read, Slot),
    row("lpush", -3, ONE, Write, Slot),
    row("lpushx", -3, ONE, Write, Slot),
    row("lrange", 4, ONE, Read, Slot),
    row("lrem", 4, ONE, Write, Slot),
    row("lset", 4, ONE, Write, Slot),
    row("ltrim", 4, ONE, Write, Slot),
    row("rpop", -2, ONE, Write, Slot),
    row("rpoplpush", 3, TWO, Write, Slot),
    row("rpush", -3, ONE, Write, Slot),
    row("rpushx", -3, ONE, Write, Slot),
    // sets
    row("sadd", -3, ONE, Write, Slot),
    row("scard", 2, ONE, Read, Slot),
    row("sdiff", -2, ALL, Read, Slot),
    row("sdiffstore", -3, ALL, Write, Slot),
    row("sinter", -2, ALL, Read, Slot),
    row("sintercard", -3, counted(1, 1, Dest::Absent, CountRule::Sets), Read, Slot),
    row("sinterstore", -3, ALL, Write, Slot),
    row("sismember", 3, ONE, Read, Slot),
    row("smembers", 2, ONE, Read, Slot),
    row("smismember", -3, ONE, Read, Slot),
    row("smove", 4, TWO, Write, Slot),
    row("spop", -2, ONE, Write, Slot),
    row("srandmember", -2, ONE, Read, Slot),
    row("srem", -3, ONE, Write, Slot),
    row("sscan", -3, ONE, Read, Slot),
    row("sunion", -2, ALL, Read, Slot),
    row("sunionstore", -3, ALL, Write, Slot),
    // sorted sets
    row("bzmpop", -5, counted(2, 1, Dest::Absent, CountRule::Pop), Write, Blocking(Timeout::First)),
    row("bzpopmax", -3, range(1, -2, 1), Write, Blocking(Timeout::Last)),
    row("bzpopmin", -3, range(1, -2, 1), Write, Blocking(Timeout::Last)),
    row("zadd", -4, ONE, Write, Slot),
    row("zcard", 2, ONE, Read, Slot),
    row("zcount", 4, ONE, Read, Slot),
    row("zdiff", -3, counted(1, 1, Dest::Absent, CountRule::SortedSets), Read, Slot),
    row("zdiffstore", -4, counted(2, 1, Dest::First, CountRule::SortedSets), Write, Slot),
    row("zincrby", 4, ONE, Write, Slot),
    row("zinter", -3, counted(1, 1, Dest::Absent, CountRule::SortedSets), Read, Slot),
    row("zintercard", -3, counted(1, 1, Dest::Absent, CountRule::SortedSets), Read, Slot),
    row("zinterstore", -4, counted(2, 1, Dest::First, CountRule::SortedSets), Write, Slot),
    row("zlexcount", 4, ONE, Read, Slot),
    row("zmpop", -4, counted(1, 1, Dest::Absent, CountRule::Pop), Write, Slot),
    row("zmscore", -3, ONE, Read, Slot),
    row("zpopmax", -2, ONE, Write, Slot),
    row("zpopmin", -2, ONE, Write, Slot),
    row("zrandmember", -2, ONE, Read, Slot),
    row("zrange", -4, ONE, Read, Slot),
    row("zrangebylex", -4, ONE, Read, Slot),
    row("zrangebyscore", -4, ONE, Read, Slot),
    row("zrangestore", -5, TWO, Write, Slot),
    row("zrank", -3, ONE, Read, Slot),
    row("zrem", -3, ONE, Write, Slot),
    row("zremrangebylex", 4, ONE, Write, Slot),
    row("zremrangebyrank", 4, ONE, Write, Slot),
    row("zremrangebyscore", 4, ONE, Write, Slot),
    row("zrevrange", -4, ONE, Read, Slot),
    row("zrevrangebylex", -4, ONE, Read, Slot),
    row("zrevrangebyscore", -4, ONE, Read, Slot),
    row("zrevrank", -3, ONE, Read, Slot),
    row("zscan", -3, ONE, Read, Slot),
    row("zscore", 3, ONE, Read, Slot),
    row("zunion", -3, counted(1, 1, Dest::Absent, CountRule::SortedSets), Read, Slot),
    row("zunionstore", -4, counted(2, 1, Dest::First, CountRule::SortedSets), Write, Slot),
    // places, counters and vectors
    row("geoadd", -5, ONE, Write, Slot),
    row("geodist", -4, ONE, Read, Slot),
    row("geohash", -2, ONE, Read, Slot),
    row("geopos", -2, ONE, Read, Slot),
    row("georadius", -6, Keys::Store { from: 5 }, Write, Slot),
    row("georadius_ro", -6, ONE, Read, Slot),
    row("georadiusbymember", -5, Keys::Store { from: 5 }, Write, Slot),
    row("georadiusbymember_ro", -5, ONE, Read, Slot),
    row("geosearch", -7, ONE, Read, Slot),
    row("geosearchstore", -8, TWO, Write, Slot),
    row("pfadd", -2, ONE, Write, Slot),
    row("pfcount", -2, ALL, Read, Slot),
    row("pfdebug", 3, SECOND, Write, Slot),
    row("pfmerge", -2, ALL, Write, Slot),
    row("pfselftest", 1, NONE, Admin, AnyPrimary),
    row("vadd", -5, ONE, Write, Slot),
    row("vcard", 2, ONE, Read, Slot),
    row("vdim", 2, ONE, Read, Slot),
    row("vemb", -3, ONE, Read, Slot),
    row("vgetattr", 3, ONE, Read, Slot),
    row("vinfo", 2, ONE, Read, Slot),
    row("vismember", 3, ONE, Read, Slot),
    row("vlinks", -3, ONE, Read, Slot),
    row("vrandmember", -2, ONE, Read, Slot),
    row("vrem", 3, ONE, Write, Slot),
    row("vsetattr", 4, ONE, Write, Slot),
    row("vsim", -4, ONE, Read, Slot),
    // streams
    row("xack", -4, ONE, Write, Slot),
    row("xackdel", -6, ONE, Write, Slot),
    row("xadd", -5, ONE, Write, Slot),
    row("xautoclaim", -6, ONE, Write, Slot),
    row("xclaim", -6, ONE, Write, Slot),
    row("xdel", -3, ONE, Write, Slot),
    row("xdelex", -5, ONE, Write, Slot),
    row("xgroup", -2, NONE, Admin, Later),
    row("xgroup|create", -5, SECOND, Write, Slot),
    row("xgroup|createconsumer", 5, SECOND, Write, Slot),
    row("xgroup|delconsumer", 5, SECOND, Write, Slot),
    row("xgroup|destroy", 4, SECOND, Write, Slot),
    row("xgroup|help", 2, NONE, Admin, AnyPrimary),
    row("xgroup|setid", -5, SECOND, Write, Slot),
    row("xinfo", -2, NONE, Admin, Later),
    row("xinfo|consumers", 4, SECOND, Read, Slot),
    row("xinfo|groups", 3, SECOND, Read, Slot),
    row("xinfo|help", 2, NONE, Admin, AnyPrimary),
    row("xinfo|stream", -3, SECOND, Read, Slot),
    row("xlen", 2, ONE, Read, Slot),
    row("xpending", -3, ONE, Read, Slot),
    row("xrange", -4, ONE, Read, Slot),
    row("xread", -4, Keys::Streams, Read, Slot),
    row("xreadgroup", -7, Keys::Streams, Write, Slot),
    row("xrevrange", -4, ONE, Read, Slot),
    row("xsetid", -3, ONE, Write, Slot),
    row("xtrim", -4, ONE, Write, Slot),
    // scripts and functions
    row("eval", -3, SCRIPT, Write, Slot),
    row("eval_ro", -3, SCRIPT, Read, Slot),
    row("evalsha", -3, SCRIPT, Write, Slot),
    row("evalsha_ro", -3, SCRIPT, Read, Slot),
    row("fcall", -3, SCRIPT, Write, Slot),
    row("fcall_ro", -3, SCRIPT, Read, Slot),
    row("function", -2, NONE, Admin, Later),
    row("function|delete", 3, NONE, Write, Every(Primaries, Fold::AllOk)),
    row("function|dump", 2, NONE, Admin, AnyPrimary),
    row("function|flush", -2, NONE, Write, Every(Primaries, Fold::AllOk)),
    row("function|help", 2, NONE, Admin, AnyPrimary),
    row("function|kill", 2, NONE, Admin, Every(Aside, Fold::Any)),
    row("function|list", -2, NONE, Admin, AnyPrimary),
    row("function|load", -3, NONE, Write, Every(Primaries, Fold::Same)),
    row("function|restore", -3, NONE, Write, Every(Primaries, Fold::AllOk)),
    row("function|stats", 2, NONE, Admin, Every(Aside, Fold::Running)),
    row("script", -2, NONE, Admin, Later),
    row("script|debug", -3, NONE, Admin, Refused(SCRIPT_DEBUG)),
    row("script|exists", -3, NONE, Admin, Every(Primaries, Fold::And)),
    row("script|flush", -2, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("script|help", 2, NONE, Admin, AnyPrimary),
    row("script|kill", 2, NONE, Admin, Every(Aside, Fold::Any)),
    row("script|load", 3, NONE, Admin, Every(Nodes, Fold::Same)),
    row("script|show", 3, NONE, Admin, Every(Primaries, Fold::Any)),
    // channels
    row("psubscribe", -2, NONE, Admin, Subscribe(Feed::Pattern)),
    row("publish", 3, NONE, Write, Receivers(Feed::Channel)),
    row("pubsub", -2, NONE, Admin, Later),
    row("pubsub|channels", -2, NONE, Admin, AnyPrimary),
    row("pubsub|help", 2, NONE, Admin, AnyPrimary),
    row("pubsub|numpat", 2, NONE, Admin, AnyPrimary),
    row("pubsub|numsub", -2, NONE, Admin, Receivers(Feed::Channel)),
    row("pubsub|shardchannels", -2, NONE, Admin, Every(Primaries, Fold::Concat)),
    row("pubsub|shardnumsub", -2, NONE, Admin, Every(Primaries, Fold::Receivers)),
    row("punsubscribe", -1, NONE, Admin, Unsubscribe(Feed::Pattern)),
    row("spublish", 3, ONE, Write, Receivers(Feed::Shard)),
    row("ssubscribe", -2, ALL, Admin, Subscribe(Feed::Shard)),
    row("subscribe", -2, NONE, Admin, Subscribe(Feed::Channel)),
    row("sunsubscribe", -1, ALL, Admin, Unsubscribe(Feed::Shard)),
    row("unsubscribe", -1, NONE, Admin, Unsubscribe(Feed::Channel)),
    // transactions
    row("discard", 1, NONE, Admin, Here(Local::Discard)),
    row("exec", 1, NONE, Admin, Here(Local::Exec)),
    row("multi", 1, NONE, Admin, Here(Local::Multi)),
    row("unwatch", 1, NONE, Admin, Here(Local::Unwatch)),
    row("watch", -2, ALL, Admin, Here(Local::Watch)),
    // the connection
    row("asking", 1, NONE, Admin, Refused(ASKING)),
    row("auth", -2, NONE, Admin, Here(Local::Auth)),
    row("client", -2, NONE, Admin, Later),
    row("client|caching", 3, NONE, Admin, Here(Local::ClientCaching)),
    row("client|capa", -3, NONE, Admin, Here(Local::ClientCapa)),
    row("client|getname", 2, NONE, Admin, Here(Local::ClientGetname)),
    row("client|getredir", 2, NONE, Admin, Here(Local::ClientGetredir)),
    row("client|help", 2, NONE, Admin, Here(Local::ClientHelp)),
    row("client|id", 2, NONE, Admin, Here(Local::ClientId)),
    row("client|import-source", 3, NONE, Admin, Refused(IMPORT)),
    row("client|info", 2, NONE, Admin, Here(Local::ClientInfo)),
    row("client|kill", -3, NONE, Admin, Here(Local::ClientKill)),
    row("client|list", -2, NONE, Admin, Here(Local::ClientList)),
    row("client|no-evict", 3, NONE, Admin, Here(Local::ClientNoEvict)),
    row("client|no-touch", 3, NONE, Admin, Here(Local::ClientNoTouch)),
    row("client|pause", -3, NONE, Admin, Here(Local::ClientPause)),
    row("client|reply", 3, NONE, Admin, Here(Local::ClientReply)),
    row("client|setinfo", 4, NONE, Admin, Here(Local::ClientSetinfo)),
    row("client|setname", 3, NONE, Admin, Here(Local::ClientSetname)),
    row("client|tracking", -3, NONE, Admin, Here(Local::ClientTracking)),
    row("client|trackinginfo", 2, NONE, Admin, Here(Local::ClientTrackinginfo)),
    row("client|unblock", -3, NONE, Admin, Here(Local::ClientUnblock)),
    row("client|unpause", 2, NONE, Admin, Here(Local::ClientUnpause)),
    row("echo", 2, NONE, Admin, Here(Local::Echo)),
    row("hello", -1, NONE, Admin, Here(Local::Hello)),
    row("ping", -1, NONE, Admin, Here(Local::Ping)),
    row("quit", -1, NONE, Admin, Here(Local::Quit)),
    row("readonly", 1, NONE, Admin, Here(Local::Readonly)),
    row("readwrite", 1, NONE, Admin, Here(Local::Readonly)),
    row("reset", 1, NONE, Admin, Here(Local::Reset)),
    row("select", 2, NONE, Admin, Here(Local::Select)),
    // the server
    row("acl", -2, NONE, Admin, Later),
    row("acl|cat", -2, NONE, Admin, AnyPrimary),
    row("acl|deluser", -3, NONE, Admin, Every(Nodes, Fold::Same)),
    row("acl|dryrun", -4, NONE, Admin, AnyPrimary),
    row("acl|genpass", -2, NONE, Admin, AnyPrimary),
    row("acl|getuser", 3, NONE, Admin, AnyPrimary),
    row("acl|help", 2, NONE, Admin, AnyPrimary),
    row("acl|list", 2, NONE, Admin, AnyPrimary),
    row("acl|load", 2, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("acl|log", -2, NONE, Admin, Every(Primaries, Fold::Youngest)),
    row("acl|save", 2, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("acl|setuser", -3, NONE, Admin, SetUser),
    row("acl|users", 2, NONE, Admin, AnyPrimary),
    row("acl|whoami", 2, NONE, Admin, Here(Local::AclWhoami)),
    row("bgrewriteaof", 1, NONE, Admin, Every(Primaries, Fold::Same)),
    row("bgsave", -1, NONE, Admin, Every(Primaries, Fold::Same)),
    row("command", -1, NONE, Admin, AnyPrimary),
    row("command|count", 2, NONE, Admin, AnyPrimary),
    row("command|docs", -2, NONE, Admin, AnyPrimary),
    row("command|getkeys", -3, NONE, Admin, AnyPrimary),
    row("command|getkeysandflags", -3, NONE, Admin, AnyPrimary),
    row("command|help", 2, NONE, Admin, AnyPrimary),
    row("command|info", -2, NONE, Admin, AnyPrimary),
    row("command|list", -2, NONE, Admin, AnyPrimary),
    row("commandlog", -2, NONE, Admin, Later),
    row("commandlog|get", 4, NONE, Admin, Every(Primaries, Fold::Newest)),
    row("commandlog|help", 2, NONE, Admin, AnyPrimary),
    row("commandlog|len", 3, NONE, Admin, Every(Primaries, Fold::Sum)),
    row("commandlog|reset", 3, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("config", -2, NONE, Admin, Later),
    row("config|get", -3, NONE, Admin, AnyPrimary),
    row("config|help", 2, NONE, Admin, AnyPrimary),
    row("config|resetstat", 2, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("config|rewrite", 2, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("config|set", -4, NONE, Admin, Settings),
    row("dbsize", 1, NONE, Read, Every(Primaries, Fold::Sum)),
    row("debug", -2, NONE, Admin, Later),
    row("debug|assert", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|change-repl-id", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|crash-and-recover", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|dict-resizing", -3, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("debug|digest", -2, NONE, Admin, Every(Primaries, Fold::Digest)),
    row("debug|digest-value", -3, range(2, -1, 1), Read, Slot),
    row("debug|help", -2, NONE, Admin, AnyPrimary),
    row("debug|hexpires", -3, SECOND, Read, Slot),
    row("debug|htstats-key", -3, SECOND, Read, Slot),
    row("debug|jmap", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|leak", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|listpack", -3, SECOND, Read, Slot),
    row("debug|loadaof", -2, NONE, Admin, Every(Primaries, Fold::AllOk)),
    row("debug|log", -3, NONE, Admin, Every(Primaries, Fold::AllOk)),
    row("debug|object", -3, SECOND, Read, Slot),
    row("debug|oom", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|panic", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|protocol", -3, NONE, Admin, AnyPrimary),
    row("debug|quicklist", -3, SECOND, Read, Slot),
    row("debug|quicklist-packed-threshold", -3, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("debug|reload", -2, NONE, Admin, Every(Primaries, Fold::AllOk)),
    row("debug|replicate", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|replybuffer", -3, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("debug|restart", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|sdslen", -3, SECOND, Read, Slot),
    row("debug|segfault", -2, NONE, Admin, Refused(DEBUG)),
    row("debug|set-active-expire", -3, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("debug|set-disable-deny-scripts", -3, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("debug|sleep", -3, NONE, Admin, AnyPrimary),
    row("debug|stringmatch-len", -3, NONE, Admin, AnyPrimary),
    row("debug|ziplist", -3, SECOND, Read, Slot),
    row("evenkeel", -1, NONE, Admin, Here(Local::Evenkeel)),
    row("failover", -1, NONE, Admin, Refused(FAILOVER)),
    row("flushall", -1, NONE, Write, Every(Primaries, Fold::AllOk)),
    row("flushdb", -1, NONE, Write, Every(Primaries, Fold::AllOk)),
    row("info", -1, NONE, Admin, Every(Primaries, Fold::Info)),
    row("lastsave", 1, NONE, Admin, Every(Primaries, Fold::Least)),
    row("latency", -2, NONE, Admin, Later),
    row("latency|doctor", 2, NONE, Admin, Every(Primaries, Fold::Texts)),
    row("latency|graph", 3, NONE, Admin, Every(Primaries, Fold::Texts)),
    row("latency|help", 2, NONE, Admin, AnyPrimary),
    row("latency|histogram", -2, NONE, Admin, Every(Primaries, Fold::Histograms)),
    row("latency|history", 3, NONE, Admin, Every(Primaries, Fold::Timeline)),
    row("latency|latest", 2, NONE, Admin, Every(Primaries, Fold::Spikes)),
    row("latency|reset", -2, NONE, Admin, Every(Primaries, Fold::Sum)),
    row("lolwut", -1, NONE, Read, AnyPrimary),
    row("memory", -2, NONE, Admin, Later),
    row("memory|doctor", 2, NONE, Admin, Every(Primaries, Fold::Texts)),
    row("memory|help", 2, NONE, Admin, AnyPrimary),
    row("memory|malloc-stats", 2, NONE, Admin, Every(Primaries, Fold::Texts)),
    row("memory|purge", 2, NONE, Admin, Every(Primaries, Fold::AllOk)),
    row("memory|stats", 2, NONE, Admin, Every(Primaries, Fold::Stats)),
    row("memory|usage", -3, SECOND, Read, Slot),
    row("module", -2, NONE, Admin, Later),
    row("module|help", 2, NONE, Admin, AnyPrimary),
    row("module|list", 2, NONE, Admin, AnyPrimary),
    row("module|load", -3, NONE, Admin, Refused(MODULES)),
    row("module|loadex", -3, NONE, Admin, Refused(MODULES)),
    row("module|unload", 3, NONE, Admin, Refused(MODULES)),
    row("monitor", 1, NONE, Admin, Here(Local::Monitor)),
    row("psync", -3, NONE, Admin, Refused(REPLICATION)),
    row("replconf", -1, NONE, Admin, Refused(REPLICATION)),
    row("replicaof", 3, NONE, Admin, Refused(TOPOLOGY)),
    row("role", 1, NONE, Admin, Here(Local::Role)),
    row("save", 1, NONE, Admin, Every(Primaries, Fold::AllOk)),
    row("shutdown", -1, NONE, Admin, Refused(SHUTDOWN)),
    row("slaveof", 3, NONE, Admin, Refused(TOPOLOGY)),
    row("slowlog", -2, NONE, Admin, Later),
    row("slowlog|get", -2, NONE, Admin, Every(Primaries, Fold::Newest)),
    row("slowlog|help", 2, NONE, Admin, AnyPrimary),
    row("slowlog|len", 2, NONE, Admin, Every(Primaries, Fold::Sum)),
    row("slowlog|reset", 2, NONE, Admin, Every(Nodes, Fold::AllOk)),
    row("swapdb", 3, NONE, Write, Refused(SWAPDB)),
    row("sync", 1, NONE, Admin, Refused(REPLICATION)),
    row("time", 1, NONE, Admin, Here(Local::Time)),
    row("wait", 3, NONE, Admin, Confirm),
    row("waitaof", 4, NONE, Admin, Confirm),
    // the cluster
    row("cluster", -2, NONE, Admin, Later),
    row("cluster|addslots", -3, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|addslotsrange", -4, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|bumpepoch", 2, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|cancelslotmigrations", 2, NONE, Admin, Refused(SLOTS)),
    row("cluster|count-failure-reports", 3, NONE, Admin, Here(Local::ClusterFailureReports)),
    row("cluster|countkeysinslot", 3, NONE, Admin, SlotNumber),
    row("cluster|delslots", -3, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|delslotsrange", -4, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|failover", -2, NONE, Admin, Refused(FAILOVER)),
    row("cluster|flushslot", -3, NONE, Write, SlotNumber),
    row("cluster|flushslots", 2, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|forget", 3, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|getkeysinslot", 4, NONE, Admin, SlotNumber),
    row("cluster|getslotmigrations", 2, NONE, Admin, Every(Primaries, Fold::Concat)),
    row("cluster|help", 2, NONE, Admin, Here(Local::ClusterHelp)),
    row("cluster|info", 2, NONE, Admin, Here(Local::ClusterInfo)),
    row("cluster|keyslot", 3, NONE, Admin, Here(Local::ClusterKeyslot)),
    row("cluster|links", 2, NONE, Admin, Here(Local::ClusterLinks)),
    row("cluster|meet", -4, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|migrateslots", -4, NONE, Admin, Refused(SLOTS)),
    row("cluster|migration", -4, NONE, Admin, Refused(SLOTS)),
    row("cluster|myid", 2, NONE, Admin, Here(Local::ClusterMyid)),
    row("cluster|myshardid", 2, NONE, Admin, Here(Local::ClusterMyid)),
    row("cluster|nodes", 2, NONE, Admin, Here(Local::ClusterNodes)),
    row("cluster|replicas", 3, NONE, Admin, Here(Local::ClusterReplicas)),
    row("cluster|replicate", -3, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|reset", -2, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|saveconfig", 2, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|set-config-epoch", 3, NONE, Admin, Refused(TOPOLOGY)),
    row("cluster|setslot", -4, NONE, Admin, Refused(SLOTS)),
    row("cluster|shards", 2, NONE, Admin, Here(Local::ClusterShards)),
    row("cluster|slaves", 3, NONE, Admin, Here(Local::ClusterReplicas)),
    row("cluster|slot-stats", -4, NONE, Admin, Every(Primaries, Fold::Concat)),
    row("cluster|slots", 2, NONE, Admin, Here(Local::ClusterSlots)),
    row("cluster|syncslots", -3, NONE, Admin, Refused(SLOTS)),
];

const fn row(name: &'static str, arity: i16, keys: Keys, access: Access, treat: Treat) -> Command {
    Command { id: CommandId(0), name, arity, keys, access, treat }
}

const fn range(first: u8, last: i8, step: u8) -> Keys {
    Keys::Range { first, last, step }
}

const fn counted(count: u8, step: u8, dest: Dest, rule: CountRule) -> Keys {
    Keys::Counted { count, step, dest, rule }
}

/// Gives each row its place as its id.
const fn numbered() -> [Command; ROWS.len()] {
    let mut table = [const { row("", 0, NONE, Admin, Later) }; ROWS.len()];
    let mut at = 0;
    while at < ROWS.len() {
        let Command { name, arity, keys, access, treat, .. } = ROWS[at];
        table[at] = Command { id: CommandId(at as u16), name, arity, keys, access, treat };
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_unique() {
        let mut names: Vec<&str> = TABLE.iter().map(|command| command.name).collect();
        assert!(names.iter().all(|name| !name.bytes().any(|byte| byte.is_ascii_uppercase())));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn subcommands_follow_their_container() {
        let mut container = "";
        for command in &TABLE {
            match command.name.split_once('|') {
                Some((parent, _)) => assert_eq!(parent, container, "{} stands elsewhere", command.name),
                None => container = command.name,
            }
        }
    }

    #[test]
    fn ids_are_places() {
        for (at, command) in TABLE.iter().enumerate() {
            assert_eq!(command.index(), at);
        }
    }

    #[test]
    fn what_is_sent_by_slot_can_name_a_key() {
        for command in &TABLE {
            match command.treat {
                Treat::Slot | Treat::Split(_) | Treat::Blocking(_) => {
                    assert_ne!(command.keys, Keys::None, "{}", command.name);
                }
                Treat::Receivers(_)
                | Treat::Subscribe(_)
                | Treat::Unsubscribe(_)
                | Treat::AnyPrimary
                | Treat::SlotNumber
                | Treat::Settings
                | Treat::SetUser
                | Treat::Every(..)
                | Treat::Scan
                | Treat::Confirm
                | Treat::Here(_)
                | Treat::Later
                | Treat::Refused(_) => {}
            }
        }
    }

    #[test]
    fn refusals_are_one_line_and_end_without_a_full_stop() {
        for command in &TABLE {
            if let Treat::Refused(text) = command.treat {
                assert!(
                    !text.contains(['\r', '\n']) && !text.ends_with('.') && !text.is_empty(),
                    "{}",
                    command.name
                );
            }
        }
    }
}
