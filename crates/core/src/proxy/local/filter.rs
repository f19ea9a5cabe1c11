//! Which clients CLIENT LIST and CLIENT KILL mean (`networking.c`: `parseClientFiltersOrReply`).
//!
//! Redis has few filters, and others for KILL than for LIST; Valkey has had the same many for both since 8.1, and their
//! opposites since 9.0. What the servers behind understand is understood here, and refused in their words.

use super::super::session::{About, Session, Stop};
use super::super::{Proxy, SessionId};
use crate::resp::{Args, ErrorReply, parse_i64};

/// Letters that Valkey's FLAGS may name.
const FLAGS: &[u8] = b"bcdeirtuxABEIMNOPRSTU";

/// What the servers behind understand of filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dialect {
    Redis,
    /// Valkey 8.1.
    Valkey,
    /// Valkey 9.0: `NOT-` before a filter turns it round.
    ValkeyNot,
}

/// Which clients are meant: those that every one of these tests is true of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    tests: Vec<(Sense, Test)>,
    /// The client that asks, where it is not meant.
    spared: Option<u64>,
}

/// Whether a test, or its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    Is,
    Not,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Numbers(Vec<u64>),
    Kind(Kind),
    User(String),
    Peer(String),
    Local(String),
    /// The peer's address without its port.
    Ip(String),
    /// As old as so many seconds.
    Age(u64),
    /// Without a request for so many seconds.
    Idle(u64),
    /// With all of these letters.
    Flags(Vec<u8>),
    Name(Vec<u8>),
    LibName(Vec<u8>),
    LibVer(Vec<u8>),
    /// Of the one database that there is.
    Database,
    /// Able to do all of these.
    Capabilities(Vec<u8>),
}

/// Kinds of clients (`networking.c`: `getClientTypeByName`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Any other.
    Normal,
    /// A primary that replicates to us, or a replica of us: a gateway has neither.
    Replication,
    Pubsub,
}

impl Kind {
    fn parse(word: &[u8]) -> Result<Kind, ErrorReply<'_>> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Kind::Normal),
            b"master" | b"primary" | b"replica" | b"slave" => Ok(Kind::Replication),
            b"pubsub" => Ok(Kind::Pubsub),
            _ => Err(ErrorReply::ClientType(word)),
        }
    }

    fn of(session: &Session) -> Kind {
        if session.is_subscriber() { Kind::Pubsub } else { Kind::Normal }
    }
}

impl Filter {
    /// What CLIENT LIST asks for.
    pub(super) fn listed<'a>(
        args: &Args<'a>,
        asker: u64,
        dialect: Dialect,
        users: &mut Vec<String>,
    ) -> Result<Filter, ErrorReply<'a>> {
        if dialect > Dialect::Redis {
            return Filter { tests: Vec::new(), spared: None }.parse(args, asker, dialect, users);
        }
        let option = args.get(args.len().min(3) - 1);
        let test = if args.len() == 2 {
            return Ok(Filter::default());
        } else if args.len() == 4 && option.eq_ignore_ascii_case(b"type") {
            Test::Kind(Kind::parse(args.get(3))?)
        } else if args.len() >= 4 && option.eq_ignore_ascii_case(b"id") {
            let numbers: Option<Vec<i64>> = args.iter().skip(3).map(parse_i64).collect();
            let numbers = numbers.ok_or(ErrorReply::ClientNumber)?;
            Test::Numbers(numbers.into_iter().filter_map(|number| u64::try_from(number).ok()).collect())
        } else {
            return Err(ErrorReply::Syntax);
        };
        Ok(Filter { tests: vec![(Sense::Is, test)], spared: None })
    }

    /// Whom CLIENT KILL means by its options.
    pub(super) fn killed<'a>(
        args: &Args<'a>,
        asker: u64,
        dialect: Dialect,
        users: &mut Vec<String>,
    ) -> Result<Filter, ErrorReply<'a>> {
        Filter { tests: Vec::new(), spared: Some(asker) }.parse(args, asker, dialect, users)
    }

    /// Whom CLIENT KILL means by an address alone.
    pub(super) fn peer(addr: &[u8]) -> Filter {
        Filter { tests: vec![(Sense::Is, Test::Peer(shown(addr)))], spared: None }
    }

    /// Reads filters up to the first mistake. Users that are named before it are added to a list: whether there are such,
    /// which a server sees as it reads, comes before what is wrong behind them.
    fn parse<'a>(
        mut self,
        args: &Args<'a>,
        asker: u64,
        dialect: Dialect,
        users: &mut Vec<String>,
    ) -> Result<Filter, ErrorReply<'a>> {
        let mut at = 2;
        while at < args.len() {
            if at + 1 == args.len() {
                return Err(ErrorReply::Syntax);
            }
            let word = args.get(at).to_ascii_lowercase();
            if word == b"skipme" {
                self.spared = match args.get(at + 1).to_ascii_lowercase().as_slice() {
                    b"yes" => Some(asker),
                    b"no" => None,
                    _ => return Err(ErrorReply::Syntax),
                };
                at += 2;
                continue;
            }
            let (sense, name) = match word.strip_prefix(b"not-") {
                Some(name) if dialect == Dialect::ValkeyNot => (Sense::Not, name),
                Some(_) | None => (Sense::Is, word.as_slice()),
            };
            let (test, used) = if name == b"id" {
                numbers(args, at + 1, dialect)?
            } else {
                (one(name, sense, args.get(at + 1), dialect)?, 1)
            };
            if let Test::User(user) = &test {
                users.push(user.clone());
            }
            self.add(sense, test);
            at += 1 + used;
        }
        Ok(self)
    }

    /// The last word on a matter counts; numbers are collected.
    fn add(&mut self, sense: Sense, test: Test) {
        let same = |(other, held): &&mut (Sense, Test)| {
            *other == sense && std::mem::discriminant(held) == std::mem::discriminant(&test)
        };
        match (self.tests.iter_mut().find(same), test) {
            (Some((_, Test::Numbers(held))), Test::Numbers(more)) => held.extend(more),
            (Some((_, held)), test) => *held = test,
            (None, test) => self.tests.push((sense, test)),
        }
    }

    /// Whether a client is meant.
    pub(super) fn means(&self, session: &Session, now: u64) -> bool {
        self.spared != Some(session.number)
            && self.tests.iter().all(|(sense, test)| test.holds(session, now) == (*sense == Sense::Is))
    }
}

impl Test {
    fn holds(&self, session: &Session, now: u64) -> bool {
        let seconds = |since: u64| now.saturating_sub(since) / 1_000_000;
        let about = session.about.as_deref();
        // What nobody said is not equal to the empty text either.
        let said = |said: fn(&About) -> &Vec<u8>, wanted: &Vec<u8>| {
            about.map(said).is_some_and(|text| !text.is_empty() && text == wanted)
        };
        match self {
            Test::Numbers(numbers) => numbers.contains(&session.number),
            Test::Kind(kind) => Kind::of(session) == *kind,
            Test::User(user) => user_of(session) == *user,
            Test::Peer(addr) => session.peer.to_string() == *addr,
            Test::Local(addr) => session.local.to_string() == *addr,
            Test::Ip(ip) => session.peer.ip().to_string() == *ip,
            Test::Age(least) => seconds(session.since) >= *least,
            Test::Idle(least) => seconds(session.active) >= *least,
            Test::Flags(letters) => {
                let flags = flags(session);
                letters.iter().all(|letter| flags.as_bytes().contains(letter))
            }
            Test::Name(name) => said(|about| &about.name, name),
            Test::LibName(name) => said(|about| &about.lib_name, name),
            Test::LibVer(version) => said(|about| &about.lib_ver, version),
            Test::Database => true,
            Test::Capabilities(letters) => letters.is_empty() || about.is_some_and(|about| about.redirects),
        }
    }
}

/// The numbers behind ID, and how many arguments they are: Redis takes one, Valkey as many as follow.
fn numbers<'a>(args: &Args<'a>, from: usize, dialect: Dialect) -> Result<(Test, usize), ErrorReply<'a>> {
    let most = if dialect == Dialect::Redis { 1 } else { usize::MAX };
    let mut numbers = Vec::new();
    for number in args.iter().skip(from).take(most).map_while(parse_i64) {
        let number = u64::try_from(number).ok().filter(|number| *number > 0);
        numbers.push(number.ok_or(ErrorReply::ClientIdPositive)?);
    }
    match (numbers.len(), dialect) {
        (0, Dialect::Redis) => Err(ErrorReply::ClientIdPositive),
        (used, _) => Ok((Test::Numbers(numbers), used)),
    }
}

/// A filter with one argument.
fn one<'a>(name: &[u8], sense: Sense, value: &'a [u8], dialect: Dialect) -> Result<Test, ErrorReply<'a>> {
    let test = match (name, sense) {
        (b"type", _) => Test::Kind(Kind::parse(value)?),
        (b"addr", _) => Test::Peer(shown(value)),
        (b"laddr", _) => Test::Local(shown(value)),
        (b"user", _) => Test::User(shown(value)),
        (b"maxage", Sense::Is) => Test::Age(above_zero("maxage", value)?),
        (_, Sense::Is) if dialect == Dialect::Redis => return Err(ErrorReply::Syntax),
        (b"idle", Sense::Is) => Test::Idle(above_zero("idle", value)?),
        (b"ip", _) => Test::Ip(shown(value)),
        (b"name", _) => Test::Name(value.to_vec()),
        (b"lib-name", _) => Test::LibName(value.to_vec()),
        (b"lib-ver", _) => Test::LibVer(value.to_vec()),
        (b"flags", _) if !value.iter().all(|letter| FLAGS.contains(letter)) => {
            let filter = if sense == Sense::Is { "provided" } else { "NOT-FLAGS" };
            return Err(ErrorReply::ClientLetters { what: "flags", filter, letters: value });
        }
        (b"flags", _) => Test::Flags(value.to_vec()),
        (b"capa", _) if !value.iter().all(|letter| *letter == b'r') => {
            let filter = if sense == Sense::Is { "provided" } else { "NOT-CAPA" };
            return Err(ErrorReply::ClientLetters { what: "capa", filter, letters: value });
        }
        (b"capa", _) => Test::Capabilities(value.to_vec()),
        (b"db", sense) => {
            let name = if sense == Sense::Is { "DB" } else { "NOT-DB" };
            match parse_i64(value) {
                Some(0) => Test::Database,
                Some(_) => return Err(ErrorReply::ClientDatabase(name)),
                None => return Err(ErrorReply::NamedNotAnInteger(name)),
            }
        }
        _ => return Err(ErrorReply::Syntax),
    };
    Ok(test)
}

fn above_zero<'a>(name: &'static str, value: &[u8]) -> Result<u64, ErrorReply<'a>> {
    match parse_i64(value) {
        Some(seconds @ 1..) => Ok(seconds as u64),
        Some(_) => Err(ErrorReply::NamedNotPositive(name)),
        None => Err(ErrorReply::NamedNotAnInteger(name)),
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Proxy {
    /// What the servers say that they are decides which filters there are.
    pub(super) fn dialect(&self) -> Dialect {
        let mut numbers = self.version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        match self.server.as_str() {
            "valkey" if version >= (9, 0) => Dialect::ValkeyNot,
            "valkey" if version >= (8, 1) => Dialect::Valkey,
            _ => Dialect::Redis,
        }
    }

    pub(super) fn number_of(&self, id: SessionId) -> u64 {
        self.sessions.get(id).map_or(0, |session| session.number)
    }
}

/// Letters that say what state a client is in (`networking.c`: `catClientInfoString`).
pub(super) fn flags(session: &Session) -> String {
    let (about, extra) = (session.about.as_ref(), session.extra.as_ref());
    let letters = [
        ('O', extra.is_some_and(|extra| extra.monitors)),
        ('P', session.is_subscriber()),
        ('x', extra.is_some_and(|extra| extra.transaction.queued().is_some())),
        ('b', session.is_blocked()),
        ('c', session.stop == Some(Stop::Closing)),
        ('e', about.is_some_and(|about| about.no_evict)),
        ('T', about.is_some_and(|about| about.no_touch)),
    ];
    let tracking = extra.and_then(|extra| extra.tracking.as_ref());
    let tracked = tracking.into_iter().flat_map(|tracking| tracking.letters());
    let set = letters.into_iter().filter(|(_, set)| *set).map(|(letter, _)| letter);
    let flags: String = set.chain(tracked).collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

/// The user that a client is logged in as.
pub(super) fn user_of(session: &Session) -> String {
    match session.about.as_deref() {
        Some(about) if !about.user.is_empty() => shown(&about.user),
        Some(_) | None => "default".to_owned(),
    }
}
