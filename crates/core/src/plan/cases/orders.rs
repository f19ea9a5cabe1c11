//! Moments with orders, and cold starts: what a person wishes for, and what is decided by nobody else.

use super::super::{
    Disk, Duty, Link, NodeId, Order, Past, Peer, PeerLink, PeerRole, Process, Progress, Request, Rung,
    Settings, Slots, State, Step, What, Written, admit, progress,
};
use super::{Moment, NOW, id, line, name, start, takeover};
use crate::config::Persistence;
use crate::topology::Own;

impl Moment {
    fn order(&mut self, request: &Request) -> Result<What, String> {
        let what = admit(&self.desired, &self.observed, request, NOW)?;
        let id = self.desired.orders.len() as u64 + 1;
        self.desired.orders.push(Order { id, at: NOW, what: what.clone() });
        Ok(what)
    }

    fn failover(&mut self, target: &str) -> Result<What, String> {
        self.order(&Request::Failover { target: target.to_owned() })
    }

    fn restart(&mut self, target: &str) -> Result<What, String> {
        self.order(&Request::Restart { target: target.to_owned() })
    }

    fn progress(&self) -> Progress {
        progress(&self.desired, &self.observed, &self.desired.orders[0], NOW)
    }
}

fn stop(at: usize) -> Step {
    Step::Stop { node: name(at) }
}

fn switch(at: usize, from: usize) -> Step {
    Step::Switch { node: name(at), from: name(from) }
}

#[test]
fn a_planned_failover_names_a_shard_a_primary_or_a_replica() {
    let moved = |target: &str| Moment::calm().failover(target);
    let from_b = Ok(What::Failover { from: name(1), to: None });
    assert_eq!((moved("2"), moved("b")), (from_b.clone(), from_b));
    assert_eq!(moved("e"), Ok(What::Failover { from: name(1), to: Some(name(4)) }));
    for (target, why) in
        [("4", "there is no shard 4, expected 1..=3"), ("0", "no shard 0"), ("x", "expected one of a, b, c")]
    {
        let error = moved(target).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    assert!(
        Moment::calm().dead(4, Disk::Kept).failover("b").unwrap_err().contains("no replica that answers")
    );
    assert!(Moment::calm().silent(4).failover("e").unwrap_err().contains("e does not answer"));
    let mut twice = Moment::calm();
    twice.failover("b").unwrap();
    assert!(twice.failover("e").unwrap_err().contains("order 1 moves the slots of b already"));
    assert_eq!(twice.steps(), [switch(4, 1)]);
    assert_eq!(twice.plan().rung, Some(Rung::Upgrade));
    assert_eq!(twice.progress(), Progress::Open);
}

#[test]
fn a_switch_waits_for_whatever_would_make_it_long_or_unsafe() {
    let waits = |spoil: fn(&mut Moment)| {
        let mut moment = Moment::calm();
        moment.failover("a").unwrap();
        spoil(&mut moment);
        moment.waits()
    };
    assert!(
        waits(|moment| moment.seen(3).won_at = Some(NOW - 19_000)).contains("can stand again in 1000 ms")
    );
    assert!(waits(|moment| moment.seen(0).yielded_at = Some(NOW - 9_000)).contains("vote again in 1000 ms"));
    assert!(
        waits(|moment| moment.seen(0).won_at = Some(NOW - 400)).contains("gives its slots away in 600 ms")
    );
    assert!(waits(|moment| moment.seen(3).forced_at = Some(NOW - 6_000)).contains("was asked 6000 ms ago"));
    assert!(waits(|moment| moment.facts(0).offset += 2 << 20).contains("d is 2097152 bytes behind"));
    assert!(waits(|moment| moment.facts(3).state = State::Fail).contains("d is not in sync"));
    let blind = waits(|moment| {
        for viewer in [0, 1] {
            let line = moment.facts(viewer).view.iter_mut().find(|peer| peer.id == id(3));
            line.unwrap().link = PeerLink::Down;
        }
    });
    assert!(blind.contains("no majority of the primaries sees d"), "{blind}");
    let unheard = waits(|moment| {
        for viewer in [1, 2] {
            let line = moment.facts(viewer).view.iter_mut().find(|peer| peer.id == id(3));
            line.unwrap().role = PeerRole::Primary;
        }
    });
    assert!(unheard.contains("no majority of the primaries sees d as its replica"), "{unheard}");
}

#[test]
fn a_rolling_restart_takes_replicas_first_and_switches_before_a_primary() {
    let mut moment = Moment::calm();
    moment.restart("all").unwrap();
    assert_eq!(moment.steps(), [stop(3)]);
    assert!(
        moment.plan().steps[0].because.contains("order 1: it gets a new process (6 to go); it owns no slots")
    );
    for at in 3..6 {
        assert_eq!(moment.steps(), [stop(at)]);
        moment.seen(at).started_at = NOW + 1;
    }
    assert_eq!(moment.steps(), [switch(3, 0)]);
    moment.seen(3).forced_at = Some(NOW - 1);
    assert!(moment.waits().contains("was asked 1 ms ago"));
}

#[test]
fn a_rolling_restart_goes_on_only_when_all_is_well() {
    let mut moment = Moment::calm();
    moment.restart("all").unwrap();
    moment.facts(4).duty = Duty::Replica { of: id(1), link: Link::Down { since_s: 1 } };
    assert!(
        moment.waits().contains("first all has to be well: e its link to its primary has been down for 1 s")
    );
    let dead = moment.dead(4, Disk::Kept);
    assert_eq!(dead.steps(), [start(4)], "what is broken is repaired first");
}

#[test]
fn a_primary_without_a_replica_is_restarted_in_place_if_its_disk_keeps_its_data() {
    let alone = |persistence| {
        let mut moment = Moment::calm();
        moment.desired.nodes.truncate(3);
        (moment.desired.replicas, moment.desired.persistence) = (0, persistence);
        moment.observed.nodes.retain(|node, _| node.0.as_str() < "d");
        for at in 0..3 {
            moment.facts(at).view.truncate(3);
        }
        moment
    };
    let mut kept = alone(Persistence::Aof);
    kept.restart("a").unwrap();
    assert_eq!(kept.steps(), [stop(0)]);
    assert!(alone(Persistence::None).restart("a").unwrap_err().contains("a restart would lose the data"));
}

#[test]
fn other_settings_are_set_in_place_or_with_a_new_process() {
    let mut moment = Moment::calm();
    let changes = vec![("maxmemory".to_owned(), "1".to_owned())];
    moment.seen(0).settings = Settings::Adjustable(changes.clone());
    assert_eq!(moment.steps(), [Step::Configure { node: name(0), changes }]);
    moment.seen(0).settings = Settings::InForce;
    moment.seen(5).settings = Settings::Fixed("another server program".to_owned());
    assert_eq!(moment.steps(), [stop(5)]);
    assert!(
        moment.plan().steps[0].because.contains("another server program takes effect with a new process")
    );
}

#[test]
fn an_identity_that_is_on_record_is_restored_before_the_start() {
    let moment =
        (0..6).fold(Moment::calm(), |moment, at| moment.dead(at, Disk::Kept)).dead(0, Disk::Nameless);
    assert_eq!(moment.steps()[0], Step::Identify { node: name(0) });
    assert_eq!(moment.steps()[1..], (1..6).map(start).collect::<Vec<_>>());
}

#[test]
fn data_that_is_nowhere_is_given_up_by_a_person_only() {
    let gone = || Moment::calm().dead(0, Disk::Lost).dead(3, Disk::Lost);
    let mut moment = gone();
    assert_eq!(
        (moment.plan().losses, moment.steps()),
        (vec![name(0)], vec![start(3)]),
        "a replica may come back empty"
    );
    assert!(moment.plan().waits[0].because.contains("go on without the data: `evenkeel accept-loss a`"));
    let accept = |node: &str| Request::AcceptLoss { node: node.to_owned() };
    assert!(moment.order(&accept("b")).unwrap_err().contains("no data of b is known to be lost"));
    assert_eq!(moment.order(&accept("all")), Ok(What::AcceptLoss { nodes: vec![name(0)] }));
    assert_eq!(moment.steps(), [start(0), start(3)]);
    assert_eq!(moment.progress(), Progress::Open);
    // a replica that has the data is promoted, and nobody is asked
    assert_eq!(Moment::calm().dead(0, Disk::Lost).steps(), [takeover(3)]);
    // nor as long as a replica may rise that has it
    let may_rise = Moment::calm().dead(0, Disk::Lost).dead(3, Disk::Kept);
    assert_eq!((may_rise.plan().losses, may_rise.steps()), (Vec::new(), vec![start(3)]));
}

#[test]
fn after_a_full_stop_nothing_starts_empty_over_disks_that_are_gone() {
    let off = |disk| (0..6).fold(Moment::calm(), |moment, at| moment.dead(at, disk));
    assert_eq!(off(Disk::Lost).plan().losses.len(), 6);
    assert_eq!(off(Disk::Lost).steps(), []);
    assert_eq!(off(Disk::Blank).steps().len(), 6, "a new cluster");
}

#[test]
fn a_primary_that_came_back_as_another_is_forgotten_when_its_loss_is_accepted() {
    let mut moment = Moment::calm().dead(3, Disk::Lost);
    let facts = moment.facts(0);
    facts.id = NodeId("z".repeat(40));
    facts.view = vec![Peer { id: facts.id.clone(), slots: Slots::none(), ..line(0, 0) }];
    assert_eq!(moment.plan().losses, [name(0)]);
    moment.order(&Request::AcceptLoss { node: "a".to_owned() }).unwrap();
    let forget = |at: usize| Step::Forget { node: name(at), id: id(0) };
    assert_eq!(moment.steps(), [start(3), forget(1), forget(2), forget(4), forget(5)]);
}

#[test]
fn a_primary_that_nobody_has_an_address_of_any_more_is_replaced_or_forgotten() {
    let strange = |moment: &mut Moment, at: usize, letter: &str| {
        let facts = moment.facts(at);
        facts.id = NodeId(letter.repeat(40));
        facts.duty = Duty::Primary;
        facts.view = vec![Peer { id: facts.id.clone(), slots: Slots::none(), ..line(at, 0) }];
    };
    // a came back as another, and the others noticed before we did
    let mut moment = Moment::calm();
    strange(&mut moment, 0, "z");
    for at in 1..6 {
        moment.facts(at).view.iter_mut().filter(|peer| peer.id == id(0)).for_each(|peer| peer.addr = None);
    }
    assert_eq!(moment.steps(), [takeover(3)], "its replica has the data");
    // so did the replica
    strange(&mut moment, 3, "y");
    for at in [1, 2, 4, 5] {
        moment.facts(at).view.retain(|peer| peer.id != id(3));
    }
    assert_eq!(moment.plan().losses, [name(0)]);
    moment.order(&Request::AcceptLoss { node: "a".to_owned() }).unwrap();
    let forget = |at: usize| Step::Forget { node: name(at), id: id(0) };
    assert_eq!(moment.steps(), [forget(1), forget(2), forget(4), forget(5)]);
}

#[test]
fn an_owner_that_only_one_node_remembers_does_not_keep_its_slots_from_the_living() {
    // a came back empty as another; the others forgot it when its slots went to one that is gone as well and given up,
    // and e was away meanwhile
    let mut moment = Moment::calm();
    let new = NodeId("z".repeat(40));
    for at in 0..6 {
        let facts = moment.facts(at);
        if at != 4 {
            facts.view.retain(|peer| peer.id != id(0));
        }
        let own = if at == 0 { Own::Myself } else { Own::Other };
        facts.view.push(Peer { id: new.clone(), slots: Slots::none(), own, ..line(0, 1) });
        let copies = |peer: &mut Peer| peer.role = PeerRole::Replica(id(1));
        facts.view.iter_mut().filter(|peer| peer.id == id(3)).for_each(copies);
    }
    moment.facts(3).duty = Duty::Replica { of: id(1), link: Link::Up };
    let facts = moment.facts(0);
    (facts.id, facts.duty, facts.keys) = (new, Duty::Primary, 0);
    assert_eq!(moment.steps(), [Step::Forget { node: name(4), id: id(0) }]);
    moment.facts(4).view.retain(|peer| peer.id != id(0));
    assert_eq!(moment.steps(), [Step::AddSlots { node: name(0), slots: Slots::share(0, 3) }]);
    // its replica may have the data
    moment.facts(4).view.push(line(0, 4));
    moment.facts(3).duty = Duty::Replica { of: id(0), link: Link::Up };
    assert_eq!(moment.steps(), []);
}

#[test]
fn data_that_cannot_be_read_is_tried_again_until_a_person_gives_it_up() {
    let mut moment = Moment::calm().dead(0, Disk::Unreadable).dead(3, Disk::Lost);
    let how = "exited with status 1".to_owned();
    moment.seen(0).process = Process::Exited { at: NOW - 30_000, how, failures: 9 };
    assert_eq!((moment.plan().losses, moment.steps()), (vec![name(0)], vec![start(0), start(3)]));
    moment.order(&Request::AcceptLoss { node: "a".to_owned() }).unwrap();
    assert_eq!(moment.steps(), [Step::SetAside { node: name(0) }, start(3)]);
}

#[test]
fn a_replica_with_a_newer_snapshot_comes_before_its_primary() {
    let past = |at: usize, of: Option<NodeId>, offset: u64| {
        Some(Past { id: id(at), of, written: Some(Written { stream: "s".to_owned(), offset }) })
    };
    let mut moment = (0..6).fold(Moment::calm(), |moment, at| moment.dead(at, Disk::Kept));
    moment.seen(0).past = past(0, None, 100);
    moment.seen(3).past = past(3, Some(id(0)), 100);
    assert_eq!(moment.steps().len(), 6, "the same");
    moment.seen(3).past = past(3, Some(id(0)), 101);
    assert_eq!(moment.steps(), (1..6).map(start).collect::<Vec<_>>());
    assert!(moment.plan().waits[0].because.contains("the snapshot of d is newer than its own"));
    // it runs, and has what its disk had
    let mut risen = Moment::calm().dead(0, Disk::Kept);
    risen.seen(0).past = past(0, None, 100);
    risen.seen(3).past = past(3, Some(id(0)), 101);
    risen.facts(3).duty = Duty::Replica { of: id(0), link: Link::Never };
    assert_eq!(risen.steps(), [takeover(3)]);
    // it cannot be started: the older data is better than none
    let how = "exited with status 1".to_owned();
    moment.seen(3).process = Process::Exited { at: NOW - 60_000, how, failures: 3 };
    assert!(moment.steps().contains(&start(0)));
}
