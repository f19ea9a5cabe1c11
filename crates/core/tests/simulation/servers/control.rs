//! Control's loop over the model: the real planner's steps, and people's orders.

use super::Servers;
use super::fault::{Swing, Trap};
use super::serve::has;
use crate::trace::Who;
use evenkeel_core::plan::{NodeName, Order, Progress, Request, Slots, What, admit, judge, plan, progress};

impl Servers {
    /// Control looks once, and does what the planner says; whether that was nothing.
    pub(crate) fn turn(&mut self) -> bool {
        self.remember();
        self.go_to_and_fro();
        self.follow_orders();
        let plan = plan(&self.desired, &self.observe(), self.now);
        let idle = plan.steps.is_empty() && self.desired.orders.is_empty();
        self.recorded |= idle && self.is_quiet();
        match plan.losses.is_empty() {
            true => self.asked = self.now,
            false if self.now > self.asked + 10_000 && !self.accepts() => {
                self.accept(&plan.losses);
            }
            false => {}
        }
        for planned in plan.steps {
            let lost = self.below(20) == 0;
            let fate = if lost { ", in vain" } else { "" };
            let words = format!("{} {}{fate}: {}", planned.step.node(), planned.step, planned.because);
            self.say(Who::Control, words);
            if !lost {
                self.act(&planned.step);
            }
        }
        idle
    }

    /// What control knows of primaries should they die.
    fn remember(&mut self) {
        for at in
            (0..self.nodes.len()).filter(|at| self.answers(*at) && !self.is_loading(*at)).collect::<Vec<_>>()
        {
            self.nodes[at].wrote = self.own(at).of.is_none().then_some(self.nodes[at].stream);
        }
    }

    fn go_to_and_fro(&mut self) {
        let Some(Swing { shard, until, trap }) = self.swing else { return };
        let place = Slots::share(shard, self.desired.shards).ranges()[0].0;
        let owner = (0..self.nodes.len()).find(|at| self.answers(*at) && has(&self.own(*at).slots, place));
        match (owner, trap) {
            _ if until <= self.now => self.swing = None,
            (Some(owner), Trap::Set) if self.desired.orders.is_empty() => {
                self.snap(owner);
                self.order(&Request::Failover { target: format!("n{owner:02}") });
            }
            (Some(owner), Trap::None) if self.desired.orders.is_empty() => {
                self.order(&Request::Failover { target: format!("n{owner:02}") });
            }
            (Some(_) | None, Trap::Set | Trap::None) => {}
        }
    }

    /// Takes orders that are done off the list.
    fn follow_orders(&mut self) {
        let observed = self.observe();
        let orders = std::mem::take(&mut self.desired.orders);
        for order in orders {
            match progress(&self.desired, &observed, &order, self.now) {
                Progress::Open => self.desired.orders.push(order),
                Progress::Done(what) => self.say(Who::Control, format!("order {} is done: {what}", order.id)),
                Progress::Failed(why) => {
                    assert!(!matches!(order.what, What::Restart { .. }), "a restart is given up");
                    self.say(Who::Control, format!("order {} is given up: {why}", order.id));
                }
            }
        }
    }

    /// A person gives data up, which nobody may have then.
    fn accept(&mut self, losses: &[NodeName]) {
        for lost in losses.iter().map(|lost| self.at(lost)) {
            let ids = [Some(self.nodes[lost].id), self.nodes[lost].formerly];
            let copy = (0..self.nodes.len()).find(|at| {
                let node = &self.nodes[*at];
                let data = if self.up(*at) { node.data.len() } else { node.disk };
                *at != lost && data > 0 && !node.unreadable && ids.contains(&self.own(*at).of)
            });
            assert!(copy.is_none(), "n{lost:02} is given up, but {copy:?} has its data");
        }
        self.order(&Request::AcceptLoss { node: "all".to_owned() });
    }

    pub(super) fn order(&mut self, request: &Request) {
        let (id, at) = (self.number(), self.now);
        match admit(&self.desired, &self.observe(), request, at) {
            Ok(what) => {
                self.say(Who::Control, format!("order {id}: {what:?}"));
                self.desired.orders.push(Order { id, at, what });
            }
            Err(why) => self.say(Who::Control, format!("{request:?} is refused: {why}")),
        }
    }

    /// Whether a person's word on a loss is still to be acted on.
    fn accepts(&self) -> bool {
        self.desired.orders.iter().any(|order| matches!(order.what, What::AcceptLoss { .. }))
    }

    /// Why all is not as desired.
    pub(crate) fn trouble(&self) -> String {
        let observed = self.observe();
        format!("{:?} {:?}", judge(&self.desired, &observed), plan(&self.desired, &observed, self.now))
    }

    /// What has to hold once all is as desired.
    pub(crate) fn check_end(&self) {
        let owned: u32 = (0..self.nodes.len()).map(|at| self.own(at).slots.count()).sum();
        let all = u32::from(evenkeel_core::topology::SLOTS);
        assert_eq!(owned, all, "at rest, each slot has one owner: {}", self.trouble());
    }
}
