"""Writes the results: a CSV file, a Markdown table with command and versions, and a picture."""

import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogFormatter

PACKAGES = ("sb3_tdac", "stable-baselines3", "torch", "gymnasium", "numpy")


def processor() -> str:
    """The model of the CPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def circumstances(command: str) -> str:
    """Command, versions and CPU that gave a figure."""
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return f"`{command}`, {versions}, Python {platform.python_version()}, {processor()}"


def speed_tables(summary: pd.DataFrame) -> str:
    """Two tables of settings and contenders: speed over A2C's, and time with the bound's share."""
    texts = summary.assign(
        speed=[
            f"{row.speed:.2f} ({row.speed_q25:.2f} to {row.speed_q75:.2f})"
            for row in summary.itertuples()
        ],
        us=[f"{row.us:.1f} ({row.share:.1%})" for row in summary.itertuples()],
    )
    parts = []
    for column, title in (
        ("speed", "Speed over A2C's on DummyVecEnv: median of the rounds (quartiles)"),
        ("us", "CPU microseconds of a vectorised step (the bound's time as a share of it)"),
    ):
        table = texts.pivot(index="setting", columns="contender", values=column).fillna("")
        table = table.loc[summary.setting.unique(), summary.contender.unique()]
        parts.append(f"{title}\n\n{table.to_markdown(disable_numparse=True)}")
    return "\n\n".join(parts)


def draw_bars(summary: pd.DataFrame, picture: Path) -> None:
    """One panel of bars for each setting, with the quartiles over rounds."""
    settings = summary.setting.unique()
    columns = min(3, len(settings))
    rows = -(-len(settings) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(5.5 * columns, 3.2 * rows), layout="constrained", squeeze=False
    )
    for panel in panels.flat[len(settings) :]:
        panel.remove()
    for panel, setting in zip(panels.flat, settings, strict=False):
        part = summary[summary.setting == setting].iloc[::-1]
        error = [part.speed - part.speed_q25, part.speed_q75 - part.speed]
        panel.bar_label(panel.barh(part.contender, part.speed, xerr=error), fmt=" %.2f")
        panel.axvline(1.0, color="black", linewidth=0.8)
        panel.set(title=setting, xscale="log", xlabel="speed over A2C's")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        panel.margins(x=0.15)
    figure.savefig(picture, dpi=100)
    plt.close(figure)


def draw_sweep(summary: pd.DataFrame, swept: str, picture: Path) -> None:
    """Time of a vectorised step, and speed over A2C's with its quartiles, against one number."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for name in summary.contender.unique():
        part = summary[summary.contender == name]
        left.plot(part[swept], part.us, marker="o", label=name)
        right.plot(part[swept], part.speed, marker="o", label=name)
        right.fill_between(part[swept], part.speed_q25, part.speed_q75, alpha=0.2)
    left.set(ylabel="CPU microseconds of a vectorised step")
    right.set(ylabel="speed over A2C's, with quartiles")
    for panel in (left, right):
        panel.set_xscale("log", base=2)
        panel.set(yscale="log", xlabel=swept, xticks=summary[swept].unique())
        panel.xaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    left.legend()
    figure.savefig(picture, dpi=120)
    plt.close(figure)


def write(out: Path, name: str, table: pd.DataFrame, text: str) -> None:
    """Print the text, and write it beside the CSV file of the table.

    :param out: folder
    :param name: of the files, without the ending
    :param table: for the CSV file
    :param text: Markdown
    """
    table.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
    text = f"{text}\n\n{circumstances(shlex.join(['python', *sys.argv]))}\n"
    (out / f"{name}.md").write_text(text)
    print(text)
