//! When a gateway takes one worker more and when it does with one fewer, and which worker a new client goes to.
//!
//! A second worker halves the batches that make a gateway cheap, so there is one until it is full. The shell measures
//! the workers about once a second; each worker is given by its place, and those that work are always the first ones.

/// How long all workers have to be full before one more is taken, in microseconds.
const FULL_FOR: u64 = 2_900_000;
/// How long so little has to be done that one worker fewer is enough, before the last one gets no more clients.
const CALM_FOR: u64 = 60_000_000;
/// How long the last one has to be without clients before it sleeps.
const EMPTY_FOR: u64 = 10_000_000;
/// Thousandths of a core at which a worker is full, and at which the others may be when one is dismissed.
const FULL: u32 = 850;
const CALM: u32 = 400;
/// Thousandths of a core that have to be idle: where the servers fill the machine, one more worker only costs.
const FREE: u32 = 500;

/// What a worker did since the last measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Thousandths of the time that its thread ran.
    pub busy: u32,
    /// Its clients now.
    pub clients: usize,
}

impl Load {
    /// Whether it has no room for another client's requests.
    pub fn is_full(&self) -> bool {
        self.busy >= FULL
    }
}

/// What to do about the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Stay,
    /// The next one gets clients from now on; wake it if it sleeps.
    Add,
    /// The last one gets no more clients.
    Close,
    /// The last one is without clients since it was closed: it sleeps.
    Rest,
}

/// How many workers there are, and since when they could be more or fewer.
#[derive(Clone, Debug)]
pub struct Growth {
    least: usize,
    most: usize,
    open: usize,
    awake: usize,
    full_since: Option<u64>,
    calm_since: Option<u64>,
    empty_since: Option<u64>,
}

impl Growth {
    /// Begins with `least` workers; there are never more than `most`.
    pub fn new(least: usize, most: usize) -> Growth {
        let (full_since, calm_since, empty_since) = (None, None, None);
        Growth { least, most, open: least, awake: least, full_since, calm_since, empty_since }
    }

    /// Workers that get new clients.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Workers that may have clients.
    pub fn awake(&self) -> usize {
        self.awake
    }

    /// What the workers that are awake did until `now` (in microseconds), and how many thousandths of a core nobody used.
    pub fn note(&mut self, now: u64, idle: u32, loads: &[Load]) -> Verdict {
        let open = &loads[..self.open.min(loads.len())];
        let needs = idle >= FREE && !open.is_empty() && open.iter().all(Load::is_full);
        let busy: u32 = loads.iter().map(|load| load.busy).sum();
        let calm = self.open > self.least && busy <= (self.open as u32 - 1) * CALM;
        let empty = self.awake > self.open && loads[open.len()..].iter().all(|load| load.clients == 0);
        if lasts(&mut self.full_since, needs, now, FULL_FOR) && self.open < self.most {
            self.open += 1;
            self.awake = self.awake.max(self.open);
            self.begin_anew();
            return Verdict::Add;
        }
        if lasts(&mut self.empty_since, empty, now, EMPTY_FOR) {
            self.awake = self.open;
            self.begin_anew();
            return Verdict::Rest;
        }
        if lasts(&mut self.calm_since, calm && self.awake == self.open, now, CALM_FOR) {
            self.open -= 1;
            self.begin_anew();
            return Verdict::Close;
        }
        Verdict::Stay
    }

    fn begin_anew(&mut self) {
        (self.full_since, self.calm_since, self.empty_since) = (None, None, None);
    }
}

/// Whether something holds for `long` by now; notes since when it does.
fn lasts(since: &mut Option<u64>, holds: bool, now: u64, long: u64) -> bool {
    *since = if holds { Some(since.unwrap_or(now)) } else { None };
    since.is_some_and(|since| now.saturating_sub(since) >= long)
}

/// The worker that a new client goes to: one that is not full, with the fewest clients; among equals the first.
pub fn choose(workers: impl Iterator<Item = Seat>) -> usize {
    workers.enumerate().min_by_key(|(_, seat)| (seat.full, seat.clients)).map_or(0, |(place, _)| place)
}

/// What is known of a worker when a client comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Whether it was full when it was last measured.
    pub full: bool,
    /// Its clients.
    pub clients: usize,
}

#[cfg(test)]
mod tests {
    use super::{Growth, Load, Seat, Verdict, choose};

    const SECOND: u64 = 1_000_000;

    fn load(busy: u32, clients: usize) -> Load {
        Load { busy, clients }
    }

    /// What comes of the same measurement each second, until it is something.
    fn after(
        growth: &mut Growth,
        now: &mut u64,
        idle: u32,
        loads: &[Load],
        most: u64,
    ) -> Option<(Verdict, u64)> {
        for second in 1..=most {
            *now += SECOND;
            match growth.note(*now, idle, loads) {
                Verdict::Stay => {}
                verdict => return Some((verdict, second)),
            }
        }
        None
    }

    #[test]
    fn a_full_worker_gets_another_one_after_three_seconds_where_a_core_is_free() {
        let (mut growth, mut now) = (Growth::new(1, 4), 0);
        assert_eq!(after(&mut growth, &mut now, 4000, &[load(849, 50)], 600), None);
        assert_eq!(after(&mut growth, &mut now, 499, &[load(1000, 50)], 600), None);
        // A moment with room begins the time anew.
        assert_eq!(after(&mut growth, &mut now, 1500, &[load(1000, 50)], 3), None);
        assert_eq!(after(&mut growth, &mut now, 1500, &[load(500, 50)], 1), None);
        assert_eq!(
            after(&mut growth, &mut now, 1500, &[load(850, 50)], 600),
            Some((Verdict::Add, 4)),
            "3 s after the first measurement that shows it"
        );
        assert_eq!((growth.open(), growth.awake()), (2, 2));
    }

    #[test]
    fn there_are_never_more_than_the_cores_and_none_more_while_one_has_room() {
        let (mut growth, mut now) = (Growth::new(1, 2), 0);
        after(&mut growth, &mut now, 1500, &[load(1000, 50)], 600);
        assert_eq!(after(&mut growth, &mut now, 1500, &[load(1000, 50), load(1000, 50)], 600), None);
        let (mut growth, mut now) = (Growth::new(1, 3), 0);
        after(&mut growth, &mut now, 1500, &[load(1000, 50)], 600);
        assert_eq!(after(&mut growth, &mut now, 1500, &[load(1000, 50), load(700, 9)], 600), None);
        assert_eq!(growth.open(), 2);
    }

    #[test]
    fn a_fixed_number_stays() {
        let (mut growth, mut now) = (Growth::new(2, 2), 0);
        for busy in [0, 1000] {
            assert_eq!(after(&mut growth, &mut now, 2000, &[load(busy, 0), load(busy, 0)], 600), None);
        }
        assert_eq!((growth.open(), growth.awake()), (2, 2));
    }

    #[test]
    fn a_worker_that_is_not_needed_gets_no_more_clients_and_sleeps_without_any() {
        let (mut growth, mut now) = (Growth::new(1, 2), 0);
        after(&mut growth, &mut now, 1500, &[load(1000, 50)], 600);
        let quiet = [load(200, 50), load(100, 3)];
        assert_eq!(after(&mut growth, &mut now, 1500, &quiet, 600), Some((Verdict::Close, 61)));
        assert_eq!((growth.open(), growth.awake()), (1, 2));
        assert_eq!(after(&mut growth, &mut now, 1500, &quiet, 600), None, "it has clients");
        let empty = [load(200, 50), load(0, 0)];
        assert_eq!(after(&mut growth, &mut now, 1500, &empty, 600), Some((Verdict::Rest, 11)));
        assert_eq!((growth.open(), growth.awake()), (1, 1));
        assert_eq!(after(&mut growth, &mut now, 1500, &empty[..1], 600), None, "one stays");
    }

    #[test]
    fn a_closed_worker_opens_again_when_the_others_are_full() {
        let (mut growth, mut now) = (Growth::new(1, 2), 0);
        after(&mut growth, &mut now, 1500, &[load(1000, 50)], 600);
        after(&mut growth, &mut now, 1500, &[load(100, 50), load(100, 3)], 600);
        assert_eq!((growth.open(), growth.awake()), (1, 2));
        let full = [load(1000, 50), load(100, 3)];
        assert_eq!(after(&mut growth, &mut now, 1500, &full, 600), Some((Verdict::Add, 4)));
        assert_eq!((growth.open(), growth.awake()), (2, 2));
    }

    #[test]
    fn new_clients_go_to_the_newest_until_it_has_its_share() {
        let mut counts = [3, 0];
        let mut order = Vec::new();
        for _ in 0..6 {
            let place = choose(counts.iter().map(|clients| Seat { full: false, clients: *clients }));
            counts[place] += 1;
            order.push(place);
        }
        assert_eq!(order, [1, 1, 1, 0, 1, 0]);
        // Nobody goes to a full one while another has room.
        let seats = [Seat { full: true, clients: 1 }, Seat { full: false, clients: 900 }];
        assert_eq!(choose(seats.into_iter()), 1);
        assert_eq!(choose([].into_iter()), 0);
    }
}
