//! One run of one drill: calm, fault, healing, calm, and the last reading of every key.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::args::Plan;
use super::catalogue::{Drill, Entrance};
use super::figures::{Figures, Moments};
use super::report::Run;
use super::scene::Scene;
use super::system::{dice, now_ms};
use super::timeline::Timeline;
use super::{DrillError, progress};
use crate::load::{Load, LoadHandle, LoadOptions, Redirects};

/// The fault comes at a random moment of this time, so that runs meet other phases of every timer.
const PHASE: Duration = Duration::from_secs(1);
/// Rest of each client after it has read answers: leaves processor time to what is drilled.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);
/// How long a client that speaks to the servers themselves waits for an answer until it tries another one.
pub(crate) const ALONE: Duration = Duration::from_millis(500);
/// Requests that have to be answered before a load counts as running.
const RUNNING: u64 = 200;
/// How long the load may take to start.
const START: Duration = Duration::from_secs(20);
/// How long a fault may take, orders of several steps included.
const FAULT: Duration = Duration::from_secs(300);
/// How much longer than promised the healing is waited for.
const GRACE: Duration = Duration::from_secs(30);

/// Runs a drill once.
pub(crate) async fn run(drill: &Drill, scene: &mut Scene, plan: &Plan) -> Result<Run, DrillError> {
    let (addrs, password) = scene.begin(drill.entrance).await?;
    let names: Vec<String> = scene.shards.iter().map(super::scene::Shard::name).collect();
    let load = scene.load.insert(load(scene, plan, drill.entrance, addrs, password)?);
    if !load.wait_for(RUNNING, START).await {
        return Err(DrillError::NotReady("it answers no requests".to_owned()));
    }
    let phase = Duration::from_millis(dice(PHASE.as_millis() as usize) as u64);
    sleep(plan.calm + phase).await;
    scene.load.as_ref().inspect(|load| load.mark());
    let struck = now_ms();
    let done = timeout(FAULT, (drill.strike)(scene)).await;
    let over = now_ms();
    let failed = match done {
        Ok(Ok(())) => None,
        Ok(Err(error @ (DrillError::Order { .. } | DrillError::Vain(_)))) => Some(error.to_string()),
        Ok(Err(error)) => return Err(error),
        Err(_) => Some(format!("the fault was not over within {} s", FAULT.as_secs())),
    };
    progress(&format!("  struck after {:.1} s of load", plan.calm.as_secs_f64() + phase.as_secs_f64()));
    let patience = Duration::from_millis(drill.promises.heal_ms) + GRACE;
    let healed = match drill.entrance {
        Entrance::Service | Entrance::TwoGateways => scene.healed(patience).await,
        Entrance::Nodes => scene.replaced_alone(patience).await,
    };
    sleep(plan.calm).await;
    let verdict = scene.verdict().await?;
    let moments = Moments { struck, over, healed };
    let mut figures = Figures::new(&verdict, &names, &scene.struck, moments);
    figures.failed = failed;
    let mut events = scene.journal(verdict.began_ms);
    events.append(&mut scene.notes);
    let timeline = Timeline::new(&verdict, &names, &scene.struck, moments, events);
    progress(&format!("  {}", figures.words()));
    Ok(Run { figures, timeline })
}

fn load(
    scene: &Scene,
    plan: &Plan,
    entrance: Entrance,
    mut addrs: Vec<String>,
    password: Option<String>,
) -> Result<LoadHandle, DrillError> {
    let first = if addrs.is_empty() { String::new() } else { addrs.remove(0) };
    let (patience, redirects) = match entrance {
        // longer than a gateway holds requests by default: who gives up first has no answer to judge
        Entrance::Service | Entrance::TwoGateways => (Duration::from_secs(30), Redirects::Errors),
        Entrance::Nodes => (ALONE, Redirects::Followed),
    };
    let options = LoadOptions {
        // at least one for each shard
        connections: plan.clients.max(scene.shards.len()),
        pipeline: 4,
        key_space: 32,
        password,
        seed: dice(1 << 40) as u64,
        patience,
        pause: PAUSE,
        settle: Duration::from_secs(60),
        groups: scene.shards.iter().map(|shard| shard.slots.clone()).collect(),
        other_addrs: addrs,
        redirects,
        network: scene.network(),
        ..LoadOptions::default()
    };
    Load::start(first, options).map_err(DrillError::system("start the load"))
}
