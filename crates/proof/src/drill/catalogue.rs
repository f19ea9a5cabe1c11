//! Every drill there is, and the form in which one is written: what it breaks, what it needs, what it promises.

use std::pin::Pin;

use super::DrillError;
use super::case;
use super::judge::{Durability, Promises};
use super::scene::Scene;

/// A fault on its way.
pub(crate) type Strike<'a> = Pin<Box<dyn Future<Output = Result<(), DrillError>> + 'a>>;

/// One failure and what is promised about it.
pub(crate) struct Drill {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What is done, in a few words.
    pub(crate) about: &'static str,
    /// What it needs of the deployment.
    pub(crate) needs: Needs,
    /// By which way the load comes.
    pub(crate) entrance: Entrance,
    /// What has to hold.
    pub(crate) promises: Promises,
    /// Does it, and returns when the fault is over and healing may begin.
    pub(crate) strike: for<'a> fn(&'a mut Scene) -> Strike<'a>,
}

/// What a drill needs of the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: any will do.
    Any,
    /// Nodes with this memory limit.
    Memory(&'static str),
    /// A disk of this size, which only root can give.
    SmallDisk { megabytes: u32 },
    /// Every server in a network of its own, which only root can give.
    Networks,
    /// Nobody who looks after the servers: they are alone, with the settings that Redis has by itself where ours differ
    /// for the sake of availability. It shows what there would be without evenkeel; nothing is promised of it.
    Solitude,
}

/// By which way the load comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The deployment's own address.
    Service,
    /// Two gateways in processes of their own; clients that lose one go to the other.
    TwoGateways,
    /// No gateway: the load speaks to the nodes and follows them, as a client for clusters does.
    Nodes,
}

/// All drills, in the order in which `--all` runs them.
pub(crate) const ALL: [&Drill; 18] = [
    &case::primary_killed::DRILL,
    &case::primary_hung::DRILL,
    &case::replica_killed::DRILL,
    &case::two_primaries_killed::DRILL,
    &case::primary_and_its_replica_killed::DRILL,
    &case::all_killed::DRILL,
    &case::flapping::DRILL,
    &case::false_alarm::DRILL,
    &case::planned_failover::DRILL,
    &case::rolling_restart::DRILL,
    &case::reshard_under_load::DRILL,
    &case::gateway_killed::DRILL,
    &case::gateway_drained::DRILL,
    &case::gateway_replaced::DRILL,
    &case::memory_full::DRILL,
    &case::disk_full::DRILL,
    &case::partition::DRILL,
    &case::primary_fenced_off::DRILL,
];

/// Those that the servers can be put through alone as well, to compare.
pub(crate) const ALONE: [&Drill; 3] =
    [&case::primary_killed::ALONE, &case::primary_hung::ALONE, &case::planned_failover::ALONE];

/// A drill with what the gateway's writes wait for meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Cast {
    pub(crate) drill: &'static Drill,
    pub(crate) durability: Durability,
}

impl Drill {
    /// Whether it is done to evenkeel, so that promises are judged.
    pub(crate) fn is_judged(&self) -> bool {
        match self.needs {
            Needs::Any | Needs::Memory(_) | Needs::SmallDisk { .. } | Needs::Networks => true,
            Needs::Solitude => false,
        }
    }
}

/// All drills, and once more those in which a confirmation by a replica decides whether writes are lost.
pub(crate) fn all() -> Vec<Cast> {
    let replicated = [
        &case::primary_killed::DRILL,
        &case::primary_hung::DRILL,
        &case::false_alarm::DRILL,
        &case::partition::DRILL,
        &case::primary_fenced_off::DRILL,
    ];
    let cast = |durability| move |drill| Cast { drill, durability };
    let twice = replicated.into_iter().map(cast(Durability::Replicated));
    ALL.into_iter().map(cast(Durability::Async)).chain(twice).collect()
}

/// The same drills without evenkeel, those of them that can be done so.
pub(crate) fn alone(drills: &[Cast]) -> Vec<Cast> {
    let named = |drill: &&&Drill| {
        drills.iter().any(|cast| cast.drill.name == drill.name && cast.durability == Durability::Async)
    };
    let alone = ALONE.iter().filter(named);
    alone.map(|drill| Cast { drill, durability: Durability::Async }).collect()
}

/// The drill of that name.
pub(crate) fn named(name: &str) -> Result<&'static Drill, DrillError> {
    let found = ALL.into_iter().find(|drill| drill.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|drill| drill.name).collect();
        DrillError::Unknown { name: name.to_owned(), known: known.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_drill_says_what_it_breaks_and_what_it_promises() {
        let names: BTreeSet<&str> = ALL.iter().map(|drill| drill.name).collect();
        assert_eq!(names.len(), ALL.len(), "names differ");
        for drill in ALL {
            assert!(
                drill.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{}",
                drill.name
            );
            assert!(
                !drill.about.is_empty() && !drill.promises.words(Durability::Async).is_empty(),
                "{}",
                drill.name
            );
            assert!(drill.promises.stall.median_ms <= drill.promises.stall.most_ms, "{}", drill.name);
            assert!(drill.promises.elsewhere.median_ms <= drill.promises.elsewhere.most_ms, "{}", drill.name);
        }
    }

    #[test]
    fn every_file_of_a_case_is_in_the_catalogue() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/drill/case");
        let files =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<String> =
            files.filter_map(|file| Some(file.strip_suffix(".rs")?.replace('_', "-"))).collect();
        let names: BTreeSet<String> = ALL.iter().map(|drill| drill.name.to_owned()).collect();
        assert_eq!(files.into_iter().filter(|name| name != "mod").collect::<BTreeSet<_>>(), names);
    }
}
