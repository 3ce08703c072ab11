"""Sheets of pictures: rows and columns with words above and beside them, dark, so that the pictures stand out."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.files import whole
from pipeline.pictures import resized

PAPER, EMPTY, INK = (24, 24, 24), (40, 40, 40), (235, 235, 235)
GAP = 4  # px between cells
FONT = 13  # px
LINE = 18  # px, of text
MARGIN = 8  # px round text
QUALITY = 92  # of a JPEG

Cell = np.ndarray | None  # (S, S, 3) uint8, or nothing yet


def sheet(rows: list[list[Cell]], cell: int, above: list[str], beside: list[str], title: str = "") -> np.ndarray:
    """Lay pictures out, (H, W, 3) uint8.

    Args:
        rows: the pictures of each row, all rows as long.
        cell: side of a picture on the sheet, px.
        above: words above each column, of one or more lines.
        beside: words left of each row.
        title: in the corner.
    """
    font = ImageFont.load_default(FONT)
    left = round(max(font.getlength(line) for words in [title, *beside] for line in words.split("\n"))) + 2 * MARGIN
    top = LINE * max(len(words.split("\n")) for words in above) + MARGIN
    width, height = left + (cell + GAP) * len(above), top + (cell + GAP) * len(beside)
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, top // 2), title, INK, font, anchor="lm")
    for column, words in enumerate(above):
        place = left + (cell + GAP) * column + cell // 2, top // 2
        draw.multiline_text(place, words, INK, font, anchor="mm", align="center", spacing=LINE - FONT)
    for row, words in enumerate(beside):
        y = top + (cell + GAP) * row
        draw.multiline_text((MARGIN, y + cell // 2), words, INK, font, anchor="lm", spacing=LINE - FONT)
        for column, picture in enumerate(rows[row]):
            x = left + (cell + GAP) * column
            if picture is None:
                draw.rectangle((x, y, x + cell - 1, y + cell - 1), EMPTY)
            else:
                canvas.paste(Image.fromarray(resized(picture, cell)), (x, y))
    return np.asarray(canvas)


def stacked(sheets: list[np.ndarray]) -> np.ndarray:
    """One sheet above the other; narrow ones are filled up on the right."""
    width = max(sheet.shape[1] for sheet in sheets)
    wide = [Image.new("RGB", (width, len(sheet)), PAPER) for sheet in sheets]
    for canvas, picture in zip(wide, sheets, strict=True):
        canvas.paste(Image.fromarray(picture))
    return np.concatenate([np.asarray(canvas) for canvas in wide])


def read(path: Path) -> np.ndarray:
    """A saved sheet, (H, W, 3) uint8."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def save(path: Path, picture: np.ndarray) -> None:
    """Write a sheet as the name's ending says; JPEG is a quarter of PNG and hardly differs."""
    with whole(path) as temporary:
        Image.fromarray(picture).save(temporary, quality=QUALITY, subsampling=0)
