"""Self-verification at start-up: kernels against torch's operations, graphs against single launches, one clip.

On the loaded weights and this device. What fails is replaced by the slower path that passes, with a log line; without
such a path the worker does not start. Runs before the engine's thread, leaves slots and pages as they were, and starts
nothing new after its budget of seconds.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's norm, isfinite and tolist have no types.

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from musicgen_serving.engine.model.memory import PAGE, ROWS
from musicgen_serving.engine.model.quantisation import Quantised
from musicgen_serving.engine.step.graphs import Bucket, StepGraphs, doublings
from musicgen_serving.engine.step.model_runner import ModelRunner
from musicgen_serving.engine.step.sampling import apply_guidance, sample
from musicgen_serving.engine.step.slots import BatchView, batch_view
from musicgen_serving.engine.step.torch_step import TorchStep
from musicgen_serving.engine.trial_clips import EMPTY_SLOT, TrialClips
from musicgen_serving.json_log import JsonLog

BUDGET_SECONDS = 5.0
POSITIONS = (0, 5, 255, 300, 1000)  # the first, within a page, the last of a span, in the second, in the fourth
FULL_BATCH_POSITIONS = (0, 5, 255)  # torch's step copies all that a batch has cached: 0.8 GB of large's at position 255
STEPS = 2  # the second reads what the first wrote
MAX_ERROR = 0.02
"""Of a row's logits, as the norm of the difference relative to torch's; docs/engine.md derives it."""
MIN_SAME_SAMPLES = 0.9  # a logarithm's last bit may decide between two tokens
SILENCE = 2.0**-15  # from a clip's lowest sample to its highest: one step of a 16-bit WAV
CHECK_TEXTS = ("", "an upbeat piano melody with drums", "slow strings, then brass, over a drum and a bass line " * 14)


class SelfCheckError(ValueError):
    """Self-verification failed, and there is no slower path that passes."""


class CheckedStep(Protocol):
    """A StepFn whose logits can be read after a step."""

    def __call__(self, view: BatchView, /, *, max_top_k: int, use_top_p: bool) -> None: ...
    def last_logits(self, slots: int) -> torch.Tensor: ...


@dataclass(frozen=True)
class ServingPath:
    """How clips are generated, and which parts of the start-up a slower path replaced."""

    step: str  # kernels or torch
    launch: str  # graphs or eager
    replaced: tuple[str, ...]  # of matrices, kernels, graphs

    @property
    def fields(self) -> dict[str, object]:
        """Return the fields of a log line."""
        return {"step": self.step, "launch": self.launch, "replaced": self.replaced}


@dataclass(frozen=True)
class Trial:
    """Two steps of the first `slots` slots, the first clip at `position`; negative prompts make two text rows."""

    slots: int
    position: int
    text_rows: int = 1


Item = TypeVar("Item", Trial, Bucket)


@dataclass(frozen=True)
class Outcome:
    """What a step of n slots computed."""

    logits: torch.Tensor  # [n, 2, K, V], float32
    written: torch.Tensor  # [2 (first and last layer), 2 (key, value), rows * heads, n, size], of the position fed
    tokens: torch.Tensor  # [n, K], at the next position
    position: torch.Tensor  # [n], afterwards
    nonfinite: torch.Tensor  # [n]


class SelfCheck:
    """Verifies a runner, and replaces its step or graphs; `texts` are encoded texts, [tokens, width] each.

    `replaced` names the parts of the start-up that a slower path replaces, those before included.
    """

    def __init__(
        self, runner: ModelRunner, texts: list[torch.Tensor], log: JsonLog, replaced: list[str],
        budget: float = BUDGET_SECONDS, now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._runner = runner
        self._texts = texts
        self._log = log
        self._budget = budget
        self._now = now
        self._started = 0.0
        self.seconds = 0.0
        self.replaced = replaced
        self.figures: dict[str, float] = {}  # for the log line `loaded`

    @torch.inference_mode()
    def check_step(self, step: CheckedStep) -> None:
        """Compare the runner's step, which is `step`, with torch's; let torch step if they differ.

        Raises SelfCheckError if torch's step is broken, or too slow to replace the other.
        """
        torch_step, errors = TorchStep(self._runner.config, self._runner.weights), list[float]()
        with self._timed():
            for negative in (False, True):
                with TrialClips(self._runner, self._texts, negative=negative) as clips:
                    trials = self._trials(clips.longest, negative)
                    # All of torch's steps come first: a broken kernel may write NaN where they would read it. They get
                    # half of the time that is left, because kernels are faster.
                    spent = self._now() - self._started
                    affordable = self._within(trials, (spent + self._budget) / 2)
                    expected = [self._by_torch(trial, torch_step, clips) for trial in affordable]
                    try:
                        errors += [self._compare(*pair, step, clips) for pair in zip(trials, expected, strict=False)]
                    except Exception as error:  # of the comparison, of Triton or of the device
                        return self.replace_step(repr(error))
            self.figures["logits_error"] = round(max(errors), 6)
        return None

    @property
    def path(self) -> "ServingPath":
        """How the runner steps now."""
        kernels, graphs = not isinstance(self._runner.step_fn, TorchStep), self._runner.graphs is not None
        return ServingPath(
            "kernels" if kernels else "torch", "graphs" if graphs else "eager", tuple(dict.fromkeys(self.replaced))
        )

    @property
    def has_slower_path(self) -> bool:
        """Whether `replace_step` changes anything."""
        return self._runner.graphs is not None or not isinstance(self._runner.step_fn, TorchStep)

    def replace_step(self, error: str) -> None:
        """Let torch step, without graphs; raise SelfCheckError for 8-bit weights, which it would expand every step."""
        if isinstance(self._runner.weights.layers[0].qkv, Quantised):
            raise SelfCheckError(
                f"the kernels for 8-bit weights failed self-verification ({error}), and without them 8-bit weights are "
                "slow; set MUSICGEN_WEIGHT_QUANTISATION=none"
            )
        self._replace(
            "graphs" if isinstance(self._runner.step_fn, TorchStep) else "kernels", "torch's own operations", error
        )
        self._runner.step_fn = TorchStep(self._runner.config, self._runner.weights)
        self._runner.graphs = None

    @torch.inference_mode()
    def check_graphs(self) -> None:
        """Compare each recorded graph with the same step launched kernel by kernel; use none of them if one differs."""
        graphs = self._runner.graphs
        if graphs is None:
            return
        with self._timed(), TrialClips(self._runner, self._texts) as clips:
            try:
                for bucket in self._within(graphs.recorded, self._budget):
                    self._compare_graph(graphs, bucket, clips)
            except Exception as error:
                self._replace("graphs", "a launch for each kernel", repr(error))
                self._runner.graphs = None

    def _replace(self, part: str, instead: str, error: str) -> None:
        self.replaced.append(part)
        self._log.write("self_check_failed", part=part, instead=instead, error=error)

    @contextmanager
    def _timed(self) -> Generator[None]:
        self._started = self._now() - self.seconds
        try:
            yield
        finally:
            if self._runner.device.type == "cuda":
                torch.cuda.synchronize(self._runner.device)
            self.seconds = self._now() - self._started
            self.figures["self_check_seconds"] = round(self.seconds, 3)

    def _within(self, items: tuple[Item, ...], seconds: float) -> Iterator[Item]:
        """Yield items, at least one, until `seconds` of the check have passed; log which are left out."""
        for index, item in enumerate(items):
            if index and self._now() - self._started >= seconds:
                left = [repr(one) for one in items[index:]]
                self._log.write("self_check_incomplete", seconds=seconds, unchecked=left)
                return
            yield item

    def _trials(self, longest: int, negative: bool) -> tuple[Trial, ...]:
        """Return trials of one clip, of three or four slots, and of all slots, at positions up to `longest`."""
        slots = self._runner.slots.position.shape[0]
        if negative:  # its kernels differ in cross-attention only
            return tuple(Trial(count, min(5, longest), ROWS) for count in sorted({1, min(4, slots)}))
        positions = sorted({min(position, longest) for position in POSITIONS})
        trials = [Trial(count, position) for count in sorted({1, min(4, slots)}) for position in positions]
        if slots > EMPTY_SLOT + 1:
            trials += [Trial(slots, position) for position in positions if position in FULL_BATCH_POSITIONS]
        return tuple(trials)

    def _view(self, trial: Trial) -> BatchView:
        fed = trial.position + STEPS
        length = next(one for one in doublings(256, max(self._runner.positions, 256)) if one >= fed)
        length = min(length, self._runner.positions)
        return batch_view(self._runner.slots, 0, trial.slots, length, self._runner.text_length, trial.text_rows)

    def _by_torch(self, trial: Trial, step: TorchStep, clips: TrialClips) -> list[Outcome]:
        """Return what torch's steps compute; raise SelfCheckError if that is of no use."""
        view = self._view(trial)
        clips.place(trial.position)
        outcomes: list[Outcome] = []
        for _ in range(STEPS):
            position, logits = view.state.position.clone(), step.logits(view)
            step.advance(view, logits, max_top_k=self._runner.config.vocabulary, use_top_p=True)
            outcomes.append(self._outcome(view, position, logits))
        active = view.state.active
        for outcome in outcomes:
            norms = outcome.logits[active].flatten(1).norm(dim=1)
            if not bool((norms.isfinite() & (norms > 0)).all()):
                raise SelfCheckError(
                    f"torch's own step must compute finite logits that are not all 0, got norms of {norms.tolist()} in "
                    f"{trial}: the weights are damaged, or too large for {self._runner.weights.dtype} (try "
                    "MUSICGEN_DECODER_DTYPE=float32)"
                )
        return outcomes

    def _compare(self, trial: Trial, expected: list[Outcome], step: CheckedStep, clips: TrialClips) -> float:
        """Return the largest error of the step's logits in a trial; raise SelfCheckError if a result differs.

        Each step is given torch's token, as another one, equally good, would change all that follows.
        """
        view, worst = self._view(trial), 0.0
        clips.place(trial.position)
        active = view.state.active
        for number, by_torch in enumerate(expected):
            position, idle = view.state.position.clone(), view.state.tokens[~active].clone()
            step(view, max_top_k=self._runner.config.vocabulary, use_top_p=True)
            got = self._outcome(view, position, step.last_logits(trial.slots).clone())
            what = f"in step {number} of {trial}"
            errors = relative_errors(got.logits[active], by_torch.logits[active])  # [clips, 2]
            require(bool((errors <= MAX_ERROR).all()), f"logits differ {what} by {errors.tolist()}")  # not NaN either
            worst = max(worst, float(errors.max()))
            written = relative_errors(*(one.written[..., active, :].movedim(3, 0) for one in (got, by_torch)))
            require(bool((written <= MAX_ERROR).all()), f"keys or values differ {what} by {written.tolist()}")
            for field in ("position", "nonfinite"):
                values = (getattr(got, field), getattr(by_torch, field))
                require(torch.equal(*values), f"{field} differs {what}: {[one.tolist() for one in values]}")
            require(torch.equal(view.state.tokens[~active], idle), f"an empty slot's tokens changed {what}")
            self._compare_tokens(got, by_torch, view, position, what)
            following = (position + 1)[:, None, None].expand(-1, got.tokens.shape[1], 1)
            view.state.tokens.scatter_(2, following, by_torch.tokens[..., None])
        return worst

    def _compare_tokens(
        self, got: Outcome, by_torch: Outcome, view: BatchView, position: torch.Tensor, what: str
    ) -> None:
        """Raise SelfCheckError if a greedy token is not torch's, or a sampled one not what its logits give.

        Two logits closer than the error of both may change places. Guidance s scales an error by up to 2s - 1.
        """
        state = view.state
        active, greedy = state.active, state.active & state.greedy
        guided = apply_guidance(by_torch.logits, state.guidance)  # [n, K, V]
        chosen = guided.gather(2, got.tokens.clamp_min(0)[..., None])[..., 0]
        error = (got.logits - by_torch.logits).abs() + 1e-5 * by_torch.logits.abs()
        allowed = 2 * (2 * state.guidance - 1) * error.flatten(1).amax(1)
        behind = (guided.amax(2) - chosen).amax(1)  # [n]
        wrong = greedy & ((behind > allowed) | (got.tokens < 0).any(1))
        require(not bool(wrong.any()), f"greedy tokens differ {what}: {behind.tolist()} below the largest logit")
        expected, _ = sample(
            apply_guidance(got.logits, state.guidance), temperature=state.temperature, top_k=state.top_k,
            top_p=state.top_p, greedy=state.greedy, seed=state.seed, position=position,
            max_top_k=self._runner.config.vocabulary, use_top_p=True,
        )  # fmt: skip
        same = float((expected[..., 0] == got.tokens)[active].float().mean())
        require(same >= MIN_SAME_SAMPLES, f"sampled tokens differ {what}: {same:.1%} are those that torch samples")

    def _compare_graph(self, graphs: StepGraphs, bucket: Bucket, clips: TrialClips) -> None:
        """Raise SelfCheckError unless a graph's replay has the tokens, positions, keys and values of the same step."""
        view = batch_view(self._runner.slots, 0, bucket.slots, bucket.length, self._runner.text_length)
        outcomes: list[Outcome] = []
        for step in (graphs.step_eagerly, graphs.replay):
            clips.place(min(clips.longest, bucket.length - 1))
            position = view.state.position.clone()
            step(bucket)
            outcomes.append(self._outcome(view, position, torch.empty(0)))
        active = view.state.active
        for field in ("tokens", "position", "nonfinite"):
            eager, replayed = (getattr(one, field)[active] for one in outcomes)
            require(torch.equal(eager, replayed), f"{field} differ in the replay of {bucket}")
        written = relative_errors(*(one.written[..., active, :].movedim(3, 0) for one in reversed(outcomes)))
        require(bool((written <= MAX_ERROR).all()), f"keys or values differ in the replay of {bucket}")

    def _outcome(self, view: BatchView, position: torch.Tensor, logits: torch.Tensor) -> Outcome:
        """Return what the step that fed positions [n] left behind."""
        state = view.state
        page = state.page_table.gather(1, (position // PAGE)[:, None])[:, 0].long()
        places = page * PAGE + position % PAGE
        written = torch.stack([kv[:, :, places] for kv in (state.kv[0], state.kv[-1])])
        following = (position + 1)[:, None, None].expand(-1, state.tokens.shape[1], 1)
        tokens = state.tokens.gather(2, following)[..., 0]
        return Outcome(logits, written.float(), tokens, state.position.clone(), state.nonfinite.clone())


def relative_errors(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Return the norm of the difference relative to that of the expected tensor, over all but two dimensions."""
    got, expected = (one.flatten(2).float() for one in (got, expected))
    return (got - expected).norm(dim=2) / expected.norm(dim=2)


def require(holds: bool, sentence: str) -> None:
    if not holds:
        raise SelfCheckError(sentence)


def require_sound(samples: NDArray[np.float32]) -> None:
    """Raise SelfCheckError if a clip's samples [channels, samples] are silent in every channel."""
    spread = float(np.ptp(samples, axis=1).max())
    if not spread >= SILENCE:
        raise SelfCheckError(
            f"a first clip must not be silent, got samples within {spread:.2g} of each other: EnCodec's weights are "
            "damaged, or its decoder computes nothing on this device"
        )
