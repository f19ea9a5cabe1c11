"""redis-py's own tests against an address: one file after the other, one result a line.

    redis_py.py SOURCE HOST PORT plain|cluster PROTOCOL [FILE…]

SOURCE is the unpacked source package. Prints `ok TEST`, `err TEST: WHY`, and `broken FILE: WHY` where a file ended before
its end. Left out: files about other products (modules, Sentinel, several data centres, TLS, tokens of a cloud).
"""

import os
import re
import signal
import subprocess
import sys

LONGEST = 2400
COMMON = """
    test_commands test_pipeline test_scripting test_lock test_pubsub test_function test_monitor test_encoding
    test_connection_pool test_client test_hash test_data_structure test_keyspace_notifications test_multiprocessing
    test_cache
    test_asyncio/test_commands test_asyncio/test_pipeline test_asyncio/test_scripting test_asyncio/test_lock
    test_asyncio/test_pubsub test_asyncio/test_monitor test_asyncio/test_encoding test_asyncio/test_connection_pool
    test_asyncio/test_client test_asyncio/test_hash
""".split()
CLUSTER = "test_cluster test_cluster_transaction test_asyncio/test_cluster test_asyncio/test_cluster_transaction".split()


def run(source, address, mode, protocol, file):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rpfE", "--tb=line", "--capture=fd"]
    command += ["--redis-url", f"redis://{address}/0", "--redis-mod-url", "redis://127.0.0.1:1/0"]
    command += ["--redis-cluster-nodes", "1", "--protocol", protocol, "--timeout", "60"]
    if mode == "plain":
        command += ["-p", "plain"]
    else:
        # with the cluster client it sets a password and fails to take it away: no test could log in after it
        command += ["--deselect", f"tests/{file}.py::TestRedisCommands::test_auth"]
    here = os.path.dirname(os.path.abspath(__file__))
    with subprocess.Popen(
        command + [f"tests/{file}.py"], cwd=source, env={**os.environ, "PYTHONPATH": here, "COLUMNS": "300"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    ) as running:
        try:
            output, _ = running.communicate(timeout=LONGEST)
            why = None if running.returncode in (0, 1, 5) else f"status {running.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            output, _ = running.communicate()
            why = f"over {LONGEST} s"
    return output.decode("utf-8", "replace"), why


def main():
    source, host, port, mode, protocol, *files = sys.argv[1:]
    if os.path.isdir(os.path.join(source, "redis")):
        # what is installed is tested, so that the compiled parts are the same for all
        os.rename(os.path.join(source, "redis"), os.path.join(source, "redis.source"))
    for file in files or COMMON + (CLUSTER if mode == "cluster" else []):
        text, why = run(source, f"{host}:{port}", mode, protocol, file)
        for kind, name, reason in re.findall(r"^(PASSED|FAILED|ERROR) tests/(\S+)(?: - (.*))?$", text, re.M):
            print(f"ok {name}" if kind == "PASSED" else f"err {name}: {reason[:160]}")
        if why:
            print(f"broken {file}: {why} {' | '.join(text.strip().splitlines()[-4:])}"[:600])
        sys.stdout.flush()


main()
