//! What happened last in a world, kept cheaply: nothing is put into words unless somebody reads it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

/// So many events are kept.
const KEPT: usize = 300;
/// So many bytes of each are.
const SHOWN: usize = 72;

/// Whom an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Client(u64),
    Node(usize),
    Gateway,
    Control,
}

/// The last events of one world; every part of it has the same one.
#[derive(Clone)]
pub(crate) struct Trace(Rc<RefCell<Ring>>);

struct Ring {
    now: u64,
    events: VecDeque<Event>,
    /// Whether each event is printed when it happens, whole.
    aloud: bool,
}

struct Event {
    at: u64,
    who: Who,
    verb: &'static str,
    detail: Detail,
}

enum Detail {
    Bytes { start: [u8; SHOWN], len: usize },
    Words(Box<str>),
}

impl Trace {
    pub(crate) fn new(aloud: bool) -> Self {
        Trace(Rc::new(RefCell::new(Ring { now: 0, events: VecDeque::with_capacity(KEPT), aloud })))
    }

    /// From now on events happen at this time, in microseconds.
    pub(crate) fn clock(&self, now: u64) {
        self.0.borrow_mut().now = now;
    }

    /// Somebody does something with bytes.
    pub(crate) fn bytes(&self, who: Who, verb: &'static str, bytes: &[u8]) {
        let mut start = [0; SHOWN];
        let kept = bytes.len().min(SHOWN);
        start[..kept].copy_from_slice(&bytes[..kept]);
        let mut ring = self.0.borrow_mut();
        if ring.aloud {
            println!("{} {who} {verb} {}", Time(ring.now), bytes.escape_ascii());
        }
        ring.note(who, verb, Detail::Bytes { start, len: bytes.len() });
    }

    /// Something rare happens, which is worth words.
    pub(crate) fn words(&self, who: Who, words: impl Into<Box<str>>) {
        let (mut ring, words) = (self.0.borrow_mut(), words.into());
        if ring.aloud {
            println!("{} {who} {words}", Time(ring.now));
        }
        ring.note(who, "", Detail::Words(words));
    }
}

impl Ring {
    fn note(&mut self, who: Who, verb: &'static str, detail: Detail) {
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(Event { at: self.now, who, verb, detail });
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.0.borrow().events {
            write!(out, "{} {} ", Time(event.at), event.who)?;
            match &event.detail {
                Detail::Words(words) => writeln!(out, "{words}")?,
                Detail::Bytes { start, len } => {
                    let more = if *len > SHOWN { "…" } else { "" };
                    let shown = start[..(*len).min(SHOWN)].escape_ascii();
                    writeln!(out, "{} {shown}{more}", event.verb)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Who {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Client(number) => write!(out, "client {number}"),
            Who::Node(at) => write!(out, "n{at:02}"),
            Who::Gateway => out.write_str("gateway"),
            Who::Control => out.write_str("control"),
        }
    }
}

/// Microseconds as seconds.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:>11.6}", self.0 as f64 / 1e6)
    }
}
