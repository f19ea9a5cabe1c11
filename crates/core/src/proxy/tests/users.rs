//! Users: who a client is, and what follows for the ways of its requests.

use super::{Cut, World, run, run_with};
use crate::proxy::{Gather, Login, NamedUser, Pause, Paused, Proxy, Settings};

/// foo is in slot 12182 (b), bar in 5061 (a).
const MAP: &str = "map a 0-8191 b 8192-16383\n";
const WRONG: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

fn play(script: &str) {
    run(&format!("{MAP}{script}"));
}

#[test]
fn a_node_checks_passwords_and_the_users_requests_have_ways_of_their_own() {
    // a is asked on a connection of its own (a2); the user's connections are a3 and b2.
    play(
        "1 says AUTH alice pw\na2 hears AUTH alice pw\na2 says +OK\n1 hears +OK\n1 says GET foo\nb2 hears GET foo\n\
         b2 says -NOPERM no\n1 hears -NOPERM no\n2 says GET foo\nb hears GET foo\nb says $-1\n2 hears $-1\n\
         2 says AUTH alice pw2\na2 hears AUTH alice pw2\na2 says +OK\n2 hears +OK\n2 says GET foo\nb2 hears GET foo\n\
         b2 says $-1\n2 hears $-1\n2 says RESET\n2 hears +RESET\n2 says GET foo\nb hears GET foo\nb says $-1\n2 hears $-1",
    );
}

#[test]
fn a_wrong_password_changes_nothing() {
    play(&format!(
        "1 says AUTH alice pw\n1 says GET foo\na2 hears AUTH alice pw\na2 says {WRONG}\n1 hears {WRONG}\nb hears GET foo\n\
         b says $-1\n1 hears $-1\n1 says AUTH alice\n1 hears -ERR AUTH <password> called without any password configured for \
         the default user. Are you sure your configuration is correct?"
    ));
}

#[test]
fn a_password_waits_for_what_was_asked_before() {
    play(
        "1 says GET foo\n1 says AUTH alice pw\n1 says GET foo\nb hears GET foo\nb says \"1\"\n1 hears \"1\"\na2 hears AUTH alice pw\n\
         a2 says +OK\n1 hears +OK\nb2 hears GET foo\nb2 says \"2\"\n1 hears \"2\"",
    );
}

#[test]
fn a_password_is_checked_elsewhere_when_its_node_goes() {
    play(&format!(
        "1 says AUTH alice pw\na2 hears AUTH alice pw\na down\na2 breaks\na breaks\nwait 20\nmap b 0-16383\nwait 20\n\
         b2 hears AUTH alice pw\nb2 says {WRONG}\n1 hears {WRONG}"
    ));
}

#[test]
fn hello_logs_in_too() {
    let hello = "%7\\r\\n$6\\r\\nserver\\r\\n$5\\r\\nredis\\r\\n$7\\r\\nversion\\r\\n$6\\r\\n7.2.99\\r\\n$5\\r\\nproto\\r\\n:3\\r\\n\
                 $2\\r\\nid\\r\\n:1\\r\\n$4\\r\\nmode\\r\\n$7\\r\\ncluster\\r\\n$4\\r\\nrole\\r\\n$6\\r\\nmaster\\r\\n$7\\r\\nmodules\\r\\n*0";
    play(&format!(
        "1 says HELLO 3 AUTH alice pw SETNAME me\na2 hears AUTH alice pw\na2 says +OK\n1 hears {hello}\n1 says GET foo\n\
         b2 hears GET foo\nb2 says _\n1 hears _\n1 says HELLO 3 AUTH alice no\na2 hears AUTH alice no\na2 says {WRONG}\n\
         1 hears {WRONG}\n1 says GET foo\nb2 hears GET foo\nb2 says _\n1 hears _"
    ));
}

#[test]
fn what_the_gateway_answers_itself_is_asked_for_first() {
    play(
        "1 says AUTH alice pw\na2 hears AUTH alice pw\na2 says +OK\n1 hears +OK\n1 says CLIENT ID\na hears ACL DRYRUN alice CLIENT ID\n\
         a says +OK\n1 hears :1\n1 says CLIENT LIST\n1 says PING\na hears ACL DRYRUN alice CLIENT LIST\n\
         a says \"This user has no permissions to run the 'client|list' command\"\n\
         1 hears -NOPERM this user has no permissions to run the 'client|list' command\na hears ACL DRYRUN alice PING\na says +OK\n\
         1 hears +PONG\n1 says EVENKEEL HELP\n1 hears -NOPERM this user has no permissions to run the 'evenkeel' command\n\
         1 says QUIT\n1 hears +OK\n1 closed",
    );
}

#[test]
fn clients_of_a_deleted_user_are_closed_and_nobody_else() {
    play(
        "1 says AUTH alice pw\na2 hears AUTH alice pw\na2 says +OK\n1 hears +OK\n2 says GET bar\na hears GET bar\n\
         a bars alice\na3 breaks\n1 closed\na says $-1\n2 hears $-1\n2 says GET bar\na hears GET bar\na says $-1\n2 hears $-1",
    );
}

#[test]
fn names_of_the_gateways_own() {
    let settings = Settings {
        client_password: Some("secret".to_owned()),
        users: vec![
            NamedUser {
                name: "reports".to_owned(),
                password: "r".to_owned(),
                login: Some(Login { user: b"reader".to_vec(), password: b"x".to_vec() }),
                durability: None,
            },
            NamedUser { name: "app".to_owned(), password: "a".to_owned(), login: None, durability: None },
        ],
        ..Settings::default()
    };
    let script = format!(
        "{MAP}1 says AUTH reports a\n1 hears {WRONG}\n1 says GET foo\n1 hears -NOAUTH Authentication required.\n1 says AUTH reports r\n\
         1 hears +OK\n1 says GET foo\nb2 hears GET foo\nb2 says $-1\n1 hears $-1\n2 says AUTH app a\n2 hears +OK\n2 says GET foo\n\
         b hears GET foo\nb says $-1\n2 hears $-1"
    );
    run_with(settings, &script);
}

#[test]
fn a_pause_holds_requests_in_their_buffers() {
    let mut world = World::new(Settings::default(), Cut::Nowhere);
    world.script(&format!("{MAP}1 says PING\n1 hears +PONG"));
    let until = world.now + 50_000;
    world.event(|proxy| proxy.pause(Pause { what: Paused::Writes, until }));
    world.script(
        "1 says GET foo\nb hears GET foo\nb says $-1\n1 hears $-1\n1 says SET foo 1\n1 says GET foo\nwait 40",
    );
    world.script("2 says GET foo\nb hears GET foo\nb says $-1\n2 hears $-1\nwait 20\nb hears SET foo 1\nb hears GET foo");
    world.script("b says +OK\nb says $-1\n1 hears +OK\n1 hears $-1");
    let until = world.now + 50_000;
    world.event(|proxy| proxy.pause(Pause { what: Paused::All, until }));
    world.script("1 says GET foo\nwait 5");
    world.event(Proxy::unpause);
    world.script("b hears GET foo\nb says $-1\n1 hears $-1");
    world.ends();
}

#[test]
fn replies_that_are_not_wanted() {
    play(
        "1 says CLIENT REPLY SKIP\n1 says GET foo\n1 says GET bar\n1 says CLIENT REPLY OFF\n1 says GET foo\n1 says CLIENT REPLY SKIP\n\
         1 says CLIENT REPLY ON\n1 says PING\nb hears GET foo\nb hears GET foo\na hears GET bar\na says \"bar\"\nb says \"1\"\n\
         1 hears \"bar\"\nb says \"2\"\n1 hears +OK\n1 hears +PONG\n1 says CLIENT REPLY no\n1 hears -ERR syntax error\n\
         1 says CLIENT REPLY OFF\n1 says PING\n1 says RESET\n1 says PING\n1 hears +RESET\n1 hears +PONG",
    );
}

#[test]
fn clients_are_killed_by_what_they_are() {
    for (kill, gone) in [
        ("CLIENT KILL 10.1.0.1:2", "2"),
        ("CLIENT KILL ID 2", "2"),
        ("CLIENT KILL ADDR 10.1.0.1:2 LADDR 10.2.0.1:7010 TYPE normal USER default", "2"),
    ] {
        kills(kill, gone);
    }
    play("1 says CLIENT KILL ID 0\n1 hears -ERR client-id should be greater than 0");
    play("1 says CLIENT KILL TYPE foo\n1 hears -ERR Unknown client type 'foo'");
    play("1 says CLIENT KILL ID 1 foo\n1 hears -ERR syntax error");
    play(
        "1 says CLIENT KILL USER bob\na hears ACL USERS\na says *1\\r\\n+default\n1 hears -ERR No such user 'bob'\n\
         1 says CLIENT KILL USER alice\na hears ACL USERS\na says *2\\r\\n$7\\r\\ndefault\\r\\n$5\\r\\nalice\n1 hears $8\\r\\ngathered",
    );
    // Of several mistakes the first.
    play(
        "1 says CLIENT KILL USER alice USER bob TYPE foo\na hears ACL USERS\na says *1\\r\\n$5\\r\\nalice\n\
         1 hears -ERR No such user 'bob'\n\
         1 says CLIENT KILL USER alice TYPE foo\na hears ACL USERS\na says *1\\r\\n$5\\r\\nalice\n\
         1 hears -ERR Unknown client type 'foo'\n\
         1 says CLIENT KILL TYPE foo USER bob\n1 hears -ERR Unknown client type 'foo'",
    );
}

/// Has client 1 ask, and looks at who is gone.
fn kills(kill: &str, gone: &str) {
    let mut world = World::new(Settings::default(), Cut::Nowhere);
    world.script(&format!("{MAP}1 says PING\n1 hears +PONG\n2 says PING\n2 hears +PONG\n1 says {kill}"));
    let what = world.gathered.take().expect("all workers are asked");
    let Gather::Kill(kill) = what else { panic!("{what:?}") };
    world.event(|proxy| assert_eq!(proxy.kill_clients(&kill), 1));
    world.script(&format!("1 hears $8\\r\\ngathered\n{gone} closed\n1 says PING\n1 hears +PONG"));
}
