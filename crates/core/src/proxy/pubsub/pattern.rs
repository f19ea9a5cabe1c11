//! Glob patterns as the server understands them (`util.c`: `stringmatchlen`), without its recursion.

/// Starts of channels that keyspace notifications come on.
const KEYSPACE: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

/// Whether a channel is one of keyspace notifications.
pub(super) fn is_of_keyspace(channel: &[u8]) -> bool {
    KEYSPACE.iter().any(|start| channel.starts_with(start))
}

/// Whether a pattern may match a channel of keyspace notifications.
pub(super) fn may_be_of_keyspace(pattern: &[u8]) -> bool {
    KEYSPACE.iter().any(|start| {
        let mut rest = pattern;
        for byte in *start {
            match element(rest) {
                Some((Element::Any, _)) => return true,
                Some((element, after)) if element.takes(*byte) => rest = after,
                Some(_) | None => return false,
            }
        }
        true
    })
}

/// Whether a pattern matches a text.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut at) = (pattern, 0);
    // What is behind the last `*`, and from where on it is tried: an earlier `*` needs no second try.
    let mut star: Option<(&[u8], usize)> = None;
    loop {
        match element(rest) {
            Some((Element::Any, after)) => {
                (rest, star) = (after, Some((after, at)));
                continue;
            }
            Some((element, after)) if at < text.len() && element.takes(text[at]) => {
                (rest, at) = (after, at + 1);
                continue;
            }
            None if at == text.len() => return true,
            Some(_) | None => {}
        }
        match star {
            Some((after, from)) if from < text.len() => {
                (rest, at, star) = (after, from + 1, Some((after, from + 1)));
            }
            Some(_) | None => return false,
        }
    }
}

/// What stands for one byte, or for any number of them.
#[derive(Clone, Copy, Debug)]
enum Element<'a> {
    Any,
    One,
    Byte(u8),
    /// `[…]`, without the brackets.
    Class(&'a [u8]),
}

/// The first element of a pattern and what is behind it.
fn element(pattern: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (first, rest) = pattern.split_first()?;
    Some(match first {
        b'*' => (Element::Any, rest),
        b'?' => (Element::One, rest),
        b'\\' if !rest.is_empty() => (Element::Byte(rest[0]), &rest[1..]),
        b'[' => {
            let end = class_end(rest);
            (Element::Class(&rest[..end]), rest.get(end + 1..).unwrap_or_default())
        }
        byte => (Element::Byte(*byte), rest),
    })
}

/// Where the bracket that closes a class is; the end of the pattern where there is none.
fn class_end(class: &[u8]) -> usize {
    let mut at = usize::from(class.first() == Some(&b'^'));
    while at < class.len() {
        match class[at] {
            b'\\' if at + 1 < class.len() => at += 2,
            b']' => return at,
            _ if at + 2 < class.len() && class[at + 1] == b'-' => at += 3,
            _ => at += 1,
        }
    }
    class.len()
}

impl Element<'_> {
    fn takes(self, byte: u8) -> bool {
        match self {
            Element::Any | Element::One => true,
            Element::Byte(wanted) => wanted == byte,
            Element::Class(class) => {
                let not = class.first() == Some(&b'^');
                is_in(&class[usize::from(not)..], byte) != not
            }
        }
    }
}

fn is_in(mut class: &[u8], byte: u8) -> bool {
    loop {
        let taken = match class {
            [] => return false,
            [b'\\', one, rest @ ..] => (*one == byte, rest),
            [from, b'-', to, rest @ ..] => ((*from.min(to)..=*from.max(to)).contains(&byte), rest),
            [one, rest @ ..] => (*one == byte, rest),
        };
        if taken.0 {
            return true;
        }
        class = taken.1;
    }
}

#[cfg(test)]
mod tests {
    use super::{matches, may_be_of_keyspace};

    #[test]
    fn patterns_match_as_the_servers_do() {
        for (pattern, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "abc"], &[]),
            ("a*c", &["ac", "abc", "abcbc"], &["acb", "a"]),
            ("*a*b*", &["xaxbx", "ab"], &["ba"]),
            ("h?llo", &["hello", "hallo"], &["hllo", "heello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo"]),
            ("h[^e]llo", &["hallo"], &["hello"]),
            ("h[a-c]llo", &["hbllo"], &["hdllo"]),
            ("h[c-a]llo", &["hbllo"], &["hdllo"]),
            ("a\\*", &["a*"], &["ab", "a\\*"]),
            ("a\\", &["a\\"], &["a"]),
            ("[\\]]", &["]"], &["\\"]),
            ("[", &[], &["["]),
            ("[a", &["a"], &["b"]),
            ("[]a", &[], &["a", "]a"]),
            ("[^]a", &["xa"], &["a"]),
            ("news.*.de", &["news.a.de", "news.a.b.de"], &["news.de"]),
        ] {
            yes.iter()
                .for_each(|text| assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}"));
            no.iter()
                .for_each(|text| assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}"));
        }
        let (many, long) = ("a*".repeat(60) + "b", "a".repeat(5000));
        assert!(!matches(many.as_bytes(), long.as_bytes()));
    }

    #[test]
    fn keyspace_patterns_are_told_from_others() {
        for pattern in
            ["*", "__key*", "__keyevent@0__:set", "__key[es]*", "_?keyspace@*:foo", "\\__key*", "__keyspace@"]
        {
            assert!(may_be_of_keyspace(pattern.as_bytes()), "{pattern}");
        }
        for pattern in
            ["", "a*", "__key", "__keyspac*x"[..9].trim_end_matches('*'), "news.*", "__keyspaces@*"]
        {
            assert!(!may_be_of_keyspace(pattern.as_bytes()), "{pattern}");
        }
    }
}
