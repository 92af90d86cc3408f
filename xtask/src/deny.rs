//! Bans, licences and sources of everything in the tree, by the lists of deny.toml.
//!
//! `cargo deny` does it better (it knows advisories), so it is used where it is installed. It is
//! a long build, so where it is not, the same lists are held against `cargo metadata`.

mod config;
mod spdx;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::workspace::Workspace;
use crate::{Fallible, process};
use config::Config;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

/// Checks the tree of the machine we run on.
pub(crate) fn run(workspace: &Workspace, _args: &[String]) -> Fallible<()> {
    if process::works("cargo", &["deny", "--version"]) {
        return process::watch(&mut workspace.cargo(&["deny", "check"]));
    }
    println!("cargo-deny is not installed: bans, licences and sources only, no advisories");
    let config = Config::read(workspace)?;
    let metadata = metadata(workspace)?;
    for (name, versions) in duplicates(&metadata) {
        println!("  warning: {name} is in the tree as {}", versions.join(" and "));
    }
    let violations = violations(&config, &metadata)?;
    for violation in &violations {
        println!("  {violation}");
    }
    println!("{} packages looked at", metadata.packages.len());
    if violations.is_empty() { Ok(()) } else { Err("see above and deny.toml".into()) }
}

fn metadata(workspace: &Workspace) -> Fallible<Metadata> {
    let version = process::read(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("rustc does not say its host")?;
    let args = ["metadata", "--locked", "--format-version", "1", "--filter-platform", host];
    Ok(serde_json::from_str(&process::read(&mut workspace.cargo(&args))?)?)
}

fn violations(config: &Config, metadata: &Metadata) -> Fallible<Vec<String>> {
    let shipped = shipped(metadata);
    let mut violations = Vec::new();
    for package in metadata.packages.iter().filter(|p| !metadata.workspace_members.contains(&p.id))
    {
        let Package { name, version, .. } = package;
        if let Some(reason) = config.banned(name)
            && shipped.contains(package.id.as_str())
        {
            violations.push(format!("{name} {version} is banned: {reason}"));
        }
        let licence = package.license.as_deref().unwrap_or("none");
        if !spdx::satisfied(licence, &|id| config.allows(name, id))? {
            violations.push(format!("{name} {version}: the licence `{licence}` is not allowed"));
        }
        let source = package.source.as_deref().unwrap_or("a path outside the workspace");
        if !config.trusts(source) {
            violations.push(format!("{name} {version} comes from {source}"));
        }
    }
    Ok(violations)
}

/// Packages that the members need to be built or run; tests may need more.
fn shipped(metadata: &Metadata) -> BTreeSet<&str> {
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = metadata.workspace_members.iter().map(String::as_str).collect();
    while let Some(id) = open.pop() {
        if !found.insert(id) {
            continue;
        }
        let edges = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        let kept = edges
            .iter()
            .filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev")));
        open.extend(kept.map(|edge| edge.pkg.as_str()));
    }
    found
}

fn duplicates(metadata: &Metadata) -> Vec<(&str, Vec<&str>)> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &metadata.packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.into_iter().filter(|(_, versions)| versions.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member that needs `a` to run and `bincode` to test.
    fn tree(dev_kind: &str) -> Metadata {
        let json = r#"{
            "workspace_members": ["m"],
            "packages": [
                {"id": "m", "name": "m", "version": "1.0.0"},
                {"id": "r", "name": "bincode", "version": "1.0.0", "license": "MIT",
                 "source": "registry+https://github.com/rust-lang/crates.io-index"}
            ],
            "resolve": {"nodes": [
                {"id": "m", "deps": [{"pkg": "r", "dep_kinds": [{"kind": KIND}]}]},
                {"id": "r", "deps": []}
            ]}
        }"#;
        serde_json::from_str(&json.replace("KIND", dev_kind)).unwrap()
    }

    #[test]
    fn a_banned_crate_may_still_serve_the_tests() {
        let config = Config::read(&Workspace::open().unwrap()).unwrap();
        assert!(violations(&config, &tree("\"dev\"")).unwrap().is_empty());
        assert_eq!(violations(&config, &tree("null")).unwrap().len(), 1);
    }
}
