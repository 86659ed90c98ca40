//! The platform with real processes. One binary, because linking is what costs.

mod api;
mod app;
mod containers;
mod control;
mod drains;
mod dynos;
mod limits;
mod one_offs;
mod refusals;
mod releases;
mod router;
mod stage;
mod tunnel;
