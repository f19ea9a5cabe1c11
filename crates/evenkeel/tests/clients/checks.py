"""Counts named checks and tells what failed."""

import sys
import traceback


class Checks:
    """Runs one check after the other; a failing one does not stop the rest."""

    def __init__(self, title):
        self.title = title
        self.passed = 0
        self.failed = 0

    def run(self, name, check, *arguments):
        try:
            check(*arguments)
        except Exception as error:  # whatever a library raises is a failed check
            self.failed += 1
            where = traceback.extract_tb(error.__traceback__)[1:2]
            line = f" (line {where[0].lineno}: {where[0].line})" if where else ""
            print(f"{self.title}: {name} FAILED: {type(error).__name__}: {error}{line}"[:600])
        else:
            self.passed += 1

    def finish(self):
        print(f"{self.title}: {self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed or not self.passed else 0)


def same(got, expected):
    if got != expected:
        raise AssertionError(f"got {short(got)}, expected {short(expected)}")


def refused(call, *words, kind=Exception):
    """The call must raise, and its message must hold every word (in any case)."""
    try:
        got = call()
    except kind as error:
        message = str(error).lower()
        missing = [word for word in words if word.lower() not in message]
        if missing:
            raise AssertionError(f"the error says {str(error)!r}, without {missing}") from None
        return
    raise AssertionError(f"got {short(got)}, an error about {words} was expected")


def short(value):
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"
