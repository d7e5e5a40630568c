"""The array aliases of the whole program: time first, then instruments, then features."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
DateArray = NDArray[np.datetime64]
# -1, 0 or 1: what is wished of an instrument.
SideArray = NDArray[np.int8]
