use std::cell::{Cell, RefCell};

use super::*;

thread_local! {
    /// Copies of what lay there before each step: what a kill would leave.
    static SEEN: RefCell<Vec<tempfile::TempDir>> = const { RefCell::new(Vec::new()) };
    static STEPS: Cell<usize> = const { Cell::new(0) };
    static FAILS_AT: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

fn tempfile_copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

fn remember(root: &Path, _: &'static str) -> io::Result<()> {
    let seen = tempfile::tempdir().unwrap();
    copy(root, &seen.path().join(DATASETS));
    SEEN.with_borrow_mut(|all| all.push(seen));
    Ok(())
}

/// Fails at one step, as a full disk does.
fn fail_once(_: &Path, _: &'static str) -> io::Result<()> {
    let now = STEPS.replace(STEPS.get() + 1);
    match now == FAILS_AT.get() {
        true => Err(io::ErrorKind::StorageFull.into()),
        false => Ok(()),
    }
}

fn datasets(data: &Path, step: Step) -> Datasets {
    Datasets { step, ..Datasets::open(data).unwrap() }
}

fn fill(directory: &Path) -> io::Result<()> {
    std::fs::create_dir(directory.join("snapshots"))?;
    for file in ["00000000000000000001.segment", "identity", "lock"] {
        std::fs::write(directory.join(file), file)?;
    }
    Ok(())
}

fn everything(datasets: &Datasets) -> Vec<String> {
    let entries = std::fs::read_dir(&datasets.root).unwrap();
    let mut all: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

fn files(datasets: &Datasets, dataset: &str) -> usize {
    std::fs::read_dir(datasets.path(&name(dataset))).unwrap().count()
}

#[test]
fn a_kill_at_any_moment_leaves_a_dataset_whole_or_gone() {
    let data = tempfile::tempdir().unwrap();
    let here = datasets(data.path(), remember);
    here.make::<io::Error>(&name("stays"), fill).unwrap();

    here.make::<io::Error>(&name("comes"), fill).unwrap();
    here.remove(&name("comes")).unwrap();
    here.step("the end").unwrap();

    let mut states = SEEN.take();
    // A removal in its middle: some files are gone, whichever.
    let partly = states.iter().rposition(|seen| {
        let entries = std::fs::read_dir(seen.path().join(DATASETS)).unwrap();
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(REMOVED))
    });
    let partly = tempfile_copy(states[partly.unwrap()].path());
    for file in ["00000000000000000001.segment", "identity", "lock"] {
        let state = tempfile_copy(partly.path());
        for entry in std::fs::read_dir(state.path().join(DATASETS)).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(REMOVED) {
                std::fs::remove_file(path.join(file)).unwrap();
            }
        }
        states.push(state);
    }
    assert!(states.len() > 12, "{}", states.len());
    for state in states {
        let after = Datasets::open(state.path()).unwrap();
        let there = everything(&after);
        assert!([vec!["comes", "stays"], vec!["stays"], vec![]].iter().any(|s| *s == there));
        for dataset in &there {
            assert_eq!(files(&after, dataset), 4, "{dataset} is whole");
        }
        assert_eq!(after.names().unwrap().len(), there.len());
    }
}

#[test]
fn what_is_refused_at_any_step_leaves_nothing() {
    for at in 0..5 {
        let data = tempfile::tempdir().unwrap();
        let here = datasets(data.path(), fail_once);
        STEPS.set(0);
        FAILS_AT.set(at);

        let made = here.make::<io::Error>(&name("comes"), fill);

        assert_eq!(made.unwrap_err().kind(), io::ErrorKind::StorageFull, "step {at}");
        assert_eq!(everything(&here), Vec::<String>::new(), "step {at}");
    }
    for at in 0..3 {
        let data = tempfile::tempdir().unwrap();
        let here = datasets(data.path(), fail_once);
        FAILS_AT.set(usize::MAX);
        here.make::<io::Error>(&name("goes"), fill).unwrap();
        STEPS.set(0);
        FAILS_AT.set(at);

        let removed = here.remove(&name("goes"));

        match at {
            0 => assert_eq!((removed.is_err(), files(&here, "goes")), (true, 4)),
            // Gone, although its files may be there until the next start.
            _ => assert_eq!(here.find(&name("goes")).unwrap(), Found::Nothing),
        }
        let names = everything(&Datasets::open(data.path()).unwrap());
        assert_eq!(names.len(), usize::from(at == 0), "step {at}: {names:?}");
    }
}

#[test]
fn only_what_holds_a_dataset_is_one() {
    let data = tempfile::tempdir().unwrap();
    let here = datasets(data.path(), |_, _| Ok(()));
    here.make::<io::Error>(&name("new"), fill).unwrap();
    // As an older version made it, without an identity.
    std::fs::create_dir_all(here.root.join("old/snapshots")).unwrap();
    std::fs::write(here.root.join("old/00000000000000000001.segment"), "").unwrap();
    // As an older version left it when the disk was full.
    std::fs::create_dir_all(here.root.join("begun/snapshots")).unwrap();
    std::fs::write(here.root.join("begun/lock"), "").unwrap();
    std::fs::write(here.root.join("begun/first.tmp"), "").unwrap();
    std::fs::create_dir_all(here.root.join("notes")).unwrap();
    std::fs::write(here.root.join("notes/todo"), "").unwrap();
    std::fs::create_dir_all(here.root.join("empty")).unwrap();
    std::fs::write(here.root.join("file"), "").unwrap();
    std::fs::create_dir_all(here.root.join("lost+found")).unwrap();

    let here = Datasets::open(data.path()).unwrap();

    assert_eq!(here.names().unwrap(), [name("new"), name("old")]);
    assert_eq!(everything(&here), ["empty", "file", "lost+found", "new", "notes", "old"]);
    let found = ["new", "begun", "notes", "file"].map(|of| here.find(&name(of)).unwrap());
    assert_eq!(found, [Found::Dataset, Found::Nothing, Found::Foreign, Found::Foreign]);
    assert!(here.make::<io::Error>(&name("notes"), fill).is_err());
    assert!(here.root.join("notes/todo").exists(), "what is somebody else's stays");
    here.make::<io::Error>(&name("empty"), fill).unwrap();
}

#[test]
fn what_others_could_read_is_closed_to_them() {
    let data = tempfile::tempdir().unwrap();
    let here = datasets(data.path(), |_, _| Ok(()));
    here.make::<io::Error>(&name("old"), fill).unwrap();
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let file = here.root.join("old/identity");
    let directories = [here.root.clone(), here.root.join("old"), here.root.join("old/snapshots")];
    directories.iter().for_each(|path| set(path, 0o755));
    set(&file, 0o666);

    Datasets::open(data.path()).unwrap();

    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(directories.each_ref().map(|path| mode(path)), [0o700; 3]);
    assert_eq!(mode(&file), 0o600);
}
