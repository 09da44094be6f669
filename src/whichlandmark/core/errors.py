"""Every error that a user of this package can meet.

    WhichLandmarkError            anything below                                 exit 1
    ├── OptionError               an option or a config key that is not valid    exit 2
    ├── DataError                 a table, folder or file cannot be used         exit 4
    │   └── ImageError            one photo cannot be decoded                    exit 4
    │       └── TooLargeError     it is larger than the limits                   exit 4
    ├── ModelError                an embedder cannot be opened or built          exit 4
    ├── TrainingError             a training run cannot go on                    exit 1
    └── GalleryError              a gallery is damaged or does not fit           exit 5
        └── BusyError             another process is writing to it               exit 6

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
    """Another process is writing to the same gallery."""

    exit_code = 6
