//! What a server has: everything that it has executed, in order, and what that comes to.

use crate::line::{Id, id_of};
use std::collections::BTreeMap;
use std::rc::Rc;

/// One key's change. Its number is unique in the world.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) number: u64,
    /// The server that executed it.
    pub(crate) by: usize,
    pub(crate) key: Rc<[u8]>,
    /// `None`: it is gone.
    pub(crate) value: Option<Rc<[u8]>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    log: Vec<Change>,
    pub(crate) keys: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Store {
    pub(crate) fn len(&self) -> usize {
        self.log.len()
    }

    /// Adds a change; that it is in `keys` already does no harm.
    pub(crate) fn push(&mut self, change: Change) {
        if !change.key.is_empty() {
            match &change.value {
                Some(value) => drop(self.keys.insert(change.key.to_vec(), value.to_vec())),
                None => drop(self.keys.remove(&*change.key)),
            }
        }
        self.log.push(change);
    }

    /// Whether the other has everything that is here, in the same order.
    pub(crate) fn is_start_of(&self, other: &Store) -> bool {
        let same = |last: &Change| {
            other.log.get(self.log.len() - 1).is_some_and(|theirs| theirs.number == last.number)
        };
        self.log.last().is_none_or(same)
    }

    /// Takes over up to `most` changes of a store that this one is the start of.
    pub(crate) fn follow(&mut self, other: &Store, most: usize) {
        let end = other.log.len().min(self.log.len().saturating_add(most));
        for change in &other.log[self.log.len()..end] {
            self.push(change.clone());
        }
    }

    /// Forgets all but the first `len` changes.
    pub(crate) fn cut(&mut self, len: usize) {
        if len < self.log.len() {
            let log = std::mem::take(&mut self.log);
            self.keys.clear();
            log.into_iter().take(len).for_each(|change| self.push(change));
        }
    }

    /// What is here and in none of the others.
    pub(crate) fn beyond<'a>(&'a self, from: usize, others: &[&Store]) -> Vec<&'a Change> {
        let has = |other: &&Store, at: usize| {
            other.log.get(at).is_some_and(|theirs| theirs.number == self.log[at].number)
        };
        let missing = (from..self.log.len()).filter(|at| !others.iter().any(|other| has(other, *at)));
        missing.map(|at| &self.log[at]).collect()
    }

    /// The values that clients have written, by their numbers.
    pub(crate) fn values(&self) -> impl Iterator<Item = Id> {
        self.log.iter().filter_map(|change| change.value.as_ref()).map(|value| id_of(value))
    }
}
