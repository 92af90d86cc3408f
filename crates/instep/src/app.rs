//! Parts that an application adds to a server: tables, views, routes, rules for channels.

use std::sync::Arc;

use axum::Router;
use instep_edge::rules::Channel;
use instep_model::commit::TableOptions;
use instep_model::mail::{Kind, Mapping};
use instep_model::name::Name;
use instep_model::view::View;
use instep_node::{LivePattern, Node};

/// Parts that an application adds to a server. Several can be merged.
#[derive(Clone, Default)]
pub struct App {
    pub(crate) tables: Vec<(Name, Name, TableOptions)>,
    pub(crate) views: Vec<(Name, View)>,
    pub(crate) live: Vec<LivePattern>,
    pub(crate) mappings: Vec<(Name, Kind)>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) routes: Vec<Arc<dyn Fn(Node) -> Router + Send + Sync>>,
    pub(crate) started: Vec<Arc<dyn Fn(Node) + Send + Sync>>,
}

impl App {
    /// Sees to it that a table exists.
    #[must_use]
    pub fn table(mut self, dataset: &Name, table: &Name, options: TableOptions) -> Self {
        self.tables.push((dataset.clone(), table.clone(), options));
        self
    }

    /// Adds a view to a dataset.
    #[must_use]
    pub fn view(mut self, dataset: &Name, view: View) -> Self {
        self.views.push((dataset.clone(), view));
        self
    }

    /// Adds live topics; the first pattern that matches a topic decides, those of the
    /// configuration before these.
    #[must_use]
    pub fn live(mut self, pattern: LivePattern) -> Self {
        self.live.push(pattern);
        self
    }

    /// Maps the endpoints of a kind to servers by a function, in the mail of a dataset. Only the
    /// owner asks it, once for each message; what it says is stored.
    #[must_use]
    pub fn mapping(
        mut self,
        dataset: &Name,
        (kind, number): (&Name, u16),
        map: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let mapping = Mapping::Function(Arc::new(map));
        self.mappings.push((dataset.clone(), Kind { name: kind.clone(), number, mapping }));
        self
    }

    /// Adds rules for the channels of a topic pattern.
    #[must_use]
    pub fn channel(mut self, channel: Channel) -> Self {
        self.channels.push(channel);
        self
    }

    /// Adds routes to the HTTP server. They are asked only once everything is in memory.
    #[must_use]
    pub fn routes(mut self, routes: impl Fn(Node) -> Router + Send + Sync + 'static) -> Self {
        self.routes.push(Arc::new(routes));
        self
    }

    /// Runs once everything is in memory, on the server's runtime: the place to spawn tasks.
    #[must_use]
    pub fn started(mut self, run: impl Fn(Node) + Send + Sync + 'static) -> Self {
        self.started.push(Arc::new(run));
        self
    }

    /// Adds everything of another application.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.tables.extend(other.tables);
        self.views.extend(other.views);
        self.live.extend(other.live);
        self.mappings.extend(other.mappings);
        self.channels.extend(other.channels);
        self.routes.extend(other.routes);
        self.started.extend(other.started);
        self
    }
}
