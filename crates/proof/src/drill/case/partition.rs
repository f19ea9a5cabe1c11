//! The machine of a primary falls off the network and comes back: the servers' own election replaces it, and its side
//! yields. Each server is in a network of its own; nobody supervises them.

use std::time::Duration;

use tokio::time::sleep;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};

pub(crate) const DRILL: Drill = Drill {
    name: "partition",
    about: "a primary's machine falls off the network and comes back",
    needs: Needs::Networks,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::Told("replication is asynchronous, and what a primary had not sent stays with it"),
        errors: &["UNCERTAIN"],
        stall: Limit { median_ms: 5_000, most_ms: 8_000 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

/// How long the election may take.
const ELECTION: Duration = Duration::from_secs(20);
/// How long the machine stays away after that.
const AWAY: Duration = Duration::from_secs(2);

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    let name = shard.primary.name.clone();
    scene.note(&name, "its cable is pulled");
    scene.lab()?.cut(&name)?;
    let heir = scene.lab()?.replaced(&shard, ELECTION).await?;
    scene.note(&heir, "was elected by the other machines");
    sleep(AWAY).await;
    scene.lab()?.put_right();
    scene.note(&name, "its cable is back");
    Ok(())
}
