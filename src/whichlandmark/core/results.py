"""What commands write: the kinds of results, and a check that no file of another origin is lost."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from pathlib import Path

from .disks import require_writable
from .errors import OptionError

# Kind of result → a pattern in the first 4,096 bytes of each such file. A file without it was
# written by someone else, so no command replaces it.
RESULTS = {
    "photo table": rb"\Aid,path,landmark(,usage)?(,tier)?\r?\n",
    "list of dropped photos": rb"\Aid,path,landmark,reason,",
    "table of predictions": rb"\Aid,landmark,score,confidence,decision,",
    "table of answers": rb"\A\xef\xbb\xbfpath,landmark,title,decision,",
    "table of labels": rb"\A\xef\xbb\xbfphoto,landmark,title,decision,confidence,state,",
    "map of labels": rb'\A\{\s*"type": "FeatureCollection",\s*"generator": "whichlandmark"',
    "file for FiftyOne": rb'\A\{\s*"info": \{\s*"generator": "whichlandmark"',
    "file for Label Studio": rb'\A\[\s*\{\s*"data": \{\s*"recognized_by": "whichlandmark"',
    "labeling configuration": rb'\A<View className="whichlandmark">',
    "submission": rb"\Aid,landmarks\r?\n",
    "retrieval submission": rb"\Aid,images\r?\n",
    "file of similarities": rb'\A\{\n"[^"\n]+": \{("[^"\n]+": [0-9.eE+-]+[,}]|\})',
    "table of results": rb"\A(<!-- whichlandmark results table|% whichlandmark results table"
    rb"|method,dimension,image size,licence,seconds,)",
    "file of scores": rb'\A\{\s[^{}]*"gap":',
    "file of results": rb'\A\{\s*"protocol": "[^"]*",\s*"measured_by": "whichlandmark',
    "list of landmarks": rb"\Alandmark,name,category\r?\n",
    "table of landmark records": rb"\Alandmark,title,wikidata,latitude,longitude,source[,\r\n]",
    "table of suggestions": rb"\Alandmark,title,wikidata,label,description,",
    "table of credits": rb"\Aid,author,licence(,licence_url)?,source\r?\n",
    "table of offsets": rb"\Aid,tar,offset,size\r?\n",
    "list of files left out": rb"\Apath,reason\r?\n",
    "list of problems": rb"\Akind,name,detail\r?\n",
    "page": rb'<meta name="generator" content="whichlandmark">',
    "picture": rb"\A\x89PNG.*Software\0whichlandmark",
}

FOLDER = "folder"  # the kind of a result that is a folder


def check_results(
    results: Iterable[tuple[Path, str]], inputs: Iterable[str | Path | None] = ()
) -> None:
    """Refuse to write over an input, over another result, or over a file of another origin.

    Call it before the work, because the answer is the same after it.

    Args:
        results: The path of each file or folder that will be written, and its kind: a key of
            `RESULTS`, or `FOLDER`.
        inputs: Files and folders that are read; None and addresses that are no files are skipped.

    Raises:
        OptionError: Naming the path, and what is there.
        DataError: When a path cannot be written: no permission, a full disk, a file as a folder.
    """
    written: list[str] = []
    given = [os.path.realpath(path) for path in inputs if path is not None]
    for path, kind in results:
        real = os.path.realpath(path)
        if real in given or any(_same_file(real, other) for other in given):
            raise OptionError(
                f"{path}: given as input and as output, and no input is ever overwritten; choose "
                f"another name for the {kind}"
            )
        if real in written:
            raise OptionError(f"{path}: given for two results; give each a name of its own")
        written.append(real)
        if kind == FOLDER:
            if os.path.exists(real) and not os.path.isdir(real):
                raise OptionError(f"{path}: a file; expected a folder, existing or new")
        else:
            require_own_result(path, kind)
        require_writable(path, folder=kind == FOLDER)


def _same_file(a: str, b: str) -> bool:
    try:  # one file may have two names: a hard link, or a disk that ignores case
        return os.path.samefile(a, b)
    except OSError:  # one of them does not exist
        return False


def require_own_result(path: str | Path, kind: str) -> None:
    """Raises OptionError unless `path` is free, empty, or an earlier result of this kind."""
    target = Path(path)
    if target.is_dir():
        raise OptionError(f"{path}: a folder; expected the name of a file for the {kind}")
    try:
        with open(target, "rb") if target.is_file() else io.BytesIO() as file:
            start = file.read(4096)
    except OSError:  # what cannot be read may still be replaced by its owner
        return
    if start and not re.search(RESULTS[kind], start, re.DOTALL):
        raise OptionError(
            f"{path}: exists, and is not a {kind} that whichlandmark wrote; choose another name, "
            "or delete it first"
        )
