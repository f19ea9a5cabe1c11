//! Sets of hash slots as sorted ranges.
//!
//! Owns the arithmetic of slot ranges. Never knows who owns them.

use std::fmt;

/// Number of hash slots of a Redis Cluster.
pub const SLOTS: u16 = 16_384;

/// A set of slots: inclusive ranges, sorted, never touching each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slots(Vec<(u16, u16)>);

impl Slots {
    /// The set of these inclusive ranges, in any order.
    pub fn new(ranges: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut ranges: Vec<(u16, u16)> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
                Some(_) | None => joined.push((first, last)),
            }
        }
        Slots(joined)
    }

    /// No slot.
    pub const fn none() -> Self {
        Slots(Vec::new())
    }

    /// Every slot.
    pub fn all() -> Self {
        Slots(vec![(0, SLOTS - 1)])
    }

    /// The `index`-th of `parts` even, contiguous shares of all slots.
    pub fn share(index: usize, parts: usize) -> Self {
        let edge = |part: usize| (part * usize::from(SLOTS) / parts) as u16;
        Slots::new([(edge(index), edge(index + 1).saturating_sub(1))])
    }

    /// The ranges.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many slots these are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|(first, last)| u32::from(last - first) + 1).sum()
    }

    /// Slots of either.
    pub fn plus(&self, other: &Slots) -> Slots {
        Slots::new(self.0.iter().chain(&other.0).copied())
    }

    /// Slots of this one that are not in the other.
    pub fn minus(&self, other: &Slots) -> Slots {
        let mut left = Vec::new();
        for &(first, last) in &self.0 {
            let mut at = u32::from(first);
            for &(cut, end) in other.0.iter().filter(|(cut, end)| *cut <= last && *end >= first) {
                if u32::from(cut) > at {
                    left.push((at as u16, cut - 1));
                }
                at = at.max(u32::from(end) + 1);
            }
            if at <= u32::from(last) {
                left.push((at as u16, last));
            }
        }
        Slots(left)
    }

    /// Whether the two have a slot in common.
    pub fn meets(&self, other: &Slots) -> bool {
        self.0.iter().any(|(first, last)| other.0.iter().any(|(cut, end)| cut <= last && end >= first))
    }

    /// Whether every slot of this one is in the other.
    pub fn within(&self, other: &Slots) -> bool {
        self.minus(other).is_empty()
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return out.write_str("none");
        }
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match first == last {
                true => write!(out, "{comma}{first}")?,
                false => write!(out, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};
    use std::collections::BTreeSet;

    use super::{SLOTS, Slots};

    fn spelled(slots: &Slots) -> BTreeSet<u16> {
        slots.ranges().iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    #[test]
    fn shares_are_even_contiguous_and_complete() {
        for parts in 1..=64 {
            let shares: Vec<Slots> = (0..parts).map(|index| Slots::share(index, parts)).collect();
            let whole = shares.iter().fold(Slots::default(), |sum, share| sum.plus(share));
            assert_eq!(whole, Slots::all());
            assert_eq!(shares.iter().map(Slots::count).sum::<u32>(), u32::from(SLOTS));
            let (least, most) =
                (shares.iter().map(Slots::count).min(), shares.iter().map(Slots::count).max());
            assert!(
                most.unwrap() - least.unwrap() <= 1 && shares.iter().all(|share| share.ranges().len() == 1)
            );
        }
    }

    proptest! {
        #[test]
        fn ranges_behave_like_sets(a: Vec<(u8, u8)>, b: Vec<(u8, u8)>) {
            let make = |ranges: Vec<(u8, u8)>| Slots::new(ranges.into_iter().map(|(x, y)| (x.into(), y.into())));
            let (a, b) = (make(a), make(b));
            let (x, y) = (spelled(&a), spelled(&b));
            prop_assert_eq!(spelled(&a.plus(&b)), &x | &y);
            prop_assert_eq!(spelled(&a.minus(&b)), &x - &y);
            prop_assert_eq!(a.minus(&b), Slots::new(spelled(&a.minus(&b)).into_iter().map(|slot| (slot, slot))));
            prop_assert_eq!(a.meets(&b), !x.is_disjoint(&y));
            prop_assert_eq!(a.within(&b), x.is_subset(&y));
            prop_assert_eq!(a.count() as usize, x.len());
        }
    }
}
