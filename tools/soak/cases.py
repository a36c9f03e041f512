"""The soak's requests: drawn from a seed, and what each must come to."""

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen_serving.audio import wav_bytes
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.engine.sampling_params import ClipSpec
from musicgen_serving.inference_id import seeds_of
from musicgen_serving.json_log import JsonLog
from musicgen_serving.request import parse_request

TEXTS = ("calm piano", "loud drums and bass", "80s pop with synth", "a", "slow jazz guitar, with rain")
INVALID: tuple[dict[str, Any], ...] = (
    {"texts": []},
    {"texts": ["a"], "generation_params": {"guidance_scale": -1}},
    {"texts": ["a"], "generation_params": {"max_new_tokens": 10**9}},
    {"texts": ["a"], "unknown": 1},
    {"texts": ["a"], "bucket_name": "someone-elses"},
)


@dataclass(frozen=True)
class Case:
    """One request, told apart by its inference id."""

    inference_id: str
    body: dict[str, Any]
    accept: str

    @property
    def valid(self) -> bool:
        """Whether it must be answered with audio."""
        return self.body not in INVALID


def drawn(count: int, seed: int) -> list[Case]:
    """Requests drawn from a seed: one in six invalid, one in five asking for audio in the body."""
    chance = random.Random(seed)
    return [_case(chance, f"soak-{seed}-{index}") for index in range(count)]


def _case(chance: random.Random, inference_id: str) -> Case:
    if chance.random() < 1 / 6:
        return Case(inference_id, chance.choice(INVALID), "application/json")
    accept = "audio/wav" if chance.random() < 1 / 5 else "application/json"
    texts = [chance.choice(TEXTS) for _ in range(1 if accept == "audio/wav" else chance.randint(1, 4))]
    params: dict[str, Any] = {"max_new_tokens": chance.randint(4, 90), "seed": chance.randrange(2**32)}
    params |= chance.choice(({}, {"do_sample": False}, {"top_k": 5}, {"top_p": 0.8}, {"guidance_scale": 1}))
    return Case(inference_id, {"texts": texts, "generation_params": params}, accept)


def expected(staged: Path, cases: list[Case]) -> list[list[str]]:
    """What each valid case must sound like: made alone, one clip after another, by an engine of this process."""
    log = JsonLog((staged.parent / "expected.log").open("a", encoding="utf-8"), "a file")
    generator = Generator(staged, weight_format=WeightFormat(dtype="float32"), capacity=Capacity(slots=1), log=log)

    def digests(case: Case) -> list[str]:
        if not case.valid:
            return []
        request = parse_request(json.dumps(case.body).encode(), "application/json")
        seeds = seeds_of(case.inference_id, request.params.seed, len(request.texts))
        clips = [ClipSpec(text, seed, request.params) for text, seed in zip(request.texts, seeds, strict=True)]
        audio = [generator.generate([clip]).clips[0] for clip in clips]
        return [hashlib.sha256(wav_bytes(samples, generator.sampling_rate)).hexdigest() for samples in audio]

    all_digests = [digests(case) for case in cases]
    generator.close()
    log.close()
    return all_digests
