//! Metrics of the server, read from its page.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::rivals::Served;

/// A page at one moment.
pub(crate) struct Scrape(String);

impl Scrape {
    /// None for a server that has no such page.
    pub(crate) fn of(served: &Served) -> Option<Self> {
        let (address, key) = served.metrics()?;
        let mut stream = TcpStream::connect(address).ok()?;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
             connection: close\r\n\r\n"
        );
        let mut page = String::new();
        stream.write_all(request.as_bytes()).ok()?;
        stream.read_to_string(&mut page).ok()?;
        page.starts_with("HTTP/1.1 200").then_some(Self(page))
    }

    /// All values of a family together.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let lines = self.0.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        lines.filter_map(value).sum()
    }

    /// The step of a histogram that the longest time since `before` lies in, in milliseconds.
    pub(crate) fn longest_ms(&self, before: &Self, name: &str) -> f64 {
        let steps = self.steps(name);
        let grown = steps.iter().zip(before.steps(name));
        let mut longest = 0.0;
        let mut counted = 0.0;
        for ((seconds, now), (_, then)) in grown {
            if now - then > counted {
                counted = now - then;
                longest = seconds * 1e3;
            }
        }
        longest
    }

    /// The steps of a histogram: up to how many seconds, and how many so far.
    fn steps(&self, name: &str) -> Vec<(f64, f64)> {
        let prefix = format!("{name}_seconds_bucket{{le=\"");
        let lines = self.0.lines().filter_map(|line| {
            let (step, _) = line.strip_prefix(&prefix)?.split_once('"')?;
            let step = if step == "+Inf" { f64::INFINITY } else { step.parse().ok()? };
            Some((step, value(line)?))
        });
        lines.collect()
    }
}

fn value(line: &str) -> Option<f64> {
    line.rsplit(' ').next()?.parse().ok()
}
