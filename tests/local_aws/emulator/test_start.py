"""The embedded AWS starts within two seconds, and several run at once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from local_aws.emulator.process import LocalAws
from local_aws.sagemaker.instances.container import free_port

LOCAL = Path(__file__).parents[3] / "local"


def test_three_start_at_once_within_their_time_and_share_nothing(tmp_path: Path) -> None:
    started = [LocalAws(tmp_path / f"aws-{index}") for index in range(3)]
    try:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(LocalAws.start, started))
        # In CPU seconds, because other tests share the cores; it was 1.7 when EC2 was imported too.
        for aws in started:
            used = psutil.Process(aws.pid).cpu_times()
            assert used.user + used.system < 2.0
        for index, aws in enumerate(started):
            aws.client("s3").create_bucket(Bucket=f"only-{index}")
        for index, aws in enumerate(started):
            names = [bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]]
            assert names == [f"only-{index}"]
        assert len({aws.endpoint_url for aws in started}) == 3
        started[0].stop()
        assert started[1].client("sts").get_caller_identity()["Account"] == started[1].account_id
    finally:
        for aws in started:
            aws.stop()


def test_a_state_folder_has_one_server(tmp_path: Path) -> None:
    with LocalAws(tmp_path / "aws") as first:
        with pytest.raises(RuntimeError, match="another runs on"):
            LocalAws(tmp_path / "aws").start()
        assert first.client("s3").list_buckets()["Buckets"] == []
    with LocalAws(tmp_path / "aws") as again:  # the lock ends with its process
        assert again.client("s3").list_buckets()["Buckets"] == []


def test_processes_never_get_the_same_port() -> None:
    """A container binds its ports seconds after they were chosen."""
    program = (
        "from local_aws.sagemaker.instances import container\n"
        "container._PORTS = range(31_000, 31_050)\n"
        "print(*[container.free_port() for _ in range(20)], flush=True)\n"
        "input()\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(LOCAL)},
        )
        for _ in range(2)
    ]
    found: list[int] = []
    for process in both:
        assert process.stdout
        found += map(int, process.stdout.readline().split())
    for process in both:
        process.communicate("\n", timeout=20)
    assert len(found) == len(set(found)) == 40
    assert free_port() not in found


def test_a_service_whose_import_is_deferred_answers(aws: LocalAws) -> None:
    regions = aws.client("ec2").describe_regions()["Regions"]
    assert aws.region in {region["RegionName"] for region in regions}


def test_import_of_cloudformation_loads_no_deferred_service() -> None:
    program = (
        "import sys\nfrom local_aws.emulator.moto_changes import moto_imports\nmoto_imports.import_cloudformation()\n"
        "from local_aws.emulator.moto_changes import moto_patches\n"
        "assert 'moto.cloudformation.parsing' in sys.modules\n"
        "print([name for name in moto_imports.DEFERRED if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(LOCAL)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
