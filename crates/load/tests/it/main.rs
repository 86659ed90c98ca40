//! The generator against real sockets: an HTTP server that does as it is told, and PostgreSQL.

mod http;
mod server;
mod sql;
