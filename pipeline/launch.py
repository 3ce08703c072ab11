"""Run a step in one process, or in several by torchrun: `python -m pipeline.launch 2 pipeline.train_stage1`."""

import runpy
import sys

from torch.distributed.run import main as torchrun


def main(processes: int, step: str, *words: str) -> None:
    """Run the module `step` with the words of its command line."""
    if processes == 1:
        sys.argv[1:] = words
        runpy.run_module(step, run_name="__main__", alter_sys=True)
    else:
        torchrun(["--standalone", f"--nproc-per-node={processes}", "-m", step, *words])


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
