"""psycopg on asyncio: tasks that share little, and are cancelled."""

import asyncio
import os

import psycopg

URL = os.environ["DATABASE_URL"]


async def connect(**options):
    return await psycopg.AsyncConnection.connect(
        URL, autocommit=True, connect_timeout=20, **options)


async def one(conn, query, *values):
    cursor = await conn.execute(query, values or None)
    return (await cursor.fetchone())[0]


async def many_tasks():
    async def work(number):
        async with await connect(prepare_threshold=1) as conn:
            for turn in range(10):
                async with conn.transaction():
                    await conn.execute("INSERT INTO tick VALUES (%s, %s)", (number, turn))

    async with await connect() as conn:
        await conn.execute("CREATE TABLE tick (n int, turn int)")
        await asyncio.gather(*(work(number) for number in range(10)))
        assert await one(conn, "SELECT count(*) FROM tick") == 100
    print("ok ten tasks", flush=True)


async def a_task_is_cancelled():
    async with await connect() as conn, await connect() as watcher:
        task = asyncio.create_task(one(conn, "SELECT 1 FROM pg_sleep(100)"))
        running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' " \
                  "AND query LIKE 'SELECT 1 FROM pg_sleep%%' AND datname = current_database()"
        while await one(watcher, running) == 0:
            pass
        task.cancel()
        try:
            await task
            raise AssertionError("it was not cancelled")
        except asyncio.CancelledError:
            pass
        assert await one(conn, "SELECT 2") == 2
    print("ok a cancelled task cancels its query", flush=True)


async def notifications():
    async with await connect() as conn, await connect() as other:
        await conn.execute("LISTEN jobs")
        for number in range(5):
            await other.execute("SELECT pg_notify('jobs', %s)", (str(number),))
        got = []
        async for notify in conn.notifies(timeout=20, stop_after=5):
            got.append(notify.payload)
        assert got == ["0", "1", "2", "3", "4"], got
    print("ok notifications in order", flush=True)


async def copy():
    async with await connect() as conn:
        await conn.execute("CREATE TEMP TABLE line (n int, words text)")
        async with conn.cursor().copy("COPY line FROM STDIN (FORMAT binary)") as stream:
            stream.set_types(["int4", "text"])
            for number in range(2000):
                await stream.write_row((number, "x" * 500))
        assert await one(conn, "SELECT sum(length(words)) FROM line") == 1_000_000
    print("ok binary COPY into a temporary table", flush=True)


async def main():
    await many_tasks()
    await a_task_is_cancelled()
    await notifications()
    await copy()


asyncio.run(main())
