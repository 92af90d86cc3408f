//! Joining, leaving, rejoining, and how channels end.

use super::*;

#[test]
fn an_accepted_join_is_answered_with_both_refs() {
    let mut client = Client::new();

    client.says(
        r#"["3","3","room:1","phx_join",{"since": null}]"#,
        &[r#"join room:1 "3" {"since": null}"#],
    );
    assert!(!client.session.is_joined(&client.channel(0)));
    client.joins_answered(
        0,
        true,
        &[r#"< ["3","3","room:1","phx_reply",{"status":"ok","response":{"n":0}}]"#],
    );
    assert!(client.session.is_joined(&client.channel(0)));
}

#[test]
fn a_refused_join_keeps_no_channel() {
    let mut client = Client::new();
    client.says(r#"["3","3","room:1","phx_join",{}]"#, &[r#"join room:1 "3" {}"#]);

    client.joins_answered(
        0,
        false,
        &[r#"< ["3","3","room:1","phx_reply",{"status":"error","response":{"n":0}}]"#],
    );

    assert_eq!(client.session.channels().count(), 0);
    client.says(r#"["3","4","room:1","message",{}]"#, &[&unmatched("room:1", "4")]);
}

#[test]
fn a_join_of_an_unmatched_topic_is_answered_without_its_join_ref() {
    let mut client = Client::new();
    client.silently(r#"["3","4","room:1","phx_join",{}]"#);

    let outcome = JoinOutcome::Refused { response: r#"{"reason":"unmatched topic"}"#.into() };
    let said = client.takes(SharedEvent::JoinAnswered { channel: client.channel(0), outcome });

    assert_eq!(said, [unmatched("room:1", "4")]);
}

#[test]
fn a_join_that_crashes_is_answered_as_such() {
    for how in [Ending::Closed, Ending::Crashed] {
        let mut client = Client::new();
        client.says(r#"["3","3","room:1","phx_join",{}]"#, &[r#"join room:1 "3" {}"#]);

        client.ends(0, how, &[&error(r#""3","3","room:1""#, "join crashed")]);

        assert_eq!(client.session.channels().count(), 0);
    }
}

#[test]
fn a_duplicate_join_is_answered_before_the_close_with_the_old_join_ref() {
    let mut client = Client::joined();

    client.says(
        r#"["5","5","room:1","phx_join",{}]"#,
        &[r#"leave room:1 "3""#, r#"join room:1 "5" {}"#],
    );
    client.joins_answered(
        1,
        true,
        &[
            r#"< ["5","5","room:1","phx_reply",{"status":"ok","response":{"n":1}}]"#,
            r#"< ["3","3","room:1","phx_close",{}]"#,
        ],
    );
}

#[test]
fn a_refused_duplicate_join_still_closes_the_old_channel_afterwards() {
    let mut client = Client::joined();
    client.silently(r#"["5","5","room:1","phx_join",{}]"#);

    client.joins_answered(
        1,
        false,
        &[
            r#"< ["5","5","room:1","phx_reply",{"status":"error","response":{"n":1}}]"#,
            r#"< ["3","3","room:1","phx_close",{}]"#,
        ],
    );
}

#[test]
fn a_join_during_a_join_cancels_the_first_and_closes_what_was_joined_before_both() {
    let mut client = Client::joined();
    client.silently(r#"["5","5","room:1","phx_join",{}]"#);
    client.silently(r#"["5","6","room:1","message",{}]"#);

    client.says(
        r#"["7","7","room:1","phx_join",{}]"#,
        &[
            r#"leave room:1 "5""#,
            &error(r#""5","5","room:1""#, "join cancelled"),
            &unmatched("room:1", "6"),
            r#"join room:1 "7" {}"#,
        ],
    );
    client.joins_answered(1, true, &[]);
    client.joins_answered(
        2,
        true,
        &[
            r#"< ["7","7","room:1","phx_reply",{"status":"ok","response":{"n":2}}]"#,
            r#"< ["3","3","room:1","phx_close",{}]"#,
        ],
    );
}

#[test]
fn a_rejoin_with_the_same_join_ref_is_still_another_channel() {
    let mut client = Client::joined();
    client.silently(r#"["3","4","room:1","phx_leave",{}]"#);
    client.silently(r#"["3","3","room:1","phx_join",{}]"#);

    client.joins_answered(0, true, &[]);
    client.ends(0, Ending::Crashed, &[]);
    client.joins_answered(
        1,
        true,
        &[r#"< ["3","3","room:1","phx_reply",{"status":"ok","response":{"n":1}}]"#],
    );
    client.pushes(0, "event", &[]);
    client.pushes(1, "event", &[r#"< ["3",null,"room:1","event",{"p":1}]"#]);
}

#[test]
fn a_leave_is_answered_and_then_the_channel_is_closed() {
    let mut client = Client::joined();

    client.says(
        r#"["3","8","room:1","phx_leave",{}]"#,
        &[
            r#"leave room:1 "3""#,
            r#"< ["3","8","room:1","phx_reply",{"status":"ok","response":{}}]"#,
            r#"< ["3","3","room:1","phx_close",{}]"#,
        ],
    );
    client.pushes(0, "event", &[]);
    client.ends(0, Ending::Closed, &[]);
}

#[test]
fn a_leave_without_a_join_ref_means_what_is_joined() {
    let mut client = Client::joined();

    client.says(
        r#"[null,"8","room:1","phx_leave",{}]"#,
        &[
            r#"leave room:1 "3""#,
            r#"< [null,"8","room:1","phx_reply",{"status":"ok","response":{}}]"#,
            r#"< ["3","3","room:1","phx_close",{}]"#,
        ],
    );
}

#[test]
fn a_leave_of_a_topic_that_is_not_joined_is_ok_and_closes_nothing() {
    Client::new().says(
        r#"["3","8","room:1","phx_leave",{}]"#,
        &[r#"< ["3","8","room:1","phx_reply",{"status":"ok","response":{}}]"#],
    );
}

#[test]
fn a_leave_with_a_stale_join_ref_is_ignored() {
    let mut client = Client::joined();

    client.says(r#"["2","8","room:1","phx_leave",{}]"#, &[]);

    assert!(client.session.is_joined(&client.channel(0)));
}

#[test]
fn a_leave_during_a_join_cancels_it() {
    let mut client = Client::joined();
    client.silently(r#"["5","5","room:1","phx_join",{}]"#);

    client.says(r#"["3","6","room:1","phx_leave",{}]"#, &[]);
    client.says(
        r#"["5","7","room:1","phx_leave",{}]"#,
        &[
            r#"leave room:1 "5""#,
            &error(r#""5","5","room:1""#, "join cancelled"),
            r#"< ["3","3","room:1","phx_close",{}]"#,
            r#"< ["5","7","room:1","phx_reply",{"status":"ok","response":{}}]"#,
        ],
    );
    client.joins_answered(1, true, &[]);
}

#[test]
fn a_client_whose_join_timed_out_sends_join_leave_join_and_ends_up_joined() {
    let mut client = Client::new();
    client.silently(r#"["3","3","room:1","phx_join",{}]"#);
    client.silently(r#"["3","4","room:1","phx_leave",{}]"#);
    client.says(r#"["5","5","room:1","phx_join",{}]"#, &[r#"join room:1 "5" {}"#]);

    client.joins_answered(
        1,
        true,
        &[r#"< ["5","5","room:1","phx_reply",{"status":"ok","response":{"n":1}}]"#],
    );
}

#[test]
fn the_hundred_and_first_channel_is_refused_and_a_rejoin_is_not() {
    let mut client = Client::new();
    for n in 0..limits::SOCKET_CHANNELS {
        client.silently(&format!(r#"["{n}","{n}","room:{n}","phx_join",{{}}]"#));
    }

    client.says(
        r#"["x","x","room:x","phx_join",{}]"#,
        &[&error(r#""x","x","room:x""#, "too many channels joined")],
    );
    client.joins_answered(
        7,
        true,
        &[r#"< ["7","7","room:7","phx_reply",{"status":"ok","response":{"n":7}}]"#],
    );
    client.says(
        r#"["y","y","room:7","phx_join",{}]"#,
        &[r#"leave room:7 "7""#, r#"join room:7 "y" {}"#],
    );
    assert_eq!(client.session.channels().count(), limits::SOCKET_CHANNELS);
}

#[test]
fn pushes_that_waited_for_a_refused_join_are_unmatched() {
    let mut client = Client::new();
    client.silently(r#"["3","3","room:1","phx_join",{}]"#);
    client.silently(r#"["3","4","room:1","message",{}]"#);
    client.pushes(0, "event", &[]);

    client.joins_answered(
        0,
        false,
        &[
            r#"< ["3","3","room:1","phx_reply",{"status":"error","response":{"n":0}}]"#,
            &unmatched("room:1", "4"),
        ],
    );
}

#[test]
fn a_client_that_does_not_wait_for_its_join_is_sent_away_before_it_costs_memory() {
    let mut client = Client::new();
    client.silently(r#"["3","3","room:1","phx_join",{}]"#);
    for _ in 0..HELD_MESSAGES {
        client.says(r#"["3","4","room:1","message",{}]"#, &[]);
    }
    client.says(
        r#"["3","4","room:1","message",{}]"#,
        &[r#"leave room:1 "3""#, "close 1008 too much sent before a join was answered", "ended"],
    );

    let mut client = Client::new();
    client.silently(r#"["3","3","room:1","phx_join",{}]"#);
    let large = "x".repeat(limits::FRAME_BYTES / 2);
    let push = format!(r#"["3","4","room:1","message",{{"a":"{large}"}}]"#);
    client.says(&push, &[]);
    assert_eq!(client.takes(Event::Received(Incoming::Text(&push))).len(), 3);
}

#[test]
fn a_channel_that_ends_answers_its_pushes_and_says_whether_to_come_back() {
    for (how, event) in [(Ending::Closed, "phx_close"), (Ending::Crashed, "phx_error")] {
        let mut client = Client::joined();
        client.silently(r#"["3","7","room:1","message",{}]"#);

        client.ends(
            0,
            how,
            &[
                &error(r#""3","7","room:1""#, "channel closed"),
                &format!(r#"< ["3","3","room:1","{event}",{{}}]"#),
            ],
        );
        client.replies(0, "ok", &[]);
        client.pushes(0, "event", &[]);
    }
}

#[test]
fn a_join_with_binary_params_is_refused() {
    Client::new().says_bytes(
        b"\x00\x01\x01\x06\x0833room:1phx_join{}",
        &[&no_object(r#""3","3","room:1""#)],
    );
}

#[test]
fn a_hundred_channels_rejoin_in_one_go() {
    let mut client = Client::new();
    for round in 0..3 {
        for n in 0..limits::SOCKET_CHANNELS {
            client.silently(&format!(r#"["{round}-{n}","{n}","room:{n}","phx_join",{{}}]"#));
        }
    }
    let closes: usize = (0..3 * limits::SOCKET_CHANNELS)
        .map(|at| {
            let (channel, response) = (client.channel(at), "{}".into());
            let outcome = JoinOutcome::Accepted { response };
            client.takes(SharedEvent::JoinAnswered { channel, outcome }).len()
        })
        .sum();

    assert_eq!(closes, limits::SOCKET_CHANNELS);
    assert_eq!(client.session.channels().count(), limits::SOCKET_CHANNELS);
}
