//! Orders from the page: what each button does.

use instep_client::Error as ClientError;
use instep_shop::DATASET;
use instep_shop::sites::Action;

use super::{FIRST, Fleet, NAMES, SERVER, Site, Standing};

type Outcome = Result<(), String>;

impl Fleet {
    /// Carries out an order; an error says in words why not.
    pub(super) async fn carry_out(&mut self, site: &str, action: Action) -> Outcome {
        if let Action::Add(source) = action {
            return self.add(&source);
        }
        let at = self.sites.iter().position(|known| known.name == site);
        let at = at.ok_or_else(|| format!("there is no site {site:?}"))?;
        match action {
            Action::Start if self.sites[at].process.is_some() => Err("it runs already".into()),
            Action::Start => {
                self.start(at);
                Ok(())
            }
            Action::Stop => match &self.sites[at].process {
                Some(process) => {
                    process.stop();
                    self.sites[at].standing = Standing::Stopping;
                    Ok(())
                }
                None => {
                    // One that ended by itself is not started again.
                    self.sites[at].standing = Standing::Stopped;
                    Ok(())
                }
            },
            Action::Kill => self.kill(at, Standing::Killed).await,
            Action::Pause => told(self.client.pause_site(DATASET, site, true).await),
            Action::Resume => told(self.client.pause_site(DATASET, site, false).await),
            Action::Wipe => self.wipe(at).await,
            Action::Clone(source) => {
                self.check_source(&source, site)?;
                self.wipe(at).await?;
                self.sites[at].source = source;
                self.start(at);
                Ok(())
            }
            Action::Remove => self.remove(at).await,
            // It has no site, and was carried out above.
            Action::Add(_) => Ok(()),
        }
    }

    fn add(&mut self, source: &str) -> Outcome {
        self.check_source(source, "")?;
        let is_free = |name: &&str| self.sites.iter().all(|site| site.name != *name);
        let free = NAMES.into_iter().find(is_free);
        let name = free.ok_or_else(|| format!("there are {} sites already", NAMES.len()))?;
        self.sites.push(Site::new(name, source));
        self.start(self.sites.len() - 1);
        Ok(())
    }

    async fn remove(&mut self, at: usize) -> Outcome {
        let name = self.sites[at].name;
        if NAMES.iter().take(FIRST).any(|first| *first == name) {
            return Err(format!("the first {FIRST} sites stay"));
        }
        self.wipe(at).await?;
        match self.client.remove_site(DATASET, name).await {
            // It was wiped before it was registered.
            Err(ClientError::Refused(problem)) if problem.code == "unknown_site" => {}
            removed => told(removed)?,
        }
        self.sites.remove(at);
        Ok(())
    }

    async fn wipe(&mut self, at: usize) -> Outcome {
        self.kill(at, Standing::Wiped).await?;
        match std::fs::remove_dir_all(self.directory(self.sites[at].name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn kill(&mut self, at: usize, standing: Standing) -> Outcome {
        let site = &mut self.sites[at];
        (site.standing, site.reason) = (standing, None);
        if let Some(process) = site.process.take() {
            let killed = tokio::task::spawn_blocking(move || process.kill()).await;
            killed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn check_source(&self, source: &str, for_site: &str) -> Outcome {
        let is_known = source == SERVER || self.sites.iter().any(|site| site.name == source);
        if is_known && source != for_site {
            Ok(())
        } else {
            Err(format!("{source:?} cannot give it a dump"))
        }
    }
}

fn told(outcome: Result<(), ClientError>) -> Outcome {
    outcome.map_err(|error| error.to_string())
}
