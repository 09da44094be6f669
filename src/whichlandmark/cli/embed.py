"""The verb embed: vectors of photos into a file, for other people's scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import OptionError
from . import option_types, output
from .app import Device, Json, app
from .given_vectors import photos_of

if TYPE_CHECKING:
    from ..core.types import Embedder
    from ..features.descriptors.embed_photos import Transform


@app.command()
def embed(
    source: Annotated[
        Path,
        typer.Argument(
            help="A photos.csv, a folder of photos or one of tars; labels are not needed."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="The file of vectors: .npy, .safetensors or .hdf5, as it ends."
        ),
    ],
    embedder: Annotated[
        str | None,
        typer.Option("--embedder", help="lite0 (the default), an embedder folder or timm:NAME."),
    ] = None,
    recognizer: Annotated[
        Path | None,
        typer.Option(
            "--recognizer",
            "-r",
            autocompletion=option_types.complete_recognizers,
            help="Instead of --embedder: the embedder of this recognizer, and its whitening.",
        ),
    ] = None,
    float16: Annotated[
        bool, typer.Option("--float16", help="Half of the bytes; float32 without it.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write the vectors of photos, with their ids, for other programs.

    The same command resumes an interrupted run.
    """
    from ..core.disks import only_writer
    from ..features.descriptors.embed_photos import embed_photos
    from ..features.descriptors.write import check_new_descriptors

    if embedder and recognizer:
        raise OptionError(f"--embedder {embedder} and -r {recognizer} given; expected one of them")
    check_new_descriptors(out)
    output.settings.until_end.enter_context(only_writer(out))
    photos = photos_of(source)
    opened, transform = _opened(embedder, recognizer, device)
    with output.progress() as progress:
        done = embed_photos(
            out, opened, photos, transform=transform, dtype="float16" if float16 else "float32",
            progress=progress("embedding"),
        )  # fmt: skip
    counts = {
        "vectors": done.vectors,
        "dimensions": done.dim,
        "embedder": opened.id,
        "whitened": transform is not None,
        "failed": len(done.failures),
        "of an earlier run": done.resumed,
    }
    output.result(counts, as_json, title=str(out))
    output.finish_with_failures(done.failures)


def _opened(
    embedder: str | None, recognizer: Path | None, device: str
) -> tuple[Embedder, Transform | None]:
    from ..features.descriptors.embed_photos import Transform
    from ..features.embedders.load import default_embedder, load_embedder
    from ..gallery.index.projection import projection_key
    from ..recognition.folder.load import load

    if recognizer is None:
        name = embedder or default_embedder()
        if name == "sift":
            raise OptionError(
                "sift learns its words from the photos that it is made for, so that the vectors of "
                "two runs could not be compared; give one that was made: -r FOLDER, or --embedder "
                "FOLDER/embedder, of a recognizer with sift"
            )
        return load_embedder(name, device=device), None
    found = load(recognizer, device=device)
    whitening = found.fitted.projection
    if whitening is None:
        output.note(f"{recognizer} has no whitening: the vectors are its embedder's")
        return found.embedder, None
    transform = Transform(
        whitening, len(whitening.axes), projection_key(whitening), f"whitened by {recognizer.name}"
    )
    return found.embedder, transform
