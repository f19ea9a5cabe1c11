//! Commands that the table lacks (of modules, of newer servers), learned from the servers' own `COMMAND`: arity, flags,
//! key specs, and the tips that say how a command is spread over a cluster and how its replies become one.
//!
//! Only what cannot harm is routed: what changes a connection, waits, or administers a node is refused with words that
//! say so, and so is a command whose keys cannot be told. What the table has is never learned.
//!
//! A learned row lives as long as the process, like those of the table. So that this is bounded, a learner takes
//! at most `MAX_ROWS`, and takes a row that it knows already for the same one.

use super::{Access, Command, CommandId, CountRule, Dest, Fold, Keys, Lookup, Scope, Split, Treat, lookup};
use crate::resp::{Elements, integer, text};
use std::collections::HashMap;

/// Most rows that are learned in the life of a process.
const MAX_ROWS: usize = 2048;
/// Longest name that is learned.
const MAX_NAME: usize = 64;

const STATE: &str = "this command changes a connection or subscribes, and the gateway does not know how to keep that for \
                     a client: connect to a node itself (EVENKEEL NODES lists them)";
const WAITS: &str = "this command waits, and the gateway does not know how to wait for it: connect to the node of its keys \
                     itself (EVENKEEL NODES lists the nodes)";
const ADMIN: &str = "this command administers a node and the servers do not say how it is spread over a cluster: send it \
                     with EVENKEEL NODE <node> <command …> (EVENKEEL NODES lists the nodes)";
const KEYS: &str = "the keys of this command cannot be told from what the servers say of it: send it to the node of its \
                    keys with EVENKEEL NODE <node> <command …> (CLUSTER KEYSLOT and EVENKEEL NODES tell which)";

/// What was learned: rows by lower-case name, subcommands as `container|sub`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lexicon {
    rows: HashMap<&'static str, &'static Command>,
}

impl Lexicon {
    /// The row of a name that the table lacks.
    pub fn find(&self, name: &[u8], sub: Option<&[u8]>) -> Lookup {
        let Some(name) = lower(name) else { return Lookup::Unknown };
        let nested = sub.and_then(lower).and_then(|sub| self.rows.get(format!("{name}|{sub}").as_str()));
        let Some(command) = nested.or_else(|| self.rows.get(name.as_str())) else { return Lookup::Unknown };
        match command.treat {
            // A container of its own: it has no such subcommand.
            Treat::Later if sub.is_some() => Lookup::UnknownSubcommand(command.name),
            _ => Lookup::Found(command),
        }
    }

    /// Every name, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.rows.keys().copied().collect();
        names.sort_unstable();
        names
    }
}

fn lower(name: &[u8]) -> Option<String> {
    let short = name.len() <= MAX_NAME;
    short.then(|| std::str::from_utf8(name).ok().map(str::to_ascii_lowercase)).flatten()
}

/// Learns from what servers answer to `COMMAND`.
#[derive(Debug, Default)]
pub struct Learner {
    known: Lexicon,
    /// Rows made so far, those that were replaced among them.
    made: usize,
}

impl Learner {
    /// Takes a server's answer; returns all that is known now if something in it was new.
    pub fn hear(&mut self, reply: &[u8]) -> Option<Lexicon> {
        let mut new = false;
        for entry in Elements::of(reply)? {
            new |= self.entry(entry, None).unwrap_or(false);
        }
        new.then(|| self.known.clone())
    }

    /// Takes one entry and those of its subcommands; returns whether something was new.
    fn entry(&mut self, entry: &[u8], container: Option<&str>) -> Option<bool> {
        let entry = Entry::of(entry)?;
        let name = match container {
            Some(container) if !entry.name.contains('|') => format!("{container}|{}", entry.name),
            _ => entry.name.clone(),
        };
        let mut new = false;
        if !in_table(&name) {
            new = self.take(&name, &entry);
        }
        if container.is_none() {
            for sub in entry.subcommands.and_then(Elements::of).into_iter().flatten() {
                new |= self.entry(sub, Some(&name)).unwrap_or(false);
            }
        }
        Some(new)
    }

    fn take(&mut self, name: &str, entry: &Entry<'_>) -> bool {
        let (keys, access, treat) = entry.understand();
        let same = |row: &&&Command| {
            (row.arity, row.keys, row.access, row.treat) == (entry.arity, keys, access, treat)
        };
        if self.known.rows.get(name).filter(same).is_some() || self.made >= MAX_ROWS {
            return false;
        }
        self.made += 1;
        let name: &'static str = Box::leak(name.into());
        let row = Command { id: CommandId(u16::MAX), name, arity: entry.arity, keys, access, treat };
        self.known.rows.insert(name, Box::leak(Box::new(row)));
        true
    }
}

fn in_table(name: &str) -> bool {
    let (name, sub) = name.split_once('|').map_or((name, None), |(name, sub)| (name, Some(sub)));
    matches!(lookup(name.as_bytes(), sub.map(str::as_bytes)), Lookup::Found(_))
}

/// One entry of a server's COMMAND.
struct Entry<'a> {
    name: String,
    arity: i16,
    flags: Vec<&'a str>,
    /// First and last key and the step, where no key specs say it better.
    range: (i64, i64, i64),
    categories: Vec<&'a str>,
    tips: Vec<&'a str>,
    specs: Vec<&'a [u8]>,
    subcommands: Option<&'a [u8]>,
}

impl<'a> Entry<'a> {
    fn of(reply: &'a [u8]) -> Option<Self> {
        let fields: Vec<&[u8]> = Elements::of(reply)?.collect();
        let number = |at: usize| fields.get(at).and_then(|field| integer(field));
        let words = |at: usize| -> Vec<&'a str> {
            let list = fields.get(at).and_then(|field| Elements::of(field));
            list.into_iter().flatten().filter_map(|word| std::str::from_utf8(text(word)?).ok()).collect()
        };
        let name = lower(text(fields.first()?)?).filter(|name| !name.is_empty())?;
        Some(Entry {
            name,
            arity: i16::try_from(number(1)?).ok()?,
            flags: words(2),
            range: (number(3)?, number(4)?, number(5)?),
            categories: words(6),
            tips: words(7),
            specs: fields.get(8).and_then(|field| Elements::of(field)).into_iter().flatten().collect(),
            subcommands: fields
                .get(9)
                .copied()
                .filter(|list| Elements::of(list).is_some_and(|all| all.left() > 0)),
        })
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    fn tip(&self, kind: &str) -> Option<&'a str> {
        self.tips.iter().find_map(|tip| tip.strip_prefix(kind)?.strip_prefix(':'))
    }

    fn understand(&self) -> (Keys, Access, Treat) {
        // What does not say that it only reads may do anything: it is never sent twice.
        let access = if self.is("readonly") { Access::Read } else { Access::Write };
        let of_connections =
            |category: &&str| matches!(*category, "@connection" | "@pubsub" | "@transaction");
        if self.subcommands.is_some() {
            return (Keys::None, access, Treat::Later);
        }
        if self.categories.iter().any(of_connections) || self.is("pubsub") {
            return (Keys::None, access, Treat::Refused(STATE));
        }
        if self.is("blocking") || self.categories.contains(&"@blocking") {
            return (Keys::None, access, Treat::Refused(WAITS));
        }
        match self.keys() {
            Some(Keys::None) => (Keys::None, access, self.treat_without_keys()),
            Some(keys) => (keys, access, self.treat_with_keys(keys)),
            None => (Keys::None, access, Treat::Refused(KEYS)),
        }
    }

    /// Where its keys are; `None` when that cannot be told.
    fn keys(&self) -> Option<Keys> {
        if self.specs.is_empty() {
            let (first, last, step) = self.range;
            return match (first, self.is("movablekeys")) {
                (_, true) => None,
                (0, false) => Some(Keys::None),
                (first, false) => range(first, last, step),
            };
        }
        let specs: Vec<Keys> = self.specs.iter().map(|spec| keys_of(spec)).collect::<Option<_>>()?;
        specs[1..].iter().try_fold(specs[0], |before, next| join(before, *next))
    }

    fn treat_with_keys(&self, keys: Keys) -> Treat {
        let answer = self.tip("response_policy");
        match (self.tip("request_policy"), keys, answer) {
            (Some("multi_shard"), Keys::Range { first: 1, last: -1, step: 1 }, Some("agg_sum")) => {
                Treat::Split(Split::Sum)
            }
            (Some("multi_shard"), Keys::Range { first: 1, last: -1, step: 1 }, None) => {
                Treat::Split(Split::Gather)
            }
            (Some("multi_shard"), Keys::Range { first: 1, last: -1, step: 2 }, Some("all_succeeded")) => {
                Treat::Split(Split::AllOk)
            }
            _ => Treat::Slot,
        }
    }

    fn treat_without_keys(&self) -> Treat {
        let fold = match self.tip("response_policy") {
            Some("one_succeeded") => Fold::Any,
            Some("agg_sum") => Fold::Sum,
            Some("agg_min") => Fold::Least,
            Some("agg_max" | "agg_logical_or") => Fold::Greatest,
            Some("agg_logical_and") => Fold::And,
            Some(_) => Fold::Same,
            None => Fold::Concat,
        };
        match self.tip("request_policy") {
            Some("all_shards") => Treat::Every(Scope::Primaries, fold),
            Some("all_nodes") => Treat::Every(Scope::Nodes, fold),
            Some(_) | None if self.is("admin") => Treat::Refused(ADMIN),
            Some(_) | None => Treat::AnyPrimary,
        }
    }
}

fn range(first: i64, last: i64, step: i64) -> Option<Keys> {
    let (first, last, step) = (u8::try_from(first).ok()?, i8::try_from(last).ok()?, u8::try_from(step).ok()?);
    (first > 0 && step > 0).then_some(Keys::Range { first, last, step })
}

/// The keys that one key spec tells (`begin_search` and `find_keys`, each a type and its numbers).
fn keys_of(spec: &[u8]) -> Option<Keys> {
    let field = |map: &[u8], wanted: &str| -> Option<Vec<u8>> {
        let flat: Vec<&[u8]> = Elements::of(map)?.collect();
        let found = flat.chunks_exact(2).find(|pair| text(pair[0]) == Some(wanted.as_bytes()))?;
        Some(found[1].to_vec())
    };
    let is = |map: &[u8], kind: &str| {
        field(map, "type").is_some_and(|found| text(&found) == Some(kind.as_bytes()))
    };
    let number = |map: &[u8], name: &str| integer(&field(&field(map, "spec")?, name)?);
    let flags = field(spec, "flags")?;
    if Elements::of(&flags)?
        .any(|flag| text(flag).is_some_and(|flag| flag.eq_ignore_ascii_case(b"incomplete")))
    {
        return None;
    }
    let (begin, find) = (field(spec, "begin_search")?, field(spec, "find_keys")?);
    if !is(&begin, "index") {
        return None;
    }
    let index = number(&begin, "index")?;
    if is(&find, "range") {
        let (last, step, limit) =
            (number(&find, "lastkey")?, number(&find, "keystep")?, number(&find, "limit")?);
        let last = if last < 0 { last } else { index + last };
        return if limit > 1 { None } else { range(index, last, step) };
    }
    let (count, first) = (number(&find, "keynumidx")?, number(&find, "firstkey")?);
    let step = u8::try_from(number(&find, "keystep")?).ok().filter(|step| *step > 0)?;
    let count_at = u8::try_from(index + count).ok()?;
    (is(&find, "keynum") && first == count + 1).then_some(Keys::Counted {
        count: count_at,
        step,
        dest: Dest::Absent,
        rule: CountRule::Script,
    })
}

/// The keys of two specs as those of one; `None` where no one shape has them all.
fn join(before: Keys, next: Keys) -> Option<Keys> {
    match (before, next) {
        (Keys::Range { first, last, step: _ }, Keys::Range { first: second, last: end, step: 1 })
            if i64::from(last) + 1 == i64::from(second) && first as i8 == last =>
        {
            Some(Keys::Range { first, last: end, step: 1 })
        }
        (Keys::Range { first: 1, last: 1, .. }, Keys::Counted { count, step, dest: Dest::Absent, rule }) => {
            Some(Keys::Counted { count, step, dest: Dest::First, rule })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Proto, Writer};

    /// An entry as a server writes it: name, arity, flags, key positions, categories and tips.
    fn entry(line: &str) -> Vec<u8> {
        let fields: Vec<&str> = line.split('/').map(str::trim).collect();
        let mut out = Vec::new();
        let words = |out: &mut Vec<u8>, text: &str| {
            Writer::new(out, Proto::Two).array(text.split_whitespace().count());
            text.split_whitespace().for_each(|word| Writer::new(out, Proto::Two).simple(word));
        };
        Writer::new(&mut out, Proto::Two).array(10);
        Writer::new(&mut out, Proto::Two).bulk(fields[0].as_bytes());
        Writer::new(&mut out, Proto::Two).integer(fields[1].parse().unwrap());
        words(&mut out, fields[2]);
        for number in fields[3].split_whitespace() {
            Writer::new(&mut out, Proto::Two).integer(number.parse().unwrap());
        }
        words(&mut out, fields[4]);
        words(&mut out, fields[5]);
        out.extend_from_slice(b"*0\r\n*0\r\n");
        out
    }

    fn learned(lines: &[&str]) -> Lexicon {
        let entries: Vec<Vec<u8>> = lines.iter().map(|line| entry(line)).collect();
        let mut reply = format!("*{}\r\n", entries.len()).into_bytes();
        reply.extend(entries.concat());
        let mut learner = Learner::default();
        let lexicon = learner.hear(&reply).unwrap_or_default();
        assert_eq!(learner.hear(&reply), None, "the same again is nothing new");
        lexicon
    }

    fn row(lexicon: &Lexicon, name: &str) -> &'static Command {
        match lexicon.find(name.as_bytes(), None) {
            Lookup::Found(command) => command,
            other @ (Lookup::Unknown | Lookup::UnknownSubcommand(_)) => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn what_the_table_has_is_not_learned() {
        assert_eq!(learned(&["get/2/readonly/1 1 1/@read/"]).names(), Vec::<&str>::new());
    }

    #[test]
    fn rows_say_where_a_command_goes() {
        let lexicon = learned(&[
            "Mod.Get/2/readonly/1 1 1/@read/",
            "mod.set/-3/write/1 1 1/@write/",
            "mod.many/-2/readonly/1 -1 1/@read/request_policy:multi_shard response_policy:agg_sum",
            "mod.all/1/readonly/0 0 0//request_policy:all_shards response_policy:agg_sum",
            "mod.nodes/1/noscript/0 0 0//request_policy:all_nodes response_policy:all_succeeded",
            "mod.any/1/readonly/0 0 0//",
            "mod.admin/1/admin/0 0 0//",
            "mod.wait/2/blocking/1 1 1//",
            "mod.state/2/fast/0 0 0/@connection/",
            "mod.odd/-2/movablekeys/0 0 0//",
        ]);
        let of = |name: &str| (row(&lexicon, name).access, row(&lexicon, name).treat);
        assert_eq!(of("MOD.GET"), (Access::Read, Treat::Slot));
        assert_eq!(of("mod.set"), (Access::Write, Treat::Slot));
        assert_eq!(of("mod.many"), (Access::Read, Treat::Split(Split::Sum)));
        assert_eq!(of("mod.all"), (Access::Read, Treat::Every(Scope::Primaries, Fold::Sum)));
        assert_eq!(of("mod.nodes"), (Access::Write, Treat::Every(Scope::Nodes, Fold::Same)));
        assert_eq!(of("mod.any"), (Access::Read, Treat::AnyPrimary));
        for (name, why) in
            [("mod.admin", ADMIN), ("mod.wait", WAITS), ("mod.state", STATE), ("mod.odd", KEYS)]
        {
            assert_eq!(of(name).1, Treat::Refused(why), "{name}");
        }
        assert_eq!(lexicon.find(b"mod.nope", None), Lookup::Unknown);
    }

    /// A key spec in RESP2: where the search begins, and how the keys follow.
    fn spec(begin: &[u8], find: &str) -> Vec<u8> {
        let find = find.replace(' ', "\r\n");
        let parts: [&[u8]; 5] = [
            b"*6\r\n+flags\r\n*1\r\n+RO\r\n+begin_search\r\n",
            begin,
            b"+find_keys\r\n",
            find.as_bytes(),
            b"\r\n",
        ];
        parts.concat()
    }

    #[test]
    fn key_specs_become_the_shapes_of_the_table() {
        let index =
            |at: u8| format!("*4\r\n+type\r\n+index\r\n+spec\r\n*2\r\n+index\r\n:{at}\r\n").into_bytes();
        let one = "*4 +type +range +spec *6 +lastkey :0 +keystep :1 +limit :0";
        let all = "*4 +type +range +spec *6 +lastkey :-1 +keystep :1 +limit :0";
        let half = "*4 +type +range +spec *6 +lastkey :-1 +keystep :1 +limit :2";
        let counted = "*4 +type +keynum +spec *6 +keynumidx :0 +firstkey :1 +keystep :1";
        let first = keys_of(&spec(&index(1), one)).expect("a range");
        assert_eq!(first, Keys::Range { first: 1, last: 1, step: 1 });
        let rest = keys_of(&spec(&index(2), all)).expect("a range");
        assert_eq!(join(first, rest), Some(Keys::Range { first: 1, last: -1, step: 1 }));
        let number = keys_of(&spec(&index(2), counted)).expect("a count");
        let rule = CountRule::Script;
        assert_eq!(number, Keys::Counted { count: 2, step: 1, dest: Dest::Absent, rule });
        assert_eq!(join(first, number), Some(Keys::Counted { count: 2, step: 1, dest: Dest::First, rule }));
        assert_eq!(keys_of(&spec(&index(1), half)), None);
        assert_eq!(join(number, first), None);
        let word = b"*4\r\n+type\r\n+keyword\r\n+spec\r\n*4\r\n+keyword\r\n+KEYS\r\n+startfrom\r\n:1\r\n";
        assert_eq!(keys_of(&spec(word, one)), None);
    }

    #[test]
    fn nonsense_is_passed_over() {
        for reply in [
            b"+OK\r\n".as_slice(),
            b"*1\r\n:1\r\n",
            b"*1\r\n*2\r\n$1\r\nx\r\n:1\r\n",
            b"*1\r\n*-1\r\n",
            b"-ERR\r\n",
        ] {
            assert_eq!(Learner::default().hear(reply), None);
        }
        let mut learner = Learner { made: MAX_ROWS, ..Learner::default() };
        assert_eq!(learner.hear(&[b"*1\r\n".to_vec(), entry("new/1/fast/0 0 0//")].concat()), None);
    }
}
