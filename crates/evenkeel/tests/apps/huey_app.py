"""Huey: a consumer with threads runs tasks, tasks of later, tasks that fail first, and pipelines of tasks.

    huey_app.py HOST PORT
"""

import datetime
import sys
import threading
import time

from huey import PriorityRedisHuey, RedisHuey
from huey.exceptions import TaskException

host, port = sys.argv[1], int(sys.argv[2])


def settled(result):
    # The failure of the first try is a result too, until the second try has written its own.
    deadline = time.monotonic() + 60
    while True:
        try:
            return result(blocking=True, timeout=60, preserve=True)
        except TaskException:
            if time.monotonic() > deadline:
                raise
            result.reset()
            time.sleep(0.1)


def check(kind, name):
    huey = kind(name, host=host, port=port)
    huey.flush()
    stumbled = threading.Event()

    @huey.task()
    def add(a, b):
        return a + b

    @huey.task(retries=2)
    def stumble():
        if not stumbled.is_set():
            stumbled.set()
            raise ValueError("the first time")
        return "went on"

    @huey.lock_task("one at a time")
    def locked():
        return "held"

    consumer = huey.create_consumer(workers=4, check_worker_health=False, periodic=True)
    consumer.start()
    try:
        results = [add(n, n) for n in range(50)]
        assert [result(blocking=True, timeout=60) for result in results] == [2 * n for n in range(50)]
        later = add.schedule((1, 2), delay=datetime.timedelta(seconds=1))
        assert later(blocking=True, timeout=60) == 3
        assert settled(stumble()) == "went on"
        assert huey.enqueue(add.s(1, 2).then(add, 3)).get(blocking=True, timeout=60) == [3, 6]
        assert locked() == "held"
    finally:
        consumer.stop(graceful=True)


# A task that fails the first time says so in the log.
import logging

logging.disable(logging.CRITICAL)
check(RedisHuey, "plain")
check(PriorityRedisHuey, "priority")
print("Huey: 100 tasks, tasks of later, a retry, a pipeline of tasks, a lock")
