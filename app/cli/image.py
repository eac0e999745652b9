"""vmferry image: disk images on this machine, with the code that moves a VM's disks, and without a service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from app.cli import output
from app.cli.exits import CliError, Exit
from app.cli.migrate import SecondRead
from app.cli.output import Output, OutputOption, size
from app.cli.targets import Format, Preallocation
from app.domain.models import ImageOptions
from app.settings import threads

app = typer.Typer(help="Disk images on this machine, without a service.", no_args_is_help=True)


class SourceFormat(StrEnum):
    VMDK = "vmdk"
    QCOW2 = "qcow2"
    RAW = "raw"


Source = Annotated[str, typer.Argument(metavar="IN", help="A VMDK, qcow2 or raw file, or an NBD URI.")]
FromFormat = Annotated[
    SourceFormat | None, typer.Option("--from-format", help="What IN is; a raw image has to be called so.")
]
Threads = Annotated[int, typer.Option(min=1, max=32, help="Threads that read and write.")]
THREADS = threads()


@app.command()
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(metavar="OUT", help="A new file, or a block device.")],
    source_format: FromFormat = None,
    target_format: Annotated[Format, typer.Option("--to-format")] = Format.QCOW2,
    cluster_kib: Annotated[int, typer.Option(help="qcow2's unit of allocation.")] = 64,
    preallocation: Preallocation = Preallocation.OFF,
    compressed: Annotated[bool, typer.Option("--compressed", help="qcow2 only: smaller, slower to read.")] = False,
    second_read: Annotated[SecondRead, typer.Option(help="Read IN again and compare.")] = SecondRead.NONE,
    threads: Threads = THREADS,
    form: OutputOption = Output.TABLE,
) -> None:
    """Copy an image into a new one, read that back and compare. Run it again to go on where it was interrupted."""
    from workers import image

    options = ImageOptions.model_validate(
        {
            "format": target_format,
            "cluster_kib": cluster_kib,
            "preallocation": preallocation,
            "compressed": compressed,
        }
    )
    with _bar() as progress:
        done = image.convert(
            source,
            target,
            source_format=None if source_format is None else source_format.value,
            image=options,
            threads=threads,
            second_read=second_read.value,
            progress=progress,
        )
    manifest = done.manifest
    if form is Output.JSON:
        output.show_json(
            {
                "target": str(target),
                "manifest": str(done.manifest_path),
                "capacity": manifest.capacity,
                "data_bytes": manifest.data_bytes,
                "wire_bytes": manifest.wire_bytes,
                "digest": manifest.digest,
            }
        )
        return
    output.stdout().print(
        f"{output.clean(str(target))}: {size(manifest.data_bytes)} of {size(manifest.capacity)} are data, "
        f"read back and equal; manifest: {output.clean(str(done.manifest_path))}",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def check(source: Source, source_format: FromFormat = None, form: OutputOption = Output.TABLE) -> None:
    """Parse an image as hostile input; nothing is written. Exit code 3 when it may not be used."""
    from workers import image

    facts = image.check(source, None if source_format is None else source_format.value)
    if form is Output.JSON:
        output.show_json({"capacity": facts.capacity, "allocated": facts.allocated, "problems": list(facts.problems)})
    elif not facts.problems:
        output.stdout().print(
            f"nothing wrong: {size(facts.capacity)}, of which {size(facts.allocated)} may hold data", markup=False
        )
    if facts.problems:
        raise CliError(
            Exit.INVALID,
            "unsafe_image",
            f"{source}: {'; '.join(facts.problems)}",
            "Export or copy the disk again; if it is refused again, do not trust its origin.",
        )


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The image to look at.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="What it held when it was copied.")],
    image_format: Annotated[Format, typer.Option("--format", help="What FILE is.")] = Format.QCOW2,
    threads: Threads = THREADS,
    form: OutputOption = Output.TABLE,
) -> None:
    """Compare every byte of an image with a manifest. Exit code 1 when they differ."""
    from workers import image

    found = image.verify(file, manifest, image_format=image_format.value, threads=threads)
    if form is Output.JSON:
        output.show_json({"digest": found.digest, "bytes_read": found.bytes_read, "bytes_skipped": found.bytes_skipped})
        return
    output.stdout().print(
        f"equal: {size(found.bytes_read)} compared, {size(found.bytes_skipped)} zeros on both sides", markup=False
    )


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True)]
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("copy", total=None)

        def progress(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        yield progress
