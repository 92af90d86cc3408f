//! A server that has no descriptor left.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::running::PATIENCE;

const DESCRIPTORS: usize = 64;

struct Starved(Child);

impl Drop for Starved {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `instep serve` with few descriptors; where it takes messages over TCP.
fn serve(directory: &std::path::Path) -> (Starved, String) {
    let config = directory.join("instep.toml");
    std::fs::write(&config, "http = '127.0.0.1:0'\ntcp = '127.0.0.1:0'\nshards = 2\n").unwrap();
    let child = Command::new("sh")
        .args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"")])
        .args([env!("CARGO_BIN_EXE_instep"), "serve", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(directory.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Starved(child.unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut tcp = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("listening tcp://").map(str::to_owned));
    let address = tcp.next().expect("it says where it listens");
    (child, address)
}

fn ask(stream: &mut TcpStream) {
    let heartbeat = br#"[null,"1","phoenix","heartbeat",{}]"#;
    let length = u32::try_from(heartbeat.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], heartbeat].concat()).unwrap();
}

fn is_answered(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 256]).is_ok_and(|bytes| bytes > 0)
}

#[test]
fn who_waits_for_a_descriptor_is_served_when_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let (_server, address) = serve(directory.path());

    // The system completes these by itself; the server cannot take in more than a part.
    let mut all: Vec<_> = (0..2 * DESCRIPTORS)
        .map(|_| {
            let stream = TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        })
        .collect();
    all.iter_mut().for_each(ask);
    assert!(is_answered(&mut all[0]), "the first is served");
    let late = all.split_off(DESCRIPTORS);
    let mut late: Vec<_> = late.into_iter().take(DESCRIPTORS / 4).collect();
    drop(all);

    for stream in &mut late {
        assert!(is_answered(stream), "who waited is served");
    }
}
