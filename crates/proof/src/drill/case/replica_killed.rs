//! The process of a replica is killed: nobody notices.

use std::future::ready;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "replica-killed",
    about: "a replica's process is killed",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::None,
        errors: &[],
        stall: Limit { median_ms: 10, most_ms: 60 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(ready(strike(scene))),
};

fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    let none = || DrillError::Unable("the shards have no replicas".to_owned());
    let replica = shard.replicas.first().ok_or_else(none)?;
    scene.kill(&[replica])
}
