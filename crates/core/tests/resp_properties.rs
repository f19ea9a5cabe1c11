//! Properties of the readers: they survive any bytes, it does not matter how the bytes are cut, and what they accept
//! is what the `redis` crate's parser accepts.
//!
//! The two differ where one of them has a reason to. The reply scan looks for a reply's end and leaves its content to
//! the client, so it does not read numbers, texts or the CRLF behind a bulk ([`Oddity::for_client`]). It is stricter
//! in what frames a reply: lengths as the server writes them, no LF inside a line ([`Oddity::for_framing`]).

use evenkeel_core::resp::{
    Elements, Limits, ProtocolError, Read, ReplyScan, RequestReader, Scan, Span, Unauthenticated, Writer,
    integer, parse_i64, split_inline, text,
};
use evenkeel_core::topology::{Topology, View, adopt};
use proptest::collection::vec;
use proptest::prelude::*;
use redis::Value;

/// A reply as a tree, to be written.
#[derive(Clone, Debug)]
enum Tree {
    /// A type byte and a line of its kind.
    Line(u8, String),
    /// `$`, `!` or `=` with bytes.
    Blob(u8, Vec<u8>),
    /// `$-1` or `*-1`.
    Null(u8),
    /// `*`, `~` or `>` with elements.
    List(u8, Vec<Tree>),
    /// `%` with pairs.
    Map(Vec<(Tree, Tree)>),
    /// `|` with pairs, and the value behind them.
    Attribute(Vec<(Tree, Tree)>, Box<Tree>),
}

impl Tree {
    fn write(&self, out: &mut Vec<u8>) {
        let mut head = |kind: u8, text: &str| {
            out.push(kind);
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        };
        match self {
            Tree::Line(kind, line) => head(*kind, line),
            Tree::Null(kind) => head(*kind, "-1"),
            Tree::Blob(kind, bytes) => {
                head(*kind, &bytes.len().to_string());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Tree::List(kind, items) => {
                head(*kind, &items.len().to_string());
                items.iter().for_each(|item| item.write(out));
            }
            Tree::Map(pairs) => {
                head(b'%', &pairs.len().to_string());
                pairs.iter().for_each(|(key, value)| (key.write(out), value.write(out)).1);
            }
            Tree::Attribute(pairs, value) => {
                head(b'|', &pairs.len().to_string());
                pairs.iter().for_each(|(key, value)| (key.write(out), value.write(out)).1);
                value.write(out);
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

fn leaf() -> impl Strategy<Value = Tree> {
    prop_oneof![
        "[ -~é]{0,20}".prop_map(|line| Tree::Line(b'+', line)),
        "[A-Z]{1,8} [ -~]{0,20}".prop_map(|line| Tree::Line(b'-', line)),
        any::<i64>().prop_map(|number| Tree::Line(b':', number.to_string())),
        any::<f64>().prop_map(|number| Tree::Line(b',', number.to_string())),
        prop_oneof![Just("inf"), Just("-inf"), Just("nan")]
            .prop_map(|text| Tree::Line(b',', text.to_owned())),
        "-?[1-9][0-9]{0,60}".prop_map(|number| Tree::Line(b'(', number)),
        prop_oneof![Just("t"), Just("f")].prop_map(|bit| Tree::Line(b'#', bit.to_owned())),
        Just(Tree::Line(b'_', String::new())),
        Just(Tree::Null(b'$')),
        Just(Tree::Null(b'*')),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Tree::Blob(b'$', bytes)),
        "[A-Z]{1,8} [ -~\r\n]{0,20}".prop_map(|text| Tree::Blob(b'!', text.into_bytes())),
        "(txt|mkd):[ -~\r\n]{0,20}".prop_map(|text| Tree::Blob(b'=', text.into_bytes())),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        let pairs = || vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            (prop_oneof![Just(b'*'), Just(b'~')], vec(inner.clone(), 0..6))
                .prop_map(|(kind, items)| Tree::List(kind, items)),
            ("[a-z]{1,10}", vec(inner.clone(), 0..4)).prop_map(|(kind, mut items)| {
                items.insert(0, Tree::Blob(b'$', kind.into_bytes()));
                Tree::List(b'>', items)
            }),
            pairs().prop_map(Tree::Map),
            (pairs(), inner.clone()).prop_map(|(pairs, value)| Tree::Attribute(pairs, Box::new(value))),
        ]
    })
}

/// A small injury to valid bytes.
#[derive(Clone, Debug)]
enum Injury {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Drop(prop::sample::Index),
    Cut(prop::sample::Index),
}

fn injury() -> impl Strategy<Value = Injury> {
    let byte = || {
        prop_oneof![
            3 => prop::sample::select(b"+-:,(#_$!=*~>%|0123456789\r\n \0aZ".to_vec()),
            1 => any::<u8>(),
        ]
    };
    prop_oneof![
        4 => (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Injury::Set(at, byte)),
        2 => (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Injury::Insert(at, byte)),
        2 => any::<prop::sample::Index>().prop_map(Injury::Drop),
        1 => any::<prop::sample::Index>().prop_map(Injury::Cut),
    ]
}

fn injured(mut bytes: Vec<u8>, injuries: &[Injury]) -> Vec<u8> {
    for injury in injuries {
        if bytes.is_empty() {
            break;
        }
        match injury {
            Injury::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Injury::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Injury::Drop(at) => drop(bytes.remove(at.index(bytes.len()))),
            Injury::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

/// What the bytes at the start are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A reply of this many bytes.
    Whole(usize),
    /// The beginning of one.
    Begun,
    /// Neither.
    Broken,
}

/// Where the two parsers may differ.
#[derive(Clone, Copy, Debug, Default)]
struct Oddity {
    /// A number, text, push kind or format that means nothing, or a bulk without CRLF: the client's business.
    for_client: bool,
    /// A length that the server would not write, or LF inside a line: no frame for the gateway.
    for_framing: bool,
    /// Announces so much that the other parser would reserve too much memory: it is not asked.
    huge: bool,
}

/// A plain recursive reader with the grammar of both parsers together; notes where they part.
struct Reference<'a> {
    bytes: &'a [u8],
    at: usize,
    odd: Oddity,
}

impl<'a> Reference<'a> {
    fn shape(bytes: &'a [u8]) -> (Shape, Oddity) {
        let mut reference = Reference { bytes, at: 0, odd: Oddity::default() };
        let shape = match reference.value() {
            Ok(_) => Shape::Whole(reference.at),
            Err(shape) => shape,
        };
        (shape, reference.odd)
    }

    fn line(&mut self) -> Result<&'a [u8], Shape> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        if rest[..end.unwrap_or(rest.len())].contains(&b'\n') {
            self.odd.for_framing = true;
        }
        let end = end.ok_or(Shape::Begun)?;
        self.at += end + 2;
        Ok(&rest[..end])
    }

    fn length(&mut self, kind: u8) -> Result<Option<usize>, Shape> {
        let line = self.line()?;
        let plain = match line {
            b"-1" => Some(-1),
            line => parse_i64(line).filter(|len| (0..1 << 32).contains(len)),
        };
        let len = std::str::from_utf8(line).ok().and_then(|line| line.trim().parse::<i64>().ok());
        let Some(len) = len else { return Err(Shape::Broken) };
        self.odd.for_framing |= plain.is_none();
        self.odd.huge |= len > 100_000;
        // Only these three have a null in RESP2; an empty or null push is nothing that a server sends.
        self.odd.for_client |= len < 0 && !matches!(kind, b'$' | b'*' | b'~');
        Ok(usize::try_from(len).ok())
    }

    /// Reads a value and returns its type byte and its text, where it has one.
    fn value(&mut self) -> Result<(u8, Option<&'a [u8]>), Shape> {
        let kind = *self.bytes.get(self.at).ok_or(Shape::Begun)?;
        self.at += 1;
        let mut content = None;
        match kind {
            b'+' | b'-' | b':' | b',' | b'(' | b'#' | b'_' => {
                let line = self.line()?;
                self.odd.for_client |= !is_sound(kind, line);
                content = Some(line);
            }
            b'$' | b'!' | b'=' => {
                if let Some(len) = self.length(kind)? {
                    let bytes = self.bytes.get(self.at..self.at + len + 2).ok_or(Shape::Begun)?;
                    self.at += len + 2;
                    self.odd.for_client |= &bytes[len..] != b"\r\n" || !is_sound(kind, &bytes[..len]);
                    content = Some(&bytes[..len]);
                }
            }
            b'*' | b'~' | b'>' => {
                let len = self.length(kind)?.unwrap_or(0);
                for at in 0..len {
                    let (first, name) = self.value()?;
                    let named = matches!(first, b'+' | b'$')
                        && name.is_some_and(|name| std::str::from_utf8(name).is_ok() && name != b"OK");
                    self.odd.for_client |= kind == b'>' && at == 0 && !named;
                }
            }
            b'%' | b'|' => {
                let pairs = self.length(kind)?.unwrap_or(0);
                for _ in 0..2 * pairs + usize::from(kind == b'|') {
                    self.value()?;
                }
            }
            _ => {
                // The scan looks at the type when it has the whole line.
                if kind != b'\n' {
                    self.line()?;
                }
                return Err(Shape::Broken);
            }
        }
        Ok((kind, content))
    }
}

/// Whether a scalar's text means something.
fn is_sound(kind: u8, text: &[u8]) -> bool {
    let utf8 = std::str::from_utf8(text);
    match kind {
        b'$' | b'!' => true,
        b'=' => String::from_utf8_lossy(text).contains(':'),
        b':' => utf8.is_ok_and(|line| line.trim().parse::<i64>().is_ok()),
        b',' => utf8.is_ok_and(|line| line.trim().parse::<f64>().is_ok()),
        b'#' => matches!(text, b"t" | b"f"),
        _ => utf8.is_ok(),
    }
}

/// What the scan says of bytes that come in these pieces (lengths; the rest is the last).
fn scanned(bytes: &[u8], pieces: &[usize]) -> Shape {
    let mut scan = ReplyScan::default();
    let (mut passed, mut have) = (0, 0_usize);
    for piece in pieces.iter().copied().chain([usize::MAX]) {
        have = have.saturating_add(piece).min(bytes.len());
        match scan.advance(&bytes[passed..have]) {
            Ok(Scan::Done(len)) => return Shape::Whole(passed + len),
            Ok(Scan::More(len)) => passed += len,
            Err(_) => return Shape::Broken,
        }
        assert_eq!(scan.is_inside(), passed > 0, "inside after {passed} bytes");
    }
    Shape::Begun
}

fn accepted_by_redis(bytes: &[u8]) -> bool {
    redis::parse_redis_value(bytes).is_ok()
}

fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (shape, odd) = Reference::shape(bytes);
    let scan = scanned(bytes, &[]);
    if !odd.for_framing {
        prop_assert_eq!(scan, shape, "{:?}: {}", odd, bytes.escape_ascii());
    }
    if let Shape::Whole(len) = scan {
        prop_assert_eq!(shape, Shape::Whole(len), "the scan takes what is no reply ({:?})", odd);
        prop_assert!(!odd.for_framing, "the scan takes an odd frame");
        if !odd.for_client && !odd.huge {
            prop_assert!(accepted_by_redis(&bytes[..len]), "the redis crate refuses it");
            prop_assert!(!accepted_by_redis(&bytes[..len - 1]), "the redis crate wants less");
        }
    }
    if !odd.huge && accepted_by_redis(bytes) && !odd.for_framing && !odd.for_client {
        prop_assert!(matches!(scan, Shape::Whole(_)), "the redis crate takes it, the scan says {:?}", scan);
    }
    Ok(())
}

/// Everything that a client's bytes are read as, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Frame(Vec<Vec<u8>>),
    Inline(Vec<u8>),
    Empty(usize),
    Error(ProtocolError),
}

/// Reads bytes that come in these pieces, as a session does.
fn requests(bytes: &[u8], pieces: &[usize], limits: &Limits) -> Vec<Seen> {
    let (mut reader, mut spans, mut seen) = (RequestReader::default(), Vec::new(), Vec::new());
    let (mut start, mut have) = (0, 0_usize);
    for piece in pieces.iter().copied().chain([usize::MAX]) {
        have = have.saturating_add(piece).min(bytes.len());
        while start < have {
            let rest = &bytes[start..have];
            start += match reader.read(rest, &mut spans, limits) {
                Ok(Read::Frame { len }) => {
                    seen.push(Seen::Frame(words(rest, &spans)));
                    len
                }
                Ok(Read::Inline { len }) => {
                    seen.push(Seen::Inline(rest[..len].to_vec()));
                    len
                }
                Ok(Read::Empty { len }) => {
                    seen.push(Seen::Empty(len));
                    len
                }
                Ok(Read::Partial { .. }) => break,
                Err(error) => {
                    seen.push(Seen::Error(error));
                    return seen;
                }
            };
        }
    }
    seen
}

fn words(bytes: &[u8], spans: &[Span]) -> Vec<Vec<u8>> {
    spans.iter().map(|span| bytes[span.at as usize..][..span.len as usize].to_vec()).collect()
}

fn encoded(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out, Default::default()).request(words.iter().map(Vec::as_slice));
    out
}

fn argument_lists() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 0..30), 1..12)
}

fn limits() -> impl Strategy<Value = Limits> {
    let known = prop_oneof![Just(Unauthenticated::No), Just(Unauthenticated::Yes)];
    (8_usize..200, 1_u32..20, 0_u64..100, known).prop_map(|(line, args, bulk, unauthenticated)| Limits {
        line,
        args,
        bulk,
        unauthenticated,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_hurt_the_scan(bytes in vec(any::<u8>(), 0..300), pieces in vec(0_usize..20, 0..20)) {
        let whole = scanned(&bytes, &[]);
        prop_assert_eq!(scanned(&bytes, &pieces), whole);
        let _ = (text(&bytes), integer(&bytes));
        if let Some(elements) = Elements::of(&bytes) {
            prop_assert!(elements.count() <= bytes.len());
        }
    }

    #[test]
    fn a_reply_is_the_redis_crates_reply(tree in tree(), pieces in vec(0_usize..20, 0..20)) {
        let bytes = tree.bytes();
        prop_assert_eq!(scanned(&bytes, &[]), Shape::Whole(bytes.len()));
        prop_assert_eq!(scanned(&bytes, &pieces), Shape::Whole(bytes.len()));
        prop_assert!(accepted_by_redis(&bytes), "{}", bytes.escape_ascii());
        agrees(&bytes)?;
        let behind = [bytes.as_slice(), b"+NEXT\r\n"].concat();
        prop_assert_eq!(scanned(&behind, &pieces), Shape::Whole(bytes.len()));
    }

    #[test]
    fn an_injured_reply_is_judged_as_the_redis_crate_does(
        tree in tree(), injuries in vec(injury(), 1..4), pieces in vec(0_usize..20, 0..20),
    ) {
        let bytes = injured(tree.bytes(), &injuries);
        prop_assert_eq!(scanned(&bytes, &pieces), scanned(&bytes, &[]));
        agrees(&bytes)?;
    }

    #[test]
    fn elements_are_the_whole_array(items in vec(tree(), 0..8), kind in prop_oneof![Just(b'*'), Just(b'~')]) {
        let bytes = Tree::List(kind, items.clone()).bytes();
        let elements: Vec<Vec<u8>> = Elements::of(&bytes).expect("an array").map(<[u8]>::to_vec).collect();
        prop_assert_eq!(elements, items.iter().map(Tree::bytes).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_hurt_the_request_reader(
        bytes in vec(any::<u8>(), 0..300), pieces in vec(0_usize..20, 0..20), limits in limits(),
    ) {
        prop_assert_eq!(requests(&bytes, &pieces, &limits), requests(&bytes, &[], &limits));
        RequestReader::ahead(&bytes, &mut Vec::new(), &limits);
    }

    #[test]
    fn a_request_is_its_arguments(lists in vec(argument_lists(), 1..5), pieces in vec(0_usize..20, 0..30)) {
        let bytes: Vec<u8> = lists.iter().flat_map(|list| encoded(list)).collect();
        let wanted: Vec<Seen> = lists.iter().cloned().map(Seen::Frame).collect();
        prop_assert_eq!(&requests(&bytes, &[], &Limits::SERVER), &wanted);
        prop_assert_eq!(&requests(&bytes, &pieces, &Limits::SERVER), &wanted);
        let bulks = lists[0].iter().cloned().map(Value::BulkString).collect();
        prop_assert_eq!(redis::parse_redis_value(&bytes).expect("an array"), Value::Array(bulks));
    }

    #[test]
    fn nothing_but_the_encoding_of_its_arguments_is_a_request(
        list in argument_lists(), injuries in vec(injury(), 1..4), pieces in vec(0_usize..20, 0..20),
        limits in prop_oneof![3 => Just(Limits::SERVER), 1 => limits()],
    ) {
        let bytes = injured(encoded(&list), &injuries);
        let seen = requests(&bytes, &[], &limits);
        prop_assert_eq!(&requests(&bytes, &pieces, &limits), &seen);
        if let Some(Seen::Frame(words)) = seen.first() {
            prop_assert!(bytes.starts_with(&encoded(words)), "{}", bytes.escape_ascii());
            let bulks = words.iter().cloned().map(Value::BulkString).collect();
            prop_assert_eq!(redis::parse_redis_value(&bytes).expect("an array"), Value::Array(bulks));
            prop_assert!(words.len() <= limits.args as usize);
        } else if bytes.starts_with(b"*") && Reference::shape(&bytes).0 == Shape::Whole(bytes.len()) {
            // What the redis crate reads as an array of bulks and the reader does not, has an odd frame, or is empty
            // or beyond the limits.
            let odd = Reference::shape(&bytes).1;
            let bulks = matches!(redis::parse_redis_value(&bytes), Ok(Value::Array(items)) if !items.is_empty()
                && items.iter().all(|item| matches!(item, Value::BulkString(_))));
            let strict = !odd.for_framing && !odd.for_client && limits.bulk == Limits::SERVER.bulk;
            prop_assert!(!(bulks && strict), "{:?}: {}", seen, bytes.escape_ascii());
        }
    }

    #[test]
    fn what_a_request_needs_is_never_more_than_it_has(list in argument_lists(), cut: prop::sample::Index) {
        let bytes = encoded(&list);
        let cut = cut.index(bytes.len());
        let read = RequestReader::default().read(&bytes[..cut], &mut Vec::new(), &Limits::SERVER);
        let promised = matches!(read, Ok(Read::Partial { needs }) if needs <= bytes.len() as u64);
        prop_assert!(promised, "{:?} of {} bytes", read, bytes.len());
    }

    #[test]
    fn no_line_hurts_the_splitting_of_inline_words(line in vec(any::<u8>(), 0..200)) {
        if let Ok(words) = split_inline(&line) {
            prop_assert!(words.iter().map(Vec::len).sum::<usize>() <= line.len());
        }
    }

    #[test]
    fn quoted_words_come_back(words in vec(vec(any::<u8>(), 0..20), 0..6)) {
        let line: Vec<String> = words
            .iter()
            .map(|word| {
                let hex: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
                format!("\"{hex}\"")
            })
            .collect();
        prop_assert_eq!(split_inline(line.join(" ").as_bytes()).expect("good quotes"), words);
    }

    #[test]
    fn no_text_hurts_the_map(
        text in "([0-9a-f]{1,4} (1\\.2\\.3\\.4|::1)?:[0-9]{1,6}@[0-9]{1,6}(,h)? (myself,)?(master|slave|fail\\?|fail) \
                 (-|[0-9a-f]{1,4}) 0 0 [0-9]{1,3} connected( [0-9]{1,5}(-[0-9]{1,5})?| \\[[0-9]{1,5}-[<>]-[a-f]{1,3}\\])*\n){0,5}",
        injuries in vec(injury(), 0..4),
    ) {
        let text = String::from_utf8_lossy(&injured(text.into_bytes(), &injuries)).into_owned();
        let dialled = "127.0.0.1:7001".parse().expect("an address");
        if let Ok(view) = View::parse(&text, dialled) {
            prop_assert!(view.peers.contains(view.me()));
            let _ = adopt(&Topology::empty(), &[view.clone(), view]);
        }
    }

    #[test]
    fn no_bytes_hurt_the_map(text in any::<String>()) {
        let _ = View::parse(&text, "127.0.0.1:7001".parse().expect("an address"));
    }
}

/// Every mixture of the bytes that matter, up to a length, cut everywhere.
#[test]
fn short_bytes_are_cut_anywhere() {
    for len in 0..=4_u32 {
        for number in 0..8_usize.pow(len) {
            let tail = (0..len).map(|place| b"\r\n012$*a"[number / 8_usize.pow(place) % 8]);
            let bytes: Vec<u8> = [b'*'].into_iter().chain(tail).collect();
            for cut in 1..bytes.len() {
                let limits = &Limits::SERVER;
                assert_eq!(
                    requests(&bytes, &[cut], limits),
                    requests(&bytes, &[], limits),
                    "{}",
                    bytes.escape_ascii()
                );
                assert_eq!(scanned(&bytes, &[cut]), scanned(&bytes, &[]), "{}", bytes.escape_ascii());
            }
        }
    }
}

#[test]
fn a_line_of_any_length_is_cut_anywhere() {
    for len in [64 * 1024 - 4, 64 * 1024 - 3, 64 * 1024, 200_000] {
        for kind in ['+', '-'] {
            let bytes = format!("{kind}{}\r\n", "x".repeat(len)).into_bytes();
            let whole = scanned(&bytes, &[]);
            for cut in [1, 100, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, len, len + 1, len + 2] {
                assert_eq!(scanned(&bytes, &[cut.min(bytes.len())]), whole, "{kind}{len} cut at {cut}");
            }
            assert_eq!(scanned(&bytes, &[30_000; 6]), whole, "{kind}{len} in pieces");
        }
    }
}

/// The redis crate stops at 100 levels, the scan nowhere: it does not recurse.
#[test]
fn deeper_than_the_redis_crate_goes() {
    let deep = [b"*1\r\n".repeat(101).as_slice(), b":1\r\n"].concat();
    assert_eq!(scanned(&deep, &[]), Shape::Whole(deep.len()));
    let parsing = move || accepted_by_redis(&deep);
    let thread = std::thread::Builder::new().stack_size(512 << 20).spawn(parsing).expect("a thread");
    assert!(!thread.join().expect("it does not panic"), "the redis crate goes deeper now: say so above");
}
