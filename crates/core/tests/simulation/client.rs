//! A client that knows what it may read: it checks every reply against what it asked and what it wrote before.

use super::dice::Dice;
use super::line::{Id, Nodes, id_of};
use super::seeds::Tally;
use super::trace::{Trace, Who};
use evenkeel_core::proxy::{Durability, SessionId};
use evenkeel_core::resp::{Elements, Proto, ReplyScan, Scan, Writer, text};
use std::collections::{BTreeMap, VecDeque};

/// Padding of a value that makes its request too large to travel with the others.
const LARGE: usize = 600;

/// What was asked.
#[derive(Clone)]
pub(crate) enum Asked {
    Read(Vec<Vec<u8>>),
    /// Keys and the numbers of their values; `None` deletes.
    Write {
        pairs: Vec<(Vec<u8>, Option<Id>)>,
        large: bool,
    },
    Ping,
    Echo(Vec<u8>),
    Hello,
    Reset,
    Size,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Asked::Read(keys) => keys.iter().try_for_each(|key| write!(out, "{}? ", key.escape_ascii())),
            Asked::Write { pairs, large } => {
                write!(out, "{}", if *large { "large " } else { "" })?;
                pairs.iter().try_for_each(|(key, id)| match id {
                    Some(id) => write!(out, "{}:={id} ", key.escape_ascii()),
                    None => write!(out, "{}:=nothing ", key.escape_ascii()),
                })
            }
            Asked::Ping => out.write_str("PING"),
            Asked::Echo(text) => write!(out, "ECHO {}", text.escape_ascii()),
            Asked::Hello => out.write_str("HELLO"),
            Asked::Reset => out.write_str("RESET"),
            Asked::Size => out.write_str("DBSIZE"),
        }
    }
}

/// How long the gateway holds what cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Longer than any fault lasts.
    Long,
    /// So short, and so little, that UNAVAILABLE is an answer to expect.
    Short,
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Open,
    /// It closed its sending side.
    Ended,
    /// Its connection is gone.
    Gone,
}

pub(crate) struct Client {
    pub(crate) id: SessionId,
    number: u64,
    pub(crate) life: Life,
    /// Bytes that are on their way to the gateway.
    pub(crate) wire: Vec<u8>,
    pub(crate) heard: Vec<u8>,
    pub(crate) reading: bool,
    pub(crate) writable: bool,
    pub(crate) asked: VecDeque<Asked>,
    keys: Vec<Vec<u8>>,
    /// What each of its keys may hold; nothing else writes them.
    known: BTreeMap<Vec<u8>, Vec<Option<Id>>>,
    proto: Proto,
    hold: Hold,
    /// Values that were read before the writes behind in the pipeline were answered. A connection that was lost
    /// after both were executed explains it (the read is asked again, the write is UNCERTAIN); nothing else does.
    early: Vec<(Vec<u8>, Option<Id>)>,
    /// The last acknowledged value of each key: the least that may be read, whatever fails, where writes are confirmed
    /// by a replica.
    floor: BTreeMap<Vec<u8>, Id>,
    trace: Trace,
}

impl Asked {
    fn writes(&self, key: &[u8], id: Option<Id>) -> bool {
        match self {
            Asked::Write { pairs, .. } => pairs.iter().any(|pair| pair.0 == key && pair.1 == id),
            _ => false,
        }
    }
}

/// What the writes of all clients must have come to in the end.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) next: Id,
    once: Vec<Id>,
    never: Vec<Id>,
    pub(crate) replies: usize,
    pub(crate) uncertain: usize,
    pub(crate) unavailable: usize,
    pub(crate) unreplicated: usize,
    /// Whether an acknowledged write was confirmed by a replica.
    pub(crate) confirmed: bool,
}

impl Client {
    pub(crate) fn new(id: SessionId, number: u64, hold: Hold, trace: Trace) -> Self {
        let keys =
            (0..4).flat_map(|tag| ["a", "b", "c"].map(|key| format!("{{{number}.{tag}}}{key}").into_bytes()));
        let keys: Vec<Vec<u8>> = keys.collect();
        Client {
            id,
            number,
            life: Life::Open,
            wire: Vec::new(),
            heard: Vec::new(),
            reading: true,
            writable: false,
            asked: VecDeque::new(),
            known: keys.iter().map(|key| (key.clone(), vec![None])).collect(),
            keys,
            proto: Proto::Two,
            hold,
            early: Vec::new(),
            floor: BTreeMap::new(),
            trace,
        }
    }

    /// Its number, which its keys begin with.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// Asks something at random.
    pub(crate) fn ask(&mut self, ledger: &mut Ledger, dice: &mut Dice) {
        let asked = match dice.below(100) {
            0..35 => Asked::Read(self.some_keys(1, dice)),
            35..65 => self.write(1, ledger, dice),
            65..73 => Asked::Read(self.some_keys(5, dice)),
            73..81 => self.write(4, ledger, dice),
            81..88 => {
                let most = dice.pick(&[1, 3]);
                let pairs = self.some_keys(most, dice).into_iter().map(|key| (key, None)).collect();
                Asked::Write { pairs, large: false }
            }
            88..92 => Asked::Ping,
            92..95 => Asked::Echo(format!("echo {}", dice.below(1000)).into_bytes()),
            95..97 => Asked::Hello,
            97 => Asked::Reset,
            _ => Asked::Size,
        };
        self.send(&asked, ledger, dice);
        self.asked.push_back(asked);
    }

    fn some_keys(&self, most: usize, dice: &mut Dice) -> Vec<Vec<u8>> {
        // Of one slot half of the time.
        let tag = dice.once_in(2).then(|| dice.below(4) * 3);
        let mut keys: Vec<Vec<u8>> = (0..=dice.below(most))
            .map(|_| match tag {
                Some(tag) => self.keys[tag + dice.below(3)].clone(),
                None => self.keys[dice.below(12)].clone(),
            })
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn write(&mut self, most: usize, ledger: &mut Ledger, dice: &mut Dice) -> Asked {
        let mut value = |key| {
            ledger.next += 1;
            (key, Some(ledger.next))
        };
        let pairs = self.some_keys(most, dice).into_iter().map(&mut value).collect::<Vec<_>>();
        let large = pairs.len() == 1 && dice.once_in(12);
        Asked::Write { pairs, large }
    }

    fn send(&mut self, asked: &Asked, ledger: &Ledger, dice: &mut Dice) {
        let value = |id: &Id, large: bool| match large {
            true => format!("{id}:{}", "x".repeat(LARGE)),
            false => format!("{id}:{}", "x".repeat(*id as usize % 17)),
        };
        let mut words: Vec<Vec<u8>> = Vec::new();
        match asked {
            Asked::Read(keys) => {
                words.push(if keys.len() == 1 && dice.once_in(2) {
                    b"GET".to_vec()
                } else {
                    b"MGET".to_vec()
                });
                words.extend(keys.iter().cloned());
                if words[0] == b"GET" {
                    words.truncate(2);
                }
            }
            Asked::Write { pairs, large } => {
                let deletes = pairs.iter().all(|(_, id)| id.is_none());
                let name: &[u8] = match pairs.len() {
                    _ if deletes => b"DEL",
                    1 => b"SET",
                    _ => b"MSET",
                };
                words.push(name.to_vec());
                for (key, id) in pairs {
                    words.push(key.clone());
                    words.extend(id.as_ref().map(|id| value(id, *large).into_bytes()));
                }
            }
            Asked::Ping => words.push(b"ping".to_vec()),
            Asked::Echo(text) => words.extend([b"ECHO".to_vec(), text.clone()]),
            Asked::Hello => {
                let version = dice.pick(&[b"2", b"3"]);
                words.extend([b"HELLO".to_vec(), version.to_vec()]);
            }
            Asked::Reset => words.push(b"RESET".to_vec()),
            Asked::Size => words.push(b"DBSIZE".to_vec()),
        }
        debug_assert!(ledger.next < Id::MAX);
        Writer::new(&mut self.wire, Proto::Two).request(words.iter().map(Vec::as_slice));
    }

    /// Checks the replies that are whole.
    pub(crate) fn check(&mut self, nodes: &impl Nodes, ledger: &mut Ledger) {
        let (who, number) = (Who::Client(self.number), self.number);
        while let Ok(Scan::Done(len)) = ReplyScan::default().advance(&self.heard) {
            let reply: Vec<u8> = self.heard.drain(..len).collect();
            ledger.replies += 1;
            self.trace.bytes(who, "hears", &reply);
            let Some(asked) = self.asked.pop_front() else {
                panic!("client {number} hears a reply to nothing")
            };
            if let Err(wrong) = self.judge(&asked, &reply, nodes, ledger) {
                panic!("client {number}: {wrong}: {asked:?} got {}", reply.escape_ascii());
            }
        }
    }

    fn judge(
        &mut self,
        asked: &Asked,
        reply: &[u8],
        nodes: &impl Nodes,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        if reply[0] == b'-' {
            return self.judge_error(asked, reply, nodes, ledger);
        }
        match asked {
            Asked::Read(keys) => {
                let values: Vec<&[u8]> = match Elements::of(reply) {
                    Some(elements) if reply != b"*-1\r\n" => elements.collect(),
                    _ => vec![reply],
                };
                if values.len() != keys.len() {
                    return Err(format!("{} values for {} keys", values.len(), keys.len()));
                }
                for (key, value) in keys.iter().zip(values) {
                    let id = text(value).map(id_of);
                    let later = self.asked.iter().any(|asked| asked.writes(key, id));
                    if nodes.has_lost(key) {
                        let fits = self.judge_survivor(key, id, ledger);
                        fits.or_else(|wrong| later.then_some(()).ok_or(wrong))?;
                        continue;
                    }
                    let may = self.known.get_mut(key).expect("its own key");
                    if may.contains(&id) {
                        *may = vec![id];
                    } else if later {
                        self.early.push((key.clone(), id));
                    } else {
                        return Err(format!("{} is {id:?}, expected one of {may:?}", key.escape_ascii()));
                    }
                }
                Ok(())
            }
            Asked::Write { pairs, .. } => {
                for (key, id) in pairs {
                    // of several that delete a key the last may be the one that was seen
                    let again = self.asked.iter().any(|asked| asked.writes(key, *id));
                    if !again && self.early.contains(&(key.clone(), *id)) {
                        return Err(format!("{} was read before its turn", key.escape_ascii()));
                    }
                    self.known.insert(key.clone(), vec![*id]);
                    match id {
                        Some(id) => {
                            ledger.once.push(*id);
                            self.floor.insert(key.clone(), *id);
                            if nodes.executed(*id) != 1 {
                                return Err(format!("{id} was written {} times", nodes.executed(*id)));
                            }
                        }
                        None => drop(self.floor.remove(key)),
                    }
                }
                let fits = reply == b"+OK\r\n" || reply[0] == b':';
                fits.then_some(()).ok_or_else(|| "not the reply of a write".to_owned())
            }
            Asked::Ping => (reply == b"+PONG\r\n").then_some(()).ok_or_else(|| "no PONG".to_owned()),
            Asked::Echo(wanted) => {
                (text(reply) == Some(wanted)).then_some(()).ok_or_else(|| "another echo".to_owned())
            }
            Asked::Hello => {
                self.proto = if reply[0] == b'%' { Proto::Three } else { Proto::Two };
                matches!(reply[0], b'%' | b'*').then_some(()).ok_or_else(|| "no greeting".to_owned())
            }
            Asked::Reset => (reply == b"+RESET\r\n").then_some(()).ok_or_else(|| "no RESET".to_owned()),
            Asked::Size => (reply[0] == b':').then_some(()).ok_or_else(|| "no number".to_owned()),
        }
    }

    /// A value of a key of which a fault has cost a write: an older one may be back. Where writes are confirmed, not one
    /// from before the last that was acknowledged.
    fn judge_survivor(&self, key: &[u8], id: Option<Id>, ledger: &Ledger) -> Result<(), String> {
        let deleted = self.known[key].contains(&None);
        match self.floor.get(key) {
            Some(floor) if ledger.confirmed && !deleted && id.is_none_or(|id| id < *floor) => {
                Err(format!("{} is {id:?}, and {floor} was acknowledged", key.escape_ascii()))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// UNCERTAIN is for writes only; UNAVAILABLE says that nothing was done, and has a reason.
    fn judge_error(
        &mut self,
        asked: &Asked,
        reply: &[u8],
        nodes: &impl Nodes,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        let line = String::from_utf8_lossy(reply);
        match (line.split(' ').next(), asked) {
            (Some(code @ ("-UNCERTAIN" | "-UNREPLICATED")), Asked::Write { pairs, .. }) => {
                let unconfirmed = code == "-UNREPLICATED" || line.contains("before a replica confirmed");
                if unconfirmed && !ledger.confirmed {
                    return Err("nobody asked for a replica".to_owned());
                }
                if unconfirmed {
                    ledger.unreplicated += 1;
                } else {
                    ledger.uncertain += 1;
                }
                for (key, id) in pairs {
                    self.known.get_mut(key).expect("its own key").push(*id);
                    self.early.retain(|early| *early != (key.clone(), *id));
                }
                Ok(())
            }
            (Some("-UNAVAILABLE"), _) => {
                ledger.unavailable += 1;
                let large = matches!(asked, Asked::Write { large: true, .. });
                if self.hold == Hold::Long && !large && !line.contains("overtook") {
                    return Err("not served though there was time".to_owned());
                }
                if let Asked::Write { pairs, .. } = asked {
                    for id in pairs.iter().filter_map(|(_, id)| *id) {
                        ledger.never.push(id);
                        if nodes.executed(id) > 0 {
                            return Err(format!("{id} was written"));
                        }
                    }
                }
                Ok(())
            }
            _ => Err("an error that is not the client's".to_owned()),
        }
    }

    /// It is gone: what it still waits for may or may not have been done.
    pub(crate) fn close(&mut self) {
        self.life = Life::Gone;
        self.trace.bytes(Who::Client(self.number), "is gone", b"");
        for asked in self.asked.drain(..) {
            if let Asked::Write { pairs, .. } = asked {
                for (key, id) in pairs {
                    self.known.get_mut(&key).expect("its own key").push(id);
                }
            }
        }
    }

    /// Everything came to rest: are its writes there?
    pub(crate) fn check_end(&self, nodes: &impl Nodes) {
        for (key, may) in self.known.iter().filter(|(key, _)| !nodes.has_lost(key)) {
            let value = nodes.value(key);
            assert!(
                may.contains(&value),
                "in the end {} is {value:?}, expected one of {may:?}",
                key.escape_ascii()
            );
        }
    }
}

impl Ledger {
    pub(crate) fn new(durability: Durability) -> Self {
        Ledger { confirmed: durability == Durability::Replicated, ..Ledger::default() }
    }

    pub(crate) fn check_end(&self, nodes: &impl Nodes) {
        for id in 1..=self.next {
            let times = nodes.executed(id);
            assert!(times < 2, "{id} was written {times} times");
        }
        for id in &self.once {
            assert!(nodes.executed(*id) == 1, "{id} was acknowledged and never written");
        }
        for id in &self.never {
            assert!(nodes.executed(*id) == 0, "{id} was written after UNAVAILABLE");
        }
    }

    /// Writes that were acknowledged.
    pub(crate) fn acknowledged(&self) -> &[Id] {
        &self.once
    }

    pub(crate) fn count(&self, tally: &mut Tally) {
        for (what, count) in [
            ("replies", self.replies),
            ("acknowledged writes", self.once.len()),
            ("UNCERTAIN", self.uncertain),
            ("UNAVAILABLE", self.unavailable),
            ("UNREPLICATED", self.unreplicated),
        ] {
            tally.add(what, count as u64);
        }
    }
}
