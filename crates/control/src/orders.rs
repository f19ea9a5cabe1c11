//! The list of orders: kept on disk until they are done, so that a restart of control forgets none.
//!
//! Owns their numbers, the file and what became of the newest. Never judges an order: core's plan takes it, and says
//! when it is done.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use evenkeel_core::plan::{self, Desired, Observed, Order, Progress, Request, What};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::home::write_whole;
use crate::journal::Journal;
use crate::status::Level;

/// Ended orders that can still be asked about.
const ENDED: usize = 64;
/// Requests that may wait to be looked at.
const WAITING: usize = 8;

/// An order and what has become of it, for whoever gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The order.
    pub order: Order,
    /// Whether it is open, done or given up.
    pub state: State,
    /// What came of it, or why it was given up; empty while it is open.
    pub because: String,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being carried out.
    Open,
    /// Done.
    Done,
    /// Given up.
    Failed,
}

/// A request on its way to the loop; the answer is the order's number, or why it was refused.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Result<u64, String>>,
}

/// Where requests are handed in, and accounts are read.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) asked: mpsc::Sender<Asked>,
    pub(crate) accounts: watch::Receiver<Arc<Vec<Account>>>,
}

/// All orders that are open, and the newest that are not.
#[derive(Debug)]
pub(crate) struct Orders {
    path: PathBuf,
    next: u64,
    ended: VecDeque<Account>,
    asked: mpsc::Receiver<Asked>,
    tell: watch::Sender<Arc<Vec<Account>>>,
}

/// The file.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    next: u64,
    open: Vec<Order>,
}

impl Orders {
    /// Reads the open orders back.
    pub(crate) fn open(path: PathBuf) -> (Orders, Vec<Order>, Desk) {
        let kept = match std::fs::read(&path).map(|text| serde_json::from_slice::<Kept>(&text)) {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => {
                tracing::warn!("{} is damaged and its orders are forgotten: {error}", path.display());
                Kept::default()
            }
            Err(_) => Kept::default(),
        };
        let (send, asked) = mpsc::channel(WAITING);
        let (tell, accounts) = watch::channel(Arc::default());
        let orders = Orders { path, next: kept.next.max(1), ended: VecDeque::new(), asked, tell };
        orders.publish(&kept.open);
        (orders, kept.open, Desk { asked: send, accounts })
    }

    /// Waits for a request.
    pub(crate) async fn asked(&mut self) -> Asked {
        match self.asked.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// Takes a request or refuses it.
    pub(crate) fn take(
        &mut self,
        asked: Asked,
        desired: &mut Desired,
        observed: &Observed,
        journal: &mut Journal,
        now: u64,
    ) {
        let taken = plan::admit(desired, observed, &asked.request, now).and_then(|what| {
            let order = Order { id: self.next, at: now, what };
            let mut open = desired.orders.clone();
            open.push(order.clone());
            self.next += 1;
            self.keep(&open).map_err(|error| format!("cannot write {}: {error}", self.path.display()))?;
            desired.orders = open;
            journal.add(
                now,
                Level::Info,
                "cluster",
                &format!("order {}: {}", order.id, words(&order.what)),
                "an operator gave it",
            );
            self.publish(&desired.orders);
            Ok(order.id)
        });
        // who asked may have gone away; the order stands all the same
        let _ = asked.answer.send(taken);
    }

    /// Takes orders that are done, or given up, off the list.
    pub(crate) fn follow(
        &mut self,
        desired: &mut Desired,
        observed: &Observed,
        journal: &mut Journal,
        now: u64,
    ) {
        let mut open = Vec::new();
        let before = desired.orders.len();
        for order in &desired.orders {
            let (state, because) = match plan::progress(desired, observed, order, now) {
                Progress::Open => {
                    open.push(order.clone());
                    continue;
                }
                Progress::Done(because) => (State::Done, because),
                Progress::Failed(because) => (State::Failed, because),
            };
            let (level, what) = match state {
                State::Open | State::Done => (Level::Info, "is done"),
                State::Failed => (Level::Warning, "is given up"),
            };
            journal.add(now, level, "cluster", &format!("order {} {what}", order.id), &because);
            self.ended.push_front(Account { order: order.clone(), state, because });
        }
        self.ended.truncate(ENDED);
        if open.len() < before {
            if let Err(error) = self.keep(&open) {
                tracing::warn!("cannot write {}: {error}", self.path.display());
            }
            desired.orders = open;
            self.publish(&desired.orders);
        }
    }

    fn keep(&self, open: &[Order]) -> std::io::Result<()> {
        let kept = Kept { next: self.next, open: open.to_vec() };
        let text = serde_json::to_vec_pretty(&kept).map_err(std::io::Error::other)?;
        write_whole(&self.path, &text, 0o600)
    }

    fn publish(&self, open: &[Order]) {
        let open = open.iter().map(|order| Account {
            order: order.clone(),
            state: State::Open,
            because: String::new(),
        });
        self.tell.send_replace(Arc::new(open.chain(self.ended.iter().cloned()).collect()));
    }
}

/// An order in words.
fn words(what: &What) -> String {
    match what {
        What::Failover { from, to: None } => format!("the slots of {from} go to its replica"),
        What::Failover { from, to: Some(to) } => format!("the slots of {from} go to {to}"),
        What::Restart { nodes } => match nodes.as_slice() {
            [node] => format!("{node} gets a new process"),
            nodes => format!("{} nodes get new processes", nodes.len()),
        },
        What::AcceptLoss { nodes } => {
            let names: Vec<&str> = nodes.iter().map(|node| node.0.as_str()).collect();
            format!("what {} held is given up", names.join(", "))
        }
    }
}
