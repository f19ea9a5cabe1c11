//! The verdict in the words of the page and of `/healthz`. Pure: the time comes in.

use crate::status::{Health, Status};
use thiserror::Error;

/// Number of slots of a cluster.
pub(super) const SLOTS: u32 = 16_384;
/// A status older than this says nothing about now, in milliseconds.
const FRESH_MS: u64 = 10_000;

/// Why the service must not be called healthy.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Unfit {
    /// Control has not looked for too long.
    #[error("the last observation is {0} s old, expected at most 10 s: control is stuck or stopped")]
    Stale(u64),
    /// Not every slot can be served.
    #[error("slots served is {served}, expected 16384: {because}")]
    Slots { served: u32, because: String },
}

/// `Ok` only when every slot is served, as far as a fresh observation knows.
pub(super) fn check(status: &Status, now_ms: u64) -> Result<(), Unfit> {
    if is_stale(status, now_ms) {
        return Err(Unfit::Stale(now_ms.saturating_sub(status.at_ms) / 1000));
    }
    if status.slots_served == SLOTS {
        return Ok(());
    }
    let because = match (status.because.is_empty(), status.health) {
        (false, _) => one_line(&status.because),
        (true, Health::Starting) => "the cluster is being formed".to_owned(),
        (true, Health::Ok | Health::Degraded | Health::Down) => "no reason was given".to_owned(),
    };
    Err(Unfit::Slots { served: status.slots_served, because })
}

/// Whether a status is too old to say anything about now.
pub(super) fn is_stale(status: &Status, now_ms: u64) -> bool {
    now_ms.saturating_sub(status.at_ms) > FRESH_MS
}

/// A reason may contain anything; a line of plain text stays one line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Unfit, check, one_line};
    use crate::status::{Desired, Health, Status};

    fn status(slots_served: u32, at_ms: u64) -> Status {
        Status {
            version: String::new(),
            at_ms,
            since_ms: 0,
            health: Health::Ok,
            because: String::new(),
            server: String::new(),
            desired: Desired { shards: 3, replicas: 1 },
            slots_served,
            nodes: Vec::new(),
            gateways: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn all_slots_and_a_fresh_look_are_needed() {
        assert_eq!(check(&status(16_384, 0), 10_000), Ok(()));
        assert_eq!(check(&status(16_384, 0), 10_001), Err(Unfit::Stale(10)));
        assert_eq!(check(&status(16_384, 50_000), 0), Ok(()), "a clock that went back is not an old look");
        let missing = check(&status(16_383, 0), 0).unwrap_err();
        assert_eq!(missing.to_string(), "slots served is 16383, expected 16384: no reason was given");
        let stale = check(&status(0, 0), 61_000).unwrap_err();
        assert!(stale.to_string().starts_with("the last observation is 61 s old, expected at most 10 s"));
    }

    #[test]
    fn reasons_stay_on_their_line() {
        assert_eq!(one_line("a\r\nb\0c"), "a  b c");
    }
}
