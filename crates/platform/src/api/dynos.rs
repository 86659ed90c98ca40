//! Dynos, the formation, and one-off dynos.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;

use super::answer::{Answered, Fault, accepted, created, number, ok, read};
use super::{Shared, resources};
use crate::control::Controlled;
use crate::dyno::{DynoInfo, Size};
use crate::name::DynoName;
use crate::one_off::{OneOff, WindowSize};

pub(super) fn list(shared: &Shared) -> Answered {
    let dynos = shared.staging.ps();
    ok(&dynos.iter().map(|dyno| resources::dyno(shared, dyno)).collect::<Vec<_>>())
}

fn find(shared: &Shared, name: &str) -> Answered<DynoInfo> {
    let found = shared.staging.ps().into_iter().find(|dyno| dyno.name.to_string() == name);
    found.ok_or_else(|| Fault::not_found("process"))
}

pub(super) fn show(shared: &Shared, name: &str) -> Answered {
    ok(&resources::dyno(shared, &find(shared, name)?))
}

/// A dyno, a type, or with an empty target all. As on Heroku it is only asked for here; a one-off
/// dyno, which would not come back, is ended.
pub(super) fn restart(shared: &Arc<Shared>, target: &str) -> Answered {
    let fits = |dyno: &DynoInfo| {
        let (name, process_type) = (dyno.name.to_string(), dyno.name.process_type());
        target.is_empty() || process_type == target || name == target
    };
    let named: Vec<DynoInfo> = shared.staging.ps().into_iter().filter(fits).collect();
    if named.is_empty() && !target.is_empty() {
        return Err(Fault::not_found("process"));
    }
    let one_offs = &shared.staging.platform.one_offs;
    if let [only] = named.as_slice()
        && one_offs.has(&only.name)
        && !target.is_empty()
    {
        one_offs.stop(&only.name)?;
        return accepted();
    }
    for dyno in named.into_iter().filter(|dyno| !one_offs.has(&dyno.name)) {
        let dynos = Arc::clone(&shared.staging.platform.dynos);
        shared.tasks.spawn(async move {
            // One that has gone meanwhile needs no restart.
            let _gone = dynos.restart(&dyno.name).await;
        });
    }
    accepted()
}

pub(super) async fn stop(shared: &Arc<Shared>, name: &str) -> Answered {
    let name = find(shared, name)?.name;
    let platform = &shared.staging.platform;
    if platform.one_offs.has(&name) {
        platform.one_offs.stop(&name)?;
    } else {
        platform.dynos.stop(&name).await?;
    }
    accepted()
}

pub(super) async fn formation(shared: &Shared) -> Answered {
    let dynos = &shared.staging.platform.dynos;
    let (formation, deployed) = (dynos.formation().await, dynos.deployed());
    let of = |process_type: &str| {
        let command = deployed.procfile.command(process_type).unwrap_or_default();
        let many = (formation.quantity(process_type), formation.size(process_type));
        resources::formation(shared, process_type, many, command)
    };
    ok(&formation.types().map(of).collect::<Vec<_>>())
}

#[derive(Deserialize)]
struct ScaleOrder {
    updates: Vec<Update>,
}

#[derive(Deserialize)]
struct Update {
    r#type: String,
    #[serde(default)]
    quantity: Value,
    size: Option<String>,
}

impl Update {
    /// As `ps:scale` writes it: `web=3`, `web+1`, `web=3:Standard-2X`.
    fn change(&self) -> Answered<String> {
        let Self { r#type: process_type, quantity, size } = self;
        let relative = quantity.as_str().filter(|text| text.starts_with(['+', '-']));
        let amount = match (relative, number(quantity)) {
            (Some(relative), _) => relative.to_owned(),
            (None, Some(number)) => format!("={number}"),
            (None, None) => return Err(Fault::invalid("Invalid quantity.")),
        };
        let size = size.as_ref().map_or(String::new(), |size| format!(":{size}"));
        Ok(format!("{process_type}{amount}{size}"))
    }
}

pub(super) async fn scale(shared: &Arc<Shared>, body: Incoming) -> Answered {
    let order: ScaleOrder = read(body).await?;
    let changes: Vec<String> =
        order.updates.iter().map(Update::change).collect::<Result<_, _>>()?;
    // A change that contains what separates changes would be another one.
    let plain = |change: &String| !change.contains([',', ' ']);
    if !changes.iter().all(plain) {
        return Err(Fault::invalid("Invalid process type."));
    }
    shared.staging.scale(changes.join(",")).await?;
    formation(shared).await
}

#[derive(Deserialize)]
struct RunOrder {
    command: String,
    #[serde(default)]
    attach: Option<bool>,
    #[serde(default)]
    env: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    force_no_tty: Option<bool>,
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    size: Option<String>,
}

impl RunOrder {
    fn one_off(&self) -> OneOff {
        let env = self.env.iter().flatten();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let variable = |(name, value): (&String, &Value)| {
            // A client without a terminal says that it has no size.
            (!value.is_null()).then(|| (name.clone(), text(value)))
        };
        let size = |name: &str| {
            let value = self.env.as_ref()?.get(name).and_then(number)?;
            u16::try_from(value).ok().filter(|size| *size > 0)
        };
        let terminal = WindowSize {
            columns: size("COLUMNS").unwrap_or(80),
            lines: size("LINES").unwrap_or(24),
        };
        OneOff {
            command: self.command.clone(),
            env: env.filter_map(variable).collect(),
            terminal: (self.force_no_tty != Some(true)).then_some(terminal),
        }
    }
}

pub(super) async fn run(shared: &Arc<Shared>, body: Incoming) -> Answered {
    let order: RunOrder = read(body).await?;
    if order.r#type.as_deref().is_some_and(|process_type| process_type != "run") {
        return Err(Fault::invalid("One-off dynos are of the type `run` here."));
    }
    let usual = |size: &String| size.parse() == Ok(Size::default());
    if !order.size.as_ref().is_none_or(usual) {
        let message = format!("One-off dynos are {} here.", Size::default());
        return Err(Fault::invalid(message));
    }
    let (one_offs, one_off) = (&shared.staging.platform.one_offs, order.one_off());
    if order.attach != Some(true) {
        let name = one_offs.detached(&one_off)?;
        return created(&started(shared, &name, &one_off, None));
    }
    let awaiting = one_offs.attached(&one_off)?;
    let name = awaiting.name.clone();
    let url = shared.rendezvous.expect(awaiting, one_off.terminal.is_some())?;
    created(&started(shared, &name, &one_off, Some(&url)))
}

fn started(shared: &Shared, name: &DynoName, order: &OneOff, attach_url: Option<&str>) -> Value {
    let info = shared.staging.ps().into_iter().find(|dyno| dyno.name == *name);
    // It may have ended already; then it looks as it did when it began.
    let info = info.unwrap_or_else(|| DynoInfo::starting(name.clone(), &order.command));
    let mut dyno = resources::dyno(shared, &info);
    dyno["attach_url"] = attach_url.into();
    dyno
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_read_as_clients_write_them() {
        let change = |json: &str| serde_json::from_str::<Update>(json).unwrap().change().ok();
        assert_eq!(change(r#"{"type":"web","quantity":"3"}"#).as_deref(), Some("web=3"));
        assert_eq!(change(r#"{"type":"web","quantity":3}"#).as_deref(), Some("web=3"));
        assert_eq!(change(r#"{"type":"web","quantity":"+1"}"#).as_deref(), Some("web+1"));
        let sized = r#"{"type":"web","quantity":"2","size":"Standard-2X"}"#;
        assert_eq!(change(sized).as_deref(), Some("web=2:Standard-2X"));
        assert_eq!(change(r#"{"type":"web","quantity":"many"}"#), None);
        assert_eq!(change(r#"{"type":"web"}"#), None);
    }

    #[test]
    fn a_run_has_the_terminal_of_its_client() {
        let order = |json: &str| serde_json::from_str::<RunOrder>(json).unwrap().one_off();
        let run =
            order(r#"{"command":"ls","env":{"TERM":"xterm","COLUMNS":120,"LINES":"40","X":null}}"#);
        assert_eq!(run.terminal, Some(WindowSize { columns: 120, lines: 40 }));
        let names: Vec<&str> = run.env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["COLUMNS", "LINES", "TERM"]);
        assert_eq!(order(r#"{"command":"ls","force_no_tty":true}"#).terminal, None);
    }
}
