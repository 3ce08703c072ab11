import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.generator import Generator, Upsampling, encode, pixel_grid
from tests.textbook import textbook

PAPER = {"pose": 6, "expression": 50, "gaze": 2}


SMALL = {"size": 32, "width": 16, "layers": 3, "channels": 16, "blocks": 1, "fine_blocks": 0, "code": 4}


def small(inputs: dict[str, int], upsampling: Upsampling = "bilinear", fine_blocks: int = 0) -> Generator:
    torch.manual_seed(0)
    return Generator(
        inputs=inputs,
        upsampling=upsampling,
        **SMALL | {"fine_blocks": fine_blocks},
    )


def motion_of(inputs: dict[str, int], batch: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    motion = {name: torch.randn(batch, width, generator=generator) * 0.3 for name, width in inputs.items()}
    if "position" in motion:
        motion["position"] = motion["position"].abs() * 0.2 + torch.tensor([0.0, 0.0, 0.3])
    return motion


def test_the_papers_layout_has_exactly_7632134_parameters():
    layout = {"size": 256, "width": 128, "layers": 8, "channels": 256, "blocks": 6, "fine_blocks": 0, "code": 32}
    generator = Generator(inputs=PAPER, upsampling="bilinear", **layout)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 7_632_134


@pytest.mark.parametrize("upsampling", ["bilinear", "transposed"])
@pytest.mark.parametrize("inputs", [PAPER, PAPER | {"position": 3}])
def test_images_have_the_size_and_range_asked_for(inputs, upsampling):
    image, colours = small(inputs, upsampling)(motion_of(inputs, 2), torch.zeros(2, 4))
    assert image.shape == (2, 3, 32, 32) and colours.shape == (2, 3, 8, 8)
    assert image.min() >= 0 and image.max() <= 1


def test_the_split_first_layer_equals_the_plain_one():
    inputs = PAPER | {"position": 3}
    generator, motion, code = small(inputs), motion_of(inputs, 2), torch.randn(2, 4)
    grid = encode(generator.grid, 10).expand(2, -1, -1, -1)
    head = encode(generator.head_coordinates(motion), 8)
    vector = torch.cat([*[generator.prepared(name, motion[name]) for name in inputs], code], 1)
    full = torch.cat([grid, head, vector[..., None, None].expand(-1, -1, 8, 8)], 1)  # the 186-channel image, and more
    plain = generator.mlp[0](full.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(generator.first_layer(motion, code), plain)


@pytest.mark.parametrize("fine_blocks", [0, 1])
@pytest.mark.parametrize("mode", [True, False])
def test_the_folded_decoder_equals_the_textbooks(mode, fine_blocks):
    generator = small(PAPER, fine_blocks=fine_blocks).train(mode)
    motion, code = motion_of(PAPER, 2), torch.randn(2, 4)
    (ours, _), (theirs, _) = generator(motion, code), textbook(generator)(motion, code)
    assert ours.std() > 0.003
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)


def test_rendering_sees_the_weights_that_training_left():
    generator, motion, code = small(PAPER).eval(), motion_of(PAPER, 1), torch.zeros(1, 4)
    generator.train()
    with torch.no_grad():
        for weights in generator.parameters():
            weights.mul_(1.5)
        trained = generator(motion, code)[0]
        torch.testing.assert_close(generator.eval()(motion, code)[0], trained)


def test_a_lean_generator_of_half_the_channels_does_an_eighth_of_the_work():
    layout = {"size": 256, "width": 128, "layers": 8, "blocks": 6, "code": 32}
    work = []
    for decoder in ({"channels": 256, "fine_blocks": 0}, {"channels": 128, "fine_blocks": 2}):
        generator = Generator(inputs=PAPER, upsampling="bilinear", **layout, **decoder).eval()
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            image, colours = generator(motion_of(PAPER, 1), torch.zeros(1, 32))
        assert image.shape == (1, 3, 256, 256) and colours.shape == (1, 3, 64, 64)
        work.append(counter.get_total_flops())
    assert work[1] < work[0] / 8


def test_only_layers_that_mix_features_are_hidden():
    generator = small(PAPER | {"audio": 8}, fine_blocks=1)
    hidden = {id(weight) for weight in generator.hidden_weights()}
    mixing = {name for name, weight in generator.named_parameters() if id(weight) in hidden}
    assert mixing == {
        *(f"mlp.{layer}.weight" for layer in range(3)),
        *(f"trunk.{name}.weight" for name in ("down", "up", "past")),
        *(f"trunk.{part}.0.{name}.weight" for part in ("blocks", "fine_blocks") for name in ("expand", "project")),
        "up1.weight",
        "up2.weight",
    }


@pytest.mark.parametrize("fine_blocks", [0, 1])
def test_every_parameter_and_input_gets_a_gradient(fine_blocks):
    inputs = PAPER | {"position": 3}
    generator = small(inputs, fine_blocks=fine_blocks)
    motion = {name: value.requires_grad_() for name, value in motion_of(inputs, 2).items()}
    code = torch.randn(2, 4, requires_grad=True)
    image, colours = generator(motion, code)
    (image.square().mean() + colours.square().mean()).backward()
    for tensor in [*generator.parameters(), *motion.values(), code]:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_the_heads_own_coordinates_follow_position_size_and_roll():
    generator = small(PAPER | {"position": 3})
    motion = {"pose": torch.zeros(1, 6), "position": torch.tensor([[0.25, -0.5, 0.25]])}
    motion["pose"][0, 2] = 0.4  # counter-clockwise for the viewer
    coordinates = generator.head_coordinates(motion)[0]
    where = pixel_grid(8)[0, :, 2, 6] - motion["position"][0, :2]
    turned = torch.complex(where[0], -where[1]) * torch.polar(torch.tensor(1.0), torch.tensor(-0.4))
    torch.testing.assert_close(coordinates[:, 2, 6], torch.stack([turned.real, -turned.imag]))


def test_raw_inputs_are_standardised_by_the_performing_frames():
    generator, motion = small(PAPER), motion_of(PAPER, 64)
    motion["expression"] *= torch.linspace(0.01, 10, 50)
    generator.standardise(motion)
    prepared = generator.prepared("expression", motion["expression"]).sinh()
    torch.testing.assert_close(prepared.mean(0), torch.zeros(50), atol=1e-5, rtol=0)
    torch.testing.assert_close(prepared.std(0)[-30:], torch.ones(30))
    assert prepared.std(0)[0] < 0.1  # what hardly moves stays small


def test_a_saved_generator_renders_the_same():
    generator, motion = small(PAPER), motion_of(PAPER, 1)
    generator.standardise(motion_of(PAPER, 8))
    twin = Generator(inputs=PAPER, upsampling="bilinear", **SMALL)
    twin.load_state_dict(generator.state_dict())
    torch.testing.assert_close(twin(motion, torch.ones(1, 4))[0], generator(motion, torch.ones(1, 4))[0])
