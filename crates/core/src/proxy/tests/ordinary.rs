//! Requests when nothing goes wrong.

use super::{Cut, World, run, run_with};
use crate::proxy::Settings;

/// foo is in slot 12182 (b), bar in 5061 (a), hello in 866 (a), world in 9059 (b).
const MAP: &str = "map a 0-8191 b 8192-16383\n";

fn play(script: &str) {
    run(&format!("{MAP}{script}"));
}

#[test]
fn a_request_goes_to_its_slots_primary() {
    play(
        "1 says GET foo\nb hears GET foo\nb says \"x\"\n1 hears \"x\"\n1 says SET bar 1\na hears SET bar 1\na says +OK\n1 hears +OK",
    );
}

#[test]
fn replies_come_in_the_order_of_requests() {
    play(
        "1 says GET foo\n1 says GET bar\n1 says PING\nb hears GET foo\na hears GET bar\na says \"bar's\"\n\
         b says \"foo's\"\n1 hears \"foo's\"\n1 hears \"bar's\"\n1 hears +PONG",
    );
}

#[test]
fn many_clients_share_a_connection() {
    play(
        "1 says GET foo\n2 says GET foo\n3 says GET world\nb hears GET foo\nb hears GET foo\nb hears GET world\n\
         b says :1\nb says :2\n1 hears :1\n2 hears :2\nb says :3\n3 hears :3",
    );
}

#[test]
fn a_pipeline_in_one_piece() {
    play(
        "1 says *1\\r\\n$4\\r\\nPING\\r\\n*2\\r\\n$3\\r\\nGET\\r\\n$3\\r\\nfoo\\r\\n*2\\r\\n$4\\r\\nECHO\\r\\n$2\\r\\nhi\\r\\n\n\
         b hears GET foo\n1 hears +PONG\nb says $-1\n1 hears $-1\n1 hears \"hi\"",
    );
}

#[test]
fn inline_commands() {
    play(
        "1 says !PING\\r\\n\\r\\nget foo\\r\\n\nb hears get foo\n1 hears +PONG\nb says \"x\"\n1 hears \"x\"",
    );
    play("1 says !SET foo \"a b\\r\\n\n1 hears -ERR Protocol error: unbalanced quotes in request\n1 closed");
    play("1 says !POST / HTTP/1.1\\r\\n\n1 closed");
}

#[test]
fn split_commands_are_put_together() {
    play(
        "1 says MGET foo bar hello world\na hears MGET hello\na hears MGET bar\nb hears MGET world\nb hears MGET foo\n\
         b says *1\\r\\n$1\\r\\nw\nb says *1\\r\\n$1\\r\\nf\na says *1\\r\\n$-1\na says *1\\r\\n$1\\r\\nb\n\
         1 hears *4\\r\\n$1\\r\\nf\\r\\n$1\\r\\nb\\r\\n$-1\\r\\n$1\\r\\nw",
    );
    play("1 says DEL foo bar\na hears DEL bar\nb hears DEL foo\na says :1\nb says :1\n1 hears :2");
    play(
        "1 says MSET foo 1 bar 2\na hears MSET bar 2\nb hears MSET foo 1\na says +OK\nb says +OK\n1 hears +OK",
    );
    play(
        "1 says MSET foo 1 bar 2\na hears MSET bar 2\nb hears MSET foo 1\na says -OOM x\nb says +OK\n1 hears -OOM x",
    );
    play("1 says MSET foo 1 bar\n1 hears -ERR wrong number of arguments for 'mset' command");
    play(
        "1 says MGET {t}1 {t}2\nb hears MGET {t}1 {t}2\nb says *2\\r\\n:1\\r\\n:2\n1 hears *2\\r\\n:1\\r\\n:2",
    );
}

#[test]
fn every_primary_is_asked() {
    play("1 says DBSIZE\na hears DBSIZE\nb hears DBSIZE\na says :40\nb says :2\n1 hears :42");
    play(
        "1 says FLUSHALL ASYNC\na hears FLUSHALL ASYNC\nb hears FLUSHALL ASYNC\na says +OK\nb says +OK\n1 hears +OK",
    );
    play(
        "1 says KEYS *\na hears KEYS *\nb hears KEYS *\na says *1\\r\\n$1\\r\\na\nb says *0\n1 hears *1\\r\\n$1\\r\\na",
    );
    play(
        "1 says RANDOMKEY\na hears RANDOMKEY\na hears DBSIZE\nb hears RANDOMKEY\nb hears DBSIZE\n\
         a says $-1\na says :0\nb says \"k\"\nb says :9\n1 hears \"k\"",
    );
}

#[test]
fn errors_in_the_servers_words() {
    play("1 says GET\n1 hears -ERR wrong number of arguments for 'get' command");
    play("1 says NOPE a b\n1 hears -ERR unknown command 'NOPE', with args beginning with: 'a' 'b' ");
    play("1 says CLIENT NOPE\n1 hears -ERR unknown subcommand 'NOPE'. Try CLIENT HELP.");
    play("1 says SINTERSTORE foo bar\n1 hears -CROSSSLOT Keys in request don't hash to the same slot");
    play("1 says EVAL x 2 foo bar\n1 hears -CROSSSLOT Keys in request don't hash to the same slot");
    play("1 says SELECT 1\n1 hears -ERR DB index is out of range");
    play("1 says CLIENT CAPA redirect\n1 hears +OK\n1 says CLIENT NO-TOUCH x\n1 hears -ERR syntax error");
    play("1 says *1\\r\\nx\\r\\n\n1 hears -ERR Protocol error: expected '$', got 'x'\n1 closed");
    play("1 says Host: x\n1 closed");
    play("1 says post\n1 closed");
}

#[test]
fn resp3_has_connections_of_its_own() {
    play(
        "1 says HELLO 3\n1 hears %7\\r\\n$6\\r\\nserver\\r\\n$5\\r\\nredis\\r\\n$7\\r\\nversion\\r\\n$6\\r\\n7.2.99\\r\\n\
         $5\\r\\nproto\\r\\n:3\\r\\n$2\\r\\nid\\r\\n:1\\r\\n$4\\r\\nmode\\r\\n$7\\r\\ncluster\\r\\n$4\\r\\nrole\\r\\n\
         $6\\r\\nmaster\\r\\n$7\\r\\nmodules\\r\\n*0\n1 says HGETALL foo\nb2 hears HGETALL foo\nb2 says %1\\r\\n+a\\r\\n+b\n\
         1 hears %1\\r\\n+a\\r\\n+b\n2 says GET foo\nb hears GET foo\nb says $-1\n2 hears $-1\n1 says CLIENT GETNAME\n1 hears _",
    );
}

#[test]
fn a_password_is_asked_for() {
    let settings = Settings { client_password: Some("secret".to_owned()), ..Settings::default() };
    let script = "1 says GET foo\n1 hears -NOAUTH Authentication required.\n1 says AUTH wrong\n\
                  1 hears -WRONGPASS invalid username-password pair or user is disabled.\n1 says AUTH default secret\n\
                  1 hears +OK\n1 says GET foo\nb hears GET foo\nb says $-1\n1 hears $-1\n1 says RESET\n1 hears +RESET\n\
                  1 says PING\n1 hears -NOAUTH Authentication required.";
    run_with(settings, &format!("{MAP}{script}"));
}

#[test]
fn the_last_words_are_answered() {
    play("1 says GET foo\n1 ends\nb hears GET foo\nb says \"x\"\n1 hears \"x\"\n1 closed");
    play(
        "1 says GET foo\n1 says QUIT\n1 says PING\nb hears GET foo\nb says \"x\"\n1 hears \"x\"\n1 hears +OK\n1 closed",
    );
    play(
        "1 says GET foo\n1 leaves\nb hears GET foo\nb says \"x\"\n2 says GET foo\nb hears GET foo\nb says \"y\"\n2 hears \"y\"",
    );
}

#[test]
fn a_cluster_client_sees_one_node() {
    play("1 says CLUSTER KEYSLOT foo\n1 hears :12182\n1 says READONLY\n1 hears +OK");
    play("1 says CLIENT LIST\n1 hears $8\\r\\ngathered");
}

#[test]
fn large_requests_have_a_lane() {
    let settings = Settings { ordinary: 64, unasked: 0, ..Settings::default() };
    let body = "v".repeat(100);
    let script = format!(
        "{MAP}1 says *3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\nfoo\\r\\n$100\\r\\n\n1 says !{body}\\r\\n*2\\r\\n$3\\r\\nGET\\r\\n$3\\r\\nbar\\r\\n\n\
         2 says GET foo\nb hears GET foo\nb says $-1\n2 hears $-1\nb2 hears EXISTS foo\nb2 says :0\n\
         b2 hears *3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\nfoo\\r\\n$100\\r\\n{body}\\r\\n\nb2 says +OK\n1 hears +OK\n\
         a hears GET bar\na says $-1\n1 hears $-1"
    );
    run_with(settings, &script);
}

#[test]
fn a_slow_reader_holds_up_only_itself() {
    let settings = Settings { ahead: 100, ..Settings::default() };
    let half = "v".repeat(500);
    let script = format!(
        "{MAP}1 stuck\n1 says GET foo\n2 says GET world\n3 says SET foo 1\n3 says GET foo\nb hears GET foo\nb hears GET world\n\
         b hears SET foo 1\nb hears GET foo\nb says !$1000\\r\\n{half}\nwait 60\nb2 hears GET world\nb2 says \"w\"\n2 hears \"w\"\n\
         1 reads\nb says !{half}\\r\\n\nb says \"w\"\nb says +OK\n3 hears +OK\nb says \"1\"\n3 hears \"1\"\n\
         1 hears !$1000\\r\\n{half}{half}\\r\\n"
    );
    run_with(settings, &script);
}

#[test]
fn a_client_that_never_reads_is_dropped_when_others_wait() {
    let settings = Settings { ahead: 100, ..Settings::default() };
    let script = format!(
        "{MAP}1 stuck\n1 says GET foo\n2 says SET foo 1\nb hears GET foo\nb hears SET foo 1\nb says !$1000\\r\\n{}\nwait 2100\n\
         1 closed\nb says !{}\\r\\n\nb says +OK\n2 hears +OK",
        "v".repeat(500),
        "v".repeat(500)
    );
    run_with(settings, &script);
}

#[test]
fn a_drain_answers_what_was_sent_before_it_closes() {
    play(
        "1 says SET foo 1\n2 says PING\n2 hears +PONG\nb hears SET foo 1\n1 says !*2\\r\\n$3\\r\\nGET\\r\\n\ndrain\n2 closed\n\
         1 says !$3\\r\\nfoo\\r\\n\nb hears GET foo\nb says +OK\n1 hears +OK\nb says \"1\"\n1 hears \"1\"\n1 closed",
    );
    // Who has just asked may be about to ask again, and goes with that reply or a while later.
    play(
        "1 says PING\n1 hears +PONG\n2 says PING\n2 hears +PONG\n3 says PING\n3 hears +PONG\nwait 400\n1 says PING\n\
         1 hears +PONG\n2 says PING\n2 hears +PONG\nwait 200\ndrain\n3 closed\n1 says PING\n1 hears +PONG\n1 closed\n\
         wait 200\n2 says PING\n2 hears +PONG\n2 closed",
    );
    play("1 says PING\n1 hears +PONG\nwait 200\ndrain\nwait 400\n1 closed");
    // More than may be under way at a time: what was read and waits its turn is answered too.
    let many = "*2\\r\\n$3\\r\\nGET\\r\\n$3\\r\\nfoo\\r\\n".repeat(1500);
    let answers = "b hears GET foo\nb says :1\n1 hears :1\n".repeat(1500);
    let script = format!("{MAP}1 says {many}\ndrain\n{answers}1 closed");
    let settings = Settings { merge_reads: false, ..Settings::default() };
    World::new(settings, Cut::Nowhere).play(&script);
}

#[test]
fn of_who_sent_much_that_passed_unread_only_a_head_is_read() {
    let body = "v".repeat(100);
    let mut world = World::new(Settings { ordinary: 64, unread: 1, ..Settings::default() }, Cut::Everywhere);
    world.script(&format!(
        "{MAP}1 says SET foo {body}\nb2 hears SET foo {body}\nb2 says +OK\n1 hears +OK\n\
         1 says GET world\nb hears GET world\nb says \"{body}\"\n1 hears \"{body}\""
    ));
    let node = world.upstreams["b"].id;
    assert!(world.proxy.pipe_most(node) < 100_000);
    // Whoever sends something small next is read as ever.
    world.script("1 says GET world\nb hears GET world\nb says :1\n1 hears :1");
    assert_eq!(world.proxy.pipe_most(node), usize::MAX);
    let client = world.clients["1"].id;
    assert_eq!(world.proxy.client_most(client), usize::MAX);
    world.script(&format!("1 says SET foo {body}\nb2 hears SET foo {body}\nb2 says +OK\n1 hears +OK"));
    assert!(world.proxy.client_most(client) < 100_000);
}
