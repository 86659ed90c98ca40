//! What can go wrong for a customer, and what she and the log are told.

use std::error::Error as _;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use deadpool_postgres::{PoolError, TimeoutType};
use serde_json::json;

use crate::log::{self, Level};

/// A request that could not be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShopError {
    /// The pool is empty and may not open more.
    #[error("timed out waiting for a connection from the pool")]
    PoolEmpty,
    /// The pool wanted to open a connection, and PostgreSQL or the network did not let it.
    #[error("error creating connection")]
    Connect(#[source] tokio_postgres::Error),
    /// Opening a connection took too long.
    #[error("timed out creating a connection")]
    ConnectTimeout,
    /// The process is stopping.
    #[error("connection pool is closed")]
    Closed,
    /// A statement failed.
    #[error("error {doing}")]
    Statement {
        /// What the shop wanted, in its own words.
        doing: &'static str,
        /// What PostgreSQL or the driver said.
        source: tokio_postgres::Error,
    },
    /// Fewer on the shelf than asked for.
    #[error("product {0} is out of stock")]
    OutOfStock(i32),
    /// There is no such thing in the shop.
    #[error("no {what} {id}")]
    NotFound {
        /// `customer`, `product`.
        what: &'static str,
        /// Its number.
        id: i32,
    },
}

impl ShopError {
    /// Wraps the driver's error with what the shop was doing.
    pub(crate) fn doing(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Statement { doing, source }
    }

    /// The error and all its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut told = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            told.push_str(": ");
            told.push_str(&error.to_string());
            cause = error.source();
        }
        told
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::PoolEmpty | Self::ConnectTimeout | Self::Closed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Connect(_) | Self::Statement { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::OutOfStock(_) => StatusCode::CONFLICT,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
        }
    }
}

impl From<PoolError> for ShopError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Self::PoolEmpty,
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => Self::ConnectTimeout,
            PoolError::Backend(source) => Self::Connect(source),
            // The builder was given a runtime and no hooks, so only a closed pool is left.
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::Closed
            }
        }
    }
}

impl IntoResponse for ShopError {
    /// A customer sees only her own mistakes; ours go to the log.
    fn into_response(self) -> Response {
        let status = self.status();
        let told = if status.is_server_error() {
            log::write(Level::Error, &[("status", &status.as_u16()), ("error", &self.chain())]);
            "something went wrong, please try again".to_owned()
        } else {
            self.to_string()
        };
        (status, Json(json!({ "error": told }))).into_response()
    }
}
