"""How a metric responds to the share of a source: a parabola through the runs of a mixture sweep, with its interval and its optimum."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.errors import InputError
from tasks.ablation.request import JudgeRequest
from tasks.ablation.results import Points, Response, Run
from tasks.evaluation import lower_is_better

__all__ = ["response_curve", "responses"]

CURVE_POINTS, DRAWS = 101, 2000
FEWEST = 3


def responses(request: JudgeRequest, runs: Sequence[Run]) -> dict[str, Response]:
    """Modification -> response of the court's metric, for every sweep over mixtures that tries `FEWEST` shares or more of one source.

    The source is the template's first; without one, that whose share the sweep moves most.
    """
    found = {}
    for one in request.tested:
        arms = [request.baseline_arm, *(arm for arm in request.arms if arm.modification == one.name)]
        if not any("mixture" in path for path in one.sweep):
            continue
        source = _moved(request, [arm.phase.shares for arm in arms[1:]])
        shares = {arm.name: arm.phase.shares.get(source, 0.0) for arm in arms}
        points = [(shares[run.arm], run.metrics[request.court.metric]) for run in runs if _counts(run, shares, request.court.metric)]
        if len({share for share, _ in points}) >= FEWEST and len(points) > FEWEST:
            found[one.name] = response_curve(source, points, request.court.metric, confidence=request.court.confidence)
    return found


def response_curve(source: str, points: Points, metric: str, *, confidence: float = 0.95, seed: int = 0) -> Response:
    """A parabola by least squares over (share, value) of single runs.

    Its interval is that of the mean (statsmodels); the optimum's interval comes from draws of the coefficients out of their multivariate t
    distribution, each with its best share within the tried range.

    Raises:
        InputError: fewer than four runs, or fewer than three different shares.
    """
    import numpy as np
    from scipy.stats import multivariate_t
    from statsmodels.regression.linear_model import OLS

    shares, values = np.array([share for share, _ in points]), np.array([value for _, value in points])
    if len(points) <= FEWEST or len(set(shares.tolist())) < FEWEST:
        raise InputError(f"{len(points)} runs at {len(set(shares.tolist()))} shares make no parabola", do="give four runs at three shares")
    fitted = OLS(values, np.vander(shares, 3)).fit()
    grid = np.linspace(shares.min(), shares.max(), CURVE_POINTS)
    powers = np.vander(grid, 3)
    curve, band = fitted.predict(powers), fitted.get_prediction(powers).conf_int(alpha=1 - confidence)
    sign = 1.0 if lower_is_better(metric) else -1.0
    best = float(grid[np.argmin(sign * curve)])
    optimum = low = high = None
    if grid[0] < best < grid[-1]:
        optimum = float(-fitted.params[1] / (2 * fitted.params[0]))
        drawn = multivariate_t(fitted.params, fitted.cov_params(), df=fitted.df_resid, allow_singular=True).rvs(DRAWS, random_state=seed)
        optima = grid[np.argmin(sign * drawn @ powers.T, axis=1)]
        low, high = (float(end) for end in np.quantile(optima, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return Response(
        source=source,
        metric=metric,
        runs=[(float(share), float(value)) for share, value in points],
        curve=[(float(x), float(y), float(a), float(b)) for x, y, (a, b) in zip(grid, curve, band, strict=True)],
        optimum=optimum,
        low=low,
        high=high,
        sentence=_sentence(source, metric, optimum, low, high, best, confidence),
    )


def _counts(run: Run, shares: dict[str, float], metric: str) -> bool:
    return run.arm in shares and metric in run.metrics


def _moved(request: JudgeRequest, mixtures: Sequence[dict[str, float]]) -> str:
    template = request.court.template
    if template is not None and template.sources and template.kind in ("mixture_ratio", "share"):
        return template.sources[0]
    names = sorted({name for mixture in mixtures for name in mixture})
    return max(names, key=lambda name: max(m.get(name, 0.0) for m in mixtures) - min(m.get(name, 0.0) for m in mixtures))


def _sentence(
    source: str, metric: str, optimum: float | None, low: float | None, high: float | None, best: float, confidence: float
) -> str:
    if optimum is None or low is None or high is None:
        return f"{metric} is best at the edge of what was tried, {best:.0%} of {source}: no optimum lies inside; try further shares."
    return (
        f"{metric} is best at {optimum:.0%} of {source} [{low:.0%}, {high:.0%}] at {confidence:.0%}, by a parabola within the tried range."
    )
