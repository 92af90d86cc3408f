//! Views of the configuration and of applications together: each topic is told by one dataset, and
//! rows on it by one event for each view. A live pattern of which views leave no topic is refused.

use instep_model::name::Name;
use instep_model::view::{View, ViewError, find_alike, find_shared};

use crate::app::App;
use crate::config::{Config, ConfigError, is_shown};

/// Refuses views of applications that meet others on a topic. Those of the configuration were
/// checked among themselves before.
pub(crate) fn check(config: &Config, app: &App) -> Result<(), ConfigError> {
    let mut all: Vec<(Name, View)> = vec![];
    for dataset in config.dataset_names() {
        all.extend(config.views_of(&dataset)?.into_iter().map(|view| (dataset.clone(), view)));
    }
    all.extend(app.views.iter().cloned());
    if let Some((one, other)) = find_shared(&all) {
        let ((dataset, one), (_, other)) = (&all[one], &all[other]);
        let problem = format!(
            "view {} of dataset {dataset} shows rows on the same topics, {}, and a topic is told \
             by one dataset",
            one.name, one.topic
        );
        return Err(refusal(other, "topic", problem));
    }
    for dataset in app.views.iter().map(|(dataset, _)| dataset) {
        let of = all.iter().filter(|(of, _)| of == dataset);
        let views: Vec<View> = of.map(|(_, view)| view.clone()).collect();
        if let Some((one, other)) = find_alike(&views) {
            let (one, other) = (&views[one], &views[other]);
            let problem = format!(
                "view {} announces rows on the same topics by the same event {:?}: readers could \
                 not tell them apart",
                one.name, other.event
            );
            return Err(refusal(other, "event", problem));
        }
    }
    // Sections of the configuration were held against its own views before.
    let of_config = config.live.iter().flat_map(|live| app.views.iter().map(move |of| (live, of)));
    let of_app = app.live.iter().flat_map(|live| all.iter().map(move |of| (live, of)));
    for (live, (_, view)) in of_config.chain(of_app) {
        if is_shown(&live.topic, view) {
            let problem = format!(
                "the topics of a view are those of its dataset: no topic is left to the live \
                 pattern {:?}",
                live.topic
            );
            return Err(refusal(view, "topic", problem));
        }
    }
    Ok(())
}

fn refusal(view: &View, field: &str, problem: String) -> ConfigError {
    let (view, field) = (view.name.to_string(), field.to_owned());
    ConfigError::View(ViewError { view, field, spot: None, problem })
}

#[cfg(test)]
mod tests {
    use instep_node::LivePattern;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn config(topic: &str) -> Config {
        let text = format!(
            "[[view]]\ndataset = 'a'\nname = 'declared'\ntable = 't'\ntopic = '{topic}'\n\
             event = 'e'"
        );
        toml::from_str(&text).unwrap()
    }

    fn app(dataset: &str, topic: &str) -> App {
        let view = View::native(name("native"), name("t"), topic, "e", |_| None).unwrap();
        App::default().view(&name(dataset), view)
    }

    #[test]
    fn a_live_pattern_of_which_a_view_leaves_no_topic_is_refused_in_configurations_and_programs() {
        let of_config = |live: &str, native: &str| {
            let text = format!("[[live]]\ntopic = '{live}'");
            let checked = check(&toml::from_str(&text).unwrap(), &app("a", native));
            checked.map_err(|error| error.to_string())
        };

        for (live, native) in [("x:*", "x:{a}"), ("x:1", "x:{a}"), ("open", "open")] {
            let refused = of_config(live, native).unwrap_err();
            assert!(refused.contains(&format!("live pattern {live:?}")), "{refused}");
            let mut of_app = app("a", "y:{a}");
            of_app.live.push(LivePattern { topic: live.into(), ..LivePattern::default() });
            let refused = check(&config(native), &of_app).map_err(|error| error.to_string());
            assert!(refused.unwrap_err().contains(&format!("live pattern {live:?}")));
        }
        for (live, native) in [("x:*", "x:{a}:log"), ("x:*", "y:{a}"), ("*:x", "x")] {
            assert_eq!(of_config(live, native), Ok(()), "{live} {native}");
        }
    }

    #[test]
    fn a_topic_is_told_by_one_dataset_wherever_its_views_are_declared() {
        let check = |declared: &str, dataset: &str, native: &str| {
            check(&config(declared), &app(dataset, native)).map_err(|error| error.to_string())
        };

        assert_eq!(check("user:{u}", "b", "shop:{s}"), Ok(()));
        let refused = check("user:{u}", "b", "user:{x}").unwrap_err();
        assert!(refused.contains("native: topic: view declared of dataset a"), "{refused}");
        let alike = check("user:{u}", "a", "user:{x}").unwrap_err();
        assert!(alike.contains("by the same event"), "{alike}");
    }
}
