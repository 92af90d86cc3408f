//! The WebSocket transport.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::SinkExt;
use instep_model::limits;
use instep_protocol::encode::Frame;
use instep_protocol::session::{Incoming, Options};
use instep_protocol::subprotocol;
use instep_protocol::vsn::Vsn;
use tokio::sync::OwnedSemaphorePermit;

use crate::connection::{Close, Connection};
use crate::door::Door;

/// A reader that takes nothing for this long is closed; it can resume.
const STUCK: Duration = Duration::from_secs(30);
/// Frames that wait for a socket to take them before its topics are read further.
const OUTBOX_FRAMES: usize = 256;

/// Upgrades a request to a Channels socket, or refuses it with a plain HTTP status.
pub async fn upgrade(
    State(door): State<Door>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let refuse = |status: StatusCode, why: String| (status, why).into_response();
    let vsn = match Vsn::parse(query.get("vsn").map(String::as_str)) {
        Ok(vsn) => vsn,
        Err(error) => return refuse(StatusCode::FORBIDDEN, error.to_string()),
    };
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered = subprotocol::parse(offered.iter().filter_map(|value| value.to_str().ok()));
    let offered = match offered {
        Ok(offered) => offered,
        Err(error) => return refuse(StatusCode::FORBIDDEN, error.to_string()),
    };
    let Some(place) = door.enter() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "no place for another socket".into());
    };
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let upgrade = match offered.answer {
        Some(answer) => upgrade.protocols([Cow::Borrowed(answer)]),
        None => upgrade,
    };
    upgrade
        // The library's default buffers are 18 times larger, per connection.
        .read_buffer_size(4096)
        .write_buffer_size(4096)
        .max_frame_size(limits::FRAME_BYTES)
        .max_message_size(limits::FRAME_BYTES)
        .on_upgrade(move |socket| serve(socket, door, vsn, place))
}

async fn serve(mut socket: WebSocket, door: Door, vsn: Vsn, _place: OwnedSemaphorePermit) {
    let mut connection = Connection::new(door.clone(), Options::websocket(vsn));
    let mut draining = door.draining();
    let waker = connection.waker();
    let close = loop {
        if let Some(close) = write(&mut socket, &mut connection).await {
            break close;
        }
        let due = Duration::from_millis(connection.due_in());
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => connection.receive(Incoming::Text(&text)),
                Some(Ok(Message::Binary(bytes))) => connection.receive(Incoming::Binary(&bytes)),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => connection.alive(),
                Some(Ok(Message::Close(_))) | None => break None,
                // The stream is broken beyond the frame, or the frame is over its limit.
                Some(Err(error)) => break Some(close_for(&error)),
            },
            outside = connection.outside() => connection.take_outside(outside),
            () = waker.notified() => connection.read_topics(OUTBOX_FRAMES),
            () = tokio::time::sleep(due) => connection.tick(),
            _ = draining.wait_for(|drain| *drain) => connection.drain(),
        }
    };
    connection.lost();
    if let Some(Close { code, reason }) = close {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        let _ = tokio::time::timeout(STUCK, socket.send(Message::Close(Some(frame)))).await;
    }
}

/// Writes the outbox. Some: the connection is over, with a close to send if it can be.
async fn write(socket: &mut WebSocket, connection: &mut Connection) -> Option<Option<Close>> {
    let mut written = false;
    while let Some(frame) = connection.outbox().pop_front() {
        let message = match frame {
            // The codec writes only UTF-8; a text that is not would be a bug, and is not sent.
            Frame::Text(text) => match Utf8Bytes::try_from(text) {
                Ok(text) => Message::Text(text),
                Err(_) => continue,
            },
            Frame::Binary(bytes) => Message::Binary(bytes),
        };
        match tokio::time::timeout(STUCK, socket.feed(message)).await {
            Ok(Ok(())) => written = true,
            Ok(Err(_)) => return Some(None),
            Err(_) => {
                return Some(Some(Close { code: 1012, reason: "stuck" }));
            }
        }
    }
    if written {
        match tokio::time::timeout(STUCK, socket.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Some(None),
            Err(_) => {
                return Some(Some(Close { code: 1012, reason: "stuck" }));
            }
        }
    }
    connection.close().map(Some)
}

fn close_for(error: &axum::Error) -> Close {
    // The library tells only by its words; over a limit or out of protocol, the stream is lost.
    let said = error.to_string().to_lowercase();
    if said.contains("too long") {
        return Close { code: 1009, reason: "the frame is over the limit of 1 MiB" };
    }
    if said.contains("utf-8") {
        return Close { code: 1007, reason: "the text is not UTF-8" };
    }
    Close { code: 1002, reason: "protocol error" }
}
