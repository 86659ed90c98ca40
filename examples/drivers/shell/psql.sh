#!/usr/bin/env bash
# psql: \copy both ways, cursors, notifications, Ctrl-C.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ask() { psql "$DATABASE_URL" -XqAt -v ON_ERROR_STOP=1 "$@"; }
same() { [ "$1" = "$2" ] || { printf 'not %s:\n%s\n' "$2" "$1" >&2; exit 1; }; }

seq 1 20000 | sed 's/.*/&,line &/' >"$folder/in.csv"
ask -c "CREATE TABLE line (n int, words text)" -c "\\copy line FROM '$folder/in.csv' CSV"
ask -c "\\copy (SELECT * FROM line ORDER BY n) TO '$folder/out.csv' CSV"
cmp "$folder/in.csv" "$folder/out.csv"
ask -c "COPY line FROM STDIN CSV" <"$folder/in.csv"
same "$(ask -c 'SELECT count(*) FROM line')" 40000
echo 'ok \copy in and out'

same "$(ask <<'SQL'
BEGIN;
DECLARE walk CURSOR FOR SELECT n FROM generate_series(1, 100) n;
FETCH 2 FROM walk;
MOVE 95 IN walk;
FETCH ALL FROM walk;
COMMIT;
SQL
)" "$(printf '1\n2\n98\n99\n100')"
same "$(ask -v FETCH_COUNT=1000 -c 'SELECT n FROM generate_series(1, 5000) n' | tail -1)" 5000
echo "ok cursors, and FETCH_COUNT"

same "$(ask -c 'PREPARE p (int) AS SELECT $1 + 1' -c 'SET work_mem = 5120' -c 'EXECUTE p (4)' \
    -c 'SHOW work_mem' -c 'DEALLOCATE p')" "$(printf '5\n5MB')"
same "$(echo 'SELECT 1 AS a, now() AS b \gdesc' | ask | tr '\n' ' ')" \
    "a|integer b|timestamp with time zone "
echo "ok what is kept between statements"

if ask --single-transaction -c "INSERT INTO line VALUES (-1)" -c "SELECT 1/0" 2>"$folder/said"; then
    exit 1
fi
grep -q 'division by zero' "$folder/said"
same "$(ask -c 'SELECT count(*) FROM line WHERE n < 0')" 0
same "$(psql "$DATABASE_URL" -XqAt 2>/dev/null <<'SQL'
BEGIN;
SELECT 1/0;
SELECT 'not seen';
ROLLBACK;
SELECT 'seen';
SQL
)" seen
echo "ok errors inside transactions"

# Each new statement makes psql look for what has come.
coproc LISTENER { psql "$DATABASE_URL" -XAt 2>&1; }
# bash forgets its own name for it as soon as it has ended.
listener=$LISTENER_PID
echo "LISTEN news; SELECT 'listening';" >&"${LISTENER[1]}"
until [ "${line:-}" = listening ]; do read -r -t 20 line <&"${LISTENER[0]}"; done
ask -c "NOTIFY news, 'from another session'"
until [[ "$line" == *'"news" with payload "from another session"'* ]]; do
    echo "SELECT 'ping';" >&"${LISTENER[1]}"
    read -r -t 20 line <&"${LISTENER[0]}"
done
echo '\q' >&"${LISTENER[1]}"
wait "$listener" || true
echo "ok LISTEN and NOTIFY"

running="SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
    AND query LIKE 'SELECT pg_sleep(99)%' AND datname = current_database()"
# A job in the background ignores SIGINT unless job control is on.
set -m
psql "$DATABASE_URL" -XAt -c 'SELECT pg_sleep(99)' 2>"$folder/said" &
set +m
until [ "$(ask -c "$running")" = 1 ]; do :; done
kill -INT $!
wait $! && exit 1
grep -q 'canceling statement due to user request' "$folder/said"
same "$(ask -c "$running")" 0
echo "ok Ctrl-C cancels"
