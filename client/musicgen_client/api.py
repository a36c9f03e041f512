"""The Python interface: `MusicGen(stack="…").generate("calm piano", duration=10)` returns a Clip."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any, TypedDict, Unpack

from musicgen_client import status as endpoint_state
from musicgen_client.aws import Clients, connect
from musicgen_client.clip import Clip, read_clip
from musicgen_client.errors import (
    ContractError,
    CorruptAudio,
    InvalidRequest,
    MusicGenError,
    RequestFailed,
    ServiceError,
)
from musicgen_client.history import History
from musicgen_client.jobs import FINISHED, Limits, Runner, Update, batch, raise_unless_completed, state_of
from musicgen_client.journal import SAVED, Journal, Record
from musicgen_client.requests.audio import Excerpt
from musicgen_client.requests.request import Request, job_id, variations
from musicgen_client.stack import find_stack, stack_name
from musicgen_client.transport import MAX_RESPONSE_BYTES, Transport

_STOP_SECONDS = 0.25  # how soon a thread notices that its task was cancelled
OnUpdate = Callable[[Update], None]


class Parameters(TypedDict, total=False):
    """The parameters of a request besides its texts (docs/api.md)."""

    duration: float
    stride: float
    loop: bool
    bpm: float
    bars: int
    max_new_tokens: int
    guidance_scale: float
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    seed: int
    continuation: Excerpt
    return_excerpt: bool
    melody: Excerpt
    negative_prompt: str
    bucket_name: str
    progress: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one request of many: its clips, or its error."""

    job: str
    request: Request
    clips: tuple[Clip, ...] = ()
    error: MusicGenError | None = None


class _Stopped(Exception):
    """Ends a thread whose asyncio task was cancelled."""


class MusicGen:
    """A deployed stack, found by its name: the argument, else MUSICGEN_STACK, else "MusicGen-dev".

    Raises StackError if there is none, AccessError without credentials and PermissionMissing without
    cloudformation:DescribeStacks. `queue_url` is an SQS queue of this client alone, subscribed to both topics; without
    one S3 is polled. `history` holds the journals, so that a job survives this process.
    """

    def __init__(
        self,
        stack: str | None = None,
        *,
        region: str | None = None,
        session: Any = None,
        queue_url: str | None = None,
        limits: Limits | None = None,
        history: History | None = None,
        clients: Clients | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        name = stack_name(stack)
        self.history = history or History(name)
        self.clients = clients or connect(region, session)
        self.stack = find_stack(self.clients.cloudformation, name)
        self.transport = Transport(self.stack, self.clients, sleep=sleep)
        self._limits, self._queue_url = limits or Limits(), queue_url
        self._clock, self._sleep = clock, sleep

    def generate(
        self,
        prompt: str,
        *,
        timeout: float | None = None,
        on_update: OnUpdate = lambda _: None,
        **parameters: Unpack[Parameters],
    ) -> Clip:
        """Generate one clip and wait for it.

        Raises InvalidRequest before anything is sent, RequestFailed (or a subclass) with the container's message, and
        WaitTimeout after `timeout` seconds; the job then goes on, and `fetch` returns it.
        """
        (clip,) = self.generate_all(Request(texts=(prompt,), **parameters), timeout=timeout, on_update=on_update)
        return clip

    def variations(self, prompt: str, n: int, **parameters: Unpack[Parameters]) -> list[Clip]:
        """Generate `n` clips of one prompt with consecutive seeds."""
        requests = variations(Request(texts=(prompt,), **parameters), n)
        return [clip for request in requests for clip in self.generate_all(request)]

    def generate_all(
        self, request: Request, *, timeout: float | None = None, on_update: OnUpdate = lambda _: None
    ) -> list[Clip]:
        """Generate every clip of one request."""
        request = request.seeded()
        job = job_id(request.body(), uuid.uuid4().hex)
        with Journal(self.history.new(job)) as journal:
            runner = self._runner(journal, on_update, self._sleep)
            (record,) = runner.run([(job, request, {})], timeout=timeout)
            return self._deliver(journal, record)

    def fetch(self, job: str, *, timeout: float | None = None, on_update: OnUpdate = lambda _: None) -> list[Clip]:
        """Return the clips of an earlier job, waiting if it is not finished.

        `job` is an id, the beginning of one, or "last".
        """
        path, record = self.history.find(job)
        if record.open:
            with Journal(path) as journal:
                for finished in self._runner(journal, on_update, self._sleep).run([], timeout=timeout):
                    if finished.id == record.id:
                        record = finished
                        break
        raise_unless_completed(record)
        return self.download(record)

    def generate_many(
        self,
        requests: Iterable[Request | str],
        *,
        name: str | None = None,
        window: int | None = None,
        on_update: OnUpdate = lambda _: None,
        store: Callable[[str, tuple[Clip, ...]], list[str]] = lambda _job, _clips: [],
        **parameters: Unpack[Parameters],
    ) -> Iterator[Outcome]:
        """Generate many requests, at most `window` at once, and yield each one's outcome when it is known.

        Prompts and requests are read as there is room, so any number fits in memory. With a `name` the batch can be
        continued after a crash by the same call: finished jobs are skipped, and none is generated twice. An outcome
        counts as finished once `store`, which returns the names of the files that it wrote, has returned.
        """
        path = self.history.of_batch(name) if name is not None else self.history.new(f"m{uuid.uuid4().hex}")
        with Journal(path) as journal:
            yield from self._many(journal, requests, window, on_update, store, self._sleep, parameters, path.stem)

    def _many(
        self, journal: Journal, requests: Iterable[Request | str], window: int | None, on_update: OnUpdate,
        store: Callable[[str, tuple[Clip, ...]], list[str]], sleep: Callable[[float], None], parameters: Parameters,
        salt: str,
    ) -> Generator[Outcome, None, None]:  # fmt: skip
        wanted = (Request(texts=(item,), **parameters) if isinstance(item, str) else item for item in requests)
        runner = self._runner(journal, on_update, sleep, window)
        for record in runner.run(batch(((request, {}) for request in wanted), salt)):
            request = Request.from_body(record.request)
            try:
                clips = tuple(self._deliver(journal, record, store))
                yield Outcome(record.id, request, clips)
            except (RequestFailed, CorruptAudio, ContractError, ServiceError) as error:
                yield Outcome(record.id, request, error=error)

    async def agenerate(self, prompt: str, *, timeout: float | None = None, **parameters: Unpack[Parameters]) -> Clip:
        """Generate one clip without blocking the event loop. A cancelled task leaves the job to `fetch`."""
        stopper = _Stopper(self._sleep)
        request = Request(texts=(prompt,), **parameters).seeded()
        job = job_id(request.body(), uuid.uuid4().hex)

        def work() -> Clip:
            with Journal(self.history.new(job)) as journal:
                runner = self._runner(journal, lambda _: None, stopper.sleep)
                (record,) = runner.run([(job, request, {})], timeout=timeout)
                return self._deliver(journal, record)[0]

        try:
            return await asyncio.to_thread(work)
        finally:
            stopper.stop()

    async def agenerate_many(
        self, requests: Iterable[Request | str], *, name: str | None = None, window: int | None = None,
        **parameters: Unpack[Parameters],
    ) -> AsyncIterator[Outcome]:  # fmt: skip
        """As `generate_many`, for `async for`."""
        stopper = _Stopper(self._sleep)
        path = self.history.of_batch(name) if name is not None else self.history.new(f"m{uuid.uuid4().hex}")
        with Journal(path) as journal:
            outcomes = self._many(
                journal, requests, window, lambda _: None, lambda _job, _clips: [], stopper.sleep, parameters, path.stem
            )
            step: asyncio.Task[Outcome | None] | None = None
            try:
                while True:
                    step = asyncio.create_task(asyncio.to_thread(next, outcomes, None))
                    if (outcome := await asyncio.shield(step)) is None:
                        return
                    yield outcome
            finally:
                stopper.stop()
                if step is not None:
                    await asyncio.wait([step])  # a generator that runs in a thread cannot be closed
                    if not step.cancelled():
                        step.exception()  # retrieved, so that asyncio does not report it a second time
                outcomes.close()

    def download(self, record: Record) -> list[Clip]:
        """Read and check the clips of a completed job."""
        request, urls = Request.from_body(record.request), record.response["generated_outputs_s3"]
        clips: list[Clip] = []
        for index, url in enumerate(urls):
            content = self.transport.read(url, MAX_RESPONSE_BYTES)
            if content is None:
                raise ContractError(f"the response names {url}, but there is no such object; it may have expired")
            prompt = request.prompt(index)
            clips.append(read_clip(content, record.response, prompt, index, request.format or "wav"))
        return clips

    def look(self, job: str) -> Update:
        """Return where a job is without waiting for it, also while another process does."""
        return state_of(self.transport, self.history.find(job)[1])

    def cancel(self, job: str) -> None:
        """Ask the endpoint to end a job; InvalidRequest if it has ended."""
        found = self.look(job)
        if found.stage in FINISHED:
            raise InvalidRequest(f"job {found.job} has already ended: it is {found.stage}")
        self.transport.cancel(found.job)

    def status(self) -> endpoint_state.Status:
        """Return what the endpoint is doing."""
        return endpoint_state.endpoint_status(self.stack, self.clients)

    def wake(self) -> bool:
        """Start an instance if there is none, before a request needs it."""
        return endpoint_state.wake(self.stack, self.clients)

    def _deliver(
        self, journal: Journal, record: Record,
        store: Callable[[str, tuple[Clip, ...]], list[str]] = lambda _job, _clips: [],
    ) -> list[Clip]:  # fmt: skip
        raise_unless_completed(record)
        clips = self.download(record)
        journal.append(SAVED, record.id, files=store(record.id, tuple(clips)))
        return clips

    def _runner(
        self, journal: Journal, on_update: OnUpdate, sleep: Callable[[float], None], window: int | None = None
    ) -> Runner:
        limits = self._limits if window is None else Limits(**{**vars(self._limits), "window": window})
        return Runner(
            self.transport, journal, limits, on_update=on_update, queue_url=self._queue_url, clock=self._clock,
            sleep=sleep,
        )  # fmt: skip


class _Stopper:
    """Ends the work of a thread at its next pause when the asyncio task that awaits it ends."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._event, self._sleep = Event(), sleep

    def stop(self) -> None:
        self._event.set()

    def sleep(self, seconds: float) -> None:
        while seconds > 0:
            if self._event.is_set():
                raise _Stopped
            self._sleep(min(seconds, _STOP_SECONDS))
            seconds -= _STOP_SECONDS
