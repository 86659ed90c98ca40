//! The `web` process: HTTP in front of the shop.

use anyhow::Context;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::database::Database;
use crate::error::ShopError;
use crate::log::{self, Level};
use crate::shop::{self, Product, Receipt, Seller};

/// Serves until `stop`, then finishes the requests in flight, for [`GRACE`](crate::GRACE) at most.
pub(crate) async fn serve(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let database = Database::new(config.database, config.pool_size)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listening on {}", config.listen))?;
    serve_on(listener, database, stop).await
}

/// As [`serve`], on a listener that is there.
pub(crate) async fn serve_on(
    listener: TcpListener,
    database: Database,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    log::write(Level::Info, &[("msg", &"listening"), ("address", &address)]);
    let server = axum::serve(listener, routes(database.clone()))
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        ended = server.into_future() => ended?,
        () = too_late(&stop) => {
            log::write(Level::Error, &[("msg", &"stopped before all requests were answered")]);
        }
    }
    database.close();
    log::write(Level::Info, &[("msg", &"stopped")]);
    Ok(())
}

async fn too_late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(crate::GRACE).await;
}

fn routes(database: Database) -> Router {
    Router::new()
        .route("/checkout", get(checkout).post(checkout))
        .route("/popular", get(popular))
        .route("/product/{id}", get(product))
        .route("/health", get(|| async { "ok\n" }))
        .with_state(database)
}

#[derive(Deserialize)]
struct Checkout {
    customer: Option<i32>,
}

/// Holds one connection from the first statement to the last, as handlers with a pool do.
async fn checkout(
    State(database): State<Database>,
    Query(asked): Query<Checkout>,
) -> Result<Json<Receipt>, ShopError> {
    let customer = asked.customer.unwrap_or_else(shop::any_customer);
    let basket = shop::any_basket();
    let mut client = database.client().await?;
    Ok(Json(shop::checkout(&mut client, customer, &basket).await?))
}

async fn popular(State(database): State<Database>) -> Result<Json<Vec<Seller>>, ShopError> {
    let client = database.client().await?;
    Ok(Json(shop::popular(&client).await?))
}

async fn product(
    State(database): State<Database>,
    Path(id): Path<i32>,
) -> Result<Json<Product>, ShopError> {
    let client = database.client().await?;
    Ok(Json(shop::product(&client, id).await?))
}
