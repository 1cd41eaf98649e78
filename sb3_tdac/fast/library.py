"""Loads the compiled kernels, after checks that the file is whole and fits ``kernels.h``."""

import hashlib
import math
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sb3_tdac.aliases import Array

if TYPE_CHECKING:
    from cffi import FFI

FOLDER = Path(__file__).parent
#: C types of numpy's dtypes, as arrays, and of torch's, as pointers.
C_TYPES: dict[np.dtype[Any] | torch.dtype, str] = {
    **{torch.float32: "float *", torch.float64: "double *"},
    **{np.dtype(np.float32): "float[]", np.dtype(np.float64): "double[]"},
    **{np.dtype(np.int64): "int64_t[]", np.dtype(bool): "uint8_t[]"},
}


class Kernels(NamedTuple):
    """The loaded library.

    :param ffi: makes its structures and pointers
    :param functions: of ``kernels.h``, by name: no type checker sees what cffi makes of a header
    """

    ffi: "FFI"
    functions: Any

    def pointer(self, array: Array | Tensor) -> "FFI.CData":
        """Pointer to the numbers of a contiguous array or tensor.

        It keeps an array alive, but not a tensor, and not through a copy of it in a structure.

        :param array: of a dtype that has a C type
        """
        if isinstance(array, Tensor):
            assert array.is_contiguous()
            return self.ffi.cast(C_TYPES[array.dtype], array.data_ptr())
        return self.ffi.from_buffer(C_TYPES[array.dtype], array.data)  # refuses gaps


@cache
def load() -> Kernels | str:
    """Load the library once.

    :return: the kernels, or the reason why there are none, with the remedy
    """
    library, checksum = FOLDER / "libkernels.so", FOLDER / "libkernels.sha256"
    if not library.exists():
        return "the kernels are not compiled: install a C compiler, then sb3_tdac again"
    try:
        # opening a part of a library can end the process, and Python cannot catch that
        if hashlib.sha256(library.read_bytes()).hexdigest().encode() != checksum.read_bytes():
            return f"{library} is damaged: install sb3_tdac again"
        kernels = _open(library)
    except OSError as error:
        return f"the kernels cannot be loaded ({error}): install sb3_tdac again on this machine"
    return kernels or f"{library} belongs to another version of sb3_tdac: install sb3_tdac again"


def _open(library: Path) -> Kernels | None:
    """Open a library; ``None`` if it was not compiled from the sources that are installed."""
    from cffi import FFI  # not at the top: what needs no kernels need not wait for it

    header, sources = (FOLDER / "kernels.h").read_text(), sorted(FOLDER.glob("*.[ch]"))
    ffi = FFI()
    ffi.cdef("\n".join(line for line in header.splitlines() if line[:1] != "#"))
    functions: Any = ffi.dlopen(str(library))
    structures, _, _ = ffi.list_types()
    checksum = zlib.crc32(b"".join(path.read_bytes() for path in sources))
    installed = checksum, *map(ffi.sizeof, structures)
    has_all = all(hasattr(functions, name) for name in dir(functions))  # looks in the library
    if has_all and (functions.source_checksum, *functions.structure_sizes) == installed:
        return Kernels(ffi, functions)
    return None


def zeros(*shape: int) -> NDArray[np.float32]:
    """Zeros in the kernels' precision, aligned to 64 bytes: an update takes a fifth less time.

    :param shape: of the array
    """
    size = math.prod(shape)
    longer = np.zeros(size + 16, np.float32)
    start = -longer.ctypes.data % 64 // 4
    return longer[start : start + size].reshape(shape)
