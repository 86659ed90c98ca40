//! The process's connection pool.

use std::time::Duration;

use deadpool_postgres::{
    BuildError, Client, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime,
};
use tokio_postgres::NoTls;

use crate::error::ShopError;

/// How long a request waits for a connection before it gives up.
const WAIT: Duration = Duration::from_secs(5);

/// A pool that opens a connection when a request finds none idle, up to its size, and keeps it for
/// as long as the process lives. A connection that the server refuses is that request's error: the
/// pool does not wait for one of its own to come back instead.
#[derive(Clone)]
pub(crate) struct Database {
    pool: Pool,
}

impl Database {
    /// A pool of at most `size` connections, none of them open yet.
    pub(crate) fn new(config: tokio_postgres::Config, size: usize) -> Result<Self, BuildError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(size)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self { pool })
    }

    /// A connection, given back when dropped.
    pub(crate) async fn client(&self) -> Result<Client, ShopError> {
        Ok(self.pool.get().await?)
    }

    /// Closes idle connections now and the others when they are given back.
    pub(crate) fn close(&self) {
        self.pool.close();
    }
}
