//! The threads that the connections are spread over, and their life from phase to phase.
//!
//! Each thread has a runtime of its own and keeps its connections open between phases, so that every size is
//! measured over the same connections. Threads say what they count through one bounded channel.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::drive::{Lane, Phase, Stop, side_by_side};
use super::tally::{Batch, Count, Tally};
use crate::link::Door;

/// What a thread is told to do.
enum Order {
    Measure(Phase),
    Remove(Stop),
}

/// What a thread says.
pub(crate) enum Note {
    /// A batch has ended.
    Batch(Batch),
    /// The thread's part of the phase is over; also the number of keys it holds on the target.
    Counted(Box<Count>, u64),
    /// The thread has removed its keys, but for this many.
    Removed(u64),
}

/// Successes and failures of the running phase, for showing.
#[derive(Default)]
pub(crate) struct Live {
    ok: AtomicU64,
    failed: AtomicU64,
}

impl Live {
    /// Successes and failures so far.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.ok.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// All threads.
pub(crate) struct Crew {
    orders: Vec<Sender<Order>>,
    /// What the threads say.
    pub(crate) notes: Receiver<Note>,
    live: Vec<Arc<Live>>,
    threads: Vec<JoinHandle<()>>,
}

/// Notes that may wait to be read: about a second of batches at a million requests a second.
const NOTES: usize = 1024;
/// How often a thread shows what it has counted.
const SHOW: Duration = Duration::from_millis(100);

impl Crew {
    /// Starts the threads; connections are opened when the first phase begins.
    pub(crate) fn start(door: &Door, threads: u64, connections: u64, depth: usize) -> std::io::Result<Crew> {
        let (say, notes) = sync_channel(NOTES);
        let door = Arc::new(door.clone());
        let mut crew = Crew { orders: Vec::new(), notes, live: Vec::new(), threads: Vec::new() };
        for thread in 0..threads {
            let lanes = (thread..connections)
                .step_by(threads as usize)
                .map(|place| Lane::new(Arc::clone(&door), (place, connections), depth))
                .collect();
            let (order, orders) = channel();
            let live = Arc::new(Live::default());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (say, shown) = (say.clone(), Arc::clone(&live));
            crew.threads.push(
                std::thread::Builder::new()
                    .name(format!("bench-{thread}"))
                    .spawn(move || work(&runtime, lanes, &orders, &say, &shown))?,
            );
            crew.orders.push(order);
            crew.live.push(live);
        }
        Ok(crew)
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Tells every thread to begin a phase.
    pub(crate) fn measure(&self, phase: &Phase) {
        self.tell(|| Order::Measure(phase.clone()));
    }

    /// Tells every thread to remove its keys.
    pub(crate) fn remove(&self, stop: &Stop) {
        self.tell(|| Order::Remove(Arc::clone(stop)));
    }

    fn tell(&self, order: impl Fn() -> Order) {
        for thread in &self.orders {
            thread.send(order()).expect("a thread of the crew lives until its orders end");
        }
    }

    /// Successes and failures of the running phase.
    pub(crate) fn live(&self) -> (u64, u64) {
        self.live.iter().map(|live| live.read()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Ends the threads.
    pub(crate) fn end(self) {
        drop(self.orders);
        drop(self.notes);
        for thread in self.threads {
            // A panic there has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}

/// A thread's life.
fn work(
    runtime: &Runtime,
    mut lanes: Vec<Lane>,
    orders: &Receiver<Order>,
    say: &SyncSender<Note>,
    live: &Arc<Live>,
) {
    while let Ok(order) = orders.recv() {
        let note = match order {
            Order::Measure(phase) => {
                let count;
                (lanes, count) = measure(runtime, lanes, phase, say, live);
                let keys = lanes.iter().map(Lane::confirmed).sum();
                Note::Counted(Box::new(count), keys)
            }
            Order::Remove(stop) => Note::Removed(runtime.block_on(async {
                let mut left = 0;
                for lane in &mut lanes {
                    // Where one connection could not remove all, the others would only wait for the same end.
                    left += if left == 0 { lane.remove(&stop).await } else { lane.confirmed() };
                }
                left
            })),
        };
        if say.send(note).is_err() {
            return;
        }
    }
}

fn measure(
    runtime: &Runtime,
    lanes: Vec<Lane>,
    phase: Phase,
    say: &SyncSender<Note>,
    live: &Arc<Live>,
) -> (Vec<Lane>, Count) {
    let say = say.clone();
    let sink = Box::new(move |batch| {
        // Nobody listens any more only when the run is being given up.
        let _ = say.send(Note::Batch(batch));
    });
    let tally = Rc::new(RefCell::new(Tally::new(phase.start, sink)));
    show(&tally, live);
    let local = LocalSet::new();
    let (counted, shown) = (Rc::clone(&tally), Arc::clone(live));
    let showing = local.spawn_local(async move {
        let mut beat = tokio::time::interval(SHOW);
        loop {
            beat.tick().await;
            show(&counted, &shown);
        }
    });
    let counted = Rc::clone(&tally);
    let lanes = runtime.block_on(local.run_until(side_by_side(lanes, Rc::new(phase), counted)));
    show(&tally, live);
    showing.abort();
    drop(local);
    let tally = Rc::into_inner(tally).expect("the tasks of the phase have ended").into_inner();
    (lanes, tally.finish())
}

fn show(tally: &RefCell<Tally>, live: &Live) {
    let (ok, failed) = tally.borrow().so_far();
    live.ok.store(ok, Ordering::Relaxed);
    live.failed.store(failed, Ordering::Relaxed);
}
