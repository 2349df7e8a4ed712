"""What an exported sleep stager holds beside its network: entries of its metadata, each in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, get_type_hints

FORMAT = 1


class NightEntries(NamedTuple):
    """The metadata of an exported sleep stager.

    Attributes:
        night_format: of these entries.
        name: of the run.
        method: with which the student was trained.
        seed: with which it was trained.
        modalities: what it reads of an epoch, in the order in which its input holds them.
        preprocessing: `VideoOptions`, how a film becomes what it reads.
        context: kind ("none", "hmm" or "head"), causal, and the numbers of the hidden Markov model.
        context_network: base64 of the head: in ONNX a second ONNX model with the inputs `rows`
            [1, E, D + K] (embedding and logits of every epoch up to the last one seen, zeros where
            none was) and `valid` [1, E], and the output `log_probabilities` [1, E, K]; in
            torch-export its weights in safetensors, for a `ContextHead` of `context`'s options.
            None for another context.
        held_out: scores of the sleepers held out.
        training_signals: the body's features over the training nights.
        trained: how, in words.
    """

    night_format: int
    name: str
    method: str
    seed: int
    modalities: list[str]
    preprocessing: dict[str, Any]
    context: dict[str, Any]
    context_network: str | None
    held_out: dict[str, Any]
    training_signals: dict[str, Any]
    trained: dict[str, str]


def night_entries(metadata: Mapping[str, Any], where: str) -> NightEntries:
    """The entries among a file's metadata.

    Raises:
        ValueError: the file is no sleep stager, or of another version.
    """
    names = list(get_type_hints(NightEntries))
    if missing := [name for name in names if name not in metadata]:
        raise ValueError(
            f"{where} is no sleep stager that `xdistill export --model RUN` wrote: its metadata "
            f"lacks {', '.join(missing)}; export the run again"
        )
    if metadata["night_format"] != FORMAT:
        raise ValueError(
            f"{where} has format {metadata['night_format']}, expected {FORMAT}; export the run "
            "again with this version"
        )
    return NightEntries(**{name: metadata[name] for name in names})
