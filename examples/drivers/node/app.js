// node `pg`: a pool, prepared statements, a cursor, notifications.

const assert = require('node:assert/strict');
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');

const connectionString = process.env.DATABASE_URL;
const ok = (what) => console.log(`ok ${what}`);

async function withClient(options, body) {
  const client = new Client({ connectionString, connectionTimeoutMillis: 20000, ...options });
  await client.connect();
  try {
    await body(client);
  } finally {
    await client.end();
  }
}

async function transactions(pool) {
  await pool.query('CREATE TABLE item (id serial PRIMARY KEY, name text UNIQUE, data jsonb)');
  const insert = 'INSERT INTO item (name, data) VALUES ($1, $2) RETURNING id';
  await Promise.all(Array.from({ length: 50 }, async (_, n) => {
    const client = await pool.connect();
    try {
      await client.query('BEGIN');
      await client.query(insert, [`item ${n}`, { n }]);
      await client.query(n % 5 === 0 ? 'ROLLBACK' : 'COMMIT');
    } finally {
      client.release();
    }
  }));
  const sum = "SELECT count(*)::int, sum((data->>'n')::int)::int FROM item";
  const { rows } = await pool.query(sum);
  assert.deepEqual(rows, [{ count: 40, sum: 1000 }]);
  ok('transactions over a pool');
}

async function errorsInside(pool) {
  const client = await pool.connect();
  await client.query('BEGIN');
  const twice = "INSERT INTO item (name) VALUES ('item 1')";
  await assert.rejects(client.query(twice), { code: '23505' });
  await assert.rejects(client.query('SELECT 1'), { code: '25P02' });
  await client.query('ROLLBACK');
  await assert.rejects(client.query('SELEC 1'), { code: '42601' });
  assert.equal((await client.query('SELECT 1 AS one')).rows[0].one, 1);
  client.release();
  ok('errors inside a transaction');
}

async function prepared(pool) {
  const query = (n) => pool.query({ name: 'double', text: 'SELECT $1::int * 2 AS n', values: [n] });
  const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => query(n)));
  answers.forEach((answer, n) => assert.equal(answer.rows[0].n, 2 * n));
  ok('one prepared statement on all connections');
}

async function cursor() {
  await withClient({}, async (client) => {
    await client.query('BEGIN');
    const walk = client.query(new Cursor('SELECT generate_series(1, $1::int) AS n', [1000]));
    let sum = 0;
    for (let rows = await walk.read(300); rows.length; rows = await walk.read(300)) {
      sum += rows.reduce((total, row) => total + row.n, 0);
    }
    await walk.close();
    await client.query('COMMIT');
    assert.equal(sum, 500500);
    // Outside a transaction the portal lives until the Sync, which pg-cursor sends at the end.
    const other = client.query(new Cursor('SELECT generate_series(1, 50) AS n'));
    assert.equal((await other.read(20)).length, 20);
    assert.equal((await other.read(20)).length, 20);
    await other.close();
    assert.equal((await client.query('SELECT 7 AS n')).rows[0].n, 7);
  });
  ok('a cursor, in a transaction and outside');
}

async function timeouts() {
  await withClient({ statement_timeout: 200 }, async (client) => {
    await assert.rejects(client.query('SELECT pg_sleep(100)'), { code: '57014' });
    assert.equal((await client.query('SHOW statement_timeout')).rows[0].statement_timeout, '200ms');
  });
  await withClient({ application_name: 'worker.3' }, async (client) => {
    const { rows } = await client.query("SELECT current_setting('application_name') AS name, "
      + "current_setting('statement_timeout') AS timeout");
    assert.deepEqual(rows, [{ name: 'worker.3', timeout: '0' }]);
  });
  ok('settings in the startup packet');
}

async function large(pool) {
  const text = 'é'.repeat(2_000_000);
  const { rows } = await pool.query('SELECT $1::text AS text', [text]);
  assert.equal(rows[0].text, text);
  const series = "SELECT n, repeat('y', 100) AS y FROM generate_series(1, 50000) n";
  const many = await pool.query(series);
  assert.equal(many.rows.length, 50000);
  ok('large values and many rows');
}

async function notifications(pool) {
  await withClient({}, async (client) => {
    const heard = new Promise((resolve) => client.once('notification', resolve));
    await client.query('LISTEN orders');
    await pool.query("NOTIFY orders, '17'");
    const { channel, payload } = await heard;
    assert.deepEqual({ channel, payload }, { channel: 'orders', payload: '17' });
  });
  ok('notifications');
}

async function temporary() {
  await withClient({}, async (client) => {
    await client.query('CREATE TEMP TABLE mine (n int)');
    await client.query('INSERT INTO mine SELECT generate_series(1, 10)');
    assert.equal((await client.query('SELECT count(*)::int AS n FROM mine')).rows[0].n, 10);
  });
  ok('a temporary table');
}

async function main() {
  const pool = new Pool({ connectionString, max: 8, connectionTimeoutMillis: 20000 });
  await transactions(pool);
  await errorsInside(pool);
  await prepared(pool);
  await cursor();
  await timeouts();
  await large(pool);
  await notifications(pool);
  await temporary();
  await pool.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
