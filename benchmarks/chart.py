"""The charts: time per event of parsers and of whole clients. They need matplotlib."""

from __future__ import annotations

from pathlib import Path
from statistics import geometric_mean

from . import end_to_end
from .parsing import SECTION
from .peers import NodeParser
from .results import Results, base_parser, ratios, rows_of, times_of

TIMES = "\N{MULTIPLICATION SIGN}"
STYLE = {"svg.hashsalt": "sseparse", "svg.fonttype": "none", "font.size": 9}


def draw_parsers(results: Results, path: Path) -> None:
    """Draw each parser's ratios to sseparse: a bar for the geometric mean, a dot for each case."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    times, base = times_of(results, SECTION), base_parser(results)
    dots = {name: list(ratios(times, name, base).values()) for name in results["versions"]}
    means = {name: geometric_mean(values) for name, values in dots.items() if values}
    ranked = sorted(means, key=means.__getitem__, reverse=True)
    with mpl.rc_context(STYLE):
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


def draw_clients(results: Results, path: Path) -> None:
    """Draw the CPU time of each client of OpenAI's protocol, with its spread."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = {(row["case"], row["subject"]): row for row in rows_of(results, end_to_end.SECTION)}
    times = times_of(results, end_to_end.SECTION).get("OpenAI/paced", {})
    ranked = sorted(times, key=times.__getitem__, reverse=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 1.2 + 0.26 * len(ranked)), layout="constrained")
        cases = ("paced", "100 streams", "bulk")
        for axes, case in zip(figure.subplots(1, 3, sharey=True), cases, strict=True):
            for height, subject in enumerate(ranked):
                row = rows.get((f"OpenAI/{case}", subject), {})
                if "ns" in row:
                    micros = row["ns"] / 1000
                    error, color = micros * row["spread"], _color(subject)
                    axes.barh(height, micros, xerr=error, height=0.6, color=color, alpha=0.55)
                    axes.text(micros + error, height, f"  {micros:.3g}", va="center")
            axes.set_title(end_to_end.HEADINGS[case].replace(", ", ",\n"), loc="left")
            axes.margins(x=0.25)
            axes.set_xlim(left=0)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_yticks(range(len(ranked)), ranked)
        figure.suptitle("CPU time of whole clients per event, in µs: shorter is cheaper")
        figure.savefig(path, metadata={"Date": None})


def _color(subject: str) -> str:
    if subject.startswith("sseparse"):
        return "#1f6f8b"
    return "#c58b1b" if subject == NodeParser.name else "#9aa5ad"


def _label(parser: str) -> str:
    return f"{parser}\n(JavaScript, on Node)" if parser == NodeParser.name else parser
