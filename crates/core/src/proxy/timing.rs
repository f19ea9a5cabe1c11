//! How long requests took, by class and by the node that answered.
//!
//! One histogram for each node and class, so that a reply costs one addition, as it would without them; sums over nodes or
//! classes are made when somebody asks (`benches/instructions.txt` has what it costs). A node that is gone leaves its
//! counts to nobody: what is counted never gets less.

use super::Proxy;
use super::pipe::Ticket;
use crate::metric::{BUCKETS, CLASSES, Class, Times, bucket};
use std::net::SocketAddr;

/// Most nodes that are told apart: as many as a Redis cluster is meant to have at most. Those beyond are nobody's.
const MAX_NODES: usize = 1000;

/// Requests by class and bucket.
pub(super) type Counts = [[u64; BUCKETS]; CLASSES.len()];

/// Whose times: an index in [`Timings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally(u16);

impl Tally {
    /// No single node's: the gateway answered by itself, or put several replies together.
    pub(crate) const NOBODY: Tally = Tally(0);
}

/// What is needed of a request to count its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    /// When its last byte was read, in microseconds.
    pub(super) born: u64,
    pub(super) class: Class,
    pub(super) tally: Tally,
}

impl Timed {
    /// Of something that no single node answers.
    pub(super) fn here(class: Class, born: u64) -> Timed {
        Timed { born, class, tally: Tally::NOBODY }
    }
}

impl Ticket {
    /// By whom and since when its request is answered.
    #[inline]
    pub(super) fn timed(&self) -> Timed {
        Timed { born: self.born, class: self.class, tally: self.tally }
    }
}

/// The times of one worker's requests.
#[derive(Debug)]
pub(super) struct Timings {
    /// By tally. The first is nobody's; others without an address are free.
    nodes: Vec<(Option<SocketAddr>, Box<Counts>)>,
}

impl Default for Timings {
    fn default() -> Self {
        Timings { nodes: vec![(None, empty())] }
    }
}

fn empty() -> Box<Counts> {
    Box::new([[0; BUCKETS]; CLASSES.len()])
}

impl Timings {
    /// Where the times of a node are counted.
    pub(super) fn tally(&mut self, addr: SocketAddr) -> Tally {
        let known = self.nodes.iter().position(|(node, _)| *node == Some(addr));
        let free = || self.nodes.iter().skip(1).position(|(node, _)| node.is_none()).map(|at| at + 1);
        let at = match known.or_else(free) {
            Some(at) => at,
            None if self.nodes.len() <= MAX_NODES => {
                self.nodes.push((None, empty()));
                self.nodes.len() - 1
            }
            None => return Tally::NOBODY,
        };
        self.nodes[at].0 = Some(addr);
        Tally(at as u16)
    }

    /// Counts one request that is answered now.
    #[inline]
    pub(super) fn count(&mut self, timed: Timed, now: u64) {
        self.of(timed.tally)[timed.class as usize][bucket(now.saturating_sub(timed.born))] += 1;
    }

    /// The counts of a tally.
    #[inline]
    pub(super) fn of(&mut self, tally: Tally) -> &mut Counts {
        let at = usize::from(tally.0);
        let at = if at < self.nodes.len() { at } else { 0 };
        &mut self.nodes[at].1
    }

    /// Forgets nodes that are gone.
    fn keep(&mut self, is_known: impl Fn(SocketAddr) -> bool) {
        let (nobody, nodes) = self.nodes.split_at_mut(1);
        for (addr, counts) in nodes {
            if addr.take_if(|addr| !is_known(*addr)).is_some() {
                let all = nobody[0].1.iter_mut().flatten();
                all.zip(counts.iter_mut().flatten()).for_each(|(sum, count)| *sum += std::mem::take(count));
            }
        }
    }

    fn summary(&self) -> Times {
        let mut times = Times::default();
        for (addr, counts) in &self.nodes {
            for (class, counts) in CLASSES.into_iter().zip(counts.iter()) {
                let counted = || counts.iter().copied().enumerate().filter(|(_, count)| *count > 0);
                let of_class = times.classes.entry(class.name().to_owned()).or_default();
                counted().for_each(|(at, count)| *of_class.entry(at).or_default() += count);
                if let Some(addr) = addr
                    && class.is_of_node()
                {
                    let of_node = times.nodes.entry(addr.to_string()).or_default();
                    counted().for_each(|(at, count)| *of_node.entry(at).or_default() += count);
                }
            }
        }
        times
    }
}

impl Proxy {
    /// How long requests took, by class and by node.
    pub fn times(&self) -> Times {
        self.timings.summary()
    }

    /// Forgets the times of nodes that are neither on the map nor connected.
    pub(super) fn sweep_timings(&mut self) {
        let (topology, pipes) = (&self.topology, &self.pipes);
        self.timings.keep(|addr| {
            topology.nodes().iter().any(|node| node.addr == addr)
                || pipes.iter().any(|(_, pipe)| pipe.addr == addr)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_NODES, Tally, Timed, Timings};
    use crate::metric::Class;
    use std::net::SocketAddr;

    fn addr(node: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, (node / 256) as u8, (node % 256) as u8], 7000))
    }

    #[test]
    fn a_node_that_is_gone_leaves_its_counts_to_its_class() {
        let mut timings = Timings::default();
        let tallies = [0, 1].map(|node| timings.tally(addr(node)));
        for (class, tally) in
            [(Class::Read, tallies[0]), (Class::Write, tallies[1]), (Class::Blocking, tallies[1])]
        {
            timings.count(Timed { born: 0, class, tally }, 5);
        }
        let times = timings.summary();
        assert_eq!(times.nodes[&addr(1).to_string()], [(5, 1)].into(), "a wait is not a node's");
        timings.keep(|known| known == addr(0));
        let times = timings.summary();
        assert_eq!(times.nodes.len(), 1);
        assert_eq!(times.classes["write"], [(5, 1)].into());
        assert_eq!(timings.tally(addr(2)), tallies[1], "its place is free");
        assert!(timings.summary().nodes[&addr(2).to_string()].is_empty());
    }

    #[test]
    fn nodes_beyond_the_limit_are_not_told_apart() {
        let mut timings = Timings::default();
        let tallies: Vec<Tally> = (0..MAX_NODES + 2).map(|node| timings.tally(addr(node))).collect();
        assert!(tallies[..MAX_NODES].iter().all(|tally| *tally != Tally::NOBODY));
        assert_eq!(tallies[MAX_NODES..], [Tally::NOBODY; 2]);
        assert_eq!(timings.tally(addr(7)), tallies[7]);
    }
}
