"""Worker processes that detect on request: both ends of the pipe, and their clock.

Requests and answers are lines of JSON: `{"do": "run", ...}` calls the method `run` of the object
there, the answer is its result, or `{"failed": "why"}`. Needs nothing besides Python, as the
peer's Python may lack this package's requirements.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any


class Worker:
    """The requesting end.

    Args:
        command: words that start the process.
        environment: of the process.
        log: file that takes its standard error.
        limit: seconds to wait for an answer.
    """

    def __init__(self, command, environment, log, limit=900.0):
        self._log, self._limit = Path(log), limit
        self._process, self._reason = None, ""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        try:
            with open(log, "wb") as errors:
                words = [str(word) for word in command]
                self._process = subprocess.Popen(words, env=environment, stderr=errors, **pipes)
        except OSError as error:  # there is no such Python
            self._reason = str(error)

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """Call the method `do` of the worker; an error is in the answer's `failed`."""
        if self._process is None:
            return {"failed": self._reason}
        try:
            self._process.stdin.write(json.dumps({"do": do, **options}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return {"failed": self._last_words()}
        if not select.select([self._process.stdout], [], [], self._limit)[0]:
            self._process.kill()
            return {"failed": f"no answer in {self._limit:.0f} s"}
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"failed": self._last_words()}

    def _last_words(self):
        status = self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines() or [""]
        return f"its process ended with status {status}: {lines[-1]}"

    def stop(self) -> None:
        """End the process."""
        if self._process is None:
            return
        try:
            self._process.stdin.close()
            self._process.wait(30)
        except BrokenPipeError:  # it has ended, with something unread
            self._process.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def serve(make: Any) -> None:
    """Call methods of `make()` as requested until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            worker = worker or make()
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            traceback.print_exc()
            reason = (str(error).strip().splitlines() or [""])[0]
            answer = {"failed": f"{type(error).__name__}: {reason}"}
        print(json.dumps(answer, default=float), file=answers, flush=True)


def peak_memory() -> dict[str, float]:
    """Return the largest resident memory of this process."""
    import resource

    return {"peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


class Clock:
    """Sums seconds by name. Time inside a nested call counts for that call alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside: list[float] = []

    def timed(self, name: str, function: Any) -> Any:
        """Return the function, with its time added to `name`."""

        def call(*arguments, **options):
            self._inside.append(0.0)
            begun = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent = time.perf_counter() - begun
                own = spent - self._inside.pop()
                self.seconds[name] = self.seconds.get(name, 0.0) + own
                if self._inside:
                    self._inside[-1] += spent

        return call
