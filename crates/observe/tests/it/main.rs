//! The observer against a real PostgreSQL.

mod activity;
mod collect;
mod plans;
mod session;
mod totals;
