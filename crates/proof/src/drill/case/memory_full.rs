//! Every node's memory is filled up to its limit: writes are refused, and each is told so; reads go on.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use evenkeel_core::topology::slot;

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};
use crate::link::{Answer, Link};
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

/// Bytes of the values that fill, one size after the other: where a large one does not fit, a small one may.
const VALUES: [usize; 3] = [64 * 1024, 4 * 1024, 64];
/// Values on their way at a time.
const DEPTH: usize = 8;
/// More values than this fill any node of this drill's size.
const MOST: usize = 60_000;
/// How long all are left full.
const FULL: Duration = Duration::from_secs(2);

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shards = scene.strike_all();
    let keys: Vec<String> = (0..MOST).map(|n| format!("evenkeel:drill:fill:{n}")).collect();
    scene.unlink_later(keys.clone());
    scene.note("cluster", "memory is being filled");
    let (mut link, mut full) = (scene.client().await?, BTreeSet::new());
    let (mut used, mut size, mut since) = (0, 0, None);
    for some in keys.chunks(DEPTH) {
        for key in set(&mut link, some, VALUES[size]).await? {
            full.extend(shards.iter().position(|shard| shard.holds(slot(key.as_bytes()))));
        }
        used += some.len();
        if full.len() == shards.len() && size + 1 < VALUES.len() {
            (size, full) = (size + 1, BTreeSet::new());
        } else if full.len() == shards.len() && since.is_none() {
            since = Some(Instant::now());
            scene.note("cluster", format!("memory is full after {used} values"));
        }
        // servers free some memory by themselves, so it is filled again and again
        if since.is_some_and(|since| since.elapsed() > FULL) {
            break;
        }
    }
    if since.is_none() {
        return Err(DrillError::Vain(format!("{used} values did not fill every node")));
    }
    scene.unlink(&keys[..used]).await?;
    scene.note("cluster", "memory is free again");
    Ok(())
}

/// Sets some keys; gives those that were refused because memory is full.
async fn set<'a>(link: &mut Link, keys: &'a [String], size: usize) -> Result<Vec<&'a String>, DrillError> {
    let value = vec![b'x'; size];
    for key in keys {
        wire::command(link.outbox(), &[b"SET", key.as_bytes(), &value]);
    }
    let answers = link.answers(keys.len()).await;
    let answers = answers.map_err(|lost| DrillError::Vain(format!("filling ended: {lost}")))?;
    let refused = |answer: &Answer| matches!(answer, Answer::Error(text) if text.starts_with("OOM"));
    Ok(keys.iter().zip(answers).filter(|(_, answer)| refused(answer)).map(|(key, _)| key).collect())
}
