"""The chart: time per event of each parser. It needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from statistics import geometric_mean

from .parsing import SECTION
from .peers import OWN, NodeParser
from .results import Results, base_parser, ratios, times_of

TIMES = "\N{MULTIPLICATION SIGN}"


def draw(results: Results, path: Path) -> None:
    """Draw each parser's ratios to sseparse: a bar for the geometric mean, a dot for each case."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    times, base = times_of(results, SECTION), base_parser(results)
    dots = {name: list(ratios(times, name, base).values()) for name in results["versions"]}
    means = {name: geometric_mean(values) for name, values in dots.items() if values}
    ranked = sorted(means, key=means.__getitem__, reverse=True)
    with mpl.rc_context({"svg.hashsalt": "sseparse", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 0.9 + 0.34 * len(ranked)), layout="constrained")
        axes = figure.subplots()
        for height, name in enumerate(ranked):
            color = _color(name)
            axes.barh(height, means[name] - 1, left=1, height=0.6, color=color, alpha=0.55)
            heights = [height] * len(dots[name])
            axes.scatter(dots[name], heights, s=7, color=color, edgecolors="none", zorder=3)
            axes.annotate(
                f"{means[name]:.1f}{TIMES}",
                (max(dots[name]), height),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_xscale("log")
        limits = [ratio for values in dots.values() for ratio in values] + [1, 100]
        axes.set_xlim(min(limits) * 0.7, max(limits) * 2)
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}{TIMES}"))
        axes.axvline(1, color=_color(base), linewidth=0.8)
        axes.set_yticks(range(len(ranked)), map(_label, ranked))
        axes.set_title("Parsing event streams: shorter is faster", loc="left")
        axes.set_xlabel(
            f"time per event as a multiple of {base}'s (bar: geometric mean; dots: single cases)"
        )
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None})


def _color(parser: str) -> str:
    if parser in OWN:
        return "#1f6f8b"
    return "#c58b1b" if parser == NodeParser.name else "#9aa5ad"


def _label(parser: str) -> str:
    return f"{parser}\n(JavaScript, on Node)" if parser == NodeParser.name else parser
