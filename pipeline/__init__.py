"""Every step of the workflow, one module each: `python -m pipeline.<step> --help`."""

import os

# torch's threads wait for each other by spinning, by default for so long that a training beside other work crawls. Like
# this two on two cores are together as fast as one alone, which takes as long as ever (measured; with ten times the
# count they are half as fast, with 0 one alone is slower). It is read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
