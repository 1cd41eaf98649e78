"""Words for a user's mistakes: each error of a command is one line."""

from collections.abc import Iterable
from difflib import get_close_matches

#: Modules that the extra ``zoo`` installs.
EXTRA = {
    *("rl_zoo3", "huggingface_hub", "huggingface_sb3", "imageio_ffmpeg", "matplotlib", "moviepy"),
    *("optuna", "pandas", "psycopg", "requests", "rich", "rliable", "scipy", "seaborn"),
    *("sqlalchemy", "tabulate", "yaml"),
}


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Suggest the known name that is closest to a misspelt one.

    :param name: misspelt name
    :param known: correct names
    :param otherwise: what to say if none is close

    >>> did_you_mean("trian", ["train", "sweep"], "see --help")
    'did you mean train?'
    """
    closest = get_close_matches(name, list(known), n=1)
    return f"did you mean {closest[0]}?" if closest else otherwise


def describe(error: Exception) -> str:
    """Describe an error in one line.

    :param error: what a command raised
    :return: its message, with its type where the message alone says too little
    """
    if isinstance(error, ModuleNotFoundError):
        name = (error.name or "").partition(".")[0]
        if name in EXTRA:
            return f"{name} is not installed: pip install 'sb3_tdac[zoo]'"
    text = " ".join(str(error).split())
    clear = ValueError | TypeError | AssertionError | OSError | ImportError | RuntimeError
    return text if text and isinstance(error, clear) else f"{type(error).__name__}: {text}"
