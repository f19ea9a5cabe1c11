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
