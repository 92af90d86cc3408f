//! Echoes WebSocket messages through the codec, for the conformance cases of RFC 6455.
//!
//! `wire_echo 127.0.0.1:0` prints `listening http://ADDRESS` and serves until it is killed. Each
//! connection has a thread, and nothing stands between the socket and the codec.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the shell around the codec, no part of the crate"
)]

use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use instep_protocol::websocket::{Decoder, Message, encode_close, encode_pong, write_head};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The cases send messages of 16 MiB.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = TcpListener::bind(address)?;
    println!("listening http://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || match serve(stream) {
            Ok(()) => {}
            Err(error) => eprintln!("{error}"),
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> Result<(), Box<dyn Error>> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let key = read_key(&mut reader)?;
    let accept = derive_accept_key(key.as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let (answer, is_over) = answer(&mut decoder, &mut buffer[..count]);
        stream.write_all(&answer)?;
        if is_over {
            return end(&stream, reader);
        }
    }
}

/// What a piece of input is answered with, and whether that was the last of it.
fn answer(decoder: &mut Decoder, mut input: &mut [u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    while !input.is_empty() {
        let decoded = match decoder.decode(input, MESSAGE_BYTES) {
            Ok(decoded) => decoded,
            Err(violation) => {
                out.extend_from_slice(&encode_close(
                    Some(violation.code()),
                    &violation.to_string(),
                ));
                return (out, true);
            }
        };
        match &decoded.message {
            Some(Message::Text(text)) => {
                write_head(&mut out, true, text.len());
                out.extend_from_slice(text.as_bytes());
            }
            Some(Message::Binary(bytes)) => {
                write_head(&mut out, false, bytes.len());
                out.extend_from_slice(bytes);
            }
            Some(Message::Ping(payload)) => out.extend_from_slice(&encode_pong(payload)),
            Some(Message::Close(code)) => {
                out.extend_from_slice(&encode_close(*code, ""));
                return (out, true);
            }
            Some(Message::Pong) | None => {}
        }
        let consumed = decoded.consumed;
        input = &mut input[consumed..];
    }
    (out, false)
}

/// Reads the request; answers its key.
fn read_key(reader: &mut impl BufRead) -> Result<String, Box<dyn Error>> {
    let mut key = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            return key.ok_or_else(|| "a request without a key".into());
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("sec-websocket-key")
        {
            key = Some(value.trim().to_owned());
        }
    }
}

/// Says that nothing follows and reads what the client still sends: a reset would take the close
/// frame with it.
fn end(stream: &TcpStream, mut reader: impl Read) -> Result<(), Box<dyn Error>> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    match std::io::copy(&mut reader, &mut std::io::sink()) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}
