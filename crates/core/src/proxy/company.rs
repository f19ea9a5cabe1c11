//! Whether what waits for a node goes at once, or waits a moment for company.
//!
//! Every write to a node wakes it, and that costs far more than the bytes: some 25 µs where the node runs on another
//! core, an interrupt where it runs on another machine. Requests that go together share that. So what comes while others
//! are under way waits for more, as long as more can be expected; while nothing is under way nothing waits, so a client
//! that is alone never does.
//!
//! How soon more can be expected is told by how often there was something to write. Requests that come in bunches already
//! (everything on one core, pipelines, many clients) are company enough and wait for nobody.

use super::pipe::{Pipe, Purpose, State};
use super::{PipeId, Proxy};

/// Requests that are company enough: one more would save each of them little.
const ENOUGH: usize = 8;
/// One more must be expected within so many times the longest wait.
const WORTH: u64 = 4;
/// Bytes that are worth a write of their own.
const ENOUGH_BYTES: usize = 16 * 1024;
/// A silence counts as this long at most (microseconds), so that what was before it is not lost on the mean.
const SILENCE: u64 = 10_000;

/// How often one connection has something new to write, and what waits on it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Company {
    /// When there was something new last, in microseconds.
    last: u64,
    /// The time from one such turn to the next, in eighths of a microsecond: a moving mean.
    gap: u64,
    /// When the first of what waits came.
    since: u64,
    /// Whether it is among those that wait.
    held: bool,
}

impl Company {
    /// Something new is to be written at `now` (microseconds). Returns whether it is the first of what waits.
    fn came(&mut self, now: u64) -> bool {
        let gap = now.saturating_sub(self.last).min(SILENCE);
        self.gap = self.gap - self.gap / 8 + gap;
        self.last = now;
        if !self.held {
            self.since = now;
        }
        !std::mem::replace(&mut self.held, true)
    }

    /// Until when `requests` of `bytes` in all wait where others are under way: `most` microseconds, but not at all where
    /// they are many or hardly anybody can be expected.
    fn until(&self, requests: usize, bytes: usize, most: u64) -> u64 {
        if self.gap / 8 > WORTH * most || requests >= ENOUGH || bytes >= ENOUGH_BYTES {
            self.since
        } else {
            self.since + most
        }
    }
}

impl Proxy {
    /// Takes those pipes out of `list` whose requests wait for company, and puts in those that have waited long enough.
    /// They go together: the wake-up of one node's core is often that of the next one's.
    pub(super) fn keep_company(&mut self, list: &mut Vec<PipeId>) {
        let (now, most) = (self.now.steady, if self.draining { 0 } else { self.settings.company });
        let Proxy { pipes, held, .. } = self;
        list.retain(|id| {
            let Some(pipe) = pipes.get_mut(*id).filter(|pipe| may_wait(pipe)) else { return true };
            if pipe.company.came(now) {
                held.push(*id);
            }
            false
        });
        // What was written last is answered last, as a rule: while it is under way, something is.
        let busy = pipes.get(self.written_last).is_some_and(is_under_way);
        let due = |id: &PipeId| {
            let pipe = pipes.get(*id).filter(|pipe| may_wait(pipe) && (busy || is_under_way(pipe)))?;
            Some(pipe.company.until(unsent_requests(pipe), pipe.out.unsent(), most))
        };
        let until = held.iter().map(|id| due(id).unwrap_or(0)).min();
        self.held_until = until.filter(|until| *until > now);
        if until.is_some_and(|until| until <= now) {
            for id in held.drain(..) {
                if let Some(pipe) = pipes.get_mut(id) {
                    pipe.company.held = false;
                    self.written_last = id;
                    list.push(id);
                }
            }
        }
    }

    /// When the shell has to ask again for what is to be written, if anything waits for company (microseconds).
    pub fn next_write(&self) -> Option<u64> {
        self.held_until
    }
}

/// Whether this is a shared connection with something to write that was not tried before.
fn may_wait(pipe: &Pipe) -> bool {
    pipe.purpose == Purpose::Shared && pipe.state == State::Open && pipe.out.unsent() > 0
}

fn is_under_way(pipe: &Pipe) -> bool {
    pipe.out.len() > pipe.out.unsent()
}

/// How many requests are not sent: reckoned by their bytes, so that nothing is counted for each.
fn unsent_requests(pipe: &Pipe) -> usize {
    pipe.tickets.len() * pipe.out.unsent() / pipe.out.len().max(1)
}

#[cfg(test)]
mod tests {
    use super::{Company, ENOUGH, ENOUGH_BYTES, WORTH};

    const MOST: u64 = 200;

    /// Something new every `gap` microseconds for long, and then once more at 60 s.
    fn every(gap: u64) -> Company {
        let mut company = Company::default();
        for at in (0..100).rev() {
            company.came(60_000_000 - at * gap);
            company.held = at == 0;
        }
        company
    }

    #[test]
    fn few_requests_wait_where_more_can_be_expected() {
        assert_eq!(every(MOST / 2).until(1, 40, MOST), 60_000_000 + MOST);
        assert_eq!(every(WORTH * MOST).until(ENOUGH - 1, 40, MOST), 60_000_000 + MOST);
    }

    #[test]
    fn who_expects_nobody_does_not_wait() {
        assert_eq!(every(WORTH * MOST + 8).until(1, 40, MOST), 60_000_000);
        assert_eq!(every(10 * super::SILENCE).until(1, 40, MOST), 60_000_000);
    }

    #[test]
    fn many_requests_and_large_ones_are_company_enough() {
        assert_eq!(every(1).until(ENOUGH, 40, MOST), 60_000_000);
        assert_eq!(every(1).until(1, ENOUGH_BYTES, MOST), 60_000_000);
    }

    #[test]
    fn a_wait_is_counted_from_the_first() {
        let mut company = every(10);
        assert!(!company.came(60_000_150));
        assert_eq!(company.until(2, 80, MOST), 60_000_000 + MOST);
    }

    #[test]
    fn a_long_silence_is_forgotten_soon() {
        let mut company = every(10);
        company.held = false;
        assert!(company.came(90_000_000));
        assert_eq!(company.until(1, 40, MOST), 90_000_000);
        for at in 1..40 {
            company.came(90_000_000 + at * 10);
        }
        assert!(company.until(1, 40, MOST) > company.since);
    }
}
