//! An operator restarts every server, one after the other: replicas, then a switch, then the old primary.

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "rolling-restart",
    about: "an operator orders `evenkeel restart all`",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::None,
        errors: &[],
        stall: Limit { median_ms: 20, most_ms: 60 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    scene.strike_all();
    scene.order(&["restart", "all"]).await.map(drop)
}
