//! What a person or a machine can get wrong: each has a clear error, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::net::TcpListener;
use std::process::Command;

use common::{Deployment, lives, missing_keys, named, primaries, replicas, server, text, write_keys};
use evenkeel_control::status::Health;

#[test]
fn a_second_evenkeel_on_the_same_directory_is_refused() {
    let mut service = Deployment::new("");
    let status = service.up_healthy();
    for args in [&["up"][..], &["up", "--detach"]] {
        let second = service.evenkeel(args);
        assert_eq!(second.status.code(), Some(1));
        let expected = format!("is in use by evenkeel with process id {}", service.pid());
        assert!(text(&second).contains(&expected), "{}", text(&second));
    }
    assert!(status.nodes.iter().all(|node| lives(node.pid.unwrap())));
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let service = Deployment::new("");
    let taken = |port: u16| TcpListener::bind(("127.0.0.1", port)).unwrap();
    for (port, expected) in [
        (
            service.base + 2,
            format!("port {} of node-{} is in use by another program", service.base + 2, service.base + 2),
        ),
        (
            service.base + 10_004,
            format!("port {} of node-{} is in use", service.base + 10_004, service.base + 4),
        ),
        (
            service.gateway,
            format!("gateway.listen is 127.0.0.1:{}, but another program listens there", service.gateway),
        ),
        (service.web, format!("web.listen is 127.0.0.1:{}, but another program listens there", service.web)),
    ] {
        let holding = taken(port);
        for args in [&["up"][..], &["up", "--detach"]] {
            let output = service.evenkeel(args);
            assert_eq!(output.status.code(), Some(1));
            assert!(text(&output).contains(&expected), "{args:?}: {}", text(&output));
        }
        drop(holding);
    }
    assert!(!service.dir.join("nodes").exists(), "no server was started");
}

#[test]
fn a_program_that_is_no_server_is_refused() {
    for (server, expected) in [
        (
            "/bin/cat",
            "cluster.server /bin/cat is not a Redis or Valkey server: it answers \"cat (GNU coreutils)",
        ),
        ("/nonexistent/redis-server", "is not a Redis or Valkey server: there is no such program"),
        ("no-such-server", "no no-such-server on PATH: install redis-server or valkey-server"),
    ] {
        let service = Deployment::new(&format!("server = \"{server}\""));
        let output = service.evenkeel(&["up"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains(expected), "{}", text(&output));
        assert!(!service.dir.exists());
    }
}

#[test]
fn a_directory_of_somebody_else_and_changed_settings_are_refused() {
    let mut service = Deployment::new("");
    std::fs::create_dir(&service.dir).unwrap();
    std::fs::write(service.dir.join("thesis.tex"), "x").unwrap();
    let output = service.evenkeel(&["up"]);
    assert!(text(&output).contains("is not empty and was not made by evenkeel"), "{}", text(&output));
    std::fs::remove_file(service.dir.join("thesis.tex")).unwrap();

    service.up_healthy();
    assert_eq!(service.stop(), Some(0));
    service.configure("shards = 4");
    let output = service.evenkeel(&["up"]);
    assert!(text(&output).contains("cluster.shards is 4, but the data in"), "{}", text(&output));
}

#[test]
fn a_damaged_nodes_conf_is_named_and_the_data_lives_on() {
    let mut service = Deployment::new("");
    let status = service.up_healthy();
    write_keys(&mut service.client(), 200);
    assert_eq!(service.stop(), Some(0));
    let victim = primaries(&status)[0].clone();
    let file = service.node_dir(&victim).join("nodes.conf");
    std::fs::write(&file, "this is not what the server wrote").unwrap();
    service.up();
    let expected = format!("{} is damaged", file.display());
    let after = service.wait("the damage is told and the slots are served", 60, |status| {
        status.slots_served == 16_384 && named(status, &victim.name).because.contains(&expected)
    });
    assert!(
        named(&after, &victim.name).because.contains("move the directory"),
        "{:?}",
        named(&after, &victim.name)
    );
    assert_eq!(missing_keys(&mut service.client(), 200), 0);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("this is not"), "the file was touched");

    // doing what the message says
    let aside = service.place.path().join("aside");
    std::fs::rename(service.node_dir(&victim), &aside).unwrap();
    let healed = service.healthy();
    assert_eq!((primaries(&healed).len(), replicas(&healed).len()), (3, 3));
    assert_eq!(missing_keys(&mut service.client(), 200), 0);
}

#[test]
fn foreign_keys_are_never_touched() {
    let mut service = Deployment::new("");
    let status = service.up_healthy();
    assert_eq!(service.stop(), Some(0));
    // a server that has data but no cluster, where a node should be, and no record of who was there
    std::fs::remove_file(service.dir.join("members.json")).unwrap();
    for node in &status.nodes {
        std::fs::remove_file(service.node_dir(node).join("nodes.conf")).unwrap();
    }
    let stranger = &status.nodes[4];
    let dir = service.node_dir(stranger);
    std::fs::remove_dir_all(dir.join("appendonlydir")).unwrap();
    std::fs::create_dir(dir.join("appendonlydir")).unwrap();
    std::fs::write(
        dir.join("appendonlydir/appendonly.aof.manifest"),
        "file appendonly.aof.1.incr.aof seq 1 type i\n",
    )
    .unwrap();
    let aof = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$5\r\ntheir\r\n$4\r\ndata\r\n";
    std::fs::write(dir.join("appendonlydir/appendonly.aof.1.incr.aof"), aof).unwrap();
    service.up();
    service.wait("the stranger is told", 60, |status| status.health == Health::Down);
    let told = service
        .journal()
        .iter()
        .any(|event| event.subject == stranger.name && event.because.contains("holds 1 keys"));
    assert!(told, "{:#?}", service.journal());
    let keys: u64 = redis::cmd("DBSIZE").query(&mut service.node(&stranger.addr)).unwrap();
    assert_eq!(keys, 1);
}

#[test]
fn a_replica_with_unreadable_data_copies_its_primary_anew() {
    let mut service = Deployment::new("");
    let status = service.up_healthy();
    write_keys(&mut service.client(), 200);
    assert_eq!(service.stop(), Some(0));
    let victim = replicas(&status)[0].clone();
    let data = service.node_dir(&victim).join("appendonlydir");
    for file in std::fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rdb") {
            std::fs::write(path, "REDIS0010 and then nonsense").unwrap();
        }
    }
    let healed = service.up_healthy();
    assert_eq!(
        (named(&healed, &victim.name).id, named(&healed, &victim.name).role),
        (victim.id.clone(), victim.role)
    );
    assert!(service.node_dir(&victim).join("set-aside/appendonlydir").exists(), "what was there is kept");
    assert_eq!(missing_keys(&mut service.client(), 200), 0);
}

/// A small file system that is full. Needs root, as mounting does.
struct Small {
    dir: std::path::PathBuf,
}

impl Small {
    fn mount(dir: &std::path::Path, size: &str) -> Small {
        std::fs::create_dir_all(dir).unwrap();
        let options = format!("size={size},mode=700");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir).status().unwrap();
        assert!(status.success(), "mounting a small file system needs root");
        Small { dir: dir.to_owned() }
    }

    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.dir.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.dir.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

#[test]
fn a_full_disk_is_named_and_nothing_is_lost() {
    let mut service = Deployment::new("");
    let place = service.place.path().join("small");
    let small = Small::mount(&place, "24m");
    service.dir = place.join("home");
    service.up_healthy();
    write_keys(&mut service.client(), 200);
    // A server that cannot write its nodes.conf ends, and Valkey still writes it for a while after it was started.
    if server::program().contains("valkey") {
        std::thread::sleep(std::time::Duration::from_secs(15));
    }

    small.fill();
    let mut connection = service.client();
    let mut refused = None;
    for at in 0..20_000 {
        let done: Result<(), _> =
            redis::cmd("SET").arg(format!("more:{at}")).arg("x".repeat(1_000)).query(&mut connection);
        if let Err(error) = done {
            refused = Some(error.to_string());
            break;
        }
    }
    assert!(refused.as_ref().is_some_and(|error| error.contains("MISCONF")), "{refused:?}");
    std::thread::sleep(std::time::Duration::from_secs(11));
    let shown = service.evenkeel(&["status"]);
    assert_eq!(shown.status.code(), Some(1));
    assert!(text(&shown).contains("full"), "{}", text(&shown));
    assert_eq!(missing_keys(&mut connection, 200), 0, "reads go on");

    small.make_room();
    service.healthy();
    let _: () = redis::cmd("SET").arg("again").arg(1).query(&mut connection).unwrap();
    assert_eq!(service.stop(), Some(0));

    small.fill();
    let up = service.evenkeel(&["up", "--detach"]);
    assert_eq!(up.status.code(), Some(1), "{}", text(&up));
    assert!(text(&up).contains("No space left on device"), "{}", text(&up));
    small.make_room();
    service.evenkeel(&["down"]);
    service.up_healthy();
    assert_eq!(missing_keys(&mut service.client(), 200), 0);
    assert_eq!(service.stop(), Some(0));
    drop(small);
}
