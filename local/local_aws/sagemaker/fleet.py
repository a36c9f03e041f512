"""The instances of one production variant: as many as desired, each replaced when it fails."""

import functools
import threading
import time
from collections.abc import Callable, Sequence

from local_aws.sagemaker.errors import ProvisioningError
from local_aws.sagemaker.instance import Instance
from local_aws.sagemaker.member import Attach, Member

_PERIOD_SECONDS = 0.5
_RETRY_SECONDS = 5.0
_DRAIN_SECONDS = 3600.0  # the longest that an invocation may take


class Fleet:
    """Holds `desired` instances in service. `set_desired` is the seam for whoever scales: an API call, or a controller
    that evaluates the deployed policies.

    `new_instance` makes one instance, not yet started; `attach` begins to feed one that is in service.
    `unhealthy_after`: seconds without a good ping after which an instance is replaced.
    """

    def __init__(self, new_instance: Callable[[], Instance], attach: Attach, *, unhealthy_after: float) -> None:
        self._new_instance = new_instance
        self._attach = attach
        self._unhealthy_after = unhealthy_after
        self._desired = 0
        self._members: list[Member] = []
        self._draining: list[Member] = []
        self._retry_at = 0.0
        self._retiring = False
        self._last_failure = ""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="fleet")
        self._thread.start()

    @property
    def desired(self) -> int:
        """How many instances there should be."""
        return self._desired

    @property
    def in_service(self) -> int:
        """How many instances answer requests now."""
        with self._lock:
            return sum(member.state == "in service" for member in self._members)

    @property
    def settled(self) -> bool:
        """Whether exactly the desired instances are in service and no other is left, but for those that still work."""
        with self._lock:
            states = [member.state for member in self._members]
            working = all(member.busy for member in self._draining)
        return working and not self._retiring and states == ["in service"] * self._desired

    def set_desired(self, count: int) -> None:
        """Asks for `count` instances, 0 or more; returns at once. Scaling in ends instances that are on their way up,
        then idle ones; busy ones take nothing more and end when they have finished what they work on."""
        if count < 0:
            raise ValueError(f"count must be at least 0, got {count}")
        self._desired = count
        self._wake.set()

    def await_in_service(self, count: int) -> None:
        """Waits until `count` instances are in service; ProvisioningError when one fails first or the fleet stops.

        The instances' own time-outs bound the wait.
        """
        while self.in_service < count:
            if self._last_failure:
                raise ProvisioningError(self._last_failure)
            if self._stopped.wait(0.05):
                raise ProvisioningError("the fleet was stopped")

    def stop(self, *, drain_seconds: float = 0.0) -> None:
        """Ends all instances, at once or after what they work on has ended; returns when nothing of them runs.

        A second call cuts the draining of the first short.
        """
        self._desired = 0
        self._stopped.set()
        self._wake.set()
        self._thread.join()
        with self._lock:
            ends = [functools.partial(member.drain, drain_seconds) for member in self._members + self._draining]
        _in_parallel(ends)
        with self._lock:
            self._members, self._draining = [], []

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._reconcile()
            self._wake.wait(_PERIOD_SECONDS)
            self._wake.clear()

    def _reconcile(self) -> None:
        for member in list(self._members):
            member.check(self._unhealthy_after)
        self._retire([member for member in self._members if member.state == "failed"])
        surplus = len(self._members) - self._desired
        if surplus > 0:
            self._scale_in(surplus)
        if surplus < 0 and time.monotonic() >= self._retry_at:
            added = [Member(self._new_instance(), self._attach) for _ in range(-surplus)]
            with self._lock:
                self._members.extend(added)

    def _scale_in(self, count: int) -> None:
        by_loss = sorted(self._members, key=lambda member: (member.state == "in service", member.busy))
        leaving = by_loss[:count]
        with self._lock:
            self._members = [member for member in self._members if member not in leaving]
            self._draining.extend(leaving)
        for member in leaving:
            threading.Thread(target=self._drain, args=(member,), daemon=True, name="fleet-drain").start()

    def _drain(self, member: Member) -> None:
        member.drain(_DRAIN_SECONDS)
        with self._lock:
            self._draining = [other for other in self._draining if other is not member]

    def _retire(self, members: list[Member]) -> None:
        for member in members:
            if member.failure:
                self._last_failure = member.failure
                # One that served is replaced at once; one that never came up would fail again, so not too often.
                self._retry_at = time.monotonic() + (0.0 if member.served else _RETRY_SECONDS)
        self._retiring = bool(members)
        with self._lock:
            self._members = [member for member in self._members if member not in members]
        _in_parallel([member.stop for member in members])
        self._retiring = False


def _in_parallel(actions: Sequence[Callable[[], None]]) -> None:
    threads: list[threading.Thread] = []
    for action in actions:
        thread = threading.Thread(target=action, name="fleet-stop")
        try:
            thread.start()
        except RuntimeError:  # Python 3.12 starts no thread while the interpreter ends
            action()
        else:
            threads.append(thread)
    for thread in threads:
        thread.join()
