//! Slots move with their keys from one shard to another and back, as an operator or a rebalance moves them.

use super::prelude::{Drill, DrillError, Entrance, Limit, Loss, Needs, Promises, Scene};
use crate::drill::scene::Shard;
use crate::link::{Answer, Link};

pub(crate) const DRILL: Drill = Drill {
    name: "reshard-under-load",
    about: "slots move with their keys to another shard and back",
    needs: Needs::Any,
    entrance: Entrance::Service,
    promises: Promises {
        lost: Loss::None,
        errors: &[],
        stall: Limit { median_ms: 40, most_ms: 150 },
        elsewhere: Limit { median_ms: 10, most_ms: 60 },
        heal_ms: 30_000,
    },
    strike: |scene| Box::pin(strike(scene)),
};

/// Slots that move; such with keys in them.
const SLOTS: usize = 64;
/// Keys that move at a time; more hold up the source for longer.
const KEYS: &str = "100";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// A primary that gives or takes slots.
struct End {
    link: Link,
    id: String,
    host: String,
    port: String,
}

async fn strike(scene: &mut Scene) -> Result<(), DrillError> {
    let shards = scene.strike_some(2)?;
    let [from, to] = shards.as_slice() else { return Ok(()) };
    let (mut source, mut target) = (end(scene, from).await?, end(scene, to).await?);
    let mut others = Vec::new();
    for shard in scene.shards.iter().filter(|one| ![from, to].iter().any(|end| end.slots == one.slots)) {
        others.push(end(scene, shard).await?);
    }
    let password = scene.node_password()?;
    let slots = filled(&mut source, from).await?;
    let there = format!("{} slots move from {} to {}", slots.len(), from.primary.name, to.primary.name);
    scene.note(&from.primary.name, there);
    for slot in &slots {
        carry(&mut source, &mut target, &mut others, slot, &password).await?;
    }
    scene.note(&from.primary.name, "they move back");
    for slot in &slots {
        carry(&mut target, &mut source, &mut others, slot, &password).await?;
    }
    scene.note(&from.primary.name, "all are back");
    Ok(())
}

async fn end(scene: &Scene, shard: &Shard) -> Result<End, DrillError> {
    let addr = &shard.primary.addr;
    let mut link = scene.node(addr).await?;
    let id = text(&mut link, &["CLUSTER", "MYID"]).await?;
    let (host, port) = addr.rsplit_once(':').unwrap_or((addr, ""));
    Ok(End { link, id, host: host.to_owned(), port: port.to_owned() })
}

/// Slots of a shard that hold keys.
async fn filled(source: &mut End, shard: &Shard) -> Result<Vec<String>, DrillError> {
    let mut slots = Vec::new();
    for slot in shard.slots.iter().flat_map(|(first, last)| *first..=*last) {
        let slot = slot.to_string();
        if !keys(&mut source.link, &slot, "1").await?.is_empty() {
            slots.push(slot);
        }
        if slots.len() == SLOTS {
            break;
        }
    }
    Ok(slots)
}

/// Moves one slot, and tells everyone who owns it now.
async fn carry(
    source: &mut End,
    target: &mut End,
    others: &mut [End],
    slot: &str,
    password: &str,
) -> Result<(), DrillError> {
    text(&mut target.link, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &source.id]).await?;
    text(&mut source.link, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &target.id]).await?;
    loop {
        let keys = keys(&mut source.link, slot, KEYS).await?;
        if keys.is_empty() {
            break;
        }
        let mut words =
            vec!["MIGRATE", &target.host, &target.port, "", "0", "5000", "AUTH", password, "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        text(&mut source.link, &words).await?;
    }
    // the new owner first: it must not send anyone back
    text(&mut target.link, &["CLUSTER", "SETSLOT", slot, "NODE", &target.id]).await?;
    text(&mut source.link, &["CLUSTER", "SETSLOT", slot, "NODE", &target.id]).await?;
    for other in others {
        text(&mut other.link, &["CLUSTER", "SETSLOT", slot, "NODE", &target.id]).await?;
    }
    Ok(())
}

async fn keys(link: &mut Link, slot: &str, count: &str) -> Result<Vec<String>, DrillError> {
    let answers = call(link, &["CLUSTER", "GETKEYSINSLOT", slot, count]).await?;
    let key = |answer| match answer {
        Answer::Text(key) => Some(key),
        Answer::Error(_) | Answer::Integer(_) | Answer::Nil => None,
    };
    Ok(answers.into_iter().filter_map(key).collect())
}

async fn text(link: &mut Link, words: &[&str]) -> Result<String, DrillError> {
    match call(link, words).await?.into_iter().next() {
        Some(Answer::Text(text)) => Ok(text),
        other => Err(DrillError::Vain(format!("{} {}: {other:?}", words[0], words.get(1).unwrap_or(&"")))),
    }
}

async fn call(link: &mut Link, words: &[&str]) -> Result<Vec<Answer>, DrillError> {
    let parts: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let answers = link.call(&parts, PATIENCE).await;
    let answers = answers.map_err(|lost| DrillError::Vain(format!("{}: {lost}", words[0])))?;
    match answers.as_slice() {
        [Answer::Error(text)] => Err(DrillError::Vain(format!("{} {}: {text}", words[0], words[1]))),
        _ => Ok(answers),
    }
}
