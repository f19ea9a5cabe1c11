//! Looks at every node: one open connection each, reads only.
//!
//! Owns the connections and what must be remembered between two looks (who became a primary when). Never changes a
//! node, and never takes silence for death: that is only said of processes, by the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::plan::{
    Answer, Desired, Disk, Duty, Facts, NodeName, Observed, PeerRole, Process, Seen, Settings, State, Wanted,
    parse_view,
};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisError, RedisResult};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::engine::Body;
use crate::pulse::Pulses;
use crate::vitals::Vitals;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// The eyes of control.
#[derive(Debug)]
pub(crate) struct Eyes {
    password: String,
    since: u64,
    nodes: BTreeMap<NodeName, Eye>,
    pulses: Pulses,
}

/// What one look showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub(crate) observed: Observed,
    pub(crate) vitals: BTreeMap<NodeName, Vitals>,
}

#[derive(Default)]
struct Eye {
    connection: Option<MultiplexedConnection>,
    run_id: String,
    replica: bool,
    won_at: Option<u64>,
    forced_at: Option<u64>,
    past: Past,
}

/// What is true of a node whatever process it has.
#[derive(Clone, Default)]
struct Past {
    /// Whether it owned slots when it last answered.
    led: bool,
    yielded_at: Option<u64>,
    /// The stream that it wrote when it last answered, as a primary.
    wrote: Option<String>,
}

impl std::fmt::Debug for Eye {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Eye").field("run_id", &self.run_id).finish_non_exhaustive()
    }
}

impl Eyes {
    /// `nudge` is told when a server hangs.
    pub(crate) fn new(desired: &Desired, password: String, nudge: Arc<Notify>, now: u64) -> Eyes {
        let nodes = desired.nodes.iter().map(|wanted| (wanted.name.clone(), Eye::default())).collect();
        let pulses = Pulses::new(password.clone(), desired.hang.duration(), nudge);
        Eyes { password, since: now, nodes, pulses }
    }

    /// Asks every running node at once.
    pub(crate) async fn look(
        &mut self,
        desired: &Desired,
        bodies: &BTreeMap<NodeName, Body>,
        now: impl Fn() -> u64,
    ) -> Look {
        self.pulses.attend(desired, bodies);
        let mut asked = JoinSet::new();
        for wanted in &desired.nodes {
            let Some(eye) = self.nodes.get_mut(&wanted.name) else { continue };
            match bodies.get(&wanted.name).map(|body| &body.process) {
                Some(Process::Running { pid }) => {
                    let (wanted, pid) = (wanted.clone(), *pid);
                    let (connection, password) = (eye.connection.take(), self.password.clone());
                    let lost = self.pulses.lost(&wanted.name);
                    asked.spawn(async move {
                        let answer = tokio::select! {
                            biased;
                            answer = ask(&wanted, pid, connection, &password) => answer,
                            () = lost => Err("it does not answer pings".to_owned()),
                            () = tokio::time::sleep(PATIENCE) => Err("it took longer than 300 ms".to_owned()),
                        };
                        (wanted.name, answer)
                    });
                }
                Some(Process::Absent | Process::Exited { .. }) | None => {
                    *eye = Eye { past: std::mem::take(&mut eye.past), ..Eye::default() };
                }
            }
        }
        let mut look = Look::default();
        look.observed.since = self.since;
        let mut answers: BTreeMap<NodeName, Answer> = BTreeMap::new();
        while let Some(Ok((name, answer))) = asked.join_next().await {
            match answer {
                Ok(Told { connection, vitals, answer }) => {
                    if let Some(eye) = self.nodes.get_mut(&name) {
                        eye.connection = Some(connection);
                        eye.remember(&vitals, now(), self.since);
                        if let Answer::Facts(facts) = &answer {
                            eye.past.remember(facts, now());
                        }
                    }
                    look.vitals.insert(name.clone(), vitals);
                    answers.insert(name, answer);
                }
                Err(because) => drop(answers.insert(name, Answer::Silent { because })),
            }
        }
        for wanted in &desired.nodes {
            let seen = self.seen(&wanted.name, bodies.get(&wanted.name), answers.remove(&wanted.name));
            look.observed.nodes.insert(wanted.name.clone(), seen);
        }
        look
    }

    /// What is known of one node, from whoever runs it, from its answers and from what was seen before.
    fn seen(&self, name: &NodeName, body: Option<&Body>, answer: Option<Answer>) -> Seen {
        let Body { process, disk, started_at, past, settings } = body.cloned().unwrap_or(Body {
            process: Process::Absent,
            disk: Disk::Blank,
            started_at: 0,
            past: None,
            settings: Settings::InForce,
        });
        let silent = || Answer::Silent { because: "it is not running".to_owned() };
        let eye = self.nodes.get(name);
        let (won_at, forced_at) = eye.map_or((None, None), |eye| (eye.won_at, eye.forced_at));
        Seen {
            process,
            disk,
            answer: answer.unwrap_or_else(silent),
            silence: self.pulses.silence(name),
            started_at,
            past,
            settings,
            won_at,
            yielded_at: eye.and_then(|eye| eye.past.yielded_at),
            wrote: eye.and_then(|eye| eye.past.wrote.clone()),
            forced_at,
        }
    }

    /// A connection on which a step can be carried out.
    pub(crate) async fn connection(&mut self, wanted: &Wanted) -> RedisResult<MultiplexedConnection> {
        let open = self.nodes.get(&wanted.name).and_then(|eye| eye.connection.clone());
        match open {
            Some(connection) => Ok(connection),
            None => connect(wanted, &self.password).await,
        }
    }

    /// Notes that a replica was asked to stand for election.
    pub(crate) fn forced(&mut self, node: &NodeName, now: u64) {
        if let Some(eye) = self.nodes.get_mut(node) {
            eye.forced_at = Some(now);
        }
    }
}

impl Eye {
    /// Keeps track of promotions: the same process was a replica and is a primary now.
    fn remember(&mut self, vitals: &Vitals, now: u64, since: u64) {
        if self.run_id != vitals.run_id {
            self.run_id.clone_from(&vitals.run_id);
            self.forced_at = None;
            // a process older than this control may have won an election that nobody here saw
            let older = now.saturating_sub(vitals.uptime_s * 1_000) + 1_000 < since;
            self.won_at = older.then_some(since);
        } else if self.replica && !vitals.replica {
            self.won_at = Some(now);
        }
        self.replica = vitals.replica;
    }
}

impl Past {
    /// Keeps track of who owned slots and copies somebody now.
    fn remember(&mut self, facts: &Facts, now: u64) {
        self.wrote = matches!(facts.duty, Duty::Primary).then(|| facts.stream.clone());
        match &facts.duty {
            Duty::Primary => self.led = !facts.own_slots().is_empty(),
            Duty::Replica { .. } if self.led => (self.led, self.yielded_at) = (false, Some(now)),
            Duty::Replica { .. } => {}
        }
    }
}

struct Told {
    connection: MultiplexedConnection,
    vitals: Vitals,
    answer: Answer,
}

async fn connect(wanted: &Wanted, password: &str) -> RedisResult<MultiplexedConnection> {
    let address = format!("redis://{}", wanted.addr).into_connection_info()?;
    let settings = redis::RedisConnectionInfo::default().set_password(password).set_skip_set_lib_name();
    let client = Client::open(address.set_redis_settings(settings))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

async fn ask(
    wanted: &Wanted,
    pid: u32,
    connection: Option<MultiplexedConnection>,
    password: &str,
) -> Result<Told, String> {
    let connection = match connection {
        Some(connection) => connection,
        None => connect(wanted, password).await.map_err(|error| plain(&error))?,
    };
    let (mut a, mut b, mut c) = (connection.clone(), connection.clone(), connection.clone());
    let (info, mut nodes, mut state) = (redis::cmd("INFO"), redis::cmd("CLUSTER"), redis::cmd("CLUSTER"));
    nodes.arg("NODES");
    state.arg("INFO");
    let (info, nodes, state) = tokio::join!(
        info.query_async::<String>(&mut a),
        nodes.query_async::<String>(&mut b),
        state.query_async::<String>(&mut c)
    );
    let vitals = Vitals::parse(&info.map_err(|error| plain(&error))?);
    if vitals.pid != pid {
        return Err(format!("process {} answers at {}, not process {pid}", vitals.pid, wanted.addr));
    }
    let answer = if vitals.loading {
        Answer::Loading
    } else {
        let nodes = nodes.map_err(|error| plain(&error))?;
        let state = state.map_err(|error| plain(&error))?;
        Answer::Facts(Box::new(facts(&vitals, &nodes, &state)?))
    };
    Ok(Told { connection, vitals, answer })
}

fn facts(vitals: &Vitals, nodes: &str, state: &str) -> Result<Facts, String> {
    let view = parse_view(nodes).map_err(|error| error.to_string())?;
    let own = view.iter().find(|peer| peer.own == evenkeel_core::plan::Own::Myself);
    let own = own.ok_or_else(|| "its view of the cluster lacks itself".to_owned())?;
    let of = match &own.role {
        PeerRole::Replica(of) => Some(of.clone()),
        PeerRole::Primary | PeerRole::Handshake => None,
    };
    let state = if state.contains("cluster_state:ok") { State::Ok } else { State::Fail };
    let (id, duty) = (own.id.clone(), vitals.duty(of));
    let stream = vitals.stream.clone();
    Ok(Facts { id, state, duty, stream, offset: vitals.offset, keys: vitals.keys, view })
}

/// An error of the client library in words for a person.
pub(crate) fn plain(error: &RedisError) -> String {
    if error.is_connection_refusal() {
        "it refuses connections".to_owned()
    } else if error.is_timeout() {
        "it took longer than 300 ms".to_owned()
    } else {
        error.to_string().replace(['\r', '\n'], " ")
    }
}
