"""The version of the package: model files name it."""

__version__ = "0.2.0"
