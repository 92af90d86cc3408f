//! Dependencies between crates, and the ones that pure crates must not have.

use std::collections::BTreeSet;

use super::Violation;
use super::ratchet::Exceptions;
use crate::workspace::Workspace;
use crate::{Fallible, process};

/// A package and the members it may depend on. Arrows point down this list only.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "instep-cli",
        &[
            "instep-shop",
            "instep-shop-domain",
            "instep",
            "instep-client",
            "instep-load",
            "instep-sites",
            "instep-embedded",
            "instep-model",
        ],
    ),
    ("instep-shop", &["instep-shop-domain", "instep"]),
    ("instep-shop-domain", &["instep"]),
    (
        "instep",
        &[
            "instep-edge",
            "instep-access",
            "instep-node",
            "instep-embedded",
            "instep-protocol",
            "instep-model",
        ],
    ),
    ("instep-edge", &["instep-access", "instep-node", "instep-protocol", "instep-model"]),
    ("instep-node", &["instep-protocol", "instep-model"]),
    ("instep-sim", &["instep-node", "instep-embedded", "instep-protocol", "instep-model"]),
    ("instep-sites", &["instep-client", "instep-model"]),
    ("instep-client", &["instep-protocol", "instep-model"]),
    ("instep-load", &[]),
    ("instep-access", &["instep-model"]),
    ("instep-embedded", &["instep-model"]),
    ("instep-protocol", &["instep-model"]),
    ("instep-model", &[]),
    ("xtask", &[]),
];

/// Crates that know nothing of the web (SNK-23), and what they must not ask for themselves.
const WEBLESS: &[&str] = &[
    "instep-shop-domain",
    "instep-node",
    "instep-embedded",
    "instep-protocol",
    "instep-access",
    "instep-model",
];
const WEB: &[&str] = &["axum", "hyper", "tower-http", "tokio-tungstenite", "rust-embed", "reqwest"];

/// Crates that tests of the upper rooms may use besides: a real engine and a real client.
const FOR_TESTS: &[&str] = &["instep-embedded", "instep-client"];

/// Crates whose tests stay as pure as they are.
const PURE: &[&str] = &["instep-model", "instep-protocol"];

/// Crates that a pure crate must not carry (law 7).
const RUNTIME: &[&str] = &["tokio", "axum", "hyper", "mio", "rand", "getrandom"];

/// Edges between members against the table.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let members: BTreeSet<&str> = workspace.packages.iter().map(|p| p.name.as_str()).collect();
    let mut violations = Vec::new();
    for package in &workspace.packages {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == package.name) else {
            violations.push(format!("{}: give it a place in LAYERS (xtask)", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let (to, dev) = (dependency.name.as_str(), dependency.kind.as_deref() == Some("dev"));
            let for_tests =
                dev && FOR_TESTS.contains(&to) && !PURE.contains(&package.name.as_str());
            let web = !dev && WEB.contains(&to) && WEBLESS.contains(&package.name.as_str());
            if web || members.contains(to) && !allowed.contains(&to) && !for_tests {
                violations.push(format!("{} must not depend on {to}", package.name));
            }
        }
    }
    for (name, _) in LAYERS.iter().filter(|(name, _)| !members.contains(name)) {
        violations.push(format!("{name} is in LAYERS (xtask) but not in the workspace"));
    }
    Ok(violations)
}

/// The normal dependency tree of each pure crate against the runtime list.
pub(crate) fn check_runtime(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let exceptions = Exceptions::read(workspace)?.runtime;
    let mut violations = Vec::new();
    for package in PURE {
        let args = ["tree", "-p", package, "-e", "normal", "--prefix", "none", "-f", "{p}"];
        let tree = process::read(&mut workspace.cargo(&args))?;
        let names: BTreeSet<&str> =
            tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let listed = exceptions.get(*package).map(Vec::as_slice).unwrap_or_default();
        for banned in RUNTIME {
            let excused = listed.iter().any(|name| name == banned);
            match (names.contains(banned), excused) {
                (true, false) => violations.push(format!(
                    "{package} carries {banned}; `cargo tree -p {package} -i {banned} -e \
                     normal,features` shows the way"
                )),
                (false, true) => violations.push(format!(
                    "{package} no longer carries {banned}: strike it from xtask/exceptions.toml"
                )),
                (true, true) | (false, false) => {}
            }
        }
    }
    Ok(violations)
}
