//! The failures, one file each. A case says what it breaks, what it needs and what is promised, and breaks it.

pub(crate) mod all_killed;
pub(crate) mod disk_full;
pub(crate) mod false_alarm;
pub(crate) mod flapping;
pub(crate) mod gateway_drained;
pub(crate) mod gateway_killed;
pub(crate) mod gateway_replaced;
pub(crate) mod memory_full;
pub(crate) mod partition;
pub(crate) mod planned_failover;
pub(crate) mod primary_and_its_replica_killed;
pub(crate) mod primary_fenced_off;
pub(crate) mod primary_hung;
pub(crate) mod primary_killed;
pub(crate) mod replica_killed;
pub(crate) mod reshard_under_load;
pub(crate) mod rolling_restart;
pub(crate) mod two_primaries_killed;

/// What every case is written with.
mod prelude {
    pub(super) use super::super::DrillError;
    pub(super) use super::super::catalogue::{Drill, Entrance, Needs};
    pub(super) use super::super::judge::{Limit, Loss, Promises};
    pub(super) use super::super::scene::Scene;
}
