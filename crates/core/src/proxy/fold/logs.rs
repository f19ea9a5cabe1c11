//! Logs of several nodes as one: SLOWLOG GET, LATENCY LATEST and HISTORY.

use super::Part;
use crate::resp::{Elements, Proto, Writer, integer, text};

/// Where an entry of the slow log has the name of the client. To a node every client is this gateway, so the place
/// tells which node it was instead.
const CLIENT_NAME: usize = 5;

/// Entries of the slow log, the newest first, each with its node's address in the place of the client's name.
pub(super) fn newest(parts: &[Part<'_>], most: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut entries: Vec<(i64, Vec<u8>)> = Vec::new();
    for part in parts {
        let name = part.addr.to_string();
        for entry in Elements::of(part.reply)? {
            let fields: Vec<&[u8]> = Elements::of(entry)?.collect();
            let at = integer(fields.get(1)?)?;
            let mut raw = Vec::with_capacity(entry.len() + name.len());
            Writer::new(&mut raw, Proto::Two).array(fields.len());
            for (place, field) in fields.into_iter().enumerate() {
                match place {
                    CLIENT_NAME => Writer::new(&mut raw, Proto::Two).bulk(name.as_bytes()),
                    _ => raw.extend_from_slice(field),
                }
            }
            entries.push((at, raw));
        }
    }
    entries.sort_by_key(|(at, _)| std::cmp::Reverse(*at)); // stable: each node's own order stays
    entries.truncate(most);
    Writer::new(out, Proto::Two).array(entries.len());
    entries.iter().for_each(|(_, raw)| out.extend_from_slice(raw));
    Some(())
}

/// Entries of ACL LOG, the youngest first.
pub(super) fn youngest(parts: &[&[u8]], most: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut entries: Vec<(f64, &[u8])> = Vec::new();
    for part in parts {
        for entry in Elements::of(part)? {
            let mut fields = Elements::of(entry)?;
            let age = loop {
                if text(fields.next()?) == Some(b"age-seconds") {
                    break fields.next()?;
                }
                fields.next()?;
            };
            // a bulk string in RESP2, a double in RESP3
            let age = text(age).or_else(|| age.strip_prefix(b",")?.strip_suffix(b"\r\n"))?;
            entries.push((std::str::from_utf8(age).ok()?.parse().ok()?, entry));
        }
    }
    entries.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    entries.truncate(most);
    Writer::new(out, Proto::Two).array(entries.len());
    entries.iter().for_each(|(_, entry)| out.extend_from_slice(entry));
    Some(())
}

/// `event, time, latest, worst …`: of each event the entry that is the latest, with the worst of all.
pub(super) fn spikes(parts: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut events: Vec<(Vec<&[u8]>, i64)> = Vec::new();
    for entry in
        parts.iter().map(|part| Elements::of(part)).collect::<Option<Vec<_>>>()?.into_iter().flatten()
    {
        let fields: Vec<&[u8]> = Elements::of(entry)?.collect();
        let (at, worst) = (integer(fields.get(1)?)?, integer(fields.get(3)?)?);
        match events.iter_mut().find(|(known, _)| known[0] == fields[0]) {
            Some((known, most)) => {
                *most = worst.max(*most);
                if integer(known[1]).is_some_and(|before| before < at) {
                    *known = fields;
                }
            }
            None => events.push((fields, worst)),
        }
    }
    Writer::new(out, Proto::Two).array(events.len());
    for (fields, worst) in events {
        Writer::new(out, Proto::Two).array(fields.len());
        for (place, field) in fields.into_iter().enumerate() {
            match place {
                3 => Writer::new(out, Proto::Two).integer(worst),
                _ => out.extend_from_slice(field),
            }
        }
    }
    Some(())
}

/// Pairs of time and value, by time.
pub(super) fn timeline(parts: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut points: Vec<(i64, &[u8])> = Vec::new();
    for part in parts {
        for point in Elements::of(part)? {
            points.push((integer(Elements::of(point)?.next()?)?, point));
        }
    }
    points.sort_by_key(|(at, _)| *at);
    Writer::new(out, Proto::Two).array(points.len());
    points.iter().for_each(|(_, point)| out.extend_from_slice(point));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Part, newest, spikes, timeline, youngest};

    #[test]
    fn slow_entries_come_newest_first_with_their_node() {
        let part = |port: u16, reply| Part { addr: ([127, 0, 0, 1], port).into(), reply };
        let one = b"*2\r\n*6\r\n:1\r\n:30\r\n:5\r\n*1\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\ng\r\n*6\r\n:0\r\n:10\r\n:5\r\n*0\r\n$0\r\n\r\n$1\r\ng\r\n";
        let two = b"*1\r\n*6\r\n:0\r\n:20\r\n:5\r\n*0\r\n$0\r\n\r\n$1\r\ng\r\n";
        let mut out = Vec::new();
        newest(&[part(7001, one), part(7002, two)], 2, &mut out).expect("entries");
        let expected = "*2\r\n*6\r\n:1\r\n:30\r\n:5\r\n*1\r\n$1\r\na\r\n$1\r\nx\r\n$14\r\n127.0.0.1:7001\r\n\
                        *6\r\n:0\r\n:20\r\n:5\r\n*0\r\n$0\r\n\r\n$14\r\n127.0.0.1:7002\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert_eq!(newest(&[part(7001, b"*1\r\n:1\r\n")], 9, &mut Vec::new()), None);
    }

    #[test]
    fn refusals_come_youngest_first_in_both_protocols() {
        let two =
            b"*1\r\n*4\r\n$6\r\nreason\r\n$4\r\nauth\r\n$11\r\nage-seconds\r\n$4\r\n12.5\r\n".as_slice();
        let three =
            b"*2\r\n%1\r\n$11\r\nage-seconds\r\n,3.25\r\n%1\r\n$11\r\nage-seconds\r\n,99\r\n".as_slice();
        let mut out = Vec::new();
        youngest(&[two, three], 2, &mut out).expect("entries");
        let expected = "*2\r\n%1\r\n$11\r\nage-seconds\r\n,3.25\r\n*4\r\n$6\r\nreason\r\n$4\r\nauth\r\n\
                        $11\r\nage-seconds\r\n$4\r\n12.5\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert_eq!(youngest(&[b"*1\r\n*0\r\n"], 9, &mut Vec::new()), None);
    }

    #[test]
    fn spikes_of_one_event_are_one() {
        let mut out = Vec::new();
        let one = b"*1\r\n*4\r\n$1\r\nx\r\n:10\r\n:7\r\n:9\r\n".as_slice();
        let two = b"*2\r\n*4\r\n$1\r\nx\r\n:20\r\n:3\r\n:4\r\n*4\r\n$1\r\ny\r\n:1\r\n:1\r\n:1\r\n".as_slice();
        spikes(&[one, two], &mut out).expect("entries");
        let expected = "*2\r\n*4\r\n$1\r\nx\r\n:20\r\n:3\r\n:9\r\n*4\r\n$1\r\ny\r\n:1\r\n:1\r\n:1\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn points_are_in_the_order_of_time() {
        let mut out = Vec::new();
        let (one, two) = (b"*1\r\n*2\r\n:2\r\n:9\r\n".as_slice(), b"*1\r\n*2\r\n:1\r\n:8\r\n".as_slice());
        timeline(&[one, two], &mut out).expect("points");
        assert_eq!(out, b"*2\r\n*2\r\n:1\r\n:8\r\n*2\r\n:2\r\n:9\r\n");
    }
}
