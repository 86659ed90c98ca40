"""Three processes of two threads per dyno: each process has a pool of its own."""

import os

bind = f"0.0.0.0:{os.environ['PORT']}"
workers = int(os.environ.get("WEB_CONCURRENCY", "3"))
threads = 2
timeout = 60
