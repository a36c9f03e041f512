"""`make local`, observed from the outside."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import soundfile

from local_aws.hub.tune.listening import listen
from local_aws.hub.tune.prompts import understand
from local_aws.walkthrough.__main__ import PROMPT
from tests.end_to_end.helpers.walkthrough_process import (
    PROJECT,
    STOP_TIMEOUT,
    MakeLocalRun,
    WalkthroughProcess,
    readme_commands,
    tool_environment,
)

COMMANDS = ("status", "generate", "list")  # of the client, which the walkthrough suggests

pytestmark = pytest.mark.timeout(1500)  # the first test waits for the whole run


def test_run_succeeds(make_local_run: MakeLocalRun) -> None:
    assert make_local_run.finished.code == 0, make_local_run.finished.output


def test_clip_is_audio_of_the_requested_length(make_local_run: MakeLocalRun) -> None:
    samples, rate = soundfile.read(make_local_run.state / "clip.wav")
    assert (rate, len(samples) / rate) == (32000, 2.0)
    assert f"your clip: {make_local_run.state / 'clip.wav'}" in make_local_run.finished.output.splitlines()


def test_clip_plays_what_the_prompt_asks_for(make_local_run: MakeLocalRun) -> None:
    samples, rate = soundfile.read(make_local_run.state / "clip.wav", always_2d=True, dtype="float32")
    heard = listen(samples[:, 0], rate)
    assert heard.matches(understand(PROMPT)), heard
    assert not heard.matches(understand("a happy, slow tune in G"))
    assert f"It plays {heard}, by a toy model" in make_local_run.finished.output
    assert str(heard).startswith("D minor, fast")


def test_deployed_policies_scale_to_zero_and_a_prompt_wakes_the_endpoint(make_local_run: MakeLocalRun) -> None:
    output = make_local_run.finished.output
    steps = [
        "a prompt becomes a clip",
        "Completed: s3://",
        "no requests",
        "has no instances",
        "a prompt wakes the endpoint",
        "the same as before, byte for byte",
        "FollowBacklog: 1 -> 0",
    ]
    places = [output.index(step) for step in [*steps, "WakeFromZero: 0 -> 1", "timeline.svg"]]
    assert places == sorted(places)
    assert (make_local_run.state / "timeline.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_success_and_failure_are_both_notified(make_local_run: MakeLocalRun) -> None:
    assert "message  Completed: s3://" in make_local_run.finished.output
    assert "message  Failed: " in make_local_run.finished.output


def test_invalid_request_leaves_a_failure_object_that_names_the_field(make_local_run: MakeLocalRun) -> None:
    (failure,) = [line for line in make_local_run.finished.output.splitlines() if line.strip().startswith("failure ")]
    assert "texts" in failure


def test_diff_after_deploy_shows_no_change(make_local_run: MakeLocalRun) -> None:
    assert "There were no differences" in make_local_run.finished.output


def test_nothing_is_left_after_destroy(make_local_run: MakeLocalRun) -> None:
    assert "nothing left: no bucket, object, unfinished upload" in make_local_run.finished.output
    assert make_local_run.leftover_processes == []


def test_what_the_user_created_is_listed_as_theirs(make_local_run: MakeLocalRun) -> None:
    lines = [line.strip() for line in make_local_run.finished.output.splitlines() if "created by you" in line]
    assert [line.rpartition("/")[2].split(": ")[-1] for line in lines] == [
        "sagemaker-us-east-1-123456789012",
        "my-results",
        "my-role",
    ]


def test_notebook_runs_against_the_deployed_stack(make_local_run: MakeLocalRun) -> None:
    assert make_local_run.notebook.code == 0, make_local_run.notebook.output
    cells: list[dict[str, Any]] = json.loads(make_local_run.notebook_outputs)["cells"]
    kinds = {kind for cell in cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds  # the players, and waveforms with spectrograms
    printed = "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))
    assert "queued" in printed and "completed" in printed  # progress; a clip this short may be done before "generating"
    assert "InvalidRequest: " in printed and "RequestRefused: " in printed
    assert "must be sent to a melody model" in printed  # the toy model follows none
    assert '"generated_outputs_s3"' in printed  # the SageMaker SDK's cell


def test_request_of_the_published_sample_gets_its_response(make_local_run: MakeLocalRun) -> None:
    assert make_local_run.sample.code == 0, make_local_run.sample.output
    (location,) = make_local_run.sample_response()["generated_outputs_s3"]
    assert location.startswith("s3://") and location.endswith(".wav")


def test_every_printed_command_works_in_a_fresh_shell(make_local_run: MakeLocalRun) -> None:
    results = make_local_run.printed_commands
    assert [command.split()[:2] for command in results] == [["musicgen", name] for name in COMMANDS]
    assert {command: done.output for command, done in results.items() if done.code} == {}
    status, generated, listed = (done.output for done in results.values())
    assert "staged model" in status and "completed" in listed
    assert "a happy, fast dance in G major" in generated


def test_printed_command_fetches_and_plays_the_clip(make_local_run: MakeLocalRun) -> None:
    (generate,) = [command for command in make_local_run.printed_commands if "generate" in command]
    assert "--play" in generate
    home = make_local_run.state.parent / "home"
    (clip,) = (home / "clips").glob("*.wav")
    assert (home / "played").read_bytes() == clip.read_bytes()
    samples, rate = soundfile.read(clip, always_2d=True, dtype="float32")
    assert listen(samples[:, 0], rate).matches(understand("a happy, fast dance in G major"))


def test_readmes_first_commands_work(make_local_run: MakeLocalRun) -> None:
    assert {command: done.output for command, done in make_local_run.readme_commands.items() if done.code} == {}
    assert [command.split()[1] for command in make_local_run.readme_commands] == ["generate", "status"]
    others = [command for command in readme_commands() if not command.startswith("musicgen ")]
    *targets, source = others
    assert targets == ["make local", "make demo", "make test", "make local KEEP=1"]
    assert source == "source .local/latest/environment.sh"
    for target in targets:  # what they run, without running it
        dry = [*target.split(), "--dry-run"]
        shown = subprocess.run(dry, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        assert ("local_aws.walkthrough" in shown) == (target != "make test")
        assert ("--keep" in shown, "--page" in shown) == ("KEEP" in target, "demo" in target)


def test_log_has_every_event(make_local_run: MakeLocalRun) -> None:
    assert make_local_run.finished.output.startswith(f"logs: {make_local_run.state} (cdk.log has")
    log = (make_local_run.state / "cdk.log").read_text()
    assert "AWS::SageMaker::Endpoint" in log and "$ cdk bootstrap aws://" in log


def test_failing_step_stops_with_reason_log_and_exit_code_1(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "cdk"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no such luck\nexit 3\n")
    broken.chmod(0o755)
    environment = tool_environment()
    environment["PATH"] = f"{broken.parent}:{environment['PATH']}"
    walkthrough = WalkthroughProcess(tmp_path / "run", environment=environment)
    finished = walkthrough.finish(STOP_TIMEOUT)
    assert finished.code == 1
    assert "stopped at: cdk synth" in finished.output
    assert "reason:     `cdk synth` failed with exit code 3" in finished.output
    assert f"logs:       {walkthrough.state}" in finished.output
    assert finished.output.splitlines()[-1].startswith("reason: ")
    assert "no such luck" in (walkthrough.state / "cdk.log").read_text()
    assert walkthrough.leftover_processes() == []


def test_interruption_stops_everything_that_was_started(tmp_path: Path) -> None:
    walkthrough = WalkthroughProcess(tmp_path / "run")
    walkthrough.wait_for("cdk bootstrap", STOP_TIMEOUT)
    walkthrough.interrupt()
    finished = walkthrough.finish(STOP_TIMEOUT)
    assert finished.code == 130
    assert "interrupted" in finished.output
    assert walkthrough.leftover_processes() == []
