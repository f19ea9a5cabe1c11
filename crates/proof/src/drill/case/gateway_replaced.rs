//! A gateway gets a new process on the same address, as at an upgrade: the old one hands its listeners over, answers
//! what it has, and ends.

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "gateway-replaced",
    about: "a gateway gets a new process on the same address",
    needs: Needs::Any,
    entrance: Entrance::TwoGateways,
    promises: Promises {
        lost: Loss::None,
        errors: &[],
        stall: Limit { median_ms: 20, most_ms: 100 },
        elsewhere: Limit { median_ms: 20, most_ms: 100 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    scene.strike_all();
    let addr = scene.replace_gateway().await?;
    scene.note(&addr, "has a new process, the old one has ended");
    Ok(())
}
