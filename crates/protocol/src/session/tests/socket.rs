//! The socket itself: heartbeats, malformed frames, silence, drain, versions.

use super::*;

#[test]
fn a_heartbeat_is_answered_at_once_by_the_socket_itself() {
    let mut client = Client::new();

    client.says(
        r#"[null,"9","phoenix","heartbeat",{}]"#,
        &[r#"< [null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]"#],
    );
    client.says(
        r#"["3","9","phoenix","heartbeat",{}]"#,
        &[r#"< [null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]"#],
    );
    client.says(
        r#"[null,9,"phoenix","heartbeat",{}]"#,
        &[r#"< [null,9,"phoenix","phx_reply",{"status":"ok","response":{}}]"#],
    );
}

#[test]
fn the_topic_of_the_socket_takes_nothing_but_heartbeats() {
    let mut client = Client::new();
    for event in ["phx_join", "phx_leave", "message"] {
        client
            .says(&format!(r#"["3","3","phoenix","{event}",{{}}]"#), &[&unmatched("phoenix", "3")]);
    }
    client.says(r#"["3","4","room:1","heartbeat",{}]"#, &[&unmatched("room:1", "4")]);
}

#[test]
fn a_malformed_frame_is_answered_in_band_and_the_socket_lives() {
    let mut client = Client::new();

    client.says(
        "hello",
        &[&complaint("bad_json", "the frame is not JSON: expected value at line 1 column 1")],
    );
    client.says(r#"["3","7","room:1","message",null]"#, &[&no_object(r#""3","7","room:1""#)]);
    client.says_bytes(
        &[4, 0, 0, 0],
        &[&complaint("unknown_binary_kind", "binary frames of kind 4 are not accepted")],
    );
    client.says(r#"["3","3","room:1","phx_join",{}]"#, &[r#"join room:1 "3" {}"#]);
}

#[test]
fn many_malformed_frames_in_a_row_end_the_session_and_a_good_one_forgives() {
    let mut client = Client::joined();
    for _ in 1..MALFORMED_IN_A_ROW {
        client.silently("{");
    }
    client.silently(r#"[null,"9","phoenix","heartbeat",{}]"#);
    for _ in 1..MALFORMED_IN_A_ROW {
        client.silently("{");
    }

    let effects = client.takes(Event::Received(Incoming::Malformed(DecodeError::BadUtf8)));

    let last = [r#"leave room:1 "3""#, "close 1008 too many malformed frames", "ended"];
    assert_eq!(effects[1..], last);
    client.says(r#"["3","7","room:1","message",{}]"#, &[]);
}

#[test]
fn a_silent_socket_is_closed_with_1012_and_any_sign_of_life_defers_that() {
    let mut client = Client::joined();
    let idle = limits::SOCKET_IDLE_MS;
    assert_eq!(client.session.next_deadline(), Some(idle));

    client.now = idle - 1;
    assert_eq!(client.takes(SharedEvent::Tick), [""; 0]);
    client.takes(Event::Alive);
    assert_eq!(client.session.next_deadline(), Some(2 * idle - 1));
    client.now = 2 * idle - 2;
    client.silently(r#"[null,"9","phoenix","heartbeat",{}]"#);
    client.pushes(0, "event", &[r#"< ["3",null,"room:1","event",{"p":0}]"#]);
    client.now = 3 * idle - 2;

    assert_eq!(
        client.takes(SharedEvent::Tick),
        [r#"leave room:1 "3""#, "close 1012 idle", "ended"]
    );
    assert_eq!(client.session.next_deadline(), None);
}

#[test]
fn a_drain_closes_with_1012() {
    assert_eq!(
        Client::joined().takes(SharedEvent::Drain),
        [r#"leave room:1 "3""#, "close 1012 draining", "ended"]
    );
}

#[test]
fn a_lost_connection_leaves_every_channel_and_closes_nothing() {
    let mut client = Client::joined();
    client.silently(r#"["5","5","room:0","phx_join",{}]"#);

    assert_eq!(
        client.takes(SharedEvent::Lost),
        [r#"leave room:0 "5""#, r#"leave room:1 "3""#, "ended"]
    );
    assert_eq!(client.takes(SharedEvent::Drain), [""; 0]);
}

#[test]
fn version_one_clients_are_served_with_objects_and_closes_carry_the_ref_of_their_join() {
    let mut client = Client::with(Options::websocket(Vsn::V1));
    let object = |event: &str, payload: &str, reference: &str| {
        let event = format!(r#""topic":"room:1","event":"{event}""#);
        format!(r#"{{{event},"payload":{payload},"ref":"{reference}"}}"#)
    };
    let ok = |response: &str, reference: &str| {
        let payload = format!(r#"{{"status":"ok","response":{response}}}"#);
        format!("< {}", object("phx_reply", &payload, reference))
    };

    client.says(&object("phx_join", "{}", "1"), &["join room:1 - {}"]);
    client.joins_answered(0, true, &[&ok(r#"{"n":0}"#, "1")]);
    client.says(&object("message", "{}", "2"), &[r#"push room:1 "2" message {}"#]);
    client.replies(0, "ok", &[&ok("{}", "2")]);
    client.says(&object("phx_join", "{}", "3"), &["leave room:1 -", "join room:1 - {}"]);
    let close = format!("< {}", object("phx_close", "{}", "1"));
    client.joins_answered(1, true, &[&ok(r#"{"n":1}"#, "3"), &close]);
}
