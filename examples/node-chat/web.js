// A chat: rooms over WebSocket, their history by HTTP. What is said on one dyno is heard on all of
// them, because PostgreSQL tells (NOTIFY).
'use strict';

const http = require('node:http');
const express = require('express');
const { Client, Pool } = require('pg');
const { WebSocketServer } = require('ws');

const CHANNEL = 'said';
const pool = new Pool({
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.DB_POOL || 5),
  connectionTimeoutMillis: 5000,
});
// An idle connection that breaks is replaced by the pool; without this the process would end.
pool.on('error', (error) => console.error(`idle connection: ${error.message}`));

const app = express();
app.use(express.json());

// A statement that says whose request it belongs to, as sqlcommenter writes it.
const tagged = (request, text) => {
  const trace = request.get('traceparent');
  return trace ? `${text} /*traceparent='${trace}'*/` : text;
};

app.get('/', (request, response) => response.send(`chat on ${process.env.DYNO}\n`));

app.get('/rooms/:room', async (request, response, next) => {
  try {
    const text = 'SELECT author, text FROM message WHERE room = $1 ORDER BY id DESC LIMIT 50';
    const { rows } = await pool.query(tagged(request, text), [request.params.room]);
    response.json(rows.reverse());
  } catch (error) {
    next(error);
  }
});

app.post('/rooms/:room', async (request, response, next) => {
  try {
    await say(request.params.room, request.body.author, request.body.text, request);
    response.sendStatus(201);
  } catch (error) {
    next(error);
  }
});

// One transaction: what is heard is also in the history.
async function say(room, author, text, request) {
  const client = await pool.connect();
  try {
    const mark = (statement) => (request ? tagged(request, statement) : statement);
    await client.query('BEGIN');
    const insert = 'INSERT INTO message (room, author, text) VALUES ($1, $2, $3)';
    await client.query(mark(insert), [room, author, text]);
    await client.query(mark('SELECT pg_notify($1, $2)'), [
      CHANNEL,
      JSON.stringify({ room, author, text }),
    ]);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {});
    throw error;
  } finally {
    client.release();
  }
}

const server = http.createServer(app);
const sockets = new WebSocketServer({ server, path: '/live' });
sockets.on('connection', (socket, request) => {
  const room = new URL(request.url, 'http://here').searchParams.get('room') || 'lobby';
  socket.room = room;
  socket.send(JSON.stringify({ welcome: room, dyno: process.env.DYNO }));
  socket.on('message', async (data) => {
    try {
      const { author, text } = JSON.parse(data);
      await say(room, author, text);
    } catch (error) {
      socket.send(JSON.stringify({ error: error.message }));
    }
  });
});

async function listen() {
  const listener = new Client({ connectionString: process.env.DATABASE_URL });
  listener.on('error', (error) => {
    console.error(`listener: ${error.message}`);
    process.exit(1);
  });
  listener.on('notification', ({ payload }) => {
    const said = JSON.parse(payload);
    for (const socket of sockets.clients) {
      if (socket.room === said.room) socket.send(payload);
    }
  });
  await listener.connect();
  await listener.query(`LISTEN ${CHANNEL}`);
}

process.on('SIGTERM', () => {
  for (const socket of sockets.clients) socket.close(1001);
  server.close(() => process.exit(0));
  server.closeAllConnections();
});

listen()
  .then(() => server.listen(process.env.PORT, () => console.log('chat is open')))
  .catch((error) => {
    console.error(error.stack);
    process.exit(1);
  });
