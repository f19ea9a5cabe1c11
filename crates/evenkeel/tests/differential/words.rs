//! The words of a request: keys that often hold what is expected, values from small pools, and damage.

use super::dice::Dice;
use super::template::{Drawn, Hole};

pub(crate) const SCRIPTS: [&str; 12] = [
    "return redis.call('set',KEYS[1],ARGV[1])",
    "return redis.call('get',KEYS[1])",
    "return {1,2,{3,'x'},ARGV[1]}",
    "return redis.error_reply('MY error')",
    "return {ok='fine'}",
    "return redis.call('incr',KEYS[1])",
    "return redis.pcall('lpush',KEYS[1],'a')",
    "return #KEYS + #ARGV",
    "error('boom')",
    "this is not lua",
    "redis.setresp(3); return redis.call('zrange',KEYS[1],0,-1,'withscores')",
    "return {double=3.5}",
];

/// A library of functions, loaded before each script.
pub(crate) const LIBRARY: &str = "#!lua name=frobs\n\
    redis.register_function('frob', function(keys, args) return redis.call('set', keys[1], args[1]) end)\n\
    redis.register_function{function_name='frobro', callback=function(keys, args) return redis.call('get', keys[1]) \
    end, flags={'no-writes'}}";

/// Names of the first two scripts, which are loaded before, of none, and nonsense.
const SHAS: [&str; 4] = [
    "c686f316aaf1eb01d5a4de1b0b63cd233010e63d",
    "fd758d1589d044dd850a6f05d52f2eefd27f033f",
    "ffffffffffffffffffffffffffffffffffffffff",
    "short",
];

const VALUES: [&[u8]; 14] = [
    b"a",
    b"b",
    b"foo",
    b"bar",
    b"",
    b"0",
    b"1",
    b"-1",
    b"10",
    b"3.5",
    b"9223372036854775807",
    b"\x00\xff\r\n",
    b"hello world",
    b"nan",
];
const INTEGERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "2",
    "3",
    "-2",
    "5",
    "10",
    "-10",
    "100",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "abc",
];
const COUNTS: [&str; 10] = ["1", "2", "3", "10", "100", "1", "2", "0", "-2", "abc"];
const FLOATS: [&str; 14] =
    ["0", "1", "2", "3", "-1", "1.5", "2.25", "-0.5", "1e10", "inf", "-inf", "0.1", "3.0e-5", "nan"];
const BOUNDS: [&str; 10] = ["-inf", "+inf", "0", "(1", "2", "(3", "-1", "1.5", "(x", "5"];
const LEXES: [&str; 8] = ["-", "+", "[m1", "(m2", "[m5", "(", "x", "[a"];
const ENTRIES: [&str; 12] =
    ["0", "0-0", "1-1", "2-0", "2-1", "3", "5-*", "7-3", "100-1", "200-*", "-", "bad"];
const PATTERNS: [&str; 9] = ["*", "{a}*", "*0", "m?", "[ab]*", "foo", "", "*[", "h?llo\\*"];
const OFFSETS: [&str; 10] = ["0", "1", "7", "8", "100", "1023", "#1", "-1", "4294967296000", "abc"];
const LIVES: [&str; 7] = ["1000", "5000", "100000", "100000000", "0", "99999999999999999", "abc"];
const LIVES_MS: [&str; 6] = ["1000000", "5000000", "100000000000", "0", "9999999999999999999", "abc"];
const TIMES: [&str; 5] = ["4000000000", "4100000000", "5000000000", "1", "-5"];
const TIMES_MS: [&str; 5] = ["4000000000000", "4100000000500", "5000000000001", "1", "-5"];

/// Commands that give a key a time to live.
const ENDS: [&str; 9] =
    ["set", "setex", "psetex", "getex", "expire", "pexpire", "expireat", "pexpireat", "restore"];

pub(crate) struct Words<'a> {
    pub(crate) dice: &'a mut Dice,
    /// The slot of all keys, or nothing.
    pub(crate) tag: &'static str,
    pub(crate) tags: &'a [&'static str],
    /// Whether a number of keys may be wrong, which makes keys of other words.
    pub(crate) wrong_counts: bool,
}

impl Words<'_> {
    pub(crate) fn fill(&mut self, drawn: &Drawn) -> Vec<Vec<u8>> {
        let keys = |words: &[Result<&str, Hole>]| {
            let first = words.iter().skip_while(|word| !matches!(word, Err(Hole::Key(_))));
            first.take_while(|word| matches!(word, Err(Hole::Key(_)))).count()
        };
        let word = |at: usize, word: &Result<&'static str, Hole>| match word {
            Ok(word) => word.as_bytes().to_vec(),
            Err(Hole::Keys) => self.number_of_keys(keys(&drawn[at..])),
            Err(hole) => self.word(*hole),
        };
        let mut word = word;
        drawn.iter().enumerate().map(|(at, one)| word(at, one)).collect()
    }

    fn number_of_keys(&mut self, right: usize) -> Vec<u8> {
        match self.dice.below(20) {
            0 if self.wrong_counts => self.text(&INTEGERS),
            _ => right.to_string().into_bytes(),
        }
    }

    fn word(&mut self, hole: Hole) -> Vec<u8> {
        match hole {
            Hole::Key(kind) => self.key(kind),
            Hole::Value => self.value(),
            Hole::Member => self.member(),
            Hole::Integer => self.text(&INTEGERS),
            Hole::Count | Hole::Keys => self.text(&COUNTS),
            Hole::Float => self.text(&FLOATS),
            Hole::Bound => self.text(&BOUNDS),
            Hole::Lex => self.text(&LEXES),
            Hole::Entry => self.entry(),
            Hole::Pattern => self.text(&PATTERNS),
            Hole::Longitude => format!("{}.5", self.dice.below(20)).into_bytes(),
            Hole::Latitude => format!("{}.25", self.dice.below(100)).into_bytes(),
            Hole::Offset => self.text(&OFFSETS),
            Hole::Group => self.text(&["g1", "g1", "g2", "c1"]),
            Hole::Time => self.text(&TIMES),
            Hole::TimeMs => self.text(&TIMES_MS),
            Hole::Life => self.text(&LIVES),
            Hole::LifeMs => self.text(&LIVES_MS),
            Hole::Channel => format!("{}channel", self.tag).into_bytes(),
            Hole::Script => self.text(&SCRIPTS),
            Hole::Sha => self.text(&SHAS),
        }
    }

    fn text(&mut self, among: &[&str]) -> Vec<u8> {
        self.dice.pick(among).as_bytes().to_vec()
    }

    fn key(&mut self, kind: char) -> Vec<u8> {
        let tag = if self.tag.is_empty() { self.dice.pick(self.tags) } else { self.tag };
        let any = kind == '*' || self.dice.once_in(12);
        let kind =
            if any { self.dice.pick(&['s', 'b', 'i', 'l', 'h', 't', 'z', 'g', 'x', 'p']) } else { kind };
        format!("{tag}{kind}{}", self.dice.below(3)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.dice.below(60) {
            0 => vec![b'x'; 20_000],
            1..=3 => vec![b'y'; 100],
            _ => self.dice.pick(&VALUES).to_vec(),
        }
    }

    fn member(&mut self) -> Vec<u8> {
        match self.dice.below(10) {
            0 => self.value(),
            1..=2 => self.dice.below(20).to_string().into_bytes(),
            _ => format!("m{}", self.dice.below(12)).into_bytes(),
        }
    }

    fn entry(&mut self) -> Vec<u8> {
        match self.dice.below(3) {
            0 => format!("{}-{}", self.dice.below(50), self.dice.below(3)).into_bytes(),
            _ => self.text(&ENTRIES),
        }
    }

    /// Makes a request wrong somewhere; its name stays. No number overflows a double: a server remembers that error
    /// (`errno`) and then refuses a later SORT, whichever client's it is.
    pub(crate) fn damage(&mut self, words: &mut Vec<Vec<u8>>) {
        let at = 1 + self.dice.below(words.len());
        let junk = match self.dice.below(3) {
            0 => self.value(),
            1 => self.text(&INTEGERS),
            _ => self.text(&["", "abc", "-1", "0x10", " 1", "match", "limit", "store", "\r\n"]),
        };
        // Nothing may come to its end while a script is played.
        let soon = ENDS.iter().any(|name| words[0] == name.as_bytes())
            && junk.first().is_some_and(u8::is_ascii_digit);
        let junk = if soon { b"x".to_vec() } else { junk };
        match self.dice.below(3) {
            0 => words.truncate(at),
            1 => words.insert(at.min(words.len()), junk),
            _ => {
                if let Some(word) = words.get_mut(at) {
                    *word = junk;
                }
            }
        }
    }
}
