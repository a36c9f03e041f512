"""The inference id: names a request's objects and, where the request has no seed, decides its seed."""

import hashlib
import re
import uuid

from musicgen_serving.errors import InvalidRequestError
from musicgen_serving.parameters import shown

HEADER = "X-Amzn-SageMaker-Inference-Id"


def inference_id_of(header: str | None) -> str:
    """The id from the header, or a new one; refuses what could not be one part of an object's key."""
    if not header:
        return str(uuid.uuid4())
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", header):
        allowed = "1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first"
        raise InvalidRequestError(f"{HEADER} must be {allowed}, got {shown(header)}")
    return header


def seeds_of(inference_id: str, seed: int | None, count: int) -> list[int]:
    """A seed for each of `count` texts: seed, seed + 1, … modulo 2**32; the first from the id where it is not given."""
    if seed is None:
        seed = int.from_bytes(hashlib.sha256(inference_id.encode()).digest()[:4], "big")
    return [(seed + index) % 2**32 for index in range(count)]
