"""Compute memory, disk, time and machines for galleries of 4 million to 1 billion photos.

    python benchmarks/sizing.py > tables.md

Calculated from measurements at 100,000 to 1.58 million photos (MEASURED, each with the command that
measured it) and from the engines' documentation (DOCUMENTED). Prints the tables of docs/scaling.md,
which a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass

from whichlandmark.gallery.qdrant.collection import QdrantConfig

SIZES = {"4 million": 4_000_000, "100 million": 100_000_000, "1 billion": 1_000_000_000}
DIMS = (256, 512)
GB = 1e9


@dataclass(frozen=True)
class Measured:
    """Bytes of one photo, and rates on 2 cores; dim = D."""

    words: float = 278  # gallery.sqlite without vectors: texts, checksums, indexes (cold_start.py)
    features: float = 49_000  # local features, fingerprint, thumbnail (recognition.py's galleries)
    texts: float = (
        69  # an index file without vectors: ids, paths, numbers, checksums (cold_start.py)
    )
    photos_per_landmark: float = 19.4  # of the clean training photos of Google Landmarks v2
    centre: float = 300  # a cluster without its centre's 4·D: links and lists (cold_start.py)
    code: float = 16  # a row of the inverted file without its D/8: number and two factors
    remote: float = (
        16  # row number and landmark on the client, when the server searches (index/remote.py)
    )
    build: float = 88 / 1.58e6  # seconds a photo, inverted file of 512 dimensions (search_speed.py)
    embed: float = 278  # photos a second, 1600 × 1200 JPEGs, MobileNetV2 at 224 px (end_to_end.py)
    embed_features: float = 43.5  # the same with local features (end_to_end.py)
    read: float = 19.6e9  # bytes of memory a second (search_speed.py)


MEASURED = Measured()
DOCUMENTED = {
    "float16": 2.0, "int8": 1.0, "binary": 0.125,  # bytes per dimension in the searched form
}  # fmt: skip
LINKS = 8 * 16 * 1.1  # bytes of an HNSW graph a photo, m = 16: 2·m links of 4 bytes, and its levels
PAYLOAD = 40.0  # bytes a photo: its checksum and whether it is a distractor, with their names
SERVER = 64 * GB  # memory of one server, of which three quarters are used
USABLE = 0.75


def vectors(dim: int, kind: str) -> float:
    """Bytes of one vector in the searched form."""
    return dim * DOCUMENTED[kind]


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(header: tuple[str, ...], lines: list[str]) -> str:
    return "\n".join([row(*header), row(*["---", *["---:"] * (len(header) - 1)]), *lines])


def size(count: float) -> str:
    """Bytes as text with two or three digits."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


def time(seconds: float) -> str:
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.0f} s"


def vectors_table() -> str:
    """Table of the memory that vectors alone take."""
    lines = [
        row(name, dim, *(size(count * vectors(dim, kind)) for kind in DOCUMENTED),
            f"{MEASURED.read / (count * vectors(dim, 'float16')):.2g}")
        for name, count in SIZES.items() for dim in DIMS
    ]  # fmt: skip
    return table(("photos", "dimensions", *DOCUMENTED, "exact queries/s"), lines)


def single_machine_table() -> str:
    """One machine: the file, index files beside it, and the inverted file in memory."""
    m, lines = MEASURED, []
    for name, count in SIZES.items():
        for dim in DIMS:
            file = count * (2 * dim + m.words)
            segments = count * (2 * dim + m.texts)
            inverted = count * (dim / 8 + m.code + (4 * dim + m.centre) / m.photos_per_landmark)
            lines.append(row(name, dim, size(file), size(count * m.features),
                             size(segments + inverted), size(inverted),
                             time(count * m.build * dim / 512)))  # fmt: skip
    titles = (
        "photos", "dimensions", "gallery.sqlite", "with local features, more", "index files",
        "of these in memory", "inverted file built in",
    )  # fmt: skip
    return table(titles, lines)


def engine_table() -> str:
    """Table for a search index in Qdrant with the preset of each size, and its gallery."""
    lines = []
    for name, count in SIZES.items():
        config = QdrantConfig.for_size(count)
        for dim in DIMS:
            quantised = {"none": 0.0, "scalar": vectors(dim, "int8"),
                         "binary": vectors(dim, "binary")}[config.quantization]  # fmt: skip
            graph = 0 if config.hnsw_on_disk else LINKS
            kept = 0 if config.vectors_on_disk else vectors(dim, "float16")
            memory = count * (quantised + graph + kept) * config.replicas
            disk = count * config.replicas * (vectors(dim, "float16") + quantised + LINKS + PAYLOAD)
            nodes = max(config.replicas, -(-memory // (USABLE * SERVER)))
            client, gallery = (
                size(count * MEASURED.remote),
                size(count * (2 * dim + MEASURED.words)),
            )
            lines.append(row(name, dim, config.quantization, config.replicas, size(memory),
                             size(disk), f"{nodes:.0f}", gallery, client))  # fmt: skip
    titles = (
        "photos", "dimensions", "quantization", "replicas", "memory in all", "disk in all",
        "servers of 64 GB", "gallery on disk", "memory of the client",
    )  # fmt: skip
    return table(titles, lines)


def embedding_table() -> str:
    """Table of the embedding job, on machines of 2 cores."""
    lines = []
    plain, kept = 1 / MEASURED.embed, 1 / MEASURED.embed_features
    for name, count in SIZES.items():
        lines.append(row(name, *(time(count * each / n) for each in (plain, kept)
                                 for n in (1, 100))))  # fmt: skip
    return table(("photos", "1 machine", "100 machines", "1, with local features",
                  "100, with local features"), lines)  # fmt: skip


TABLES = {"vectors": vectors_table, "here": single_machine_table, "engine": engine_table,
          "embedding": embedding_table}  # fmt: skip


def main() -> None:
    for name, make in TABLES.items():
        print(f"<!-- {name} -->\n{make()}\n<!-- /{name} -->\n")


if __name__ == "__main__":
    main()
