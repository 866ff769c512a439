"""A Globus Compute endpoint as the workers of a run: the driver stays here, keys and paths cross.

Arrays go through the roots of storage, which the endpoint must see under the same paths: that is asked
first, of a worker there, together with its versions. The SDK is imported only where it is used: it costs
every start of Python a third of a second.
"""

from __future__ import annotations

import importlib.util
import json
import secrets
import time
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any

from parsl.executors import GlobusComputeExecutor

from dataops_parsl.config import Loaded
from dataops_parsl.engine.executors import WORKER_ENVIRONMENT, Pool
from dataops_parsl.engine.finding import Finding
from dataops_parsl.engine.groups import Group
from dataops_parsl.errors import DataopsError, PlaceError
from dataops_parsl.provenance import worker_versions
from dataops_parsl.storage.atomic import write_bytes
from dataops_parsl.worker.look import ANSWER, look
from dataops_parsl.worker.packed import pack

MOST_BYTES = 7_000_000
"""Of a packed task: the service takes 10 MB, and the SDK writes in base64, which adds a third."""
ASK_S = 60.0
"""How often the service is asked whether the endpoint is online."""
ONLINE = "online"
_HOW = "docs/globus.md tells how"
LOGIN = 'python -c "from globus_compute_sdk import Client; Client(do_version_check=False).app.login()"'


def findings(config: Loaded, groups: Sequence[Group]) -> list[Finding]:
    """Whether tasks could be sent: the SDK, the login, the endpoints; nothing is started there."""
    if importlib.util.find_spec("globus_compute_sdk") is None:
        return [
            Finding(
                "globus",
                False,
                "globus-compute-sdk is not installed",
                "pip install 'dataops_parsl[globus]'",
            )
        ]
    named = {group.label: endpoint_of(config, group) for group in groups}
    missing = [
        Finding(
            f"{label}: endpoint", False, "no endpoint is named", f"--endpoint UUID, or site.globus; {_HOW}"
        )
        for label, endpoint in named.items()
        if not endpoint
    ]
    if missing:
        return missing
    try:
        client = _client()
    except DataopsError as error:
        return [Finding("login", False, error.message, error.remedy)]
    found = [Finding("login", True, "Globus knows who you are")]
    for label, endpoint in named.items():
        state = _state(client, endpoint)
        remedy = "" if state == ONLINE else f"start it where it runs: globus-compute-endpoint start; {_HOW}"
        found.append(Finding(f"{label}: endpoint", state == ONLINE, f"{endpoint} is {state}", remedy))
    return found


def endpoint_of(config: Loaded, group: Group) -> str:
    """UUID of the endpoint that a group stands for."""
    said = config.config.site.globus
    return said.gpu_endpoint if group.computes_on_gpu and said.gpu_endpoint else said.endpoint


def _client() -> Any:
    """The SDK's client, once it is known that nobody will be asked for a password in mid-run.

    Raises
    ------
    PlaceError
        When there is no login.
    """
    from globus_compute_sdk import Client

    client = Client(do_version_check=False)
    if client.app is not None and client.app.login_required():
        raise PlaceError(
            "there is no login to Globus on this machine, or it has run out",
            f"log in once: {LOGIN} — or set GLOBUS_COMPUTE_CLIENT_ID and GLOBUS_COMPUTE_CLIENT_SECRET",
        )
    return client


def _state(client: Any, endpoint: str) -> str:
    """What the service says of an endpoint, or why it says nothing."""
    try:
        return str(client.get_endpoint_status(endpoint)["status"])
    except Exception as error:  # the SDK passes on what its libraries for the network raise, of many kinds
        return f"not known: {type(error).__name__}: {error}"


def endpoint_options(words: Sequence[str]) -> dict[str, Any]:
    """``["partition=short", "cores=4"]`` as a mapping, its values read as TOML where they are."""
    out: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
            json.dumps(
                value, allow_nan=False
            )  # as it will cross: a walltime reads as a time of day, which cannot
        except (tomllib.TOMLDecodeError, TypeError, ValueError):
            value = text
        out[name] = value
    return out


class EndpointPool(Pool):
    """One or two Globus Compute endpoints in the place of blocks; see `Pool`.

    How many workers there are, on which nodes and with how much memory, is the endpoint's configuration.
    """

    start_remedy = f"install this version of dataops_parsl in the endpoint's environment; {_HOW}"

    def __enter__(self) -> EndpointPool:
        self._client: Any = _client()
        self._asked, self._online_at = time.monotonic(), time.monotonic()
        super().__enter__()
        try:
            for label in self._groups:
                self._require_fit(label)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _executor(self, group: Group) -> GlobusComputeExecutor:
        from globus_compute_sdk import Executor

        options = endpoint_options(self._config.config.site.globus.endpoint_config)
        executor = Executor(
            endpoint_id=endpoint_of(self._config, group),
            client=self._client,
            user_endpoint_config=options or None,
            label=group.label,
        )
        return GlobusComputeExecutor(executor=executor, label=group.label)

    def _require_fit(self, label: str) -> None:
        """Ask a worker of the endpoint what it sees, before any task is sent.

        Raises
        ------
        PlaceError
            When none answers, folders are not visible there, or versions or environment differ.
        """
        paths = self._config.paths
        word = secrets.token_hex(8)
        written = [paths.scratch_root, self._run_dir]
        marks = [folder / f".seen-from-{label}.{word}" for folder in written]
        try:
            for mark in marks:
                write_bytes(mark, word.encode())
            asked = {
                "read": [str(paths.data_root)],
                "marks": [str(mark) for mark in marks],
                "environment": list(WORKER_ENVIRONMENT),
            }
            seen = self._answer(label, asked)
            unseen = dict(seen["unseen"])
            for mark in marks:
                answer = mark.with_name(mark.name + ANSWER)
                if str(mark.parent) not in unseen and not answer.exists():
                    unseen[str(mark.parent)] = "what is written there does not arrive here"
        finally:
            for mark in marks:
                for path in (mark, mark.with_name(mark.name + ANSWER)):
                    path.unlink(missing_ok=True)
        _refuse(f"the worker of {label} on {seen['host']}", seen, unseen)

    def _answer(self, label: str, asked: dict[str, Any]) -> dict[str, Any]:
        minutes = self._config.config.site.globus.first_answer_min
        future = super().submit(label, "look", look, asked)
        end = time.monotonic() + minutes * 60
        while True:
            try:
                return dict(future.result(timeout=1.0))
            except NoAnswer as error:
                if not future.done() and time.monotonic() < end:
                    self.check()
                    continue
                raise PlaceError(
                    f"no worker of {label} answered within {minutes:g} min",
                    "look at the endpoint's log and at its scheduler's queue; if its blocks wait for longer, "
                    "set site.globus.first_answer_min",
                ) from error
            except DataopsError:
                raise
            except Exception as error:
                raise PlaceError(
                    f"a worker of {label} could not answer: {_last_words(error)}", self.start_remedy
                ) from error

    # --- what blocks would do

    def submit(
        self,
        label: str,
        name: str,
        function: Callable[[dict[str, Any]], dict[str, Any]],
        task: dict[str, Any],
    ) -> Any:
        """Send one task; see `Pool.submit`.

        Raises
        ------
        PlaceError
            When its description is larger than the service takes.
        """
        if (size := len(pack(task))) > MOST_BYTES:
            raise PlaceError(
                f"the description of {task['id']} has {size / 1e6:.1f} MB, and Globus Compute takes "
                f"{MOST_BYTES / 1e6:.0f} MB",
                "it names every part that the task reads: a larger batch_frames makes fewer",
            )
        return super().submit(label, name, function, task)

    def demand(self, label: str, now: int, later: bool) -> None:
        """Say nothing: an endpoint sees its queue."""

    def connected(self, label: str) -> int:
        """All workers count as there: the endpoint does not say how many are."""
        return self._groups[label].workers

    def with_more_memory(self, label: str) -> str:
        """Refuse: memory is the endpoint's."""
        raise PlaceError(f"{label} has no workers with more memory: that is the endpoint's configuration")

    def check(self) -> None:
        """Raise what stops the run; see `Pool.check`.

        Raises
        ------
        PlaceError
            When an endpoint has been offline for too long.
        """
        super().check()
        now = time.monotonic()
        if now - self._asked < ASK_S:
            return
        self._asked = now
        states = {
            e: _state(self._client, e) for e in {endpoint_of(self._config, g) for g in self._groups.values()}
        }
        off = {endpoint: state for endpoint, state in states.items() if state != ONLINE}
        if not off:
            self._online_at = now
        minutes = self._config.config.site.globus.offline_min
        if now - self._online_at > minutes * 60:
            words = ", ".join(f"{endpoint} is {state}" for endpoint, state in off.items())
            raise PlaceError(
                f"for {minutes:g} min {words}", "start the endpoint, then the same command: it goes on"
            )


def _last_words(error: Exception) -> str:
    """What went wrong: of an error at the endpoint the last line of its traceback."""
    lines = str(getattr(error, "remote_data", "")).strip().splitlines()
    return lines[-1].strip() if lines else f"{type(error).__name__}: {error}"


def _refuse(who: str, seen: dict[str, Any], unseen: dict[str, str]) -> None:
    if unseen:
        words = "; ".join(f"{folder}: {why}" for folder, why in unseen.items())
        raise PlaceError(
            f"{who} does not see the folders of this run: {words}",
            "run from a machine that shares a file system with the endpoint, and set paths.data_root, "
            "paths.scratch_root and paths.output_root to folders that both see under the same path",
        )
    mine, other = worker_versions(), seen["versions"]
    if differ := [f"{k} {other.get(k)} instead of {v}" for k, v in mine.items() if other.get(k) != v]:
        raise PlaceError(f"{who} has {', '.join(differ)}", EndpointPool.start_remedy)
    given = seen["environment"]
    if lines := [f"export {k}={v}" for k, v in WORKER_ENVIRONMENT.items() if given.get(k) != v]:
        raise PlaceError(
            f"{who} lacks settings without which results could differ: {', '.join(lines)}",
            f"add these lines to worker_init of the endpoint's configuration and restart it; {_HOW}",
        )
