"""Class orders are the published ones, and tasks are whole."""

from pathlib import Path

import pytest

from edgecil.data.scenario import class_increments, read_tasks
from edgecil.errors import DataError, UsageError

CLASSES = ("bird", "cat", "dog", "horse")


def test_class_order_of_seed_1993_is_the_published_one() -> None:
    order = class_increments(100, 0, 10, seed=1993).class_order
    assert order[:10] == (68, 56, 78, 8, 23, 84, 90, 65, 74, 76)
    assert sorted(order) == list(range(100))


@pytest.mark.parametrize(
    ("class_count", "base", "increment", "sizes"),
    [
        (100, 0, 10, (10,) * 10),
        (100, None, 20, (20,) * 5),
        (100, 50, 10, (50, 10, 10, 10, 10, 10)),
        (100, 40, 25, (40, 25, 25, 10)),
        (10, 0, 3, (3, 3, 3, 1)),
        (10, 10, 3, (10,)),
        (1, 0, 1, (1,)),
    ],
)
def test_classes_are_cut_into_base_and_increments(
    class_count: int, base: int | None, increment: int, sizes: tuple[int, ...]
) -> None:
    scenario = class_increments(class_count, base, increment, seed=0)
    assert scenario.sizes == sizes
    assert [task.index for task in scenario.tasks] == list(range(len(sizes)))
    assert sorted(scenario.class_order) == list(range(class_count))


@pytest.mark.parametrize(
    ("base", "increment", "named"),
    [
        (0, 0, "increment of 0"),
        (0, 11, "increment of 11"),
        (11, 1, "base of 11"),
        (-1, 1, "base of -1"),
    ],
)
def test_impossible_scenario_is_refused(base: int, increment: int, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        class_increments(10, base, increment, seed=0)


def write(folder: Path, text: str) -> Path:
    path = folder / "tasks.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_tasks_are_read_in_order_and_other_classes_are_left_out(tmp_path: Path) -> None:
    text = '[[task]]\nclasses = ["dog", "bird"]\n\n[[task]]\nclasses = ["cat"]\n'
    scenario = read_tasks(write(tmp_path, text), CLASSES)
    assert [task.classes for task in scenario.tasks] == [(2, 0), (1,)]
    assert scenario.class_order == (2, 0, 1)
    assert scenario.sizes == (2, 1)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            '[[task]]\nclasses=["cat"]\n[[task]]\nclasses=["dog", "cat"]',
            "in task 1 and again in task 2",
        ),
        ('[[task]]\nclasses=["cat", "cat"]', "in task 1 and again in task 1"),
        ('[[task]]\nclasses=["cow"]', "'cow', which is no class of the data; there are bird, cat"),
        ('[[task]]\nclasses=["cat"]\n[[task]]\nclasses=[]', "task 2 is empty"),
        ("", "there are no tasks"),
        ("task = 3", "there are no tasks"),
        ("task = [3]", "nothing but classes"),
        ("[[task]]", r"task 1 needs classes = \[...\]"),
        ("[[task]]\nclasses = [1]", "names in quotes"),
        ('[[task]]\nclasses = "cat"', "names in quotes"),
        ('[[task]]\nclass = ["cat"]', "nothing but classes"),
        ('[[tasks]]\nclasses = ["cat"]', "unknown entry 'tasks'"),
        ("[[task", "not TOML"),
    ],
)
def test_wrong_tasks_are_refused_with_file_and_remedy(
    text: str, named: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=named) as caught:
        read_tasks(path, CLASSES)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tasks_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_tasks(tmp_path / "tasks.toml", CLASSES)
    (tmp_path / "latin.toml").write_bytes(b'[[task]]\nclasses=["\xe9"]')
    (tmp_path / "wide.toml").write_bytes('[[task]]\nclasses=["ape"]'.encode("utf-16"))
    for name in ("latin.toml", "wide.toml"):
        with pytest.raises(DataError, match="not TOML, which is UTF-8; save it as such"):
            read_tasks(tmp_path / name, CLASSES)


def test_tasks_are_read_as_windows_editors_save_them(tmp_path: Path) -> None:
    """With a byte-order mark and carriage returns."""
    text = f'[[task]]\nclasses = ["{CLASSES[1]}"]\n[[task]]\nclasses = ["{CLASSES[0]}"]\n'
    path = tmp_path / "tasks.toml"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert [task.classes for task in read_tasks(path, CLASSES).tasks] == [(1,), (0,)]
