"""Statistics of a matrix of scores that is never built, one pass over its tiles a module.

Each module holds the pass as two `torch.library` operators, `operator` and `operator_backward`; as
a class `Ring`, which does the same over the keys of all processes; and, named after the module, as
the function that the losses call and that takes one of these. `neighbours` has no ring.

Rows x [N, D] already carry the scale; s_ij = x_i · k_j for keys k [M, D]. `impl` is "tiled" or
"triton". Key j is row i's own pair when j = i + own; with own=None there are no pairs. Labels are
-1 where unknown. Of the keys that `valid_k` keeps, those of a row are its

- candidates: all keys for a row without a label; for a labelled row its own key and every key that
  has a label;
- positives: its own key, and the keys of its label;
- negatives: the keys of another label, its own key excepted.

Without labels all keys are candidates, the own key is the positive, and all others are negatives. A
row without candidates has the log-sum-exp `EXCLUDED`. A second derivative is an error: it would
need the matrix, which impl="reference" has.
"""
