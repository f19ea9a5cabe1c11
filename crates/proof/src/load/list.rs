//! What a connection knows about a list that it only appends to. Pure.
//!
//! Every element is a number of its own, so that one look at the whole list shows what is missing, what is there
//! twice, and what stands in another order than it was acknowledged in.

/// Elements of one list; a load that has appended them all goes on with its counters.
const LONGEST: usize = 1000;

/// What is known of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It may or may not have been appended, or may still be.
    Uncertain,
    /// It was appended.
    Acknowledged,
    /// It was not.
    Refused,
}

/// A list.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    fates: Vec<Fate>,
}

/// How far a list was off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListOff {
    /// Acknowledged elements that are missing.
    pub(crate) lost: u64,
    /// Elements that are there once too often.
    pub(crate) doubled: u64,
    /// Elements that were refused or never sent, or that stand before an older one.
    pub(crate) wrong: u64,
}

impl List {
    /// The next element to append, unless the list is full.
    pub(crate) fn next(&mut self) -> Option<usize> {
        if self.fates.len() == LONGEST {
            return None;
        }
        self.fates.push(Fate::Uncertain);
        Some(self.fates.len() - 1)
    }

    /// An element was appended.
    pub(crate) fn acknowledged(&mut self, element: usize) {
        self.fates[element] = Fate::Acknowledged;
    }

    /// An element was refused.
    pub(crate) fn refused(&mut self, element: usize) {
        self.fates[element] = Fate::Refused;
    }

    /// The whole list was read; `None` stands for what is no number.
    pub(crate) fn read(&self, elements: impl IntoIterator<Item = Option<usize>>) -> ListOff {
        let (mut off, mut newest) = (ListOff::default(), None);
        let mut seen = vec![0u64; self.fates.len()];
        for element in elements {
            let fate = element.and_then(|element| Some((element, *self.fates.get(element)?)));
            match fate {
                Some((element, Fate::Acknowledged)) => {
                    seen[element] += 1;
                    off.wrong += u64::from(seen[element] == 1 && newest > Some(element));
                    newest = newest.max(Some(element));
                }
                // it may have been applied late: its place says nothing
                Some((element, Fate::Uncertain)) => seen[element] += 1,
                Some((_, Fate::Refused)) | None => off.wrong += 1,
            }
        }
        for (fate, times) in self.fates.iter().zip(seen) {
            off.lost += u64::from(*fate == Fate::Acknowledged && times == 0);
            off.doubled += times.saturating_sub(1);
        }
        off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of acknowledged (a), uncertain (u) and refused (r) elements.
    fn list(fates: &str) -> List {
        let mut list = List::default();
        for fate in fates.chars() {
            let element = list.next().unwrap();
            match fate {
                'a' => list.acknowledged(element),
                'r' => list.refused(element),
                _ => {}
            }
        }
        list
    }

    fn off(fates: &str, elements: &[usize]) -> (u64, u64, u64) {
        let ListOff { lost, doubled, wrong } = list(fates).read(elements.iter().map(|n| Some(*n)));
        (lost, doubled, wrong)
    }

    #[test]
    fn losses_duplicates_and_wrong_orders_show() {
        assert_eq!(off("aaa", &[0, 1, 2]), (0, 0, 0));
        assert_eq!(off("aaa", &[0, 2]), (1, 0, 0));
        assert_eq!(off("aaa", &[0, 1, 1, 2]), (0, 1, 0));
        assert_eq!(off("aaa", &[0, 2, 1]), (0, 0, 1));
        assert_eq!(off("aaa", &[]), (3, 0, 0));
        assert_eq!(off("aaa", &[0, 1, 2, 3]), (0, 0, 1), "never sent");
        assert_eq!(off("ara", &[0, 1, 2]), (0, 0, 1), "refused");
        assert_eq!(list("a").read([Some(0), None]).wrong, 1);
    }

    #[test]
    fn uncertain_elements_may_be_there_once_anywhere() {
        assert_eq!(off("aua", &[0, 2]), (0, 0, 0));
        assert_eq!(off("aua", &[0, 2, 1]), (0, 0, 0));
        assert_eq!(off("aua", &[1, 0, 2]), (0, 0, 0));
        assert_eq!(off("aua", &[0, 1, 2, 1]), (0, 1, 0));
    }

    #[test]
    fn lists_are_bounded() {
        let mut list = List::default();
        assert_eq!((0..LONGEST + 5).filter_map(|_| list.next()).count(), LONGEST);
    }
}
