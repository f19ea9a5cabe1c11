//! The differences that are allowed, each with its reason: the whole list. Everything else has to be the same bytes.

use super::script::{Anchor, Request};
use super::value::Value;

/// A listed difference: for which commands, why, and what has to be the same nevertheless.
pub(crate) struct Rule {
    pub(crate) commands: &'static [&'static str],
    pub(crate) why: &'static str,
    same: fn(&Value, &Value) -> bool,
}

/// The list; `docs/compatibility.md` shows it.
pub(crate) const RULES: [Rule; 13] = [
    Rule {
        commands: &["client help"],
        why: "the gateway lists what it does",
        same: |a, b| a.elements().is_some() && b.elements().is_some(),
    },
    Rule {
        commands: &[
            "smembers",
            "spop",
            "sinter",
            "sunion",
            "sdiff",
            "hkeys",
            "hvals",
            "keys",
            "sort",
            "pubsub channels",
            "acl cat",
            "command list",
        ],
        why: "the order of a hash table depends on a seed that each server process draws: compared as a set",
        same: |a, b| a.sorted(1) == b.sorted(1),
    },
    Rule {
        commands: &["hgetall"],
        why: "the same, in pairs of field and value",
        same: |a, b| a.sorted(2) == b.sorted(2),
    },
    Rule {
        commands: &["scan"],
        why: "behind a cursor that nobody gave out there may be anything: the kind is compared",
        same: same_kind,
    },
    Rule {
        commands: &["hscan", "sscan", "zscan"],
        why: "cursors belong to a server: what a whole walk finds is compared as a set",
        same: |a, b| a == b,
    },
    Rule {
        commands: &["srandmember", "hrandfield", "zrandmember", "randomkey", "lolwut"],
        why: "the answer is random: number and kind of the values are compared",
        same: same_kind,
    },
    Rule {
        commands: &["ttl", "expiretime", "xautoclaim"],
        why: "clocks: at most 2 seconds apart",
        same: |a, b| close(a, b, 2),
    },
    Rule {
        commands: &["pttl", "pexpiretime", "time", "lastsave", "object idletime"],
        why: "clocks: at most 60 000 ms apart",
        same: |a, b| close(a, b, 60_000),
    },
    Rule {
        commands: &["xpending", "xinfo consumers", "xinfo stream"],
        why: "idle times and delivery times depend on clocks: everything else is compared",
        same: |a, b| a.shape() == b.shape(),
    },
    Rule {
        commands: &["dump"],
        why: "a hash table is written in its own order: length and presence are compared",
        same: |a, b| a.shape() == b.shape() && a.text().map(<[u8]>::len) == b.text().map(<[u8]>::len),
    },
    Rule {
        commands: &["memory usage", "client id", "slowlog len", "memory doctor", "latency latest"],
        why: "numbers of one server or connection: the kind is compared",
        same: |a, b| a.shape() == b.shape(),
    },
    Rule {
        commands: &[
            "hello",
            "command info",
            "command list",
            "config get",
            "role",
            "function stats",
            "function list",
        ],
        why: "the gateway speaks for several servers and says so: the kind is compared",
        same: same_kind,
    },
    Rule {
        commands: &["command"],
        why: "the order of a hash table, as above, at every depth of a description; the keys that COMMAND GETKEYS finds are none",
        same: |a, b| a.is_nested() && a.all_sorted() == b.all_sorted(),
    },
];

/// An error that the gateway says in other words: the command (`*` is any), how both replies begin, and why.
pub(crate) struct Words {
    command: &'static str,
    expected: &'static str,
    got: &'static str,
    /// The only kind of anchor beside which it is so, if it is not so beside any.
    beside: Option<Anchor>,
    pub(crate) why: &'static str,
}

pub(crate) const WORDS: [Words; 8] = [
    Words {
        command: "select",
        expected: "ERR value is out of range",
        got: "ERR DB index is out of range",
        beside: None,
        why: "the same error for every number but 0",
    },
    Words {
        command: "*",
        expected: "QUEUED",
        got: "CROSSSLOT ",
        beside: None,
        why: "a transaction has its keys in one slot; the gateway says so at once, a node only at EXEC",
    },
    Words {
        command: "*",
        expected: "ERR ",
        got: "CROSSSLOT ",
        beside: Some(Anchor::Standalone),
        why: "of two mistakes a cluster names the keys in several slots; one server without slots names the other",
    },
    Words {
        command: "exec",
        expected: "CROSSSLOT ",
        got: "EXECABORT ",
        beside: None,
        why: "the same, at EXEC",
    },
    Words {
        command: "select",
        expected: "ERR SELECT is not allowed in cluster mode",
        got: "ERR DB index is out of range",
        beside: None,
        why: "there is one database, and the text is that of a server with one database, which more clients know",
    },
    Words {
        command: "client setname",
        expected: "OK",
        got: "ERR Client names cannot contain",
        beside: None,
        why: "Valkey looks at a name up to its first zero byte only",
    },
    Words {
        command: "*",
        expected: "ERR Unbalanced '",
        got: "ERR Unbalanced XREAD list of streams",
        beside: None,
        why: "Valkey names the command where Redis says XREAD for both; the gateway speaks as Redis",
    },
    Words {
        command: "debug",
        expected: "ERR DEBUG command not allowed",
        got: "ERR ",
        beside: None,
        why: "DEBUG concerns one node",
    },
];

/// The rule of the list that is about walks, which `play` compares.
pub(crate) const WALKS: usize = 4;

/// How two replies to one request compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    /// By the rule of this number.
    Allowed(usize),
    Different,
}

pub(crate) fn compare(anchor: Anchor, request: Option<&Request>, expected: &[u8], got: &[u8]) -> Verdict {
    if expected == got {
        return Verdict::Same;
    }
    let (Some(request), Some(expected), Some(got)) = (request, Value::parse(expected), Value::parse(got))
    else {
        return Verdict::Different;
    };
    compare_values(anchor, request, &expected, &got)
}

/// EXEC's reply holds the replies of what was queued.
pub(crate) fn compare_exec(
    anchor: Anchor,
    exec: &Request,
    queued: &[Request],
    expected: &[u8],
    got: &[u8],
) -> Verdict {
    if expected == got {
        return Verdict::Same;
    }
    let (expected, got) = (Value::parse(expected), Value::parse(got));
    let (Some(expected), Some(got)) = (&expected, &got) else { return Verdict::Different };
    let (Some(one), Some(other)) = (expected.elements(), got.elements()) else {
        return compare_values(anchor, exec, expected, got);
    };
    if one.len() != queued.len() || other.len() != queued.len() {
        return Verdict::Different;
    }
    let verdicts = queued.iter().zip(one.iter().zip(other));
    verdicts.fold(Verdict::Same, |so_far, (request, (one, other))| {
        match if one == other { Verdict::Same } else { compare_values(anchor, request, one, other) } {
            Verdict::Same => so_far,
            Verdict::Allowed(rule) if so_far != Verdict::Different => Verdict::Allowed(rule),
            Verdict::Allowed(_) | Verdict::Different => Verdict::Different,
        }
    })
}

fn compare_values(anchor: Anchor, request: &Request, expected: &Value, got: &Value) -> Verdict {
    let begins = |value: &Value, text: &str| value.text().is_some_and(|all| all.starts_with(text.as_bytes()));
    let listed = WORDS.iter().position(|words| {
        words.beside.is_none_or(|beside| beside == anchor)
            && is_for(words.command, request)
            && begins(expected, words.expected)
            && begins(got, words.got)
    });
    if let Some(at) = listed.filter(|_| got.is_error()) {
        return Verdict::Allowed(RULES.len() + at);
    }
    if expected.is_error() || got.is_error() {
        return Verdict::Different;
    }
    let rule = RULES.iter().position(|rule| rule.commands.iter().any(|name| is_for(name, request)));
    match rule {
        Some(rule) if (RULES[rule].same)(expected, got) => Verdict::Allowed(rule),
        Some(_) | None => Verdict::Different,
    }
}

/// Whether the request is `name`, which may be a container and its subcommand.
fn is_for(name: &str, request: &Request) -> bool {
    let mut words = request.words.iter();
    name == "*"
        || name
            .split(' ')
            .all(|part| words.next().is_some_and(|word| word.eq_ignore_ascii_case(part.as_bytes())))
}

/// The same kind of value, and as many elements.
fn same_kind(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Many(one, a), Value::Many(other, b)) => {
            one == other && a.as_ref().map(Vec::len) == b.as_ref().map(Vec::len)
        }
        (Value::Bulk(one, a), Value::Bulk(other, b)) => one == other && a.is_some() == b.is_some(),
        (Value::Line(one, _), Value::Line(other, _)) => one == other,
        _ => false,
    }
}

/// The same but for integers, which may be this far apart.
fn close(a: &Value, b: &Value, apart: i64) -> bool {
    match (a.integer(), b.integer(), a.elements(), b.elements()) {
        (Some(a), Some(b), ..) => (a < 0) == (b < 0) && a.abs_diff(b) <= apart.unsigned_abs(),
        (_, _, Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b, apart)),
        _ => a.shape() == b.shape(),
    }
}

/// Why a difference is allowed.
pub(crate) fn why(rule: usize) -> &'static str {
    RULES.get(rule).map_or_else(|| WORDS[rule - RULES.len()].why, |rule| rule.why)
}
