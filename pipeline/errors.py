"""The one exception meant for people: its text is the whole answer they get."""


class InputError(Exception):
    """Bad input or a missing piece, said in one line: the file, the frame, what is wrong, what to do."""
