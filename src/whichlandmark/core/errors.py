"""Every error that a user of this package can meet.

    WhichLandmarkError            anything below                                 exit 1
    ├── OptionError               an option or a config key that is not valid    exit 2
    ├── DataError                 a table, folder or file cannot be used         exit 4
    │   └── ImageError            one photo cannot be decoded                    exit 4
    │       └── TooLargeError     it is larger than the limits                   exit 4
    ├── ModelError                an embedder cannot be opened or built          exit 4
    ├── TrainingError             a training run cannot go on                    exit 1
    ├── GalleryError              a gallery is damaged or does not fit           exit 5
    │   └── BusyError             another process is writing to it, or a result  exit 6
    └── NetworkError              a server cannot be reached, or refuses         exit 7

A message says what was given, what was expected and what to do. `exit_code` is what the
command line returns when the error ends a command.
"""

from __future__ import annotations


class WhichLandmarkError(Exception):
    """Base of all errors raised on purpose by this package."""

    exit_code = 1


class OptionError(WhichLandmarkError):
    """An option, argument or config key is not valid."""

    exit_code = 2


class DataError(WhichLandmarkError):
    """A photo table, folder or file cannot be used."""

    exit_code = 4


class ImageError(DataError):
    """One photo cannot be decoded; the message names it and the reason."""


class TooLargeError(ImageError):
    """One photo is larger than the limits; the message says which option raises them."""


class ModelError(WhichLandmarkError):
    """An embedder or its weights cannot be opened, or were made for something else."""

    exit_code = 4


class TrainingError(WhichLandmarkError):
    """A training run cannot go on, as when its loss became NaN. Its last checkpoint is intact."""


class GalleryError(WhichLandmarkError):
    """A gallery is damaged, or was made by another embedder."""

    exit_code = 5


class BusyError(GalleryError):
    """Another process is writing to the same gallery, or the same result."""

    exit_code = 6


class NetworkError(WhichLandmarkError):
    """A server on the web cannot be reached, refuses, or answers what cannot be used."""

    exit_code = 7


def install_command(extra: str) -> str:
    """The command that installs an extra: from the clone that this package was installed from.

    No package index has whichlandmark, so the command names the clone, or, where pip did not note
    it, says that it runs in one.
    """
    import json
    from importlib import metadata
    from pathlib import Path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        noted = json.loads(
            metadata.distribution("whichlandmark").read_text("direct_url.json") or "{}"
        )
    except (metadata.PackageNotFoundError, OSError, ValueError):
        noted = {}
    address = str(noted.get("url", ""))
    if "vcs_info" in noted:
        return f"pip install 'whichlandmark[{extra}] @ {noted['vcs_info'].get('vcs')}+{address}'"
    clone = Path(url2pathname(urlsplit(address).path)) if address.startswith("file:") else None
    if clone and (clone / "pyproject.toml").is_file():
        return f"pip install '{clone}[{extra}]'"
    return f"pip install '.[{extra}]' (in a clone of whichlandmark)"
