"""The command line against an AWS in virtual time: output, files, exit statuses."""

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from musicgen_client import Limits, MusicGen
from musicgen_client.cli import app as cli
from musicgen_client.cli import play as player
from musicgen_client.errors import InvalidRequest, MusicGenError
from musicgen_client.requests.audio import MAX_FILE_BYTES
from musicgen_serving.audio_output import AudioOutput
from musicgen_serving.engine.errors import RequestCancelledError
from tests.client.helpers.fake_aws import FakeAws, client_error

Run = Callable[..., Result]


@pytest.fixture
def run(
    aws: FakeAws, connect: Callable[..., MusicGen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    monkeypatch.setenv("MUSICGEN_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MUSICGEN_STACK", "MusicGen-test")
    monkeypatch.setattr(cli, "connect", lambda _settings, limits=None: connect(limits=limits))  # pyright: ignore
    folder = Path.cwd()
    os.chdir(tmp_path)

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        """Run a command as `main` does; errors become exit statuses there."""
        result = CliRunner().invoke(cli.app, arguments, input=stdin)
        if isinstance(result.exception, MusicGenError):
            result.exit_code = result.exception.exit_status
        elif result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield invoke
    os.chdir(folder)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_generate_saves_variations_with_consecutive_seeds(run: Run, tmp_path: Path) -> None:
    result = run("generate", "flute", "-d", "0.1", "-n", "4", "--seed", "7", "-o", "out", "--json")
    assert result.exit_code == 0
    clips = lines(result)
    assert [clip["seed"] for clip in clips] == [7, 8, 9, 10]
    assert sorted(clip["file"] for clip in clips) == sorted(f"out/{path.name}" for path in (tmp_path / "out").iterdir())


def test_long_variations_are_several_requests_with_consecutive_seeds(run: Run, uploads: FakeAws) -> None:
    result = run("generate", "flute", "-d", "250", "-n", "3", "--seed", "7", "--json")
    assert sorted(clip["seed"] for clip in lines(result)) == [7, 8, 9]
    assert sorted(len(body["texts"]) for body in sent(uploads)) == [1, 2]


def test_generate_asks_for_a_format_level_fades_and_tags(run: Run, aws: FakeAws, tmp_path: Path) -> None:
    flac = AudioOutput(format="flac").encode(np.zeros((1, 3200), np.float32), 32_000)
    aws.clip = lambda _seconds, _seed: flac
    options = (
        "--format",
        "flac",
        "--normalize",
        "loudness",
        "--fade-in",
        "0.5",
        "--fade-out",
        "2",
        "--trim-tail",
        "--tags",
    )
    result = run("generate", "flute", "-d", "0.1", "--seed", "7", *options, "--json")
    assert result.exit_code == 0
    (clip,) = lines(result)
    assert clip["file"].endswith("_seed7.flac") and (tmp_path / clip["file"]).read_bytes() == flac
    result = run("generate", "flute", "--format", "aac")
    assert isinstance(result.exception, InvalidRequest)
    assert "format must be one of wav, wav_24, wav_float, flac, flac_24, ogg, mp3" in str(result.exception)


def test_progress_is_plain_lines_on_standard_error_without_a_terminal(run: Run, aws: FakeAws) -> None:
    aws.seconds = 20
    result = run("generate", "flute", "-d", "0.1")
    assert " seed " in result.stdout and "queued" not in result.stdout
    assert "\x1b" not in result.stderr
    stages = [line.split()[1] for line in result.stderr.splitlines() if line.startswith("m")]
    assert stages[:2] == ["planned", "queued"] and stages[-1] == "completed"


def test_file_of_prompts_is_continued_by_the_same_command(run: Run, aws: FakeAws, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(f"tune {index}" for index in range(12)) + "\n\n")
    command = ("generate", "-f", "prompts.txt", "-d", "0.02", "-o", "out", "--json", "--window", "4")
    count = 0

    def fault(name: str, when: str) -> None:
        nonlocal count
        count += name == "invoke"
        if count == 12:
            raise KeyboardInterrupt

    aws.fault = fault
    first = run(*command)
    assert first.exit_code == 130
    assert "musicgen --stack MusicGen-test get m" in first.stderr
    aws.fault = lambda _name, _when: None
    second = run(*command)
    assert second.exit_code == 0
    assert len(lines(first)) + len(lines(second)) == 12
    assert len(aws.generated) == 12 and set(aws.generated.values()) == {1}
    assert len(list((tmp_path / "out").iterdir())) == 12
    assert run(*command).stdout == ""


@pytest.mark.parametrize("dash", [("-f", "-"), ("-",)])
def test_prompts_from_standard_input(run: Run, dash: tuple[str, ...]) -> None:
    result = run("generate", *dash, "-d", "0.02", "--json", stdin="one\ntwo\n")
    assert sorted(clip["prompt"] for clip in lines(result)) == ["one", "two"]


def test_list_get_and_again_find_an_earlier_job(run: Run, tmp_path: Path) -> None:
    (clip,) = lines(run("generate", "flute", "-d", "0.1", "--seed", "7", "--json"))
    (listed,) = lines(run("list", "--json"))
    assert (listed["id"], listed["status"], listed["seed"]) == (clip["id"], "completed", 7)
    (fetched,) = lines(run("get", clip["id"][:9], "-o", "again", "--json"))
    assert (tmp_path / fetched["file"]).read_bytes() == (tmp_path / clip["file"]).read_bytes()
    assert "https://s3/audio/" in run("get", "last", "--link", "60").stdout
    assert [c["seed"] for c in lines(run("again", clip["id"], "--seed", "+1", "--json"))] == [8]
    assert [c["seed"] for c in lines(run("again", clip["id"], "--seed", "99", "--json"))] == [99]


def test_status_and_wake(run: Run, aws: FakeAws) -> None:
    (status,) = lines(run("status", "--json"))
    assert (status["state"], status["staged_model"]) == ("idle", "d" * 64) and "revision" not in status
    assert f"staged model   {'d' * 64}" in run("status").stdout
    aws.instances = 0
    assert "price          $0/h now" in run("status").stdout
    assert "an instance is starting" in run("wake").stdout
    assert aws.instances == 1
    assert "an instance is running" in run("wake").stdout
    assert len(run("watch", "--times", "1").stdout.splitlines()) == 1


def leave_running(run: Run, aws: FakeAws, *options: str) -> str:
    """Press Ctrl-C while a job of 100 s runs; return its id."""
    aws.seconds = 100

    def fault(name: str, _when: str) -> None:
        if name == "get" and aws.calls["get"] > 3:
            raise KeyboardInterrupt

    aws.fault = fault
    assert run("generate", "x", "-d", "0.1", *options).exit_code == 130
    aws.fault = lambda _name, _when: None
    return lines(run("list", "--json"))[0]["id"]


def test_cancel_puts_the_marker_unless_the_job_has_ended(run: Run, aws: FakeAws) -> None:
    job = leave_running(run, aws)
    assert run("cancel", "last").exit_code == 0
    assert aws.objects.pop(("outputs", f"cancel/{job}")) is not None
    aws.now += 200  # it was cancelled too late, and nobody has fetched it
    for _ in range(2):
        result = run("cancel", "last")
        assert result.exit_code == 2 and f"job {job} has already ended: it is completed" in str(result.exception)
        assert ("outputs", f"cancel/{job}") not in aws.objects
        run("get", "last")


def test_status_of_a_job_shows_its_stage_while_another_process_awaits_it(run: Run, aws: FakeAws) -> None:
    job = leave_running(run, aws)
    assert run("status", "last").stdout == f"{job}  queued\n"
    aws.objects["outputs", f"audio/{job}/progress.json"] = b'{"stage": "generating", "percent": 40}'
    assert run("status", job).stdout == f"{job}  generating  40 %\n"
    assert lines(run("status", job[:6], "--json")) == [
        {"id": job, "stage": "generating", "percent": 40.0, "error": None}
    ]
    run("get", "last", "-o", "out")
    assert run("status", "last").stdout == f"{job}  completed\n"
    aws.answer = lambda _: (422, b'{"error": "x must be y", "status": 422}')
    run("generate", "bad", "-d", "0.1")
    assert run("status", "last").stdout.endswith("  refused: x must be y\n")


def test_one_of_several_clips_is_fetched(run: Run, tmp_path: Path) -> None:
    clips = lines(run("generate", "flute", "-d", "0.1", "-n", "4", "--seed", "7", "--json"))
    job = clips[0]["id"]
    run("again", job, "--seed", "+0", "-o", "same")
    (second,) = lines(run("get", job, "--index", "1", "-o", "second", "--json"))
    assert (second["seed"], second["index"]) == (8, 1)
    assert [path.name for path in (tmp_path / "second").iterdir()] == [Path(second["file"]).name]
    result = run("get", job, "--index", "4")
    assert result.exit_code == 2 and "--index must be at most 3, got 4" in str(result.exception)


def test_stack_and_region_may_follow_the_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[cli.Settings] = []
    connect = cli.connect

    def note(settings: cli.Settings, limits: Limits | None = None) -> MusicGen:
        seen.append(settings)
        return connect(settings, limits)

    monkeypatch.setattr(cli, "connect", note)
    for arguments in (("status", "--stack", "A", "--region", "r"), ("--stack=A", "--region=r", "status")):
        assert run(*arguments).exit_code == 0
    assert [(settings.stack, settings.region) for settings in seen] == [("A", "r")] * 2
    assert run("status", "--stack").exit_code == 2
    (clip,) = lines(run("generate", "-d", "0.1", "--json", "--", "--stack"))
    assert clip["prompt"] == "--stack"


def test_played_clip_reaches_the_systems_player(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "aplay"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" >> "$PLAYED"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PLAYED", str(tmp_path / "played"))
    monkeypatch.setenv("PATH", str(program.parent) + ":/bin:/usr/bin")
    monkeypatch.setattr(player, "_PLAYERS", (("aplay", "-q"),))
    (clip,) = lines(run("generate", "x", "-d", "0.1", "--play", "--json"))
    assert run("play", "last").exit_code == 0
    assert (tmp_path / "played").read_text().count(clip["file"]) == 2


@pytest.mark.parametrize(
    ("arguments", "exit_status", "message"),
    [
        (("generate",), 2, "give either prompts or --file"),
        (("generate", "x", "-d", "301"), 2, "duration must be a number from 0.02 to 300, got 301"),
        (("generate", "-f", "missing.txt"), 2, "missing.txt cannot be read"),
        (("get", "mabc"), 2, "no job of this machine's journals"),
        (("get", "last"), 2, "nothing was generated from this machine yet"),
        (("again", "mabc"), 2, "no job"),
        (("generate", "x", "--window", "0"), 2, ""),
    ],
)
def test_wrong_arguments_are_refused(run: Run, arguments: tuple[str, ...], exit_status: int, message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == exit_status
    assert message in str(result.exception)


def test_request_of_another_service_is_generated_with_its_own_parameters(run: Run, tmp_path: Path) -> None:
    payload = {"input": {"prompt": "waltz", "duration": 1, "seed": 5, "top_p": 0, "model_version": "stereo-large"}}
    (tmp_path / "payload.json").write_text(json.dumps(payload, indent=2))
    result = run("generate", "--from", "replicate", "payload.json", "--json")
    (clip,) = lines(result)
    assert (clip["prompt"], clip["seconds"], clip["seed"]) == ("waltz", 1.0, 5)
    assert result.stderr.count('note: model_version "stereo-large" has no effect') == 1
    inline = run("generate", "--from", "audiocraft", '{"descriptions": ["a", "b"], "duration": 0.1}', "--json")
    assert [clip["prompt"] for clip in lines(inline)] == ["a", "b"]
    more = run("generate", "--from", "openai", "-", "-n", "2", "--seed", "9", "--json", stdin='{"input": "c"}')
    assert [clip["seed"] for clip in lines(more)] == [9, 10]


def test_file_of_requests_of_another_service_is_continued(run: Run, aws: FakeAws, tmp_path: Path) -> None:
    rows = [{"inputs": f"tune {index}", "parameters": {"duration": 0.1}} for index in range(5)]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    command = ("generate", "--from", "huggingface", "-f", "all.jsonl", "-o", "out", "--json")
    assert sorted(clip["prompt"] for clip in lines(run(*command))) == [f"tune {index}" for index in range(5)]
    assert run(*command).stdout == "" and sum(aws.generated.values()) == 5


@pytest.mark.parametrize(
    ("options", "rows", "message"),
    [
        ((), ["one", "two", "x" * 1001], "line 3 of rows: texts[0] must be a string of 1 to 1000 characters, got 1001"),
        (("--from", "openai"), ['{"input": "a"}', "", '{"input": "b", "speed": 2}'], "line 3 of rows: openai request"),
    ],
)  # fmt: skip
def test_wrong_line_of_a_file_is_named_before_anything_is_sent(
    run: Run, tmp_path: Path, aws: FakeAws, options: tuple[str, ...], rows: list[str], message: str
) -> None:
    (tmp_path / "rows").write_text("\n".join(rows))
    result = run("generate", *options, "-f", "rows")
    assert result.exit_code == 2 and message in str(result.exception)
    assert aws.calls["invoke"] == 0


def test_pipe_is_read_once(run: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=(tmp_path / "pipe").write_text, args=("one\ntwo\n",))
    writer.start()
    result = run("generate", "-f", "pipe", "-d", "0.02", "--json")
    writer.join()
    assert sorted(clip["prompt"] for clip in lines(result)) == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "replicate", '{"prompt": "x", "input_audio": "y"}'), 'input_audio must be an s3:// URL or'),
        (("--from", "replicate", "{"), "a request must be JSON, got Expecting property name"),
        (("--from", "replicate", '{"a":' * 100_000), "a request must be JSON, got too many levels"),
        (("--from", "replicate", "none.json"), "none.json cannot be read"),
        (("--from", "replicate", "latin.json"), "latin.json must be text in UTF-8, got byte 0xe9"),
        (("--from", "replicate", "big.json"), "big.json must have at most 8388608 characters, got more"),
        (("--from", "replicate", "-f", "big.json"), "line 1 of big.json must have at most 65536 characters, got more"),
        (("-f", "big.json"), "line 1 of big.json must have at most 4096 characters, got more"),
        (("--from", "openai", '{"input": "x"}', "-d", "3"), "the request has the parameters, got duration on the"),
        (("--from", "suno", "{}"), ""),
    ],
)  # fmt: skip
def test_wrong_request_of_another_service_is_refused(
    run: Run, tmp_path: Path, aws: FakeAws, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "latin.json").write_bytes(b'{"prompt": "\xe9"}')
    (tmp_path / "big.json").write_text(" " * 8_400_000)
    result = run("generate", *arguments)
    assert result.exit_code == 2
    assert message in str(result.exception)
    assert aws.calls["invoke"] == 0


def sent(aws: FakeAws) -> list[dict[str, Any]]:
    """Return the bodies of the requests that went through the input bucket."""
    return [json.loads(body) for (bucket, key), body in aws.objects.items() if (bucket, key[:3]) == ("inputs", "in/")]


@pytest.fixture
def uploads(aws: FakeAws) -> FakeAws:
    """Let every request go through the input bucket, as with an older botocore."""
    aws.members = ("InputLocation", "Filename")
    return aws


def test_sections_are_one_clip_of_a_job_that_is_listed_and_generated_again(run: Run, uploads: FakeAws) -> None:
    sections = ("--section", "0.2:calm piano", "--section", "0.1: with drums: loud")
    result = run("generate", *sections, "--stride", "10", "--seed", "7", "--json")
    (clip,) = lines(result)
    assert (clip["prompt"], clip["seconds"], clip["seed"]) == ("calm piano / with drums: loud", 0.3, 7)
    (body,) = sent(uploads)
    assert body["sections"] == [{"text": "calm piano", "duration": 0.2}, {"text": "with drums: loud", "duration": 0.1}]
    assert body["generation_params"] == {"seed": 7, "stride": 10}
    (listed,) = lines(run("list", "--json"))
    assert listed["texts"] == ["calm piano", "with drums: loud"]
    assert run("list").stdout.rstrip().endswith("calm piano / with drums: loud")
    assert [again["seed"] for again in lines(run("again", "last", "--json"))] == [8]
    assert [more["seed"] for more in lines(run("generate", *sections, "-n", "3", "--seed", "1", "--json"))] == [1, 2, 3]


def test_loop_has_tempo_and_bars(run: Run, uploads: FakeAws) -> None:
    assert run("generate", "funk", "--loop", "--bpm", "112", "--bars", "8", "--json").exit_code == 0
    (body,) = sent(uploads)
    assert (body["texts"], body["loop"], body["bpm"], body["bars"]) == (["funk"], True, 112, 8)


def test_file_is_sent_in_base64_and_an_url_as_it_is(run: Run, uploads: FakeAws, tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"ID3 and more")
    url = "s3://inputs/in/hummed.wav"
    options = (
        "--continue", "song.mp3", "--continue-start", "3", "--continue-end", "10", "--no-excerpt",
        "--melody", url, "--melody-start", "1", "--melody-end", "99.5",
    )  # fmt: skip
    (clip,) = lines(run("generate", "waltz", "-d", "0.1", *options, "--json"))
    assert clip["prompt"] == "waltz"
    (body,) = sent(uploads)
    audio = {"base64": base64.b64encode(b"ID3 and more").decode()}
    assert body["continuation"] == {"audio": audio, "start": 3, "end": 10, "return_excerpt": False}
    assert body["melody"] == {"audio": {"s3": url}, "start": 1, "end": 99.5}
    assert run("generate", "waltz", "--melody", "song.mp3", "--continue", url).exit_code == 0
    assert sent(uploads)[1]["continuation"] == {"audio": {"s3": url}}
    assert sent(uploads)[1]["melody"] == {"audio": audio}


def test_largest_files_fit_into_a_request(run: Run, aws: FakeAws, tmp_path: Path) -> None:
    (tmp_path / "large.wav").write_bytes(bytes(MAX_FILE_BYTES))
    text = "\U0001f3b9" * 1000
    result = run("generate", text, "-n", "16", "--negative", text, "-d", "0.02", "--melody", "large.wav", "--json")
    assert result.exit_code == 0 and len(lines(result)) == 16
    assert aws.calls["put"] == 1


def test_file_of_prompts_with_a_melody_is_continued(run: Run, aws: FakeAws, tmp_path: Path) -> None:
    (tmp_path / "song.wav").write_bytes(b"RIFF")
    (tmp_path / "prompts").write_text("one\ntwo\n")
    command = ("generate", "-f", "prompts", "-d", "0.1", "--melody", "song.wav", "--json")
    assert sorted(clip["prompt"] for clip in lines(run(*command))) == ["one", "two"]
    assert run(*command).stdout == "" and sum(aws.generated.values()) == 2
    assert len(lines(run(*command, "--melody-end", "3"))) == 2  # other music


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--section", "1:y"), "give either prompts or --file, or --section"),
        (("--section", "calm"), '--section must be SECONDS:TEXT, got "calm"'),
        (("--section", "long:calm"), '--section must be SECONDS:TEXT, got "long:calm"'),
        (("--section", "301:calm"), "sections[0].duration must be a number from 0.02 to 300, got 301.0"),
        (("--section", "1:calm", "-d", "3"), "generation_params.duration must not be given with sections"),
        (("x", "--loop"), "bpm must be given for a loop, got nothing"),
        (("x", "--bars", "4"), "loop must be true for bars to have a meaning, got bars without it"),
        (("x", "--stride", "30"), "stride must be a number from 1 to 29, got 30"),
        (("x", "--continue", "none.wav"), "none.wav cannot be read: No such file or directory"),
        (("x", "--continue", "."), ". cannot be read: Is a directory"),
        (("x", "--continue", "empty.wav"), "empty.wav must be an audio file, got an empty one"),
        (("x", "--continue", "large.wav"), "large.wav must have at most 6094848 bytes to be sent with a request, got "
         "more; upload the audio to in/ of the input bucket, and give its s3:// URL"),
        (("x", "--continue", "half.wav", "--melody", "half.wav"), "half.wav and half.wav together must have at most"),
        (("x", "--melody", "https://a/b.wav"), '--melody must be a file or an s3:// URL, got "https://a/b.wav": '
         "the endpoint reads only S3 and base64"),
        (("x", "--melody", "s3://inputs"), 'melody.audio.s3 must be s3://bucket/key, got "s3://inputs"'),
        (("x", "--continue", "s3://inputs/in/a", "--continue-end", "26"), "must be after start, by at most 25 s"),
        (("x", "--continue-start", "2"), "--continue-start needs --continue with a file or an s3:// URL"),
        (("x", "--melody-end", "2"), "--melody-end needs --melody with a file or an s3:// URL"),
        (("x", "--no-excerpt"), "--no-excerpt needs --continue with a file or an s3:// URL"),
        (("--from", "openai", '{"input": "x"}', "--melody", "s3://inputs/in/a"), "got melody on the command line, too"),
        (("--from", "openai", "--section", "1:x"), "got sections on the command line, too"),
    ],
)  # fmt: skip
def test_wrong_sections_loops_and_audio_are_refused(
    run: Run, tmp_path: Path, aws: FakeAws, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "half.wav").write_bytes(bytes(MAX_FILE_BYTES // 2 + 3))
    (tmp_path / "large.wav").write_bytes(bytes(MAX_FILE_BYTES + 1))
    result = run("generate", *arguments)
    assert result.exit_code == 2
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert aws.calls["invoke"] == 0


def test_failed_request_of_many_sets_the_exit_status(run: Run, aws: FakeAws) -> None:
    aws.answer = lambda request: (422, b'{"error": "x must be y", "status": 422}') if b"bad" in request.body else None
    result = run("generate", "good", "bad", "-d", "0.02")
    assert result.exit_code == 1
    assert "x must be y" in result.stderr and "good" in result.stdout


def test_cancelled_request_exits_with_the_documented_status(run: Run, aws: FakeAws) -> None:
    aws.answer = lambda _: (409, json.dumps({"error": str(RequestCancelledError()), "status": 409}).encode())
    result = run("generate", "x", "-d", "0.1", "--json")
    assert result.exit_code == 1
    (line,) = lines(result)
    assert (line["kind"], line["error"]) == ("RequestCancelled", "the request was cancelled by the client")
    assert lines(run("list", "--json"))[0]["status"] == "cancelled"


def test_main_prints_one_line_and_exits_with_the_errors_status(
    run: Run, aws: FakeAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = client_error("AccessDenied", "no", status=403, operation="DescribeStacks")

    def fault(name: str, when: str) -> None:
        raise error

    aws.fault = fault
    monkeypatch.setattr("sys.argv", ["musicgen", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 4
    assert capsys.readouterr().err.startswith("musicgen: permission cloudformation:DescribeStacks is missing")


def test_help_of_every_command_states_its_options(run: Run) -> None:
    assert "130 interrupted" in " ".join(run("--help").stdout.split())
    for command in ("generate", "status", "wake", "list", "get", "cancel", "again", "play", "watch"):
        assert run(command, "--help").exit_code == 0
