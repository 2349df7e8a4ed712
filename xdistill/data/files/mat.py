"""One array of a MATLAB file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xdistill.data.files.extra import reader


def read_mat_array(path: Path, variable: str) -> np.ndarray:
    """An array of numbers of a MATLAB 5 file (save -v7 or -v6), as it is stored.

    Raises:
        ValueError: the file is damaged or of another version, or the variable is missing or no
            array of real numbers.
        ImportError: scipy is missing.
    """
    io = reader("scipy.io", path, "video")
    try:
        content = io.loadmat(path, variable_names=[variable])
    except NotImplementedError as error:
        raise ValueError(
            f"{path} is a MATLAB 7.3 file, which is not read here; save it with -v7 in MATLAB"
        ) from error
    except Exception as error:  # scipy and zlib raise many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read as a MATLAB 5 file ({type(error).__name__}: {error}); it may "
            "be truncated: copy it again"
        ) from error
    if variable not in content:
        raise ValueError(f"{path} holds {_variables(path)}, expected the variable {variable!r}")
    array = content[variable]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        kinds = {"O": "a cell array", "c": "an array of complex numbers", "V": "a struct"}
        kind = kinds.get(
            getattr(getattr(array, "dtype", None), "kind", ""), "a sparse array or text"
        )
        raise ValueError(
            f"{path}: {variable} is {kind}, expected an array of real numbers; save it as one"
        )
    return array


def _variables(path: Path) -> list[str]:
    try:
        return [name for name, *_ in reader("scipy.io", path, "video").whosmat(path)]
    except Exception:  # the list is only for a message
        return []
