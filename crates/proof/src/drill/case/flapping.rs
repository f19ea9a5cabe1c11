//! One node is killed again and again, each time as soon as it is back: first as a primary, then as a replica.

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};
use evenkeel_control::status::Status;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "flapping",
    about: "a primary is killed, and four times more as soon as it is back",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::None,
        errors: &["UNCERTAIN"],
        stall: Limit { median_ms: 40, most_ms: 300 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 60_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

/// How often it is killed.
const TIMES: usize = 5;
/// How long it may take to be back each time; repeated crashes are answered with longer pauses.
const BACK: Duration = Duration::from_secs(60);

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    let mut node = shard.primary;
    for time in 1..=TIMES {
        scene.kill(&[&node])?;
        if time == TIMES {
            return Ok(());
        }
        let back = |status: &Status| {
            let now = status.nodes.iter().find(|now| now.name == node.name);
            now.and_then(|now| now.pid).is_some_and(|pid| node.pid != Some(pid))
        };
        let status = scene.wait("the killed node runs again", BACK, back).await?;
        node.pid = status.nodes.iter().find(|now| now.name == node.name).and_then(|now| now.pid);
    }
    Ok(())
}
