//! Who leaves channels: what it still hears, and when it is told.

use super::subscriptions::{expand, play};
use super::{Cut, World, run_with};
use crate::proxy::Settings;

#[test]
fn who_leaves_hears_what_was_published_before() {
    play(
        "1 says SUBSCRIBE x
         2 says SUBSCRIBE x y
         a2 hears subscribe x
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         a2 hears subscribe y
         a2 says >subscribe y :2
         2 hears <subscribe x :1
         2 hears <subscribe y :2
         3 says PUBLISH x hello
         a hears PUBLISH x hello
         a says :1
         3 hears :2
         1 says UNSUBSCRIBE x
         a2 hears PING
         1 says PING
         1 says UNSUBSCRIBE x
         a2 says >message x hello
         1 hears <message x hello
         2 hears <message x hello
         a2 says +PONG
         1 hears <unsubscribe x :0
         1 hears +PONG
         1 hears <unsubscribe x :0
         a2 says >message x later
         2 hears <message x later
         2 says UNSUBSCRIBE x z x y
         a2 hears unsubscribe x
         a2 hears unsubscribe y
         a2 hears PING
         a2 says >message y hello
         2 hears <message y hello
         a2 says >unsubscribe x :1
         a2 says >unsubscribe y :0
         a2 says +PONG
         2 hears <unsubscribe x :1
         2 hears <unsubscribe z :1
         2 hears <unsubscribe x :1
         2 hears <unsubscribe y :0",
    );
}

#[test]
fn subscribing_and_leaving_in_one_go_is_answered_in_order() {
    // No message is on its way on a connection that has just begun, but one may come behind the confirmation.
    play(
        "1 says !*2\\r\\n$9\\r\\nSUBSCRIBE\\r\\n$1\\r\\nx\\r\\n*2\\r\\n$11\\r\\nUNSUBSCRIBE\\r\\n$1\\r\\nx\\r\\n*1\\r\\n$4\\r\\nPING\\r\\n
         a2 hears subscribe x
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         a2 hears unsubscribe x
         a2 hears PING
         a2 says >message x hello
         1 hears <message x hello
         a2 says >unsubscribe x :0
         a2 says +PONG
         1 hears <unsubscribe x :0
         1 hears +PONG",
    );
}

#[test]
fn those_who_leave_in_one_turn_cost_one_question() {
    let all = |what: &str| (1..=50).map(|client| format!("{client} {what}\n")).collect::<String>();
    let script = format!(
        "99 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >subscribe x :1
         99 hears <subscribe x :1
         {}{}together
         {}apart
         a2 hears PING
         a2 says >message x hello
         99 hears <message x hello
         {}a2 says +PONG
         {}",
        all("says SUBSCRIBE x"),
        all("hears <subscribe x :1"),
        all("says UNSUBSCRIBE"),
        all("hears <message x hello"),
        all("hears <unsubscribe x :0"),
    );
    World::new(Settings::default(), Cut::Nowhere).play(&expand(&script));
}

#[test]
fn a_lost_hub_has_said_its_last_word() {
    play(
        "1 says SUBSCRIBE x
         2 says SUBSCRIBE x
         3 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         2 hears <subscribe x :1
         3 hears <subscribe x :1
         1 says UNSUBSCRIBE x
         a2 hears PING
         2 says RESET
         a2 hears PING
         a down
         a2 breaks
         1 hears <unsubscribe x :0
         2 hears +RESET
         3 says UNSUBSCRIBE
         3 hears <unsubscribe x :0
         3 says PING
         3 hears +PONG",
    );
}

#[test]
fn a_hub_that_does_not_answer_holds_nobody_for_longer_than_a_request_may_be_held() {
    run_with(
        Settings { hold: 100_000, ..Settings::default() },
        &expand(
            "1 says SUBSCRIBE x
             2 says SUBSCRIBE x
             a2 hears subscribe x
             a2 says >subscribe x :1
             1 hears <subscribe x :1
             2 hears <subscribe x :1
             1 says UNSUBSCRIBE
             2 says RESET
             a2 hears PING
             a2 hears PING
             wait 101
             a2 hears unsubscribe x
             1 hears <unsubscribe x :0
             2 hears +RESET",
        ),
    );
}

#[test]
fn who_is_gone_while_it_leaves_is_forgotten() {
    play(
        "1 says SUBSCRIBE x
         2 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >subscribe x :1
         1 hears <subscribe x :1
         2 hears <subscribe x :1
         1 says UNSUBSCRIBE x
         a2 hears PING
         1 leaves
         2 leaves
         a2 hears unsubscribe x
         a2 says +PONG
         a2 says >unsubscribe x :0
         3 says SUBSCRIBE x
         a2 hears subscribe x
         a2 says >subscribe x :1
         3 hears <subscribe x :1
         3 says QUIT
         a2 hears PING
         a2 says >message x hello
         3 hears <message x hello
         a2 says +PONG
         3 hears +OK
         3 closed
         a2 hears unsubscribe x",
    );
}
