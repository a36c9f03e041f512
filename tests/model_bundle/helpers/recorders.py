"""What records steps where there is no GPU."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Repeater:
    """Records by keeping the work itself; notes what was done, and fails where `fails` says so."""

    fails: Callable[[int], bool] = lambda number: False
    rehearsed: int = 0
    recorded: int = 0
    repeated: int = 0
    collecting: list[bool] = field(default_factory=list[bool])
    check: Callable[[], None] = lambda: None

    def rehearse(self, work: Callable[[], None]) -> None:
        self.rehearsed += 1
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.collecting.append(gc.isenabled())
        self.recorded += 1
        if self.fails(self.recorded):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

        def repeat() -> None:
            self.repeated += 1
            self.check()
            work()

        return repeat
