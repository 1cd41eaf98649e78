"""Model files: written whole, resumed exactly, and readable without running code."""
