//! A primary and all of its replicas are killed: the shard comes back from disk.

use std::future::ready;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "primary-and-its-replica-killed",
    about: "a primary and its replicas are killed at the same moment",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::LastSecond,
        errors: &["UNCERTAIN"],
        stall: Limit { median_ms: 3_000, most_ms: 6_000 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 60_000,
    },
    strike: |scene| Box::pin(ready(strike(scene))),
};

fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    let all: Vec<_> = std::iter::once(&shard.primary).chain(&shard.replicas).collect();
    scene.kill(&all)
}
