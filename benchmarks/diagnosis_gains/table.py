"""How well each predictor foretells the gain, as a table for the page on diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def diagnose_table(results: Mapping[str, Any]) -> str:
    """Rank correlation, and errors in points of macro-F1 on sources of data left out."""
    lines = [
        "| predictor | rank correlation | mean error, source left out | four of five errors |",
        "|" + "---|" * 4,
    ]
    for name, one in results["predictors"].items():
        rank = one.get("rank_correlation")
        lines.append(
            f"| {name} | {'' if rank is None else f'{rank:+.2f}'} | "
            f"{100 * one['mean_absolute_error']:.1f} | {100 * one['error_10']:+.0f} to "
            f"{100 * one['error_90']:+.0f} |"
        )
    return "\n".join(lines) + "\n"
