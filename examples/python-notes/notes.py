"""A to-do service: lists of notes, and a report that nobody has ever made fast."""

import os

from flask import Flask, abort, jsonify, request

import database

app = Flask(__name__)
app.teardown_request(database.give_back)


@app.get("/")
def home():
    return f"notes on {os.environ.get('DYNO', 'no dyno')}\n"


@app.get("/lists/<name>")
def show(name):
    rows = database.connection().execute(
        "SELECT id, text, done FROM note WHERE list = %s ORDER BY id LIMIT 100", (name,)
    )
    return jsonify([{"id": id, "text": text, "done": done} for id, text, done in rows])


@app.post("/lists/<name>")
def add(name):
    text = request.get_json(force=True).get("text", "").strip()
    if not text:
        abort(400, "a note needs a text")
    row = database.connection().execute(
        "INSERT INTO note (list, text) VALUES (%s, %s) RETURNING id", (name, text)
    ).fetchone()
    return jsonify(id=row[0]), 201


@app.put("/notes/<int:id>/done")
def finish(id):
    changed = database.connection().execute(
        "UPDATE note SET done = true, finished_at = now() WHERE id = %s AND NOT done", (id,)
    )
    if changed.rowcount == 0:
        abort(404, "no such open note")
    return "", 204


@app.get("/report")
def report():
    """How each list is doing. It reads everything, for each list again; that is its story."""
    connection = database.connection()
    lists = connection.execute("SELECT DISTINCT list FROM note ORDER BY list").fetchall()
    result = {}
    for (name,) in lists:
        total, done = connection.execute(
            "SELECT count(*), count(*) FILTER (WHERE done) FROM note WHERE list = %s", (name,)
        ).fetchone()
        result[name] = {"total": total, "done": done}
    return jsonify(result)


@app.get("/fail")
def fail():
    """An error of the app's own, with a stack trace in the log."""
    database.connection().execute("SELECT 1 / 0")
    return "never"
