-- Three years of business, the same on every machine: all values come from the row's own number,
-- scattered by a multiplication modulo 2^32 (Knuth, TAOCP 3, 6.4). Keys and foreign keys come last,
-- because to build them once is faster than to keep them up half a million times.
INSERT INTO customers (id, email, name, region)
SELECT c, format('customer%s@example.com', c), format('Customer %s', c),
       (ARRAY['Africa', 'Asia', 'Europe', 'North America', 'Oceania', 'South America'])
           [1 + ((c::bigint * 2654435761 % 4294967296) >> 9) % 6]
FROM generate_series(1, 20000) AS c;

INSERT INTO products (id, name, price_cents, stock)
SELECT p, format('Product %s', p), 199 + ((p::bigint * 2654435761 % 4294967296) >> 7) % 9800, 1000
FROM generate_series(1, 2000) AS p;

INSERT INTO orders (id, customer_id, placed_at, status)
SELECT o,
       1 + ((o * 2654435761 % 4294967296) >> 8) % 20000,
       timestamptz '2022-01-01 00:00:00+00' + o * interval '189 seconds',
       'delivered'
FROM generate_series(1::bigint, 500000) AS o;

-- Every order has a line, every second one another, from the other half of the catalogue.
INSERT INTO order_lines (order_id, product_id, quantity, price_cents)
SELECT o.id, p.id, 1 + o.id % 3, p.price_cents
FROM orders AS o
JOIN products AS p ON p.id = 1 + ((o.id * 2654435761 % 4294967296) >> 7) % 1000;

INSERT INTO order_lines (order_id, product_id, quantity, price_cents)
SELECT o.id, p.id, 1, p.price_cents
FROM generate_series(1::bigint, 500000, 2) AS o (id)
JOIN products AS p ON p.id = 1001 + ((o.id * 2654435761 % 4294967296) >> 8) % 1000;

SELECT setval(pg_get_serial_sequence('orders', 'id'), 500000);

ALTER TABLE orders ADD PRIMARY KEY (id);
ALTER TABLE order_lines ADD PRIMARY KEY (order_id, product_id);
ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers (id);
ALTER TABLE order_lines ADD FOREIGN KEY (order_id) REFERENCES orders (id);
ALTER TABLE order_lines ADD FOREIGN KEY (product_id) REFERENCES products (id);
