//! Every command that ioredis and node-redis know, called through the gateway and at one server that owns all slots: the
//! libraries have to get the same values and the same errors.
//!
//! `EVENKEEL_FULL=1` calls each with keys of every type, and with cluster clients too; else with keys of two types.

mod libraries;
mod stage;

use libraries::Libraries;
use stage::cluster::Cluster;
use stage::service::GatewayProcess;

#[test]
fn every_command_of_the_libraries_gets_the_same_answer() {
    let libraries = Libraries::installed("clients");
    let cluster = Cluster::start(3, 0, &[]);
    let one = Cluster::start(1, 0, &[]);
    let gateway = GatewayProcess::start(&cluster.addrs());
    let other = one.primaries[0].addr;
    let (host, port) = (other.ip().to_string(), other.port().to_string());
    let runs: &[[&str; 3]] = if stage::switched_on("EVENKEEL_FULL") {
        &[
            ["ioredis", "plain", "2"],
            ["ioredis", "plain", "3"],
            ["ioredis", "cluster", "2"],
            ["node-redis", "plain", "2"],
            ["node-redis", "plain", "3"],
        ]
    } else {
        &[["ioredis", "plain", "2"], ["node-redis", "plain", "3"]]
    };
    let failures: Vec<String> = runs
        .iter()
        .filter_map(|run| {
            let arguments: Vec<&str> = run.iter().copied().chain([host.as_str()]).collect();
            libraries.run("surface.mjs", gateway.addr, &arguments, &port).err()
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} runs:\n{}", failures.len(), runs.len(), failures.join("\n"));
}
