"""Dramatiq: actors, delays, retries and results. Its script names keys only within a namespace, so the namespace is a
hash tag: `{dramatiq}`.

    dramatiq_app.py HOST PORT
"""

import logging
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

host, port = sys.argv[1], int(sys.argv[2])
logging.disable(logging.CRITICAL)
broker = RedisBroker(host=host, port=port, namespace="{dramatiq}")
broker.add_middleware(Results(backend=RedisBackend(host=host, port=port, namespace="{dramatiq}-results")))
dramatiq.set_broker(broker)
failed = []


@dramatiq.actor(store_results=True)
def add(a, b):
    return a + b


@dramatiq.actor(store_results=True, min_backoff=50, max_backoff=100)
def stumble():
    if len(failed) < 2:
        failed.append(1)
        raise ValueError("not yet")
    return "went on"


worker = dramatiq.Worker(broker, worker_threads=4)
worker.start()
try:
    messages = [add.send(n, n) for n in range(50)]
    assert [one.get_result(block=True, timeout=60_000) for one in messages] == [2 * n for n in range(50)]
    later = add.send_with_options(args=(1, 2), delay=500)
    assert later.get_result(block=True, timeout=60_000) == 3
    assert stumble.send().get_result(block=True, timeout=60_000) == "went on"
    both = dramatiq.pipeline([add.message(1, 2), add.message(4)]).run()
    assert both.get_result(block=True, timeout=60_000) == 7
    broker.join(add.queue_name, timeout=60_000)
finally:
    worker.stop()
print("Dramatiq: 50 messages, a delay, retries, a pipeline, results")
