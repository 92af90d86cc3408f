//! Applying while a dump of the same site holds its snapshot (I30), beside applying without.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use crate::Plan;
use crate::cluster::{Cluster, binaries};
use crate::instep::{Agent, Server};
use crate::rows::SETTINGS;
use crate::turns::{Found, Side, Wanted, take};
use crate::writers::{DIGEST, Load, TABLE, until_everywhere, write_to_instep};

/// Keys of each writer: far more rows than are dumped while it is measured.
const KEYS: usize = 10_000;

/// Rows per second of a site, with and without a dump that is read slowly.
pub(crate) fn measure(plan: &Plan) -> Vec<Found> {
    let cluster = Cluster::start_with(SETTINGS);
    let mut server = Server::start();
    let directory = tempfile::tempdir().expect("a directory");
    let slow = Slow::in_directory(directory.path());
    for database in ["source", "copy"] {
        cluster.execute("postgres", &format!("CREATE DATABASE {database}"));
    }
    cluster.execute("source", TABLE);
    let programs = directory.path().to_str().expect("a path of ours");
    let arguments = ["--start", "head", "--pg-bin", programs];
    let source = Agent::run(&server, "source", &cluster.url("source"), &arguments);
    source.until("registered");
    let begin = Load { commits: 32, rows: 1_000, writers: 32, keys: KEYS, round: 0 };
    write_to_instep(&server, begin);
    let urls = [cluster.url("source")];
    until_everywhere(&urls, begin);
    let (instep, reference) = take(plan.rounds, "held", |side, round| {
        let copy = (side == Side::Instep).then(|| {
            slow.begin();
            // No dump of an earlier round is shared.
            server.restart("source");
            let from = ["--dump-from", "source"];
            let copy = Agent::run(&server, "copy", &cluster.url("copy"), &from);
            source.until("giving");
            copy
        });
        let commits = 40_000 / plan.part;
        let load = Load { commits, round: 2 * round + side as usize, rows: 1, ..begin };
        let begun = Instant::now();
        write_to_instep(&server, load);
        until_everywhere(&urls, load);
        let taken = begun.elapsed();
        if let Some(copy) = copy {
            slow.end();
            copy.until("restored");
            until_everywhere(&[cluster.url("copy")], load);
            let [of, to] = ["source", "copy"].map(|database| cluster.text(database, DIGEST));
            assert_eq!(of, to, "round {round}");
            drop(copy);
            cluster.execute("postgres", "DROP DATABASE copy WITH (FORCE)");
            cluster.execute("postgres", "CREATE DATABASE copy");
        }
        load.all_rows() as f64 / taken.as_secs_f64()
    });
    vec![Found {
        name: "applying while a dump holds its snapshot",
        goal: "applying while a dump holds its snapshot, against without, at least",
        unit: "rows/s",
        wanted: Wanted::AtLeast(0.8),
        instep,
        reference,
    }]
}

/// A `pg_dump` whose output is slow until it is told to hurry.
struct Slow {
    hurry: std::path::PathBuf,
}

impl Slow {
    fn in_directory(directory: &Path) -> Self {
        let (program, hurry) = (directory.join("pg_dump"), directory.join("hurry"));
        let text = format!(
            "#!/bin/bash\nset -o pipefail\n{} \"$@\" | {{\n\
             while [ ! -e {} ]; do\n\
             dd bs=64k count=1 iflag=fullblock status=none; sleep 0.25\ndone; cat; }}\n",
            binaries().join("pg_dump").display(),
            hurry.display(),
        );
        std::fs::write(&program, text).expect("our own directory");
        std::fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("our own file");
        Self { hurry }
    }

    fn begin(&self) {
        let _ = std::fs::remove_file(&self.hurry);
    }

    fn end(&self) {
        std::fs::write(&self.hurry, "").expect("our own directory");
    }
}
