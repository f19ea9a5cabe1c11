//! Every server is killed at the same moment, as when the power fails: the cluster comes back from its disks.

use std::future::ready;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "all-killed",
    about: "every server is killed at the same moment",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::LastSecond,
        errors: &["UNCERTAIN", "UNAVAILABLE"],
        stall: Limit { median_ms: 10_000, most_ms: 20_000 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 60_000,
    },
    strike: |scene| Box::pin(ready(strike(scene))),
};

fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shards = scene.strike_all();
    let servers = shards.iter().flat_map(|shard| std::iter::once(&shard.primary).chain(&shard.replicas));
    scene.kill(&servers.collect::<Vec<_>>())
}
