"""What a night costs, as a table for the lab's guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "decode": "decoding alone, the limit",
    "stage": "`xdistill stage`, report included",
    "prepare": "`xdistill prepare`, one core",
}


def night_table(results: Mapping[str, Any]) -> str:
    """Hours of film, times real time and peak memory of each step."""
    lines = ["| step | hours of film | seconds | × real time | peak memory |", "|" + "---|" * 5]
    for name, text in NAMES.items():
        one = results[name]
        lines.append(
            f"| {text} | {one['hours']:g} | {one['seconds']:,.0f} | {one['times_real_time']:.1f} | "
            f"{one['peak_mb']:,.0f} MB |"
        )
    return "\n".join(lines) + "\n"
