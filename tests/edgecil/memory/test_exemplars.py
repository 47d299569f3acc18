import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from edgecil.errors import BudgetError, StateCorruptError, StateError
from edgecil.memory.codecs import ImageCodec, codec_named
from edgecil.memory.exemplar_sizes import fill, uniform_size
from edgecil.memory.exemplars import EncodedPictures, ExemplarSet

RAW, WEBP, JPEG = codec_named("raw"), codec_named("webp-lossless"), codec_named("jpeg:75")
CODECS = st.sampled_from([RAW, WEBP, JPEG])


def made_up(codec: ImageCodec, lengths: list[list[int]], size: int = 4) -> ExemplarSet:
    """Payloads of these lengths that no codec made; fixed-length codecs have their own length."""
    fixed = codec.payload_bytes(size)
    classes = [[bytes([c % 256]) * (fixed or n) for n in row] for c, row in enumerate(lengths)]
    return ExemplarSet.empty(codec, size).with_new_classes(classes)


def noise(count: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def with_counts(exemplars: ExemplarSet, counts: list[int]) -> int:
    """The real size of the file, cut to `counts`."""
    return len(exemplars.truncate(counts).to_bytes())


LENGTHS = st.lists(st.lists(st.integers(1, 3000), max_size=12), max_size=8)


@given(codec=CODECS, lengths=LENGTHS, large=st.sampled_from([None, 65_535, 65_536]))
def test_the_size_is_known_to_the_byte_before_the_file_is_made(
    codec: ImageCodec, lengths: list[list[int]], large: int | None
) -> None:
    if large is not None:
        lengths = [*lengths, [5, large]]
    exemplars = made_up(codec, lengths)
    size = len(exemplars.to_bytes())
    assert len(exemplars.filled(size)) == len(exemplars)
    if len(exemplars):
        assert len(exemplars.filled(size - 1)) < len(exemplars)


@given(codec=CODECS, lengths=LENGTHS)
def test_what_is_written_is_what_is_read(codec: ImageCodec, lengths: list[list[int]]) -> None:
    exemplars = made_up(codec, lengths)
    assert ExemplarSet.from_bytes(exemplars.to_bytes(), codec, 4) == exemplars


@given(
    codec=CODECS,
    lengths=st.lists(st.lists(st.integers(1, 300), max_size=9), min_size=1, max_size=6),
    share=st.floats(0, 1.1),
)
def test_the_capacity_is_filled_evenly_and_to_the_last_image(
    codec: ImageCodec, lengths: list[list[int]], share: float
) -> None:
    exemplars = made_up(codec, lengths)
    smallest = with_counts(exemplars, [0] * len(lengths))
    capacity = smallest + int(share * (len(exemplars.to_bytes()) - smallest))
    counts = fill(exemplars.lengths(), capacity, codec, 4).tolist()
    assert with_counts(exemplars, counts) <= capacity
    assert exemplars.filled(capacity) == exemplars.truncate(counts)
    for label, row in enumerate(lengths):
        if counts[label] < len(row):
            more = [n + (c == label) for c, n in enumerate(counts)]
            assert with_counts(exemplars, more) > capacity
    assert counts == _rank_by_rank(exemplars, capacity)


def _rank_by_rank(exemplars: ExemplarSet, capacity: int) -> list[int]:
    """The rule in its plainest form, with a real file for every question."""
    counts = [0] * len(exemplars.payloads)
    complete = [False] * len(counts)
    for rank in range(max(map(len, exemplars.payloads), default=0)):
        for label, images in enumerate(exemplars.payloads):
            complete[label] |= rank >= len(images)
            if not complete[label]:
                counts[label] += 1
                if with_counts(exemplars, counts) > capacity:
                    counts[label] -= 1
                    complete[label] = True
    return counts


def test_what_small_classes_leave_goes_to_the_others() -> None:
    exemplars = made_up(RAW, [[1] * 2, [1] * 10, [1] * 10])
    capacity = with_counts(exemplars, [2, 6, 5])
    assert fill(exemplars.lengths(), capacity, RAW, 4).tolist() == [2, 6, 5]
    assert fill(exemplars.lengths(), capacity - 1, RAW, 4).tolist() == [2, 5, 5]


def test_less_than_an_empty_file_is_refused() -> None:
    exemplars = made_up(WEBP, [[10], [10]])
    smallest = with_counts(exemplars, [0, 0])
    assert fill(exemplars.lengths(), smallest, WEBP, 4).tolist() == [0, 0]
    for capacity in (smallest - 1, 0, -5):
        with pytest.raises(BudgetError, match=rf"takes {smallest} bytes; raise --budget"):
            exemplars.filled(capacity)


def test_a_hundred_classes_are_filled_in_no_time() -> None:
    rng = np.random.default_rng(0)
    lengths = [rng.integers(1000, 2500, 500) for _ in range(100)]

    def seconds() -> float:
        started = time.process_time()  # whatever else the machine does
        fill(lengths, 7_600_000, WEBP, 32)
        return time.process_time() - started

    assert any(seconds() < 1 for _ in range(3))
    counts = fill(lengths, 7_600_000, WEBP, 32)
    assert int(counts.sum()) in range(4100, 4500)
    kept = [row[:count].tolist() for row, count in zip(lengths, counts, strict=True)]
    assert 7_599_000 < len(made_up(WEBP, kept, size=32).to_bytes()) <= 7_600_000


@pytest.mark.parametrize("name", ["raw", "webp-lossless", "webp:60", "jpeg:60"])
def test_exemplars_come_back_as_the_network_will_see_them(name: str) -> None:
    codec, images = codec_named(name), noise(12, 8)
    payloads = codec.encode_many(images)
    exemplars = ExemplarSet.empty(codec, 8).with_new_classes([payloads[:5], [], payloads[5:]])
    read = ExemplarSet.from_bytes(exemplars.to_bytes(), codec, 8)
    assert len(read) == 12
    assert read.counts.tolist() == [5, 0, 7]
    assert read.labels().tolist() == [0] * 5 + [2] * 7
    np.testing.assert_array_equal(read.pixels(), codec.roundtrip(images))
    some = np.array([11, 0, 3])
    np.testing.assert_array_equal(read.pixels(some), codec.roundtrip(images)[some])
    pictures = EncodedPictures(payloads, codec, 8, codec.shared_header(8))
    np.testing.assert_array_equal(pictures.pixels(some), read.pixels(some))
    assert len(pictures) == 12


def test_a_set_of_no_classes_can_be_kept() -> None:
    for codec in (RAW, WEBP, JPEG):
        empty = ExemplarSet.empty(codec, 8)
        read = ExemplarSet.from_bytes(empty.to_bytes(), codec, 8)
        assert read == empty
        assert read.pixels().shape == (0, 8, 8, 3)
        assert read.labels().shape == read.counts.shape == (0,)


def test_cutting_keeps_the_first_of_each_class() -> None:
    exemplars = ExemplarSet(RAW, 4, ((b"a", b"b", b"c"), (b"d",), (b"e", b"f")), b"")
    assert exemplars.truncate([2, 5, 0]).payloads == ((b"a", b"b"), (b"d",), ())


def whole_pictures(codec: ImageCodec) -> ExemplarSet:
    """Of three classes, with aspects that float32 has exactly."""
    payloads = made_up(codec, [[9, 5, 7], [], [3, 8]], size=72).payloads
    return ExemplarSet.empty(codec, 72).with_new_classes(
        payloads, [[1.5, 0.75, 1.0], [], [2.0**20, 2.0**-20]]
    )


@pytest.mark.parametrize("codec", [RAW, WEBP, JPEG])
def test_aspects_of_large_exemplars_are_kept_and_counted(codec: ImageCodec) -> None:
    exemplars = whole_pictures(codec)
    whole = exemplars.to_bytes()
    assert load(whole)["aspects"].tolist() == [1.5, 0.75, 1.0, 2.0**20, 2.0**-20]
    read = ExemplarSet.from_bytes(whole, codec, 72)
    assert read == exemplars
    assert [part.aspects.tolist() for part in read.by_class() if part.aspects is not None] == [
        [1.5, 0.75, 1.0],
        [],
        [2.0**20, 2.0**-20],
    ]
    assert read.filled(len(whole)) == exemplars
    fewer = read.filled(len(whole) - 1)
    assert fewer.aspects == ((1.5, 0.75), (), (2.0**20, 2.0**-20))
    assert len(fewer.to_bytes()) < len(whole)
    assert len(whole) >= len(made_up(codec, [[9, 5, 7], [], [3, 8]]).to_bytes()) + 5 * 4


@pytest.mark.parametrize("codec", [RAW, WEBP, JPEG])
@pytest.mark.parametrize("size", [64, 72])
def test_planned_sizes_are_those_of_the_files(codec: ImageCodec, size: int) -> None:
    length = codec.payload_bytes(size) or 1234
    for counts in ([0, 0], [3, 0], [7, 9]):
        made = made_up(codec, [[length] * count for count in counts], size)
        assert uniform_size(2, sum(counts), length, codec, size) == len(made.to_bytes())


def test_small_exemplars_have_no_aspects() -> None:
    payloads = made_up(WEBP, [[9, 5]], size=64).payloads
    exemplars = ExemplarSet.empty(WEBP, 64).with_new_classes(payloads, [[1.5, 0.75]])
    assert exemplars == made_up(WEBP, [[9, 5]], size=64)
    assert exemplars.pictures.aspects is None


@pytest.mark.parametrize("codec", [RAW, WEBP, JPEG])
def test_large_exemplars_of_before_there_were_aspects_are_squares(codec: ImageCodec) -> None:
    exemplars = whole_pictures(codec)
    tensors = load(exemplars.to_bytes())
    del tensors["aspects"]
    read = ExemplarSet.from_bytes(save(tensors), codec, 72)
    assert read.payloads == exemplars.payloads
    assert read.aspects == ((1.0,) * 3, (), (1.0,) * 2)


@pytest.mark.parametrize("aspects", [[1, 1, 1, 1], [1, 1, 0, 1, 1], [1, -1, 1, 1, 1], [1e39] * 5])
def test_impossible_aspects_are_refused(aspects: list[float]) -> None:
    tensors = load(whole_pictures(WEBP).to_bytes())
    with np.errstate(over="ignore"):
        altered = np.array(aspects, np.float64).astype(np.float32)
    for bad in (altered, np.ones(5, np.float16), np.full(5, np.nan, np.float32)):
        with pytest.raises(StateCorruptError):
            ExemplarSet.from_bytes(save(tensors | {"aspects": bad}), WEBP, 72)
    small = load(made_up(WEBP, [[9, 5]], size=64).to_bytes())
    with pytest.raises(StateCorruptError):
        ExemplarSet.from_bytes(save(small | {"aspects": np.ones(2, np.float32)}), WEBP, 64)


def test_the_file_is_plain_safetensors() -> None:
    tensors = load(made_up(WEBP, [[2, 1], [3]]).to_bytes())
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "counts": [2, 1],
        "lengths": [2, 1, 3],
        "payload": [0, 0, 0, 1, 1, 1],
    }
    assert tensors["lengths"].dtype == np.uint16


@pytest.mark.parametrize("codec", [RAW, WEBP, JPEG])
def test_altered_files_are_refused(codec: ImageCodec) -> None:
    exemplars = made_up(codec, [[20, 30], [40]])
    whole = exemplars.to_bytes()
    tensors = load(whole)
    altered = [b"", whole[:-1], whole + b"\0", b"\xff" * 200, save({"x": np.zeros(3)})]
    altered.append(save(tensors | {"counts": np.array([2, 2], np.uint32)}))
    altered.append(save(tensors | {"counts": np.array([2**32 - 1, 2**32 - 1], np.uint32)}))
    altered.append(save(tensors | {"counts": np.array([2.0, 1.0], np.float32)}))
    altered.append(save(tensors | {"counts": np.array([[2, 1]], np.uint32)}))
    altered.append(save(tensors | {"payload": tensors["payload"][:-1]}))
    altered += [save({k: v for k, v in tensors.items() if k != name}) for name in tensors]
    for data in altered:
        with pytest.raises(StateCorruptError):
            ExemplarSet.from_bytes(data, codec, 4)


@pytest.mark.parametrize("codec", [RAW, WEBP, JPEG])
def test_files_of_another_codec_are_refused(codec: ImageCodec) -> None:
    whole = made_up(codec, [[20, 30], [40]]).to_bytes()
    for other in {RAW, WEBP, JPEG} - {codec}:
        with pytest.raises(StateCorruptError, match=other.name):
            ExemplarSet.from_bytes(whole, other, 4)


def test_new_exemplars_never_get_a_foreign_header() -> None:
    ours = made_up(JPEG, [[20]])
    theirs = ExemplarSet(JPEG, 4, ours.payloads, ours.shared_header + b"?")
    with pytest.raises(StateError, match="another version of Pillow"):
        theirs.with_new_classes([ours.payloads[0]])
    none = ExemplarSet(JPEG, 4, (), theirs.shared_header)  # of a method that keeps no pictures
    assert none.with_new_classes([[], []]).payloads == ((), ())


def test_what_loses_nothing_is_encoded_again_as_it_would_have_been_at_once() -> None:
    size, lossy = 72, codec_named("webp:75")
    pictures = [noise(3, size, 1), noise(1, size, 2)]
    kept = ExemplarSet.empty(WEBP, size).with_new_classes(
        [[WEBP.encode(one) for one in of_class] for of_class in pictures],
        [[0.5, 1.0, 2.0], [1.5]],
    )
    again = kept.recoded(lossy)
    assert again.payloads == tuple(
        tuple(lossy.encode(one) for one in of_class) for of_class in pictures
    )
    assert again.aspects == kept.aspects
    read = ExemplarSet.from_bytes(again.to_bytes(), lossy, size)
    assert (read.pixels() == lossy.roundtrip(np.concatenate(pictures))).all()
    assert kept.recoded(WEBP) is kept
