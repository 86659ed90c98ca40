//! The shop's dealings with its tables.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use deadpool_postgres::{Client, Transaction};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::error::ShopError;

/// Customers in the seed data, numbered from 1.
const CUSTOMERS: i32 = 20_000;
/// Products in the seed data, numbered from 1.
const PRODUCTS: i32 = 2_000;

/// What a customer wants: how many of which product, in the order of their numbers.
///
/// Every checkout takes its row locks in that order, so two of them can wait for each other's
/// products but never in a circle.
pub(crate) type Basket = BTreeMap<i32, i32>;

/// A placed order.
#[derive(Debug, Serialize)]
pub(crate) struct Receipt {
    order: i64,
    customer: String,
    total_cents: i32,
    recent_orders: Vec<i64>,
}

/// A product and how many of it were sold lately.
#[derive(Debug, Serialize)]
pub(crate) struct Seller {
    id: i32,
    name: String,
    price_cents: i32,
    sold: i64,
}

/// One product.
#[derive(Debug, Serialize)]
pub(crate) struct Product {
    id: i32,
    name: String,
    price_cents: i32,
    stock: i32,
}

/// Somebody who happens to come by.
pub(crate) fn any_customer() -> i32 {
    chance().random_range(1..=CUSTOMERS)
}

/// Two or three products, the front of the catalogue more often than its end.
pub(crate) fn any_basket() -> Basket {
    let mut chance = chance();
    let size = chance.random_range(2..=3);
    let mut basket = Basket::new();
    while basket.len() < size {
        let product = chance.random_range(1..=PRODUCTS).min(chance.random_range(1..=PRODUCTS));
        basket.insert(product, chance.random_range(1..=2));
    }
    basket
}

/// A generator with a seed of the operating system's.
fn chance() -> SmallRng {
    SmallRng::seed_from_u64(RandomState::new().hash_one(0))
}

/// Shows the customer her recent orders, takes the goods from the shelf and books the order.
pub(crate) async fn checkout(
    client: &mut Client,
    customer: i32,
    basket: &Basket,
) -> Result<Receipt, ShopError> {
    let name = customer_name(client, customer).await?;
    let recent_orders = recent_orders(client, customer).await?;
    let transaction =
        client.transaction().await.map_err(ShopError::doing("beginning the checkout"))?;
    let prices = take_stock(&transaction, basket).await?;
    let order = insert_order(&transaction, customer, basket, &prices).await?;
    transaction.commit().await.map_err(ShopError::doing("committing the checkout"))?;
    let total_cents = basket.values().zip(&prices).map(|(quantity, price)| quantity * price).sum();
    Ok(Receipt { order, customer: name, total_cents, recent_orders })
}

async fn customer_name(client: &Client, customer: i32) -> Result<String, ShopError> {
    let doing = "loading the customer";
    let statement = client
        .prepare_cached("SELECT name FROM customers WHERE id = $1")
        .await
        .map_err(ShopError::doing(doing))?;
    let row = client.query_opt(&statement, &[&customer]).await.map_err(ShopError::doing(doing))?;
    match row {
        Some(row) => row.try_get(0).map_err(ShopError::doing(doing)),
        None => Err(ShopError::NotFound { what: "customer", id: customer }),
    }
}

async fn recent_orders(client: &Client, customer: i32) -> Result<Vec<i64>, ShopError> {
    let doing = "loading recent orders";
    let statement = client
        .prepare_cached(
            "SELECT id, placed_at, status FROM orders WHERE customer_id = $1 \
             ORDER BY placed_at DESC LIMIT 10",
        )
        .await
        .map_err(ShopError::doing(doing))?;
    let rows = client.query(&statement, &[&customer]).await.map_err(ShopError::doing(doing))?;
    rows.iter().map(|row| row.try_get(0).map_err(ShopError::doing(doing))).collect()
}

/// Takes the basket from the shelves and returns the price of each product, in the basket's order.
async fn take_stock(transaction: &Transaction<'_>, basket: &Basket) -> Result<Vec<i32>, ShopError> {
    let doing = "reserving stock";
    let statement = transaction
        .prepare_cached(
            "UPDATE products SET stock = stock - $2 WHERE id = $1 AND stock >= $2 \
             RETURNING price_cents",
        )
        .await
        .map_err(ShopError::doing(doing))?;
    let mut prices = Vec::with_capacity(basket.len());
    for (product, quantity) in basket {
        let row = transaction
            .query_opt(&statement, &[product, quantity])
            .await
            .map_err(ShopError::doing(doing))?
            .ok_or(ShopError::OutOfStock(*product))?;
        prices.push(row.try_get(0).map_err(ShopError::doing(doing))?);
    }
    Ok(prices)
}

async fn insert_order(
    transaction: &Transaction<'_>,
    customer: i32,
    basket: &Basket,
    prices: &[i32],
) -> Result<i64, ShopError> {
    let doing = "booking the order";
    let order = transaction
        .prepare_cached("INSERT INTO orders (customer_id) VALUES ($1) RETURNING id")
        .await
        .map_err(ShopError::doing(doing))?;
    let line = transaction
        .prepare_cached(
            "INSERT INTO order_lines (order_id, product_id, quantity, price_cents) \
             VALUES ($1, $2, $3, $4)",
        )
        .await
        .map_err(ShopError::doing(doing))?;
    let row = transaction.query_one(&order, &[&customer]).await.map_err(ShopError::doing(doing))?;
    let id: i64 = row.try_get(0).map_err(ShopError::doing(doing))?;
    for ((product, quantity), price) in basket.iter().zip(prices) {
        transaction
            .execute(&line, &[&id, product, quantity, price])
            .await
            .map_err(ShopError::doing(doing))?;
    }
    Ok(id)
}

/// The ten products that the last 1 000 orders bought most.
pub(crate) async fn popular(client: &Client) -> Result<Vec<Seller>, ShopError> {
    let doing = "loading popular products";
    let statement = client
        .prepare_cached(
            "SELECT p.id, p.name, p.price_cents, sum(l.quantity) AS sold \
             FROM (SELECT id FROM orders ORDER BY id DESC LIMIT 1000) AS recent \
             JOIN order_lines AS l ON l.order_id = recent.id \
             JOIN products AS p ON p.id = l.product_id \
             GROUP BY p.id ORDER BY sold DESC, p.id LIMIT 10",
        )
        .await
        .map_err(ShopError::doing(doing))?;
    let rows = client.query(&statement, &[]).await.map_err(ShopError::doing(doing))?;
    let seller = |row: &tokio_postgres::Row| {
        Ok(Seller {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            price_cents: row.try_get(2)?,
            sold: row.try_get(3)?,
        })
    };
    rows.iter().map(|row| seller(row).map_err(ShopError::doing(doing))).collect()
}

/// One product by its number.
pub(crate) async fn product(client: &Client, id: i32) -> Result<Product, ShopError> {
    let doing = "loading the product";
    let statement = client
        .prepare_cached("SELECT name, price_cents, stock FROM products WHERE id = $1")
        .await
        .map_err(ShopError::doing(doing))?;
    let row = client.query_opt(&statement, &[&id]).await.map_err(ShopError::doing(doing))?;
    let row = row.ok_or(ShopError::NotFound { what: "product", id })?;
    let read = || {
        Ok(Product {
            id,
            name: row.try_get(0)?,
            price_cents: row.try_get(1)?,
            stock: row.try_get(2)?,
        })
    };
    read().map_err(ShopError::doing(doing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basket_holds_two_or_three_products_of_the_catalogue() {
        for _ in 0..1_000 {
            let basket = any_basket();
            assert!((2..=3).contains(&basket.len()), "{basket:?}");
            assert!(basket.keys().all(|id| (1..=PRODUCTS).contains(id)), "{basket:?}");
            assert!((1..=CUSTOMERS).contains(&any_customer()));
        }
    }

    #[test]
    fn customers_differ() {
        let seen: std::collections::BTreeSet<i32> = (0..100).map(|_| any_customer()).collect();
        assert!(seen.len() > 50, "{} different customers in 100", seen.len());
    }
}
