"""What every visitor's kernel needs, loaded once: importing this module is all that it is for.

    server --starts--> nursery (this module imported, nothing computed) --fork--> kernel of visitor 1, 2, 3, …

A forked process shares the memory of its parent until one of them writes to it (copy on write), so torch, transformers and the
rest are in memory once, and a kernel starts in a fraction of a second. Nothing may compute here: threads do not survive a fork.
"""

import gc

import ipykernel.ipkernel  # noqa: F401
import ipykernel.kernelapp  # noqa: F401
import ipywidgets  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import matplotlib_inline.backend_inline  # noqa: F401
import peft  # noqa: F401
import torch  # noqa: F401
from PIL import Image
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

from helpers.core import figures, profiles, scenes  # noqa: F401
from helpers.core.student import load_student

# The classes of the profile's student are imported by loading it; the weights themselves are thrown away again. On a
# machine with a GPU they are left alone, since what a process does on a GPU does not survive a fork either.
disable_progress_bar()  # it would write into the server's terminal, and start a thread
if not torch.cuda.is_available():
    load_student(profiles.load_profile().student, device="cpu")
enable_progress_bar()
Image.init()
# The collector writes into every object that it looks at, which would un-share the memory; what lives now lives on.
gc.collect()
gc.freeze()
