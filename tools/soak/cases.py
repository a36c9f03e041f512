"""The soak test's requests, drawn from a seed, and the audio that each must return."""

import hashlib
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen_serving.audio_output import wav_bytes
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.http.negotiation import JSON, WAV
from musicgen_serving.http.request import parse_request
from musicgen_serving.json_log import JsonLog

TEXTS = ("calm piano", "loud drums and bass", "80s pop with synth", "a", "slow jazz guitar, with rain")
INVALID: tuple[dict[str, Any], ...] = (
    {"texts": []},
    {"texts": ["a"], "generation_params": {"guidance_scale": -1}},
    {"texts": ["a"], "generation_params": {"max_new_tokens": 10**9}},
    {"texts": ["a"], "unknown": 1},
    {"texts": ["a"], "bucket_name": "someone-elses"},
    {"unconditional_clips": 1, "negative_prompt": "a"},
)


@dataclass(frozen=True)
class Case:
    """One request, identified by its inference id."""

    inference_id: str
    body: dict[str, Any]
    accept: str

    @property
    def valid(self) -> bool:
        """Whether the response must be audio."""
        return self.body not in INVALID


def random_cases(count: int, seed: int) -> list[Case]:
    """Draw requests: one in six invalid; of the others, one in five asks for audio in the body."""
    rng, cases = random.Random(seed), list[Case]()
    for index in range(count):
        inference_id = f"soak-{seed}-{index}"
        if rng.random() < 1 / 6:
            cases.append(Case(inference_id, rng.choice(INVALID), JSON))
            continue
        accept = WAV if rng.random() < 1 / 5 else JSON
        texts = [rng.choice(TEXTS) for _ in range(1 if accept == WAV else rng.randint(1, 4))]
        params: dict[str, Any] = {"max_new_tokens": rng.randint(4, 90), "seed": rng.randrange(2**32)}
        params |= rng.choice(({}, {"do_sample": False}, {"top_k": 5}, {"top_p": 0.8}, {"guidance_scale": 1}))
        extra: dict[str, Any] = rng.choice(({}, {}, {"negative_prompt": rng.choice(TEXTS)}, {"return_tokens": True}))
        body = {"texts": texts, **extra} if rng.random() < 0.9 else {"unconditional_clips": len(texts)}
        cases.append(Case(inference_id, {**body, "generation_params": params}, accept))
    return cases


def expected_digests(staged: Path, cases: list[Case]) -> list[list[str]]:
    """Return the SHA-256 of each case's clips, none if it is invalid; generated in this process, one at a time."""
    log = JsonLog(io.StringIO(), "memory")
    generator = Generator(staged, weight_format=WeightFormat(dtype="float32"), capacity=Capacity(slots=1), log=log)
    digests: list[list[str]] = []
    for case in cases:
        clips = parse_request(json.dumps(case.body).encode(), JSON).clip_specs(case.inference_id) if case.valid else []
        audio = [wav_bytes(generator.generate([clip]).clips[0], generator.sampling_rate) for clip in clips]
        digests.append([hashlib.sha256(wav).hexdigest() for wav in audio])
    generator.close()
    return digests
