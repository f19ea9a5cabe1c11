//! A worker lets others go first: after each turn whoever waits for its core runs before it looks for more.
//!
//! Where a gateway shares a core with clients or servers, what wakes it takes the core away from who woke it, so each
//! request stops its sender in the middle of sending, and there is a change of process and a turn for every few requests.
//! Who yields finds in one turn what came meanwhile. All on one core, in turns with the gateway without it, its processor time
//! for a GET is 0.89 at one connection, 0.95 at 50, 0.90 at 500 and 0.82 in pipelines of 16. On a core of its own there is
//! nobody to wait for.
//!
//! A stranger that never sleeps would use such a gift to its end, some 4 ms: with one connection each request would take that
//! long. So it is watched what a yield brought, and one that was long and brought little is not repeated for a while; then a
//! stranger changes nothing that could be measured. (A batch thread, sched(7), saves more, and waits 4 ms for every stranger.)

use rustix::thread::sched_yield;
use std::time::{Duration, Instant};

/// A yield that is shorter is no loss whatever it brought.
const SHORT: Duration = Duration::from_millis(1);
/// How long others may need for each event and for each reply that they bring, while they use the core for the gateway's
/// good: nearly twice what redis-benchmark and redis-server do, so that strangers are told from them.
const EACH_EVENT: Duration = Duration::from_micros(25);
const EACH_REPLY: Duration = Duration::from_micros(3);
/// For how long nobody is let go first once it was a loss: at first, and at most when it was so again and again.
const REST: Duration = Duration::from_millis(16);
const MOST_REST: Duration = Duration::from_secs(4);

/// What one worker has learned of those on its core.
#[derive(Debug)]
pub(crate) struct Manners {
    /// How long the last yield took, if there was one after the last turn.
    took: Option<Duration>,
    /// Until when there is none.
    until: Option<Instant>,
    /// How long the next rest will be.
    rest: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Manners { took: None, until: None, rest: REST }
    }
}

impl Manners {
    /// A turn is over which had so many events and replies. Lets others go first, unless they have shown to be strangers.
    pub(crate) fn turn_is_over(&mut self, events: usize, replies: u64) {
        if let Some(took) = self.took.take() {
            self.learn(took, events, replies);
        }
        let begun = Instant::now();
        if events > 0 && self.until.is_none_or(|until| begun >= until) {
            sched_yield();
            self.took = Some(begun.elapsed());
        }
    }

    fn learn(&mut self, took: Duration, events: usize, replies: u64) {
        let worth = EACH_EVENT * events as u32 + EACH_REPLY * replies.min(1 << 20) as u32;
        if took > SHORT && took > worth {
            self.until = Some(Instant::now() + self.rest);
            self.rest = (self.rest * 2).min(MOST_REST);
        } else {
            self.rest = (self.rest - self.rest / 16).max(REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EACH_EVENT, EACH_REPLY, MOST_REST, Manners, REST, SHORT};
    use std::time::Instant;

    #[test]
    fn what_is_short_or_brings_much_is_repeated() {
        let mut manners = Manners::default();
        manners.learn(SHORT, 0, 0);
        manners.learn(EACH_EVENT * 100 + EACH_REPLY * 1600, 100, 1600);
        assert_eq!(manners.until, None);
        manners.turn_is_over(1, 1);
        assert!(manners.took.is_some());
        manners.turn_is_over(0, 0);
        assert_eq!(manners.took, None, "nothing is under way");
    }

    #[test]
    fn strangers_are_let_go_first_less_and_less() {
        let mut manners = Manners::default();
        for _ in 0..10 {
            manners.learn(4 * SHORT, 3, 3);
        }
        assert_eq!(manners.rest, MOST_REST);
        assert!(manners.until.is_some_and(|until| until > Instant::now() + MOST_REST / 2));
        manners.turn_is_over(1, 1);
        assert_eq!(manners.took, None, "it rests");
    }

    #[test]
    fn strangers_are_forgotten_once_they_are_gone() {
        let mut manners = Manners::default();
        manners.learn(4 * SHORT, 3, 3);
        manners.learn(4 * SHORT, 3, 3);
        assert_eq!(manners.rest, 4 * REST);
        (0..100).for_each(|_| manners.learn(SHORT / 10, 3, 3));
        assert_eq!(manners.rest, REST);
    }
}
