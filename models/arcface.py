"""ArcFace: the identity of a face as a vector, for the metric CSIM. Loads insightface's networks, and ONNX files.

Source: deepinsight/insightface, recognition/arcface_torch (iresnet50 and iresnet100; `backbone.pth`, `model.pt`).
"""

import re
import tempfile
from pathlib import Path
from textwrap import shorten

import cv2
import numpy as np
import torch
from skimage.transform import SimilarityTransform
from torch import Tensor, nn

from models.checkpoint import load_strictly, read_checkpoint
from models.errors import WeightsError

SIZE = 112  # px, side of an aligned face
TEMPLATE = np.array(  # px of the aligned face, in the order of `five_points`
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
BLOCKS = {14: (3, 4, 14, 3), 30: (3, 13, 30, 3)}  # of iresnet50 and iresnet100, by the length of the third stage


def load_arcface(path: Path) -> nn.Module:
    """An identity network: call it with aligned faces (B, 3, 112, 112) RGB in [-1, 1], see `align_face`.

    It gives embeddings (B, 512), not normalised; those of an .onnx file have that network's own width.

    Args:
        path: insightface's iresnet50 or iresnet100 (.pth, .pt), or any identity network as .onnx, see `OnnxIdentity`.

    Raises:
        WeightsError: the file is missing, damaged, carries code, or is another network's.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        return OnnxIdentity(path).eval()
    state = read_checkpoint(path)
    third_stage = {match[1] for key in state if (match := re.match(r"(?:module\.)?layer3\.(\d+)\.", key))}
    if len(third_stage) not in BLOCKS:
        raise WeightsError(
            f"{path}: has {len(third_stage)} blocks in layer3, iresnet50 has 14 and iresnet100 has 30; "
            "this is another network's file"
        )
    return load_strictly(IResNet(blocks=BLOCKS[len(third_stage)]), state, path)


class IResNet(nn.Module):
    """insightface's ResNet: pre-activated blocks without a ReLU after the sum, every stage halves the image.

    Args:
        blocks: per stage.
    """

    def __init__(self, *, blocks: tuple[int, int, int, int]):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        self.layer1 = _stage(64, 64, blocks[0])
        self.layer2 = _stage(64, 128, blocks[1])
        self.layer3 = _stage(128, 256, blocks[2])
        self.layer4 = _stage(256, 512, blocks[3])
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 3, 112, 112) RGB in [-1, 1] -> (B, 512)."""
        x = self.prelu(self.bn1(self.conv1(faces)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # (B, 512, 7, 7)
        return self.features(self.fc(self.bn2(x).flatten(1)))


class Block(nn.Module):
    """bn-conv-bn-prelu-conv-bn and a shortcut."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.prelu = nn.PReLU(after)
        self.conv2 = nn.Conv2d(after, after, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, h, w) -> (B, after, h / stride, w / stride)."""
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (x if self.downsample is None else self.downsample(x))


def _stage(before: int, after: int, count: int) -> nn.Sequential:
    return nn.Sequential(Block(before, after, 2), *[Block(after, after, 1) for _ in range(count - 1)])


class OnnxIdentity(nn.Module):
    """An identity network from an .onnx file, run by onnxruntime on the processor; not differentiable.

    It must take RGB in [-1, 1] as insightface's do. The file does not tell, and a network that expects 0 to 255 (those
    that MXNet exported) runs as well, but hardly tells people apart. Its first output is the embedding.

    An ONNX file carries no code. It may name operations that somebody else's library adds, and none is loaded; it may
    also name files to take weights from, and none is read: onnxruntime looks for them in an empty folder, which it
    does not leave.

    Raises:
        WeightsError: the file is missing, damaged, asks for any of those, or its input is no aligned face.
    """

    def __init__(self, path: Path):
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # fatal: an error reaches people once, as the exception below
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            with tempfile.TemporaryDirectory() as empty:
                options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
                self.session = onnxruntime.InferenceSession(
                    path.read_bytes(), options, providers=["CPUExecutionProvider"]
                )
        except FileNotFoundError:
            raise WeightsError(f"{path}: no such file; check the name") from None
        except Exception as error:  # onnxruntime's own have no common base class
            reason = shorten(str(error), 240)
            raise WeightsError(f"{path}: damaged, or no ONNX file that stands alone; get it again ({reason})") from None
        inputs = self.session.get_inputs()
        shapes = " and ".join(f"{given.type} {given.shape}" for given in inputs)
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or inputs[0].shape[1:] != [3, SIZE, SIZE]:
            raise WeightsError(f"{path}: takes {shapes}, not tensor(float) [N, 3, 112, 112]; get an identity network")
        batch = inputs[0].shape[0]
        if isinstance(batch, int) and batch != 1:
            raise WeightsError(f"{path}: takes {batch} faces at a time; export it for one, or for any number")
        self.one_by_one = batch == 1

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 3, 112, 112) RGB in [-1, 1] -> (B, width)."""
        name = self.session.get_inputs()[0].name
        batches = faces.detach().cpu().float().split(1 if self.one_by_one else len(faces))
        embeddings = [torch.from_numpy(self.session.run(None, {name: batch.numpy()})[0]) for batch in batches]
        return torch.cat(embeddings).flatten(1).to(faces.device)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """The points that a face is aligned by.

    Args:
        landmarks: (68, 2) px, the usual order (dlib, iBUG).

    Returns:
        (5, 2) px: eye centre on the left of the image, on the right, nose, mouth corner on the left, on the right.
    """
    landmarks = np.asarray(landmarks, np.float64)
    eyes = [landmarks[36:42].mean(0), landmarks[42:48].mean(0)]
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


def align_face(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Cut out a face as ArcFace was trained: the least-squares similarity (Umeyama) of its points to the template.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (5, 2) px, see `five_points`.

    Returns:
        (112, 112, 3) uint8 RGB, bilinear, black outside the image. The network takes `face / 127.5 - 1`.

    Raises:
        ValueError: the points are all in one place or not finite.
    """
    points = np.asarray(points, np.float64)
    similarity = np.isfinite(points).all() and SimilarityTransform.from_estimate(points, TEMPLATE)
    if not similarity:
        raise ValueError("the five points of the face are all in one place or not finite; is there a face?")
    return cv2.warpAffine(image, similarity.params[:2], (SIZE, SIZE))
