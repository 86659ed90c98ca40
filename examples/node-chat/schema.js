// The release process: makes the tables. May run again and again.
'use strict';

const { Client } = require('pg');

async function main() {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  await client.query(`
    CREATE TABLE IF NOT EXISTS message (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      room text NOT NULL,
      author text NOT NULL,
      text text NOT NULL,
      said_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX IF NOT EXISTS message_room ON message (room, id);
  `);
  await client.end();
  console.log('schema is there');
}

main().catch((error) => {
  console.error(error.stack);
  process.exit(1);
});
