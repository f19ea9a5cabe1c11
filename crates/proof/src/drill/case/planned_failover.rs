//! An operator moves a shard to its replica: nobody notices more than a moment.

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "planned-failover",
    about: "an operator orders `evenkeel failover` for a shard",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::None,
        errors: &[],
        stall: Limit { median_ms: 20, most_ms: 40 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    scene.order(&["failover", &shard.primary.name]).await.map(drop)
}
