"""A graph recorder that needs no GPU: replaying a recording runs its work again."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class FakeGraphRecorder:
    """Count rehearsals, recordings and replays; recording number n fails if `fails(n)`."""

    fails: Callable[[int], bool] = lambda number: False
    check: Callable[[], None] = lambda: None  # called before every replay
    rehearsed: int = 0
    recorded: int = 0
    replayed: int = 0
    gc_enabled: list[bool] = field(default_factory=list[bool])  # at every recording

    def rehearse(self, work: Callable[[], None]) -> None:
        self.rehearsed += 1
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.gc_enabled.append(gc.isenabled())
        self.recorded += 1
        if self.fails(self.recorded):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

        def replay() -> None:
            self.replayed += 1
            self.check()
            work()

        return replay
