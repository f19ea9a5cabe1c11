//! Users: who a client is, and what follows for the ways of its requests.

use super::{run, run_with};
use crate::proxy::{Login, NamedUser, Settings};

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
    play(&format!(
        "1 says AUTH alice pw\na2 hears AUTH alice pw\na2 says +OK\n1 hears +OK\n2 says GET bar\na hears GET bar\n\
         a bars alice\na3 breaks\n1 closed\na says $-1\n2 hears $-1\n2 says GET bar\na hears GET bar\na says $-1\n2 hears $-1"
    ));
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
