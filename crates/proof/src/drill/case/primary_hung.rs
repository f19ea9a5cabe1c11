//! A primary hangs: its process is there and does nothing. Silence is no proof of death, so control makes it one.

use std::future::ready;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "primary-hung",
    about: "a primary stops answering, its process is still there",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::None,
        errors: &["UNCERTAIN"],
        stall: Limit { median_ms: 600, most_ms: 1_000 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(ready(strike(scene))),
};

/// The same of servers that nobody looks after.
pub(crate) const ALONE: Drill =
    Drill { needs: Needs::Solitude, entrance: Entrance::Nodes, promises: Promises::NONE, ..DRILL };

fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    scene.hang(&shard.primary)
}
