//! Draws scripts from seeds: which commands, in which pipelines and transactions, with which words.

use super::dice::Dice;
use super::grammar::{FAMILIES, SPLIT};
use super::script::{Anchor, Form, Request, Script, Step, Wait};
use super::template::{Drawn, Template};
use super::words::Words;

pub(crate) struct Author {
    families: Vec<(usize, Vec<Template>)>,
    transactions: bool,
    blocking: bool,
    pubsub: bool,
}

/// One word more is one key more, or another key, which may lie anywhere.
const MORE_KEYS: [&str; 6] = ["blpop", "brpop", "bzpopmin", "bzpopmax", "georadius", "georadiusbymember"];
/// Slots of the keys: with three primaries these tags lie on all of them.
const TAGS: [&str; 6] = ["{a}", "{b}", "{c}", "{d}", "{e}", "{foo}"];

/// What blocks on a key, and what then wakes it.
const WAKES: [(&str, &str); 8] = [
    ("blpop KEY 0", "rpush KEY one two"),
    ("brpop other KEY 0", "lpush KEY one"),
    ("blmove KEY dest left right 0", "rpush KEY one two three"),
    ("blmpop 0 2 other KEY left count 2", "rpush KEY one two three"),
    ("brpoplpush KEY dest 0", "rpush KEY one"),
    ("bzpopmin KEY 0", "zadd KEY 2 two 1 one"),
    ("bzmpop 0 1 KEY max", "zadd KEY 2 two 1 one"),
    ("xread block 0 streams KEY 0", "xadd KEY 7-7 field value"),
];

impl Author {
    /// `only` names families, `transactions`, `wakes` or `channels`; empty means all.
    pub(crate) fn new(only: &[String]) -> Author {
        let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
        let families = FAMILIES.iter().filter(|family| wanted(family.name));
        let parse = |lines: &[&'static str]| lines.iter().map(|line| Template::parse(line)).collect();
        let families: Vec<_> = families.map(|family| (family.weight, parse(family.lines))).collect();
        assert!(!families.is_empty(), "EVENKEEL_ONLY names no family: {only:?}");
        Author {
            families,
            transactions: wanted("transactions") && only != ["transactions"],
            blocking: wanted("wakes"),
            pubsub: wanted("channels"),
        }
    }

    pub(crate) fn write(&self, seed: u64, steps: usize) -> Script {
        let mut dice = Dice::new(seed);
        let anywhere = self.families.iter().flat_map(|(_, templates)| templates).any(|one| !one.cluster_only);
        let anchor = if anywhere && dice.once_in(3) { Anchor::Standalone } else { Anchor::OneNode };
        let protos: Vec<u8> = (0..=dice.below(3)).map(|_| dice.pick(&[2, 3])).collect();
        let others = protos.len();
        let mut draft = Draft {
            author: self,
            dice,
            anchor,
            tag: "",
            may_spread: true,
            watches: false,
            steps: Vec::new(),
        };
        while draft.steps.len() < steps {
            let here = draft.dice.below(others);
            let there = (here + 1) % others;
            match draft.dice.below(24) {
                0..=2 if self.transactions => draft.transaction(here, there),
                3 if self.blocking && here != there => draft.wake(here, there),
                4 if self.pubsub && here != there => draft.channels(here, there),
                5..=9 => draft.pipeline(here),
                _ => {
                    let request = draft.request();
                    draft.step(here, vec![request]);
                }
            }
        }
        Script { seed, anchor, protos, steps: draft.steps }
    }
}

/// A script that is being written.
struct Draft<'a> {
    author: &'a Author,
    dice: Dice,
    anchor: Anchor,
    /// The slot of the keys of the current request; empty where they are spread.
    tag: &'static str,
    /// Whether keys may lie in other slots by damage or where the gateway splits a request: not in a transaction.
    may_spread: bool,
    /// Whether keys are watched, so that the transaction has to stay in their slot.
    watches: bool,
    steps: Vec<Step>,
}

impl<'a> Draft<'a> {
    fn step(&mut self, connection: usize, requests: Vec<Request>) {
        self.steps.push(Step { connection, requests, wait: Wait::Answered });
    }

    fn pipeline(&mut self, connection: usize) {
        let requests: Vec<Request> = (0..2 + self.dice.below(20)).map(|_| self.request()).collect();
        // A walk through a keyspace takes several requests, so it stands alone.
        let requests = requests.into_iter().filter(|request| !request.is_walk()).collect();
        self.step(connection, requests);
    }

    /// MULTI with what is queued; sometimes watched keys, which somebody else may write.
    fn transaction(&mut self, here: usize, there: usize) {
        self.tag = self.dice.pick(&TAGS);
        let key = |name: &str, tag: &str| format!("{tag}{name}0");
        self.watches = self.dice.once_in(3);
        if self.watches {
            let watched = [key("s", self.tag), key("l", self.tag)];
            self.step(here, vec![Request::of(&["watch", &watched[0], &watched[1]])]);
            match self.dice.below(4) {
                0 => self.step(there, vec![Request::of(&["append", &watched[0], "x"])]),
                1 => self.step(there, vec![Request::of(&["del", &watched[1]])]),
                2 => self.step(here, vec![Request::of(&["unwatch"])]),
                _ => {}
            }
        }
        self.may_spread = false;
        let mut requests = vec![Request::of(&["multi"])];
        for _ in 0..self.dice.below(6) {
            if self.dice.once_in(30) && self.anchor == Anchor::OneNode && !self.watches {
                self.tag = self.dice.pick(&TAGS);
            }
            requests.push(self.request_in_transaction());
        }
        (self.may_spread, self.watches) = (true, false);
        let end = if self.dice.once_in(8) { "discard" } else { "exec" };
        requests.push(Request::of(&[end]));
        if self.dice.once_in(20) {
            let odd = self.dice.pick(&["multi", "watch", "exec", "discard", "unwatch"]);
            requests.push(Request::of(&[odd]));
            requests.push(Request::of(&["discard"]));
        }
        match self.dice.below(3) {
            0 => requests.into_iter().for_each(|request| self.step(here, vec![request])),
            _ => self.step(here, requests),
        }
    }

    fn request_in_transaction(&mut self) -> Request {
        loop {
            let request = self.request_of(Template::is_bound);
            if !request.is_walk() {
                return request;
            }
        }
    }

    /// One connection blocks, another one wakes it.
    fn wake(&mut self, here: usize, there: usize) {
        let tag = self.dice.pick(&TAGS);
        let (block, wake) = self.dice.pick(&WAKES);
        let words = |line: &str| -> Request {
            let named = line.split(' ').map(|word| match word {
                "KEY" | "other" | "dest" => format!("{tag}wake{}", word.to_lowercase()),
                _ => word.to_owned(),
            });
            let named: Vec<String> = named.collect();
            Request::of(&named.iter().map(String::as_str).collect::<Vec<_>>())
        };
        self.step(there, vec![words("del KEY other dest")]);
        self.steps.push(Step { connection: here, requests: vec![words(block)], wait: Wait::Blocked });
        self.step(there, vec![words(wake)]);
        self.step(here, Vec::new());
    }

    /// One connection listens, another one speaks.
    fn channels(&mut self, here: usize, there: usize) {
        let tag = self.dice.pick(&TAGS);
        let names = [format!("{tag}news"), format!("{tag}weather"), "far".to_owned()];
        let word = |at: usize| names[at].as_str();
        let (begin, end, say): (&[&str], &str, &str) = match self.dice.below(4) {
            0 => (&["subscribe", word(0), word(1)], "unsubscribe", "publish"),
            1 => (&["psubscribe", "{*}n?ws", "*"], "punsubscribe", "publish"),
            2 => (&["ssubscribe", word(0), word(1)], "sunsubscribe", "spublish"),
            _ => (&["subscribe", word(2), word(2), word(0)], "unsubscribe", "publish"),
        };
        self.step(here, vec![Request::of(begin)]);
        for _ in 0..=self.dice.below(4) {
            let request = match self.dice.below(6) {
                0 => Request::of(&["pubsub", "numsub", word(0), word(2)]),
                1 => Request::of(&["pubsub", "channels", "*"]),
                2 => Request::of(&["pubsub", "numpat"]),
                at => Request::of(&[say, word(at % 3), "hello"]),
            };
            self.step(there, vec![request]);
        }
        if self.dice.once_in(3) {
            self.step(here, vec![Request::of(&["get", "x"])]);
        }
        let first = begin[1];
        self.step(here, vec![Request::of(&[end, first])]);
        self.step(here, vec![Request::of(&[end])]);
    }

    /// One request of any family.
    fn request(&mut self) -> Request {
        self.tag = self.dice.pick(&TAGS);
        self.request_of(|_| true)
    }

    /// One request whose keys have the current tag, mostly.
    fn request_of(&mut self, wanted: impl Fn(&Template) -> bool) -> Request {
        let template = self.template(wanted);
        let split = SPLIT.contains(&template.name);
        let (cross, damage) = match self.anchor {
            Anchor::OneNode => (
                template.several_keys && !split && !self.watches && self.dice.once_in(8),
                !split && self.may_spread,
            ),
            Anchor::Standalone => (
                split && self.may_spread && self.dice.once_in(2),
                self.may_spread && (split || !template.several_keys && !MORE_KEYS.contains(&template.name)),
            ),
        };
        let tag = self.tag;
        if cross {
            self.tag = "";
        }
        let drawn = template.draw(&mut self.dice);
        let mut words = self.fill(&drawn);
        // SPOP of some members is random and would leave different data behind.
        if damage && template.name != "spop" && self.dice.once_in(10) {
            self.words().damage(&mut words);
        }
        self.tag = tag;
        if self.dice.once_in(20) {
            words[0].make_ascii_uppercase();
        }
        let plain = |word: &Vec<u8>| !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric);
        let inline = words.iter().all(plain) && self.dice.once_in(4);
        Request { words, form: if inline { Form::Inline } else { Form::Array } }
    }

    fn template(&mut self, wanted: impl Fn(&Template) -> bool) -> &'a Template {
        let author = self.author;
        let total: usize = author.families.iter().map(|(weight, _)| weight).sum();
        loop {
            let mut at = self.dice.below(total);
            let family = author.families.iter().find(|(weight, _)| {
                let here = at < *weight;
                at = at.saturating_sub(*weight);
                here
            });
            let (_, templates) = family.expect("a number below the total");
            let template = &templates[self.dice.below(templates.len())];
            if wanted(template) && !(template.cluster_only && self.anchor == Anchor::Standalone) {
                return template;
            }
        }
    }

    fn words(&mut self) -> Words<'_> {
        let wrong_counts = self.anchor == Anchor::OneNode;
        Words { dice: &mut self.dice, tag: self.tag, tags: &TAGS, wrong_counts }
    }

    fn fill(&mut self, drawn: &Drawn) -> Vec<Vec<u8>> {
        self.words().fill(drawn)
    }
}
