//! Answers that need every worker: each tells its part, the one that was asked adds them up.

use crate::worker::State;
use evenkeel_core::metric::{self, COUNT, Snapshot, Times};
use evenkeel_core::proxy::{Gather, Proxy, Unblocked};
use evenkeel_core::resp::{Proto, Writer};
use std::time::Duration;

/// One worker's part of an answer.
pub(crate) enum Part {
    Metrics { counts: Box<[u64; COUNT]>, times: Times, slots_known: u32 },
    Clients(String),
    Count(usize),
    Receivers(Vec<i64>),
    Unblocked(Unblocked),
}

impl Part {
    /// What `proxy` has to say. A worker that sleeps goes by no map.
    pub(crate) fn of(proxy: &mut Proxy, what: &Gather, state: State) -> Part {
        match what {
            Gather::Metrics => Part::Metrics {
                counts: Box::new(proxy.counts()),
                times: proxy.times(),
                slots_known: match state {
                    State::Awake => proxy.topology().covered() as u32,
                    State::Asleep => u32::MAX,
                },
            },
            Gather::Clients(which) => Part::Clients(proxy.list_clients(which)),
            Gather::Kill(kill) => Part::Count(proxy.kill_clients(kill)),
            Gather::Pause(pause) => {
                match pause {
                    Some(pause) => proxy.pause(*pause),
                    None => proxy.unpause(),
                }
                Part::Count(0)
            }
            Gather::Receivers(count) => Part::Receivers(proxy.receivers(count)),
            Gather::Info(_) => Part::Count(proxy.waiting_for_pause()),
            Gather::Unblock { number, reason } => Part::Unblocked(proxy.unblock(*number, *reason)),
        }
    }
}

/// The one worker's part that knows the client to unblock.
pub(crate) fn unblocked(parts: &[Part]) -> Unblocked {
    let found = parts.iter().find_map(|part| match part {
        Part::Unblocked(Unblocked::Nobody)
        | Part::Metrics { .. }
        | Part::Clients(_)
        | Part::Count(_)
        | Part::Receivers(_) => None,
        Part::Unblocked(found) => Some(found.clone()),
    });
    found.unwrap_or(Unblocked::Nobody)
}

/// What the answer says of the whole gateway.
pub(crate) struct Running {
    /// Workers that are awake.
    pub(crate) workers: usize,
    /// How long it has run.
    pub(crate) since: Duration,
}

/// The reply made of all workers' parts.
pub(crate) fn reply(what: &Gather, parts: &[Part], proto: Proto, gateway: Running) -> Vec<u8> {
    let mut snapshot = Snapshot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        workers: gateway.workers as u32,
        uptime_s: gateway.since.as_secs_f64(),
        slots_known: u32::MAX,
        ..Snapshot::default()
    };
    let (mut sums, mut times) = ([0u64; COUNT], Times::default());
    let mut clients = String::new();
    let mut sum = 0;
    let mut receivers = Vec::new();
    for part in parts {
        match part {
            Part::Metrics { counts, times: here, slots_known } => {
                sums.iter_mut().zip(counts.iter()).for_each(|(sum, count)| *sum += count);
                times.add(here);
                snapshot.slots_known = snapshot.slots_known.min(*slots_known);
            }
            Part::Clients(lines) => clients.push_str(lines),
            Part::Count(count) => sum += count,
            Part::Receivers(here) => receivers.push(here.clone()),
            Part::Unblocked(_) => {} // see `unblocked`
        }
    }
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, proto);
    match what {
        Gather::Receivers(count) => return count.reply(&receivers),
        Gather::Clients(_) => writer.verbatim(clients.as_bytes()),
        Gather::Info(info) => info.reply(sum, &mut writer),
        Gather::Kill(kill) => kill.reply(sum, &mut writer),
        Gather::Pause(_) => writer.simple("OK"),
        Gather::Metrics | Gather::Unblock { .. } => {
            snapshot.latency = times.all();
            (snapshot.classes, snapshot.nodes) = (times.classes, times.nodes);
            snapshot.values =
                metric::ALL.iter().map(|metric| (metric.name().to_owned(), sums[*metric as usize])).collect();
            writer.bulk(&serde_json::to_vec(&snapshot).unwrap_or_default());
        }
    }
    out
}
