//! Clients that wait: blocking commands, CLIENT UNBLOCK, WAIT.

use super::{run, run_with};
use crate::proxy::Settings;

/// foo is in slot 12182 (b), bar in 5061 (a), hello in 866 (a), world in 9059 (b).
const MAP: &str = "map a 0-8191 b 8192-16383\n";

fn play(script: &str) {
    run(&format!("{MAP}{script}"));
}

#[test]
fn a_client_that_waits_has_a_connection_of_its_own() {
    play(
        "1 says BLPOP foo 0\nb2 hears BLPOP foo 0\n2 says GET foo\nb hears GET foo\nb says \"x\"\n2 hears \"x\"\n\
         1 says GET foo\n1 says GET bar\nb2 says *2\\r\\n$3\\r\\nfoo\\r\\n$1\\r\\ny\n1 hears *2\\r\\n$3\\r\\nfoo\\r\\n$1\\r\\ny\n\
         b hears GET foo\na hears GET bar\na says \"2\"\nb says \"1\"\n1 hears \"1\"\n1 hears \"2\"",
    );
}

#[test]
fn earlier_replies_come_first_and_the_connection_is_used_again() {
    play(
        "1 says GET bar\n1 says BRPOP bar 1.5\n1 says PING\na hears GET bar\na says \"1\"\n1 hears \"1\"\na2 hears BRPOP bar 1.5\n\
         a2 says *-1\n1 hears *-1\n1 hears +PONG\n2 says BLMOVE bar bar LEFT RIGHT 0\na2 hears BLMOVE bar bar LEFT RIGHT 0\n\
         a2 says \"v\"\n2 hears \"v\"",
    );
}

#[test]
fn every_blocking_command_goes_by_its_keys() {
    play(
        "1 says BLMPOP 0 1 bar LEFT\na2 hears BLMPOP 0 1 bar LEFT\na2 says *-1\n1 hears *-1\n\
         1 says BZMPOP 0 1 bar MIN\na2 hears BZMPOP 0 1 bar MIN\na2 says *-1\n1 hears *-1\n\
         1 says BZPOPMIN bar 0\na2 hears BZPOPMIN bar 0\na2 says *-1\n1 hears *-1\n\
         1 says BRPOPLPUSH bar bar 0\na2 hears BRPOPLPUSH bar bar 0\na2 says *-1\n1 hears *-1\n\
         1 says XREAD COUNT 1 BLOCK 5 STREAMS bar 0\na2 hears XREAD COUNT 1 BLOCK 5 STREAMS bar 0\na2 says *-1\n1 hears *-1\n\
         1 says XREAD COUNT 1 STREAMS bar 0\na hears XREAD COUNT 1 STREAMS bar 0\na says *-1\n1 hears *-1\n\
         1 says XREADGROUP GROUP g c BLOCK 0 STREAMS bar >\na2 hears XREADGROUP GROUP g c BLOCK 0 STREAMS bar >\n\
         a2 says -NOGROUP no such group\n1 hears -NOGROUP no such group",
    );
}

#[test]
fn what_is_wrong_with_it_is_said() {
    play(
        "1 says BLPOP foo bar 0\n1 hears -CROSSSLOT Keys in request don't hash to the same slot\n\
         1 says BLMPOP 0 x bar LEFT\n1 hears -ERR numkeys should be greater than 0\n\
         1 says BLPOP bar\n1 hears -ERR wrong number of arguments for 'blpop' command\n\
         1 says BLPOP bar x\na2 hears BLPOP bar x\na2 says -ERR timeout is not a float or out of range\n\
         1 hears -ERR timeout is not a float or out of range\n1 says PING\n1 hears +PONG",
    );
}

#[test]
fn a_wait_goes_on_at_the_new_owner_with_the_time_that_is_left() {
    play(
        "1 says BLPOP foo 2\nb2 hears BLPOP foo 2\nwait 500\n\
         b2 says -UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\n\
         learned x\nmap a 0-16383 b\nwait 5\na2 hears BLPOP foo 1.499\na2 says *-1\n1 hears *-1",
    );
}

#[test]
fn a_slot_that_moves_takes_its_waits_along() {
    play(
        "1 says BLPOP foo 0\nb2 hears BLPOP foo 0\nwait 500\nb2 says -MOVED 12182 10.0.0.97:7000\na2 hears BLPOP foo 0\n\
         a2 says -ASK 12182 10.0.0.98:7000\nb2 hears ASKING\nb2 hears BLPOP foo 0\nb2 says +OK\n\
         b2 says -CLUSTERDOWN The cluster is down\nwait 5\nb2 hears BLPOP foo 0\nb2 says *-1\n1 hears *-1",
    );
}

#[test]
fn a_lost_connection_is_no_end_of_a_wait() {
    play(
        "1 says BLPOP foo 5\nb2 hears BLPOP foo 5\nwait 1000\nb down\nb2 breaks\nb breaks\nwait 1000\nmap a 0-16383\n\
         wait 1\na2 hears BLPOP foo 2.999\na2 says *-1\n1 hears *-1",
    );
}

#[test]
fn what_had_only_just_been_sent_is_uncertain_when_it_may_have_taken_something() {
    play(
        "1 says BLPOP foo 5\nb2 hears BLPOP foo 5\nb2 breaks\n\
         1 hears -UNCERTAIN the connection to node 10.0.0.98:7000 was lost after this command was sent: it may or may not \
         have been applied; read before you repeat it\n\
         1 says XREAD BLOCK 0 STREAMS foo 7\nb3 hears XREAD BLOCK 0 STREAMS foo 7\nb3 breaks\nwait 1\n\
         b4 hears XREAD BLOCK 0 STREAMS foo 7\nb4 says *-1\n1 hears *-1",
    );
}

#[test]
fn a_wait_ends_in_time_without_a_node() {
    play(
        "1 says BLPOP foo 2\nb2 hears BLPOP foo 2\nwait 500\nb down\nb breaks\nb2 breaks\nwait 1499\nwait 2\n1 hears *-1\n\
         2 says HELLO 3\n2 hears %7\\r\\n$6\\r\\nserver\\r\\n$5\\r\\nredis\\r\\n$7\\r\\nversion\\r\\n$6\\r\\n7.2.99\\r\\n$5\\r\\nproto\\r\\n:3\\r\\n$2\\r\\nid\\r\\n:2\\r\\n\
         $4\\r\\nmode\\r\\n$7\\r\\ncluster\\r\\n$4\\r\\nrole\\r\\n$6\\r\\nmaster\\r\\n$7\\r\\nmodules\\r\\n*0\n\
         2 says BLPOP foo 0.1\nwait 101\n2 hears _",
    );
}

#[test]
fn nobody_waits_longer_than_the_hold_time_for_a_shard() {
    let settings = Settings { hold: 1_000_000, ..Settings::default() };
    run_with(
        settings,
        &format!(
            "{MAP}1 says BLPOP foo 0\nb2 hears BLPOP foo 0\nwait 500\nb down\nb breaks\nb2 breaks\nwait 1049\n1 hears -UNAVAILABLE \
             slot 12182, shard 2, node 10.0.0.98:7000 could not serve this for 1.0 s (connection refused); nothing was applied, try again"
        ),
    );
}

#[test]
fn what_comes_after_the_last_entry_stays_that() {
    play(
        "1 says XREAD BLOCK 0 STREAMS {foo}a {foo}b $ 5\nb2 hears XREVRANGE {foo}a + - COUNT 1\n\
         b2 hears XREAD BLOCK 0 STREAMS {foo}a {foo}b $ 5\n\
         b2 says !*1\\r\\n*2\\r\\n$3\\r\\n7-1\\r\\n*2\\r\\n$1\\r\\na\\r\\n$1\\r\\nb\\r\\n\nwait 200\nb2 breaks\nwait 1\n\
         b3 hears XREAD BLOCK 0 STREAMS {foo}a {foo}b 7-1 5\nb3 says *-1\n1 hears *-1",
    );
}

#[test]
fn who_goes_away_leaves_nothing_behind() {
    play(
        "1 says BLPOP foo 0\nb2 hears BLPOP foo 0\n1 leaves\nb2 gone\n2 says BLPOP foo 0\nb3 hears BLPOP foo 0\nwait 200\n\
         2 ends\n2 closed\nb3 gone\n3 says BLPOP foo 0\nb4 hears BLPOP foo 0\n3 ends\nb4 says *-1\n3 hears *-1\n3 closed\n\
         4 says BLPOP foo 0\nb4 hears BLPOP foo 0\n4 ends\nwait 200\n4 closed\nb4 gone",
    );
}

#[test]
fn there_are_only_so_many() {
    let settings = Settings { max_lent: 1, ..Settings::default() };
    run_with(
        settings,
        &format!(
            "{MAP}1 says BLPOP foo 0\nb2 hears BLPOP foo 0\n2 says BLPOP bar 0\n2 hears -ERR evenkeel: 1 clients have a \
             connection of their own already, as many as gateway.max-private allows; raise it\nb2 says *-1\n1 hears *-1\n\
             2 says BLPOP foo 0\nb2 hears BLPOP foo 0\nb2 says *-1\n2 hears *-1"
        ),
    );
}

#[test]
fn a_wait_is_ended_by_its_node() {
    play(
        "1 says BLPOP foo 0\nb2 hears BLPOP foo 0\n2 says CLIENT UNBLOCK 1\nb hears CLIENT UNBLOCK 98 TIMEOUT\n\
         b2 says *-1\n1 hears *-1\nb says :1\n2 hears :1\n2 says CLIENT UNBLOCK 1 ERROR\n2 hears :0\n\
         2 says CLIENT UNBLOCK 1 why\n2 hears -ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\n\
         2 says CLIENT UNBLOCK x\n2 hears -ERR value is not an integer or out of range\n\
         2 says CLIENT UNBLOCK 1 TIMEOUT 2\n\
         2 hears -ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.",
    );
}

#[test]
fn a_wait_without_a_node_is_ended_here() {
    play(
        "1 says BLPOP foo 0\nb2 hears BLPOP foo 0\nwait 200\nb down\nb2 breaks\nb breaks\n2 says CLIENT UNBLOCK 1 ERROR\n\
         1 hears -UNBLOCKED client unblocked via CLIENT UNBLOCK\n2 hears :1",
    );
}

#[test]
fn replicas_are_counted_over_the_shards_that_were_written_to() {
    play(
        "1 says SET foo 1\n1 says WAIT 1 0\nb hears SET foo 1\nb says +OK\n1 hears +OK\n\
         b2 marked\nb2 hears WAIT 1 0\nb2 says +OK\nb2 says :2\n1 hears :2\n\
         1 says SET bar 1\na hears SET bar 1\na says +OK\n1 hears +OK\n1 says WAIT 1 100\n1 says PING\n\
         a2 marked\na2 hears WAIT 1 100\nb2 marked\nb2 hears WAIT 1 100\n\
         b2 says +OK\nb2 says :2\na2 says +OK\na2 says :1\n1 hears :1\n1 hears +PONG\n\
         2 says WAITAOF 1 1 0\na2 marked\na2 hears WAITAOF 1 1 0\na2 says +OK\na2 says *2\\r\\n:1\\r\\n:0\n2 hears *2\\r\\n:1\\r\\n:0\n\
         2 says WAIT x 0\na2 marked\na2 hears WAIT x 0\na2 says +OK\na2 says -ERR value is not an integer or out of range\n\
         2 hears -ERR value is not an integer or out of range",
    );
}

#[test]
fn a_shard_that_was_lost_confirms_nothing() {
    play(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\n1 hears +OK\nwait 1\nb breaks\nmap a 0-16383\n1 says WAIT 1 0\n1 hears :0\n\
         1 says SET foo 1\na hears SET foo 1\na says +OK\n1 hears +OK\n1 says WAIT 1 0\na2 marked\na2 hears WAIT 1 0\n\
         a2 breaks\n1 hears :0",
    );
}

#[test]
fn a_node_that_hangs_does_not_keep_a_wait_for_replicas() {
    play(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\n1 hears +OK\n1 says WAIT 1 100\nb2 marked\nb2 hears WAIT 1 100\nwait 400\n\
         1 hears :0\nb2 gone\n1 says PING\n1 hears +PONG",
    );
}

#[test]
fn a_drain_ends_all_waits() {
    play(
        "1 says BLPOP foo 0\nb2 hears BLPOP foo 0\ndrain\nb hears CLIENT UNBLOCK 98 TIMEOUT\nb2 says *-1\nb says :1\n\
         1 hears *-1\n1 closed",
    );
}
