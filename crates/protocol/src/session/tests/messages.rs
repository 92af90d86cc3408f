//! Pushes, replies, and messages that wait for a join.

use super::*;

#[test]
fn a_message_to_a_topic_that_is_not_joined_is_unmatched_with_a_null_join_ref() {
    Client::new().says(r#"["3","7","room:x","message",{}]"#, &[&unmatched("room:x", "7")]);
}

#[test]
fn a_message_with_a_stale_join_ref_is_dropped_without_reply() {
    let mut client = Client::joined();

    client.says(r#"["2","7","room:1","message",{}]"#, &[]);
    client.says(r#"[3,"7","room:1","message",{}]"#, &[]);
    client.says_bytes(b"\x00\x00\x01\x06\x017room:1mdata", &[]);
}

#[test]
fn a_message_without_a_join_ref_is_delivered() {
    let mut client = Client::joined();

    client
        .says(r#"[null,"7","room:1","message",{"a":1}]"#, &[r#"push room:1 "7" message {"a":1}"#]);
    client.says(r#"[null,null,"room:1","message",{}]"#, &["push room:1 - message {}"]);
}

#[test]
fn a_reply_carries_the_ref_of_its_push_and_any_status_and_is_given_once() {
    let mut client = Client::joined();
    client.says(r#"["3","7","room:1","message",{"a":1}]"#, &[r#"push room:1 "7" message {"a":1}"#]);

    let reply = r#"< ["3","7","room:1","phx_reply",{"status":"rate \"limited\"","response":{}}]"#;
    client.replies(0, "rate \"limited\"", &[reply]);
    client.replies(0, "ok", &[]);
}

#[test]
fn two_pushes_with_the_same_ref_are_two_requests() {
    let mut client = Client::joined();
    client.silently(r#"["3","7","room:1","message",{}]"#);
    client.silently(r#"["3","7","room:1","message",{}]"#);

    let reply = r#"< ["3","7","room:1","phx_reply",{"status":"ok","response":{}}]"#;
    client.replies(0, "ok", &[reply]);
    client.replies(0, "ok", &[]);
    client.replies(1, "ok", &[reply]);
}

#[test]
fn beyond_its_credit_a_push_is_answered_overloaded_until_replies_give_credit_back() {
    let mut client = Client::joined();
    for n in 0..UNANSWERED_PUSHES {
        client.silently(&format!(r#"["3","{n}","room:1","message",{{}}]"#));
    }

    let push = r#"["3","x","room:1","message",{}]"#;
    client.says(push, &[&error(r#""3","x","room:1""#, "overloaded")]);
    client.says(r#"["3",null,"room:1","m",{}]"#, &["push room:1 - m {}"]);
    client.says(
        r#"[null,"9","phoenix","heartbeat",{}]"#,
        &[r#"< [null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]"#],
    );
    client.replies(5, "ok", &[r#"< ["3","5","room:1","phx_reply",{"status":"ok","response":{}}]"#]);
    client.says(push, &[r#"push room:1 "x" message {}"#]);
}

#[test]
fn pushes_during_a_join_wait_for_the_answer() {
    let mut client = Client::new();
    client.silently(r#"["3","3","room:1","phx_join",{}]"#);

    client.says(r#"["3","4","room:1","first",{}]"#, &[]);
    client.says(r#"["3","5","room:1","phx_close",{}]"#, &[]);
    client.says(r#"["3","6","room:1","bad",7]"#, &[]);
    client.pushes(0, "event", &[]);
    client.joins_answered(
        0,
        true,
        &[
            r#"< ["3","3","room:1","phx_reply",{"status":"ok","response":{"n":0}}]"#,
            r#"push room:1 "4" first {}"#,
            &error(r#""3","5","room:1""#, "reserved event"),
            &no_object(r#""3","6","room:1""#),
            r#"< ["3",null,"room:1","event",{"p":0}]"#,
        ],
    );
}

#[test]
fn a_push_that_its_channel_left_unanswered_is_answered_before_the_leave() {
    let mut client = Client::joined();
    client.silently(r#"["3","7","room:1","message",{}]"#);

    client.says(
        r#"["3","8","room:1","phx_leave",{}]"#,
        &[
            r#"leave room:1 "3""#,
            &error(r#""3","7","room:1""#, "channel closed"),
            r#"< ["3","8","room:1","phx_reply",{"status":"ok","response":{}}]"#,
            r#"< ["3","3","room:1","phx_close",{}]"#,
        ],
    );
}

#[test]
fn a_client_cannot_send_events_that_other_clients_act_on() {
    let mut client = Client::joined();
    for event in ["phx_close", "phx_error", "phx_reply", "chan_reply_7"] {
        client.says(
            &format!(r#"["3","7","room:1","{event}",{{}}]"#),
            &[&error(r#""3","7","room:1""#, "reserved event")],
        );
    }
}

#[test]
fn binary_pushes_reach_the_channel_and_replies_may_be_binary_or_text() {
    let mut client = Client::joined();
    let push = b"\x00\x01\x01\x06\x0137room:1mdata";
    client.says_bytes(push, &[r#"push room:1 "7" m <64 61 74 61>"#]);
    client.says_bytes(push, &[r#"push room:1 "7" m <64 61 74 61>"#]);
    client.replies(0, "ok", &[r#"< ["3","7","room:1","phx_reply",{"status":"ok","response":{}}]"#]);

    let (reply_to, response) = (client.pushes[1].clone(), Body::Binary("data".into()));
    let effects = client.takes(SharedEvent::Replied { reply_to, status: "ok", response });

    assert_eq!(effects, [format!("< {:02x?}", b"\x01\x01\x01\x06\x0237room:1okdata")]);
}

#[test]
fn where_binary_frames_do_not_travel_a_binary_reply_is_an_error_and_a_binary_push_is_not_sent() {
    let mut client = Client::with(Options::longpoll(Vsn::V2));
    client.silently(r#"["3","3","room:1","phx_join",{}]"#);
    client.joins_answered(
        0,
        true,
        &[r#"< ["3","3","room:1","phx_reply",{"status":"ok","response":{"n":0}}]"#],
    );
    client.silently(r#"["3","7","room:1","message",{}]"#);

    let (channel, payload) = (client.channel(0), Body::Binary("x".into()));
    assert_eq!(client.takes(SharedEvent::Pushed { channel, event: "e", payload }), [""; 0]);
    let (reply_to, response) = (client.pushes[0].clone(), Body::Binary("x".into()));
    let effects = client.takes(SharedEvent::Replied { reply_to, status: "ok", response });
    assert_eq!(effects, [error(r#""3","7","room:1""#, "reply cannot be encoded")]);
}

#[test]
fn a_broadcast_as_supabase_packs_it_is_the_push_that_it_stands_for() {
    let mut client = Client::joined();

    let meant = r#"{"type":"broadcast","event":"hi","meta":{"id":1},"payload":[1.0]}"#;
    client.says_bytes(
        b"\x03\x01\x01\x06\x02\x08\x0137room:1hi{\"id\":1}[1.0]",
        &[&format!(r#"push room:1 "7" broadcast {meant}"#)],
    );
    let frame = b"\x03\x00\x00\x06\x08\x00\x01room:1phx_joinnull";
    client.says_bytes(
        frame,
        &[r#"push room:1 - broadcast {"type":"broadcast","event":"phx_join","payload":null}"#],
    );
}

#[test]
fn messages_over_the_rate_are_answered_and_do_nothing_but_heartbeats_and_leaves() {
    let mut client = Client::joined();
    let mut throttled = |frame: &str| client.takes(Event::Throttled(Incoming::Text(frame)));

    let refused = |address: &str| vec![error(address, "rate_limited")];
    assert_eq!(throttled(r#"["3","4","room:1","message",{}]"#), refused(r#""3","4","room:1""#));
    assert_eq!(throttled(r#"["5","5","room:2","phx_join",{}]"#), refused(r#""5","5","room:2""#));
    assert_eq!(
        throttled(r#"[null,"6","phoenix","heartbeat",{}]"#),
        [r#"< [null,"6","phoenix","phx_reply",{"status":"ok","response":{}}]"#],
    );
    let left = throttled(r#"["3","7","room:1","phx_leave",{}]"#);
    assert!(
        left.iter().any(|effect| effect.contains(r#""7","room:1","phx_reply",{"status":"ok""#))
    );
    assert!(left.iter().any(|effect| effect.contains("phx_close")), "{left:?}");
}

#[test]
fn half_an_emoji_in_a_name_is_answered_so_that_its_client_knows_the_answer_again() {
    let mut client = Client::joined();

    client.says(
        r#"["1","1","room:\ud83d","phx_join",{}]"#,
        &[concat!(
            r#"< ["1","1","room:\ud83d","phx_reply",{"status":"error","response":{"#,
            r#""code":"bad_json","#,
            r#""reason":"the frame is not JSON: the topic: half of a surrogate pair"}}]"#
        )],
    );
    client.says(
        r#"["3","4","room:1","\ude00",{}]"#,
        &[concat!(
            r#"< ["3","4","room:1","phx_reply",{"status":"error","response":{"#,
            r#""code":"bad_json","#,
            r#""reason":"the frame is not JSON: the event: half of a surrogate pair"}}]"#
        )],
    );
}
