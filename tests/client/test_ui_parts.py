"""The page's sections, loop and audio, without Gradio: values to a request, and a request of the history to values."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from musicgen_client import Excerpt, Request, Section
from musicgen_client.errors import InvalidRequest
from musicgen_client.requests.audio import MAX_FILE_BYTES
from musicgen_client.requests.request import MAX_SECTIONS
from musicgen_client.ui import form, parts, views
from tests.client.helpers.fake_aws import wav

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "request.schema.json").read_text(encoding="utf-8"))
S3 = "s3://outputs/audio/m1/clip_0.wav"


def initial() -> dict[str, Any]:
    """Return the values of an untouched form."""
    return {field.name: field.initial for field in form.fields()} | parts.INITIAL


def sections(*rows: tuple[str, object]) -> dict[str, Any]:
    """Return the values of sections' rows."""
    return {
        name: value
        for names, row in zip(parts.ROWS, rows, strict=False)
        for name, value in zip(names, row, strict=True)
    }


def body(values: dict[str, Any], prompt: str = "piano", count: int = 1) -> dict[str, Any]:
    """Return the request of a form in which some values were entered."""
    found = json.loads(form.read(prompt, count, initial() | values).body())
    jsonschema.validate(found, SCHEMA)
    return found


def test_untouched_parts_add_nothing() -> None:
    assert parts.read(parts.INITIAL) == {} and not any(parts.summary(parts.INITIAL).values())


def test_sections_replace_prompt_and_duration() -> None:
    found = body(sections((" calm ", 20), ("", 7), ("loud", 40.5)), count=3)
    assert found["sections"] == [{"text": "calm", "duration": 20}, {"text": "loud", "duration": 40.5}]
    assert "texts" not in found and "duration" not in found["generation_params"] and found["n"] == 3
    assert "n" not in body(sections(("calm", 20)))


def test_every_row_of_sections_can_be_filled() -> None:
    assert len(body(sections(*[("calm", 1)] * MAX_SECTIONS))["sections"]) == MAX_SECTIONS


def test_loop_has_its_length_from_bpm_and_bars() -> None:
    found = body({"loop": True, "bpm": 112.5, "bars": 8.0}, count=2)
    assert (found["loop"], found["bpm"], found["bars"]) == (True, 112.5, 8) and found["texts"] == ["piano"] * 2
    assert "duration" not in found["generation_params"]


def test_audio_is_a_file_in_base64_or_an_url_with_its_excerpt(tmp_path: Path) -> None:
    (tmp_path / "hum.wav").write_bytes(wav(0.1, 1))
    values = {
        "continuation_url": f" {S3} ", "continuation_start": "2", "continuation_end": " 4.5 ", "return_excerpt": False,
        "melody_file": str(tmp_path / "hum.wav"),
    }  # fmt: skip
    found = body(values)
    assert found["continuation"] == {"audio": {"s3": S3}, "start": 2, "end": 4.5, "return_excerpt": False}
    assert base64.b64decode(found["melody"]["audio"]["base64"]) == wav(0.1, 1)
    assert "return_excerpt" not in body({"continuation_url": S3})["continuation"]
    assert "continuation" not in body({"return_excerpt": False})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (sections(("calm", None)), "sections[0].duration must be a number from 0.02 to 300, got null"),
        (sections(("calm", 200), ("loud", 101)), "sections must give at most 300 s, got 301 s"),
        (sections(("x" * 1001, 1)), "sections[0].text must be a string of 1 to 1000 characters, got 1001 characters"),
        ({"loop": True, "bpm": None}, "bpm must be given for a loop, got nothing"),
        ({"loop": True, "bars": ""}, "bars must be given for a loop, got nothing"),
        ({"loop": True, "bars": 1.5}, "bars must be an integer from 1 to 64, got 1.5"),
        ({"loop": True, "fade_out": 2}, "fade_out must not be given for a loop, got 2"),
        ({"loop": True} | sections(("calm", 1)), "sections must not be given for a loop"),
        ({"loop": True, "continuation_url": S3}, "continuation must not be given for a loop, got an object"),
        ({"melody_url": "https://x/a.wav"}, 'melody.audio.s3 must be s3://bucket/key, got "https://x/a.wav"'),
        ({"melody_url": S3, "melody_end": "half"}, 'melody.end must be a number from 0.02 to 600, got "half"'),
        ({"continuation_url": S3, "continuation_end": "26"}, "continuation.end must be after start, by at most 25 s"),
        ({"continuation_start": "3"}, "continuation.start needs audio: choose a file, or give its s3:// URL"),
        ({"melody_url": S3, "melody_file": "hum.wav"}, "melody must have either a file or an s3:// URL, got both"),
        ({"melody_file": "/nowhere/hum.wav"}, "hum.wav cannot be read: No such file or directory"),
    ],
)
def test_wrong_entries_are_refused_before_anything_is_sent(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(values)
    assert message in str(caught.value)


def test_files_that_are_too_large_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "large.wav").write_bytes(bytes(MAX_FILE_BYTES + 1))
    (tmp_path / "half.wav").write_bytes(bytes(MAX_FILE_BYTES // 2 + 3))
    with pytest.raises(InvalidRequest, match=r"^large\.wav must have at most .* give its s3:// URL"):
        body({"melody_file": str(tmp_path / "large.wav")})
    with pytest.raises(InvalidRequest, match="the two audio files together must have at most"):
        body({f"{kind}_file": str(tmp_path / "half.wav") for kind in parts.AUDIO})


@pytest.mark.parametrize(
    "request_",
    [
        Request(sections=(Section("calm", 20), Section("loud", 4.5)), n=3, stride=10),
        Request(texts=("piano", "piano"), loop=True, bpm=112.5, bars=8),
        Request(texts=("a",), continuation=Excerpt(s3=S3, start=1.2345678, end=4), return_excerpt=False, duration=5),
        Request(
            sections=(Section("calm", 20),), continuation=Excerpt(s3=S3), melody=Excerpt(s3=S3, end=120),
            normalization="loudness", fade_in=0.5, fade_out=2, trim_tail=True,
        ),
        *(
            Request(texts=("a",), melody=Excerpt(base64=base64.b64encode(content).decode(), start=1), duration=5)
            for content in (wav(0.1, 1), b"fLaC...", b"OggS...", b"ID3...")
        ),
    ],
)  # fmt: skip
def test_request_of_the_history_is_made_again_as_it_was(request_: Request, tmp_path: Path) -> None:
    sent = json.loads(replace(request_, progress=True, seed=1).body())
    found = form.entered(sent, tmp_path)
    assert not found.remarks
    assert json.loads(form.read(found.prompt, found.count, found.values).body()) == sent


def test_audio_that_the_journal_lacks_has_to_be_chosen_again(tmp_path: Path) -> None:
    sent = json.loads(Request(texts=("a",), melody=Excerpt(base64="UklG", start=2), seed=1).body())
    del sent["melody"]["audio"]["base64"]
    found = form.entered(sent, tmp_path)
    assert found.remarks == (
        "The audio of “follow a melody” is not in this machine's journal: choose it again.",
    )  # fmt: skip
    assert found.values["melody_start"] == "2" and not list(tmp_path.iterdir())
    with pytest.raises(InvalidRequest, match="melody must have its audio again: choose the file, or clear the field"):
        form.read(found.prompt, found.count, found.values)
    (tmp_path / "hum.wav").write_bytes(wav(0.1, 1))
    again = form.read(found.prompt, found.count, found.values | {"melody_file": str(tmp_path / "hum.wav")})
    assert again.melody is not None and again.melody.base64 and again.melody.start == 2


@pytest.mark.parametrize(("seconds", "start"), [(10.0, ""), (25.0, ""), (30.0, "5"), (30.004, "5.01"), (300.0, "275")])
def test_long_clip_is_continued_from_its_last_25_seconds(seconds: float, start: str) -> None:
    found = parts.following(S3, seconds)
    assert (found["continuation_url"], found["continuation_file"], found["continuation_start"]) == (S3, None, start)


def test_clip_without_an_url_is_continued_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "m1_0_seed9.wav").write_bytes(wav(0.1, 9))
    found = body(parts.following(str(tmp_path / "m1_0_seed9.wav"), 0.1))
    assert base64.b64decode(found["continuation"]["audio"]["base64"]) == wav(0.1, 9)


def test_summary_says_what_each_part_makes_of_the_request() -> None:
    values = {**initial(), **sections(("calm", 20), ("loud", 40.5)), "loop": True, "bpm": 112, "bars": 8}
    values |= {"continuation_url": S3, "return_excerpt": False, "melody_file": "/tmp/hum.mp3", "melody_start": "2"}
    assert parts.summary(values | {"melody_end": "14"}) == {
        "sections": "2 sections, 60.5 s, instead of the prompt and the duration.",
        "loop": "A loop of 8 bars at 112 bpm: 17.14 s, instead of the duration.",
        "continuation": "Continues clip_0.wav from 0 s to its end; the clip has what is new alone.",
        "melody": "Follows the melody of hum.mp3 from 2 s to 14 s.",
    }


@pytest.mark.parametrize("values", [{"bpm": 0}, {"bpm": None}, {"bars": "x"}, {"bars": ""}])
def test_summary_of_a_loop_that_is_not_complete_says_what_it_needs(values: dict[str, Any]) -> None:
    assert parts.summary({**initial(), "loop": True, **values})["loop"] == "A loop needs bpm and bars."


def test_excerpt_of_a_file_can_be_heard() -> None:
    values = {"melody_file": '/tmp/h "m.mp3', "melody_start": "2", "melody_end": ""}
    assert 'src="/gradio_api/file=/tmp/h%20%22m.mp3#t=2,"' in views.excerpt(values, "melody")
    assert views.excerpt({"melody_file": None}, "melody") == ""
