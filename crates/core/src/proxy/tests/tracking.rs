//! CLIENT TRACKING: connections of a client's own, and what comes on them.

use super::run;

/// foo and world are b's, bar and hello a's.
const MAP: &str = "map a 0-8191 b 8192-16383\n";
const INVALIDATE_FOO: &str = ">2\\r\\n$10\\r\\ninvalidate\\r\\n*1\\r\\n$3\\r\\nfoo";
const INVALIDATE_ALL: &str = ">2\\r\\n$10\\r\\ninvalidate\\r\\n_";

fn play(script: &str) {
    run(&format!("{MAP}{script}"));
}

/// Client `number` speaks RESP3.
fn hello(number: u32) -> String {
    format!(
        "{number} says HELLO 3\n{number} hears %7\\r\\n$6\\r\\nserver\\r\\n$5\\r\\nredis\\r\\n$7\\r\\nversion\\r\\n$6\\r\\n7.2.99\\r\\n\
         $5\\r\\nproto\\r\\n:3\\r\\n$2\\r\\nid\\r\\n:{number}\\r\\n$4\\r\\nmode\\r\\n$7\\r\\ncluster\\r\\n$4\\r\\nrole\\r\\n\
         $6\\r\\nmaster\\r\\n$7\\r\\nmodules\\r\\n*0\n"
    )
}

fn tracked(options: &str) -> String {
    format!("{}1 says CLIENT TRACKING ON{options}\n1 hears +OK\n", hello(1))
}

/// The first request of client 1 to b: on a connection of its own.
fn first_read(options: &str) -> String {
    format!(
        "1 says GET foo\nb2 hears CLIENT TRACKING ON{options}\nb2 hears GET foo\nb2 says +OK\nb2 says \"x\"\n1 hears \"x\"\n"
    )
}

#[test]
fn a_tracked_client_hears_of_its_keys() {
    let (tracked, read) = (tracked(""), first_read(""));
    play(&format!(
        "{tracked}{read}b2 says {INVALIDATE_FOO}\n1 hears {INVALIDATE_FOO}\n2 says SET foo 1\nb hears SET foo 1\nb says +OK\n2 hears +OK\n\
         1 says GET bar\na2 hears CLIENT TRACKING ON\na2 hears GET bar\na2 says +OK\na2 says _\n1 hears _\na2 says {INVALIDATE_ALL}\n\
         1 hears {INVALIDATE_ALL}\n1 says CLIENT TRACKING OFF\n1 hears +OK\n1 says GET foo\nb3 hears GET foo\nb3 says _\n1 hears _"
    ));
    play(&format!(
        "{tracked}{read}1 says RESET\n1 hears +RESET\n1 says GET foo\nb hears GET foo\nb says $-1\n1 hears $-1"
    ));
    play(&format!("{tracked}{read}1 leaves\n2 says GET foo\nb hears GET foo\nb says $-1\n2 hears $-1"));
}

#[test]
fn a_connection_that_is_lost_takes_its_memory_along() {
    let (tracked, read) = (tracked(" NOLOOP"), first_read(" NOLOOP"));
    play(&format!(
        "{tracked}{read}b2 breaks\n1 hears {INVALIDATE_ALL}\n1 says GET foo\nwait 20\nb3 hears CLIENT TRACKING ON NOLOOP\n\
         b3 hears GET foo\nb3 says +OK\nb3 says \"y\"\n1 hears \"y\"\nmap a 0-16383 b\n1 hears {INVALIDATE_ALL}"
    ));
}

#[test]
fn a_reply_never_comes_behind_the_word_that_its_key_changed() {
    let (tracked, read) = (tracked(""), first_read(""));
    play(&format!(
        "{tracked}{read}1 says GET bar\n1 says GET foo\na2 hears CLIENT TRACKING ON\na2 hears GET bar\nb2 hears GET foo\nb2 says \"old\"\n\
         b2 says {INVALIDATE_FOO}\na2 says +OK\na2 says \"z\"\n1 hears \"z\"\n1 hears \"old\"\n1 hears {INVALIDATE_FOO}"
    ));
    play(&format!(
        "{tracked}{read}1 says MGET foo bar\na2 hears CLIENT TRACKING ON\na2 hears MGET bar\nb2 hears MGET foo\nb2 says *1\\r\\n:1\n\
         b2 says {INVALIDATE_FOO}\na2 says +OK\na2 says *1\\r\\n:2\n1 hears *2\\r\\n:1\\r\\n:2\n1 hears {INVALIDATE_FOO}"
    ));
}

#[test]
fn broadcasts_come_from_every_primary() {
    let on = "CLIENT TRACKING ON BCAST PREFIX f PREFIX x";
    play(&format!(
        "{}1 says {on}\na2 hears {on}\na2 hears READWRITE\nb2 hears {on}\nb2 hears READWRITE\na2 says +OK\na2 says +OK\nb2 says +OK\nb2 says +OK\n\
         1 hears +OK\nb2 says {INVALIDATE_FOO}\n1 hears {INVALIDATE_FOO}\nb2 breaks\n1 hears {INVALIDATE_ALL}\nwait 120\nb3 hears {on}",
        hello(1)
    ));
}

#[test]
fn the_word_for_one_request_goes_with_it() {
    let on = "CLIENT TRACKING ON OPTIN";
    let say = "1 says CLIENT CACHING YES\n1 hears +OK\n";
    play(&format!(
        "{}{say}1 says CLIENT ID\n1 hears :1\n1 says CLIENT TRACKINGINFO\n\
         1 hears %3\\r\\n$5\\r\\nflags\\r\\n~3\\r\\n$2\\r\\non\\r\\n$5\\r\\noptin\\r\\n$11\\r\\ncaching-yes\\r\\n$8\\r\\nredirect\\r\\n:0\\r\\n$8\\r\\nprefixes\\r\\n*0\n\
         1 says GET foo\nb2 hears {on}\nb2 hears CLIENT CACHING YES\nb2 hears GET foo\nb2 says +OK\nb2 says +OK\n\
         b2 says -MOVED 12182 10.0.0.97:7000\na2 hears {on}\na2 hears CLIENT CACHING YES\na2 hears GET foo\na2 says +OK\na2 says +OK\na2 says \"x\"\n\
         1 hears \"x\"\n1 says GET bar\na2 hears GET bar\na2 says _\n1 hears _\nlearned\n{say}1 says PING\n1 hears +PONG\n1 says GET bar\n\
         a2 hears GET bar\na2 says _\n1 hears _",
        tracked(" OPTIN")
    ));
    play(&format!(
        "{}{say}1 says MULTI\n1 hears +OK\n1 says GET foo\n1 hears +QUEUED\n1 says EXEC\nb2 hears {on}\nb2 hears CLIENT CACHING YES\nb2 hears MULTI\n\
         b2 hears GET foo\nb2 hears EXEC\nb2 says +OK\nb2 says +OK\nb2 says +OK\nb2 says +QUEUED\nb2 says *1\\r\\n_\n1 hears *1\\r\\n_",
        tracked(" OPTIN")
    ));
    play(&format!(
        "{}{say}1 says MGET foo bar\na2 hears {on}\na2 hears CLIENT CACHING YES\na2 hears MGET bar\nb2 hears {on}\nb2 hears CLIENT CACHING YES\n\
         b2 hears MGET foo\na2 says +OK\na2 says +OK\na2 says *1\\r\\n:1\nb2 says +OK\nb2 says +OK\nb2 says *1\\r\\n:2\n1 hears *2\\r\\n:2\\r\\n:1",
        tracked(" OPTIN")
    ));
}

#[test]
fn another_client_hears_it() {
    play(&format!(
        "{}2 says CLIENT TRACKING ON REDIRECT 1\n2 hears +OK\n2 says CLIENT GETREDIR\n2 hears :1\n2 says GET foo\nwait 3\n\
         b3 hears CLIENT TRACKING ON REDIRECT 98\nb3 hears GET foo\nb3 says +OK\nb3 says \"x\"\n2 hears \"x\"\nb2 says {INVALIDATE_FOO}\n\
         1 hears {INVALIDATE_FOO}\nb2 breaks\n1 hears {INVALIDATE_ALL}\n2 says GET foo\nwait 20\nb5 hears CLIENT TRACKING ON REDIRECT 98\n\
         b5 hears GET foo\nb5 says +OK\nb5 says \"x\"\n2 hears \"x\"",
        hello(1)
    ));
    play(
        "1 says CLIENT TRACKING ON REDIRECT 9\n1 hears -ERR The client ID you want redirect to does not exist",
    );
}

#[test]
fn what_it_is_asked_for_is_checked_as_a_server_does() {
    play(
        "1 says CLIENT TRACKING ON PREFIX a\n1 hears -ERR PREFIX option requires BCAST mode to be enabled\n1 says CLIENT TRACKING MAYBE\n\
         1 hears -ERR syntax error\n1 says CLIENT TRACKING ON OPTIN OPTOUT\n1 hears -ERR You can't specify both OPTIN mode and OPTOUT mode\n\
         1 says CLIENT CACHING YES\n1 hears -ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled\n\
         1 says CLIENT GETREDIR\n1 hears :-1\n1 says CLIENT TRACKINGINFO\n\
         1 hears *6\\r\\n$5\\r\\nflags\\r\\n*1\\r\\n$3\\r\\noff\\r\\n$8\\r\\nredirect\\r\\n:-1\\r\\n$8\\r\\nprefixes\\r\\n*0\n1 says CLIENT TRACKING ON OPTIN\n1 hears +OK\n\
         1 says CLIENT TRACKING ON OPTOUT\n1 hears -ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.\n\
         1 says CLIENT TRACKING ON BCAST\n1 hears -ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.\n\
         1 says GET foo\nb hears GET foo\nb says $-1\n1 hears $-1",
    );
}

#[test]
fn other_options_leave_what_was_read_remembered() {
    let (tracked, read) = (tracked(""), first_read(""));
    play(&format!(
        "{tracked}{read}1 says CLIENT TRACKING ON NOLOOP\n1 hears +OK\nb2 hears CLIENT TRACKING ON NOLOOP\nb2 says +OK\n\
         b2 says {INVALIDATE_FOO}\n1 hears {INVALIDATE_FOO}\n1 says GET bar\na2 hears CLIENT TRACKING ON NOLOOP\na2 hears GET bar\n\
         a2 says +OK\na2 says _\n1 hears _"
    ));
    let on = "CLIENT TRACKING ON BCAST PREFIX f";
    play(&format!(
        "{}1 says {on}\na2 hears {on}\na2 hears READWRITE\nb2 hears {on}\nb2 hears READWRITE\na2 says +OK\na2 says +OK\nb2 says +OK\nb2 says +OK\n\
         1 hears +OK\n1 says CLIENT TRACKING ON BCAST PREFIX x\na2 hears CLIENT TRACKING ON BCAST PREFIX x\na2 hears READWRITE\n\
         b2 hears CLIENT TRACKING ON BCAST PREFIX x\nb2 hears READWRITE\na2 says +OK\na2 says +OK\nb2 says +OK\nb2 says +OK\n1 hears +OK\n\
         b2 says {INVALIDATE_FOO}\n1 hears {INVALIDATE_FOO}\nb2 breaks\n1 hears {INVALIDATE_ALL}\nwait 120\n\
         b3 hears CLIENT TRACKING ON BCAST PREFIX f PREFIX x",
        hello(1)
    ));
}

#[test]
fn another_protocol_leaves_what_another_client_hears_of() {
    play(&format!(
        "{}2 says CLIENT TRACKING ON REDIRECT 1\n2 hears +OK\n2 says GET foo\nwait 3\n\
         b3 hears CLIENT TRACKING ON REDIRECT 98\nb3 hears GET foo\nb3 says +OK\nb3 says \"x\"\n2 hears \"x\"\n{}b3 hears HELLO 3\n\
         b3 says %0\nb2 says {INVALIDATE_FOO}\n1 hears {INVALIDATE_FOO}\n2 says GET foo\nb3 hears GET foo\nb3 says _\n2 hears _\n\
         2 says CLIENT TRACKING ON REDIRECT 1 NOLOOP\n2 hears +OK\nb3 hears CLIENT TRACKING ON REDIRECT 98 NOLOOP\nb3 says +OK\n\
         b2 says {INVALIDATE_FOO}\n1 hears {INVALIDATE_FOO}",
        hello(1),
        hello(2)
    ));
}

#[test]
fn who_has_forgotten_everything_is_not_told_again() {
    let (tracked, read) = (tracked(""), first_read(""));
    play(&format!(
        "{tracked}{read}1 says GET bar\na2 hears CLIENT TRACKING ON\na2 hears GET bar\na2 says +OK\na2 says _\n1 hears _\n\
         a2 says {INVALIDATE_ALL}\nb2 says {INVALIDATE_ALL}\n1 hears {INVALIDATE_ALL}\n1 says PING\n1 hears +PONG\n\
         b2 says {INVALIDATE_ALL}\n1 hears {INVALIDATE_ALL}"
    ));
}
