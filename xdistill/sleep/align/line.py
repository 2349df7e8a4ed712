"""The line that the lags of a night's windows lie on: offset and drift of a clock."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xdistill.sleep.align.lags import Lags

MAX_DRIFT = 1.5e-3
"""A film of 29.97 frames a second that is taken for one of 30 drifts by 1e-3."""
COARSE_S = 0.2
"""Step of the search in the lag at the middle of the night."""
MOST_CORRELATION = 0.995
"""No window counts more than with this."""
APART_S = 1.5
"""A line is another one when it is so far from the best in the middle of the night: less than half
a breath."""
SLACK_S = 0.3
"""Lines are compared by the best within so much of them."""
NEAR_S = 1.0
"""A window's own lag is looked for so far from the line."""


class Line(NamedTuple):
    """Offset and drift of the film's clock, and how well the windows fit.

    Attributes:
        offset_s: lag at the film's start.
        offset_sd_s: its standard deviation.
        slope: lag gained per second of the film.
        slope_sd: its standard deviation.
        correlation: median at the line, of all windows.
        windows: that agree with the line.
        spread_s: standard deviation of their lags about the line.
        lead: by how many standard errors, over the windows, the line fits better than the next
            best; in regular breathing, or without a relation, some other fits as well.
        at_edge: whether the best lag is at the end of the search.
    """

    offset_s: float
    offset_sd_s: float
    slope: float
    slope_sd: float
    correlation: float
    windows: int
    spread_s: float
    lead: float
    at_edge: bool


def find_line(lags: Lags, *, search_s: float, either_sign: bool, least: float) -> Line | None:
    """Searches offset and drift together, then fits a line to the lag of each window, robustly.

    Args:
        lags: of at least 3 windows; None otherwise.
        search_s: largest lag at the middle of the night.
        either_sign: whether a window may fit upside down.
        least: correlation at which a window's own lag counts.
    """
    if len(lags.film_s) < 3:
        return None
    fit = np.abs(lags.correlation) if either_sign else np.maximum(lags.correlation, 0)
    score = -np.log(1 - np.minimum(fit, MOST_CORRELATION) ** 2)  # likelihood, whatever the gain
    best, next_best = _search(lags, score, search_s)
    middle_s = float(lags.film_s.mean())
    offset, slope = best.at(0.0, middle_s), best.slope
    fitted = None
    for near_s in (NEAR_S, 0.5 * NEAR_S):
        own_s, height = _own_lags(lags, fit, offset + slope * lags.film_s, near_s)
        good = height >= least
        if good.sum() < 3:
            return None
        fitted = _robust_line(lags.film_s[good], own_s[good])
        slope, offset = fitted.slope, fitted.offset
    assert fitted is not None
    more = _own_lags(lags, score, offset + slope * lags.film_s, SLACK_S)[1]
    more -= _own_lags(lags, score, next_best.at(lags.film_s, middle_s), SLACK_S)[1]
    return Line(
        offset,
        fitted.offset_sd,
        slope,
        fitted.slope_sd,
        float(np.median(height)),
        fitted.inliers,
        fitted.spread,
        float(more.mean() / max(float(more.std(ddof=1)), 1e-9) * np.sqrt(len(more))),
        abs(best.lag_s) > search_s - NEAR_S,
    )


class _Coarse(NamedTuple):
    lag_s: float  # at the middle of the night
    slope: float

    def at(self, film_s, middle_s: float):
        return self.lag_s + self.slope * (film_s - middle_s)


def _search(lags: Lags, score: np.ndarray, search_s: float) -> tuple[_Coarse, _Coarse]:
    """The best lag and slope by the mean score of the windows, and the best of the others."""
    from_middle_s = lags.film_s - lags.film_s.mean()
    half_s = max(float(np.abs(from_middle_s).max()), 1.0)
    reach_s = min(MAX_DRIFT * half_s, lags.lag_s[-1] - search_s)
    steps = int(np.ceil(reach_s / COARSE_S))
    slopes = np.arange(-steps, steps + 1) * COARSE_S / half_s
    step_s = lags.lag_s[1] - lags.lag_s[0]
    tried_s = np.arange(-search_s, search_s + 1e-9, COARSE_S)
    rows = np.arange(len(score))[:, None]
    total = np.empty((len(slopes), len(tried_s)))
    for at, slope in enumerate(slopes):
        wanted = tried_s[None] + slope * from_middle_s[:, None]
        place = np.round((wanted - lags.lag_s[0]) / step_s).astype(int)
        total[at] = score[rows, np.clip(place, 0, score.shape[1] - 1)].mean(axis=0)

    def highest(where: np.ndarray) -> _Coarse:
        row, column = np.unravel_index(np.where(where, total, -np.inf).argmax(), total.shape)
        return _Coarse(float(tried_s[column]), float(slopes[row]))

    best = highest(np.ones(len(tried_s), bool))
    return best, highest(np.abs(tried_s - best.lag_s) > APART_S)


def _own_lags(
    lags: Lags, fit: np.ndarray, line_s: np.ndarray, near_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """The lag of each window's best fit near the line, between samples, and how well it fits."""
    step_s = lags.lag_s[1] - lags.lag_s[0]
    reach = round(near_s / step_s)
    centre = np.round((line_s - lags.lag_s[0]) / step_s).astype(int)
    centre = np.clip(centre, reach + 1, fit.shape[1] - reach - 2)
    around = centre[:, None] + np.arange(-reach, reach + 1)
    rows = np.arange(len(fit))
    best = around[rows, np.take_along_axis(fit, around, 1).argmax(axis=1)]
    left, top, right = (fit[rows, best + side].astype(float) for side in (-1, 0, 1))
    bend = left - 2 * top + right
    between = np.where(bend < -1e-9, 0.5 * (left - right) / np.minimum(bend, -1e-9), 0)
    return lags.lag_s[best] + np.clip(between, -0.5, 0.5) * step_s, top


class _Fitted(NamedTuple):
    offset: float
    offset_sd: float
    slope: float
    slope_sd: float
    spread: float
    inliers: int


def _robust_line(x: np.ndarray, y: np.ndarray) -> _Fitted:
    """Fits by Tukey's bisquare: iteratively reweighted least squares, its covariance at x = 0."""
    design = np.stack([np.ones_like(x), x / 3600], axis=1)  # per hour: well conditioned
    weight = np.ones(len(x))
    beta = np.zeros(2)
    for _ in range(30):
        root = np.sqrt(weight)
        beta = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        rest = y - design @ beta
        spread = max(1.4826 * float(np.median(np.abs(rest))), 1e-3)
        weight = np.clip(1 - (rest / (4.685 * spread)) ** 2, 0, None) ** 2
    inliers = weight > 0
    freedom = max(int(inliers.sum()) - 2, 1)
    variance = float((weight * rest**2).sum() / max(float(weight.sum()) - 2, 1))
    normal = np.linalg.pinv((design * weight[:, None]).T @ design)
    scale = variance * len(x[inliers]) / freedom
    offset_sd, slope_sd = np.sqrt(np.diag(normal) * scale)
    return _Fitted(
        float(beta[0]),
        float(offset_sd),
        float(beta[1]) / 3600,
        float(slope_sd) / 3600,
        float(np.sqrt(variance)),
        int(inliers.sum()),
    )
