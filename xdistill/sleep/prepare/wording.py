"""What the parts say of a night, in the words of the command and its table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

WHAT = {"eeg": "the recording", "video": "the film", "hypnogram": "the hypnogram"}
AS_ARGUMENT = {
    r"channels=\{'(\w+)': \[.*?\]\}": r"--\1-channel, or the table's column \1_channel",
    r"\boffset_s(=\S+)?": r"video_offset_s\1",
    r"\bunit=(?= )": "--unit",
    r"numbers='(\w+)'": r"--hypnogram-numbers \1",
}
"""What names an argument of a function, and the option of the command that it is."""


def in_options(text: str) -> str:
    """A message that names the command's options, where it named arguments of functions."""
    for argument, option in AS_ARGUMENT.items():
        text = re.sub(r"(?<![\w-])" + argument, option, text)
    return text


def without_names(text: str, sources: Mapping[str, str]) -> str:
    """A message about one of the night's files, which is the same for those of other nights."""
    for what, path in sources.items():
        text = text.replace(path, WHAT[what]).replace(Path(path).name, WHAT[what])
    return text
