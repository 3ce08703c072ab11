"""Every step of the workflow, one module each: `python -m pipeline.<step> --help`."""

import os

# torch's threads wait for each other by spinning, by default for so long that a training beside other work crawls. With
# 1000 turns a step of Stage II, many small layers, takes a sixth longer than like this; with 10000 one alone is no
# faster, and two trainings on two cores are each half as fast (measured). It is read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
