//! Makes one reply of the replies that several nodes gave to the same command, by the row's [`Fold`].
//!
//! Pure: parts in, one reply out. `None` means that a part is not what such a command answers.

mod logs;
mod maps;
mod texts;

use crate::command::Fold;
use crate::resp::{Elements, Proto, Writer, integer, text};
use std::net::SocketAddr;

/// A command that went to several nodes.
#[derive(Debug)]
pub(super) struct Fan {
    pub(super) fold: Fold,
    /// Who was asked, in the order of the parts.
    pub(super) asked: Vec<Asked>,
    /// How many entries the client wants at most (SLOWLOG GET).
    pub(super) most: usize,
}

/// One node that was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) addr: SocketAddr,
    pub(super) need: Need,
}

/// Whether a command is done without a node's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It has to answer.
    Must,
    /// It may be gone.
    May,
}

/// One node's reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) addr: SocketAddr,
    pub(super) reply: &'a [u8],
}

pub(super) fn is_error(reply: &[u8]) -> bool {
    reply.first() == Some(&b'-')
}

impl Fan {
    /// The parts that count: those of nodes that may be gone only where they are not. Where one success is enough,
    /// or each node has its own text, errors count only when there is nothing else.
    pub(super) fn heard<'a>(&self, parts: &[&'a [u8]]) -> Vec<Part<'a>> {
        let gone = |reply: &[u8]| reply.starts_with(b"-UNAVAILABLE ") || reply.starts_with(b"-UNCERTAIN ");
        let mut heard: Vec<Part<'a>> = self
            .asked
            .iter()
            .zip(parts)
            .filter(|(asked, reply)| asked.need == Need::Must || !gone(reply))
            .map(|(asked, reply)| Part { addr: asked.addr, reply })
            .collect();
        if matches!(self.fold, Fold::Any | Fold::Texts) {
            if heard.iter().any(|part| !is_error(part.reply)) {
                heard.retain(|part| !is_error(part.reply));
            } else if heard.iter().any(|part| !part.reply.starts_with(b"-NOTBUSY")) {
                // An idle node has nothing to say about why the busy one would not stop.
                heard.retain(|part| !part.reply.starts_with(b"-NOTBUSY"));
            }
        }
        heard
    }

    /// One reply of replies that are no errors.
    pub(super) fn fold(&self, parts: &[Part<'_>], proto: Proto, out: &mut Vec<u8>) -> Option<()> {
        let first = parts.first()?.reply;
        let replies: Vec<&[u8]> = parts.iter().map(|part| part.reply).collect();
        let mut writer = Writer::new(out, proto);
        match self.fold {
            Fold::Sum => writer.integer(sum(&replies)?),
            Fold::Least => writer.integer(integers(&replies)?.into_iter().min()?),
            Fold::Greatest => writer.integer(integers(&replies)?.into_iter().max()?),
            Fold::AllOk => writer.simple("OK"),
            Fold::Concat => concat(&replies, out)?,
            Fold::And => and(&replies, &mut writer)?,
            Fold::Receivers => receivers(&replies, &mut writer)?,
            Fold::Same | Fold::Any => out.extend_from_slice(first),
            Fold::Newest => logs::newest(parts, self.most, out)?,
            Fold::Youngest => logs::youngest(&replies, self.most, out)?,
            Fold::Spikes => logs::spikes(&replies, out)?,
            Fold::Timeline => logs::timeline(&replies, out)?,
            Fold::Histograms => maps::histograms(&replies, &mut writer)?,
            Fold::Stats => maps::stats(&replies, proto, out)?,
            Fold::Running => out.extend_from_slice(maps::running(&replies).unwrap_or(first)),
            Fold::Texts => texts::headed(parts, &mut writer)?,
            Fold::Digest => writer.simple(&texts::digest(&replies)?),
            // These need more than the replies: see `merge`.
            Fold::Weighted | Fold::Info => return None,
        }
        Some(())
    }
}

pub(super) fn sum(parts: &[&[u8]]) -> Option<i64> {
    parts.iter().try_fold(0i64, |sum, part| sum.checked_add(integer(part)?))
}

fn integers(parts: &[&[u8]]) -> Option<Vec<i64>> {
    parts.iter().map(|part| integer(part)).collect()
}

fn concat(parts: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let arrays: Vec<Elements<'_>> = parts.iter().map(|part| Elements::of(part)).collect::<Option<_>>()?;
    out.reserve(parts.iter().map(|part| part.len()).sum());
    Writer::new(out, Proto::Two).array(arrays.iter().map(|array| array.left() as usize).sum());
    arrays.iter().for_each(|array| out.extend_from_slice(array.raw()));
    Some(())
}

/// Pairs of a channel and a number: the numbers added up.
fn receivers(parts: &[&[u8]], writer: &mut Writer<'_>) -> Option<()> {
    let lists: Vec<Vec<&[u8]>> =
        parts.iter().map(|part| Elements::of(part).map(Iterator::collect)).collect::<Option<_>>()?;
    let first = lists.first()?;
    writer.array(first.len());
    for at in (0..first.len()).step_by(2) {
        writer.bulk(text(first[at])?);
        let numbers = lists.iter().map(|list| list.get(at + 1).and_then(|number| integer(number)));
        writer.integer(numbers.sum::<Option<i64>>()?);
    }
    Some(())
}

fn and(parts: &[&[u8]], writer: &mut Writer<'_>) -> Option<()> {
    if let Some(bits) = integers(parts) {
        writer.integer(bits.into_iter().fold(1, |all, bit| all & bit));
        return Some(());
    }
    let mut all: Vec<i64> = Elements::of(parts.first()?)?.map(integer).collect::<Option<_>>()?;
    for part in &parts[1..] {
        let these: Vec<i64> = Elements::of(part)?.map(integer).collect::<Option<_>>()?;
        if these.len() != all.len() {
            return None;
        }
        all.iter_mut().zip(these).for_each(|(all, this)| *all &= this);
    }
    writer.array(all.len());
    all.into_iter().for_each(|bit| writer.integer(bit));
    Some(())
}

/// Pairs of RANDOMKEY and DBSIZE: how much each node's key weighs; 0 where a node is empty.
pub(super) fn weights(parts: &[&[u8]]) -> Vec<u64> {
    let weight = |pair: &[&[u8]]| match text(pair[0]) {
        Some(_) => integer(pair[1]).map_or(1, |size| size.max(1) as u64),
        None => 0,
    };
    parts.chunks_exact(2).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::{Asked, Fan, Need, Part, and, concat, sum};
    use crate::command::Fold;
    use crate::resp::{Proto, Writer};

    #[test]
    fn numbers_and_lists() {
        assert_eq!(sum(&[b":1\r\n", b":41\r\n"]), Some(42));
        assert_eq!(sum(&[b":1\r\n", b"+OK\r\n"]), None);
        let mut out = Vec::new();
        concat(&[b"*1\r\n$1\r\na\r\n", b"*0\r\n", b"*1\r\n:1\r\n"], &mut out).expect("arrays");
        assert_eq!(out, b"*2\r\n$1\r\na\r\n:1\r\n");
        out.clear();
        and(&[b"*2\r\n:1\r\n:1\r\n", b"*2\r\n:1\r\n:0\r\n"], &mut Writer::new(&mut out, Proto::Two))
            .expect("bits");
        assert_eq!(out, b"*2\r\n:1\r\n:0\r\n");
    }

    fn fan(fold: Fold, needs: &[Need]) -> Fan {
        let addr = |port: usize| format!("127.0.0.1:{port}").parse().expect("an address");
        let asked = needs.iter().enumerate().map(|(at, need)| Asked { addr: addr(7001 + at), need: *need });
        Fan { fold, asked: asked.collect(), most: 10 }
    }

    fn folded(fan: &Fan, parts: &[&[u8]]) -> String {
        let heard: Vec<Part<'_>> = fan.heard(parts);
        let mut out = Vec::new();
        match heard.iter().find(|part| super::is_error(part.reply)) {
            Some(error) => out.extend_from_slice(error.reply),
            None => fan.fold(&heard, Proto::Two, &mut out).expect("replies of the right kind"),
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn one_success_is_enough_to_kill() {
        let fan = fan(Fold::Any, &[Need::Must; 3]);
        let idle = b"-NOTBUSY No scripts in execution right now.\r\n".as_slice();
        assert_eq!(folded(&fan, &[idle, b"+OK\r\n", idle]), "+OK\r\n");
        let busy = b"-UNKILLABLE Sorry the script already executed write commands\r\n".as_slice();
        assert!(folded(&fan, &[idle, busy, idle]).starts_with("-UNKILLABLE"));
        assert!(folded(&fan, &[idle, idle, idle]).starts_with("-NOTBUSY"));
    }

    #[test]
    fn a_replica_that_is_gone_stops_nobody_and_a_primary_does() {
        let fan = fan(Fold::AllOk, &[Need::Must, Need::May]);
        let gone = b"-UNAVAILABLE node 127.0.0.1:7002 is gone\r\n".as_slice();
        assert_eq!(folded(&fan, &[b"+OK\r\n", gone]), "+OK\r\n");
        assert!(folded(&fan, &[gone, b"+OK\r\n"]).starts_with("-UNAVAILABLE"));
        assert_eq!(folded(&fan, &[b"+OK\r\n", b"-ERR unknown\r\n"]), "-ERR unknown\r\n");
    }

    #[test]
    fn the_oldest_save_counts_for_all() {
        assert_eq!(folded(&fan(Fold::Least, &[Need::Must; 2]), &[b":7\r\n", b":5\r\n"]), ":5\r\n");
    }
}
