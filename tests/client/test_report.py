"""The HTML report: complete, inert, without network, bounded."""

import base64
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from musicgen_client import Clip, MusicGen, Request
from musicgen_client import report as module
from musicgen_client.cli import app as cli
from musicgen_client.errors import InvalidRequest, RequestFailed
from musicgen_client.report import Report
from tests.client.helpers.fake_aws import FakeAws, wav

HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(2)>" onload="alert(3) 'https://evil.example/' &amp;"""


class Page(HTMLParser):
    """Collects a page's elements, attributes and visible text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.size = path.stat().st_size
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def players(self) -> list[str]:
        return [value for tag, name, value in self.attributes if (tag, name) == ("audio", "src")]


def clip(prompt: str = "piano", seconds: float = 0.1, index: int = 0, **metadata: Any) -> Clip:
    return Clip(wav(seconds, 7), prompt, 7, 32_000, seconds, "mabc", index, "s3://b/k", metadata)


def assert_inert(page: Page) -> None:
    """Nothing runs and nothing is loaded: neither scripts and handlers nor addresses of hosts."""
    assert set(page.tags) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "article", "svg", "path", "audio", "p", "a",
        "footer",
    }  # fmt: skip
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "action", "data", "poster", "xlink:href", "srcset", "style"):
            assert value.startswith(("data:audio/wav;base64,", "./")), (tag, name, value[:80])
    (policy,) = [value for tag, name, value in page.attributes if (tag, name) == ("meta", "content")]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "script" not in policy


def test_report_has_players_waveforms_prompts_seeds_and_timings(tmp_path: Path) -> None:
    timings = {"generate_seconds": 1.9, "upload_seconds": 0.1}
    with Report(tmp_path / "new" / "page.html") as report:
        report.add(clip("calm piano", model="facebook/musicgen-small", timings=timings), tmp_path / "a.wav")
        report.add(clip("", index=1), tmp_path / "b.wav")
        report.add_failure("mdef", Request(texts=("drums",)), RequestFailed("x must be y"))
    page = Page(tmp_path / "new" / "page.html")
    assert_inert(page)
    assert [base64.b64decode(player.partition(",")[2]) for player in page.players] == [wav(0.1, 7)] * 2
    assert page.tags.count("svg") == 2
    facts = "0.10 s at 32000 Hz · seed 7 · generate 1.9 s · upload 0.1 s · facebook/musicgen-small · mabc [0]"
    assert facts in page.text
    assert "without a prompt" in page.text and "drums" in page.text and "failed: x must be y · mdef" in page.text
    assert "2 clips, 1 failed requests." in page.text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_hostile_text_is_shown_and_inert(tmp_path: Path) -> None:
    hostile = clip(HOSTILE, model=HOSTILE, timings={f"{HOSTILE}_seconds": 1.0})
    with Report(tmp_path / "page.html") as report:
        report.add(hostile, tmp_path / "a.wav")
        report.add_failure(HOSTILE, Request(texts=(HOSTILE,)), RequestFailed(HOSTILE))
    page = Page(tmp_path / "page.html")
    assert_inert(page)
    assert page.text.count(HOSTILE) == 6


def test_timings_that_are_none_are_left_out(tmp_path: Path) -> None:
    with Report(tmp_path / "page.html") as report:
        report.add(clip(timings=["x"]), tmp_path / "a.wav")
        report.add(clip(timings={"generate_seconds": None, "upload_seconds": 2}), tmp_path / "a.wav")
    assert "seed 7 · mabc" in Page(tmp_path / "page.html").text
    assert "seed 7 · upload 2 s · mabc" in Page(tmp_path / "page.html").text


def test_generate_writes_the_report(
    connect: Callable[..., MusicGen], aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(cli, "connect", lambda _settings, limits=None: connect(limits=limits))  # pyright: ignore
    aws.answer = lambda request: (422, b'{"error": "x must be y", "status": 422}') if b"bad" in request.body else None
    out, html = tmp_path / "out", tmp_path / "page.html"
    arguments = ("generate", HOSTILE, "bad", "-d", "0.1", "-o", str(out), "--html", str(html), "--json")
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 1
    page = Page(html)
    assert_inert(page)
    (saved,) = out.iterdir()
    assert [base64.b64decode(player.partition(",")[2]) for player in page.players] == [saved.read_bytes()]
    assert HOSTILE in page.text and "failed: x must be y" in page.text and "generate 1 s" in page.text


def test_thousand_clips_stay_within_the_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(wav(0.1, 7))
    monkeypatch.setattr(module, "MAX_AUDIO_BYTES", 20 * size)
    with Report(tmp_path / "page.html") as report:
        for index in range(1003):
            report.add(clip(index=index), tmp_path / "out" / f"clip #{index}.wav")
    page = Page(tmp_path / "page.html")
    assert_inert(page)
    assert len(page.players) == 20 and page.tags.count("article") == 1000
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert len(links) == 980 and links[0] == "./out/clip%20%2320.wav"
    assert "1003 clips, 0 failed requests. The last 3 of them are not shown." in page.text
    assert page.size < 20 * size * 4 / 3 + 1000 * 22_000


def test_interrupted_run_leaves_a_whole_page(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Report(tmp_path / "page.html") as report:
        report.add(clip(), tmp_path / "a.wav")
        raise KeyboardInterrupt
    assert "1 clips" in Page(tmp_path / "page.html").text


def test_folder_is_refused_before_anything_is_generated(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="must be a file's name, got a folder"):
        Report(tmp_path)
