//! Applications of others, unmodified, do their work through the gateway: tasks run, sessions are kept, sockets talk.
//!
//! Each script here takes an address, uses one application in earnest, and fails loudly. What an application needs to be
//! told (a prefix with a hash tag) stands in its script's first lines. The same scripts run against one server that
//! owns all slots, so that a failure tells whose fault it is.

#[path = "../libraries/mod.rs"]
mod libraries;
#[path = "../stage/mod.rs"]
mod stage;

use libraries::Libraries;
use stage::cluster::Cluster;
use stage::service::GatewayProcess;
use std::net::SocketAddr;

const APPLICATIONS: [&str; 9] = [
    "celery_app.py",
    "huey_app.py",
    "dramatiq_app.py",
    "django_redis_app.py",
    "flask_session_app.py",
    "rate_limiter.py",
    "asyncio_pubsub.py",
    "bullmq.mjs",
    "socket_io.mjs",
];

#[test]
fn applications_work_through_the_gateway() {
    let _alone = stage::alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = GatewayProcess::start(&cluster.addrs());
    run_all(gateway.addr, "gateway");
}

#[test]
fn applications_work_without_a_gateway() {
    let _alone = stage::alone();
    let one = Cluster::start(1, 0, &[]);
    run_all(one.primaries[0].addr, "server");
}

fn run_all(address: SocketAddr, target: &str) {
    let libraries = Libraries::installed("apps");
    let failures: Vec<String> =
        APPLICATIONS.iter().filter_map(|script| libraries.run(script, address, &[], target).err()).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), APPLICATIONS.len(), failures.join("\n"));
}
