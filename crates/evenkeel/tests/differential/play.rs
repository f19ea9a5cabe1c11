//! Plays a script to both sides, step by step, and compares what they answer.

use super::link::{End, Link};
use super::rules::{Verdict, WALKS, compare, compare_exec};
use super::script::{Anchor, Form, Request, Script, Step, Wait};
use super::value::Value;
use super::words::{LIBRARY, SCRIPTS};
use crate::stage::raw::{request, shown};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a reply is waited for. A script that blocks for ever is not an error if both sides do. Times to wait are drawn among
/// other numbers, such as 3.5 and 5, and this is none of them.
const PATIENCE: Duration = Duration::from_millis(4_200);

/// The two kinds of anchors and the gateway.
pub(crate) struct Sides {
    pub(crate) gateway: SocketAddr,
    pub(crate) standalone: SocketAddr,
    pub(crate) one_node: SocketAddr,
}

/// The first difference of a script.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    /// The step and, where it is known, the request.
    pub(crate) at: String,
    pub(crate) expected: String,
    pub(crate) got: String,
}

impl Difference {
    /// What differs, without the words that vary: the command, and how both replies begin.
    pub(crate) fn kind(&self) -> String {
        let name = self.at.split(' ').next().unwrap_or_default().to_lowercase();
        let start = |text: &str| -> String {
            let letters = text.chars().take(40).filter(|letter| !letter.is_ascii_digit());
            if text.starts_with('-') { letters.collect() } else { text.chars().take(1).collect() }
        };
        format!("{name} {} {}", start(&self.expected), start(&self.got))
    }

    pub(crate) fn is_like(&self, other: &Difference) -> bool {
        self.kind() == other.kind()
    }
}

/// How often each rule was needed.
pub(crate) type Used = BTreeMap<usize, u64>;

/// Plays a script; the first difference, if there is one.
pub(crate) fn play(sides: &Sides, script: &Script, used: &mut Used) -> Option<Difference> {
    let anchor = match script.anchor {
        Anchor::Standalone => sides.standalone,
        Anchor::OneNode => sides.one_node,
    };
    for side in [anchor, sides.gateway] {
        clear(side);
    }
    let mut pairs: Vec<Pair> = script
        .protos
        .iter()
        .map(|proto| Pair::connect(script.anchor, anchor, sides.gateway, *proto))
        .collect();
    let play = script.steps.iter().enumerate().try_for_each(|(at, step)| {
        let pair = &mut pairs[step.connection];
        match pair.step(step, at, used) {
            Ok(()) => Ok(()),
            Err(stop) => Err(stop),
        }
    });
    match play {
        Ok(()) | Err(Stop::Both) => None,
        Err(Stop::Difference(difference)) => Some(*difference),
    }
}

/// Why a script does not go on.
enum Stop {
    Difference(Box<Difference>),
    /// Both sides closed the connection or are silent.
    Both,
}

/// An empty server with the library of functions.
fn clear(side: SocketAddr) {
    let mut link = Link::connect(side);
    let requests: [&[&str]; 6] = [
        &["flushall"],
        &["script", "flush"],
        &["function", "flush"],
        &["function", "load", LIBRARY],
        &["script", "load", SCRIPTS[0]],
        &["script", "load", SCRIPTS[1]],
    ];
    for words in requests {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        link.send(&request(&words));
        let reply = link.frame(Instant::now() + 4 * PATIENCE);
        let reply = reply.unwrap_or_else(|end| panic!("{side} does not answer {}: {end:?}", shown(words[0])));
        assert!(!reply.starts_with(b"-"), "{side}: {}", shown(&reply));
    }
}

/// One connection of a script: to the anchor and to the gateway.
struct Pair {
    /// What the anchor is.
    kind: Anchor,
    anchor: Link,
    gateway: Link,
    /// Requests that still block.
    blocked: Vec<Request>,
    /// What is queued since MULTI.
    queued: Option<Vec<Request>>,
    tag: u64,
}

/// What one side sent in a step.
#[derive(Default)]
struct Heard {
    replies: Vec<Vec<u8>>,
    pushes: Vec<Vec<u8>>,
}

impl Pair {
    fn connect(kind: Anchor, anchor: SocketAddr, gateway: SocketAddr, proto: u8) -> Pair {
        let mut pair = Pair {
            kind,
            anchor: Link::connect(anchor),
            gateway: Link::connect(gateway),
            blocked: Vec::new(),
            queued: None,
            tag: 0,
        };
        for link in [&mut pair.anchor, &mut pair.gateway] {
            link.send(format!("HELLO {proto}\r\n").as_bytes());
            link.frame(Instant::now() + PATIENCE).expect("an answer to HELLO");
        }
        pair
    }

    fn step(&mut self, step: &Step, at: usize, used: &mut Used) -> Result<(), Stop> {
        let mut bytes = Vec::new();
        step.requests.iter().for_each(|request| encode(request, &mut bytes));
        let mut asked = std::mem::take(&mut self.blocked);
        asked.extend(step.requests.iter().cloned());
        if step.wait == Wait::Blocked {
            self.anchor.send(&bytes);
            self.gateway.send(&bytes);
            self.blocked = asked;
            return Ok(());
        }
        if let [walk] = step.requests.as_slice()
            && walk.is_walk()
            && self.queued.is_none()
            && walk.words.get(walk.cursor_at()).is_some_and(|cursor| cursor == b"0")
        {
            return self.walk(walk, at, used);
        }
        let end = if after(self.queued.is_some(), &asked) {
            Until::Count(asked.len())
        } else {
            self.sentinel(&mut bytes)
        };
        self.anchor.send(&bytes);
        self.gateway.send(&bytes);
        let deadline = Instant::now() + PATIENCE;
        let expected = hear(&mut self.anchor, &end, 0, deadline);
        // where one says nothing, the other has had as long
        let (pushes, deadline) = match &expected {
            Ok(heard) => (heard.pushes.len(), Instant::now() + PATIENCE),
            Err(_) => (0, deadline),
        };
        let got = hear(&mut self.gateway, &end, pushes, deadline);
        let (expected, got) = match (expected, got) {
            (Ok(expected), Ok(got)) => (expected, got),
            (Err((one, _)), Err((other, _))) if one == other => return Err(Stop::Both),
            (expected, got) => {
                let show = |heard: Result<Heard, (End, Heard)>| match heard {
                    Ok(heard) => show_all(&heard),
                    Err((end, heard)) => format!("{end:?} after {}", show_all(&heard)),
                };
                return Err(difference(at, None, &show(expected), &show(got)));
            }
        };
        self.compare(&asked, &expected, &got, at, used)
    }

    /// Ends a batch with a PING that is told from every other reply.
    fn sentinel(&mut self, bytes: &mut Vec<u8>) -> Until {
        self.tag += 1;
        let tag = format!("end-of-step-{}", self.tag);
        bytes.extend(request(&[b"PING", tag.as_bytes()]));
        Until::Tag(tag.into_bytes())
    }

    fn compare(
        &mut self,
        asked: &[Request],
        expected: &Heard,
        got: &Heard,
        at: usize,
        used: &mut Used,
    ) -> Result<(), Stop> {
        let attributed = expected.replies.len() == asked.len();
        if expected.replies.len() != got.replies.len() {
            return Err(difference(at, None, &show_all(expected), &show_all(got)));
        }
        for (i, (one, other)) in expected.replies.iter().zip(&got.replies).enumerate() {
            let request = asked.get(i).filter(|_| attributed);
            let verdict = match (request, &self.queued) {
                (Some(request), Some(queued)) if request.is("exec") => {
                    compare_exec(self.kind, request, queued, one, other)
                }
                _ => compare(self.kind, request, one, other),
            };
            match verdict {
                Verdict::Same => {}
                Verdict::Allowed(rule) => *used.entry(rule).or_default() += 1,
                Verdict::Different => {
                    return Err(difference(at, request, &shown_long(one), &shown_long(other)));
                }
            }
            if let Some(request) = request {
                self.follow(request, one);
            }
        }
        if !attributed {
            asked.iter().for_each(|request| self.follow(request, b"+QUEUED\r\n"));
        }
        if in_order(&expected.pushes) != in_order(&got.pushes) {
            let show = |pushes: &[Vec<u8>]| format!("pushes {}", show_list(pushes));
            return Err(difference(at, None, &show(&expected.pushes), &show(&got.pushes)));
        }
        Ok(())
    }

    /// Keeps account of what is queued.
    fn follow(&mut self, request: &Request, reply: &[u8]) {
        let inside = after(self.queued.is_some(), std::slice::from_ref(request));
        match (&mut self.queued, inside) {
            (Some(_), false) => self.queued = None,
            (None, true) => self.queued = Some(Vec::new()),
            (Some(queued), true) if reply == b"+QUEUED\r\n" => queued.push(request.clone()),
            (Some(_), true) | (None, false) => {}
        }
    }

    /// Walks to the end on both sides and compares everything that was found.
    fn walk(&mut self, walk: &Request, at: usize, used: &mut Used) -> Result<(), Stop> {
        let expected = walked(&mut self.anchor, walk);
        let got = walked(&mut self.gateway, walk);
        match (expected, got) {
            (Ok(expected), Ok(got)) if expected == got => {
                *used.entry(WALKS).or_default() += 1;
                Ok(())
            }
            (Err(one), Err(other)) if one == other => Ok(()),
            (expected, got) => Err(difference(at, Some(walk), &format!("{expected:?}"), &format!("{got:?}"))),
        }
    }
}

/// How the end of a step's replies is known.
enum Until {
    Tag(Vec<u8>),
    Count(usize),
}

/// Whether a connection is inside of a transaction after these requests.
fn after(inside: bool, requests: &[Request]) -> bool {
    requests.iter().fold(inside, |inside, request| match request.words.len() {
        1 if request.is("multi") => true,
        1 if request.is("exec") || request.is("discard") || request.is("reset") => false,
        _ => inside,
    })
}

fn encode(one: &Request, bytes: &mut Vec<u8>) {
    match one.form {
        Form::Array => bytes.extend(request(&one.words.iter().map(Vec::as_slice).collect::<Vec<_>>())),
        Form::Inline => {
            bytes.extend(one.words.join(&b' '));
            bytes.extend(b"\r\n");
        }
    }
}

/// Hears one side out, and waits for as many pushes as the other side had.
fn hear(link: &mut Link, end: &Until, pushes: usize, deadline: Instant) -> Result<Heard, (End, Heard)> {
    let mut heard = Heard::default();
    let mut ended = matches!(end, Until::Count(0));
    while !ended || heard.pushes.len() < pushes {
        let frame = match link.frame(deadline) {
            Ok(frame) => frame,
            Err(_) if ended => return Ok(heard),
            Err(end) => return Err((end, heard)),
        };
        match end {
            _ if is_push(&frame) => heard.pushes.push(frame),
            Until::Tag(tag) if is_tag(&frame, tag) => ended = true,
            Until::Tag(_) => heard.replies.push(frame),
            Until::Count(count) => {
                heard.replies.push(frame);
                ended = heard.replies.len() == *count;
            }
        }
    }
    Ok(heard)
}

/// Messages of RESP2 are told by their first word.
fn is_push(frame: &[u8]) -> bool {
    let message = [&b"*3\r\n$7\r\nmessage\r\n"[..], b"*4\r\n$8\r\npmessage\r\n", b"*3\r\n$8\r\nsmessage\r\n"];
    frame.starts_with(b">") || message.iter().any(|start| frame.starts_with(start))
}

/// Several patterns may match one message, and a server goes through its patterns in the order of a hash table; so too through
/// the channels of who leaves all of them, and counts down.
fn in_order(pushes: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let says = |push: &Vec<u8>, word: &[u8]| push.windows(word.len()).any(|part| part == word);
    let both = |one: &Vec<u8>, other: &Vec<u8>, word: &[u8]| says(one, word) && says(other, word);
    let mut ordered = pushes.to_vec();
    ordered.chunk_by_mut(|one, other| both(one, other, b"pmessage")).for_each(<[Vec<u8>]>::sort);
    for left in
        ordered.chunk_by_mut(|one, other| both(one, other, b"unsubscribe")).filter(|left| left.len() > 1)
    {
        let count_at = |push: &[u8]| push.iter().rposition(|sign| *sign == b':').unwrap_or(push.len());
        let counts: Vec<Vec<u8>> = left.iter().map(|push| push[count_at(push)..].to_vec()).collect();
        left.iter_mut().for_each(|push| push.truncate(count_at(push)));
        left.sort();
        left.iter_mut().zip(counts).for_each(|(push, count)| push.extend(count));
    }
    ordered
}

/// PING's answer; in RESP2 a subscriber gets an array.
fn is_tag(frame: &[u8], tag: &[u8]) -> bool {
    frame.len() < tag.len() + 40
        && frame.ends_with(&[tag, b"\r\n"].concat())
        && matches!(frame[0], b'$' | b'*')
}

/// Everything that a walk finds; the error if that is its answer.
fn walked(link: &mut Link, walk: &Request) -> Result<BTreeSet<Vec<Value>>, String> {
    let group = if walk.is("hscan") || walk.is("zscan") { 2 } else { 1 };
    let (mut found, mut words) = (BTreeSet::new(), walk.words.clone());
    for _ in 0..10_000 {
        link.send(&request(&words.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        let reply = link.frame(Instant::now() + PATIENCE).map_err(|end| format!("{end:?}"))?;
        let value = Value::parse(&reply).ok_or("not a reply")?;
        let [cursor, elements] = value.elements().unwrap_or_default() else { return Err(shown_long(&reply)) };
        let elements = elements.elements().ok_or_else(|| shown_long(&reply))?;
        found.extend(elements.chunks(group).map(<[Value]>::to_vec));
        let cursor = cursor.text().ok_or_else(|| shown_long(&reply))?.to_vec();
        if cursor == b"0" {
            return Ok(found);
        }
        words[walk.cursor_at()] = cursor;
    }
    Err("the walk does not end".to_owned())
}

fn difference(step: usize, request: Option<&Request>, expected: &str, got: &str) -> Stop {
    let at = request.map_or_else(|| format!("step {step}"), Request::to_string);
    Stop::Difference(Box::new(Difference { at, expected: expected.to_owned(), got: got.to_owned() }))
}

fn show_all(heard: &Heard) -> String {
    format!(
        "{} replies {}, pushes {}",
        heard.replies.len(),
        show_list(&heard.replies),
        show_list(&heard.pushes)
    )
}

fn show_list(frames: &[Vec<u8>]) -> String {
    frames.iter().map(|frame| shown(frame)).collect::<Vec<_>>().join(" ")
}

fn shown_long(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(1500)].escape_ascii().to_string()
}
