"""Tarballs as the pipeline builds them."""

from stage_model.archive.object_layout import Member, tarball_object
from stage_model.archive.staging_plan import Manifest, ManifestEntry, Plan, StagedFile
from stage_model.source.byte_source import BytesSource, CopyReader
from stage_model.upload.journal import ResumePoint
from stage_model.upload.pipeline import PartProducer, PipelineSteps, ThreadPipeline

MANIFEST = "musicgen-manifest.json"


def planned(files: dict[str, bytes], blocks: int = 1) -> Plan:
    staged = [StagedFile(name, CopyReader(name, BytesSource(data), None)) for name, data in files.items()]
    manifest = Manifest("a/b", "0" * 40, "float32", [ManifestEntry(n, len(d), None) for n, d in files.items()])
    members = [Member(name, len(data)) for name, data in files.items()] + [Member(MANIFEST, manifest.size)]
    streams = [stream for file in staged for stream in file.reader.streams]
    return Plan("key", staged, manifest, streams, [tarball_object("key", members, blocks)])


def built(plan: Plan, threads: int) -> bytes:
    producer, frames = PartProducer(plan, ResumePoint()), dict[int, bytes]()
    *tasks, last = producer.tasks
    keep = PipelineSteps(
        producer.build, producer.hash, lambda task, part: frames.update({task.index: bytes(part.frame)})
    )
    ThreadPipeline(threads).run(tasks, keep, producer.buffer_size)
    frames[last.index] = bytes(producer.build_last(last).frame)
    assert len(b"".join(frames.values())) == plan.objects[0].size
    return b"".join(frames[index] for index in sorted(frames))
