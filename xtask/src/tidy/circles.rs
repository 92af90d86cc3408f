//! Circles of files: files that need each other in a ring cannot be read, tested or moved alone.
//!
//! A file needs another one of its crate when a path in it leads there: an import, or a path whose
//! first name was imported. What a module hands on (`use` of a name) is followed to where it is
//! defined. A module and what lies below it may need each other; any other circle of more than
//! three files is a room that is missing.
//!
//! Where a crate has floors, a module needs its own floor and those below it, and none above.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::ratchet::{self, Circle, Exceptions};
use super::sizes::is_test;
use crate::workspace::{Package, Workspace};
use crate::{Fallible, source};

/// Files that a circle may have.
const FILES: usize = 3;

/// Steps from one name to the next, so that names that lead to each other end.
const HANDED_ON: usize = 8;

/// Floors of a package above its ground, from the lowest.
const FLOORS: &[(&str, &[&str])] =
    &[("instep-edge", &["state", "driver", "shard", "http", "door"])];

/// Segments below the root of the crate.
type Path = Vec<String>;

/// Imports of a module, and every path that it names.
#[derive(Debug, Default)]
struct Module {
    imports: BTreeMap<String, Path>,
    paths: Vec<Path>,
}

/// The modules of one crate.
#[derive(Default)]
struct Modules(BTreeMap<Path, Module>);

/// Finds the circles of every crate, and holds them against the exceptions.
pub(crate) fn check(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let mut found = BTreeMap::new();
    for package in &workspace.packages {
        let (prefix, modules) = Modules::of(workspace, package)?;
        for circle in modules.circles() {
            let name = |path: &Path| format!("{prefix}{}.rs", name_of(path));
            found.insert(name(&circle[0]), circle.iter().map(name).collect::<Vec<_>>());
        }
    }
    Ok(hold(&found, &Exceptions::read(workspace)?.circles))
}

/// Holds the modules of crates with floors to what lies below them.
pub(crate) fn check_floors(workspace: &Workspace) -> Fallible<Vec<Violation>> {
    let mut violations = Vec::new();
    for (name, floors) in FLOORS {
        let package = workspace.package(name).ok_or_else(|| format!("there is no {name}"))?;
        let (prefix, modules) = Modules::of(workspace, package)?;
        for floor in floors.iter().filter(|floor| !modules.0.contains_key(&vec![floor.to_string()]))
        {
            violations.push(format!("{name}: there is no {floor}: see FLOORS (xtask)"));
        }
        for (from, to) in modules.upward(floors) {
            let (from, to) = (name_of(&from), name_of(&to));
            violations.push(format!("{prefix}{from}.rs: {to} lies above it"));
        }
    }
    Ok(violations)
}

/// Holds circles, by their first file, against the exceptions.
fn hold(
    found: &BTreeMap<String, Vec<String>>,
    excused: &BTreeMap<String, Circle>,
) -> Vec<Violation> {
    let large = found.iter().filter(|(_, files)| files.len() > FILES);
    let mut violations: Vec<Violation> = large
        .filter_map(|(name, files)| match excused.get(name) {
            Some(circle) if circle.files == files.len() => None,
            Some(circle) => Some(format!(
                "{name}: a circle of {} files, {} are excused in {}",
                files.len(),
                circle.files,
                ratchet::FILE
            )),
            None => Some(format!("{name}: a circle, cut it: {}", files.join(", "))),
        })
        .collect();
    let is_settled =
        |name: &String| found.get(name).is_none_or(|files: &Vec<String>| files.len() <= FILES);
    for (name, circle) in excused {
        if is_settled(name) {
            violations.push(format!("{name}: settled: strike it from {}", ratchet::FILE));
        }
        if circle.reason.len() < 20 {
            violations.push(format!("{name}: say why this circle is one thing"));
        }
    }
    violations
}

fn name_of(path: &Path) -> String {
    if path.is_empty() { "lib".to_owned() } else { path.join("/") }
}

impl Modules {
    /// The modules of a package, and the path of its sources.
    fn of(workspace: &Workspace, package: &Package) -> Fallible<(String, Self)> {
        let directory = workspace.directory_of(package).unwrap_or(&package.name);
        let prefix = format!("{directory}/src/");
        let mut modules = Self::default();
        for file in workspace.files_with("rs").filter(|file| !is_test(file)) {
            if let Some(name) = file.strip_prefix(&prefix) {
                let text = workspace.text(file).ok_or_else(|| format!("{file} is not text"))?;
                modules.add(name, &text);
            }
        }
        Ok((prefix, modules))
    }

    /// Modules that need one above them, with that.
    fn upward(&self, floors: &[&str]) -> Vec<(Path, Path)> {
        let height = |path: &Path| {
            let floor = floors.iter().position(|floor| path.first().is_some_and(|at| at == floor));
            floor.map_or(0, |floor| floor + 1)
        };
        let pairs = self.0.keys().filter(|from| !from.is_empty()).flat_map(|from| {
            let needed = self.needed_by(from).into_iter();
            needed.filter(|to| height(to) > height(from)).map(|to| (from.clone(), to.clone()))
        });
        pairs.collect()
    }

    /// Adds a file, by its path below `src`.
    fn add(&mut self, file: &str, text: &str) {
        let name = file.trim_end_matches(".rs");
        let path: Path = match name {
            "lib" | "main" => vec![],
            name => name.split('/').map(str::to_owned).collect(),
        };
        let module = Module::read(&source::production(&source::masked(text)));
        let known = self.0.entry(path).or_default();
        known.imports.extend(module.imports);
        known.paths.extend(module.paths);
    }

    /// The circles, each sorted.
    fn circles(&self) -> Vec<Vec<Path>> {
        let edges: BTreeMap<&Path, BTreeSet<&Path>> =
            self.0.keys().map(|path| (path, self.needed_by(path))).collect();
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            edges.keys().map(|from| (*from, reach(from, &edges))).collect();
        let mut circles = BTreeSet::new();
        for (from, to) in &reached {
            let circle: Vec<Path> = to
                .iter()
                .filter(|other| reached[**other].contains(from))
                .map(|other| (*other).clone())
                .collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    /// Modules that one needs, besides those above and below it.
    fn needed_by(&self, from: &Path) -> BTreeSet<&Path> {
        let module = &self.0[from];
        let named = module.paths.iter().filter_map(|path| {
            let (first, rest) = path.split_first()?;
            let imported = module.imports.get(first).filter(|_| !rest.is_empty());
            match imported {
                Some(import) => Some(import.iter().chain(rest).cloned().collect()),
                None => Some(path.clone()),
            }
        });
        let paths = module.imports.values().cloned().chain(named);
        paths
            .filter_map(|path| self.resolve(&self.absolute(from, &path)?, 0))
            .filter(|to| !from.starts_with(to) && !to.starts_with(from))
            .collect()
    }

    /// The same path below the root of the crate; none for one of another crate.
    fn absolute(&self, from: &Path, path: &Path) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        let mut at = from.clone();
        let rest = match first.as_str() {
            "crate" => return Some(rest.to_vec()),
            "self" => rest,
            "super" => {
                let ups = path.iter().take_while(|segment| *segment == "super").count();
                at.truncate(from.len().saturating_sub(ups));
                &path[ups..]
            }
            first => {
                at.push(first.to_owned());
                if !self.0.contains_key(&at) {
                    return None;
                }
                rest
            }
        };
        at.extend(rest.iter().cloned());
        Some(at)
    }

    /// The module in which the end of a path is defined.
    fn resolve(&self, path: &[String], steps: usize) -> Option<&Path> {
        let mut at: Path = vec![];
        for (index, segment) in path.iter().enumerate() {
            at.push(segment.clone());
            if self.0.contains_key(&at) {
                continue;
            }
            at.pop();
            let handed_on = self.0.get(&at)?.imports.get(segment);
            if let Some(import) = handed_on.filter(|_| steps < HANDED_ON)
                && let Some(mut next) = self.absolute(&at, import)
                && next != path
            {
                next.extend_from_slice(&path[index + 1..]);
                return self.resolve(&next, steps + 1);
            }
            break;
        }
        self.0.get_key_value(&at).map(|(path, _)| path)
    }
}

fn reach<'a>(from: &'a Path, edges: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> BTreeSet<&'a Path> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(next) = open.pop() {
        for to in &edges[next] {
            if reached.insert(*to) {
                open.push(to);
            }
        }
    }
    reached
}

impl Module {
    fn read(text: &str) -> Self {
        let words = words(text);
        let mut module = Self::default();
        let mut at = 0;
        while at < words.len() {
            if words[at] == "use" {
                let end = words[at..].iter().position(|word| *word == ";");
                let end = end.map_or(words.len(), |length| at + length);
                import(&[], &words[at + 1..end], &mut module.imports);
                at = end;
            } else if is_name(words[at]) {
                let mut path = vec![words[at].to_owned()];
                while words.get(at + 1) == Some(&"::")
                    && words.get(at + 2).is_some_and(|word| is_name(word))
                {
                    path.push(words[at + 2].to_owned());
                    at += 2;
                }
                if path.len() > 1 {
                    module.paths.push(path);
                }
                at += 1;
            } else {
                at += 1;
            }
        }
        module
    }
}

/// Reads a tree of imports: `a::{b, c::{self, d as e}}`.
fn import(above: &[String], tree: &[&str], imports: &mut BTreeMap<String, Path>) {
    let mut path = above.to_vec();
    let mut at = 0;
    while at < tree.len() {
        match tree[at] {
            "{" => {
                let inner = &tree[at + 1..tree.len().saturating_sub(1)];
                return branches(inner).for_each(|branch| import(&path, branch, imports));
            }
            "as" => {
                let alias = tree.get(at + 1).copied().unwrap_or("_");
                // A name `_` is never used; that it is imported counts.
                let alias = if alias == "_" { path.join("::") } else { alias.to_owned() };
                imports.insert(alias, path);
                return;
            }
            "self" if !above.is_empty() && path == above => {}
            "::" | "*" => {}
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
    if let Some(last) = path.last() {
        imports.insert(last.clone(), path);
    }
}

/// The branches of a tree between its braces.
fn branches<'a, 'b>(inner: &'a [&'b str]) -> impl Iterator<Item = &'a [&'b str]> {
    let mut depth = 0_i32;
    let ends_here = move |word: &&str| {
        match *word {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && *word == ","
    };
    inner.split(ends_here).filter(|branch| !branch.is_empty())
}

/// Names, `::` and single other characters.
fn words(text: &str) -> Vec<&str> {
    let mut words = vec![];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = match name {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            name => name,
        };
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    words
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let mut modules = Modules::default();
        files.iter().for_each(|(file, text)| modules.add(file, text));
        let named = |circle: Vec<Path>| circle.iter().map(name_of).collect();
        modules.circles().into_iter().map(named).collect()
    }

    #[test]
    fn a_circle_is_found_through_imports_and_names_that_are_handed_on() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; mod d; pub use d::D;"),
            ("a.rs", "use crate::b::{self, other::Thing as _}; fn f() { b::g() }"),
            ("b.rs", "use super::c::{C};"),
            ("c.rs", "fn h(d: crate::D) {}"),
            ("d.rs", "use crate::a::f;"),
        ];

        assert_eq!(circles(&files), [["a", "b", "c", "d"]]);
    }

    #[test]
    fn a_module_and_its_parts_are_no_circle_nor_is_what_tests_need() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "mod part; use self::part::P; pub struct A;"),
            ("a/part.rs", "use super::A; use crate::b::B;"),
            ("b.rs", "// crate::a::A\n#[cfg(test)]\nmod tests { use crate::a::part::P; }"),
        ];

        assert!(circles(&files).is_empty());
    }

    #[test]
    fn a_module_that_needs_a_floor_above_it_is_found() {
        let mut modules = Modules::default();
        modules.add("lib.rs", "mod ground; mod state; mod door; pub use door::Door;");
        modules.add("ground.rs", "use crate::state::part::S;");
        modules.add("state.rs", "use crate::ground::G; mod part;");
        modules.add("state/part.rs", "fn f(door: crate::Door) {}");
        modules.add("door.rs", "use crate::{ground::G, state::S};");

        let upward: Vec<_> = modules.upward(&["state", "door"]);

        let named = |(from, to): &(Path, Path)| (name_of(from), name_of(to));
        let found: Vec<_> = upward.iter().map(named).collect();
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(found, [pair("ground", "state/part"), pair("state/part", "door")]);
    }

    #[test]
    fn an_exception_covers_exactly_its_circle_and_says_why() {
        let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let found = BTreeMap::from([("a".to_owned(), files(&["a", "b", "c", "d"]))]);
        let circle = |files, reason: &str| {
            BTreeMap::from([("a".to_owned(), Circle { files, reason: reason.to_owned() })])
        };
        let why = "one actor in several files";

        assert!(hold(&found, &circle(4, why)).is_empty());
        for excused in [BTreeMap::new(), circle(5, why), circle(3, why), circle(4, "")] {
            assert_eq!(hold(&found, &excused).len(), 1);
        }
        assert_eq!(hold(&BTreeMap::new(), &circle(4, why)).len(), 1, "it is settled");
    }
}
