"""The text of a hypnogram's file, whatever its encoding."""

from __future__ import annotations

from pathlib import Path


def text_of(path: Path) -> str:
    """UTF-8 or UTF-16 where the file says or shows so, else Latin-1.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, expected a hypnogram; correct its name")
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "latin-1")
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if not text.strip():
            raise ValueError(f"{path} is empty, expected a hypnogram; export it again")
        return text
    raise ValueError(f"{path} is no text, expected a hypnogram; export it again")
