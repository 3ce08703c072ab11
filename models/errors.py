"""What a network's file can be wrong about, said in one line for people."""


class WeightsError(ValueError):
    """A weights file that cannot be used: the file, what is wrong with it, what to do."""
