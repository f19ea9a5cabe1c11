//! A primary loses the other nodes, but not the gateway: until they have elected another one it goes on alone, and
//! what it acknowledges then is lost. Each server is in a network of its own; nobody supervises them.

use std::time::Duration;

use tokio::time::sleep;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "primary-fenced-off",
    about: "a primary loses the other nodes, but not the gateway",
    needs: Needs::Networks,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::Told("replication is asynchronous, and it cannot know yet that it was replaced"),
        errors: &["UNCERTAIN"],
        stall: Limit { median_ms: 5_000, most_ms: 8_000 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

/// How long the election may take.
const ELECTION: Duration = Duration::from_secs(20);
/// How long it stays alone after that.
const ALONE: Duration = Duration::from_secs(2);

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    let name = shard.primary.name.clone();
    scene.note(&name, "nothing passes between it and the other nodes");
    scene.lab()?.fence(&name)?;
    let heir = scene.lab()?.replaced(&shard, ELECTION).await?;
    scene.note(&heir, "was elected by the other nodes");
    sleep(ALONE).await;
    scene.lab()?.put_right();
    scene.note(&name, "everything passes again");
    Ok(())
}
