//! The proxy in front of a real PostgreSQL.

mod access;
mod admin;
mod allies;
mod block;
mod both;
mod certificates;
mod copy;
mod databases;
mod diff;
mod faults;
mod harness;
mod interplay;
mod limit;
mod moves;
mod notify;
mod programs;
mod raw;
mod restart;
mod session;
mod share;
mod slow;
mod state;
mod statements;
mod tls;
mod unix;
mod vanish;
