//! Commands over the whole cluster: who is asked, and what is made of the answers.

use super::{Cut, World, run, run_with};
use crate::proxy::{Gather, Settings};
use crate::resp::{Proto, Writer};

/// foo is in slot 12182 (b), bar in 5061 (a), hello in 866 (a). c owns nothing, as a replica does.
const MAP: &str = "map a 0-8191 b 8192-16383 c\n";

fn play(script: &str) {
    run(&format!("{MAP}{script}"));
}

/// What a and b say of themselves when they see what the map says.
const VIEW_A: &str = "\"a 10.0.0.97:7000@1 myself,master - 0 0 1 connected 0-8191\"";
const VIEW_B: &str = "\"b 10.0.0.98:7000@1 myself,master - 0 0 1 connected 8192-16383\"";

#[test]
fn settings_reach_replicas_too() {
    play(
        "1 says CONFIG SET maxmemory 1\na hears CONFIG SET maxmemory 1\nb hears CONFIG SET maxmemory 1\n\
         c hears CONFIG SET maxmemory 1\nc says +OK\nb says +OK\na says +OK\n1 hears +OK",
    );
    // One that cannot be reached is told by its own configuration when it starts.
    play(
        "c down\n1 says CONFIG SET maxmemory 1\na hears CONFIG SET maxmemory 1\nb hears CONFIG SET maxmemory 1\n\
         a says +OK\nb says +OK\n1 hears +OK",
    );
    play(
        "1 says SCRIPT FLUSH\na hears SCRIPT FLUSH\nb hears SCRIPT FLUSH\nc hears SCRIPT FLUSH\na says +OK\nb says +OK\n\
         c breaks\n1 hears +OK",
    );
    play(
        "1 says CONFIG SET foo 1\na hears CONFIG SET foo 1\nb hears CONFIG SET foo 1\nc hears CONFIG SET foo 1\n\
         c says +OK\na says +OK\nb says -ERR Unknown option\n1 hears -ERR Unknown option",
    );
}

#[test]
fn settings_by_which_evenkeel_lives_are_its_own() {
    for name in ["port", "REQUIREPASS", "cluster-announce-ip", "maxmemory 1 masterauth"] {
        let own = name.rsplit(' ').next().expect("a word").to_lowercase();
        play(&format!(
            "1 says CONFIG SET {name} x\n1 hears -ERR evenkeel: '{own}' is evenkeel's own: set it in evenkeel.toml, or on one \
             node with EVENKEEL NODE <node> CONFIG SET {own} …",
        ));
    }
}

#[test]
fn a_kill_goes_past_the_script_that_it_kills() {
    // a and b are the connections that clients share: on one of them the script runs.
    play(
        "1 says EVAL x 1 foo\nb hears EVAL x 1 foo\n2 says SCRIPT KILL\na2 hears SCRIPT KILL\nb2 hears SCRIPT KILL\n\
         a2 says -NOTBUSY No scripts in execution right now.\nb2 says +OK\n2 hears +OK\n\
         b says -ERR Error running script\n1 hears -ERR Error running script",
    );
    play(
        "1 says FUNCTION STATS\na2 hears FUNCTION STATS\nb2 hears FUNCTION STATS\n\
         a2 says *2\\r\\n$14\\r\\nrunning_script\\r\\n$-1\nb2 says *2\\r\\n$14\\r\\nrunning_script\\r\\n*0\n\
         1 hears *2\\r\\n$14\\r\\nrunning_script\\r\\n*0",
    );
}

#[test]
fn connections_for_errands_end_when_they_are_not_used() {
    let script = format!(
        "{MAP}1 says SCRIPT KILL\na2 hears SCRIPT KILL\nb2 hears SCRIPT KILL\na2 says +OK\nb2 says +OK\n1 hears +OK\nwait 12000\n\
         1 says SCRIPT KILL\na3 hears SCRIPT KILL\nb3 hears SCRIPT KILL\na3 says +OK\nb3 says +OK\n1 hears +OK",
    );
    World::new(Settings::default(), Cut::Nowhere).play(&script);
}

#[test]
fn one_node_gets_what_is_for_it_and_its_reply_comes_back_as_it_is() {
    play(
        "1 says EVENKEEL NODE 10.0.0.97:7000 GET foo\na2 hears GET foo\na2 says -MOVED 12182 10.0.0.98:7000\n\
         1 hears -MOVED 12182 10.0.0.98:7000",
    );
    play(
        "1 says EVENKEEL NODE 10.0.0.99:7000 INFO\nc hears INFO\nc says \"role:slave\"\n1 hears \"role:slave\"",
    );
    play(
        "1 says EVENKEEL NODE 10.0.0.97:7000 INCR bar\na2 hears INCR bar\na2 breaks\n1 hears -UNCERTAIN the connection to node \
         10.0.0.97:7000 was lost after this command was sent: it may or may not have been applied; read before you repeat it",
    );
    play(
        "c down\n1 says EVENKEEL NODE 10.0.0.99:7000 INFO\n1 hears -UNAVAILABLE node 10.0.0.99:7000 could not serve this for \
         0.0 s (it went away); nothing was applied, try again",
    );
    play(
        "1 says EVENKEEL NODE x INFO\n1 hears -ERR evenkeel: no node has this address, port or id (or start of an id, of 4 digits at least); EVENKEEL NODES lists them",
    );
    play(
        "1 says EVENKEEL NODE 10.0.0.97:7000\n1 hears -ERR wrong number of arguments for 'evenkeel|node' command",
    );
    play(
        "1 says EVENKEEL NODE 10.0.0.97:7000 SUBSCRIBE x\n1 hears -ERR EVENKEEL NODE does not subscribe: subscribe on the gateway, or connect to the node itself",
    );
    play(
        "1 says EVENKEEL NODES\n1 hears $93\\r\\na 10.0.0.97:7000 primary 0-8191\\nb 10.0.0.98:7000 primary 8192-16383\\nc 10.0.0.99:7000 primary\\n",
    );
}

#[test]
fn an_errand_to_a_node_that_hangs_ends() {
    let script = format!(
        "{MAP}1 says EVENKEEL NODE 10.0.0.99:7000 GET x\nc hears GET x\nwait 150\n1 hears -UNCERTAIN the connection to node \
         10.0.0.99:7000 was lost after this command was sent: it may or may not have been applied; read before you repeat it",
    );
    run_with(Settings { hold: 50_000, ..Settings::default() }, &script);
}

#[test]
fn info_of_every_node_stands_under_its_address() {
    play(
        "1 says INFO nodes server\na hears INFO server\nb hears INFO server\nc hears INFO server\na says \"x:1\"\n\
         b says \"x:2\"\nc says \"x:3\"\n1 hears $90\\r\\n# Node 10.0.0.97:7000\\r\\nx:1\\r\\n\\r\\n# Node 10.0.0.98:7000\\r\\n\
         x:2\\r\\n\\r\\n# Node 10.0.0.99:7000\\r\\nx:3\\r\\n\\r\\n",
    );
}

#[test]
fn a_slot_by_its_number_goes_to_its_primary() {
    play(
        "1 says CLUSTER COUNTKEYSINSLOT 12182\nb hears CLUSTER COUNTKEYSINSLOT 12182\nb says :1\n1 hears :1",
    );
    play("1 says CLUSTER COUNTKEYSINSLOT 16384\n1 hears -ERR Invalid slot");
    play("1 says CLUSTER GETKEYSINSLOT x 1\n1 hears -ERR value is not an integer or out of range");
    play("1 says CLUSTER LINKS\n1 hears *0");
    play("1 says CLUSTER REPLICAS abc\n1 hears -ERR Unknown node abc");
}

/// `SCAN 0` that finds x at a and y at b, and ends.
fn whole_walk() -> String {
    format!(
        "1 says SCAN 0\na hears INFO server\na hears SCAN 0\na says \"run_id:one\"\na says *2\\r\\n$1\\r\\n0\\r\\n*1\\r\\n$1\\r\\nx\n\
         b hears INFO server\nb hears SCAN 0\nb says \"run_id:two\"\nb says *2\\r\\n$1\\r\\n0\\r\\n*1\\r\\n$1\\r\\ny\n\
         a hears CLUSTER NODES\nb hears CLUSTER NODES\nb says {VIEW_B}\na says {VIEW_A}\n\
         1 hears *2\\r\\n$1\\r\\n0\\r\\n*2\\r\\n$1\\r\\nx\\r\\n$1\\r\\ny\n"
    )
}

#[test]
fn scan_walks_from_primary_to_primary() {
    play(&whole_walk());
    play("1 says SCAN x\n1 hears -ERR invalid cursor");
    play(
        "1 says SCAN 0 COUNT x\na hears INFO server\na hears SCAN 0 COUNT x\na says \"run_id:one\"\na says -ERR value is not an \
         integer or out of range\n1 hears -ERR value is not an integer or out of range",
    );
}

/// The first call of a walk, which finds x at a, of run one, and is at 3 there.
const FIRST: &str = "1 says SCAN 0 COUNT 1\na hears INFO server\na hears SCAN 0 COUNT 1\na says \"run_id:one\"\n\
                     a says *2\\r\\n$1\\r\\n3\\r\\n*1\\r\\n$1\\r\\nx\n1 hears *2\\r\\n$8\\r\\n13517418\\r\\n*1\\r\\n$1\\r\\nx\n";

#[test]
fn scan_goes_on_where_it_was() {
    let rest = format!(
        "1 says SCAN 13517418 COUNT 1\na hears SCAN 3 COUNT 1\na says *2\\r\\n$1\\r\\n0\\r\\n*1\\r\\n$1\\r\\nX\n\
         1 hears *2\\r\\n$7\\r\\n1731368\\r\\n*1\\r\\n$1\\r\\nX\n1 says SCAN 1731368\nb hears INFO server\nb hears SCAN 0\n\
         b says \"run_id:two\"\nb says *2\\r\\n$1\\r\\n0\\r\\n*1\\r\\n$1\\r\\ny\na hears CLUSTER NODES\nb hears CLUSTER NODES\n\
         b says {VIEW_B}\na says {VIEW_A}\n1 hears *2\\r\\n$1\\r\\n0\\r\\n*1\\r\\n$1\\r\\ny"
    );
    play(&format!("{FIRST}{rest}"));
    // Any other gateway can, too.
    let elsewhere = "1 says SCAN 13517418 COUNT 1\na hears INFO server\na hears SCAN 3 COUNT 1\na says \"run_id:one\"\n\
                     a says *2\\r\\n$1\\r\\n5\\r\\n*1\\r\\n$1\\r\\nX\n1 hears *2\\r\\n$8\\r\\n21906026\\r\\n*1\\r\\n$1\\r\\nX";
    play(elsewhere);
}

#[test]
fn scan_starts_over_where_the_cursor_is_of_another_run_or_map() {
    let again = "a says *2\\r\\n$1\\r\\n7\\r\\n*1\\r\\n$1\\r\\nX\na hears SCAN 0 COUNT 1\na says *2\\r\\n$1\\r\\n5\\r\\n*1\\r\\n$1\\r\\nx\n";
    // The same node, started again: what it calls 3 is another place now.
    play(&format!(
        "1 says SCAN 13517418 COUNT 1\na hears INFO server\na hears SCAN 3 COUNT 1\na says \"run_id:new\"\n{again}\
         1 hears *2\\r\\n$8\\r\\n21422965\\r\\n*1\\r\\n$1\\r\\nx"
    ));
    // A slot has moved since.
    run(&format!(
        "{MAP}{FIRST}map a 0-8190 b 8191-16383 c\n1 says SCAN 13517418 COUNT 1\na hears SCAN 3 COUNT 1\n{again}\
         1 hears *2\\r\\n$8\\r\\n21038114\\r\\n*1\\r\\n$1\\r\\nx"
    ));
}

#[test]
fn scan_does_not_end_before_every_primary_owns_what_the_map_says() {
    let stale = "\"a 10.0.0.97:7000@1 myself,master - 0 0 3 connected 0-8192\"";
    let walk = |first: &str| {
        let info = |node: char, run: &str| match first {
            "" => String::new(),
            _ => format!("{node} hears INFO server\n{node} hears SCAN 0\n{node} says \"run_id:{run}\"\n"),
        };
        let ask =
            |node: char| if first.is_empty() { format!("{node} hears SCAN 0\n") } else { String::new() };
        format!(
            "{}{}a says *2\\r\\n$1\\r\\n0\\r\\n*1\\r\\n$1\\r\\nx\n{}{}b says *2\\r\\n$1\\r\\n0\\r\\n*1\\r\\n$1\\r\\ny\n\
             a hears CLUSTER NODES\nb hears CLUSTER NODES\n",
            info('a', "one"),
            ask('a'),
            info('b', "two"),
            ask('b')
        )
    };
    // Slot 8192 has moved to a, which was walked before; the map learns of it later.
    play(&format!(
        "1 says SCAN 0\n{}a says {stale}\nb says {VIEW_B}\nlearned\n{}a says {VIEW_A}\nb says {VIEW_B}\n\
         1 hears *2\\r\\n$1\\r\\n0\\r\\n*2\\r\\n$1\\r\\nx\\r\\n$1\\r\\ny",
        walk("first"),
        walk("")
    ));
}

#[test]
fn scan_walks_those_that_import_slots_once_more() {
    let imports = VIEW_A.replace("0-8191", "0-8191 [9000-<-b]");
    let script = whole_walk().replace(
        &format!("a says {VIEW_A}\n1 hears *2\\r\\n$1\\r\\n0\\r\\n*2\\r\\n$1\\r\\nx\\r\\n$1\\r\\ny\n"),
        &format!(
            "a says {imports}\na hears SCAN 0\na says *2\\r\\n$1\\r\\n0\\r\\n*1\\r\\n$1\\r\\nz\na hears CLUSTER NODES\n\
             b hears CLUSTER NODES\na says {imports}\nb says {VIEW_B}\n\
             1 hears *2\\r\\n$1\\r\\n0\\r\\n*3\\r\\n$1\\r\\nx\\r\\n$1\\r\\ny\\r\\n$1\\r\\nz\n"
        ),
    );
    assert!(script.contains('z'));
    play(&script);
}

#[test]
fn a_walk_waits_for_a_primary_that_is_replaced() {
    let settings = Settings::default();
    let script = format!(
        "{MAP}1 says SCAN 0\na hears INFO server\na hears SCAN 0\na down\na breaks\nmap c 0-8191 b 8192-16383\nwait 1\n\
         c hears SCAN 0\nc says *2\\r\\n$1\\r\\n0\\r\\n*0\nc hears INFO server\nc hears SCAN 0\nc says \"run_id:c\"\n\
         c says *2\\r\\n$1\\r\\n9\\r\\n*1\\r\\n$1\\r\\nx\nc hears SCAN 0\nc says *2\\r\\n$1\\r\\n9\\r\\n*1\\r\\n$1\\r\\nx\n\
         1 hears *2\\r\\n$8\\r\\n38204691\\r\\n*1\\r\\n$1\\r\\nx"
    );
    run_with(settings, &script);
}

#[test]
fn who_waits_for_the_end_of_a_pause_is_a_blocked_client() {
    play(
        "1 says CLIENT PAUSE 100000 WRITE\n1 hears \"gathered\"\n2 says SET foo 1\n1 says INFO clients\na hears INFO clients\nb hears INFO clients\n\
         a says \"blocked_clients:1\"\nb says \"blocked_clients:2\"\n1 hears $19\\r\\nblocked_clients:4\\r\\n",
    );
}

#[test]
fn other_workers_are_asked_who_waits_for_the_end_of_a_pause() {
    let script = format!(
        "{MAP}1 says INFO clients\na hears INFO clients\nb hears INFO clients\na says \"blocked_clients:1\"\n\
         b says \"blocked_clients:2\"\n1 hears $19\\r\\nblocked_clients:3\\r\\n\n1 says CLIENT PAUSE 100 WRITE\n1 hears \"gathered\"\n\
         1 says INFO clients\na hears INFO clients\nb hears INFO clients\na says \"blocked_clients:1\"\n\
         b says \"blocked_clients:2\"\n1 hears \"gathered\""
    );
    let settings = Settings { workers: 2, ..Settings::default() };
    let mut world = World::new(settings, Cut::Everywhere);
    world.script(&script);
    let Some(Gather::Info(info)) = &world.gathered else { panic!("{:?}", world.gathered) };
    let mut reply = Vec::new();
    info.reply(4, &mut Writer::new(&mut reply, Proto::Two));
    assert_eq!(reply, b"$19\r\nblocked_clients:7\r\n\r\n");
    world.ends();
}

#[test]
fn a_transaction_that_only_reads_does_not_wait_for_the_end_of_a_pause() {
    let queue = |request: &str| format!("1 says MULTI\n1 hears +OK\n1 says {request}\n1 hears +QUEUED\n");
    let pause = "2 says CLIENT PAUSE 100000 WRITE\n2 hears \"gathered\"\n1 says EXEC\n";
    play(&format!(
        "{}{pause}b hears MULTI\nb hears GET foo\nb hears EXEC\nb says +OK\nb says +QUEUED\nb says *1\\r\\n$-1\n1 hears *1\\r\\n$-1",
        queue("GET foo")
    ));
    play(&format!(
        "{}{pause}wait 100001\nb hears MULTI\nb hears SET foo 1\nb hears EXEC\nb says +OK\nb says +QUEUED\nb says *1\\r\\n+OK\n\
         1 hears *1\\r\\n+OK",
        queue("SET foo 1")
    ));
}

#[test]
fn a_transaction_waits_for_what_counts_as_a_write() {
    let queue = |requests: &[&str]| {
        let queued = |request: &&str| format!("1 says {request}\n1 hears +QUEUED\n");
        format!("1 says MULTI\n1 hears +OK\n{}", requests.iter().map(queued).collect::<String>())
    };
    let pause = "2 says CLIENT PAUSE 100 WRITE\n2 hears \"gathered\"\n1 says EXEC\n";
    // What replicas are told of, wherever it is carried out (`server.c`: CMD_MAY_REPLICATE).
    for (request, at_node, answer) in [
        (
            "PFCOUNT foo",
            "b hears MULTI\nb hears PFCOUNT foo\nb hears EXEC\nb says +OK\nb says +QUEUED\nb says *1\\r\\n:0\n",
            ":0",
        ),
        (
            "EVAL return(1) 1 foo",
            "b hears MULTI\nb hears EVAL return(1) 1 foo\nb hears EXEC\nb says +OK\nb says +QUEUED\nb says *1\\r\\n:1\n",
            ":1",
        ),
        ("PUBLISH x y", "a hears PUBLISH x y\na says :0\n", ":0"),
        ("FUNCTION FLUSH", "a hears FUNCTION FLUSH\nb hears FUNCTION FLUSH\na says +OK\nb says +OK\n", "+OK"),
    ] {
        play(&format!("{}{pause}wait 101\n{at_node}1 hears *1\\r\\n{answer}", queue(&[request])));
    }
    // A script that says that it writes nothing passes, alone and in a transaction; another one with such a line does not.
    let script = |flags: &str| {
        let text = format!("#!lua flags={flags}\\nreturn(1)");
        let length = text.len() - 1;
        format!("*4\\r\\n$4\\r\\nEVAL\\r\\n${length}\\r\\n{text}\\r\\n$1\\r\\n1\\r\\n$3\\r\\nfoo\\r\\n")
    };
    let (reads, stale) = (script("no-writes"), script("allow-stale"));
    play(&format!(
        "{}{pause}b hears MULTI\nb hears {reads}\nb hears EXEC\nb says +OK\nb says +QUEUED\nb says *1\\r\\n:1\n\
         1 hears *1\\r\\n:1",
        queue(&[&reads])
    ));
    play(&format!(
        "2 says CLIENT PAUSE 100 WRITE\n2 hears \"gathered\"\n1 says {reads}\nb hears {reads}\nb says :1\n1 hears :1\n\
         1 says {stale}\nwait 101\nb hears {stale}\nb says :1\n1 hears :1"
    ));
    // What a pause lets pass, and what it waits for while it is queued.
    play(&format!(
        "{}{pause}a hears DBSIZE\nb hears DBSIZE\na says :1\nb says :2\n1 hears *1\\r\\n:3",
        queue(&["DBSIZE"])
    ));
    play(
        "1 says MULTI\n1 hears +OK\n2 says CLIENT PAUSE 100 WRITE\n2 hears \"gathered\"\n1 says GET foo\n1 hears +QUEUED\n\
         1 says PFCOUNT foo\nwait 101\n1 hears +QUEUED",
    );
    play("2 says CLIENT PAUSE 100 WRITE\n2 hears \"gathered\"\n1 says EXEC\n1 hears -ERR EXEC without MULTI");
}

#[test]
fn a_pause_in_a_transaction_begins_when_it_is_executed() {
    play(
        "1 says MULTI\n1 hears +OK\n1 says CLIENT PAUSE 100 ALL\n1 hears +QUEUED\n1 says SET foo 1\n1 hears +QUEUED\n\
         1 says DBSIZE\n1 hears +QUEUED\n2 says SET foo 2\nb hears SET foo 2\nb says +OK\n2 hears +OK\n1 says EXEC\n\
         b hears MULTI\nb hears SET foo 1\nb hears EXEC\nb says +OK\nb says +QUEUED\nb says *1\\r\\n+OK\n\
         a hears DBSIZE\nb hears DBSIZE\na says :1\nb says :2\n1 hears *3\\r\\n$8\\r\\ngathered\\r\\n+OK\\r\\n:3\n\
         2 says SET foo 3\n1 says GET foo\nwait 101\nb hears SET foo 3\nb hears GET foo\nb says +OK\nb says \"3\"\n\
         2 hears +OK\n1 hears \"3\"",
    );
    // What is not executed pauses nobody.
    play(
        "1 says MULTI\n1 hears +OK\n1 says CLIENT PAUSE 100 ALL\n1 hears +QUEUED\n1 says DISCARD\n1 hears +OK\n\
         2 says SET foo 2\nb hears SET foo 2\nb says +OK\n2 hears +OK",
    );
}

#[test]
fn what_is_for_every_node_waits_until_there_is_a_map() {
    let map = "map a 0-8191 b 8192-16383 c\n";
    let sizes = "a says :1\nb says :2\n1 hears :3\n";
    run(&format!("1 says DBSIZE\nlearned\nwait 2000\n{map}a hears DBSIZE\nb hears DBSIZE\n{sizes}"));
    let found = "a says *2\\r\\n$1\\r\\n3\\r\\n*1\\r\\n$1\\r\\nx\n";
    run(&format!(
        "1 says SCAN 0 COUNT 1\nwait 2000\n{map}wait 1\na hears SCAN 0 COUNT 1\n{found}a hears INFO server\n\
         a hears SCAN 0 COUNT 1\na says \"run_id:one\"\n{found}a hears SCAN 0 COUNT 1\n{found}\
         1 hears *2\\r\\n$8\\r\\n13517418\\r\\n*1\\r\\n$1\\r\\nx"
    ));
    // Settings, and inside of a transaction too; what the client asks behind it stays behind it.
    run(&format!(
        "1 says CONFIG SET maxmemory 1\n2 says MULTI\n2 hears +OK\n2 says DBSIZE\n2 hears +QUEUED\n2 says EXEC\n\
         2 says GET foo\nwait 2000\n{map}a hears CONFIG SET maxmemory 1\nb hears CONFIG SET maxmemory 1\n\
         c hears CONFIG SET maxmemory 1\na says +OK\nb says +OK\nc says +OK\n1 hears +OK\na hears DBSIZE\nb hears DBSIZE\n\
         a says :1\nb says :2\n2 hears *1\\r\\n:3\nb hears GET foo\nb says \"1\"\n2 hears \"1\""
    ));
    // Not for ever, and what was asked in the same breath has waited as long.
    let over = "-UNAVAILABLE no node could not serve this for 10.0 s (no node answered yet); nothing was applied, try again";
    run(&format!(
        "1 says !*1\\r\\n$6\\r\\nDBSIZE\\r\\n*1\\r\\n$8\\r\\nFLUSHALL\\r\\nPING\\r\\n\nwait 9999\nwait 2\n1 hears {over}\n1 hears {over}\n1 hears +PONG"
    ));
    // A map without any owner is none.
    run(&format!(
        "map a b\n1 says KEYS x\nwait 5\n{map}a hears KEYS x\nb hears KEYS x\na says *0\nb says *0\n1 hears *0"
    ));
    run(&format!("1 says DBSIZE\n1 leaves\n{map}"));
}
