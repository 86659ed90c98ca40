//! Another configuration for a running proxy: whole or not at all.

use super::{Control, Refused};
use crate::roster::Ended;
use crate::{Config, Database, Mode};

impl Control {
    /// Takes over another configuration: limits, timeouts, databases, who may come in. Says what
    /// changed, a line each. A database whose server changes gets new server connections as the
    /// present transactions end; the sessions of one that is gone are ended.
    ///
    /// # Errors
    /// [`Refused::Config`] if it makes no sense, or changes what cannot change at run time; then
    /// nothing has changed.
    pub async fn reload(&self, config: Config) -> Result<Vec<String>, Refused> {
        let checked = self.shared.check_config(&config);
        checked.map_err(|error| Refused::Config(error.to_string()))?;
        let old = self.config();
        fixed("workers", &old.workers, &config.workers)?;
        fixed("mode", mode(old.mode), mode(config.mode))?;
        let told = changes(&old, &config);
        let databases = &self.shared.databases;
        let (mut entries, mut gone) = (Vec::new(), databases.entries());
        let mut kept = Vec::new();
        for database in &config.databases {
            match gone.iter().position(|entry| *entry.label == *database.label()) {
                Some(index) => {
                    let entry = gone.swap_remove(index);
                    kept.push((entry.clone(), database));
                    entries.push(entry);
                }
                None => entries.push(databases.entry(&config, database)),
            }
        }
        *self.shared.config.write() = config.clone();
        self.shared.doorman.set_access(config.access.clone());
        databases.replace(entries);
        for (entry, database) in kept {
            entry.reconfigure(&config, database).await;
        }
        for entry in gone {
            for card in self.shared.journal.roster.of_entry(&entry.label) {
                card.end(Ended::Removed);
            }
            if let Some(house) = &entry.house {
                house.gate.pause().await;
            }
        }
        Ok(told)
    }

    /// Changes one setting, by `PgBouncer`'s name or ours.
    ///
    /// # Errors
    /// [`Refused::Config`].
    pub(crate) async fn set(&self, key: &str, value: &str) -> Result<(), Refused> {
        let mut config = self.config();
        config.set(key, value).map_err(Refused::Config)?;
        self.reload(config).await.map(drop)
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Regulate => "regulate",
    }
}

fn fixed<T: PartialEq + std::fmt::Display + ?Sized>(
    key: &str,
    old: &T,
    new: &T,
) -> Result<(), Refused> {
    if old == new {
        return Ok(());
    }
    let text = format!("{key} cannot be changed while running ({old} to {new}): restart instead");
    Err(Refused::Config(text))
}

/// What differs, for the log.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut told = Vec::new();
    for (before, after) in old.settings().into_iter().zip(new.settings()) {
        if before.value != after.value {
            told.push(format!("{}: {} to {}", after.key, before.value, after.value));
        }
    }
    let find = |config: &Config, label: &str| -> Option<Database> {
        config.databases.iter().find(|database| database.label() == label).cloned()
    };
    for database in &new.databases {
        let label = database.label();
        match find(old, label) {
            None => told.push(format!("database {label}: new")),
            Some(before) if before != *database => told.push(format!("database {label}: changed")),
            Some(_) => {}
        }
    }
    for database in &old.databases {
        if find(new, database.label()).is_none() {
            told.push(format!("database {}: gone", database.label()));
        }
    }
    told
}
