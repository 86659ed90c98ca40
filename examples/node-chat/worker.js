// Forgets what is older than a day, room by room, until it is told to stop.
'use strict';

const { Pool } = require('pg');

const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 1 });
pool.on('error', (error) => console.error(`idle connection: ${error.message}`));

async function forget() {
  const { rows } = await pool.query('SELECT room, count(*)::int AS kept FROM message GROUP BY room');
  for (const { room } of rows) {
    const text = "DELETE FROM message WHERE room = $1 AND said_at < now() - interval '1 day'";
    const { rowCount } = await pool.query(text, [room]);
    if (rowCount > 0) console.log(`forgot ${rowCount} in ${room}`);
  }
}

console.log('worker is ready');
const round = setInterval(() => forget().catch((error) => console.error(error.stack)), 1000);
process.on('SIGTERM', async () => {
  clearInterval(round);
  await pool.end();
  console.log('worker has stopped');
});
