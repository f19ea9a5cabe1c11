//! Subscriptions: who hears what and when, and what the nodes are asked for.
//!
//! In these scripts `>subscribe x :1` stands for a push of these words, `<subscribe x :1` for the array that a client of
//! RESP2 gets instead (`nil` for nothing). The first connection to node a is for requests, the next is a hub.

use super::{Cut, World, run, run_with};
use crate::proxy::Settings;

/// Slot 0 is a's; foo is in slot 12182 (b), bar in 5061 (a).
const MAP: &str = "map a 0-8191 b 8192-16383\n";

pub(super) fn play(script: &str) {
    run(&expand(script));
}

pub(super) fn expand(script: &str) -> String {
    let lines = script.lines().map(|line| {
        let line = line.trim_start();
        let cuts = [(" says >", '>'), (" hears >", '>'), (" hears <", '*')];
        let cut = cuts.iter().find_map(|(verb, kind)| Some((line.split_once(verb)?, verb, *kind)));
        match cut {
            Some(((who, words), verb, kind)) => {
                format!("{who}{}{}", &verb[..verb.len() - 1], message(kind, words))
            }
            None => line.to_owned(),
        }
    });
    format!("{MAP}{}", lines.collect::<Vec<_>>().join("\n"))
}

fn message(kind: char, words: &str) -> String {
    let words: Vec<String> = words
        .split(' ')
        .map(|word| match word {
            "nil" if kind == '>' => "_".to_owned(),
            "nil" => "$-1".to_owned(),
            number if number.starts_with(':') => number.to_owned(),
            word => format!("${}\\r\\n{word}", word.len()),
        })
        .collect();
    format!("{kind}{}\\r\\n{}", words.len(), words.join("\\r\\n"))
}

#[test]
fn a_subscriber_hears_messages_once_the_node_has_confirmed() {
    play(
        "1 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >message x early
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         a2 says >message x hello
         1 hears <message x hello",
    );
}

#[test]
fn a_client_that_wants_no_replies_hears_that_it_is_subscribed() {
    play(
        "1 says CLIENT REPLY OFF
         1 says PSUBSCRIBE x*
         a2 hears psubscribe x*
         a2 says >psubscribe x* :1
         1 hears <psubscribe x* :1
         a2 says >pmessage x* xy hello
         1 hears <pmessage x* xy hello",
    );
}

#[test]
fn many_clients_share_one_subscription() {
    play(
        "1 says SUBSCRIBE x
         2 says SUBSCRIBE x
         3 says PING
         3 hears +PONG
         a2 hears subscribe x
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         2 hears <subscribe x :1
         3 says SUBSCRIBE x
         3 hears <subscribe x :1
         a2 says >message x hello
         1 hears <message x hello
         2 hears <message x hello
         3 hears <message x hello
         1 says UNSUBSCRIBE x
         a2 hears PING
         a2 says +PONG
         1 hears <unsubscribe x :0
         2 leaves
         3 says UNSUBSCRIBE
         a2 hears unsubscribe x
         a2 hears PING
         a2 says >unsubscribe x :0
         a2 says +PONG
         3 hears <unsubscribe x :0
         a2 says >message x nobody",
    );
}

#[test]
fn a_client_of_resp3_gets_pushes_and_asks_meanwhile() {
    play(
        "1 says HELLO 3
         1 hears !%7\\r\\n$6\\r\\nserver\\r\\n$5\\r\\nredis\\r\\n$7\\r\\nversion\\r\\n$6\\r\\n7.2.99\\r\\n$5\\r\\nproto\\r\\n:3\\r\\n$2\\r\\nid\\r\\n:1\\r\\n$4\\r\\nmode\\r\\n$7\\r\\ncluster\\r\\n$4\\r\\nrole\\r\\n$6\\r\\nmaster\\r\\n$7\\r\\nmodules\\r\\n*0\\r\\n
         1 says GET foo
         1 says SUBSCRIBE x y x
         1 says GET foo
         b2 hears GET foo
         b2 says \"1\"
         1 hears \"1\"
         a2 hears subscribe x
         a2 hears subscribe y
         a2 says >subscribe x :1
         a2 says >subscribe y :2
         1 hears >subscribe x :1
         1 hears >subscribe y :2
         1 hears >subscribe x :2
         b2 hears GET foo
         a2 says >message x hello
         1 hears >message x hello
         b2 says \"2\"
         1 hears \"2\"
         b2 says >message x nonsense",
    );
}

#[test]
fn between_messages_a_client_of_resp2_may_not_ask() {
    play(
        "1 says PSUBSCRIBE n.*
         a2 hears psubscribe n.*
         a2 says >psubscribe n.* :1
         1 hears <psubscribe n.* :1
         1 says GET foo
         1 hears -ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context
         1 says CLIENT LIST
         1 hears -ERR Can't execute 'client|list': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context
         1 says PING
         1 hears *2\\r\\n$4\\r\\npong\\r\\n$0\\r\\n
         1 says PING hi
         1 hears *2\\r\\n$4\\r\\npong\\r\\n$2\\r\\nhi
         a2 says >pmessage n.* n.1 hello
         1 hears <pmessage n.* n.1 hello
         1 says RESET
         a2 hears PING
         a2 says >pmessage n.* n.1 late
         1 hears <pmessage n.* n.1 late
         a2 says +PONG
         a2 hears punsubscribe n.*
         1 hears +RESET
         a2 says >punsubscribe n.* :0
         1 says PING
         1 hears +PONG",
    );
}

#[test]
fn counts_and_names_are_the_servers() {
    play(
        "1 says UNSUBSCRIBE
         1 hears <unsubscribe nil :0
         1 says UNSUBSCRIBE x y
         1 hears <unsubscribe x :0
         1 hears <unsubscribe y :0
         1 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         1 says PSUBSCRIBE n*
         a2 hears psubscribe n*
         a2 says >psubscribe n* :2
         1 hears <psubscribe n* :2
         1 says SSUBSCRIBE foo
         b2 hears ssubscribe foo
         b2 says >ssubscribe foo :1
         1 hears <ssubscribe foo :1
         1 says SSUBSCRIBE foo bar
         1 hears -CROSSSLOT Keys in request don't hash to the same slot
         1 says PUNSUBSCRIBE
         a2 hears punsubscribe n*
         a2 hears PING
         a2 says >punsubscribe n* :1
         a2 says +PONG
         1 hears <punsubscribe n* :1
         1 says SUNSUBSCRIBE
         b2 hears sunsubscribe foo
         b2 hears PING
         b2 says >sunsubscribe foo :0
         b2 says +PONG
         1 hears <sunsubscribe foo :0
         1 says SUNSUBSCRIBE
         1 hears <sunsubscribe nil :0",
    );
}

#[test]
fn receivers_are_clients_and_not_hubs() {
    play(
        "1 says SUBSCRIBE x
         2 says SUBSCRIBE x
         3 says PSUBSCRIBE x*
         a2 hears subscribe x
         a2 hears psubscribe x*
         a2 says >subscribe x :1
         a2 says >psubscribe x* :2
         1 hears <subscribe x :1
         2 hears <subscribe x :1
         3 hears <psubscribe x* :1
         4 says PUBLISH x hello
         a hears PUBLISH x hello
         a2 says >message x hello
         a2 says >pmessage x* x hello
         1 hears <message x hello
         2 hears <message x hello
         3 hears <pmessage x* x hello
         a says :7
         4 hears :8
         4 says PUBLISH y hello
         a hears PUBLISH y hello
         a says :1
         4 hears :1
         4 says PUBSUB NUMSUB x y
         a hears PUBSUB NUMSUB x y
         a says *4\\r\\n$1\\r\\nx\\r\\n:1\\r\\n$1\\r\\ny\\r\\n:3
         4 hears *4\\r\\n$1\\r\\nx\\r\\n:2\\r\\n$1\\r\\ny\\r\\n:3
         1 says SSUBSCRIBE foo
         b2 hears ssubscribe foo
         b2 says >ssubscribe foo :1
         1 hears <ssubscribe foo :1
         4 says SPUBLISH foo hi
         b hears SPUBLISH foo hi
         b says :1
         4 hears :1
         4 says PUBSUB SHARDNUMSUB foo
         a hears PUBSUB SHARDNUMSUB foo
         b hears PUBSUB SHARDNUMSUB foo
         a says *2\\r\\n$3\\r\\nfoo\\r\\n:0
         b says *2\\r\\n$3\\r\\nfoo\\r\\n:1
         4 hears *2\\r\\n$3\\r\\nfoo\\r\\n:1",
    );
}

#[test]
fn a_lost_hub_is_replaced_and_everything_subscribed_again() {
    play(
        "1 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         a down
         a2 breaks
         2 says SUBSCRIBE x y
         wait 100
         learned
         map b 0-16383 a
         b2 hears subscribe x
         b2 hears subscribe y
         b2 says >subscribe x :1
         b2 says >message x hello
         1 hears <message x hello
         b2 says >subscribe y :1
         2 hears <subscribe x :1
         2 hears <subscribe y :2
         b2 says >message x again
         1 hears <message x again
         2 hears <message x again",
    );
}

#[test]
fn a_subscription_that_no_node_takes_is_given_up() {
    run_with(
        Settings { hold: 100_000, ..Settings::default() },
        &expand(
            "a down
             a breaks
             1 says SUBSCRIBE x
             wait 201
             1 hears -UNAVAILABLE slot 0, shard 1, node 10.0.0.97:7000 could not serve this for 0.1 s (connection refused); nothing was applied, try again
             1 says PING
             1 hears +PONG
             a up
             wait 100
             2 says SUBSCRIBE y
             a2 hears subscribe y
             a2 says >subscribe y :1
             2 hears <subscribe y :1",
        ),
    );
}

#[test]
fn a_sharded_channel_follows_its_slot() {
    play(
        "1 says SSUBSCRIBE foo
         b2 hears ssubscribe foo
         b2 says >ssubscribe foo :1
         1 hears <ssubscribe foo :1
         b2 says >sunsubscribe foo :0
         learned
         wait 6
         b2 hears ssubscribe foo
         b2 says -MOVED 12182 10.0.0.97:7000
         map a 0-16383 b
         a2 hears ssubscribe foo
         a2 says >ssubscribe foo :1
         a2 says >smessage foo hello
         1 hears <smessage foo hello
         b2 says >smessage foo stale",
    );
    // The map is there before the node tells.
    play(
        "1 says SSUBSCRIBE foo
         b2 hears ssubscribe foo
         b2 says >ssubscribe foo :1
         1 hears <ssubscribe foo :1
         map a 0-16383 b
         b2 hears sunsubscribe foo
         a2 hears ssubscribe foo
         b2 says >sunsubscribe foo :0
         a2 says >ssubscribe foo :1
         a2 says >smessage foo hello
         1 hears <smessage foo hello",
    );
}

#[test]
fn keyspace_notifications_come_from_every_primary() {
    play(
        "1 says PSUBSCRIBE *
         a2 hears psubscribe *
         b2 hears psubscribe *
         a2 says >psubscribe * :1
         b2 says >psubscribe * :1
         1 hears <psubscribe * :1
         a2 says >pmessage * news hello
         b2 says >pmessage * news hello
         1 hears <pmessage * news hello
         b2 says >pmessage * __keyevent@0__:set foo
         1 hears <pmessage * __keyevent@0__:set foo
         map a 0-8191 c 8192-16383
         c2 hears psubscribe *
         b2 hears punsubscribe *
         c2 says >psubscribe * :1
         c2 says >pmessage * __keyevent@0__:set foo
         1 hears <pmessage * __keyevent@0__:set foo
         2 says SUBSCRIBE __keyevent@0__:del
         a2 hears subscribe __keyevent@0__:del
         c2 hears subscribe __keyevent@0__:del
         a2 says >subscribe __keyevent@0__:del :1
         c2 says >subscribe __keyevent@0__:del :1
         2 hears <subscribe __keyevent@0__:del :1
         c2 says >message __keyevent@0__:del foo
         2 hears <message __keyevent@0__:del foo",
    );
}

#[test]
fn what_a_node_does_not_allow_is_told() {
    play(
        "1 says SUBSCRIBE x y
         a2 hears subscribe x
         a2 hears subscribe y
         a2 says >subscribe x :1
         a2 says -NOPERM no permissions to access one of the channels used as arguments
         1 hears -NOPERM no permissions to access one of the channels used as arguments
         a2 hears unsubscribe x
         a2 says >unsubscribe x :0
         1 says GET foo
         b hears GET foo
         b says :1
         1 hears :1",
    );
}

#[test]
fn leaving_and_coming_back_at_once_is_kept_apart() {
    play(
        "1 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         1 says UNSUBSCRIBE x
         a2 hears unsubscribe x
         a2 hears PING
         2 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >message x late
         1 hears <message x late
         a2 says >unsubscribe x :0
         a2 says +PONG
         1 hears <unsubscribe x :0
         a2 says >message x early
         a2 says >subscribe x :1
         2 hears <subscribe x :1
         a2 says >message x hello
         2 hears <message x hello
         2 leaves
         a2 hears unsubscribe x
         3 says SUBSCRIBE x
         a2 hears subscribe x
         3 leaves
         a2 hears unsubscribe x",
    );
}

#[test]
fn large_messages_and_slow_readers() {
    let text = "m".repeat(5000);
    let script = |hears: &str| {
        format!(
            "1 says SUBSCRIBE x
             2 says SUBSCRIBE x
             a2 hears subscribe x
             a2 says >subscribe x :1
             1 hears <subscribe x :1
             2 hears <subscribe x :1
             1 stuck
             a2 says >message x {text}
             2 hears <message x {text}
             a2 says >message x small
             2 hears <message x small
             {hears}"
        )
    };
    play(&script(&format!("1 reads\n1 hears <message x {text}\n1 hears <message x small")));
    let settings = Settings { unread_messages: 5050, ..Settings::default() };
    run_with(settings, &expand(&script("1 closed")));
}

#[test]
fn a_hub_that_says_nothing_is_lost() {
    // Whole only: it is long.
    let script = expand(
        "1 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         wait 6000
         a2 hears PING
         a2 says +PONG
         wait 6000
         a2 hears PING
         wait 6000
         a3 hears subscribe x
         a3 says >subscribe x :1
         a3 says >message x hello
         1 hears <message x hello",
    );
    World::new(Settings::default(), Cut::Nowhere).play(&script);
}

#[test]
fn a_monitor_sees_what_is_asked_and_no_password() {
    play(
        r#"1 says MONITOR
         1 hears +OK
         2 says AUTH secret
         2 hears -ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?
         1 hears +1700000001.000000 [0 10.1.0.1:2] "AUTH" "(redacted)"
         2 says CONFIG GET
         2 hears -ERR wrong number of arguments for 'config|get' command
         2 says SET foo a"b
         b hears SET foo a"b
         1 hears +1700000001.000000 [0 10.1.0.1:2] "SET" "foo" "a\"b"
         b says +OK
         2 hears +OK
         1 says GET foo
         1 hears -ERR Replica can't interact with the keyspace
         1 hears +1700000001.000000 [0 10.1.0.1:1] "GET" "foo"
         1 says RESET
         1 hears +RESET
         2 says GET foo
         b hears GET foo
         b says :1
         2 hears :1"#,
    );
}
