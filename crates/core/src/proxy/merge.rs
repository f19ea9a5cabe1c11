//! Puts the replies of several nodes together into one.

use super::fold::{Fan, is_error, sum, weights};
use super::pipe::Resend;
use super::scan::Walk;
use super::session::End;
use super::timing::Timed;
use super::{MergeId, PipeId, Proxy, SessionId};
use crate::command::Fold;
use crate::metric::{Class, Metric};
use crate::resp::{Elements, ErrorReply, Proto, Writer, text};

/// How the parts become one reply.
#[derive(Debug)]
pub(super) enum Policy {
    /// Elements of the parts' arrays, each at its place: `places` lists them in the order of the parts.
    Gather { places: Vec<u32> },
    /// +OK when every part is.
    AllOk,
    /// Integers added up.
    Sum,
    /// Replies of several nodes to one command.
    Fan(Fan),
    /// The reply of one node, as it is.
    Alone,
    /// SCAN: one part after the other.
    Walk(Box<Walk>),
}

/// A request that went to several nodes.
#[derive(Debug)]
pub(crate) struct Merge {
    pub(super) session: SessionId,
    pub(super) seq: u32,
    pub(super) born: u64,
    pub(super) proto: Proto,
    pub(super) policy: Policy,
    resend: Resend,
    parts: Vec<Option<Vec<u8>>>,
    left: usize,
    /// Bytes in `parts`.
    bytes: usize,
    too_large: bool,
}

impl Merge {
    pub(super) fn new(
        session: SessionId,
        seq: u32,
        born: u64,
        proto: Proto,
        policy: Policy,
        resend: Resend,
        parts: usize,
    ) -> Self {
        Merge {
            session,
            seq,
            born,
            proto,
            policy,
            resend,
            parts: vec![None; parts],
            left: parts,
            bytes: 0,
            too_large: false,
        }
    }

    /// What went to several nodes, and what they answered.
    pub(super) fn fan(&self) -> Option<(&Fan, Vec<&[u8]>)> {
        match &self.policy {
            Policy::Fan(fan) => Some((fan, self.replies())),
            Policy::Gather { .. } | Policy::AllOk | Policy::Sum | Policy::Alone | Policy::Walk(_) => None,
        }
    }

    fn replies(&self) -> Vec<&[u8]> {
        self.parts.iter().map(|part| part.as_deref().unwrap_or_default()).collect()
    }

    fn class(&self) -> Class {
        match (&self.policy, self.resend) {
            (Policy::Gather { .. } | Policy::AllOk | Policy::Sum, Resend::Yes) => Class::Read,
            (Policy::Gather { .. } | Policy::AllOk | Policy::Sum, Resend::Never) => Class::Write,
            (Policy::Fan(_) | Policy::Alone | Policy::Walk(_), _) => Class::Other,
        }
    }
}

impl Proxy {
    /// A part's reply came on this pipe.
    pub(super) fn part_came(&mut self, pipe: PipeId, id: MergeId, part: u32, reply: &[u8]) {
        let walks = self.merges.get(id).is_some_and(|merge| matches!(merge.policy, Policy::Walk(_)));
        if walks {
            self.walked(id, Some(pipe), part, reply);
        } else {
            self.merge_part(id, part, reply);
        }
    }

    /// A part's reply is here, or the error that takes its place.
    pub(super) fn merge_part(&mut self, id: MergeId, part: u32, reply: &[u8]) {
        let limit = self.settings.merged;
        let Some(merge) = self.merges.get_mut(id) else { return };
        if let Policy::Walk(_) = merge.policy {
            return self.walked(id, None, part, reply);
        }
        if merge.parts[part as usize].is_some() {
            return;
        }
        merge.left -= 1;
        merge.too_large |= self.merging + reply.len() > limit;
        // Once it is too large nothing more is kept, but every part is waited for: replies stay in order.
        let kept = if merge.too_large { Vec::new() } else { reply.to_vec() };
        merge.bytes += kept.len();
        self.merging += kept.len();
        merge.parts[part as usize] = Some(kept);
        if merge.too_large {
            merge.parts.iter_mut().flatten().for_each(|part| *part = Vec::new());
            self.merging -= std::mem::take(&mut merge.bytes);
        }
        if merge.left > 0 {
            return;
        }
        let Some(merge) = self.merges.remove(id) else { return };
        self.merging -= merge.bytes;
        if !merge.too_large && self.gather_info(&merge) {
            return;
        }
        let mut reply = Vec::new();
        if merge.too_large {
            Writer::new(&mut reply, Proto::Two).error(ErrorReply::MergedTooLarge { limit: limit as u64 });
        } else {
            self.fold(&merge, &mut reply);
        }
        if matches!(&merge.policy, Policy::Fan(fan) if fan.fold == Fold::Receivers) && !is_error(&reply) {
            return self.counted_everywhere(merge.session, merge.seq, merge.born, &reply);
        }
        self.deliver_merged(&merge, &reply);
    }

    /// A part's reply alone is larger than what is collected.
    pub(super) fn merge_too_large(&mut self, id: MergeId, part: u32, limit: u64) {
        let mut reply = Vec::new();
        Writer::new(&mut reply, Proto::Two).error(ErrorReply::MergedTooLarge { limit });
        self.merge_part(id, part, &reply);
    }

    pub(super) fn deliver_merged(&mut self, merge: &Merge, reply: &[u8]) {
        if reply.first() == Some(&b'-') {
            self.add(Metric::Errors, 1);
        }
        self.deliver(merge.session, merge.seq, Timed::here(merge.class(), merge.born), reply, End::Yes);
    }

    fn fold(&mut self, merge: &Merge, out: &mut Vec<u8>) {
        let parts = merge.replies();
        let done = match &merge.policy {
            Policy::Alone => parts.first().map(|part| out.extend_from_slice(part)),
            Policy::Fan(fan) => self.fold_fan(fan, &parts, merge, out),
            Policy::Gather { places } => {
                pass_error(&parts, merge.resend, out).or_else(|| gather(&parts, places, out))
            }
            Policy::AllOk => pass_error(&parts, merge.resend, out).or_else(|| {
                Writer::new(out, merge.proto).simple("OK");
                Some(())
            }),
            Policy::Sum => pass_error(&parts, merge.resend, out)
                .or_else(|| sum(&parts).map(|sum| Writer::new(out, merge.proto).integer(sum))),
            Policy::Walk(_) => None,
        };
        if done.is_none() {
            out.clear();
            Writer::new(out, merge.proto).error(ErrorReply::BadMerge { node: "a node" });
        }
    }

    fn fold_fan(&mut self, fan: &Fan, parts: &[&[u8]], merge: &Merge, out: &mut Vec<u8>) -> Option<()> {
        if fan.fold == Fold::Weighted {
            return match pass_error(parts, merge.resend, out) {
                Some(()) => Some(()),
                None => self.weighted(parts, &mut Writer::new(out, merge.proto)),
            };
        }
        if fan.fold == Fold::Info && !parts.iter().any(|part| is_error(part)) {
            let info = self.info(fan, parts, merge.session)?;
            info.reply(self.waiting_for_pause(), &mut Writer::new(out, merge.proto));
            return Some(());
        }
        let heard = fan.heard(parts);
        let replies: Vec<&[u8]> = heard.iter().map(|part| part.reply).collect();
        pass_error(&replies, merge.resend, out).or_else(|| fan.fold(&heard, merge.proto, out))
    }

    /// Pairs of RANDOMKEY and DBSIZE: one of the keys, drawn by the sizes.
    fn weighted(&mut self, parts: &[&[u8]], writer: &mut Writer<'_>) -> Option<()> {
        let sizes = weights(parts);
        let mut draw = self.draw(sizes.iter().sum());
        for (pair, size) in parts.chunks_exact(2).zip(sizes) {
            if size > draw {
                writer.bulk(text(pair[0])?);
                return Some(());
            }
            draw -= size;
        }
        writer.null();
        Some(())
    }
}

/// Where a part is an error, that is the reply.
fn pass_error(parts: &[&[u8]], resend: Resend, out: &mut Vec<u8>) -> Option<()> {
    let error = parts.iter().find(|part| is_error(part))?;
    match resend {
        Resend::Yes => out.extend_from_slice(error),
        Resend::Never => fail_write(parts, error, out),
    }
    Some(())
}

/// Parts that are done stay done: where one is (or may be), the reply must not say that nothing was applied.
fn fail_write(parts: &[&[u8]], first: &[u8], out: &mut Vec<u8>) {
    let undone = |part: &[u8]| part.starts_with(b"-UNAVAILABLE ");
    let other = parts.iter().find(|part| is_error(part) && !undone(part));
    match other {
        Some(error) => out.extend_from_slice(error),
        None if parts.iter().all(|part| undone(part)) => out.extend_from_slice(first),
        None => Writer::new(out, Proto::Two).error(ErrorReply::Partly),
    }
}

fn gather(parts: &[&[u8]], places: &[u32], out: &mut Vec<u8>) -> Option<()> {
    let mut elements: Vec<&[u8]> = vec![&[]; places.len()];
    let mut next = places.iter();
    for part in parts {
        for element in Elements::of(part)? {
            *elements.get_mut(*next.next()? as usize)? = element;
        }
    }
    if next.next().is_some() {
        return None;
    }
    out.reserve(parts.iter().map(|part| part.len()).sum::<usize>() + 16);
    Writer::new(out, Proto::Two).array(elements.len());
    elements.iter().for_each(|element| out.extend_from_slice(element));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::gather;

    #[test]
    fn elements_find_their_places() {
        let mut out = Vec::new();
        let parts: [&[u8]; 2] = [b"*2\r\n$1\r\nb\r\n$-1\r\n", b"*1\r\n$1\r\na\r\n"];
        gather(&parts, &[1, 2, 0], &mut out).expect("arrays");
        assert_eq!(out, b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n");
        assert_eq!(gather(&parts, &[1, 0], &mut Vec::new()), None);
        assert_eq!(gather(&parts, &[1, 2, 0, 3], &mut Vec::new()), None);
    }
}
