"""Redis's own tests in their mode for a server that is there already: one unit after the other, one result a line.

    redis_tcl.py SOURCE HOST PORT [UNIT…]

SOURCE is the unpacked source of Redis. Prints `ok UNIT: TEST`, `err UNIT: TEST`, and `broken UNIT: WHY` where a unit
ended before its end. Tests that the suite itself marks as not for such a server, for replication or for DEBUG are left
out by its own tags.
"""

import re
import signal
import subprocess
import sys
import os

# A unit that says nothing for so long hangs.
LONGEST = 900
# With EVENKEEL_GATEWAY set these are left out, and so not passed. They wait for ever where a service is more than one
# server: MONITOR of the gateway does not see what a script calls, its CLIENT PAUSE WRITE holds scripts that only read too,
# and each of several nodes keeps a key when the tables of keys that clients have read shrink to one.
SKIPPED = [
    "MONITOR can log commands issued by the scripting engine",
    "MONITOR can log commands issued by functions",
    "Test RO scripts are not blocked by pause RO",
    "Server is able to evacuate enough keys when num of keys surpasses limit by more than defined initial effort",
]
TAGS = ["-needs:repl", "-needs:debug", "-external:skip", "-needs:save"]


def units(source):
    listed = subprocess.run(["./runtest", "--list-tests"], cwd=source, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def run(source, host, port, unit):
    command = ["./runtest", "--host", host, "--port", port, "--cluster-mode", "--singledb", "--single", unit]
    # ports of its own for its processes, so that two runs do not meet
    command += ["--baseport", str(20000 + int(port) * 40 % 12000)]
    command += ["--tags", " ".join(TAGS), "--timeout", "120", "--durable", "--dump-logs"]
    if os.environ.get("EVENKEEL_GATEWAY"):
        for test in SKIPPED:
            command += ["--skiptest", test]
    with subprocess.Popen(
        command, cwd=source, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as running:
        try:
            output, _ = running.communicate(timeout=LONGEST)
            why = None if running.returncode == 0 else f"status {running.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            output, _ = running.communicate()
            why = f"over {LONGEST} s"
    text = output.decode("utf-8", "replace")
    return re.sub("\x1b\\[[0-9;]*m", "", text), why


def main():
    source, host, port, *wanted = sys.argv[1:]
    for unit in wanted or units(source):
        text, why = run(source, host, port, unit)
        results = re.findall(r"^\[(ok|err|exception|ignore|skip|timeout)\]: (.*)$", text, re.M)
        failed = False
        for kind, name in results:
            # times stand behind the names of tests that passed
            name = re.sub(r" \(\d+ ms\)$", "", name)
            name = re.sub(r" in tests/.*$", "", name)
            if kind == "ok":
                print(f"ok {unit}: {name}")
            elif kind == "err":
                failed = True
                print(f"err {unit}: {name}")
        if why and not failed or "[exception]" in text or "[timeout]" in text.lower():
            tail = " | ".join(text.strip().splitlines()[-6:])
            print(f"broken {unit}: {why} {tail}"[:600])
        sys.stdout.flush()
        folder = os.environ.get("EVENKEEL_LOGS")
        if folder:
            os.makedirs(folder, exist_ok=True)
            open(os.path.join(folder, unit.replace("/", "_")), "w").write(text)


main()
