//! The testkit's own tests.

mod fault;
mod postgres;
