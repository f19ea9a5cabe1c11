//! THE table of the gateway's metrics: what is counted, in which unit, and how people read it.
//!
//! A gateway worker counts in plain integers by [`Metric`]; `EVENKEEL METRICS` answers them as JSON (see
//! [`Snapshot`]); the Prometheus page, the JSON API and the stats page are made from the same rows.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a value only grows or is a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows until the process ends.
    Counter,
    /// A level of this moment.
    Gauge,
}

macro_rules! metrics {
    ($($variant:ident $name:literal $kind:ident $unit:literal $help:literal;)*) => {
        /// Everything a gateway worker counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum Metric { $(#[doc = $help] $variant),* }

        /// All metrics in the order of their discriminants.
        pub const ALL: &[Metric] = &[$(Metric::$variant),*];

        impl Metric {
            /// Name without the `evenkeel_gateway_` prefix and the `_total` suffix.
            pub const fn name(self) -> &'static str { match self { $(Metric::$variant => $name),* } }
            /// Counter or gauge.
            pub const fn kind(self) -> Kind { match self { $(Metric::$variant => Kind::$kind),* } }
            /// Unit of the value, empty for plain numbers.
            pub const fn unit(self) -> &'static str { match self { $(Metric::$variant => $unit),* } }
            /// One sentence for people.
            pub const fn help(self) -> &'static str { match self { $(Metric::$variant => $help),* } }
        }
    };
}

metrics! {
    Requests "requests" Counter "" "Commands answered to clients";
    Errors "errors" Counter "" "Error replies sent to clients, whoever made them";
    Split "split" Counter "" "Commands split over several slots or sent to every primary";
    MergedReads "merged_reads" Counter "" "Reads answered by the reply of an equal one that waited at the same time";
    Redirects "redirects" Counter "" "MOVED and ASK answers followed for clients";
    Retries "retries" Counter "" "Commands sent again after TRYAGAIN, CLUSTERDOWN, LOADING or a lost connection";
    Parked "parked" Counter "" "Commands held because their shard could not take them";
    ParkedNow "parked_now" Gauge "" "Commands held at this moment";
    ParkedBytes "parked_bytes" Gauge "bytes" "Bytes of the commands held at this moment";
    HoldExpired "hold_expired" Counter "" "Held commands that were given up after the hold time";
    Uncertain "uncertain" Counter "" "Writes whose fate is unknown because their connection was lost";
    Withheld "withheld" Gauge "" "Replies of writes that wait for a replica at this moment";
    Confirmations "confirmations" Counter "" "Times that replicas were asked whether they have what was written";
    Unreplicated "unreplicated" Counter "" "Writes that are on their primary only, as no replica confirmed them in time";
    ProtocolErrors "protocol_errors" Counter "" "Connections closed because their bytes were not the Redis protocol";
    Clients "clients" Gauge "" "Client connections open";
    Blocked "blocked_clients" Gauge "" "Clients that wait in a blocking command";
    ClientsTotal "clients_accepted" Counter "" "Client connections accepted";
    ClientsRefused "clients_refused" Counter "" "Client connections refused at the limit";
    ClientsDropped "clients_dropped" Counter "" "Client connections closed by a limit (slow reader, buffers)";
    InFlight "in_flight" Gauge "" "Commands sent to nodes and not answered yet";
    Upstreams "upstreams" Gauge "" "Connections to nodes open";
    UpstreamConnects "upstream_connects" Counter "" "Connections to nodes opened";
    UpstreamLost "upstream_lost" Counter "" "Connections to nodes lost or refused";
    ClientBytesIn "client_bytes_in" Counter "bytes" "Bytes read from clients";
    ClientBytesOut "client_bytes_out" Counter "bytes" "Bytes written to clients";
    NodeBytesIn "node_bytes_in" Counter "bytes" "Bytes read from nodes";
    NodeBytesOut "node_bytes_out" Counter "bytes" "Bytes written to nodes";
    Messages "messages" Counter "" "Messages handed to subscribed clients";
    Subscriptions "subscriptions" Gauge "" "Channels and patterns that clients are subscribed to, each counted for each client";
    SubscriptionGaps "subscription_gaps" Counter "" "Channels and patterns whose messages may have been missed, because their node was lost or their slot moved and they had to be subscribed again";
    TopologyChanges "topology_changes" Counter "" "Topologies adopted";
    Turns "turns" Counter "" "Turns of the event loop";
}

/// Number of metrics.
pub const COUNT: usize = ALL.len();

/// Number of latency buckets: see [`bucket`].
pub const BUCKETS: usize = 8 * 26;

/// The latency bucket of a duration in microseconds: exact below 8 µs, then eight buckets an octave, so that
/// an upper bound is at most 12.5 % above the true value. The last bucket takes everything from about 2^28 µs.
pub fn bucket(micros: u64) -> usize {
    if micros < 8 {
        return micros as usize;
    }
    let octave = 63 - micros.leading_zeros() as usize;
    let step = (micros >> (octave - 3)) as usize & 7;
    ((octave - 2) * 8 + step).min(BUCKETS - 1)
}

/// The largest duration in microseconds that falls into a bucket.
pub fn upper_bound(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let (octave, step) = (bucket / 8 + 2, (bucket % 8) as u64);
    ((8 + step + 1) << (octave - 3)) - 1
}

/// The smallest upper bound under which at least `share` (0 to 1) of all counted durations lie, in
/// microseconds; `None` when nothing was counted.
pub fn quantile(counts: &[u64], share: f64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
    let mut seen = 0;
    counts.iter().enumerate().find_map(|(at, count)| {
        seen += count;
        (total > 0 && seen >= wanted).then(|| upper_bound(at))
    })
}

/// What a request is to whoever looks at times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Reads keys.
    Read,
    /// May change keys.
    Write,
    /// Runs a script or a function, whatever that does.
    Script,
    /// Waits until there is something (BLPOP, WAIT …): its time is how long it waited.
    Blocking,
    /// Everything else: transactions, administration, what the gateway answers by itself.
    Other,
}

/// All classes in the order of their discriminants.
pub const CLASSES: [Class; 5] = [Class::Read, Class::Write, Class::Script, Class::Blocking, Class::Other];

impl Class {
    /// Its name in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Read => "read",
            Class::Write => "write",
            Class::Script => "script",
            Class::Blocking => "blocking",
            Class::Other => "other",
        }
    }

    /// Whether its time says something of the node that answered.
    pub const fn is_of_node(self) -> bool {
        match self {
            Class::Read | Class::Write | Class::Script => true,
            Class::Blocking | Class::Other => false,
        }
    }
}

/// Requests by latency bucket; buckets without any are left out.
pub type Histogram = BTreeMap<usize, u64>;

/// How long requests took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// By [`Class::name`].
    pub classes: BTreeMap<String, Histogram>,
    /// Of reads, writes and scripts that one node answered, by its address.
    pub nodes: BTreeMap<String, Histogram>,
}

impl Times {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Times) {
        for (sums, parts) in [(&mut self.classes, &other.classes), (&mut self.nodes, &other.nodes)] {
            for (name, part) in parts {
                let sum = sums.entry(name.clone()).or_default();
                part.iter().for_each(|(at, count)| *sum.entry(*at).or_default() += count);
            }
        }
    }

    /// Requests by latency bucket, but for those that wait by design.
    pub fn all(&self) -> Vec<u64> {
        let classes = self.classes.iter().filter(|(name, _)| *name != Class::Blocking.name());
        let mut counts = vec![0; BUCKETS];
        for (at, count) in classes.flat_map(|(_, histogram)| histogram) {
            if let Some(sum) = counts.get_mut(*at) {
                *sum += count;
            }
        }
        counts
    }
}

/// What `EVENKEEL METRICS` answers (as JSON in one bulk string): the sum over the gateway's workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of evenkeel that runs the gateway.
    pub version: String,
    /// Process id of the gateway.
    pub pid: u32,
    /// Number of worker threads.
    pub workers: u32,
    /// Seconds since the gateway started.
    pub uptime_s: f64,
    /// Value of each metric by [`Metric::name`].
    pub values: BTreeMap<String, u64>,
    /// Requests by latency bucket since the start; see [`bucket`]. Latency is from a request's last byte
    /// read to its reply handed to the socket's buffer. Blocking commands are left out: they wait by design.
    pub latency: Vec<u64>,
    /// The same by [`Class::name`], all of them.
    #[serde(default)]
    pub classes: BTreeMap<String, Histogram>,
    /// The same of reads, writes and scripts that one node answered, by its address.
    #[serde(default)]
    pub nodes: BTreeMap<String, Histogram>,
    /// Slots that the gateway knows an owner for (16384 when it can serve everything).
    pub slots_known: u32,
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, bucket, quantile, upper_bound};

    #[test]
    fn buckets_and_bounds_agree() {
        for micros in (0..5_000).chain((1..28).map(|shift| 1u64 << shift)) {
            let at = bucket(micros);
            assert!(micros <= upper_bound(at), "{micros} is above bucket {at}");
            assert!(at == 0 || micros > upper_bound(at - 1), "{micros} fits a lower bucket than {at}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_nothing_and_of_one() {
        assert_eq!(quantile(&[0; BUCKETS], 0.5), None);
        let mut counts = [0; BUCKETS];
        counts[bucket(3)] = 1;
        assert_eq!(quantile(&counts, 0.999), Some(3));
    }
}
