//! Every node's memory is filled up to its limit: writes are refused, and each is told so; reads go on.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_core::topology::slot;
use tokio::time::sleep;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};
use crate::link::Answer;
use crate::wire;

pub(crate) const DRILL: Drill = Drill {
    name: "memory-full",
    about: "every node's memory is filled up to its limit, and freed again",
    needs: Needs::Memory("48mb"),
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::None,
        errors: &["OOM"],
        stall: Limit { median_ms: 300, most_ms: 1_000 },
        elsewhere: Limit { median_ms: 300, most_ms: 1_000 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

/// Bytes of a value that fills.
const VALUE: usize = 64 * 1024;
/// Values on their way at a time.
const DEPTH: usize = 8;
/// More values than this fill any node of this drill's size.
const MOST: usize = 8_000;
/// How long all are left full.
const FULL: Duration = Duration::from_secs(2);

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shards = scene.strike_all();
    let keys: Vec<String> = (0..MOST).map(|n| format!("evenkeel:drill:fill:{n}")).collect();
    scene.unlink_later(keys.clone());
    scene.note("cluster", "memory is being filled");
    let (value, mut full) = (vec![b'x'; VALUE], BTreeSet::new());
    let mut link = scene.client().await?;
    let mut used = 0;
    for some in keys.chunks(DEPTH) {
        for key in some {
            wire::command(link.outbox(), &[b"SET", key.as_bytes(), &value]);
        }
        let answers = link.answers(some.len()).await;
        let answers = answers.map_err(|lost| DrillError::Vain(format!("filling ended: {lost}")))?;
        used += some.len();
        for (key, answer) in some.iter().zip(answers) {
            let slot = slot(key.as_bytes());
            let inside =
                |ranges: &[(u16, u16)]| ranges.iter().any(|(first, last)| (*first..=*last).contains(&slot));
            if matches!(answer, Answer::Error(text) if text.starts_with("OOM")) {
                full.extend(shards.iter().position(|shard| inside(&shard.slots)));
            }
        }
        if full.len() == shards.len() {
            break;
        }
    }
    if full.len() < shards.len() {
        return Err(DrillError::Vain(format!("{used} values of {VALUE} bytes did not fill every node")));
    }
    scene.note("cluster", format!("memory is full after {used} values of {VALUE} bytes"));
    sleep(FULL).await;
    scene.unlink(&keys[..used]).await?;
    scene.note("cluster", "memory is free again");
    Ok(())
}
