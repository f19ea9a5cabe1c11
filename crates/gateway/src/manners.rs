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
//!
//! Where nobody else wants its core the others run elsewhere, and each write wakes another core, which costs some 25 µs, or
//! another machine. There a worker that found several events in one turn finds more in the next one if it lets some time
//! pass: requests and replies of many go together both ways. So it naps, the longer the more came, and not at all where
//! few are busy, where bytes are what takes the time, or where something is due.

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

/// A yield that is shorter found nobody, or nobody whose turn it was: so many in a row, and nobody is there.
const ALONE: Duration = Duration::from_micros(5);
const SURELY: u32 = 32;
/// Fewer events are no crowd that could be waited for: so few clients wait for every microsecond.
const CROWD: usize = 4;
/// How long a worker naps for each event of its last turn, and at most: with 50 clients or 500 more brings little more.
const EACH_CAME: Duration = Duration::from_micros(10);
const MOST_NAP: Duration = Duration::from_micros(200);
/// A nap that is shorter is not worth its timer.
const LEAST_NAP: Duration = Duration::from_micros(20);
/// Bytes for each event beyond which it is they that take the time.
const LARGE: u64 = 4096;

/// What one turn was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) events: usize,
    pub(crate) replies: u64,
    /// What clients and nodes have sent.
    pub(crate) bytes: u64,
}

/// What one worker has learned of those on its core.
#[derive(Debug)]
pub(crate) struct Manners {
    /// How long the last yield took, if there was one after the last turn.
    took: Option<Duration>,
    /// Until when there is none.
    until: Option<Instant>,
    /// How long the next rest will be.
    rest: Duration,
    /// How many yields in a row found nobody.
    alone: u32,
}

impl Default for Manners {
    fn default() -> Self {
        Manners { took: None, until: None, rest: REST, alone: 0 }
    }
}

impl Manners {
    /// A turn is over. Lets others go first, unless they have shown to be strangers; naps where they are elsewhere, while it
    /// is `free`.
    pub(crate) fn turn_is_over(&mut self, turn: &Turn, free: impl FnOnce() -> Duration) {
        if let Some(took) = self.took.take() {
            self.learn(took, turn.events, turn.replies);
        }
        let begun = Instant::now();
        if turn.events > 0 && self.until.is_none_or(|until| begun >= until) {
            sched_yield();
            let took = begun.elapsed();
            self.took = Some(took);
            self.alone = if took < ALONE { self.alone.saturating_add(1) } else { 0 };
            if self.alone >= SURELY
                && is_crowd(turn)
                && let Some(nap) = nap(turn, free())
            {
                std::thread::sleep(nap);
            }
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

fn is_crowd(turn: &Turn) -> bool {
    turn.events >= CROWD && turn.bytes <= LARGE * turn.events as u64
}

/// How long a worker waits for more than came, where it is free for so long.
fn nap(turn: &Turn, free: Duration) -> Option<Duration> {
    let nap = (EACH_CAME * turn.events as u32).min(MOST_NAP).min(free);
    (nap >= LEAST_NAP).then_some(nap)
}

#[cfg(test)]
mod tests {
    use super::{
        CROWD, EACH_CAME, EACH_EVENT, EACH_REPLY, LARGE, LEAST_NAP, MOST_NAP, MOST_REST, Manners, REST,
        SHORT, Turn, is_crowd, nap,
    };
    use std::time::{Duration, Instant};

    const ONE: Turn = Turn { events: 1, replies: 1, bytes: 40 };
    const NONE: Turn = Turn { events: 0, replies: 0, bytes: 0 };

    fn busy() -> Duration {
        Duration::ZERO
    }

    #[test]
    fn naps_grow_with_the_crowd_and_end_with_what_is_due() {
        let turn = |events: usize, each: u64| Turn { events, replies: 1, bytes: each * events as u64 };
        assert!(!is_crowd(&turn(CROWD - 1, 40)) && is_crowd(&turn(CROWD, 40)));
        assert!(is_crowd(&turn(CROWD, LARGE)) && !is_crowd(&turn(CROWD, LARGE + 1)));
        assert_eq!(nap(&turn(CROWD, 40), SHORT), Some(EACH_CAME * CROWD as u32));
        assert_eq!(nap(&turn(500, 40), SHORT), Some(MOST_NAP));
        assert_eq!(nap(&turn(500, 40), LEAST_NAP), Some(LEAST_NAP));
        assert_eq!(nap(&turn(500, 40), LEAST_NAP / 2), None);
    }

    #[test]
    fn what_is_short_or_brings_much_is_repeated() {
        let mut manners = Manners::default();
        manners.learn(SHORT, 0, 0);
        manners.learn(EACH_EVENT * 100 + EACH_REPLY * 1600, 100, 1600);
        assert_eq!(manners.until, None);
        manners.turn_is_over(&ONE, busy);
        assert!(manners.took.is_some());
        manners.turn_is_over(&NONE, busy);
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
        manners.turn_is_over(&ONE, busy);
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
