#!/usr/bin/env bash
# pg_dump | psql, there and back: both dumps are the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
here=$DATABASE_URL
copy="${here%/*}/$(basename "$here")_copy"
# Newer releases fence a dump with a random word.
dump() { pg_dump "$@" | grep -v '^\\\(un\)\?restrict '; }

psql "$here" -Xq -v ON_ERROR_STOP=1 <<'SQL'
CREATE SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('sad', 'glad');
CREATE TABLE shop.customer (
    id serial PRIMARY KEY, name text NOT NULL, mood shop.mood, at timestamptz);
CREATE TABLE shop.sale (customer int REFERENCES shop.customer, amount numeric CHECK (amount > 0));
CREATE INDEX ON shop.sale (customer);
CREATE VIEW shop.total AS SELECT customer, sum(amount) FROM shop.sale GROUP BY 1;
CREATE FUNCTION shop.twice(n int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
INSERT INTO shop.customer (name, mood, at)
    SELECT 'name' || n || E'\twith\nlines', 'glad', '2026-01-01'::timestamptz + n * '1 s'::interval
    FROM generate_series(1, 5000) n;
INSERT INTO shop.sale SELECT n, n + 0.5 FROM generate_series(1, 5000) n;
COMMENT ON TABLE shop.sale IS 'what was sold';
SQL
echo "ok a script of DDL"

dump "$here" >"$folder/first.sql"
[ "$(grep -c '^COPY ' "$folder/first.sql")" = 2 ]
echo "ok pg_dump"

psql "$here" -Xq -c "CREATE DATABASE \"$(basename "$copy")\""
psql "$copy" -Xq -v ON_ERROR_STOP=1 --single-transaction <"$folder/first.sql" >/dev/null
dump "$copy" >"$folder/second.sql"
diff "$folder/first.sql" "$folder/second.sql"
echo "ok psql restores the same"

[ "$(dump --inserts --rows-per-insert 100 "$copy" | grep -c '^INSERT')" = 100 ]
pg_dump -Fc "$here" >"$folder/dump"
[ "$(pg_restore --list "$folder/dump" | grep -c 'TABLE DATA shop')" = 2 ]
echo "ok other formats"
