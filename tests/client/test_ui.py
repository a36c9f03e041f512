"""The page without its Gradio: form, runs, what is shown, and the guard of its server."""

import asyncio
import io
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from musicgen_client import MusicGen, Request, Section
from musicgen_client.cli import app as cli
from musicgen_client.clip import Clip
from musicgen_client.errors import ExtraMissing, InvalidRequest, RequestFailed
from musicgen_client.jobs import Update
from musicgen_client.journal import Record
from musicgen_client.status import Status
from musicgen_client.ui import form, page, parts, views, work
from musicgen_client.ui.work import Run, Runs, Snapshot
from tests.client.helpers.fake_aws import FakeAws, client_error, wav

SCHEMA = Path(__file__).parents[2] / "docs" / "request.schema.json"


# ---- form ----


def initial() -> dict[str, Any]:
    """Return the values of an untouched form."""
    return {field.name: field.initial for field in form.fields()} | parts.INITIAL


def test_clients_schema_is_the_published_one() -> None:
    assert form.schema() == json.loads(SCHEMA.read_text(encoding="utf-8"))


def test_form_has_every_parameter_of_the_schema_but_those_that_other_inputs_say() -> None:
    properties = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]
    parameters = properties.pop("generation_params")["properties"]
    omitted = {
        "texts", "unconditional_clips", "max_new_tokens", "progress", "n", "return_tokens", "bucket_name", "tags",
        "format", "sections", "loop", "bpm", "bars", "continuation", "melody",
    }  # fmt: skip
    shown = {field.name: field for field in form.fields()}
    assert shown.keys() == (parameters.keys() | properties.keys()) - omitted
    assert next(iter(shown)) == "duration"
    for name, field in shown.items():
        rule = {**parameters, **properties}[name]
        assert field.explanation == rule["description"]
        assert (field.minimum, field.maximum) == (rule.get("minimum"), rule.get("maximum"))
        assert field.choices == tuple(rule.get("enum", ()))


def test_both_ends_of_a_sliders_range_and_the_default_are_on_its_grid() -> None:
    sliders = [field for field in form.fields() if field.minimum is not None and not field.optional]
    assert {field.name for field in sliders} == {
        "duration",
        "stride",
        "guidance_scale",
        "temperature",
        "top_k",
        "top_p",
        "fade_in",
        "fade_out",
    }
    for field in sliders:
        assert field.minimum is not None and field.maximum is not None
        for value in (field.maximum, field.initial):
            steps = (value - field.minimum) / field.step
            assert abs(steps - round(steps)) < 1e-6, field


def test_untouched_form_sends_only_prompt_and_length() -> None:
    request = form.read(" calm piano ", 2, initial())
    body = json.loads(request.body())
    assert body.pop("generation_params") == {"duration": 10, "seed": request.seed}
    assert body == {"texts": ["calm piano"] * 2, "progress": True}


def test_history_shows_the_texts_of_sections_and_counts_variations() -> None:
    body = json.loads(Request(sections=(Section("calm", 2), Section("loud", 1)), n=3, seed=1).body())
    (row,) = views.history_rows([Record("m1", request=body)])
    assert row[1:4] == ["calm / loud", "1", "3"]


def test_entered_values_make_a_request_of_the_schema() -> None:
    values = {"duration": 3, "seed": "41", "top_k": 0.0, "do_sample": False, "negative_prompt": "drums", "top_p": 0.5}
    body = json.loads(form.read("piano", 16, values).body())
    jsonschema.validate(body, json.loads(SCHEMA.read_text(encoding="utf-8")))
    expected = {"duration": 3, "seed": 41, "top_k": 0, "do_sample": False, "top_p": 0.5}
    assert body["generation_params"] == expected and body["negative_prompt"] == "drums" and len(body["texts"]) == 16


@pytest.mark.parametrize(
    ("prompt", "count", "values", "message"),
    [
        ("  ", 1, {}, "texts[0] must be a string of 1 to 1000 characters, got 0 characters"),
        (None, 1, {}, "texts[0] must be"),
        ("p", 17, {}, "variations must be an integer from 1 to 16, got 17"),
        ("p", 1.5, {}, "variations must be an integer from 1 to 16, got 1.5"),
        ("p", float("nan"), {}, "variations must be an integer"),
        ("p", 1, {"seed": "seven"}, 'seed must be an integer from 0 to 4294967295, got "seven"'),
        ("p", 1, {"seed": "1.5"}, "seed must be an integer from 0 to 4294967295, got 1.5"),
        ("p", 1, {"seed": "9" * 5000}, "seed must be an integer"),
        ("p", 1, {"seed": "inf"}, "seed must be an integer"),
        ("p", 1, {"duration": 301}, "duration must be a number from 0.02 to 300, got 301"),
        ("p", 4, {"duration": 200}, "a request must be for at most 600 s of audio, got 4 clips of 200 s"),
        ("p", 1, {"top_k": 1.5}, "top_k must be an integer"),
        ("p", 1, {"negative_prompt": "x" * 1001}, "negative_prompt must be a string of 1 to 1000 characters"),
    ],
)
def test_wrong_entries_are_refused_in_the_containers_words(
    prompt: str | None, count: float, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        form.read(prompt, count, values)
    assert message in str(caught.value)


def test_history_gives_back_what_was_entered(tmp_path: Path) -> None:
    values = {**initial(), "seed": 5, "temperature": 0.8, "duration": 7.5, "normalization": "peak", "trim_tail": True}
    body = json.loads(form.read("piano", 3, values).body())
    assert form.entered(body, tmp_path) == form.Entered("piano", 3, values)


def test_length_of_a_request_by_tokens_is_shown_in_seconds(tmp_path: Path) -> None:
    body = json.loads(form.read("piano", 1, {}).body())
    assert form.entered(body, tmp_path).values["duration"] == 5.06  # the endpoint's 256 tokens


def test_what_the_page_has_no_field_for_is_named(tmp_path: Path) -> None:
    request = Request(texts=("a", "b", "a"), n=2, return_tokens=True, format="flac", tags=True, bucket_name="mine")
    found = form.entered(json.loads(request.body()), tmp_path)
    missing = "1 more text, return tokens, bucket name mine, format flac, tags"
    assert found.remarks == (f"This page has no field for {missing}: a new request goes without.",)
    assert (found.prompt, found.count) == ("a", 4)
    without_text = form.entered(json.loads(Request(unconditional_clips=3).body()), tmp_path)
    assert "clips without a text" in without_text.remarks[0] and without_text.count == 3
    assert not form.entered(json.loads(Request(texts=("a",), format="wav").body()), tmp_path).remarks


# ---- runs ----


@pytest.fixture
def live(aws: FakeAws, music: MusicGen, monkeypatch: pytest.MonkeyPatch) -> MusicGen:
    """A client whose fake AWS is used by several threads; a virtual second takes a millisecond."""
    lock = threading.RLock()

    def sleep(seconds: float) -> None:
        time.sleep(seconds / 1000)
        with lock:
            FakeAws.sleep(aws, seconds)

    monkeypatch.setattr(music, "_sleep", sleep)
    monkeypatch.setattr(work, "_LOOK_SECONDS", 0.001)
    return music


def last(run: Run) -> Snapshot:
    (*_, shown) = run.snapshots()
    return shown


def test_run_ends_with_the_clips(live: MusicGen) -> None:
    shown = last(Runs(live).generate("tab", form.read("piano", 2, {"seed": 7, "duration": 0.1})))
    assert [clip.seed for clip in shown.clips] == [7, 8] and shown.done and not shown.error


def test_run_shows_the_endpoint_asleep_until_an_instance_runs(live: MusicGen, aws: FakeAws) -> None:
    aws.instances = 0
    run = Runs(live).generate("tab", form.read("piano", 1, {"duration": 0.1}))
    stages: list[str] = []
    for shown in run.snapshots():
        stages.append(shown.stage)
        if shown.stage in ("asleep", "waking"):
            aws.instances = 1
    assert {"asleep", "waking"} & set(stages) and stages[-1] == "completed"
    assert "generating" in stages


def test_run_without_permission_to_ask_shows_the_jobs_stages(live: MusicGen, aws: FakeAws) -> None:
    def fault(name: str, when: str) -> None:
        if name == "describe_endpoint":
            raise client_error("AccessDeniedException", status=400, operation="DescribeEndpoint")

    aws.fault, aws.instances = fault, 0
    run = Runs(live).generate("tab", form.read("piano", 1, {"duration": 0.1}))
    for shown in run.snapshots():
        assert shown.stage not in ("asleep", "waking")
        if shown.stage == "queued":
            aws.instances = 1
    assert aws.calls["describe_endpoint"] == 1


def test_stop_cancels_the_job(live: MusicGen, aws: FakeAws) -> None:
    aws.seconds = 300
    runs = Runs(live)
    run = runs.generate("tab", form.read("piano", 1, {"duration": 0.1}))
    shown = Snapshot()
    for shown in run.snapshots():
        if shown.stage == "generating":
            runs.stop("tab")
            runs.stop("another tab")
    assert shown.stage == "cancelled" and "cancelled by the client" in shown.error
    assert "Stopped" in views.progress(shown)
    assert [key for _, key in aws.objects if key.startswith("cancel/")] == [f"cancel/{run.job}"]


def test_stop_before_the_job_has_an_id_cancels_it_then(live: MusicGen, aws: FakeAws) -> None:
    gate = threading.Event()

    def generate(on_update: Callable[[Update], None]) -> list[Clip]:
        gate.wait(10)
        on_update(Update("m1", "planned"))
        raise RequestFailed("the end")

    run = Run(live, generate)
    run.stop()
    gate.set()
    assert last(run).error == "the end"
    assert ("outputs", "cancel/m1") in aws.objects


def test_page_does_not_wait_for_a_stopped_job_that_is_not_delivered(
    live: MusicGen, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "STOP_SECONDS", 0.05)
    aws.instances = 0
    run = Runs(live).generate("tab", form.read("piano", 1, {"duration": 0.1}))
    shown = Snapshot()
    for shown in run.snapshots():
        if shown.job:
            run.stop()
    assert shown.left and run.alive and run.job in views.progress(shown)
    aws.instances = 1  # the thread goes on, and the journal learns the end
    run._thread.join(20)  # pyright: ignore[reportPrivateUsage]
    assert live.history.find(run.job)[1].status == "cancelled"


def test_stop_without_permission_says_so_and_the_run_goes_on(live: MusicGen, aws: FakeAws) -> None:
    def fault(name: str, when: str) -> None:
        if name == "put":
            raise client_error("AccessDenied", status=403, operation="PutObject")

    aws.fault, aws.seconds = fault, 60
    run = Runs(live).generate("tab", form.read("piano", 1, {"duration": 0.1}))
    details: set[str] = set()
    shown = Snapshot()
    for shown in run.snapshots():
        if shown.stage == "generating" and not any(details):
            run.stop()
        details.add(shown.detail)
    assert shown.clips and any("s3:PutObject" in detail for detail in details)


def test_error_of_the_container_is_the_runs_error(live: MusicGen, aws: FakeAws) -> None:
    aws.answer = lambda _: (400, b'{"error": "texts[0] must be sung", "status": 400}')
    assert last(Runs(live).generate("tab", form.read("piano", 1, {"duration": 0.1}))).error == "texts[0] must be sung"


def test_unexpected_exception_is_shown_and_logged(live: MusicGen, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Callable[[Update], None]) -> list[Clip]:
        raise ZeroDivisionError("a bug")

    assert last(Run(live, broken)).error == "unexpected ZeroDivisionError: a bug"
    assert "Traceback" in caplog.text


def test_number_of_runs_at_once_is_limited(live: MusicGen, aws: FakeAws) -> None:
    aws.instances = 0
    runs = Runs(live)
    request = form.read("piano", 1, {"duration": 0.02})
    started = [runs.generate(str(tab), request) for tab in range(work.MAX_RUNS)]
    with pytest.raises(InvalidRequest, match="at most 8 requests"):
        runs.generate("one more", request)
    aws.instances = 1
    assert all(last(run).clips for run in started)
    assert last(runs.generate("one more", request)).clips and runs.open_jobs() == []


def test_history_has_the_newest_jobs_and_fetches_their_clips(live: MusicGen, aws: FakeAws) -> None:
    runs = Runs(live)
    for seed in (1, 2, 3):
        assert last(runs.generate("tab", form.read(f"tune {seed}", 1, {"seed": seed, "duration": 0.1}))).clips
        aws.now += 60
    rows = views.history_rows(work.newest(live, 2))
    assert [(row[1], row[2], row[4]) for row in rows] == [("tune 3", "3", "completed"), ("tune 2", "2", "completed")]
    (clip,) = last(runs.fetch("tab", rows[1][-1])).clips
    assert clip.seed == 2 and aws.generated.total() == 3


# ---- views ----


@pytest.mark.parametrize(
    "stage", [*views.STAGES, "sending", "in doubt", "retrying", "finishing", "completed", "failed"]
)
def test_every_stage_has_a_place_and_a_sentence(stage: str) -> None:
    shown = views.progress(Snapshot(stage, percent=42.0, seconds=3, stopping=True))
    assert shown.count('class="now"') == 1 and "42 %" in shown and "stopping; " in shown
    if stage in views.STAGES:
        assert f'class="now">{stage}<' in shown


def test_messages_and_prompts_are_text_not_html(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    clip = Clip(wav(0.1, 1), evil, 1, 32_000, 0.1, "m1", 0, metadata={"model": evil})
    pages = [
        views.progress(Snapshot(error=evil, done=True)), views.progress(Snapshot(detail=evil)), views.note(evil),
        views.progress(Snapshot(stage=evil)), views.endpoint(evil, None, 1.0), views.clips((clip,), tmp_path),
        views.clips((replace(clip, url=f's3://b/">{evil}'),), tmp_path),
    ]  # fmt: skip
    assert all("<script" not in shown and "&lt;script" in shown for shown in pages)


def test_clip_has_player_waveform_spectrogram_and_download_of_its_file(tmp_path: Path) -> None:
    clip = Clip(wav(0.5, 1), "piano", 9, 32_000, 0.5, "m1", 0, metadata={"model": "facebook/musicgen-small"})
    shown = views.clips((clip,), tmp_path)
    file = tmp_path / "m1_0_seed9.wav"
    assert file.read_bytes() == clip.wav
    assert shown.count(f'"/gradio_api/file={file}"') == 2 and f'download="{file.name}"' in shown
    assert f'data-audio="{file.name}" data-seconds="0.5"' in shown  # without an s3:// URL the file is continued
    assert "<svg" in shown and "data:image/png;base64," in shown and "seed 9 · 0.50 s · musicgen-small" in shown


def test_line_about_the_stack_has_state_and_price() -> None:
    status = Status("busy", 1, 1, 3, 1.0, None, 1.5)
    assert "Stack M is busy; an instance costs $1.5/h" in views.endpoint("M", status, 1.5)
    assert "Stack M. " in views.endpoint("M", None, None)


@pytest.mark.parametrize("pitch", [110.0, 440.0, 3520.0])
def test_spectrogram_shows_a_tone_in_the_row_of_its_pitch(pitch: float) -> None:
    rate = 32_000
    time_axis = np.arange(rate) / rate
    samples = np.where(time_axis < 0.5, 0, np.sin(2 * np.pi * pitch * time_axis)).astype(np.float32)
    values = views.spectrogram(samples, rate)
    assert values.shape[0] == 128 and values[:, 0].max() == 0 and values.max() == 255
    row = 127 - int(values[:, -1].argmax())  # from the lowest
    low, high = (40.0 * (rate / 2 / 40.0) ** (edge / 128) for edge in (row, row + 1))
    assert low - rate / 2048 <= pitch <= high + rate / 2048


@pytest.mark.parametrize("count", [1, 100, 2048, 960_000])
def test_spectrogram_takes_clips_of_every_length_and_silence(count: int) -> None:
    values = views.spectrogram(np.zeros(count, np.float32), 32_000)
    assert values.shape[0] == 128 and 1 <= values.shape[1] <= 600 and not values.any()


def test_png_is_an_image_with_the_values_colours() -> None:
    values = np.array([[0, 255, 51], [0, 0, 255]], np.uint8)
    with Image.open(io.BytesIO(views.png(values))) as image:
        image.load()
        assert image.size == (3, 2)
        pixels = np.asarray(image.convert("RGB"))
    assert pixels[0].tolist() == [[12, 10, 32], [252, 240, 180], [62, 22, 102]]


# ---- server ----


def ask(headers: dict[str, str], kind: str = "http") -> dict[str, Any]:
    """Return the first message with which a guarded server answers."""
    sent: list[dict[str, Any]] = []

    async def server(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {}

    scope = {"type": kind, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    asyncio.run(page.Guard(server)(scope, receive, send))
    return sent[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:7860"}, 200),
        ({"host": "localhost:7860", "origin": "http://localhost:7860"}, 200),
        ({"host": "evil.example:7860"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "null"}, 403),
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:8080"}, 403),
        ({"host": "[::1"}, 403),
        ({}, 403),
    ],
)
def test_server_answers_only_its_own_page_on_this_machine(headers: dict[str, str], status: int) -> None:
    assert ask(headers)["status"] == status


def test_every_answer_forbids_to_load_from_elsewhere() -> None:
    policy = dict(ask({"host": "127.0.0.1"})["headers"])[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'self'; ") and "http" not in policy and "*" not in policy


def test_command_without_gradio_says_how_to_install_it(
    music: MusicGen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "connect", lambda _settings: music)  # pyright: ignore
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("sys.argv", ["musicgen", "ui", "--no-browser"])
    for name in ("NO_PROXY", "no_proxy", "GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "")  # restored afterwards
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == ExtraMissing.exit_status == 2
    assert "pip install 'musicgen-client[ui]'" in capsys.readouterr().err
