"""The clips that wait for a slot: bounded, and fair between requests, one clip of each in turn."""

import time
from collections import deque
from dataclasses import dataclass

from musicgen_serving.engine.clip import Request
from musicgen_serving.engine.errors import QueueFullError
from musicgen_serving.engine.sampling_params import ClipSpec


@dataclass(frozen=True)
class Job:
    """One clip of a ticket."""

    ticket: Request
    index: int

    @property
    def clip(self) -> ClipSpec:
        """What to make."""
        return self.ticket.clips[self.index]

    @property
    def tokens(self) -> list[int]:
        """Its text's tokens."""
        return self.ticket.tokens[self.index]


class Waiting:
    """Requests with the clips that they still have waiting. Not safe between threads: its owner holds a lock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._requests: deque[deque[Job]] = deque()

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._requests)

    @property
    def age(self) -> float:
        """Seconds that the oldest waiting request has waited."""
        return max((time.monotonic() - jobs[0].ticket.created for jobs in self._requests), default=0.0)

    def add(self, ticket: Request) -> None:
        """Queue a request's clips; QueueFullError where they would be too many."""
        count = len(self) + len(ticket.clips)
        if count > self._most:
            raise QueueFullError(count, self._most)
        self._requests.append(deque(Job(ticket, index) for index in range(len(ticket.clips))))

    def take(self, most: int) -> list[Job]:
        """Up to `most` clips: one of each request in turn, the longest-waiting request first."""
        taken: list[Job] = []
        while self._requests and len(taken) < most:
            jobs = self._requests.popleft()
            if jobs[0].ticket.over:
                continue
            taken.append(jobs.popleft())
            if jobs:
                self._requests.append(jobs)
        return taken

    def put_back(self, jobs: list[Job]) -> None:
        """Return clips that could not be admitted to the front, in their order."""
        for job in reversed(jobs):
            self._requests.appendleft(deque([job]))

    def drain(self) -> list[Job]:
        """Everything, leaving nothing."""
        jobs = [job for request in self._requests for job in request]
        self._requests.clear()
        return jobs
