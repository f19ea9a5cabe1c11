//! A healthy primary is replaced by force, as a supervisor does that is wrong about it.

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};
use crate::link::Answer;
use evenkeel_control::status::{Role, Status};
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "false-alarm",
    about: "a healthy primary is replaced by force",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::Told(
            "replication is asynchronous, and the old primary had acknowledged more than it had sent",
        ),
        errors: &["UNCERTAIN"],
        stall: Limit { median_ms: 150, most_ms: 1_000 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shard = scene.strike_one()?;
    let none = || DrillError::Unable("the shards have no replicas".to_owned());
    let heir = shard.replicas.first().ok_or_else(none)?;
    scene.note(&heir.name, "CLUSTER FAILOVER FORCE");
    let answers = scene.ask_node(&heir.addr, &[b"CLUSTER", b"FAILOVER", b"FORCE"]).await?;
    if let [Answer::Error(text)] = answers.as_slice() {
        return Err(DrillError::Vain(format!("{}: {text}", heir.name)));
    }
    // OK is no promise: what counts is who owns the slots
    let owns = |status: &Status| {
        let now = status.nodes.iter().find(|node| node.name == heir.name);
        now.is_some_and(|now| now.role == Role::Primary && !now.slots.is_empty())
    };
    scene.wait("the replica owns the slots", Duration::from_secs(20), owns).await.map(drop)
}
