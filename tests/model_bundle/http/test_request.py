"""Parsing and validating request bodies."""

import json

import pytest

from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams, Section
from musicgen_serving.http.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    MalformedBodyError,
    NotAcceptableError,
    RequestError,
    UnsupportedContentTypeError,
)
from musicgen_serving.http.music_fields import MusicPrompt
from musicgen_serving.http.negotiation import parse_accept
from musicgen_serving.http.request import MusicRequest, parse_request
from musicgen_serving.loop import Loop


def parsed(body: object) -> MusicRequest:
    return parse_request(json.dumps(body).encode(), "application/json")


def with_params(**params: object) -> bytes:
    return json.dumps({"texts": ["calm piano"], "generation_params": params}).encode()


def test_accepts_the_published_aws_samples_request() -> None:
    request = parsed(
        {
            "texts": ["Warm and vibrant weather on a sunny day, feeling the vibes of hip hop and synth"],
            "bucket_name": "sagemaker-us-east-1-123456789012",
            "generation_params": {"guidance_scale": 3, "max_new_tokens": 256, "do_sample": True, "temperature": 1},
        }
    )
    assert request.bucket_name == "sagemaker-us-east-1-123456789012"
    assert request.params == SamplingParams(max_new_tokens=256, guidance_scale=3.0, do_sample=True, temperature=1.0)
    assert request.params.frames == 253


def test_uses_the_contracts_defaults() -> None:
    assert parsed({"texts": ["calm piano"]}) == MusicRequest(
        prompt=MusicPrompt(texts=("calm piano",)), bucket_name=None, params=SamplingParams(), seed=None
    )


@pytest.mark.parametrize(("seconds", "tokens"), [(0.02, 4), (1, 53), (5.06, 256), (30, 1503)])
def test_converts_duration_to_tokens(seconds: float, tokens: int) -> None:
    assert parsed({"texts": ["a"], "generation_params": {"duration": seconds}}).params.max_new_tokens == tokens


def test_accepts_a_whole_float_as_an_integer_like_json_schema() -> None:
    assert parsed({"texts": ["a"], "generation_params": {"top_k": 50.0}}).params.top_k == 50


def request_for(*texts: str, seed: int | None = None) -> MusicRequest:
    return MusicRequest(prompt=MusicPrompt(texts=texts), bucket_name=None, params=SamplingParams(), seed=seed)


def seeds_of(request: MusicRequest, inference_id: str) -> list[int]:
    return [clip.seed for clip in request.clip_specs(inference_id)]


def test_numbers_seeds_from_the_requests_seed_modulo_2_to_the_32() -> None:
    assert seeds_of(request_for("a", "b", "c", seed=2**32 - 1), "any") == [2**32 - 1, 0, 1]


def test_clips_without_a_text_have_seeds_like_others() -> None:
    request = parsed({"unconditional_clips": 2.0, "generation_params": {"seed": 7}})
    assert request.clip_specs("any") == [ClipSpec(None, seed, SamplingParams()) for seed in (7, 8)]


def test_every_text_gets_the_negative_prompt() -> None:
    request = parsed({"texts": ["a", "b"], "negative_prompt": "drums", "generation_params": {"seed": 7}})
    assert [(clip.text, clip.negative_prompt) for clip in request.clip_specs("any")] == [("a", "drums"), ("b", "drums")]


@pytest.mark.parametrize(("fields", "expected"), [({}, False), ({"return_tokens": True}, True)])
def test_tokens_are_returned_if_asked_for(fields: dict[str, bool], expected: bool) -> None:
    assert parsed({"texts": ["a"], **fields}).return_tokens is expected


@pytest.mark.parametrize(
    ("fields", "expected"), [({}, False), ({"progress": True}, True), ({"progress": False}, False)]
)
def test_a_request_is_followed_if_it_asks_for_it(fields: dict[str, bool], expected: bool) -> None:
    assert parsed({"texts": ["a"], **fields}).progress is expected


def test_derives_a_missing_seed_from_the_inference_id() -> None:
    assert seeds_of(request_for("a", "b"), "a") == seeds_of(request_for("a", "b"), "a")
    assert seeds_of(request_for("a"), "a") != seeds_of(request_for("a"), "b")


INVALID = {
    "no texts": (b"{}", "texts must be an array of 1 to 16 strings, got nothing"),
    "empty texts": (b'{"texts": []}', "texts must be an array of 1 to 16 strings, got an array of 0 items"),
    "40 texts": (
        json.dumps({"texts": ["a"] * 40}).encode(),
        "texts must be an array of 1 to 16 strings, got an array of 40 items",
    ),
    "a string for texts": (b'{"texts": "a"}', 'texts must be an array of 1 to 16 strings, got "a"'),
    "null for texts": (b'{"texts": null}', "texts must be an array of 1 to 16 strings, got null"),
    "a number for a text": (b'{"texts": ["a", 7]}', "texts[1] must be a string of 1 to 1000 characters, got 7"),
    "an empty text": (b'{"texts": [""]}', "texts[0] must be a string of 1 to 1000 characters, got 0 characters"),
    "a long text": (
        json.dumps({"texts": ["a" * 1001]}).encode(),
        "texts[0] must be a string of 1 to 1000 characters, got 1001 characters",
    ),
    "white space": (
        b'{"texts": [" \\n"]}',
        'texts[0] must be a string of 1 to 1000 characters, not all of them white space, got " \\n"',
    ),
    "a lone surrogate": (
        b'{"texts": ["a\\ud800"]}',
        'texts[0] must be a string of 1 to 1000 characters without lone surrogates, got "a\\ud800"',
    ),
    "an unknown field": (
        b'{"texts": ["a"], "top_n": "x"}',
        "body must have no field but texts, unconditional_clips, sections, n, negative_prompt, loop, bpm, bars, "
        "generation_params, continuation, melody, bucket_name, return_tokens, progress, format, normalization, "
        'fade_in, fade_out, trim_tail, tags, got "top_n"',
    ),
    "texts and clips without one": (
        b'{"texts": ["a"], "unconditional_clips": 1}',
        "body must have one of texts, unconditional_clips and sections, got texts and unconditional_clips",
    ),
    "no clips": (
        b'{"unconditional_clips": 0}',
        "unconditional_clips must be an integer from 1 to 16, got 0",
    ),
    "17 clips": (
        b'{"unconditional_clips": 17}',
        "unconditional_clips must be an integer from 1 to 16, got 17",
    ),
    "true for a number of clips": (
        b'{"unconditional_clips": true}',
        "unconditional_clips must be an integer from 1 to 16, got true",
    ),
    "a negative prompt without a text": (
        b'{"unconditional_clips": 1, "negative_prompt": "drums"}',
        "body must have one of unconditional_clips and negative_prompt, got both",
    ),
    "only a negative prompt": (
        b'{"negative_prompt": "drums"}',
        "texts must be an array of 1 to 16 strings, got nothing",
    ),
    "an empty negative prompt": (
        b'{"texts": ["a"], "negative_prompt": ""}',
        "negative_prompt must be a string of 1 to 1000 characters, got 0 characters",
    ),
    "a negative prompt for each text": (
        b'{"texts": ["a"], "negative_prompt": ["drums"]}',
        "negative_prompt must be a string of 1 to 1000 characters, got an array of 1 items",
    ),
    "a blank negative prompt": (
        b'{"texts": ["a"], "negative_prompt": " "}',
        'negative_prompt must be a string of 1 to 1000 characters, not all of them white space, got " "',
    ),
    "null for tokens": (
        b'{"texts": ["a"], "return_tokens": null}',
        "return_tokens must be true or false, got null",
    ),
    "a number for progress": (b'{"texts": ["a"], "progress": 1}', "progress must be true or false, got 1"),
    "another format": (
        b'{"texts": ["a"], "format": "aac"}',
        'format must be one of wav, wav_24, wav_float, flac, flac_24, ogg, mp3, got "aac"',
    ),
    "an array for the format": (
        b'{"texts": ["a"], "format": ["wav"]}',
        "format must be one of wav, wav_24, wav_float, flac, flac_24, ogg, mp3, got an array of 1 items",
    ),
    "another level": (
        b'{"texts": ["a"], "normalization": "lufs"}',
        'normalization must be one of none, clip, peak, rms, loudness, got "lufs"',
    ),
    "a negative fade": (b'{"texts": ["a"], "fade_in": -0.1}', "fade_in must be a number from 0 to 30, got -0.1"),
    "an endless fade": (
        b'{"texts": ["a"], "fade_out": 1e999}',
        "fade_out must be a number from 0 to 30, got Infinity",
    ),
    "a number for trim_tail": (b'{"texts": ["a"], "trim_tail": 1}', "trim_tail must be true or false, got 1"),
    "null for tags": (b'{"texts": ["a"], "tags": null}', "tags must be true or false, got null"),
    "an array for the body": (b"[1, 2]", "body must be an object, got an array of 2 items"),
    "a number for the bucket": (b'{"texts": ["a"], "bucket_name": 3}', "bucket_name must be a string, got 3"),
    "null for the bucket": (b'{"texts": ["a"], "bucket_name": null}', "bucket_name must be a string, got null"),
    "an array for the parameters": (
        b'{"texts": ["a"], "generation_params": []}',
        "generation_params must be an object, got an array of 0 items",
    ),
    "an unknown parameter": (
        with_params(num_beams=4),
        "generation_params must have no field but max_new_tokens, duration, stride, guidance_scale, do_sample, "
        'temperature, top_k, top_p, seed, got "num_beams"',
    ),
    "a billion tokens": (
        with_params(max_new_tokens=10**9),
        "generation_params.max_new_tokens must be an integer from 4 to 1503, got 1000000000",
    ),
    "tokens beyond any float": (
        with_params(max_new_tokens=10**400),
        f"generation_params.max_new_tokens must be an integer from 4 to 1503, got 1{'0' * 59}…",
    ),
    "a fraction of a token": (
        with_params(max_new_tokens=10.5),
        "generation_params.max_new_tokens must be an integer from 4 to 1503, got 10.5",
    ),
    "true for an integer": (
        with_params(top_k=True),
        "generation_params.top_k must be an integer from 0 to 2048, got true",
    ),
    "guidance of -1": (
        with_params(guidance_scale=-1),
        "generation_params.guidance_scale must be a number from 1 to 20, got -1",
    ),
    "NaN": (
        with_params(guidance_scale=float("nan")),
        "generation_params.guidance_scale must be a number from 1 to 20, got NaN",
    ),
    "infinity": (
        with_params(duration=float("inf")),
        "generation_params.duration must be a number from 0.02 to 300, got Infinity",
    ),
    "a temperature of 0": (
        with_params(temperature=0),
        "generation_params.temperature must be a number from 0.001 to 5, got 0",
    ),
    "a temperature that overflows float32": (
        with_params(temperature=1e-38),
        "generation_params.temperature must be a number from 0.001 to 5, got 1e-38",
    ),
    "a top_p that is 0 in float32": (
        with_params(top_p=1e-300),
        "generation_params.top_p must be a number from 1e-06 to 1, got 1e-300",
    ),
    "a string for a number": (
        with_params(top_p="1"),
        'generation_params.top_p must be a number from 1e-06 to 1, got "1"',
    ),
    "an integer for a boolean": (with_params(do_sample=1), "generation_params.do_sample must be true or false, got 1"),
    "a seed of 2**32": (
        with_params(seed=2**32),
        "generation_params.seed must be an integer from 0 to 4294967295, got 4294967296",
    ),
    "more clips than are allowed": (
        b'{"texts": ["a", "b", "c"], "n": 6}',
        "texts and n must give at most 16 clips, got 3 times 6",
    ),
    "variations of no text": (
        b'{"unconditional_clips": 1, "n": 2}',
        "body must have one of unconditional_clips and n, got both",
    ),
    "no section": (b'{"sections": []}', "sections must be an array of 1 to 16 objects, got an array of 0 items"),
    "a section without a length": (
        b'{"sections": [{"text": "a", "duration": 1}, {"text": "b"}]}',
        "sections[1] must have text and duration, got no duration",
    ),
    "a section of no length": (
        b'{"sections": [{"text": "a", "duration": 0}]}',
        "sections[0].duration must be a number from 0.02 to 300, got 0",
    ),
    "an empty text of a section": (
        b'{"sections": [{"text": "", "duration": 1}]}',
        "sections[0].text must be a string of 1 to 1000 characters, got 0 characters",
    ),
    "sections and a length": (
        b'{"sections": [{"text": "a", "duration": 1}], "generation_params": {"duration": 1}}',
        "generation_params.duration must not be given with sections, which have their own",
    ),
    "a stride of a whole window": (
        with_params(stride=30),
        "generation_params.stride must be a number from 1 to 29, got 30",
    ),
    "a loop without a tempo": (
        b'{"texts": ["a"], "loop": true, "bars": 4}',
        "bpm must be given for a loop, got nothing",
    ),
    "a tempo without a loop": (
        b'{"texts": ["a"], "bpm": 120}',
        "loop must be true for bpm to have a meaning, got bpm without it",
    ),
    "a loop with a length": (
        b'{"texts": ["a"], "loop": true, "bars": 4, "bpm": 120, "generation_params": {"duration": 8}}',
        "generation_params.duration must not be given for a loop: bpm and bars say its length",
    ),
    "a loop that fades": (
        b'{"texts": ["a"], "loop": true, "bars": 4, "bpm": 120, "fade_out": 1}',
        "fade_out must not be given for a loop, got 1",
    ),
    "two lengths": (
        with_params(duration=1, max_new_tokens=53),
        "generation_params must have one of duration and max_new_tokens, got both",
    ),
}


CONTINUATIONS: dict[str, tuple[object, str]] = {
    "no object": ([], "continuation must be an object, got an array of 0 items"),
    "an unknown field": (
        {"stride": 1},
        'continuation must have no field but audio, start, end, return_excerpt, got "stride"',
    ),
    "no audio": ({}, 'continuation.audio must be an object with "s3" or "base64", got nothing'),
    "both": (
        {"audio": {"s3": "s3://aaa/b", "base64": "UklG"}},
        "continuation.audio must have one of s3 and base64, got 2",
    ),
    "neither": ({"audio": {}}, "continuation.audio must have one of s3 and base64, got 0"),
    "a path": ({"audio": {"s3": "in/a.wav"}}, 'continuation.audio.s3 must be s3://bucket/key, got "in/a.wav"'),
    "a web address": (
        {"audio": {"s3": "https://example.com/a.wav"}},
        'continuation.audio.s3 must be s3://bucket/key, got "https://example.com/a.wav"',
    ),
    "base64 for URLs": (
        {"audio": {"base64": "Ukl-"}},
        'continuation.audio.base64 must be base64 of RFC 4648 with padding, got "Ukl-"',
    ),
    "an empty file": ({"audio": {"base64": ""}}, 'continuation.audio.base64 must be a file in base64, got ""'),
    "an end before the start": (
        {"audio": {"base64": "UklG"}, "start": 5, "end": 4},
        "continuation.end must be after start, by at most 25 s, got 5.0 to 4.0",
    ),
    "an excerpt of 26 s": (
        {"audio": {"base64": "UklG"}, "start": 5, "end": 31},
        "continuation.end must be after start, by at most 25 s, got 5.0 to 31.0",
    ),
    "a start after ten minutes": (
        {"audio": {"base64": "UklG"}, "start": 601},
        "continuation.start must be a number from 0 to 600, got 601",
    ),
    "a string for a boolean": (
        {"audio": {"base64": "UklG"}, "return_excerpt": "no"},
        'continuation.return_excerpt must be true or false, got "no"',
    ),
}


@pytest.mark.parametrize("case", CONTINUATIONS)
def test_rejects_an_invalid_continuation_with_one_sentence(case: str) -> None:
    continuation, sentence = CONTINUATIONS[case]
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(json.dumps({"texts": ["a"], "continuation": continuation}).encode(), "application/json")
    assert str(caught.value) == sentence


@pytest.mark.parametrize("case", INVALID)
def test_rejects_invalid_fields_with_one_sentence(case: str) -> None:
    body, sentence = INVALID[case]
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(body, "application/json")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"texts": ["a"', "body must be JSON, got an error at line 1 column 15: expecting ',' delimiter"),
        (b"", "body must be JSON, got an error at line 1 column 1: expecting value"),
        (b'{"texts": ["\xff"]}', "body must be UTF-8, got another byte at 12"),
        (b"[" * 100_000, "body must be JSON nested at most three deep, got far more"),
        (b'{"texts": ' + b"1" * 5000 + b"}", "body must be JSON with numbers of at most 4300 digits, got more"),
    ],
)
def test_rejects_a_body_that_is_not_json(body: bytes, sentence: str) -> None:
    with pytest.raises(MalformedBodyError) as caught:
        parse_request(body, "application/json")
    assert (caught.value.status, str(caught.value)) == (400, sentence)


@pytest.mark.parametrize(
    ("header", "content_type"),
    [
        ("", "application/json"),
        (",", "application/json"),
        ("*/*", "application/json"),
        ("audio/*", "audio/wav"),
        ("audio/wav, application/json", "audio/wav"),
        ("audio/wav;q=0.5, application/json", "application/json"),
        ("audio/wav;q=0, */*", "application/json"),
        ("application/json;q=0, */*", "audio/wav"),
        ("application/json; q=0.000, audio/wav; q=0.001", "audio/wav"),
        ("image/png, Audio/WAV ; rate=1 ; Q=1.000", "audio/wav"),
    ],
)
def test_chooses_the_type_that_accept_prefers(header: str, content_type: str) -> None:
    assert parse_accept(header) == content_type


@pytest.mark.parametrize("header", ["image/png", "audio/wav;q=0", "*/*;q=0.0", "audio/wav;q=0, audio/*", "*/*;q=yes"])
def test_rejects_an_accept_without_json_or_wav(header: str) -> None:
    with pytest.raises(NotAcceptableError) as caught:
        parse_accept(header)
    assert str(caught.value) == f'Accept must be application/json or audio/wav, got "{header}"'


def test_rejects_a_body_over_eight_mebibytes() -> None:
    with pytest.raises(BodyTooLargeError, match="at most 8388608 bytes of JSON, got 8388609") as caught:
        parse_request(b" " * (8 * 2**20 + 1), "application/json")
    assert caught.value.status == 413


UNNAMED = ["", "application/octet-stream", "Application/Octet-Stream; charset=binary", "binary/octet-stream"]


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", *UNNAMED])
def test_accepts_json_of_any_spelling_and_of_clients_that_name_no_type(content_type: str) -> None:
    assert parse_request(b'{"texts": ["a"]}', content_type).prompt.texts == ("a",)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "audio/wav"])
def test_rejects_other_content_types(content_type: str) -> None:
    with pytest.raises(UnsupportedContentTypeError, match="Content-Type must be application/json, got") as caught:
        parse_request(b'{"texts": ["a"]}', content_type)
    assert caught.value.status == 415
    assert isinstance(caught.value, RequestError)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"RIFF", "; body must be JSON, got an error at line 1 column 1: expecting value"),
        (b'{"texts": ["a"]', "; body must be JSON, got an error at line 1 column 16: expecting ',' delimiter"),
        (b"\xff\xd8", "; body must be UTF-8, got another byte at 0"),
        (b'["a"]', " and an array of 1 items"),
        (b'"a"', ' and "a"'),
    ],
)
@pytest.mark.parametrize(("content_type", "got"), [("", "none"), ("binary/octet-stream", '"binary/octet-stream"')])
def test_asks_for_a_content_type_when_an_unnamed_body_is_no_json_object(
    body: bytes, reason: str, content_type: str, got: str
) -> None:
    with pytest.raises(UnsupportedContentTypeError) as caught:
        parse_request(body, content_type)
    allowed = "Content-Type must be application/json unless the body is a JSON object"
    assert (caught.value.status, str(caught.value)) == (415, f"{allowed}, got {got}{reason}")


def test_limits_and_checks_an_unnamed_body_like_any_other() -> None:
    with pytest.raises(BodyTooLargeError):
        parse_request(b" " * (8 * 2**20 + 1), "")
    with pytest.raises(InvalidRequestError, match="texts must be an array of 1 to 16 strings, got nothing"):
        parse_request(b"{}", "application/octet-stream")


def test_what_to_generate_is_refused_before_how() -> None:
    with pytest.raises(InvalidRequestError, match="texts must be an array of 1 to 16 strings, got an array of 0 items"):
        parsed({"texts": [], "generation_params": {"guidance_scale": -1}})


# ---- sections, variations and loops


def test_sections_are_one_clip_and_n_gives_variations_of_it() -> None:
    sections = [{"text": "calm", "duration": 40}, {"text": "loud", "duration": 0.5}]
    request = parsed({"sections": sections, "n": 2, "negative_prompt": "drums", "generation_params": {"seed": 7}})
    expected = (Section("calm", 2000), Section("loud", 25))
    assert request.clip_specs("any") == [ClipSpec(None, seed, SamplingParams(), "drums", expected) for seed in (7, 8)]
    assert request.clip_specs("any")[0].frames == 2025


def test_variations_of_a_text_come_before_those_of_the_next() -> None:
    request = parsed({"texts": ["a", "b"], "n": 2, "generation_params": {"seed": 7}})
    assert [(clip.text, clip.seed) for clip in request.clip_specs("any")] == [("a", 7), ("a", 8), ("b", 9), ("b", 10)]


def test_a_stride_is_in_seconds() -> None:
    assert parsed({"texts": ["a"], "generation_params": {"duration": 300, "stride": 12}}).params == SamplingParams(
        max_new_tokens=15003, stride=600
    )


@pytest.mark.parametrize(
    ("text", "heard"), [("house", "house, 124.5 bpm"), ("house at 128 BPM", "house at 128 BPM")]
)  # fmt: skip
def test_a_loop_says_its_tempo_and_has_its_length_and_a_join(text: str, heard: str) -> None:
    request = parsed({"texts": [text], "loop": True, "bpm": 124.5, "bars": 8})
    (clip,) = request.clip_specs("any")
    assert clip.text == heard
    assert request.prompt.loop == Loop(124.5, 8)
    assert clip.frames == 777  # 8 * 4 * 60 / 124.5 = 15.422 s and 0.1 s, rounded up


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            {"sections": [{"text": "a", "duration": 200}, {"text": "b", "duration": 101}]},
            "sections must give at most 300 s, got 301 s",
        ),
        ({"texts": ["a"], "loop": True, "bpm": 30, "bars": 64}, "bars and bpm must give at most 300 s, got 512 s"),
        (
            {"texts": ["a"], "n": 3, "generation_params": {"duration": 201}},
            "a request must be for at most 600 s of audio, got 3 clips of 201 s",
        ),
    ],
)
def test_refuses_what_would_be_too_long(body: dict[str, object], sentence: str) -> None:
    request = parsed(body)
    with pytest.raises(InvalidRequestError) as caught:
        request.prompt.check_length(request.params)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "body",
    [
        {"sections": [{"text": "a", "duration": 30}] * 10},
        {"texts": ["a"] * 16, "generation_params": {"duration": 30}},
        {"texts": ["a"], "loop": True, "bpm": 120, "bars": 64},
    ],
)
def test_accepts_what_is_long_but_not_too_long(body: dict[str, object]) -> None:
    request = parsed(body)
    request.prompt.check_length(request.params)
