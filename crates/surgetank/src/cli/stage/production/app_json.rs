//! Heroku's `app.json` (Dev Center, "app.json schema"): formation, env, addons.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ConfigVar, Dynos, Production, connections_of_plan};

/// What of it says how production is; everything else is for those who deploy.
#[derive(Debug, Deserialize)]
struct AppJson {
    #[serde(default)]
    formation: BTreeMap<String, Formation>,
    #[serde(default)]
    env: BTreeMap<String, Env>,
    #[serde(default)]
    addons: Vec<Addon>,
    #[serde(default)]
    scripts: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Formation {
    #[serde(default)]
    quantity: Option<u32>,
    #[serde(default)]
    size: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Env {
    Value(String),
    Described {
        #[serde(default)]
        value: Option<String>,
        #[serde(default)]
        required: Option<bool>,
        #[serde(default)]
        generator: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Addon {
    Plan(String),
    Described { plan: String },
}

impl Addon {
    fn plan(&self) -> &str {
        match self {
            Self::Plan(plan) | Self::Described { plan } => plan,
        }
    }
}

pub(super) fn read(text: &str) -> anyhow::Result<Production> {
    let app: AppJson = serde_json::from_str(text)?;
    let mut production = Production::default();
    for (name, Formation { quantity, size }) in app.formation {
        // A type that is named runs one dyno, as on Heroku.
        production.formation.insert(name, Dynos { quantity: quantity.unwrap_or(1), size });
    }
    for addon in &app.addons {
        let plan = addon.plan();
        if plan.split(':').next() != Some("heroku-postgresql") {
            production.notes.push(format!("add-on `{plan}` is not here"));
            continue;
        }
        production.plan = Some(plan.to_owned());
        match connections_of_plan(plan) {
            Some(limit) => {
                production.settings.insert("max_connections".to_owned(), limit.to_string());
            }
            None => production.notes.push(format!("the connection limit of `{plan}` is not known")),
        }
    }
    production.config = app.env.into_iter().map(config_var).collect();
    for script in app.scripts.keys() {
        production.notes.push(format!("script `{script}` is not run"));
    }
    Ok(production)
}

fn config_var((name, env): (String, Env)) -> ConfigVar {
    match env {
        Env::Value(value) => ConfigVar { name, value: Some(value), required: true },
        Env::Described { value, required, generator } => {
            let required = required.unwrap_or(true);
            let value = match generator.as_deref() {
                // Heroku makes one up; for staging any will do, and the same one each time is best.
                Some("secret") => Some(format!("staging-secret-of-{}", name.to_lowercase())),
                _ => value,
            };
            ConfigVar { name, value, required }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_json_says_formation_plan_and_config() {
        let text = r#"{
            "name": "shop",
            "formation": {"web": {"quantity": 3, "size": "standard-1x"}, "worker": {}},
            "addons": ["heroku-redis:mini", {"plan": "heroku-postgresql:standard-0", "as": "DB"}],
            "env": {
                "RAILS_ENV": "production",
                "SECRET": {"generator": "secret"},
                "STRIPE_KEY": {"description": "from the dashboard"},
                "SENTRY_DSN": {"required": false}
            },
            "scripts": {"postdeploy": "rake db:seed"},
            "buildpacks": [{"url": "heroku/ruby"}]
        }"#;
        let read = read(text).unwrap();
        let size = Some("standard-1x".to_owned());
        assert_eq!(read.formation["web"], Dynos { quantity: 3, size });
        assert_eq!(read.formation["worker"].quantity, 1);
        assert_eq!(read.settings["max_connections"], "120");
        assert_eq!(
            read.notes,
            ["add-on `heroku-redis:mini` is not here", "script `postdeploy` is not run"]
        );
        let config: Vec<_> = read
            .config
            .iter()
            .map(|var| (var.name.as_str(), var.value.as_deref(), var.required))
            .collect();
        assert_eq!(
            config,
            [
                ("RAILS_ENV", Some("production"), true),
                ("SECRET", Some("staging-secret-of-secret"), true),
                ("SENTRY_DSN", None, false),
                ("STRIPE_KEY", None, true),
            ]
        );
        assert!(super::read("{\"formation\": 7}").is_err());
    }
}
