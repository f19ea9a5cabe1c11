//! A gateway is told to end while another one serves the same cluster: it finishes what it has, its clients go there.

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "gateway-drained",
    about: "one of two gateways is told to end, its clients go to the other",
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
    let addr = scene.end_gateway(super::super::system::Signal::TERM).await?;
    scene.note(&addr, "has ended");
    Ok(())
}
