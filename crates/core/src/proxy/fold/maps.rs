//! Maps of several nodes as one: LATENCY HISTOGRAM, MEMORY STATS, FUNCTION STATS. A map is a flat array in RESP2.

use crate::resp::{Elements, Proto, Writer, integer, text};

/// Keys and values of one map.
fn pairs(reply: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let flat: Vec<&[u8]> = Elements::of(reply)?.collect();
    flat.len().is_multiple_of(2).then(|| flat.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Calls of one command, and how many of them took at most so many microseconds.
struct Histogram<'a> {
    name: &'a [u8],
    calls: i64,
    /// Each node's steps: microseconds and calls up to there.
    nodes: Vec<Vec<(i64, i64)>>,
}

/// By command: `calls` and `histogram_usec`, where a node leaves out the steps at which nothing is added.
pub(super) fn histograms(parts: &[&[u8]], writer: &mut Writer<'_>) -> Option<()> {
    let mut all: Vec<Histogram<'_>> = Vec::new();
    for (name, value) in
        parts.iter().map(|part| pairs(part)).collect::<Option<Vec<_>>>()?.into_iter().flatten()
    {
        let fields = pairs(value)?;
        let field =
            |wanted: &[u8]| fields.iter().find(|(key, _)| text(key) == Some(wanted)).map(|(_, value)| *value);
        let calls = integer(field(b"calls")?)?;
        let step = |(at, calls): (&[u8], &[u8])| Some((integer(at)?, integer(calls)?));
        let steps: Vec<(i64, i64)> =
            pairs(field(b"histogram_usec")?)?.into_iter().map(step).collect::<Option<_>>()?;
        match all.iter_mut().find(|known| known.name == name) {
            Some(known) => {
                known.calls = known.calls.saturating_add(calls);
                known.nodes.push(steps);
            }
            None => all.push(Histogram { name, calls, nodes: vec![steps] }),
        }
    }
    writer.map(all.len());
    for histogram in all {
        writer.raw(histogram.name);
        writer.map(2);
        writer.bulk(b"calls");
        writer.integer(histogram.calls);
        writer.bulk(b"histogram_usec");
        let mut marks: Vec<i64> = histogram.nodes.iter().flatten().map(|(at, _)| *at).collect();
        marks.sort_unstable();
        marks.dedup();
        writer.map(marks.len());
        for mark in marks {
            let up_to = |steps: &Vec<(i64, i64)>| {
                steps.iter().filter(|(at, _)| *at <= mark).map(|(_, calls)| *calls).max().unwrap_or(0)
            };
            writer.integer(mark);
            writer.integer(histogram.nodes.iter().map(up_to).sum());
        }
    }
    Some(())
}

/// Maps as one: integers added up, maps in them too; of everything else (ratios) the first node's.
pub(super) fn stats(parts: &[&[u8]], proto: Proto, out: &mut Vec<u8>) -> Option<()> {
    add_maps(parts, proto, 1, out)
}

fn add_maps(parts: &[&[u8]], proto: Proto, deeper: u8, out: &mut Vec<u8>) -> Option<()> {
    let mut all: Vec<(&[u8], Vec<&[u8]>)> = Vec::new();
    for (key, value) in
        parts.iter().map(|part| pairs(part)).collect::<Option<Vec<_>>>()?.into_iter().flatten()
    {
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => all.push((key, vec![value])),
        }
    }
    let mean = text_is(&all, b"keys.bytes-per-key");
    Writer::new(out, proto).map(all.len());
    for (at, (key, values)) in all.iter().enumerate() {
        out.extend_from_slice(key);
        let sum = values.iter().try_fold(0i64, |sum, value| Some(sum.saturating_add(integer(value)?)));
        match sum {
            Some(sum) if Some(at) == mean => Writer::new(out, proto).integer(sum / values.len() as i64),
            Some(sum) => Writer::new(out, proto).integer(sum),
            None if deeper > 0 && Elements::of(values[0]).is_some() => {
                add_maps(values, proto, deeper - 1, out)?;
            }
            None => out.extend_from_slice(values[0]),
        }
    }
    Some(())
}

fn text_is(all: &[(&[u8], Vec<&[u8]>)], name: &[u8]) -> Option<usize> {
    all.iter().position(|(key, _)| text(key) == Some(name))
}

/// The reply of the node that runs a script: `running_script` comes first and is null on the others.
pub(super) fn running<'a>(parts: &[&'a [u8]]) -> Option<&'a [u8]> {
    let runs = |part: &&&[u8]| {
        let value = Elements::of(part).and_then(|mut fields| fields.nth(1));
        value.is_some_and(|value| !matches!(value, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n"))
    };
    parts.iter().find(runs).copied()
}

#[cfg(test)]
mod tests {
    use super::{histograms, running, stats};
    use crate::resp::{Proto, Writer};

    #[test]
    fn calls_are_added_up_step_by_step() {
        let one = b"*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:3\r\n$14\r\nhistogram_usec\r\n*4\r\n:1\r\n:2\r\n:4\r\n:3\r\n".as_slice();
        let two =
            b"*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:5\r\n$14\r\nhistogram_usec\r\n*2\r\n:2\r\n:5\r\n"
                .as_slice();
        let mut out = Vec::new();
        histograms(&[one, two], &mut Writer::new(&mut out, Proto::Two)).expect("maps");
        let expected = "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:8\r\n$14\r\nhistogram_usec\r\n\
                        *6\r\n:1\r\n:2\r\n:2\r\n:7\r\n:4\r\n:8\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn integers_are_added_up_in_both_protocols() {
        let mut out = Vec::new();
        let two = b"*6\r\n$1\r\na\r\n:1\r\n$4\r\ndb.0\r\n*2\r\n$1\r\nx\r\n:5\r\n$1\r\nr\r\n$3\r\n1.5\r\n"
            .as_slice();
        stats(&[two, two], Proto::Two, &mut out).expect("maps");
        assert_eq!(
            out,
            b"*6\r\n$1\r\na\r\n:2\r\n$4\r\ndb.0\r\n*2\r\n$1\r\nx\r\n:10\r\n$1\r\nr\r\n$3\r\n1.5\r\n"
        );
        out.clear();
        let three = b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nr\r\n,1.5\r\n".as_slice();
        let four = b"%1\r\n$1\r\nb\r\n:7\r\n".as_slice();
        stats(&[three, four], Proto::Three, &mut out).expect("maps");
        assert_eq!(out, b"%3\r\n$1\r\na\r\n:1\r\n$1\r\nr\r\n,1.5\r\n$1\r\nb\r\n:7\r\n");
    }

    #[test]
    fn the_node_that_runs_something_speaks_for_all() {
        let idle = b"*4\r\n$14\r\nrunning_script\r\n*-1\r\n$7\r\nengines\r\n*0\r\n".as_slice();
        let busy = b"*4\r\n$14\r\nrunning_script\r\n*2\r\n$4\r\nname\r\n$1\r\nf\r\n$7\r\nengines\r\n*0\r\n"
            .as_slice();
        assert_eq!(running(&[idle, busy]), Some(busy));
        assert_eq!(running(&[idle, idle]), None);
    }
}
