//! Golden recordings: incidents whose cause is known, and innocent days that must yield nothing.

mod demo;
mod idle_in_transaction;
mod innocent;
mod lock_pile_up;
mod long_statement;
mod missing_index;
mod server_down;
mod slot_exhaustion;
mod speed;
mod unknown;
mod world;
