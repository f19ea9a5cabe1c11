//! Carries out one step.
//!
//! Owns the commands that belong to each step. Never judges whether a step has worked: the next look does.

use std::time::Duration;

use evenkeel_core::plan::{Desired, NodeName, Promotion, Step, Wanted};
use redis::Cmd;

use crate::engine::Engine;
use crate::observe::{Eyes, plain};
use crate::switch::switch;

/// How long a node may take to carry out a command.
const PATIENCE: Duration = Duration::from_secs(1);

/// Carries out a step; the error is for the journal.
pub(crate) async fn act(
    step: &Step,
    desired: &Desired,
    engine: &impl Engine,
    eyes: &mut Eyes,
    now: u64,
) -> Result<(), String> {
    let wanted = |name: &NodeName| {
        desired
            .nodes
            .iter()
            .find(|wanted| &wanted.name == name)
            .ok_or_else(|| format!("{name} is not a wanted node"))
    };
    let target = wanted(step.node())?;
    match step {
        Step::Start { node } => engine.start(node).await.map_err(|error| error.to_string()),
        Step::Kill { node } => engine.kill(node).map_err(|error| error.to_string()),
        Step::Stop { node } => engine.end(node).map_err(|error| error.to_string()),
        Step::Identify { node } => engine.identify(node).map_err(|error| error.to_string()),
        Step::Configure { node, changes } => {
            for (key, value) in changes {
                let mut command = redis::cmd("CONFIG");
                command.arg("SET").arg(key).arg(value);
                run(eyes, target, &command).await?;
            }
            engine.configured(node).map_err(|error| error.to_string())
        }
        Step::Switch { node, from } => {
            eyes.forced(node, now);
            switch(eyes, wanted(from)?, target).await
        }
        Step::SetAside { node } => engine.set_aside(node).map_err(|error| error.to_string()),
        Step::Promote { by: Promotion::Takeover, .. } => {
            run(eyes, target, &cluster(&["FAILOVER", "TAKEOVER"])).await
        }
        Step::Promote { node, by: Promotion::Force } => {
            eyes.forced(node, now);
            run(eyes, target, &cluster(&["FAILOVER", "FORCE"])).await
        }
        Step::Forget { id, .. } => run(eyes, target, &cluster(&["FORGET", &id.0])).await,
        Step::Raise { .. } => run(eyes, target, &cluster(&["BUMPEPOCH"])).await,
        Step::SetEpoch { epoch, .. } => {
            run(eyes, target, &cluster(&["SET-CONFIG-EPOCH", &epoch.to_string()])).await
        }
        Step::AddSlots { slots, .. } => {
            let mut command = cluster(&["ADDSLOTSRANGE"]);
            for (first, last) in slots.ranges() {
                command.arg(first).arg(last);
            }
            run(eyes, target, &command).await
        }
        Step::Meet { peers, .. } => {
            for peer in peers {
                let addr = wanted(peer)?.addr;
                let (ip, port) = (addr.ip().to_string(), addr.port().to_string());
                run(eyes, target, &cluster(&["MEET", &ip, &port])).await?;
            }
            Ok(())
        }
        Step::Replicate { id, .. } => run(eyes, target, &cluster(&["REPLICATE", &id.0])).await,
    }
}

fn cluster(words: &[&str]) -> Cmd {
    let mut command = redis::cmd("CLUSTER");
    for word in words {
        command.arg(*word);
    }
    command
}

async fn run(eyes: &mut Eyes, target: &Wanted, command: &Cmd) -> Result<(), String> {
    let work = async {
        let mut connection = eyes.connection(target).await?;
        command.query_async::<()>(&mut connection).await
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| plain(&error)),
        Err(_) => Err("it took longer than a second".to_owned()),
    }
}
