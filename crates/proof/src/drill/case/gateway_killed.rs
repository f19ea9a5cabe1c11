//! A gateway is killed while another one serves the same cluster: its clients go there.

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "gateway-killed",
    about: "one of two gateways is killed, its clients go to the other",
    needs: Needs::Any,
    entrance: Entrance::TwoGateways,
    promises: Promises {
        lost: Loss::None,
        errors: &["connection lost"],
        stall: Limit { median_ms: 20, most_ms: 100 },
        elsewhere: Limit { median_ms: 20, most_ms: 100 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    scene.strike_all();
    let addr = scene.end_gateway(super::super::system::Signal::KILL).await?;
    scene.note(&addr, "kill -9");
    Ok(())
}
