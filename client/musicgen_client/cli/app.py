"""The commands. Results go to standard output, progress and errors to standard error."""

import json
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from musicgen_client.api import MusicGen
from musicgen_client.cli.global_options import Commands
from musicgen_client.cli.inputs import maker, payload, requests_of
from musicgen_client.cli.music import excerpts, section
from musicgen_client.cli.play import play as play_file
from musicgen_client.cli.progress import Progress
from musicgen_client.clip import Clip
from musicgen_client.errors import InvalidRequest, MusicGenError
from musicgen_client.foreign import Source
from musicgen_client.history import History
from musicgen_client.jobs import Limits
from musicgen_client.journal import Record
from musicgen_client.report import Report
from musicgen_client.requests.request import FORMATS, NORMALIZATIONS, Request, title
from musicgen_client.stack import stack_name

EXIT_STATUS = """
Exit status: 0 all clips were generated; 1 a request failed, was refused or was cancelled; 2 invalid arguments or
request, nothing was sent; 3 no such stack or endpoint, or it has failed; 4 AWS refused the call (credentials,
permission, clock) or could not be reached; 5 a request expired, or --timeout passed; 130 interrupted:
the requests go on.
"""


app = typer.Typer(
    cls=Commands,
    help=f"Music from a MusicGen endpoint on AWS.\n\n{EXIT_STATUS}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@dataclass(frozen=True)
class Settings:
    """The options of every command."""

    stack: str | None
    region: str | None
    json: bool


Out = Annotated[Path, typer.Option("--out", "-o", help="folder for the audio files")]
Play = Annotated[bool, typer.Option("--play", help="play each clip")]
Job = Annotated[str, typer.Argument(help='a job\'s id, the beginning of it, or "last"')]
Timeout = Annotated[float | None, typer.Option(min=1, help="seconds to wait; the job then goes on, see `get`")]


def connect(settings: Settings, limits: Limits | None = None) -> MusicGen:
    """Find the stack; tests replace this."""
    return MusicGen(settings.stack, region=settings.region, limits=limits)


@app.callback()
def common(
    context: typer.Context,
    stack: Annotated[
        str | None, typer.Option(envvar="MUSICGEN_STACK", help='the stack\'s name (default: "MusicGen-dev")')
    ] = None,
    region: Annotated[str | None, typer.Option(help="its region (default: that of the AWS profile)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per line on standard output")] = False,
) -> None:
    """Music from a MusicGen endpoint on AWS."""
    context.obj = Settings(stack, region, as_json)


@app.command()
def generate(
    context: typer.Context,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            help='what the music should sound like, "-" for --file -; with --from, JSON files or JSON itself'
        ),
    ] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", "-d", help="seconds, 0.02 to 300 (default: 5)")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, max=1000, help="clips per prompt, with consecutive seeds")] = 1,
    seed: Annotated[int | None, typer.Option(help="0 to 4294967295; the same seed gives the same clip")] = None,
    out: Out = Path(),
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help='prompts (or JSON, see --from), one per line; "-" is standard input'),
    ] = None,
    source: Annotated[
        Source | None, typer.Option("--from", help="take JSON requests of another service; they have the parameters")
    ] = None,
    stride: Annotated[
        float | None, typer.Option(help="seconds that each window after 30 s adds, 1 to 29 (default: 18)")
    ] = None,
    sections: Annotated[
        list[str] | None,
        typer.Option("--section", metavar="SECONDS:TEXT", help="instead of a prompt: a part of one clip; repeat it"),
    ] = None,
    loop: Annotated[
        bool, typer.Option("--loop", help="make loops of bars of four beats; needs --bpm and --bars")
    ] = False,
    bpm: Annotated[float | None, typer.Option(help="a loop's tempo, 30 to 300 beats a minute")] = None,
    bars: Annotated[int | None, typer.Option(help="a loop's length, 1 to 64 bars")] = None,
    continued: Annotated[
        str | None, typer.Option("--continue", metavar="FILE", help="audio to continue: a file, or an s3:// URL")
    ] = None,
    continue_start: Annotated[
        float | None, typer.Option(help="where the continued excerpt starts, in seconds (default: 0)")
    ] = None,
    continue_end: Annotated[
        float | None, typer.Option(help="where it ends, at most 25 s after its start (default: the audio's end)")
    ] = None,
    no_excerpt: Annotated[
        bool, typer.Option("--no-excerpt", help="save what is new alone, without the continued excerpt")
    ] = False,
    melody: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="audio whose melody to follow: a file, or an s3:// URL; melody models only"),
    ] = None,
    melody_start: Annotated[float | None, typer.Option(help="where the melody starts, in seconds (default: 0)")] = None,
    melody_end: Annotated[
        float | None, typer.Option(help="where it ends, at most 120 s after its start (default: the audio's end)")
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="how closely to follow the text, 1 to 20 (default: 3)")] = None,
    temperature: Annotated[float | None, typer.Option(help="0.001 to 5 (default: 1)")] = None,
    top_k: Annotated[int | None, typer.Option(help="0 to 2048 (default: 250)")] = None,
    top_p: Annotated[float | None, typer.Option(help="0.000001 to 1 (default: 1)")] = None,
    negative: Annotated[str | None, typer.Option(help="what no clip should sound like")] = None,
    audio_format: Annotated[
        str | None, typer.Option("--format", help=f"{', '.join(FORMATS)} (default: wav, 16 bits)")
    ] = None,
    normalize: Annotated[
        str | None, typer.Option(help=f"the level: {', '.join(NORMALIZATIONS)} (default: none)")
    ] = None,
    fade_in: Annotated[float | None, typer.Option(help="seconds, 0 to 30 (default: 0)")] = None,
    fade_out: Annotated[float | None, typer.Option(help="seconds, 0 to 30 (default: 0)")] = None,
    trim_tail: Annotated[bool, typer.Option("--trim-tail", help="remove noise from the last second")] = False,
    tags: Annotated[bool, typer.Option("--tags", help="write prompt, seed, model and licence into the files")] = False,
    percent: Annotated[
        bool, typer.Option("--percent", help="ask the endpoint to report per cent, also for `status`")
    ] = False,
    window: Annotated[int, typer.Option(min=1, max=256, help="requests in flight at once")] = 16,
    ttl: Annotated[int, typer.Option(min=60, max=21600, help="seconds that a request may wait")] = 3600,
    time_limit: Annotated[int, typer.Option(min=1, max=3600, help="seconds that a request may run")] = 900,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="generate a --file again that was generated into --out")
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="write a page with players, waveforms and timings, in one file")
    ] = None,
    play: Play = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per clip")] = False,
) -> None:
    """Generate clips and save them as audio files.

    They have the model's sampling rate, 32 kHz; there is no other. Ctrl-C leaves the requests running and
    prints how to fetch them.

    A --file may have any number of lines. The same command continues it after an interruption: finished prompts are
    skipped, and none is generated twice.
    """
    if prompts == ["-"] and not source and file is None:
        prompts, file = None, Path("-")
    if sum(map(bool, (prompts, file, sections))) != 1:
        raise InvalidRequest("give either prompts or --file, or --section")
    parameters: dict[str, Any] = {
        "duration": duration, "guidance_scale": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p,
        "negative_prompt": negative, "seed": seed, "progress": percent, "format": audio_format,
        "normalization": normalize, "fade_in": fade_in, "fade_out": fade_out, "trim_tail": trim_tail, "tags": tags,
    }  # fmt: skip
    # Those that are given only: a batch's name has the parameters, and stays what it was without these.
    music: dict[str, Any] = {"stride": stride, "loop": loop, "bpm": bpm, "bars": bars}
    parameters |= {name: value for name, value in music.items() if value not in (None, False)}
    parameters |= excerpts(continued, (continue_start, continue_end), no_excerpt, melody, (melody_start, melody_end))
    if sections:
        parameters["sections"] = tuple(section(text) for text in sections)
    make = maker(parameters, count, source, random_seed=file is None, note=lambda text: typer.echo(text, err=True))
    items = [""] if sections else [payload(item) if source else item for item in prompts or []]
    # What is wrong is refused before anything is sent.
    requests = requests_of(file, source, make) if file else [request for item in items for request in make(item)]
    out.mkdir(parents=True, exist_ok=True)
    client = connect(context.obj, Limits(window=window, ttl=ttl, time_limit=time_limit))
    given = json.dumps(parameters, sort_keys=True, default=vars)
    batch = f"{out.absolute()} {count} {given}" + (f" {source}" if source else "")
    name = None if file is None or fresh else batch
    with Report(html) if html else nullcontext() as report:
        _generate(
            client, requests, name, out, play=play, as_json=as_json or context.obj.json, window=window, report=report
        )


def _generate(
    music: MusicGen, requests: Iterable[Request], name: str | None, out: Path, *, play: bool, as_json: bool,
    window: int, report: Report | None = None,
) -> None:  # fmt: skip
    failures: list[MusicGenError] = []

    def store(_job: str, clips: tuple[Clip, ...]) -> list[str]:
        return [str(clip.save(out / clip.file_name)) for clip in clips]

    with _interruptible(music, quiet=as_json) as progress:
        for outcome in music.generate_many(requests, name=name, on_update=progress, store=store, window=window):
            if outcome.error is not None:
                failures.append(outcome.error)
                _print_error(outcome.error, outcome.job, as_json)
                if report:
                    report.add_failure(outcome.job, outcome.request, outcome.error)
            for clip in outcome.clips:
                _print_clip(clip, out / clip.file_name, as_json)
                if report:
                    report.add(clip, out / clip.file_name)
                if play:
                    play_file(out / clip.file_name)
    if failures:
        raise typer.Exit(max(failure.exit_status for failure in failures))


@contextmanager
def _interruptible(music: MusicGen, *, quiet: bool) -> Generator[Progress, None, None]:
    """Show progress; on Ctrl-C say how to fetch what goes on."""
    progress = Progress(Console(stderr=True), music.status, quiet=quiet)
    try:
        with progress:
            yield progress
    except KeyboardInterrupt:
        if progress.open_jobs:
            typer.echo(
                "interrupted; these requests go on. Fetch them, or cancel them with `musicgen cancel ID`:", err=True
            )
            for job in progress.open_jobs:
                typer.echo(f"  musicgen --stack {music.stack.name} get {job}", err=True)
        raise typer.Exit(130) from None


def _print_clip(clip: Clip, path: Path, as_json: bool) -> None:
    if as_json:
        fields = {
            "id": clip.inference_id, "index": clip.index, "prompt": clip.prompt, "seed": clip.seed,
            "seconds": clip.duration, "rate": clip.rate, "channels": clip.channels, "file": str(path), "url": clip.url,
        }  # fmt: skip
        typer.echo(json.dumps(fields))
    else:
        typer.echo(f"{path}  {clip.duration:.2f} s  seed {clip.seed}  {clip.prompt}")


def _print_error(error: MusicGenError, job: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"id": job, "error": str(error), "kind": type(error).__name__}))
    else:
        typer.echo(f"{job}: {error}", err=True)


@app.command(name="list")
def list_jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option("-n", min=1, help="how many")] = 20,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List this machine's jobs, the newest first; needs no network."""
    records = [record for _, record in History(stack_name(context.obj.stack)).records()]
    records.sort(key=lambda record: record.planned_at, reverse=True)
    for record in records[:limit]:
        state, request = record.status or _waiting(record), record.request
        texts = request.get("texts") or [section["text"] for section in request.get("sections", [])]
        seed = record.request["generation_params"]["seed"]
        if as_json or context.obj.json:
            line = {"id": record.id, "status": state, "texts": texts, "seed": seed, "error": record.error}
            typer.echo(json.dumps({**line, "planned_at": record.planned_at, "files": record.files}))
        else:
            when = datetime.fromtimestamp(record.planned_at, UTC).astimezone()
            typer.echo(f"{record.id}  {when:%Y-%m-%d %H:%M}  {state:<9}  seed {seed:<10}  {title(request) or '-'}")


def _waiting(record: Record) -> str:
    return {"planned": "planned", "sending": "in doubt"}.get(record.event, "open")


@app.command()
def get(
    context: typer.Context, job: Job, out: Out = Path(), timeout: Timeout = None, play: Play = False,
    index: Annotated[int | None, typer.Option(min=0, help="only this clip, the first is 0 (default: all)")] = None,
    link: Annotated[
        int | None, typer.Option(min=1, max=604800, help="print links that anyone can open for so many seconds")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:  # fmt: skip
    """Fetch a job's clips, waiting if it is not finished."""
    music = connect(context.obj)
    with _interruptible(music, quiet=as_json or context.obj.json) as progress:
        clips = music.fetch(job, timeout=timeout, on_update=progress)
    if index is not None:
        if index >= len(clips):
            raise InvalidRequest(f"--index must be at most {len(clips) - 1}, got {index}")
        clips = [clips[index]]
    out.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        path = clip.save(out / clip.file_name)
        _print_clip(clip, path, as_json or context.obj.json)
        if link:
            typer.echo(music.transport.presign(clip.url, link))
        if play:
            play_file(path)


@app.command()
def cancel(context: typer.Context, job: Job) -> None:
    """Ask the endpoint to end a job that waits or runs."""
    music = connect(context.obj)
    music.cancel(job)
    typer.echo("cancelled: an endpoint that supports it ends the job within 2 s of running it")


@app.command()
def again(
    context: typer.Context, job: Job,
    seed: Annotated[str | None, typer.Option(help="another seed; +1 or -1 is relative to the job's")] = None,
    out: Out = Path(), play: Play = False, as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:  # fmt: skip
    """Generate a job's request again.

    By default with the next seeds; --seed +0 gives the same clips.
    """
    _, record = History(stack_name(context.obj.stack)).find(job)
    request = Request.from_body(record.request)
    old = request.seed or 0
    try:
        new = old + request.clips if seed is None else int(seed) + (old if seed[:1] in "+-" else 0)
    except ValueError as error:
        raise InvalidRequest(f"--seed must be a number, +number or -number, got {seed!r}") from error
    music = connect(context.obj)
    out.mkdir(parents=True, exist_ok=True)
    _generate(music, [request.with_seed(new)], None, out, play=play, as_json=as_json or context.obj.json, window=1)


@app.command()
def play(
    context: typer.Context, job: Job, index: Annotated[int, typer.Option(min=0, help="which clip, the first is 0")] = 0
) -> None:
    """Play a clip of an earlier job, or an audio file."""
    path = Path(job)
    if path.suffix not in (".wav", ".flac", ".ogg", ".mp3"):
        _, record = History(stack_name(context.obj.stack)).find(job)
        if record.files and not index < len(record.files):
            raise InvalidRequest(f"--index must be at most {len(record.files) - 1}, got {index}")
        saved = Path(record.files[index]) if record.files else None
        if saved is None or not saved.exists():
            raise InvalidRequest(f"the clips of {record.id} are not on this machine; `musicgen get {record.id} --play`")
        path = saved
    play_file(path)


def main() -> None:
    """Run the command and exit with the documented status."""
    try:
        app(standalone_mode=True)
    except MusicGenError as error:
        _end(error)
    except KeyboardInterrupt:
        sys.exit(130)


def _end(error: MusicGenError) -> None:
    typer.echo(f"musicgen: {error}", err=True)
    sys.exit(error.exit_status)
