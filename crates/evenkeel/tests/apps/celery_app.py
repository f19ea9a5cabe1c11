"""Celery: workers take tasks from queues, results come back, tasks wait, are repeated and are combined.

    celery_app.py HOST PORT [worker]

Its queue moves messages by MULTI over several keys, so all keys need one hash tag: the prefix `{celery}:`.
"""

import os
import subprocess
import sys
import time

from celery import Celery, chain, chord, group

host, port = sys.argv[1], sys.argv[2]
url = f"redis://{host}:{port}/0"
app = Celery("evenkeel_check", broker=url, backend=url)
app.conf.update(
    broker_transport_options={"global_keyprefix": "{celery}:", "visibility_timeout": 60},
    result_backend_transport_options={"global_keyprefix": "{celery}:"},
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    task_acks_late=True,
)


@app.task(name="add")
def add(a, b):
    return a + b


@app.task(name="total")
def total(numbers):
    return sum(numbers)


@app.task(name="stumble", bind=True, max_retries=3)
def stumble(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


def main():
    worker = subprocess.Popen([sys.executable, __file__, host, port, "worker"])
    try:
        results = [add.delay(n, n) for n in range(50)]
        assert [result.get(timeout=60) for result in results] == [2 * n for n in range(50)]
        assert chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=60) == 10
        assert sorted(group(add.s(n, 1) for n in range(10))().get(timeout=60)) == list(range(1, 11))
        assert chord((add.s(n, n) for n in range(10)), total.s())().get(timeout=60) == 90
        assert stumble.delay().get(timeout=60) == 2
        begun = time.monotonic()
        assert add.apply_async((1, 1), countdown=1).get(timeout=60) == 2
        assert time.monotonic() - begun >= 0.9
        assert app.control.ping(timeout=5), "no worker answers a broadcast"
        assert app.control.inspect(timeout=5).registered(), "no worker tells its tasks"
    finally:
        worker.terminate()
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    print("Celery: 50 tasks, a chain, a group, a chord, retries, a countdown, a broadcast")


if __name__ == "__main__":
    if "worker" in sys.argv:
        app.worker_main(["worker", "--pool=threads", "--concurrency=4", "--loglevel=ERROR", "--without-mingle"])
    else:
        main()
        os._exit(0)
