//! CLIENT REPLY: replies that a client does not want (`networking.c`: `clientReplyCommand`).
//!
//! Its requests keep their places in the order of replies; what comes for those is empty.

use std::collections::VecDeque;

/// What CLIENT REPLY can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    On,
    Off,
    Skip,
}

/// Sequence numbers of requests whose replies are not wanted.
#[derive(Debug, Default)]
pub(crate) struct Mute {
    /// From the first to before the second; the last may be open.
    runs: VecDeque<(u32, Option<u32>)>,
    /// A request whose reply is sent all the same.
    wanted: Option<u32>,
}

impl Mute {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The request `seq` asked for this.
    pub(crate) fn ask(&mut self, seq: u32, reply: Reply) {
        let is_off = self.runs.back().is_some_and(|(_, to)| to.is_none());
        match (reply, self.runs.back_mut()) {
            // ON is heard itself, right behind SKIP too.
            (Reply::On, Some((_, to))) if to.is_none_or(|to| to.wrapping_sub(seq) as i32 > 0) => {
                *to = Some(seq);
            }
            (Reply::Off, _) if !is_off => self.runs.push_back((seq, None)),
            (Reply::Skip, _) if !is_off => self.runs.push_back((seq, Some(seq.wrapping_add(2)))),
            (Reply::On | Reply::Off | Reply::Skip, Some(_) | None) => {}
        }
    }

    /// The reply of this request is none (`pubsub.c`: CLIENT_PUSHING): a client hears that it is subscribed.
    pub(crate) fn except(&mut self, seq: u32) {
        self.wanted = Some(seq);
    }

    /// Whether the reply of this request is not wanted.
    pub(crate) fn covers(&self, seq: u32) -> bool {
        if self.wanted == Some(seq) {
            return false;
        }
        let from = |first: u32| seq.wrapping_sub(first) as i32 >= 0;
        self.runs.iter().any(|(first, to)| from(*first) && to.is_none_or(|to| !from(to)))
    }

    /// Forgets what lies before the first request that is not answered.
    pub(crate) fn forget(&mut self, head: u32) {
        while let Some((_, Some(to))) = self.runs.front()
            && head.wrapping_sub(*to) as i32 >= 0
        {
            self.runs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mute, Reply};

    #[test]
    fn skips_one_or_all_until_on() {
        let mut mute = Mute::default();
        let start = u32::MAX - 1;
        let seq = |offset: u32| start.wrapping_add(offset);
        mute.ask(seq(1), Reply::Skip);
        mute.ask(seq(4), Reply::Off);
        mute.ask(seq(5), Reply::Skip);
        mute.ask(seq(6), Reply::On);
        mute.ask(seq(7), Reply::On);
        mute.except(seq(5));
        let heard: Vec<u32> = (0..10).filter(|offset| !mute.covers(seq(*offset))).collect();
        assert_eq!(heard, [0, 3, 5, 6, 7, 8, 9]);
        mute.except(seq(9));
        mute.forget(seq(5));
        assert!(!mute.is_empty() && mute.covers(seq(5)) && !mute.covers(seq(6)));
        mute.forget(seq(6));
        assert!(mute.is_empty());
    }

    #[test]
    fn on_behind_skip_is_heard() {
        let mut mute = Mute::default();
        mute.ask(7, Reply::Skip);
        mute.ask(8, Reply::On);
        assert!(mute.covers(7) && !mute.covers(8) && !mute.covers(9));
    }
}
