//! `surgetank maintenance`, `maintenance:on`, `maintenance:off`: whether the app is in maintenance
//! mode, in which the router answers every request itself (H80).

use crate::exit::Exit;
use crate::out;

use super::up::control;

pub(crate) fn show() -> anyhow::Result<Exit> {
    let on = control(async |client| Ok(client.maintenance().await?))?;
    out::data(if on { "on" } else { "off" })
}

pub(crate) fn set(on: bool) -> anyhow::Result<Exit> {
    control(async |client| Ok(client.set_maintenance(on).await?))?;
    let doing = if on { "Enabling" } else { "Disabling" };
    out::talk(&format!("{doing} maintenance mode... done"));
    Ok(Exit::Good)
}
