//! The proxy in front of a real PostgreSQL.

mod admin;
mod both;
mod copy;
mod databases;
mod diff;
mod faults;
mod harness;
mod limit;
mod programs;
mod raw;
mod session;
mod statements;
