//! The values of `/metrics` with their names and labels. The gateway's are the rows of the core's table.
//!
//! What is not known is absent, never zero.

use std::fmt::Error;
use std::sync::Arc;

use evenkeel_core::metric::{ALL, BUCKETS, Histogram, Kind, Metric, Snapshot, upper_bound};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::status::{Gateway, Health, Node, Role, Status};
use crate::web::health;

/// Powers of two of microseconds that are bounds of latency buckets: 16 µs to 8.4 s.
const BOUNDS: std::ops::RangeInclusive<u32> = 4..=23;
/// Every state with its label.
const HEALTHS: [(Health, &str); 4] = [
    (Health::Ok, "ok"),
    (Health::Degraded, "degraded"),
    (Health::Down, "down"),
    (Health::Starting, "starting"),
];
/// Every role with its label.
const ROLES: [(Role, &str); 3] =
    [(Role::Primary, "primary"), (Role::Replica, "replica"), (Role::Unknown, "unknown")];

/// One scrape of one status.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) status: Arc<Status>,
    pub(super) now_ms: u64,
}

/// Labels of one value.
type Labels<'a> = Vec<(&'static str, &'a str)>;
/// A value with its labels.
type Sample<'a, T> = (Labels<'a>, T);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page { encoder };
        page.cluster(&self.status, self.now_ms)?;
        page.nodes(&self.status.nodes)?;
        page.node_levels(&self.status.nodes)?;
        page.gateways(&self.status.gateways)?;
        page.gateway_table(&self.status.gateways)?;
        page.latency(&self.status.gateways)?;
        page.node_latency(&self.status)
    }
}

/// The text under construction.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    fn cluster(&mut self, status: &Status, now_ms: u64) -> Result<(), Error> {
        let build = vec![("version", status.version.as_str()), ("server", status.server.as_str())];
        self.gauge("evenkeel_build_info", "Always 1; version of evenkeel and of the server", [(build, 1.0)])?;
        let one = |value: f64| [(Labels::new(), value)];
        let help = "Slots (of 16384) whose owner answers and can take writes";
        self.gauge("evenkeel_cluster_slots_served", help, one(status.slots_served.into()))?;
        let help = "1 when every slot is served and the observation is fresh, as /healthz tells";
        self.gauge("evenkeel_cluster_healthy", help, one(flag(health::check(status, now_ms).is_ok())))?;
        let help = "1 for the state that the cluster is in, 0 for the others";
        self.gauge("evenkeel_cluster_health", help, states(&Labels::new(), status.health))?;
        let desired = &status.desired;
        self.gauge("evenkeel_cluster_shards_desired", "Shards asked for", one(desired.shards.into()))?;
        let help = "Replicas of each shard asked for";
        self.gauge("evenkeel_cluster_replicas_desired", help, one(desired.replicas.into()))?;
        let help = "When the nodes were last looked at, since the Unix epoch";
        self.measured("evenkeel_observed_time", help, &Unit::Seconds, one(status.at_ms as f64 / 1000.0))?;
        let help = "When control started, since the Unix epoch";
        self.measured(
            "evenkeel_control_start_time",
            help,
            &Unit::Seconds,
            one(status.since_ms as f64 / 1000.0),
        )
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<(), Error> {
        let up = nodes.iter().map(|node| (named(node), flag(is_up(node))));
        self.gauge("evenkeel_node_up", "1 when the node answers", up)?;
        let info = nodes.iter().map(|node| {
            let mut labels = named(node);
            labels.push(("addr", &node.addr));
            labels.push(("id", &node.id));
            labels.push(("replica_of", node.replica_of.as_deref().unwrap_or_default()));
            (labels, 1.0)
        });
        self.gauge("evenkeel_node_info", "Always 1; address, cluster id and primary of the node", info)?;
        let help = "1 for the state that the node is in, 0 for the others";
        self.gauge(
            "evenkeel_node_health",
            help,
            nodes.iter().flat_map(|node| states(&named(node), node.health)),
        )?;
        let roles = nodes.iter().flat_map(|node| {
            ROLES.iter().map(|(role, label)| {
                let mut labels = named(node);
                labels.push(("role", label));
                (labels, flag(node.role == *role))
            })
        });
        self.gauge("evenkeel_node_role", "1 for the role that the node has, 0 for the others", roles)
    }

    /// Levels of the nodes that answer: what a silent node said last is not what is.
    fn node_levels(&mut self, nodes: &[Node]) -> Result<(), Error> {
        fn of(nodes: &[Node], level: fn(&Node) -> Option<f64>) -> impl Iterator<Item = Sample<'_, f64>> {
            let up = nodes.iter().filter(|node| is_up(node));
            up.filter_map(move |node| Some((named(node), level(node)?)))
        }
        let owned = |node: &Node| {
            Some(node.slots.iter().map(|(first, last)| f64::from(last.saturating_sub(*first)) + 1.0).sum())
        };
        self.gauge("evenkeel_node_slots", "Slots that the node owns", of(nodes, owned))?;
        let used = of(nodes, |node| Some(node.memory.0 as f64));
        self.measured("evenkeel_node_memory_used", "Memory used", &Unit::Bytes, used)?;
        let limit = of(nodes, |node| (node.memory.1 > 0).then_some(node.memory.1 as f64));
        self.measured("evenkeel_node_memory_limit", "Limit of the memory, if any", &Unit::Bytes, limit)?;
        self.gauge("evenkeel_node_keys", "Number of keys", of(nodes, |node| Some(node.keys as f64)))?;
        let help = "Commands a second, as the node tells";
        self.gauge("evenkeel_node_ops_per_second", help, of(nodes, |node| Some(node.ops_per_s)))?;
        let clients = of(nodes, |node| Some(node.clients as f64));
        self.gauge("evenkeel_node_clients", "Client connections of the node", clients)?;
        let link = of(nodes, |node| match node.role {
            Role::Replica => Some(flag(node.link_up)),
            Role::Primary | Role::Unknown => None,
        });
        self.gauge("evenkeel_node_link_up", "1 when the replica's link to its primary is up", link)?;
        let lag = of(nodes, |node| node.lag_bytes.map(|lag| lag as f64));
        let help = "Replication stream that the replica has not confirmed yet";
        self.measured("evenkeel_node_lag", help, &Unit::Bytes, lag)?;
        let uptime = of(nodes, |node| Some(node.uptime_s as f64));
        self.measured("evenkeel_node_uptime", "Time since the node started", &Unit::Seconds, uptime)
    }

    fn gateways(&mut self, gateways: &[Gateway]) -> Result<(), Error> {
        let up = gateways.iter().map(|gateway| (at(gateway), flag(gateway.metrics.is_some())));
        self.gauge("evenkeel_gateway_up", "1 when the gateway answers", up)?;
        let help = "1 for the state that the gateway is in, 0 for the others";
        self.gauge(
            "evenkeel_gateway_health",
            help,
            gateways.iter().flat_map(|gateway| states(&at(gateway), gateway.health)),
        )?;
        let info = answering(gateways).map(|(gateway, metrics)| {
            let mut labels = at(gateway);
            labels.push(("version", &metrics.version));
            (labels, 1.0)
        });
        self.gauge("evenkeel_gateway_info", "Always 1; version of the gateway", info)?;
        let of = |level: fn(&Snapshot) -> f64| {
            answering(gateways).map(move |(gateway, metrics)| (at(gateway), level(metrics)))
        };
        let slots = of(|metrics| metrics.slots_known.into());
        self.gauge("evenkeel_gateway_slots_known", "Slots that the gateway knows an owner for", slots)?;
        let workers = of(|metrics| metrics.workers.into());
        self.gauge("evenkeel_gateway_workers", "Worker threads of the gateway", workers)?;
        let uptime = of(|metrics| metrics.uptime_s);
        self.measured("evenkeel_gateway_uptime", "Time since the gateway started", &Unit::Seconds, uptime)
    }

    fn gateway_table(&mut self, gateways: &[Gateway]) -> Result<(), Error> {
        for &metric in ALL {
            let known = answering(gateways)
                .filter_map(|(gateway, metrics)| Some((at(gateway), *metrics.values.get(metric.name())?)));
            let (name, unit) = name_and_unit(metric);
            match metric.kind() {
                Kind::Counter => {
                    self.family(&name, metric.help(), unit.as_ref(), known, ConstCounter::new)?;
                }
                Kind::Gauge => self.family(&name, metric.help(), unit.as_ref(), known, ConstGauge::new)?,
            }
        }
        Ok(())
    }

    fn latency(&mut self, gateways: &[Gateway]) -> Result<(), Error> {
        let help = "Time from a request's last byte read to its reply in the socket's buffer, by class of command \
                    (of blocking ones: how long they waited); the sum is estimated from finer buckets";
        let classes = answering(gateways).flat_map(|(gateway, metrics)| {
            metrics.classes.iter().map(move |(class, histogram)| {
                let mut labels = at(gateway);
                labels.push(("class", class));
                (labels, histogram)
            })
        });
        self.histograms("evenkeel_gateway_request_duration", help, classes)
    }

    fn node_latency(&mut self, status: &Status) -> Result<(), Error> {
        let help = "The same of reads, writes and scripts that one node answered; how long the node took, as clients of \
                    the gateway see it";
        let name_of =
            |addr: &str| status.nodes.iter().find(|node| node.addr == addr).map(|node| node.name.as_str());
        let nodes = answering(&status.gateways).flat_map(|(gateway, metrics)| {
            metrics.nodes.iter().map(move |(addr, histogram)| {
                let mut labels = at(gateway);
                labels.push(("node", name_of(addr).unwrap_or(addr)));
                (labels, histogram)
            })
        });
        self.histograms("evenkeel_gateway_node_request_duration", help, nodes)
    }

    /// A family of durations; nothing without any.
    fn histograms<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = Sample<'s, &'s Histogram>>,
    ) -> Result<(), Error> {
        let mut samples = samples.peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family =
            self.encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, histogram) in samples {
            let (sum, count, buckets) = thinned(histogram.iter().map(|(at, count)| (*at, *count)));
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn gauge<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'s, f64>>,
    ) -> Result<(), Error> {
        self.family(name, help, None, samples, ConstGauge::new)
    }

    fn measured<'s>(
        &mut self,
        name: &str,
        help: &str,
        unit: &Unit,
        samples: impl IntoIterator<Item = Sample<'s, f64>>,
    ) -> Result<(), Error> {
        self.family(name, help, Some(unit), samples, ConstGauge::new)
    }

    /// A family with its samples; nothing without samples.
    fn family<'s, T, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = Sample<'s, T>>,
        metric: fn(T) -> M,
    ) -> Result<(), Error> {
        let mut samples = samples.into_iter().map(|(labels, value)| (labels, metric(value))).peekable();
        let Some((_, first)) = samples.peek() else { return Ok(()) };
        let mut family = self.encoder.encode_descriptor(name, help, unit, first.metric_type())?;
        for (labels, metric) in samples {
            if labels.is_empty() {
                metric.encode(family)?;
                // A value without labels is the only one of its family.
                return Ok(());
            }
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// The encoder writes the unit behind the name, as OpenMetrics wants it. A row whose name does not end with
/// its unit keeps its name, and the help alone tells the unit.
fn name_and_unit(metric: Metric) -> (String, Option<Unit>) {
    let name = format!("evenkeel_gateway_{}", metric.name());
    match (metric.unit(), name.strip_suffix("_bytes")) {
        ("bytes", Some(stem)) => (stem.to_owned(), Some(Unit::Bytes)),
        (_, _) => (name, None),
    }
}

fn answering(gateways: &[Gateway]) -> impl Iterator<Item = (&Gateway, &Snapshot)> {
    gateways.iter().filter_map(|gateway| Some((gateway, gateway.metrics.as_ref()?)))
}

fn at(gateway: &Gateway) -> Labels<'_> {
    vec![("gateway", &gateway.addr)]
}

fn named(node: &Node) -> Labels<'_> {
    vec![("node", &node.name)]
}

/// One value for each state.
fn states<'a>(labels: &Labels<'a>, health: Health) -> Vec<Sample<'a, f64>> {
    let state = |(state, label): &(Health, &'static str)| {
        let mut labels = labels.clone();
        labels.push(("state", label));
        (labels, flag(health == *state))
    };
    HEALTHS.iter().map(state).collect()
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn is_up(node: &Node) -> bool {
    match node.health {
        Health::Ok | Health::Degraded => true,
        Health::Down | Health::Starting => false,
    }
}

/// Sum in seconds, count, and the counts between the bounds, of the gateway's fine buckets. Durations are
/// cut to whole microseconds, so a bound of 2^n µs is exact.
fn thinned(counts: impl Iterator<Item = (usize, u64)>) -> (f64, u64, Vec<(f64, u64)>) {
    let mut buckets: Vec<(f64, u64)> = BOUNDS.map(|power| (f64::from(1_u32 << power) / 1e6, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let (mut sum, mut total) = (0.0, 0_u64);
    for (at, count) in counts.filter(|(at, _)| *at < BUCKETS) {
        // A gateway's answer may be nonsense; the encoder adds without looking.
        let count = count.min(u64::MAX - total);
        total += count;
        let last = upper_bound(at);
        let first = at.checked_sub(1).map_or(0, |below| upper_bound(below) + 1);
        sum += count as f64 * (first + last) as f64 / 2.0 / 1e6;
        let home = BOUNDS.take_while(|power| last >= 1 << power).count();
        buckets[home].1 += count;
    }
    (sum, total, buckets)
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, thinned};
    use evenkeel_core::metric::bucket;

    #[test]
    fn thins_buckets_at_exact_bounds() {
        let mut counts = vec![0; BUCKETS];
        for micros in [0, 15, 16, 1023, 1024, 9_000_000, u64::MAX] {
            counts[bucket(micros)] += 1;
        }
        let (sum, count, buckets) = thinned(counts.into_iter().enumerate());
        let within =
            |bound: f64| buckets.iter().filter(|(le, _)| *le <= bound).map(|(_, count)| count).sum::<u64>();
        assert_eq!(count, 7);
        assert_eq!(within(16e-6), 2);
        assert_eq!(within(32e-6), 3);
        assert_eq!(within(1024e-6), 4);
        assert_eq!(within(2048e-6), 5);
        assert_eq!(within(9.0), 5);
        assert_eq!(within(f64::INFINITY), 7);
        assert!(sum > 9.0);
        assert_eq!(thinned(std::iter::empty()).1, 0);
    }
}
