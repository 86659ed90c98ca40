//! The platform with real processes. One binary, because linking is what costs.

mod app;
mod containers;
mod control;
mod dynos;
mod router;
mod stage;
