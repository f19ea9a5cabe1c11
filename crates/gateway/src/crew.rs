//! How many workers work: measures their threads once a second and has one more wake, or the last one sleep.
//!
//! All threads exist from the start. One that sleeps has no clients, no connections to nodes and nothing to wake it but
//! a message. What to do is decided by `evenkeel_core::growth`; here are the measurements and the order of the steps:
//! a worker gets its first client only when every other one knows that it is there, since until then each of them
//! answers for the whole gateway.

use crate::inbox::Message;
use crate::worker::Shared;
use evenkeel_core::growth::{Growth, Load, Seat, Verdict, choose};
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two measurements.
const PERIOD: Duration = Duration::from_secs(1);
/// How often and how long it is asked whether all workers know of a new one.
const ASKING: (u32, Duration) = (100, Duration::from_millis(1));

/// What the others know of a worker.
#[derive(Default)]
pub(crate) struct Member {
    /// Its clients, those on their way to it included.
    pub(crate) clients: AtomicUsize,
    /// Whether it was full when it was last measured.
    full: AtomicBool,
    /// How many workers it knows to be awake.
    knows: AtomicUsize,
    /// Its thread, by the system's number.
    thread: AtomicI32,
}

/// The workers of a gateway.
pub(crate) struct Crew {
    members: Vec<Member>,
    /// Workers that get new clients: the first ones.
    open: AtomicUsize,
    /// Workers that may have clients.
    awake: AtomicUsize,
}

impl Crew {
    /// `awake` of `count` workers work.
    pub(crate) fn new(count: usize, awake: usize) -> Crew {
        let members = (0..count).map(|_| Member::default()).collect();
        Crew { members, open: AtomicUsize::new(awake), awake: AtomicUsize::new(awake) }
    }

    pub(crate) fn member(&self, place: usize) -> &Member {
        &self.members[place]
    }

    pub(crate) fn awake(&self) -> usize {
        self.awake.load(Ordering::Relaxed)
    }

    /// The worker that the next client goes to.
    pub(crate) fn choose(&self) -> usize {
        let open = self.open.load(Ordering::Acquire);
        choose(self.members[..open].iter().map(|member| Seat {
            full: member.full.load(Ordering::Relaxed),
            clients: member.clients.load(Ordering::Relaxed),
        }))
    }
}

impl Member {
    /// The worker says that it runs on this thread.
    pub(crate) fn runs_here(&self) {
        self.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    }

    /// The worker says that it knows how many are awake.
    pub(crate) fn knows(&self, awake: usize) {
        self.knows.store(awake, Ordering::Release);
    }
}

/// The running measurements.
pub(crate) struct Lookout {
    /// Dropped to end it.
    order: Sender<()>,
    thread: JoinHandle<()>,
}

impl Lookout {
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Lookout> {
        let (order, orders) = channel();
        let count = shared.inboxes.len();
        let watch = Watch {
            growth: Growth::new(shared.crew.awake(), count),
            ran: vec![None; count],
            idle: idle_ticks(),
            measured: Instant::now(),
            shared,
        };
        let thread =
            std::thread::Builder::new().name("gateway-crew".to_owned()).spawn(move || watch.run(&orders))?;
        Ok(Lookout { order, thread })
    }

    pub(crate) fn stop(self) {
        drop(self.order);
        if self.thread.join().is_err() {
            tracing::error!("the thread that counts the gateway's workers had panicked");
        }
    }
}

struct Watch {
    shared: Arc<Shared>,
    growth: Growth,
    /// How long each worker's thread had run when it was last measured, in nanoseconds.
    ran: Vec<Option<u64>>,
    /// How long the machine's cores had been idle, in hundredths of a second.
    idle: Option<u64>,
    measured: Instant,
}

impl Watch {
    fn run(mut self, orders: &Receiver<()>) {
        while orders.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
            let (loads, idle) = self.measure();
            let now = self.shared.started.elapsed().as_micros() as u64;
            match self.growth.note(now, idle, &loads) {
                Verdict::Stay => {}
                Verdict::Add => {
                    let workers = self.growth.open();
                    tracing::info!(workers, "the gateway's workers are full: one more works");
                    self.announce();
                }
                Verdict::Close => self.shared.crew.open.store(self.growth.open(), Ordering::Release),
                Verdict::Rest => {
                    let workers = self.growth.awake();
                    tracing::info!(workers, "a worker of the gateway was not needed and sleeps");
                    self.announce();
                }
            }
            self.open_up();
        }
    }

    /// What the workers that are awake have done since the last time, and thousandths of a core that were idle.
    fn measure(&mut self) -> (Vec<Load>, u32) {
        let elapsed = self.measured.elapsed();
        self.measured = Instant::now();
        let crew = &self.shared.crew;
        let awake = self.growth.awake();
        let mut loads = Vec::with_capacity(awake);
        for (member, before) in crew.members.iter().zip(&mut self.ran).take(awake) {
            let ran = running_time(member.thread.load(Ordering::Relaxed));
            let more = ran.zip(*before).map_or(0, |(now, before)| now.saturating_sub(before));
            *before = ran;
            let load = Load {
                busy: share(Duration::from_nanos(more), elapsed),
                clients: member.clients.load(Ordering::Relaxed),
            };
            member.full.store(load.is_full(), Ordering::Relaxed);
            loads.push(load);
        }
        self.ran[awake..].fill(None);
        let idle = idle_ticks();
        let more = idle.zip(self.idle).map_or(0, |(now, before)| now.saturating_sub(before));
        self.idle = idle;
        (loads, share(Duration::from_millis(more * 10), elapsed))
    }

    /// Tells the workers how many are awake: all of them, since the last one learns by it that it is, or sleeps.
    fn announce(&self) {
        let awake = self.growth.awake();
        self.shared.crew.awake.store(awake, Ordering::Relaxed);
        self.shared.inboxes.iter().for_each(|inbox| inbox.send(Message::Workers(awake)));
    }

    /// Has the newest worker get clients once all know of it; if that takes long, after the next measurement.
    fn open_up(&self) {
        let crew = &self.shared.crew;
        let (open, awake) = (self.growth.open(), self.growth.awake());
        for _ in 0..ASKING.0 {
            if crew.open.load(Ordering::Relaxed) >= open {
                return;
            }
            if crew.members[..awake].iter().all(|member| member.knows.load(Ordering::Acquire) >= awake) {
                return crew.open.store(open, Ordering::Release);
            }
            std::thread::sleep(ASKING.1);
        }
    }
}

/// Thousandths.
fn share(part: Duration, whole: Duration) -> u32 {
    (part.as_micros() * 1000 / whole.as_micros().max(1)) as u32
}

/// How long a thread of this process has run, in nanoseconds.
fn running_time(thread: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// How long all cores together have had nothing to do, in hundredths of a second.
fn idle_ticks() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    // cpu  user nice system idle iowait …
    let mut words = text.lines().next()?.split_ascii_whitespace().skip(4);
    let idle: u64 = words.next()?.parse().ok()?;
    let waiting: u64 = words.next()?.parse().ok()?;
    Some(idle + waiting)
}
