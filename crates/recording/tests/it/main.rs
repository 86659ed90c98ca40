//! The recorder on a real file system: order, loss, retention, errors of the disk, `kill -9`.

mod kill;
mod record;
mod wait;
