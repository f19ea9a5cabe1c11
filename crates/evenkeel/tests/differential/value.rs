//! A reply as a tree, for the few comparisons that are not byte by byte.
//!
//! A parser of its own, so that the gateway's reader is not its own judge.

/// One value of either protocol. Lines keep their kind and text; attributes count as aggregates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Line(u8, Vec<u8>),
    Bulk(u8, Option<Vec<u8>>),
    Many(u8, Option<Vec<Value>>),
}

impl Value {
    /// The value that `bytes` hold, if it is exactly one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Value> {
        let (value, rest) = next(bytes, 64)?;
        rest.is_empty().then_some(value)
    }

    /// The elements of an aggregate.
    pub(crate) fn elements(&self) -> Option<&[Value]> {
        match self {
            Value::Many(_, Some(elements)) => Some(elements),
            Value::Many(_, None) | Value::Line(..) | Value::Bulk(..) => None,
        }
    }

    /// The text of a bulk or a line.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Line(_, text) | Value::Bulk(_, Some(text)) => Some(text),
            Value::Bulk(_, None) | Value::Many(..) => None,
        }
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Value::Line(b':', text) => std::str::from_utf8(text).ok()?.parse().ok(),
            Value::Line(..) | Value::Bulk(..) | Value::Many(..) => None,
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Value::Line(b'-', _) | Value::Bulk(b'!', _))
    }

    /// The kinds and sizes without the contents.
    pub(crate) fn shape(&self) -> Value {
        match self {
            Value::Line(kind, _) => Value::Line(*kind, Vec::new()),
            Value::Bulk(kind, text) => Value::Bulk(*kind, text.as_ref().map(|_| Vec::new())),
            Value::Many(kind, elements) => {
                Value::Many(*kind, elements.as_ref().map(|all| all.iter().map(Value::shape).collect()))
            }
        }
    }

    /// Whether there is an aggregate in it.
    pub(crate) fn is_nested(&self) -> bool {
        self.elements().is_some_and(|all| all.iter().any(|element| matches!(element, Value::Many(..))))
    }

    /// The same with the elements of every aggregate in it sorted.
    pub(crate) fn all_sorted(&self) -> Value {
        match self {
            Value::Many(kind, Some(elements)) => {
                let mut elements: Vec<Value> = elements.iter().map(Value::all_sorted).collect();
                elements.sort();
                Value::Many(*kind, Some(elements))
            }
            Value::Many(_, None) | Value::Line(..) | Value::Bulk(..) => self.clone(),
        }
    }

    /// The same with its elements sorted, `group` of them at a time.
    pub(crate) fn sorted(&self, group: usize) -> Value {
        match self {
            Value::Many(kind, Some(elements)) => {
                let mut groups: Vec<&[Value]> = elements.chunks(group).collect();
                groups.sort();
                Value::Many(*kind, Some(groups.concat()))
            }
            Value::Many(_, None) | Value::Line(..) | Value::Bulk(..) => self.clone(),
        }
    }
}

fn next(bytes: &[u8], depth: usize) -> Option<(Value, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (head, rest) = (&bytes[..end], &bytes[end + 2..]);
    let (&kind, text) = head.split_first()?;
    match kind {
        b'$' | b'!' | b'=' => {
            let Some(len) = length(text)? else { return Some((Value::Bulk(kind, None), rest)) };
            let (content, end) = (rest.get(..len)?, rest.get(len..len + 2)?);
            (end == b"\r\n").then(|| (Value::Bulk(kind, Some(content.to_vec())), &rest[len + 2..]))
        }
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let Some(len) = length(text)? else { return Some((Value::Many(kind, None), rest)) };
            let len = if matches!(kind, b'%' | b'|') { len * 2 } else { len };
            let (mut elements, mut rest) = (Vec::new(), rest);
            for _ in 0..len {
                let (element, after) = next(rest, depth.checked_sub(1)?)?;
                elements.push(element);
                rest = after;
            }
            Some((Value::Many(kind, Some(elements)), rest))
        }
        _ => Some((Value::Line(kind, text.to_vec()), rest)),
    }
}

/// A length; `Some(None)` where it says that there is no value.
fn length(text: &[u8]) -> Option<Option<usize>> {
    let len: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(usize::try_from(len).ok())
}
