//! Reload: files of keys are looked at every second, and read again when they have changed.
//!
//! | a file | what it said before | what it says now |
//! | --- | --- | --- |
//! | is as it was | holds | – |
//! | has changed and is good | holds no more | holds |
//! | cannot be read, or is no good | holds for [`limits::KEYS_UNREAD_MS`], then no more | – |
//!
//! A change counts as seen only when it was read with success: a file that cannot be read is
//! tried again every second. What it said is closed after a while, because a key
//! that was taken away in it must not stay good for as long as the trouble lasts.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use instep_access::issuer::{Issuer, KeySource};
use instep_access::token::Tokens;
use instep_access::{Access, Gate};
use instep_edge::Door;
use instep_model::limits;
use instep_node::blocking;

use super::{KeyFile, KeyFileError, add_those_of, declared_keys, read, read_or_nothing, rights};
use crate::admin::AdminKey;
use crate::clock::Steps;
use crate::config::tokens::{KeyForm, path_of};
use crate::config::{Config, Fault};

/// Files of keys are looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// Attempts to read a file of keys that failed.
static FAILED: AtomicU64 = AtomicU64::new(0);
/// Files of keys that cannot be read now.
static UNREAD: AtomicU64 = AtomicU64::new(0);

/// Failed attempts to read a file of keys, and files that cannot be read now.
pub(crate) fn failures() -> (u64, u64) {
    (FAILED.load(Ordering::Relaxed), UNREAD.load(Ordering::Relaxed))
}

/// Files of keys, with what they said when they were read last.
pub(crate) struct Files {
    config: Config,
    admin: AdminKey,
    files: Vec<File>,
}

struct File {
    holds: Holds,
    path: PathBuf,
    /// State of the file when it was last read, by which a change is found.
    seen: Option<State>,
    /// Text that is in force; none once the file has been unreadable for too long.
    text: Option<String>,
    /// Failure to read it, and since when.
    failing: Option<Failing>,
}

/// Content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Keys for programs.
    Programs,
    /// Keys for the tokens of the issuer of that number.
    Keys { issuer: usize, form: KeyForm },
}

struct Failing {
    since: Instant,
    problem: String,
}

/// Error of a file whose change is not taken.
#[derive(Debug, thiserror::Error)]
enum LookError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// Its content is no good, or does not fit to the rest.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Outcome of a look at the files.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    /// Everything is as before.
    Same,
    /// It is decided by something else now.
    Changed,
}

impl Files {
    /// Reads them for the first time.
    ///
    /// # Errors
    /// [`Fault`], naming the file that cannot be read, or is not good.
    pub(crate) fn read(config: &Config, admin: &AdminKey) -> Result<(Self, Access), Fault> {
        let tokens = config.tokens.iter().enumerate().flat_map(|(issuer, tokens)| {
            let files = tokens.files();
            files.map(move |(form, path)| (Holds::Keys { issuer, form }, path.to_owned()))
        });
        let programs = (Holds::Programs, KeyFile::in_directory(&config.data).path().to_owned());
        let mut files = vec![];
        for (holds, path) in tokens.chain([programs]) {
            // Before it is read: what is changed meanwhile is noticed.
            let seen = state_of(&path).ok();
            let text =
                text_of(holds, &path).map_err(|error| fault(config, holds, error.to_string()))?;
            if matches!(holds, Holds::Keys { form: KeyForm::Secret, .. })
                && text.trim_ascii() != text
            {
                let (file, bytes) = (path.display(), text.trim_ascii().len());
                tracing::info!(%file, bytes, "white space at the ends is not part of the secret");
            }
            let text = Some(text);
            files.push(File { holds, path, seen, text, failing: None });
        }
        let files = Self { config: config.clone(), admin: admin.clone(), files };
        let access = files.access()?;
        files.files.iter().for_each(File::tell_skipped);
        Ok((files, access))
    }

    /// Everything by which a server decides, as far as it is known.
    fn access(&self) -> Result<Access, Fault> {
        let Self { config, admin, files } = self;
        let mut issuers: Vec<_> =
            config.tokens.iter().map(|tokens| Issuer::new(tokens.terms())).collect();
        let mut keys = declared_keys(config)?;
        keys.set_admin(admin.as_str());
        for file in files {
            if let Holds::Keys { issuer, .. } = file.holds {
                issuers[issuer].expect_keys();
            }
            let Some(text) = &file.text else { continue };
            match file.holds {
                Holds::Programs => add_those_of(&mut keys, &file.path, text)?,
                Holds::Keys { issuer, form } => {
                    let added = issuers[issuer].add(source(form, text));
                    added.map_err(|problem| {
                        let problem = format!("{}: {problem}", file.path.display());
                        fault(config, file.holds, problem)
                    })?;
                }
            }
        }
        let mut tokens = Tokens::default();
        issuers.into_iter().for_each(|issuer| tokens.add(issuer));
        Ok(Access { rights: rights(config)?, tokens, keys })
    }

    /// Looks at every file. Returns what decides from now on, if it changed.
    fn look_for_access(&mut self) -> Option<Result<Access, Fault>> {
        (self.look(Instant::now()) == Looked::Changed).then(|| self.access())
    }

    /// Looks at every file.
    fn look(&mut self, now: Instant) -> Looked {
        let mut looked = Looked::Same;
        for at in 0..self.files.len() {
            let File { holds, path, seen, failing, .. } = &self.files[at];
            let state = state_of(path);
            if failing.is_none() && matches!((&state, seen), (Ok(now), Some(seen)) if now == seen) {
                continue;
            }
            let read = state.and_then(|state| Ok((state, text_of(*holds, path)?)));
            let taken = read.map_err(LookError::from).and_then(|(state, text)| {
                let before = self.files[at].text.replace(text);
                match self.access() {
                    Ok(_) => Ok(state),
                    Err(fault) => {
                        self.files[at].text = before;
                        Err(fault.into())
                    }
                }
            });
            let file = &mut self.files[at];
            let changed = match taken {
                Ok(state) => {
                    tracing::info!(file = %file.path.display(), "keys were read again");
                    file.tell_skipped();
                    (file.seen, file.failing) = (Some(state), None);
                    true
                }
                Err(error) => file.fails(error.to_string(), now),
            };
            if changed {
                looked = Looked::Changed;
            }
        }
        let unread = self.files.iter().filter(|file| file.failing.is_some()).count();
        UNREAD.store(unread as u64, Ordering::Relaxed);
        looked
    }
}

impl File {
    /// Tells how many keys of a set are not for tokens here, and why the first is not.
    fn tell_skipped(&self) {
        let (Holds::Keys { form, .. }, Some(text)) = (self.holds, &self.text) else { return };
        // It was good with the others.
        let skipped = Issuer::default().add(source(form, text)).unwrap_or_default();
        if let Some(first) = skipped.first() {
            let (file, count) = (self.path.display(), skipped.len());
            tracing::info!(%file, count, first, "keys of a set are skipped");
        }
    }

    /// It cannot be read; true when what it said before holds no more from now on.
    fn fails(&mut self, problem: String, now: Instant) -> bool {
        FAILED.fetch_add(1, Ordering::Relaxed);
        let file = self.path.display();
        let is_told = self.failing.as_ref().is_some_and(|failing| failing.problem == problem);
        let since = self.failing.as_ref().map_or(now, |failing| failing.since);
        if !is_told {
            tracing::error!(%file, problem, "keys cannot be read; they are as before, for a while");
        }
        self.failing = Some(Failing { since, problem });
        let is_over =
            now.saturating_duration_since(since) >= Duration::from_millis(limits::KEYS_UNREAD_MS);
        if !is_over || self.text.is_none() {
            return false;
        }
        self.text = None;
        tracing::error!(%file, "keys cannot be read for too long: nothing that they open is open");
        true
    }
}

/// Looks at the files and the clock for as long as the server runs, and exchanges what the gate
/// decides by.
pub(crate) async fn watch(gate: Gate, door: Door, files: Files) {
    let files = Arc::new(Mutex::new(files));
    let mut steps = Steps::begin();
    loop {
        tokio::time::sleep(LOOK).await;
        let changed = look_beside(&files).await;
        let has_changed = changed.is_some();
        match changed {
            Some(Ok(access)) => gate.exchange(access),
            // Each file was looked at with the others.
            Some(Err(error)) => tracing::error!(%error, "keys do not fit together"),
            None => {}
        }
        // Whose time the clock has overtaken is not known by what has passed.
        if steps.has_stepped() || has_changed {
            door.review();
        }
    }
}

/// Looks at the files on a thread that serves no client: a file system may not answer. Returns what
/// decides from now on, if it changed.
async fn look_beside(files: &Arc<Mutex<Files>>) -> Option<Result<Access, Fault>> {
    let looking = {
        let files = Arc::clone(files);
        blocking(move || files.lock().unwrap_or_else(PoisonError::into_inner).look_for_access())
    };
    let mut looking = pin!(looking);
    let patience = Duration::from_millis(limits::KEYS_UNREAD_MS);
    let looked = match tokio::time::timeout(patience, &mut looking).await {
        Ok(looked) => looked,
        Err(_) => {
            tracing::error!("the disk with the files of keys does not answer; keys are as before");
            looking.await
        }
    };
    // The system gives no thread: files that hold keys too long must not wait for one.
    looked
        .unwrap_or_else(|_| files.lock().unwrap_or_else(PoisonError::into_inner).look_for_access())
}

/// The text of a file. That of the keys for programs need not exist.
fn text_of(holds: Holds, path: &Path) -> Result<String, KeyFileError> {
    match holds {
        Holds::Programs => read_or_nothing(path),
        Holds::Keys { .. } => read(path),
    }
}

fn source(form: KeyForm, text: &str) -> KeySource<'_> {
    match form {
        KeyForm::Secret => KeySource::Secret(text.as_bytes()),
        KeyForm::Pem => KeySource::Pem(text),
        KeyForm::Jwks => KeySource::Jwks(text),
    }
}

/// A fault in a file, at the key of the configuration that names it, if one does.
fn fault(config: &Config, holds: Holds, problem: String) -> Fault {
    match holds {
        Holds::Programs => Fault::elsewhere(problem),
        Holds::Keys { issuer, form } => {
            Fault::new(path_of(&config.tokens, issuer).key(form.key()), problem)
        }
    }
}

/// State of a file, by which a change is found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Missing,
    Is { modified: SystemTime, bytes: u64, inode: (u64, i64, i64) },
}

fn state_of(path: &Path) -> Result<State, KeyFileError> {
    let failed = |error| KeyFileError::Look { path: path.to_owned(), error };
    let metadata = match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::Missing),
        looked => looked.map_err(failed)?,
    };
    #[cfg(unix)]
    let inode = {
        use std::os::unix::fs::MetadataExt as _;
        (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
    };
    #[cfg(not(unix))]
    let inode = (0, 0, 0);
    let modified = metadata.modified().map_err(failed)?;
    Ok(State::Is { modified, bytes: metadata.len(), inode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TokensConfig;

    const SECRET: &str = "a secret of more than 32 bytes, for tests";

    struct Fixture {
        directory: tempfile::TempDir,
        files: Files,
        began: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mut config = Config::in_directory(directory.path());
            let secret = directory.path().join("secret");
            std::fs::write(&secret, SECRET).unwrap();
            config.tokens = vec![TokensConfig { secret: Some(secret), ..TokensConfig::default() }];
            let admin = AdminKey::in_directory(directory.path()).unwrap();
            let (files, _) = Files::read(&config, &admin).unwrap();
            Self { directory, files, began: Instant::now() }
        }

        fn programs(&self) -> KeyFile {
            KeyFile::in_directory(self.directory.path())
        }

        fn look(&mut self, after_ms: u64) -> Looked {
            self.files.look(self.began + Duration::from_millis(after_ms))
        }

        fn takes(&self, key: &str) -> bool {
            self.files.access().unwrap().credential(key, 0).is_ok()
        }
    }

    fn token() -> String {
        let claims = serde_json::json!({"sub": "ann", "exp": 1000});
        let claims = claims.as_object().unwrap();
        instep_access::token::sign_hs256(SECRET.as_bytes(), claims).unwrap()
    }

    #[test]
    fn a_file_that_became_a_named_pipe_is_unreadable_and_is_not_waited_for() {
        let mut fixture = Fixture::new();
        let secret = fixture.directory.path().join("secret");
        std::fs::remove_file(&secret).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&secret).status().unwrap().success());

        assert_eq!((fixture.look(0), fixture.takes(&token())), (Looked::Same, true));
        let failing = fixture.files.files[0].failing.as_ref().unwrap();
        assert!(failing.problem.contains("is a named pipe"), "{}", failing.problem);

        std::fs::remove_file(&secret).unwrap();
        std::fs::write(&secret, SECRET).unwrap();
        assert_eq!((fixture.look(1_000), fixture.takes(&token())), (Looked::Changed, true));
    }

    #[test]
    fn a_change_is_seen_only_when_it_was_read_and_is_tried_again() {
        let mut fixture = Fixture::new();
        let key = fixture.programs().create("billing", vec![]).unwrap();
        assert_eq!((fixture.look(0), fixture.takes(&key)), (Looked::Changed, true));
        let good = std::fs::read(fixture.programs().path()).unwrap();
        std::fs::write(fixture.programs().path(), "[[key").unwrap();
        assert_eq!((fixture.look(1_000), fixture.takes(&key)), (Looked::Same, true));
        assert_eq!(
            (fixture.look(2_000), fixture.files.files[1].failing.is_some()),
            (Looked::Same, true)
        );

        std::fs::write(fixture.programs().path(), &good).unwrap();
        fixture.programs().remove("billing").unwrap();

        assert_eq!((fixture.look(3_000), fixture.takes(&key)), (Looked::Changed, false));
        assert_eq!(fixture.look(4_000), Looked::Same);
    }

    #[test]
    fn what_cannot_be_read_for_too_long_is_closed_and_only_that() {
        let mut fixture = Fixture::new();
        let key = fixture.programs().create("billing", vec![]).unwrap();
        fixture.look(0);
        std::fs::remove_file(fixture.directory.path().join("secret")).unwrap();

        assert_eq!((fixture.look(1_000), fixture.takes(&token())), (Looked::Same, true));
        let over = 1_000 + limits::KEYS_UNREAD_MS;
        assert_eq!((fixture.look(over), fixture.takes(&token())), (Looked::Changed, false));
        assert!(fixture.takes(&key) && fixture.takes(fixture.files.admin.as_str()));
        assert!(fixture.files.access().unwrap().is_configured(), "tokens are checked all the same");
        assert_eq!(fixture.look(over + 1_000), Looked::Same);
        std::fs::write(fixture.directory.path().join("secret"), SECRET).unwrap();
        assert_eq!((fixture.look(over + 2_000), fixture.takes(&token())), (Looked::Changed, true));
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_is_not_taken_for_none() {
        let mut fixture = Fixture::new();
        let key = fixture.programs().create("billing", vec![]).unwrap();
        fixture.look(0);
        let path = fixture.programs().path().to_owned();
        std::fs::remove_file(&path).unwrap();
        // A link to itself has no end.
        std::os::unix::fs::symlink(&path, &path).unwrap();

        assert_eq!((fixture.look(1_000), fixture.takes(&key)), (Looked::Same, true));
        assert!(fixture.files.files[1].failing.is_some());
        assert!(fixture.programs().list().is_err());
    }

    #[test]
    fn a_file_that_is_not_good_at_the_start_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::in_directory(directory.path());
        let admin = AdminKey::in_directory(directory.path()).unwrap();
        let jwks = directory.path().join("jwks.json");
        config.tokens = vec![TokensConfig { jwks: Some(jwks.clone()), ..TokensConfig::default() }];
        std::fs::write(&jwks, "{").unwrap();

        let error = Files::read(&config, &admin).map(drop).unwrap_err().to_string();

        assert!(error.contains("tokens.jwks") && error.contains("jwks.json"), "{error}");
    }
}
