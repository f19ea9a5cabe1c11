//! Templates of commands: a line of words, some of which stand for keys and values.
//!
//! Lower-case words are sent as they are. Upper-case words are drawn: see [`Hole`]. `[a b]` is there or not,
//! `(a b|c)` is one of the alternatives, `{a b}` is repeated one to four times.

use super::dice::Dice;

/// What is drawn for an upper-case word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hole {
    /// A key, usually one that holds this type; `K` any.
    Key(char),
    /// `V`: any value.
    Value,
    /// `M`: a member of a set, a field of a hash.
    Member,
    /// `I`: an integer, mostly small.
    Integer,
    /// `C`: a count, mostly positive.
    Count,
    /// `N`: a number of keys that fits what follows, mostly.
    Keys,
    /// `F`: a floating-point number or score.
    Float,
    /// `B`: the end of a range of scores.
    Bound,
    /// `L`: the end of a range of members.
    Lex,
    /// `ID`: the id of a stream's entry.
    Entry,
    /// `P`: a pattern.
    Pattern,
    /// `LON`, `LAT`: a place.
    Longitude,
    Latitude,
    /// `O`: an offset in a string, in bytes or bits.
    Offset,
    /// `G`: a consumer group or consumer.
    Group,
    /// `AT`: a time far away in the future or past, in seconds; `ATMS` in milliseconds.
    Time,
    TimeMs,
    /// `TTL`: a time to live, long enough not to end, in seconds; `TTLMS` in milliseconds.
    Life,
    LifeMs,
    /// `CH`: a channel; its slot is the keys' of this command.
    Channel,
    /// `LUA`: a small script.
    Script,
    /// `SHA`: the name of one of those scripts.
    Sha,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Word(&'static str),
    Hole(Hole),
    Maybe(Vec<Part>),
    Among(Vec<Vec<Part>>),
    Repeat(Vec<Part>),
}

/// A template, ready to be drawn from.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) name: &'static str,
    pub(crate) parts: Vec<Part>,
    /// Whether it names a key.
    pub(crate) keyed: bool,
    /// Whether it may name more than one key.
    pub(crate) several_keys: bool,
    /// Whether servers without cluster mode answer something else.
    pub(crate) cluster_only: bool,
}

/// What a template becomes: words, some of them still open.
pub(crate) type Drawn = Vec<Result<&'static str, Hole>>;

impl Template {
    pub(crate) fn parse(line: &'static str) -> Template {
        let (line, cluster_only) = line.strip_prefix('!').map_or((line, false), |line| (line, true));
        let mut words = tokens(line).into_iter().peekable();
        let parts = sequence(&mut words, &[]);
        assert!(words.peek().is_none(), "a bracket too many in {line}");
        let name = line.split(' ').next().expect("a name");
        let several_keys = keys(&parts) > 1
            || name.starts_with("fcall")
            || [Hole::Keys, Hole::Script, Hole::Sha].iter().any(|hole| parts.contains_hole(*hole));
        let keyed = keys(&parts) > 0;
        Template { name, parts, keyed, several_keys, cluster_only }
    }

    /// Whether it is about keys that it names, so that a transaction of one slot may hold it.
    pub(crate) fn is_bound(&self) -> bool {
        self.keyed && !self.cluster_only
    }

    pub(crate) fn draw(&self, dice: &mut Dice) -> Drawn {
        let mut drawn = Vec::new();
        draw(&self.parts, dice, &mut drawn);
        drawn
    }
}

trait ContainsHole {
    fn contains_hole(&self, hole: Hole) -> bool;
}

impl ContainsHole for Vec<Part> {
    fn contains_hole(&self, hole: Hole) -> bool {
        self.iter().any(|part| match part {
            Part::Hole(one) => *one == hole,
            Part::Word(_) => false,
            Part::Maybe(parts) | Part::Repeat(parts) => parts.contains_hole(hole),
            Part::Among(ways) => ways.iter().any(|way| way.contains_hole(hole)),
        })
    }
}

fn keys(parts: &[Part]) -> usize {
    let of = |part: &Part| match part {
        Part::Hole(Hole::Key(_)) => 1,
        Part::Hole(_) | Part::Word(_) => 0,
        Part::Maybe(parts) => keys(parts),
        Part::Repeat(parts) => keys(parts) * 2,
        Part::Among(ways) => ways.iter().map(|way| keys(way)).max().unwrap_or(0),
    };
    parts.iter().map(of).sum()
}

fn draw(parts: &[Part], dice: &mut Dice, drawn: &mut Drawn) {
    for part in parts {
        match part {
            Part::Word(word) => drawn.push(Ok(word)),
            Part::Hole(hole) => drawn.push(Err(*hole)),
            Part::Maybe(parts) => {
                if dice.once_in(2) {
                    draw(parts, dice, drawn);
                }
            }
            Part::Among(ways) => draw(&ways[dice.below(ways.len())], dice, drawn),
            Part::Repeat(parts) => {
                for _ in 0..=dice.below(4) {
                    draw(parts, dice, drawn);
                }
            }
        }
    }
}

/// Words and brackets.
fn tokens(line: &'static str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for word in line.split(' ') {
        let mut word = word;
        while let Some(at) = word.find(['[', ']', '(', ')', '{', '}', '|']) {
            if at > 0 {
                found.push(&word[..at]);
            }
            found.push(&word[at..=at]);
            word = &word[at + 1..];
        }
        if !word.is_empty() {
            found.push(word);
        }
    }
    found
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<&'static str>>;

/// Parts up to one of `ends`, which is left.
fn sequence(words: &mut Tokens, ends: &[&str]) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some(word) = words.next_if(|word| !ends.contains(word)) {
        parts.push(match word {
            "[" => Part::Maybe(closed(words, "]")),
            "{" => Part::Repeat(closed(words, "}")),
            "(" => {
                let mut ways = vec![sequence(words, &["|", ")"])];
                while words.next() == Some("|") {
                    ways.push(sequence(words, &["|", ")"]));
                }
                Part::Among(ways)
            }
            _ => hole(word).map_or(Part::Word(word), Part::Hole),
        });
    }
    parts
}

fn closed(words: &mut Tokens, end: &'static str) -> Vec<Part> {
    let parts = sequence(words, &[end]);
    assert_eq!(words.next(), Some(end), "a bracket is open");
    parts
}

fn hole(word: &str) -> Option<Hole> {
    Some(match word {
        "K" => Hole::Key('*'),
        "V" => Hole::Value,
        "M" => Hole::Member,
        "I" => Hole::Integer,
        "C" => Hole::Count,
        "N" => Hole::Keys,
        "F" => Hole::Float,
        "B" => Hole::Bound,
        "L" => Hole::Lex,
        "ID" => Hole::Entry,
        "P" => Hole::Pattern,
        "LON" => Hole::Longitude,
        "LAT" => Hole::Latitude,
        "O" => Hole::Offset,
        "G" => Hole::Group,
        "AT" => Hole::Time,
        "ATMS" => Hole::TimeMs,
        "TTL" => Hole::Life,
        "TTLMS" => Hole::LifeMs,
        "CH" => Hole::Channel,
        "LUA" => Hole::Script,
        "SHA" => Hole::Sha,
        _ => {
            let kind = word.strip_prefix('K')?;
            let mut letters = kind.chars();
            match (letters.next(), letters.next()) {
                (Some(kind), None) if kind.is_ascii_lowercase() => Hole::Key(kind),
                _ => return None,
            }
        }
    })
}
