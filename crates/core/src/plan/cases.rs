//! Single moments, and the steps that must follow: the safety rules one by one.

mod orders;

use std::net::SocketAddr;

use super::{
    Answer, Desired, Disk, Duty, Facts, Link, Mark, NodeId, NodeName, Observed, Own, Peer, PeerLink,
    PeerRole, Plan, Process, Promotion, Rung, Seen, Settings, Silence, Slots, State, Step, Wanted, judge,
    plan,
};
use crate::config::{Millis, Persistence};

const NOW: u64 = 1_000_000;

/// Three primaries a, b, c and their replicas d, e, f, all well.
struct Moment {
    desired: Desired,
    observed: Observed,
}

fn name(at: usize) -> NodeName {
    NodeName(["a", "b", "c", "d", "e", "f"][at].to_owned())
}

fn id(at: usize) -> NodeId {
    NodeId(name(at).0.repeat(40))
}

fn addr(at: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_001 + at as u16))
}

fn line(at: usize, viewer: usize) -> Peer {
    Peer {
        id: id(at),
        addr: Some(addr(at)),
        own: if at == viewer { Own::Myself } else { Own::Other },
        role: if at < 3 { PeerRole::Primary } else { PeerRole::Replica(id(at - 3)) },
        mark: Mark::Fine,
        epoch: at as u64 % 3 + 1,
        link: PeerLink::Up,
        slots: if at < 3 { Slots::share(at, 3) } else { Slots::none() },
    }
}

impl Moment {
    fn calm() -> Moment {
        let nodes = (0..6).map(|at| Wanted { name: name(at), addr: addr(at) }).collect();
        let desired = Desired {
            nodes,
            shards: 3,
            replicas: 1,
            node_timeout: Millis(5_000),
            hang: Millis(400),
            persistence: Persistence::Aof,
            orders: Vec::new(),
        };
        let seen = |at: usize| Seen {
            process: Process::Running { pid: 1 },
            disk: Disk::Kept,
            answer: Answer::Facts(Box::new(Facts {
                id: id(at),
                state: State::Ok,
                duty: if at < 3 { Duty::Primary } else { Duty::Replica { of: id(at - 3), link: Link::Up } },
                stream: "s".to_owned(),
                offset: 100,
                keys: 10,
                view: (0..6).map(|peer| line(peer, at)).collect(),
            })),
            silence: None,
            started_at: NOW - 100_000,
            past: None,
            settings: Settings::InForce,
            won_at: None,
            yielded_at: None,
            wrote: None,
            forced_at: None,
        };
        Moment {
            desired,
            observed: Observed { since: 0, nodes: (0..6).map(|at| (name(at), seen(at))).collect() },
        }
    }

    fn seen(&mut self, at: usize) -> &mut Seen {
        self.observed.nodes.get_mut(&name(at)).unwrap()
    }

    fn facts(&mut self, at: usize) -> &mut Facts {
        match &mut self.seen(at).answer {
            Answer::Facts(facts) => facts,
            Answer::Silent { .. } | Answer::Loading => panic!("{at} has none"),
        }
    }

    fn dead(mut self, at: usize, disk: Disk) -> Moment {
        let how = "was killed by signal 9".to_owned();
        self.seen(at).process = Process::Exited { at: NOW - 5, how, failures: 0 };
        self.seen(at).answer = Answer::Silent { because: "it is not running".to_owned() };
        self.seen(at).disk = disk;
        self
    }

    fn silent(mut self, at: usize) -> Moment {
        self.seen(at).answer = Answer::Silent { because: "it took longer than 300 ms".to_owned() };
        self
    }

    /// Runs, owes answers, and has done nothing for a while.
    fn hung(mut self, at: usize, still: u64) -> Moment {
        self = self.silent(at);
        self.seen(at).silence = Some(Silence { pings: 1 + still as u32 / 80, owed: still, still });
        self
    }

    fn plan(&self) -> Plan {
        plan(&self.desired, &self.observed, NOW)
    }

    fn steps(&self) -> Vec<Step> {
        self.plan().steps.into_iter().map(|planned| planned.step).collect()
    }

    /// What is waited for, in one text.
    fn waits(&self) -> String {
        assert_eq!(self.steps(), []);
        self.plan().waits.into_iter().map(|wait| wait.because + "\n").collect()
    }
}

fn takeover(at: usize) -> Step {
    Step::Promote { node: name(at), by: Promotion::Takeover }
}

fn force(at: usize) -> Step {
    Step::Promote { node: name(at), by: Promotion::Force }
}

fn kill(at: usize) -> Step {
    Step::Kill { node: name(at) }
}

fn start(at: usize) -> Step {
    Step::Start { node: name(at) }
}

#[test]
fn when_all_is_well_nothing_is_done() {
    let moment = Moment::calm();
    assert_eq!(moment.plan(), Plan::default());
    assert!(judge(&moment.desired, &moment.observed).at_rest());
}

#[test]
fn a_dead_primary_is_replaced_first_and_started_when_the_others_know() {
    let mut moment = Moment::calm().dead(0, Disk::Kept);
    assert_eq!(moment.steps(), [takeover(3)]);
    assert_eq!(moment.plan().rung, Some(Rung::Heal));
    assert!(moment.plan().steps[0].because.contains("a majority of the primaries answers and sees it"));
    // the replica has taken over, nobody else knows
    moment.facts(3).duty = Duty::Primary;
    for peer in &mut moment.facts(3).view {
        match peer.id == id(3) {
            true => (peer.slots, peer.role, peer.epoch) = (Slots::share(0, 3), PeerRole::Primary, 7),
            false if peer.id == id(0) => peer.slots = Slots::none(),
            false => {}
        }
    }
    assert!(moment.waits().contains("d has taken over, the others have yet to learn it"));
    // one more knows: two of three
    for peer in &mut moment.facts(1).view {
        match peer.id == id(3) {
            true => (peer.slots, peer.role, peer.epoch) = (Slots::share(0, 3), PeerRole::Primary, 7),
            false if peer.id == id(0) => peer.slots = Slots::none(),
            false => {}
        }
    }
    assert_eq!(moment.steps(), [start(0)]);
}

#[test]
fn silence_is_not_death() {
    assert_eq!(Moment::calm().silent(0).steps(), []);
    assert_eq!(Moment::calm().silent(3).steps(), []);
}

#[test]
fn a_hung_server_is_ended_once_it_did_nothing_for_long_enough() {
    assert!(Moment::calm().hung(0, 399).plan().steps.is_empty());
    let hung = Moment::calm().hung(0, 400);
    assert_eq!(hung.steps(), [kill(0)]);
    assert!(
        hung.plan().steps[0]
            .because
            .contains("owes 6 pings an answer and has done nothing for 400 ms; d is in sync")
    );
    assert_eq!(Moment::calm().hung(3, 400).steps(), [kill(3)], "a replica too");
    let mut never = Moment::calm().hung(0, 9_000);
    never.desired.hang = Millis(0);
    assert_eq!(never.steps(), []);
}

#[test]
fn a_server_that_computes_is_not_ended() {
    let mut moment = Moment::calm().hung(0, 9_000);
    moment.seen(0).silence = Some(Silence { pings: 99, owed: 9_000, still: 80 });
    assert_eq!(moment.steps(), []);
}

#[test]
fn a_hung_primary_whose_end_would_cost_more_than_its_silence_is_left_alone() {
    let stale = |still, persistence| {
        let mut moment = Moment::calm().hung(0, still);
        moment.desired.persistence = persistence;
        moment.facts(3).duty = Duty::Replica { of: id(0), link: Link::Down { since_s: 60 } };
        moment
    };
    assert!(stale(4_999, Persistence::Aof).waits().contains("no replica that is in sync could take over"));
    assert_eq!(stale(5_000, Persistence::Aof).steps(), [kill(0)]);
    assert!(stale(9_000, Persistence::None).waits().contains("no replica that is in sync could take over"));
    let two = |still| Moment::calm().hung(0, still).hung(1, still);
    assert!(two(4_999).waits().contains("no majority of the primaries sees its replica d"));
    assert_eq!(two(5_000).steps(), [kill(0), kill(1)]);
}

#[test]
fn when_most_servers_are_silent_the_machine_stands_still() {
    let most = (0..4).fold(Moment::calm(), |moment, at| moment.hung(at, 9_000));
    assert!(most.waits().contains("so do most others"));
}

#[test]
fn a_dead_replica_is_started() {
    assert_eq!(Moment::calm().dead(4, Disk::Kept).steps(), [start(4)]);
    assert_eq!(Moment::calm().dead(4, Disk::Blank).steps(), [start(4)]);
}

#[test]
fn primaries_that_die_together_are_all_replaced_when_nobody_is_hidden() {
    let moment = (0..3).fold(Moment::calm(), |moment, at| moment.dead(at, Disk::Blank));
    assert_eq!(moment.steps(), [takeover(3), takeover(4), takeover(5)]);
    assert!(moment.plan().steps[0].because.contains("every primary either answers or is proven dead"));
}

#[test]
fn with_a_primary_that_nobody_can_ask_the_primaries_vote_and_a_vote_without_result_is_overruled() {
    let mut moment = Moment::calm().dead(0, Disk::Kept).silent(1);
    assert_eq!(moment.steps(), [force(3)]);
    moment.seen(3).forced_at = Some(NOW - 249);
    assert!(moment.waits().contains("the primaries vote"));
    moment.seen(3).forced_at = Some(NOW - 250);
    assert_eq!(moment.steps(), [takeover(3)]);
    assert!(moment.plan().steps[0].because.contains("the election has no result after 250 ms"));
}

#[test]
fn one_decision_for_a_shard_at_a_time() {
    // e copies a too: d was asked, e is the better one by now
    let mut moment = Moment::calm().dead(0, Disk::Kept).silent(1);
    moment.facts(4).duty = Duty::Replica { of: id(0), link: Link::Up };
    moment.facts(4).offset = 200;
    assert_eq!(moment.steps(), [force(4)]);
    moment.seen(3).forced_at = Some(NOW - 100);
    assert!(moment.waits().contains("the primaries vote"));
}

#[test]
fn an_election_is_not_overruled_while_a_replica_that_may_have_won_is_silent() {
    let mut moment = Moment::calm().dead(0, Disk::Kept).silent(1).silent(4);
    for viewer in [2, 3, 5] {
        for peer in moment.facts(viewer).view.iter_mut().filter(|peer| peer.id == id(4)) {
            peer.role = PeerRole::Replica(id(0));
        }
    }
    moment.seen(3).forced_at = Some(NOW - 1_000);
    assert!(moment.waits().contains("e may have been elected and does not answer"));
    // it does not help: the disk does
    moment.seen(3).forced_at = Some(NOW - 3_000);
    assert_eq!(moment.steps(), [start(0)]);
}

#[test]
fn a_recent_winner_never_stands_for_election() {
    let mut moment = Moment::calm().dead(0, Disk::Blank).silent(1);
    moment.seen(3).won_at = Some(NOW - 19_000);
    assert_eq!(moment.steps(), [takeover(3)]);
    assert!(moment.plan().steps[0].because.contains("must not stand again"));
    moment.seen(3).won_at = Some(NOW - 21_000);
    assert_eq!(moment.steps(), [force(3)]);
}

#[test]
fn a_replica_that_nobody_sees_is_no_candidate_for_a_takeover_by_majority() {
    let mut moment = Moment::calm().dead(0, Disk::Kept);
    for viewer in [1, 2] {
        for peer in moment.facts(viewer).view.iter_mut().filter(|peer| peer.id == id(3)) {
            peer.link = PeerLink::Down;
        }
    }
    // both answer, so nobody is hidden all the same
    assert!(moment.plan().steps[0].because.contains("every primary either answers or is proven dead"));
}

#[test]
fn a_replica_that_was_not_in_sync_yields_to_the_disk_but_not_to_nothing() {
    let old = |disk| {
        let mut moment = Moment::calm().dead(0, disk);
        moment.facts(3).duty = Duty::Replica { of: id(0), link: Link::Down { since_s: 60 } };
        moment
    };
    assert_eq!(old(Disk::Kept).steps(), [start(0)]);
    assert_eq!(old(Disk::Blank).steps(), [takeover(3)]);
}

#[test]
fn a_blank_primary_waits_for_a_copy_that_cannot_be_asked() {
    assert!(Moment::calm().dead(0, Disk::Blank).silent(3).waits().contains("d may hold its data"));
    let loading = |disk| {
        let mut moment = Moment::calm().dead(0, disk);
        moment.seen(3).answer = Answer::Loading;
        moment
    };
    assert!(loading(Disk::Blank).waits().contains("d may hold its data"));
    let mut kept = loading(Disk::Kept);
    assert!(kept.waits().contains("d may hold its data"), "for a moment");
    let how = String::new();
    kept.seen(0).process = Process::Exited { at: NOW - 2_001, how, failures: 0 };
    assert_eq!(kept.steps(), [start(0)], "and then its own disk will do");
    let dead = Moment::calm().dead(0, Disk::Blank).dead(3, Disk::Kept);
    assert_eq!(dead.steps(), [start(3)], "the copy first");
    let both = Moment::calm().dead(0, Disk::Blank).dead(3, Disk::Blank);
    assert_eq!(both.steps(), [start(0), start(3)], "there is no copy");
}

#[test]
fn after_a_full_stop_those_that_kept_their_disk_are_started_first() {
    let mut moment = (0..6).fold(Moment::calm(), |moment, at| moment.dead(at, Disk::Kept));
    for at in 0..6 {
        moment.seen(at).process = Process::Absent;
    }
    assert_eq!(moment.steps(), (0..6).map(start).collect::<Vec<_>>());
    moment.seen(0).disk = Disk::Blank;
    assert_eq!(moment.steps(), (1..6).map(start).collect::<Vec<_>>());
    for at in 1..6 {
        moment.seen(at).disk = Disk::Blank;
    }
    assert_eq!(moment.steps(), (0..6).map(start).collect::<Vec<_>>(), "none has a past");
}

#[test]
fn a_server_that_ends_again_and_again_is_given_pauses() {
    let mut moment = Moment::calm().dead(4, Disk::Kept);
    let mut again = |failures, ago| {
        let how = "exited with status 1".to_owned();
        moment.seen(4).process = Process::Exited { at: NOW - ago, how, failures };
        moment.steps()
    };
    assert_eq!(again(1, 400), []);
    assert_eq!(again(1, 500), [start(4)]);
    assert_eq!(again(4, 3_900), []);
    assert_eq!(again(4, 4_000), [start(4)]);
    assert_eq!(again(99, 29_000), []);
    assert_eq!(again(99, 30_000), [start(4)]);
}

#[test]
fn unreadable_data_is_set_aside_only_where_a_primary_has_it_all() {
    let replica = Moment::calm().dead(4, Disk::Unreadable);
    assert_eq!(replica.steps(), [Step::SetAside { node: name(4) }]);
    let alone = Moment::calm().dead(4, Disk::Unreadable).silent(1);
    assert_eq!(alone.steps(), [start(4)]);
    assert_eq!(Moment::calm().dead(1, Disk::Unreadable).steps(), [takeover(4)]);
}

#[test]
fn a_node_with_foreign_keys_stops_the_forming_of_a_cluster() {
    let mut moment = Moment::calm();
    for at in 0..6 {
        let facts = moment.facts(at);
        (facts.duty, facts.keys, facts.state) = (Duty::Primary, 0, State::Fail);
        facts.view = vec![Peer { slots: Slots::none(), epoch: 0, role: PeerRole::Primary, ..line(at, at) }];
    }
    assert_eq!(moment.plan().rung, Some(Rung::Create));
    moment.facts(4).keys = 3;
    assert!(moment.waits().contains("e forms no cluster with the others, but holds 3 keys"));
}

/// a was replaced by d, which died a moment later; e copies d too. Neither link is up any more, and a is ahead.
fn two_failovers(disk: Disk) -> Moment {
    let mut moment = Moment::calm().dead(3, disk);
    for viewer in [0, 1, 2, 4, 5] {
        let view = &mut moment.facts(viewer).view;
        for peer in view.iter_mut() {
            match peer.id {
                _ if peer.id == id(0) => {
                    (peer.role, peer.slots) = (PeerRole::Replica(id(3)), Slots::none());
                }
                _ if peer.id == id(3) => {
                    (peer.role, peer.slots, peer.epoch) = (PeerRole::Primary, Slots::share(0, 3), 9);
                }
                _ if peer.id == id(4) => peer.role = PeerRole::Replica(id(3)),
                _ => {}
            }
        }
    }
    let down = Link::Down { since_s: 0 };
    moment.facts(0).duty = Duty::Replica { of: id(3), link: down };
    moment.facts(0).offset = 900;
    moment.facts(4).duty = Duty::Replica { of: id(3), link: down };
    moment.seen(0).yielded_at = Some(NOW - 900);
    moment.seen(3).wrote = Some("since".to_owned());
    moment
}

#[test]
fn who_has_the_stream_of_the_last_promotion_comes_before_who_is_ahead_in_an_older_one() {
    let mut moment = two_failovers(Disk::Kept);
    moment.facts(4).stream = "since".to_owned();
    assert_eq!(moment.steps()[0], takeover(4));
    moment.facts(0).stream = "since".to_owned();
    assert_eq!(moment.steps()[0], takeover(0));
}

#[test]
fn where_nobody_has_what_was_written_since_the_promotion_its_disk_comes_first() {
    assert_eq!(two_failovers(Disk::Kept).steps()[0], start(3));
    assert_eq!(two_failovers(Disk::Blank).steps()[0], takeover(0));
}

#[test]
fn a_primary_that_nobody_saw_after_its_promotion_left_behind_who_has_had_no_link_since() {
    let mut moment = two_failovers(Disk::Kept);
    moment.seen(3).wrote = None;
    assert_eq!(moment.steps()[0], start(3));
    // a link that was up in between: the server counts whole seconds
    moment.seen(0).yielded_at = Some(NOW - 1_500);
    assert_eq!(moment.steps()[0], takeover(0));
}

#[test]
fn nobody_starts_empty_while_a_silent_node_may_have_become_a_replica_unheard() {
    // d took over from a, which came back and copies d; only d, which died, had heard of that
    let mut moment = two_failovers(Disk::Blank).silent(0).dead(4, Disk::Blank);
    for viewer in [1, 2, 5] {
        moment.facts(viewer).view[0].role = PeerRole::Primary;
    }
    assert!(moment.plan().waits.iter().any(|wait| wait.because.contains("a may hold its data")));
    assert!(!moment.steps().contains(&start(3)));
    // neither when they show it as the owner that it was
    moment.facts(1).view[0].slots = Slots::share(0, 3);
    assert!(!moment.steps().contains(&start(3)));
    // a server of another shard has a place
    for viewer in [1, 2, 5] {
        moment.facts(viewer).view[0].role = PeerRole::Replica(id(2));
        moment.facts(viewer).view[0].slots = Slots::none();
    }
    assert!(moment.steps().contains(&start(3)));
}

#[test]
fn a_takeover_in_the_epoch_that_the_dead_primary_had_too_gets_a_higher_one() {
    // a had raised its epoch to 4 before it died, and d, which had not heard of that, took over in epoch 4 too
    let mut moment = Moment::calm().dead(0, Disk::Kept);
    for viewer in 1..6 {
        moment.facts(viewer).view[0].epoch = 4;
    }
    let view = &mut moment.facts(3).view;
    (view[0].slots, view[0].epoch) = (Slots::none(), 1);
    (view[3].slots, view[3].epoch, view[3].role) = (Slots::share(0, 3), 4, PeerRole::Primary);
    moment.facts(3).duty = Duty::Primary;
    let raise = |at: usize| Step::Raise { node: name(at) };
    moment.seen(3).won_at = Some(NOW - 1_000);
    assert!(moment.waits().contains("d has taken over"));
    moment.seen(3).won_at = Some(NOW - 2_000);
    assert_eq!(moment.steps(), [raise(1)], "d knows of no epoch above its own");
    moment.facts(3).view[1].epoch = 5;
    assert_eq!(moment.steps(), [raise(3)]);
    moment.facts(3).view[3].epoch = 6;
    assert!(moment.waits().contains("d has taken over"));
}

#[test]
fn a_takeover_of_which_only_the_old_primary_has_heard_counts() {
    // d took over from a and died; b and c still show a as the owner
    let mut moment = Moment::calm().dead(3, Disk::Blank);
    moment.facts(0).duty = Duty::Replica { of: id(3), link: Link::Up };
    for peer in &mut moment.facts(0).view {
        if peer.id == id(0) {
            (peer.role, peer.slots) = (PeerRole::Replica(id(3)), Slots::none());
        } else if peer.id == id(3) {
            (peer.role, peer.slots, peer.epoch) = (PeerRole::Primary, Slots::share(0, 3), 9);
        }
    }
    assert!(!moment.steps().contains(&start(3)), "{:?}", moment.steps());
    // also when one of them has heard it too
    let news = moment.facts(0).view[3].clone();
    let before = std::mem::replace(&mut moment.facts(1).view[3], news);
    assert!(!moment.steps().contains(&start(3)), "{:?}", moment.steps());
    moment.facts(1).view[3] = before;
    // but not the word of one who has not heard that d was replaced in turn
    moment.facts(0).view[3].epoch = 0;
    assert!(moment.steps().contains(&start(3)));
}

#[test]
fn unreadable_data_is_set_aside_where_its_primary_copies_a_successor_that_has_it_all() {
    // d's data cannot be read, and a, whose replica it was, has been replaced by e
    let mut moment = Moment::calm().dead(3, Disk::Unreadable);
    moment.facts(0).duty = Duty::Replica { of: id(4), link: Link::Up };
    moment.facts(4).duty = Duty::Primary;
    for viewer in [0, 1, 2, 4, 5] {
        for peer in &mut moment.facts(viewer).view {
            if peer.id == id(0) {
                (peer.role, peer.slots) = (PeerRole::Replica(id(4)), Slots::none());
            } else if peer.id == id(4) {
                (peer.role, peer.slots, peer.epoch) = (PeerRole::Primary, Slots::share(0, 3), 9);
            }
        }
    }
    assert_eq!(moment.steps()[0], Step::SetAside { node: name(3) });
}

#[test]
fn nobody_is_introduced_without_an_epoch_of_its_own() {
    let mut moment = Moment::calm();
    for at in 0..6 {
        let facts = moment.facts(at);
        (facts.duty, facts.keys, facts.offset) = (Duty::Primary, 0, 0);
        let slots = facts.own_slots().clone();
        facts.view = vec![Peer { role: PeerRole::Primary, epoch: 0, slots, ..line(at, at) }];
    }
    let epoch = |at: usize| Step::SetEpoch { node: name(at), epoch: at as u64 + 1 };
    assert_eq!(moment.steps(), [epoch(0), epoch(1), epoch(2)], "those that own slots");
    moment.facts(0).view[0].epoch = 1;
    moment.facts(1).view[0].epoch = 2;
    assert_eq!(moment.steps(), [epoch(2)], "once more where it was in vain");
    moment.facts(2).view[0].epoch = 3;
    let introduced = |step: &Step| matches!(step, Step::Meet { .. });
    assert!(moment.steps().iter().all(introduced) && !moment.steps().is_empty());
}
