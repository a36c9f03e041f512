"""Runs' folders: what ended runs keep, and what a running one keeps."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.client import failed_resource
from local_aws.walkthrough.report import Report
from local_aws.walkthrough.run_folders import new_run

# Another process with a run; it is killed, so that it cannot clean up.
OTHER = """
import sys, time
from pathlib import Path
from local_aws.walkthrough.run_folders import new_run
with new_run(Path(sys.argv[1])) as folder:
    folder.rename(folder.with_name("run-other"))
    print("running", flush=True)
    time.sleep(300)
"""


def make_assembly(run: Path) -> Path:
    assembly = run / "cdk.out"
    assembly.mkdir(parents=True)
    (assembly / "asset.zip").write_bytes(b"x")
    (run / "clip.wav").write_bytes(b"RIFF")
    return assembly


def test_new_run_deletes_the_assemblies_of_ended_runs_only(tmp_path: Path) -> None:
    ended, gate = make_assembly(tmp_path / "run-20200101-000000"), make_assembly(tmp_path / "gate")
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout
    assert other.stdout.readline() == b"running\n"
    running = make_assembly(tmp_path / "run-other" / ".." / "run-other")
    with new_run(tmp_path) as first:
        assert first.is_dir()
        assert (tmp_path / "latest").resolve() == first.resolve()
        assert [ended.exists(), gate.exists(), running.exists()] == [False, True, True]
        assert (tmp_path / "run-20200101-000000" / "clip.wav").exists()
    other.kill()
    other.wait()
    other.stdout.close()
    first.rename(tmp_path / "run-first")  # the next may start in the same second
    with new_run(tmp_path):
        assert not running.exists()


def test_failed_run_ends_with_its_reason() -> None:
    out = io.StringIO()
    Report(out, 1).failed("`cdk deploy` was killed by signal 9 (SIGKILL)", "/logs")
    assert out.getvalue().splitlines()[-1] == "reason:     `cdk deploy` was killed by signal 9 (SIGKILL)"


@pytest.mark.parametrize("stack", ["Missing"])
def test_no_resource_failed_in_a_missing_stack(tmp_path: Path, stack: str) -> None:
    with LocalAws(tmp_path / "aws") as aws:
        assert failed_resource(aws, stack) is None
        client: Any = aws.client("cloudformation")
        bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "NOT VALID"}}
        client.create_stack(StackName="Broken", TemplateBody=json.dumps({"Resources": {"Store": bucket}}))
        with pytest.raises(Exception, match="ROLLBACK_COMPLETE"):
            client.get_waiter("stack_create_complete").wait(StackName="Broken", WaiterConfig={"Delay": 1})
        found = failed_resource(aws, "Broken")
        assert found and found.startswith("Store (AWS::S3::Bucket) CREATE_FAILED: ")
        assert "Invalid bucket name" in found
