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

/// The same of servers that nobody looks after: the operator asks the replica itself.
pub(crate) const ALONE: Drill = Drill {
    about: "an operator sends `CLUSTER FAILOVER` to a replica",
    needs: Needs::Solitude,
    entrance: Entrance::Nodes,
    promises: Promises::NONE,
    strike: |scene| Box::pin(strike_alone(scene)),
    ..DRILL
};

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    scene.order(&["failover", &shard.primary.name]).await.map(drop)
}

async fn strike_alone(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    let replica =
        shard.replicas.first().ok_or_else(|| DrillError::Unable("a shard has no replica".to_owned()))?;
    scene.note(&replica.name, "CLUSTER FAILOVER");
    scene.ask_node(&replica.addr, &[b"CLUSTER", b"FAILOVER"]).await.map(drop)
}
