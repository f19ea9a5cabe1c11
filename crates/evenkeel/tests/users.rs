//! Users through the gateway, with real servers: the nodes' rules hold for everything, each user has connections of its own,
//! and what a server says in its own words a gateway says too.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_gateway::{Gateway, Login, NamedUser, Settings};
use stage::cluster::{Cluster, Node};
use stage::raw::{Raw, command, metric, shown, still_serves, texts};
use stage::service::{Service, kill};
use stage::{alone, loopback, wait_until};
use std::net::SocketAddr;
use std::time::Duration;

const OK: &[u8] = b"+OK\r\n";
const WRONG: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";

fn gateway(cluster: &Cluster, change: impl FnOnce(&mut Settings)) -> Gateway {
    let mut settings = Settings::new(loopback(0), cluster.addrs());
    settings.workers = 2;
    change(&mut settings);
    let gateway = Gateway::start(settings).unwrap();
    stage::service::wait_until_served(gateway.listen());
    gateway
}

/// A client that has logged in.
fn user(addr: SocketAddr, name: &str, password: &str) -> Raw {
    let mut client = Raw::connect(addr);
    assert_eq!(shown(&client.ask(&["AUTH", name, password])), shown(OK), "{name}");
    client
}

#[test]
fn the_nodes_rules_hold_for_users_and_for_what_the_gateway_answers_itself() {
    let _alone = alone();
    let cluster = Cluster::start(3, 3, &[]);
    let gateway = gateway(&cluster, |settings| {
        settings.users = vec![NamedUser {
            name: "reports".to_owned(),
            password: "r".to_owned(),
            login: Some(Login { user: b"reader".to_vec(), password: b"x".to_vec() }),
            durability: None,
        }];
    });
    let addr = gateway.listen();
    let mut admin = Raw::connect(addr);
    assert_eq!(
        admin.ask(&["ACL", "SETUSER", "reader", "on", ">x", "~*", "+@read", "+ping", "+acl|whoami"]),
        OK
    );
    assert_eq!(admin.ask(&["ACL", "SETUSER", "writer", "on", ">y", "~w*", "&*", "+@all"]), OK);
    for node in cluster.nodes() {
        assert_eq!(node.ask(&["ACL", "USERS"]).matches("er\r\n").count(), 2, "{} knows both", node.addr);
    }
    assert!(
        admin.ask(&["ACL", "SETUSER", "default", "off"]).starts_with(b"-ERR evenkeel: the user default is")
    );

    let (mut reader, mut writer) = (user(addr, "reader", "x"), user(addr, "writer", "y"));
    let mut direct = Raw::connect(cluster.primaries[0].addr);
    assert_eq!(direct.ask(&["AUTH", "reader", "x"]), OK);
    for words in [
        ["SET", "a", "1"].as_slice(),
        &["CLIENT", "LIST"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["CLIENT", "PAUSE", "1000"],
        &["FLUSHALL"],
        &["CONFIG", "GET", "*"],
        &["SUBSCRIBE", "x"],
        &["PUBLISH", "x", "y"],
        &["MULTI"],
        &["ACL", "SETUSER", "reader", "+@all"],
        &["ACL", "WHOAMI"],
        &["PING"],
    ] {
        let (here, there) = (reader.ask(words), direct.ask(words));
        assert_eq!(shown(&here), shown(&there), "{words:?}");
    }
    assert!(reader.ask(&["EVENKEEL", "METRICS"]).starts_with(b"-NOPERM "));
    for _ in 0..3 {
        assert_eq!(writer.ask(&["SET", "w", "1"]), OK);
        assert_eq!(reader.ask_text(&["GET", "w"]), "1");
        assert!(writer.ask(&["SET", "x", "1"]).starts_with(b"-NOPERM "));
        assert!(reader.ask(&["SET", "w", "2"]).starts_with(b"-NOPERM "));
    }
    let mut named = user(addr, "reports", "r");
    assert_eq!(named.ask_text(&["ACL", "WHOAMI"]), "reports");
    assert!(named.ask(&["SET", "w", "2"]).starts_with(b"-NOPERM "));
    assert_eq!(named.ask(&["AUTH", "reports", "x"]), WRONG);
    let list = admin.ask_text(&["CLIENT", "LIST"]);
    for name in ["reader", "writer", "reports", "default"] {
        assert!(list.contains(&format!(" user={name} ")), "{name} in {list}");
    }
    let log = admin.ask(&["ACL", "LOG", "1"]);
    let fields: [&[u8]; 2] = [b"*1\r\n*14\r\n", b"*1\r\n*20\r\n"]; // of older and newer servers
    assert!(fields.iter().any(|fields| log.starts_with(fields)), "{}", shown(&log));
}

#[test]
fn clients_of_a_deleted_user_are_closed_and_failed_logins_disturb_nobody() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster, |_| {});
    let addr = gateway.listen();
    let mut admin = Raw::connect(addr);
    for name in ["one", "two"] {
        assert_eq!(admin.ask(&["ACL", "SETUSER", name, "on", ">p", "~*", "&*", "+@all"]), OK);
    }
    let mut ones: Vec<Raw> = (0..10).map(|_| user(addr, "one", "p")).collect();
    let mut two = user(addr, "two", "p");
    assert_eq!(ones[0].ask(&["SET", "foo", "1"]), OK);
    assert_eq!(admin.ask(&["ACL", "DELUSER", "one"]), b":1\r\n");
    for one in &mut ones {
        assert_eq!(one.try_reply(), None, "a client of a deleted user is closed, idle or not");
    }
    assert_eq!(two.ask_text(&["GET", "foo"]), "1");

    let wrong: Vec<u8> = (0..500).flat_map(|n| command(&["AUTH", "two", &format!("no{n}")])).collect();
    let mut floods: Vec<Raw> = (0..8).map(|_| Raw::connect(addr)).collect();
    let before = metric(addr, "upstreams");
    floods.iter_mut().for_each(|flood| flood.send(&wrong));
    for n in 0..200 {
        let value = n.to_string();
        assert_eq!(two.ask(&["SET", "foo", &value]), OK);
        assert_eq!(admin.ask_text(&["GET", "foo"]), value);
    }
    for flood in &mut floods {
        (0..500).for_each(|n| assert_eq!(flood.reply(), WRONG, "reply {n}"));
        assert_eq!(flood.ask_text(&["GET", "foo"]), "199", "it is who it was before");
    }
    let after = metric(addr, "upstreams");
    assert!(after <= before + 6, "{before} connections to nodes became {after}");
    still_serves(addr);
}

#[test]
fn what_a_client_can_do_to_others_is_done_by_all_workers() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster, |_| {});
    let addr = gateway.listen();
    let mut admin = Raw::connect(addr);
    let mut clients: Vec<Raw> = (0..16).map(|_| Raw::connect(addr)).collect();
    let numbers: Vec<String> = clients
        .iter_mut()
        .map(|client| {
            let number = client.ask(&["CLIENT", "ID"]);
            String::from_utf8_lossy(&number[1..number.len() - 2]).into_owned()
        })
        .collect();
    assert_eq!(admin.ask(&["CLIENT", "KILL", "ID", &numbers[0]]), b":1\r\n");
    assert_eq!(clients.remove(0).try_reply(), None);
    assert_eq!(admin.ask(&["CLIENT", "KILL", "ID", &numbers[0]]), b":0\r\n");

    assert_eq!(admin.ask(&["CLIENT", "PAUSE", "60000", "WRITE"]), OK);
    for client in &mut clients {
        client.send(&command(&["SET", "foo", "1"]));
    }
    assert_eq!(admin.ask(&["EXISTS", "foo"]), b":0\r\n", "reads go on");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(admin.ask(&["EXISTS", "foo"]), b":0\r\n", "no write got through");
    assert_eq!(admin.ask(&["CLIENT", "UNPAUSE"]), OK);
    clients.iter_mut().for_each(|client| assert_eq!(client.reply(), OK));

    assert_eq!(admin.ask(&["CLIENT", "KILL", "TYPE", "normal"]), b":15\r\n");
    clients.iter_mut().for_each(|client| assert_eq!(client.try_reply(), None));
    assert_eq!(admin.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"]), b":1\r\n");
    assert_eq!(admin.try_reply(), None, "it is closed behind its answer");
}

#[test]
fn the_gateways_own_answers_are_the_servers_in_both_protocols() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster, |_| {});
    let one = Node::start(&[]);
    assert_eq!(one.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "+OK\r\n");
    wait_until("the one node serves", || one.ask(&["GET", "a"]) == "$-1\r\n");
    let newer = !one.info(&["INFO", "server"], "redis_version").starts_with("7.0.");
    for proto in ["2", "3"] {
        let mut here = Raw::connect(gateway.listen());
        let mut there = Raw::connect(one.addr);
        for words in script(proto) {
            if newer && REWORDED.contains(&words.join(" ").as_str()) {
                continue;
            }
            let (mine, own) = (here.ask(&words), there.ask(&words));
            assert_eq!(form(&words, &mine), form(&words, &own), "RESP{proto}: {words:?}");
        }
    }
}

/// Commands that a gateway answers itself.
fn script(proto: &'static str) -> Vec<Vec<&'static str>> {
    let lines = "CLIENT ID|HELLO|HELLO 4|HELLO x|HELLO 3 FOO|HELLO 3 AUTH x|HELLO 2 SETNAME b\u{e9}|HELLO PROTO|HELLO PROTO SETNAME me|\
         CLIENT GETNAME|CLIENT SETNAME a b|CLIENT SETNAME|CLIENT SETNAME you|CLIENT GETNAME|CLIENT GETNAME x|CLIENT INFO|\
         CLIENT INFO x|CLIENT LIST|CLIENT LIST TYPE normal|CLIENT LIST TYPE master|CLIENT LIST TYPE pubsub|CLIENT LIST TYPE foo|\
         CLIENT LIST TYPE|CLIENT LIST ID|CLIENT LIST ID x|CLIENT LIST ID 99999999|CLIENT LIST FOO bar|CLIENT NO-EVICT on|\
         CLIENT NO-EVICT off|CLIENT NO-EVICT maybe|CLIENT NO-EVICT|CLIENT REPLY ON|CLIENT REPLY maybe|CLIENT PAUSE|CLIENT PAUSE x|\
         CLIENT PAUSE -1|CLIENT PAUSE 1 foo|CLIENT PAUSE 1 ALL x|CLIENT PAUSE 1 ALL|CLIENT PAUSE 1 WRITE|CLIENT UNPAUSE|\
         CLIENT UNPAUSE x|CLIENT KILL|CLIENT KILL 1.2.3.4:5|CLIENT KILL ID|CLIENT KILL ID x|CLIENT KILL ID 0|\
         CLIENT KILL ID 99999999|CLIENT KILL TYPE foo|CLIENT KILL TYPE replica|CLIENT KILL SKIPME maybe|CLIENT KILL USER nobody|\
         CLIENT KILL ADDR 1.2.3.4:5 LADDR 1.2.3.4:5|CLIENT KILL FOO bar|CLIENT KILL ID 1 foo|CLIENT NOPE|CLIENT|AUTH|AUTH a b c|\
         AUTH x|AUTH default x|AUTH nobody x|ACL WHOAMI|ACL WHOAMI x|ACL SETUSER|ACL SETUSER u foo|ACL SETUSER u on >p ~* &* +@all -ping|\
         ACL GETUSER u|ACL GETUSER nobody|ACL LIST|ACL USERS|ACL DELUSER default|ACL DELUSER nobody|ACL DRYRUN u ping|ACL LOG RESET|\
         ACL LOG|ACL LOG x|ACL CAT|ACL CAT nope|ACL SAVE|ACL LOAD|AUTH u p|ACL WHOAMI|PING|ECHO x|SELECT 0|RESET|ACL WHOAMI|\
         HELLO PROTO AUTH u no|HELLO PROTO AUTH u p SETNAME z|CLIENT GETNAME|PING x|RESET|HELLO PROTO|ACL DELUSER u|PING|PING x|PING x y|ECHO|\
         TIME|ROLE|READONLY|READWRITE|SELECT x|QUIT";
    lines
        .split('|')
        .map(|line| line.split(' ').map(|word| if word == "PROTO" { proto } else { word }).collect())
        .collect()
}

/// What newer servers say in other words, or take where Redis 7.0 does not: the gateway goes by 7.0.
const REWORDED: [&str; 1] = ["CLIENT PAUSE 1 ALL x"];

#[test]
fn clients_are_chosen_by_what_the_servers_behind_understand() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster, |_| {});
    let one = Node::start(&[]);
    let newer = !one.info(&["INFO", "server"], "redis_version").starts_with("7.0.");
    let mut pair = [gateway.listen(), one.addr].map(Raw::connect);
    for client in &mut pair {
        assert_eq!(client.ask(&["CLIENT", "SETNAME", "me"]), OK);
        if newer {
            assert_eq!(client.ask(&["CLIENT", "SETINFO", "LIB-NAME", "lib"]), OK);
            assert_eq!(client.ask(&["CLIENT", "CAPA", "redirect"]), OK);
        }
    }
    let [here, there] = &mut pair;
    for filter in filters() {
        // Nobody is killed: no client has this number.
        let kill = [&["CLIENT", "KILL"], filter.as_slice(), &["ID", "99999999"]].concat();
        for words in [[&["CLIENT", "LIST"], filter.as_slice()].concat(), kill] {
            // The gateway takes this one from Redis 7.4 whichever server is behind.
            if !newer && words.contains(&"MAXAGE") && words[1] == "KILL" {
                continue;
            }
            let (mine, own) = (here.ask(&words), there.ask(&words));
            assert_eq!(form(&words, &mine), form(&words, &own), "{words:?}");
        }
    }
    // Those who are meant and nobody else.
    let admin = &mut Raw::connect(gateway.listen());
    if newer {
        assert_eq!(admin.ask(&["CLIENT", "KILL", "NAME", "me", "NOT-IP", "127.0.0.1"]), b":0\r\n");
        assert_eq!(
            admin.ask(&["CLIENT", "KILL", "NAME", "me", "LIB-NAME", "lib", "NOT-FLAGS", "x"]),
            b":1\r\n"
        );
        assert_eq!(here.try_reply(), None);
    }
}

/// Filters of CLIENT LIST and CLIENT KILL in Valkey 9; Redis knows few of them.
fn filters() -> Vec<Vec<&'static str>> {
    let lines = "TYPE pubsub|TYPE normal TYPE pubsub|TYPE pubsub TYPE normal|TYPE bogus|USER default|USER nobody|USER @|ADDR 1.2.3.4:5|\
         LADDR x|SKIPME yes|SKIPME no|SKIPME maybe|MAXAGE 100000|MAXAGE x|MAXAGE 0|MAXAGE -1|MAXAGE 99999999999999999999|FLAGS N|\
         FLAGS O|FLAGS Z|FLAGS NZY|FLAGS @|FLAGS NO|NAME me|NAME you|NAME @|IDLE 100000|IDLE 0|IDLE x|IDLE -1|IDLE @|LIB-NAME lib|\
         LIB-NAME @|LIB-NAME b|LIB-VER 1|DB 0|DB 1|DB x|DB -1|CAPA r|CAPA z|CAPA rzr|CAPA @|IP 127.0.0.1|IP x|IP @|NOT-ID 1|NOT-ID x|\
         NOT-ID 0|NOT-ID 1 2|NOT-TYPE normal|NOT-TYPE pubsub|NOT-TYPE bogus|NOT-USER default|NOT-USER nobody|NOT-ADDR x|NOT-LADDR x|\
         NOT-FLAGS N|NOT-FLAGS O|NOT-FLAGS Z|NOT-FLAGS @|NOT-NAME me|NOT-NAME you|NOT-NAME @|NOT-IDLE 5|NOT-MAXAGE 5|\
         NOT-LIB-NAME lib|NOT-LIB-NAME @|NOT-LIB-VER 1|NOT-DB 0|NOT-DB 7|NOT-DB x|NOT-CAPA r|NOT-CAPA z|NOT-CAPA @|NOT-IP x|\
         NOT-IP 127.0.0.1|NOT-SKIPME yes|ID 0|ID -1|ID 99999998 0|ID 99999998 -1|ID 99999998 x|ID 99999998 99999997|\
         ID 99999998 TYPE normal|TYPE normal ID 99999998|TYPE normal ID 99999998 99999997|ID 99999998 ID 99999997|\
         ID 99999998 99999997 NAME me|ID 99999998 NOT-ID 2 3|NAME me FLAGS N|NAME me NAME you|NAME you NAME me|NAME me NOT-NAME me|\
         TYPE|ID|ID NAME me|BOGUS 1|NOT-BOGUS 1|NOT-|MAXAGE 1 FOO|IDLE 9 NAME me|USER nobody USER none|\
         USER nobody TYPE bogus|TYPE bogus USER nobody|USER default USER nobody TYPE bogus|USER nobody SKIPME maybe|\
         SKIPME maybe USER nobody|ID 0 USER nobody|USER nobody ID 0|USER nobody FOO 1|USER nobody ADDR|NOT-USER nobody TYPE bogus";
    let words =
        |line: &'static str| line.split(' ').map(|word| if word == "@" { "" } else { word }).collect();
    lines.split('|').map(words).collect()
}

/// A reply without what differs from server to server: numbers, addresses, times.
fn form(words: &[&str], reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply).into_owned();
    let by_name = matches!(words, ["CLIENT", "INFO" | "LIST", ..]) && !text.starts_with('-');
    let digits = words.first().is_some_and(|word| matches!(*word, "HELLO" | "TIME" | "ROLE"))
        || words == ["CLIENT", "ID"];
    let in_any_order = matches!(words, ["ACL", "GETUSER" | "CAT" | "LIST", ..]);
    if by_name {
        // The fields of Redis 7.0 in its order; newer servers have more.
        let kind = text.chars().next().unwrap_or_default();
        let line = text.lines().find(|line| line.contains("id=")).unwrap_or_default();
        let line = line.split_once("id=").map_or(line, |(_, rest)| rest);
        let names: Vec<&str> = line.split(' ').filter_map(|field| Some(field.split_once('=')?.0)).collect();
        let more = ["capa", "watch", "lib-", "tot-net-", "tot-cmds"];
        let known = |name: &&str| !more.iter().any(|more| name.starts_with(more));
        let names: Vec<&str> = names.into_iter().filter(known).collect();
        format!("{kind} {} {}", line.is_empty(), names.join(" "))
    } else if digits && !text.starts_with('-') {
        // Valkey has a module of its own; MODULE LIST tells it.
        let text = text.split("modules").next().unwrap_or_default();
        let mut out = String::new();
        for symbol in text.chars() {
            match symbol {
                '0'..='9' if out.ends_with('#') => {}
                '0'..='9' => out.push('#'),
                other => out.push(other),
            }
        }
        out
    } else if in_any_order {
        let mut lines: Vec<&str> = text.split(['\n', ' ']).collect();
        lines.sort_unstable();
        lines.join("\n")
    } else {
        text
    }
}

#[test]
fn users_outlive_nodes() {
    let _alone = alone();
    let mut service = Service::start("persistence = \"aof\"");
    let mut admin = Raw::connect(service.addr);
    assert_eq!(admin.ask(&["ACL", "SETUSER", "alice", "on", ">p", "~a*", "+@all", "(~b* +get)"]), OK);
    let nodes: Vec<String> = admin
        .ask_text(&["EVENKEEL", "NODES"])
        .lines()
        .filter_map(|line| line.split(' ').nth(1).map(str::to_owned))
        .collect();
    assert_eq!(nodes.len(), 6);
    let knows = |admin: &mut Raw, node: &str| {
        let users = admin.ask(&["EVENKEEL", "NODE", node, "ACL", "USERS"]);
        users.starts_with(b"*") && texts(&users).contains(&Some("alice".to_owned()))
    };
    assert!(nodes.iter().all(|node| knows(&mut admin, node)), "every node is told at once");

    // One that lacks a user, as a new node does, is told by those who know it.
    let forgetful = nodes[0].clone();
    assert_eq!(admin.ask(&["EVENKEEL", "NODE", &forgetful, "ACL", "DELUSER", "alice"]), b":1\r\n");
    wait_until("the node that lacks the user is told", || knows(&mut admin, &forgetful));

    // One that dies has its users again; its clients do not notice.
    let mut alice = user(service.addr, "alice", "p");
    assert_eq!(alice.ask(&["SET", "a", "1"]), OK);
    let (_, pid) = service.nodes("primary")[0].clone();
    kill(pid);
    for n in 0..50 {
        // The one that was under way may or may not have been applied; none is refused for who she is.
        let reply = alice.ask(&["SET", &format!("a{n}"), "1"]);
        assert!(reply == OK || reply.starts_with(b"-UNCERTAIN "), "{}", shown(&reply));
    }
    service.wait_until_ok("the killed node is back");
    wait_until("every node knows the user", || nodes.iter().all(|node| knows(&mut admin, node)));
    assert_eq!(user(service.addr, "alice", "p").ask_text(&["GET", "a"]), "1");
}
