//! What an answer means for its key and for the verdict. Pure.

use super::book::{Counter, Fit, Judgement, Off, Register, is_refusal};
use super::list::{List, ListOff};
use super::verdict::Verdict;
use crate::link::Answer;
use crate::noise::Noise;
use crate::wire::{self, Reply};

/// Length of the version in front of a register's value.
pub(super) const VERSION: usize = 16;

/// What a request on its way asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// GET of a register; the newest version that was sent before it.
    Read { ceiling: u64 },
    /// SET of a register.
    Write { version: u64 },
    /// INCR of a counter.
    Add,
    /// RPUSH of an element to a list.
    Push { element: usize },
    /// GET of a counter, only in the end.
    Count,
}

/// An answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It was no error.
    Answered,
    /// It was an error, of this kind.
    Failed(Kind),
}

/// The first word of an error, without allocation.
pub(super) type Kind = [u8; 16];

fn kind(text: &[u8]) -> Kind {
    let mut kind = [0; 16];
    let code = wire::error_code(text).as_bytes();
    let len = code.len().min(kind.len());
    kind[..len].copy_from_slice(&code[..len]);
    kind
}

/// A kind as text.
pub(super) fn kind_text(kind: &Kind) -> &str {
    std::str::from_utf8(kind).unwrap_or_default().trim_end_matches('\0')
}

/// Whether the load still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// It runs: errors count, an old value is stale.
    Running,
    /// Keys are read for the last time: errors are tried again, an old value is a lost write.
    Settling,
}

/// The values of one connection's registers.
pub(super) struct Values<'a> {
    pub(super) noise: &'a Noise,
    pub(super) place: u64,
    pub(super) size: usize,
}

impl Values<'_> {
    /// The value of a version.
    pub(super) fn write(&self, key: usize, version: u64) -> Vec<u8> {
        let mut value = format!("{version:016x}").into_bytes();
        self.noise.write(&mut value, self.id(key), version, self.size - VERSION);
        value
    }

    /// The version of a value, when it is one of this key.
    fn version(&self, key: usize, value: &[u8]) -> Option<u64> {
        let (version, rest) = value.split_at_checked(VERSION)?;
        let version = u64::from_str_radix(std::str::from_utf8(version).ok()?, 16).ok()?;
        self.noise.is(rest, self.id(key), version, self.size - VERSION).then_some(version)
    }

    fn id(&self, key: usize) -> u64 {
        self.place << 32 | key as u64
    }
}

/// One key's books, opened to judge one answer.
pub(super) struct Books<'a> {
    pub(super) key: usize,
    pub(super) register: &'a mut Register,
    pub(super) counter: &'a mut Counter,
    pub(super) list: &'a mut List,
    pub(super) values: Values<'a>,
    pub(super) when: When,
    pub(super) verdict: &'a mut Verdict,
}

impl Books<'_> {
    /// Judges an answer.
    pub(super) fn judge(&mut self, ask: Ask, reply: Reply<'_>) -> Judged {
        match (ask, reply) {
            (_, Reply::Error(text)) => {
                self.refused(ask, text);
                return Judged::Failed(kind(text));
            }
            (Ask::Write { version }, Reply::Status(b"OK")) => {
                let fit = self.register.acknowledged(version);
                self.fitted(fit, version);
            }
            (Ask::Add, Reply::Integer(value)) => {
                let off = self.counter.acknowledged(value.max(0) as u64);
                self.counted(off, value);
            }
            // how many there are is judged in the end, with the elements themselves
            (Ask::Push { element }, Reply::Integer(1..)) => self.list.acknowledged(element),
            (Ask::Read { ceiling }, Reply::Bulk(value)) => match self.values.version(self.key, value) {
                Some(version) => self.read(version, ceiling),
                None => self.wrong(|| format!("{} bytes that are no value of it", value.len())),
            },
            (Ask::Read { ceiling }, Reply::Nil) => self.read(0, ceiling),
            (Ask::Count, Reply::Bulk(text)) => {
                match std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()) {
                    Some(value) => self.count(value),
                    None => self.wrong(|| "no number".to_owned()),
                }
            }
            (Ask::Count, Reply::Nil) => self.count(0),
            (_, Reply::Status(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::Nil | Reply::Array(_)) => {
                self.wrong(|| format!("another kind of reply to {ask:?}"));
            }
        }
        self.answered(ask);
        Judged::Answered
    }

    /// Judges a whole list that was read in the end; `false` when the answer was an error.
    pub(super) fn judge_list(&mut self, answers: &[Answer]) -> bool {
        if matches!(answers, [Answer::Error(_)]) {
            return false;
        }
        let element = |answer: &Answer| match answer {
            Answer::Text(text) => text.parse().ok(),
            Answer::Error(_) | Answer::Integer(_) | Answer::Nil => None,
        };
        let off = self.list.read(answers.iter().map(element));
        if off != ListOff::default() {
            let ListOff { lost, doubled, wrong } = off;
            self.verdict.lost_writes += lost;
            self.verdict.doubled_writes += doubled;
            self.verdict.wrong_reads += wrong;
            let name = self.name('l');
            self.verdict
                .finding(|| format!("{name}: {lost} elements lost, {doubled} doubled, {wrong} wrong"));
        }
        true
    }

    fn answered(&mut self, ask: Ask) {
        if self.when == When::Settling {
            return;
        }
        self.verdict.requests += 1;
        self.verdict.acknowledged += 1;
        self.verdict.acknowledged_writes +=
            u64::from(matches!(ask, Ask::Write { .. } | Ask::Add | Ask::Push { .. }));
    }

    fn refused(&mut self, ask: Ask, text: &[u8]) {
        if self.when == When::Settling {
            return;
        }
        self.verdict.error(&String::from_utf8_lossy(text), 1);
        if is_refusal(wire::error_code(text)) {
            match ask {
                Ask::Push { element } => self.list.refused(element),
                Ask::Write { version } => {
                    let fit = self.register.refused(version);
                    self.fitted(fit, version);
                }
                Ask::Add | Ask::Read { .. } | Ask::Count => {}
            }
            return;
        }
        match ask {
            Ask::Write { version } => self.register.uncertain(version),
            Ask::Add => self.counter.uncertain(),
            // which it is until it is acknowledged
            Ask::Push { .. } => {}
            Ask::Read { .. } | Ask::Count => return,
        }
        self.verdict.uncertain_writes += 1;
    }

    fn read(&mut self, version: u64, ceiling: u64) {
        let known = self.register.known();
        let (count, what) = match (self.register.read(version, ceiling), self.when) {
            (Judgement::Right, _) => return,
            (Judgement::Stale, When::Running) => (&mut self.verdict.stale_reads, "stale"),
            (Judgement::Stale, When::Settling) => (&mut self.verdict.lost_writes, "lost"),
            (Judgement::Undone, _) => {
                (&mut self.verdict.undone_reads, "undone, seen before it was confirmed")
            }
            (Judgement::Late, _) => (&mut self.verdict.late_writes, "late"),
            (Judgement::Early, _) => (&mut self.verdict.early_reads, "early"),
            (Judgement::Impossible, _) => (&mut self.verdict.wrong_reads, "impossible"),
        };
        *count += 1;
        let name = self.name('r');
        self.verdict.finding(|| format!("{what}: {name} holds version {version}, known is {known}"));
    }

    fn fitted(&mut self, fit: Fit, version: u64) {
        match fit {
            Fit::Fits => {}
            Fit::SeenTooEarly => self.wrong(|| format!("version {version} before that was written")),
        }
    }

    fn count(&mut self, value: i64) {
        let off = self.counter.read(value.max(0) as u64);
        self.counted(off, value);
    }

    fn counted(&mut self, off: Off, value: i64) {
        if off == Off::default() {
            return;
        }
        self.verdict.lost_writes += off.lost;
        self.verdict.doubled_writes += off.doubled;
        let name = self.name('c');
        let Off { lost, doubled } = off;
        self.verdict.finding(|| format!("{name} is {value}: {lost} increments lost, {doubled} doubled"));
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.verdict.wrong_reads += 1;
        let name = self.name('*');
        self.verdict.finding(|| format!("wrong: {name} was answered with {}", what()));
    }

    fn name(&self, kind: char) -> String {
        format!("connection {} key {kind}{}", self.values.place, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge_all(when: When, exchanges: &[(Ask, Reply<'_>)]) -> Verdict {
        let noise = Noise::new(1, 64);
        let (mut register, mut counter, mut list, mut verdict) =
            (Register::default(), Counter::default(), List::default(), Verdict::default());
        for (ask, reply) in exchanges {
            match ask {
                Ask::Write { .. } => {
                    register.next();
                }
                Ask::Push { .. } => {
                    list.next();
                }
                Ask::Read { .. } | Ask::Add | Ask::Count => {}
            }
            let values = Values { noise: &noise, place: 2, size: 64 };
            let (register, counter, list, verdict) = (&mut register, &mut counter, &mut list, &mut verdict);
            Books { key: 5, register, counter, list, values, when, verdict }.judge(*ask, *reply);
        }
        verdict
    }

    fn value(place: u64, key: usize, version: u64) -> Vec<u8> {
        Values { noise: &Noise::new(1, 64), place, size: 64 }.write(key, version)
    }

    const OK: Reply<'_> = Reply::Status(b"OK");

    #[test]
    fn right_answers_give_a_clean_verdict() {
        let one = value(2, 5, 1);
        let verdict = judge_all(
            When::Running,
            &[
                (Ask::Read { ceiling: 0 }, Reply::Nil),
                (Ask::Write { version: 1 }, OK),
                (Ask::Read { ceiling: 1 }, Reply::Bulk(&one)),
                (Ask::Add, Reply::Integer(1)),
                (Ask::Push { element: 0 }, Reply::Integer(1)),
                (Ask::Count, Reply::Bulk(b"1")),
            ],
        );
        assert!(verdict.is_clean(), "{verdict}");
        assert_eq!((verdict.requests, verdict.acknowledged, verdict.acknowledged_writes), (6, 6, 3));
    }

    #[test]
    fn values_of_other_keys_connections_and_times_are_wrong() {
        for (place, key, version) in [(3, 5, 1), (2, 6, 1), (2, 5, 9)] {
            let value = value(place, key, version);
            let verdict = judge_all(
                When::Running,
                &[(Ask::Write { version: 1 }, OK), (Ask::Read { ceiling: 1 }, Reply::Bulk(&value))],
            );
            assert_eq!((verdict.wrong_reads, verdict.findings.len()), (1, 1), "{place} {key} {version}");
        }
        let verdict = judge_all(When::Running, &[(Ask::Read { ceiling: 0 }, Reply::Bulk(b"short"))]);
        assert_eq!(verdict.wrong_reads, 1);
    }

    #[test]
    fn a_missing_value_is_stale_while_running_and_lost_in_the_end() {
        let exchanges = [(Ask::Write { version: 1 }, OK), (Ask::Read { ceiling: 1 }, Reply::Nil)];
        assert_eq!(judge_all(When::Running, &exchanges).stale_reads, 1);
        assert_eq!(judge_all(When::Settling, &exchanges).lost_writes, 1);
    }

    #[test]
    fn errors_leave_writes_uncertain_unless_they_are_refusals() {
        let error = Reply::Error(b"ERR may have been applied");
        let refusal = Reply::Error(b"CLUSTERDOWN no");
        let applied = value(2, 5, 1);
        let read = (Ask::Read { ceiling: 1 }, Reply::Bulk(applied.as_slice()));
        let verdict =
            judge_all(When::Running, &[(Ask::Write { version: 1 }, error), read, (Ask::Add, error)]);
        assert_eq!(
            (verdict.uncertain_writes, verdict.failed(), verdict.is_intact()),
            (2, 2, true),
            "{verdict}"
        );
        let verdict = judge_all(When::Running, &[(Ask::Write { version: 1 }, refusal), read]);
        assert_eq!((verdict.uncertain_writes, verdict.wrong_reads), (0, 1), "refused, and yet applied");
    }

    #[test]
    fn lists_are_judged_as_a_whole() {
        let noise = Noise::new(1, 64);
        let judge = |answers: &[&str]| {
            let (mut register, mut counter, mut list, mut verdict) =
                (Register::default(), Counter::default(), List::default(), Verdict::default());
            for _ in 0..3 {
                let element = list.next().unwrap();
                list.acknowledged(element);
            }
            let values = Values { noise: &noise, place: 2, size: 64 };
            let mut books = Books {
                key: 5,
                register: &mut register,
                counter: &mut counter,
                list: &mut list,
                values,
                when: When::Settling,
                verdict: &mut verdict,
            };
            let answers: Vec<Answer> = answers.iter().map(|text| Answer::Text((*text).to_owned())).collect();
            assert!(books.judge_list(&answers));
            assert!(!books.judge_list(&[Answer::Error("LOADING".to_owned())]), "to be asked again");
            (verdict.lost_writes, verdict.doubled_writes, verdict.wrong_reads)
        };
        assert_eq!(judge(&["0", "1", "2"]), (0, 0, 0));
        assert_eq!(judge(&["0", "2", "2", "x"]), (1, 1, 1));
        assert_eq!(judge(&[]), (3, 0, 0));
    }

    #[test]
    fn double_increments_show() {
        let verdict =
            judge_all(When::Running, &[(Ask::Add, Reply::Integer(1)), (Ask::Add, Reply::Integer(3))]);
        assert_eq!((verdict.doubled_writes, verdict.lost_writes), (1, 0));
        let verdict = judge_all(When::Settling, &[(Ask::Add, Reply::Integer(1)), (Ask::Count, Reply::Nil)]);
        assert_eq!((verdict.doubled_writes, verdict.lost_writes), (0, 1));
    }
}
