"""The version of the package: model files name it."""

__version__ = "0.1.0"
