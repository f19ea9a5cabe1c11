//! Durability `replicated`: replies of writes that wait for a replica.

use super::run_with;
use crate::proxy::{Durability, NamedUser, Settings};

/// foo is in slot 12182 (b), bar in 5061 (a), hello in 866 (a), world in 9059 (b). The second connection to each node asks
/// for confirmation; it says at once which run of the server it is connected to.
const START: &str = "map a 0-8191 b 8192-16383\na2 hears INFO server\na2 hears INFO replication\nb2 hears INFO server\n\
                     b2 hears INFO replication\na2 says \"run_id:a\"\na2 says $34\\r\\nrole:master\\r\\nmaster_replid:streama\n\
                     b2 says \"run_id:b\"\nb2 says $34\\r\\nrole:master\\r\\nmaster_replid:streamb\n";

fn play(script: &str) {
    let settings = Settings { durability: Durability::Replicated, ..Settings::default() };
    run_with(settings, &format!("{START}{script}"));
}

#[test]
fn the_reply_of_a_write_waits_for_a_replica() {
    play(
        "1 says SET foo 1\n1 says GET bar\nb hears SET foo 1\na hears GET bar\na says \"x\"\nb says +OK\nb2 marked\n\
         b2 hears WAIT 1 25\nb2 says +OK\nb2 says :1\n1 hears +OK\n1 hears \"x\"\n\
         1 says GET foo\nb hears GET foo\nb says \"1\"\n1 hears \"1\"",
    );
}

#[test]
fn one_round_confirms_all_that_was_there_before_it() {
    play(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\n2 says SET foo 2\n\
         3 says SET foo 3\nb hears SET foo 2\nb hears SET foo 3\nb says !+OK\\r\\n+OK\\r\\n\nb2 says +OK\nb2 says :1\n1 hears +OK\n\
         b2 marked\nb2 hears WAIT 1 25\nb2 says +OK\nb2 says :2\n2 hears +OK\n3 hears +OK",
    );
}

#[test]
fn what_no_replica_confirms_is_said() {
    play(
        "1 says SET foo 1\n1 says PING\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\nwait 1000\n\
         b2 says :0\n1 hears -UNREPLICATED this was applied on node 10.0.0.98:7000 only: no replica confirmed it within \
         1.0 s; it is lost if that node is\n1 hears +PONG",
    );
}

#[test]
fn a_replica_that_attaches_during_a_round_is_asked() {
    play(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\nwait 25\nb2 says :0\n\
         b2 hears WAIT 1 50\n2 says SET foo 2\nb hears SET foo 2\nb says +OK\nwait 50\nb2 says :0\nb2 hears WAIT 1 75\n\
         b2 says :1\n1 hears +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\nb2 says :1\n2 hears +OK",
    );
}

#[test]
fn a_mark_that_fails_confirms_nothing() {
    play(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says -OOM no\nb2 says :1\n\
         1 hears -UNREPLICATED this was applied on node 10.0.0.98:7000 only: no replica confirmed it within 0.0 s; it is lost \
         if that node is",
    );
}

const LOST: &str = "-UNCERTAIN node 10.0.0.98:7000 applied this and was lost, or replaced, before a replica confirmed it: it \
                    may or may not have been kept; read before you repeat it";

#[test]
fn a_primary_that_is_lost_confirms_nothing() {
    play(&format!(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\n2 says SET foo 2\nb hears SET foo 2\n\
         b says +OK\nb2 breaks\n1 hears {LOST}\n2 hears {LOST}\nwait 2\nb3 hears INFO server\nb3 hears INFO replication",
    ));
}

#[test]
fn a_primary_that_is_deposed_confirms_nothing() {
    play(&format!(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\n\
         b2 says -UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\n\
         b2 hears INFO replication\nb2 says {SYNCING}\nwait 1\nb2 hears INFO replication\nb2 says {STRANGER}\n1 hears {LOST}",
    ));
}

/// What the replica says that a primary has become: it copies, it had something that its successor has not, it has not.
const SYNCING: &str = "$35\\r\\nrole:slave\\r\\nmaster_link_status:down";
const STRANGER: &str = "$57\\r\\nrole:slave\\r\\nmaster_link_status:up\\r\\nmaster_replid2:0000000";
const SUCCEEDED: &str = "$57\\r\\nrole:slave\\r\\nmaster_link_status:up\\r\\nmaster_replid2:streamb";

#[test]
fn a_primary_whose_successor_has_everything_confirms_all() {
    play(&format!(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\n2 says SET foo 2\n\
         b hears SET foo 2\nb says +OK\n\
         b2 says -UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\n\
         b2 hears INFO replication\nb2 breaks\nwait 2\nb3 hears INFO server\nb3 hears INFO replication\nb3 says \"run_id:b\"\n\
         b3 says {SYNCING}\nwait 1\nb3 hears INFO replication\nb3 says {SUCCEEDED}\n1 hears +OK\n2 hears +OK",
    ));
}

#[test]
fn a_primary_that_was_started_again_confirms_nothing() {
    play(&format!(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\n\
         b2 says -UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\n\
         b2 hears INFO replication\nb2 breaks\nwait 2\nb3 hears INFO server\nb3 hears INFO replication\nb3 says \"run_id:c\"\n\
         b3 says {SUCCEEDED}\n1 hears {LOST}",
    ));
}

#[test]
fn a_primary_that_hangs_is_not_waited_for() {
    play(&format!(
        "1 says SET foo 1\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\nwait 1400\n1 hears {LOST}\n\
         b3 hears INFO server\nb3 hears INFO replication",
    ));
}

#[test]
fn an_old_write_is_confirmed_by_the_stream_that_it_went_into_only() {
    let primary = |stream: &str| format!("$34\\r\\nrole:master\\r\\nmaster_replid:{stream}");
    for (says, outcome) in [
        (primary("streamb"), "1 hears +OK".to_owned()),
        // it was replaced, copied its successor, and was promoted again as the same process
        (primary("another"), format!("1 hears {LOST}")),
        (SYNCING.to_owned(), format!("wait 1\nb2 hears INFO replication\nb2 says {SUCCEEDED}\n1 hears +OK")),
    ] {
        play(&format!(
            "1 says SET foo 1\nb hears SET foo 1\nwait 401\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\n\
             b2 says :1\nb2 hears INFO replication\nb2 says {says}\n{outcome}",
        ));
    }
}

#[test]
fn only_the_same_run_of_a_server_speaks_for_a_write() {
    for (run, outcome) in [
        ("b", "wait 25\nb3 marked\nb3 hears WAIT 1 25\nb3 says +OK\nb3 says :1\n1 hears +OK".to_owned()),
        (
            "c",
            "wait 1100\n1 hears -UNREPLICATED this was applied on node 10.0.0.98:7000 only: no replica confirmed it within \
             1.0 s; it is lost if that node is"
                .to_owned(),
        ),
    ] {
        play(&format!(
            "1 says SET foo 1\nb hears SET foo 1\nwait 1\nb2 breaks\nwait 5\nb3 hears INFO server\nb3 hears INFO replication\nb3 says \"run_id:{run}\"\nb3 says $34\\r\\nrole:master\\r\\nmaster_replid:streamb\nb says +OK\n\
             b hears INFO server\nb says \"run_id:b\"\n{outcome}"
        ));
    }
}

#[test]
fn errors_and_reads_and_what_took_nothing_wait_for_nobody() {
    play(
        "1 says LPUSH foo 1\nb hears LPUSH foo 1\nb says -WRONGTYPE no\n1 hears -WRONGTYPE no\n\
         1 says BLPOP foo 1\nb3 hears BLPOP foo 1\nb3 says *-1\n1 hears *-1",
    );
}

#[test]
fn every_kind_of_write_waits() {
    play(
        "1 says MSET foo 1 bar 2\na hears MSET bar 2\nb hears MSET foo 1\na says +OK\nb says +OK\na2 marked\na2 hears WAIT 1 25\n\
         b2 marked\nb2 hears WAIT 1 25\nb2 says +OK\nb2 says :1\na2 says +OK\na2 says :1\n1 hears +OK\n\
         1 says BLPOP foo 0\nb3 hears BLPOP foo 0\nb3 says *0\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\nb2 says :1\n1 hears *0\n\
         1 says MULTI\n1 says SET foo 1\n1 says EXEC\n1 hears +OK\n1 hears +QUEUED\nb hears MULTI\nb hears SET foo 1\nb hears EXEC\n\
         b says +OK\nb says +QUEUED\nb says *1\\r\\n+OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\nb2 says :1\n1 hears *1\\r\\n+OK",
    );
}

#[test]
fn a_large_write_waits_and_its_client_goes_on() {
    let settings =
        Settings { durability: Durability::Replicated, ordinary: 10, unasked: 0, ..Settings::default() };
    run_with(
        settings,
        &format!(
            "{START}1 says !*3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\nfoo\\r\\n$16\\r\\n0123\n1 says !456789012345\\r\\n\nb3 hears EXISTS foo\nb3 says :0\nb3 hears SET foo 0123456789012345\nb3 says +OK\n\
             b2 marked\nb2 hears WAIT 1 25\n1 says PING\nb2 says +OK\nb2 says :1\n1 hears +OK\n1 hears +PONG"
        ),
    );
}

#[test]
fn a_user_can_have_it_otherwise() {
    let user = |name: &str, durability| NamedUser {
        name: name.to_owned(),
        password: "x".to_owned(),
        login: None,
        durability,
    };
    let settings = Settings {
        users: vec![user("careful", Some(Durability::Replicated)), user("other", None)],
        ..Settings::default()
    };
    run_with(
        settings,
        &format!(
            "{START}1 says SET foo 1\nb hears SET foo 1\nb says +OK\n1 hears +OK\n1 says AUTH careful x\n1 hears +OK\n\
             1 says SET foo 1\nb hears SET foo 1\nb says +OK\nb2 marked\nb2 hears WAIT 1 25\nb2 says +OK\nb2 says :1\n1 hears +OK\n\
             1 says AUTH other x\n1 hears +OK\n1 says SET foo 1\nb hears SET foo 1\nb says +OK\n1 hears +OK"
        ),
    );
}
