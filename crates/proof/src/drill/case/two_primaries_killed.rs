//! Two primaries are killed at the same moment: no majority is left to vote, so both are taken over without one.

use std::future::ready;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "two-primaries-killed",
    about: "two primaries are killed at the same moment",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::None,
        errors: &["UNCERTAIN"],
        stall: Limit { median_ms: 40, most_ms: 300 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(ready(strike(scene))),
};

fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shards = scene.strike_some(2)?;
    let primaries: Vec<_> = shards.iter().map(|shard| &shard.primary).collect();
    scene.kill(&primaries)
}
