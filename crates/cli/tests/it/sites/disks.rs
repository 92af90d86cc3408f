//! Disks that are full at a site: it waits, the operator is told, and nothing is lost.

use serde_json::json;

use super::agent::{Database, Site};
use super::{CONFIG, put, status};
use crate::mail::disk::Disk;
use crate::running::Server;
use crate::shims::until;

/// Rows of a hundred kilobytes.
fn large(server: &Server, keys: std::ops::Range<u64>) {
    for key in keys {
        put(server, &key.to_string(), &json!({"text": "x".repeat(100_000)}));
    }
}

#[test]
fn a_site_whose_disk_is_full_waits_and_goes_on_when_there_is_room() {
    let Some(disk) = Disk::mount() else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    let database = Database::in_directory(disk.path(), "node1");
    let other = Database::in_directory(directory.path(), "node2");
    let sites = [&database, &other].map(|at| Site::run(&server, at, &["--start", "beginning"]));
    sites.iter().for_each(|site| drop(site.until_told("registered")));
    let before = put(&server, "a", &json!({}));
    database.until_at(&before);

    disk.fill();
    large(&server, 0..5);
    let last = put(&server, "b", &json!({}));
    let waiting = sites[0].until_told("waiting");
    assert!(waiting["reason"].as_str().unwrap().contains("full"), "{waiting}");
    other.until_at(&last);
    assert_eq!(status(&server, "node1")["cursor"], before.as_str());
    disk.empty();

    database.until_at(&last);
    assert_eq!(database.items(), other.items());
}

#[test]
fn a_dump_that_finds_no_room_at_the_site_is_taken_when_there_is_room() {
    let Some(disk) = Disk::mount() else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve_with(directory.path(), CONFIG);
    large(&server, 0..20);
    disk.fill();
    let database = Database::in_directory(disk.path(), "node1");

    let mut site = Site::run(&server, &database, &[]);
    let mut told = None;
    until("that there is no room", || {
        told = Some(site.stderr() + &site.told());
        told.as_ref().is_some_and(|told| told.contains("full"))
    });
    disk.empty();
    // One that found no room for its first file has ended; others wait by themselves.
    if site.has_ended() {
        site = Site::run(&server, &database, &[]);
    }

    site.until_told("registered");
    assert_eq!(database.items().len(), 20);
}
