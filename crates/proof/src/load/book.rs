//! What a connection knows about its keys, and the judgement of what it reads. Pure.
//!
//! An answer that never came leaves a write *uncertain*: it may have been applied, may be applied later, or
//! never. Everything else is certain, so that each value read is either allowed or a finding.

/// What a value that was read says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// As it must be.
    Right,
    /// Older than an acknowledged write.
    Stale,
    /// As old as the newest acknowledged write, though a newer one of unknown fate had been read before.
    Undone,
    /// An uncertain write took effect after a newer acknowledged one.
    Late,
    /// Sent behind the read, by the same client. A read that was asked again may see such a write, if that one's
    /// fate is unknown: both were on their way at the same time.
    Early,
    /// A version that was refused, or was not yet sent.
    Impossible,
}

/// Whether the answer to a write fits what was read before it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fit {
    /// It does.
    Fits,
    /// A read that was sent before the write saw it, and yet it was no write of unknown fate.
    SeenTooEarly,
}

/// A key whose value carries a version that only grows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Register {
    /// Newest version that was acknowledged.
    acknowledged: u64,
    /// Newest version that is known to have been applied.
    known: u64,
    /// Newest version sent.
    sent: u64,
    /// Versions whose fate is unknown, oldest first.
    uncertain: Vec<u64>,
    /// Uncertain versions up to this one are no longer in the list.
    forgotten: u64,
    /// Newest version that a read saw which was sent before it; 0 for none.
    early: u64,
}

/// Uncertain versions remembered for a key; a test that loses more writes of one key has failed anyway.
const REMEMBERED: usize = 256;

impl Register {
    /// The next version to write.
    pub(crate) fn next(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// Newest version sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Newest version that is known to have been applied.
    pub(crate) fn known(&self) -> u64 {
        self.known
    }

    /// The write of a version was acknowledged.
    pub(crate) fn acknowledged(&mut self, version: u64) -> Fit {
        self.acknowledged = self.acknowledged.max(version);
        self.known = self.known.max(version);
        self.fit(version)
    }

    /// The write of a version was refused.
    pub(crate) fn refused(&mut self, version: u64) -> Fit {
        self.fit(version)
    }

    fn fit(&mut self, version: u64) -> Fit {
        if self.early != version {
            return Fit::Fits;
        }
        self.early = 0;
        Fit::SeenTooEarly
    }

    /// The write of a version may or may not have been applied.
    pub(crate) fn uncertain(&mut self, version: u64) {
        if self.early == version {
            // it was seen: it must not go back any more
            (self.early, self.known) = (0, self.known.max(version));
        }
        if self.uncertain.len() == REMEMBERED {
            self.forgotten = self.uncertain.remove(0);
        }
        self.uncertain.push(version);
    }

    /// A version was read (0: no value); `ceiling` is the newest that was sent before the read.
    pub(crate) fn read(&mut self, version: u64, ceiling: u64) -> Judgement {
        let uncertain = self.uncertain.contains(&version) || (version > 0 && version <= self.forgotten);
        match version {
            _ if version == self.known => Judgement::Right,
            _ if version < self.known && uncertain => Judgement::Late,
            _ if version < self.known && version >= self.acknowledged => {
                // it is told once
                self.known = version;
                Judgement::Undone
            }
            _ if version < self.known => Judgement::Stale,
            _ if version <= ceiling && uncertain => {
                // Seen once, it must not go back any more.
                self.known = version;
                Judgement::Right
            }
            _ if version > ceiling && version <= self.sent => {
                self.early = self.early.max(version);
                Judgement::Early
            }
            _ => Judgement::Impossible,
        }
    }
}

/// A key that is only incremented.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counter {
    /// What it holds at least.
    low: u64,
    /// Increments whose fate is unknown and whose effect has not been seen.
    pending: u64,
}

/// How far a counter was off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Off {
    /// Acknowledged increments that are missing.
    pub(crate) lost: u64,
    /// Increments that were never sent.
    pub(crate) doubled: u64,
}

impl Counter {
    /// An increment was acknowledged with this new value.
    pub(crate) fn acknowledged(&mut self, value: u64) -> Off {
        self.low += 1;
        self.read(value)
    }

    /// An increment may or may not have been applied.
    pub(crate) fn uncertain(&mut self) {
        self.pending += 1;
    }

    /// What it may hold.
    fn allowed(&self) -> std::ops::RangeInclusive<u64> {
        self.low..=self.low + self.pending
    }

    /// This value was read. Each difference is told once: from here on the value read is what counts.
    pub(crate) fn read(&mut self, value: u64) -> Off {
        let allowed = self.allowed();
        let off = Off {
            lost: allowed.start().saturating_sub(value),
            doubled: value.saturating_sub(*allowed.end()),
        };
        self.pending -= value.saturating_sub(self.low).min(self.pending);
        self.low = value;
        off
    }
}

/// Whether an error reply with this code says that the command was not executed. All others leave a write
/// uncertain, also those that a gateway makes for a connection that it lost.
pub(crate) fn is_refusal(code: &str) -> bool {
    matches!(
        code,
        "MOVED"
            | "ASK"
            | "TRYAGAIN"
            | "CLUSTERDOWN"
            | "CROSSSLOT"
            | "LOADING"
            | "READONLY"
            | "MASTERDOWN"
            | "MISCONF"
            | "NOREPLICAS"
            | "OOM"
            | "BUSY"
            | "NOAUTH"
            | "NOPERM"
            | "WRONGPASS"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Off = Off { lost: 0, doubled: 0 };

    fn written(versions: u64) -> Register {
        let mut register = Register::default();
        for _ in 0..versions {
            let version = register.next();
            assert_eq!(register.acknowledged(version), Fit::Fits);
        }
        register
    }

    #[test]
    fn a_write_that_was_seen_before_its_fate_was_known_may_be_undone_once() {
        let mut register = Register::default();
        let (first, second) = (register.next(), register.next());
        assert_eq!(register.acknowledged(first), Fit::Fits);
        register.uncertain(second);
        assert_eq!(register.read(second, second), Judgement::Right);
        assert_eq!(register.read(first, second), Judgement::Undone);
        assert_eq!(register.read(first, second), Judgement::Right);
        assert_eq!(register.read(0, second), Judgement::Stale, "what was acknowledged is another matter");
    }

    #[test]
    fn the_newest_acknowledged_version_is_right_and_older_ones_are_stale() {
        let mut register = written(3);
        assert_eq!(register.read(3, 3), Judgement::Right);
        assert_eq!(register.read(2, 3), Judgement::Stale);
        assert_eq!(register.read(0, 3), Judgement::Stale, "the value is gone");
        assert_eq!(register.read(4, 3), Judgement::Impossible, "not yet sent");
        assert_eq!(Register::default().read(0, 0), Judgement::Right, "never written");
    }

    #[test]
    fn an_uncertain_write_may_show_or_not_but_not_go_back() {
        let mut register = written(1);
        let lost = register.next();
        register.uncertain(lost);
        assert_eq!(register.read(1, 2), Judgement::Right, "not applied so far");
        assert_eq!(register.read(2, 2), Judgement::Right, "applied");
        assert_eq!(register.read(1, 2), Judgement::Undone, "seen and gone");
    }

    #[test]
    fn an_uncertain_write_after_a_newer_acknowledged_one_is_late() {
        let mut register = written(1);
        let lost = register.next();
        register.uncertain(lost);
        let newer = register.next();
        assert_eq!(register.acknowledged(newer), Fit::Fits);
        assert_eq!(register.read(2, 3), Judgement::Late);
        assert_eq!(register.read(1, 3), Judgement::Stale);
    }

    #[test]
    fn a_refused_write_must_not_show() {
        let mut register = written(1);
        let refused = register.next();
        assert_eq!(register.read(refused, 2), Judgement::Impossible);
    }

    #[test]
    fn a_read_may_see_a_later_write_only_if_that_ones_fate_is_unknown() {
        let early = || {
            let mut register = written(1);
            let version = register.next();
            assert_eq!(register.read(version, 1), Judgement::Early);
            (register, version)
        };
        let (mut register, version) = early();
        assert_eq!(register.acknowledged(version), Fit::SeenTooEarly);
        let (mut register, version) = early();
        assert_eq!(register.refused(version), Fit::SeenTooEarly);
        let (mut register, version) = early();
        register.uncertain(version);
        assert_eq!(register.read(version, version), Judgement::Right);
        assert_eq!(register.read(1, version), Judgement::Undone, "seen and gone");
    }

    #[test]
    fn uncertain_versions_are_bounded_and_stay_uncertain() {
        let mut register = Register::default();
        for _ in 0..REMEMBERED + 10 {
            let version = register.next();
            register.uncertain(version);
        }
        let newest = register.next();
        assert_eq!(register.acknowledged(newest), Fit::Fits);
        assert_eq!(register.uncertain.len(), REMEMBERED);
        assert_eq!(register.read(5, newest), Judgement::Late);
    }

    #[test]
    fn counters_tell_lost_and_doubled_increments_once() {
        let mut counter = Counter::default();
        assert_eq!(counter.acknowledged(1), GOOD);
        assert_eq!(counter.acknowledged(2), GOOD);
        assert_eq!(counter.acknowledged(1), Off { lost: 2, doubled: 0 }, "both were lost before this one");
        assert_eq!(counter.acknowledged(2), GOOD);
        assert_eq!(counter.acknowledged(4), Off { lost: 0, doubled: 1 });
        assert_eq!(counter.read(4), GOOD);
        assert_eq!(counter.read(0), Off { lost: 4, doubled: 0 });
    }

    #[test]
    fn uncertain_increments_widen_what_is_allowed_until_seen() {
        let mut counter = Counter::default();
        counter.uncertain();
        counter.uncertain();
        assert_eq!(counter.allowed(), 0..=2);
        assert_eq!(counter.acknowledged(2), GOOD, "one of the two was applied");
        assert_eq!(counter.allowed(), 2..=3);
        assert_eq!(counter.read(3), GOOD, "the other one came late");
        assert_eq!(counter.read(4), Off { lost: 0, doubled: 1 });
    }

    #[test]
    fn only_refusals_are_certain() {
        assert!(is_refusal("MOVED") && is_refusal("CLUSTERDOWN") && is_refusal("OOM"));
        assert!(!is_refusal("ERR") && !is_refusal("UNCERTAIN") && !is_refusal(""));
    }
}
