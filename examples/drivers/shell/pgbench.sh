#!/usr/bin/env bash
# pgbench: every protocol, several scripts, a connection per transaction; and its books balance.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

bench() {
    pgbench -n "$@" "$DATABASE_URL" >"$folder/said" 2>&1 || { cat "$folder/said" >&2; exit 1; }
}
# All transactions were done, none failed.
done_all() {
    grep -q "^number of transactions actually processed: $1/$1\$" "$folder/said" \
        || { cat "$folder/said" >&2; exit 1; }
}

bench -i -q -s 1
echo "ok -i"
total=0
for protocol in simple extended prepared; do
    # A thread for each client: pgbench waits for PQprepare, and while it does, no other client of
    # its thread can end its transaction and give its server connection to the one that waits.
    bench -M $protocol -c 8 -j 8 -t 20
    done_all 160
    total=$((total + 160))
    bench -M $protocol -S -c 4 -j 4 -t 100
    done_all 400
    echo "ok -M $protocol"
done
bench -C -c 4 -t 10
done_all 40
total=$((total + 40))
echo "ok -C: a connection per transaction"

cat >"$folder/read.sql" <<'SQL'
\set n random(1, 100000)
SELECT abalance FROM pgbench_accounts WHERE aid = :n \gset
SELECT :abalance + 1;
SQL
cat >"$folder/block.sql" <<'SQL'
BEGIN;
SET LOCAL statement_timeout = '20s';
SELECT count(*) FROM pgbench_branches;
SAVEPOINT here;
ROLLBACK TO here;
END;
SQL
bench -M prepared -c 6 -j 6 -t 50 -f "$folder/read.sql@3" -f "$folder/block.sql@1" -b select-only@1
done_all 300
cat >"$folder/pipeline.sql" <<'SQL'
\startpipeline
SELECT 1;
SELECT count(*) FROM pgbench_tellers;
SELECT 2;
\endpipeline
SQL
bench -M extended -c 4 -t 50 -f "$folder/pipeline.sql"
done_all 200
echo "ok several scripts, and a pipeline"

books=$(psql "$DATABASE_URL" -XqAt -c "SELECT count(*), sum(delta) = (SELECT sum(abalance) FROM
    pgbench_accounts) AND sum(delta) = (SELECT sum(bbalance) FROM pgbench_branches)
    FROM pgbench_history")
[ "$books" = "$total|t" ] || { echo "the books: $books, not $total|t" >&2; exit 1; }
echo "ok the books balance"
