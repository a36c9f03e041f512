"""What `make local` runs, looked at from the outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.end_to_end.helpers.walkthrough_process import ENDED_WITHIN, WalkthroughProcess, WholeRun, tool_environment

pytestmark = pytest.mark.timeout(1500)  # the first test that needs the whole run waits for all of it


def test_a_whole_run_ends_well(whole_run: WholeRun) -> None:
    assert whole_run.finished.code == 0, whole_run.finished.output


def test_the_clip_is_audio_of_the_asked_length(whole_run: WholeRun) -> None:
    samples, rate = soundfile.read(whole_run.state / "clip.wav")
    assert (rate, len(samples) / rate) == (32000, 1.0)
    assert str(whole_run.state / "clip.wav") in whole_run.finished.output.splitlines()[-2]


def test_the_deployed_policies_scale_to_zero_and_a_prompt_wakes_the_endpoint(whole_run: WholeRun) -> None:
    output = whole_run.finished.output
    steps = ["nobody asks", "has no instance", "a prompt wakes it", "Completed: s3://", "FollowBacklog: 1 -> 0"]
    places = [output.index(step) for step in [*steps, "WakeFromZero: 0 -> 1", "timeline.svg"]]
    assert places == sorted(places)
    assert (whole_run.state / "timeline.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_success_and_failure_are_both_notified(whole_run: WholeRun) -> None:
    assert "message  Completed: s3://" in whole_run.finished.output
    assert "message  Failed: " in whole_run.finished.output


def test_a_bad_request_leaves_a_failure_object_that_names_the_mistake(whole_run: WholeRun) -> None:
    (failure,) = [line for line in whole_run.finished.output.splitlines() if line.strip().startswith("failure ")]
    assert "texts" in failure


def test_diff_after_deploy_shows_no_change(whole_run: WholeRun) -> None:
    assert "There were no differences" in whole_run.finished.output


def test_nothing_is_left_after_destroy(whole_run: WholeRun) -> None:
    assert "nothing: no bucket, object, unfinished upload" in whole_run.finished.output
    assert whole_run.left_behind == []


def test_the_notebook_runs_against_the_deployed_stack(whole_run: WholeRun) -> None:
    assert whole_run.notebook.code == 0, whole_run.notebook.output
    cells: list[dict[str, Any]] = json.loads(whole_run.notebook_outputs)["cells"]
    kinds = {kind for cell in cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds  # the players and the waveform


def test_the_published_samples_request_gets_the_samples_response(whole_run: WholeRun) -> None:
    assert whole_run.sample.code == 0, whole_run.sample.output
    (location,) = whole_run.sample_response()["generated_outputs_s3"]
    assert location.startswith("s3://") and location.endswith(".wav")


def test_a_failing_step_stops_with_reason_log_and_exit_code_1(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "cdk"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no such luck\nexit 3\n")
    broken.chmod(0o755)
    environment = tool_environment()
    environment["PATH"] = f"{broken.parent}:{environment['PATH']}"
    walkthrough = WalkthroughProcess(tmp_path / "run", environment=environment)
    finished = walkthrough.finish(ENDED_WITHIN)
    assert finished.code == 1
    assert "stopped at: cdk synth" in finished.output
    assert "reason:     `cdk synth` ended with exit code 3" in finished.output
    assert f"logs:       {walkthrough.state}" in finished.output
    assert "no such luck" in (walkthrough.state / "cdk.log").read_text()
    assert walkthrough.left_behind() == []


def test_an_interruption_ends_everything_that_was_started(tmp_path: Path) -> None:
    walkthrough = WalkthroughProcess(tmp_path / "run")
    walkthrough.wait_for("cdk bootstrap", ENDED_WITHIN)
    walkthrough.interrupt()
    finished = walkthrough.finish(ENDED_WITHIN)
    assert finished.code == 130
    assert "interrupted" in finished.output
    assert walkthrough.left_behind() == []
