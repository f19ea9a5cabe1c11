//! What is played: a few connections and steps on them.

use std::fmt;

/// The server whose replies are the expected ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// One server without cluster mode: what is split over slots has to look like one server.
    Standalone,
    /// One server that owns all slots of a cluster: everything else, with the errors of a cluster.
    OneNode,
}

/// A request: its words, and whether it is sent as a line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Array,
    Inline,
}

impl Request {
    pub(crate) fn of(words: &[&str]) -> Request {
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        Request { words, form: Form::Array }
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.words.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// The commands that walk through something, a part in each reply.
const WALKS: [&str; 4] = ["scan", "hscan", "sscan", "zscan"];

impl Request {
    pub(crate) fn is_walk(&self) -> bool {
        WALKS.iter().any(|name| self.is(name))
    }

    /// Where a walk's cursor stands.
    pub(crate) fn cursor_at(&self) -> usize {
        if self.is("scan") { 1 } else { 2 }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            let plain = !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"');
            out.write_str(if at > 0 { " " } else { "" })?;
            match plain {
                true if word.len() < 200 => write!(out, "{}", word.escape_ascii())?,
                true => write!(out, "<{} times {}>", word.len(), word[0].escape_ascii())?,
                false => write!(out, "\"{}\"", word[..word.len().min(200)].escape_ascii())?,
            }
        }
        out.write_str(if self.form == Form::Inline { "   (inline)" } else { "" })
    }
}

/// What one connection sends at once, and how its replies are awaited.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) connection: usize,
    pub(crate) requests: Vec<Request>,
    pub(crate) wait: Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until everything is answered.
    Answered,
    /// Not at all: the request blocks.
    Blocked,
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) anchor: Anchor,
    /// The protocol of each connection.
    pub(crate) protos: Vec<u8>,
    pub(crate) steps: Vec<Step>,
}

impl Script {
    pub(crate) fn len(&self) -> usize {
        self.steps.iter().map(|step| step.requests.len()).sum()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Script { seed, anchor, protos, .. } = self;
        writeln!(out, "seed {seed}, beside {anchor:?}, protocols {protos:?}")?;
        for step in &self.steps {
            for (at, request) in step.requests.iter().enumerate() {
                let mark = if at > 0 { "+" } else { ">" };
                let wait = if step.wait == Wait::Blocked { "   (left waiting)" } else { "" };
                writeln!(out, "  {}{mark} {request}{wait}", step.connection)?;
            }
        }
        Ok(())
    }
}
