"""Which parts of a configuration count when some are wrong, and in which form."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockreg.config.parts import Earlier
from sockreg.config.ruleset import RuleSet, read_sound
from sockreg.model import Action, LeftOut
from sockreg.rules.syntax import format_rule

SYSTEM = "etc/systemd/system"


class Tree:
    """A root directory with files, and what was in force from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.earlier: Earlier = {}

    def put(self, path: str, *lines: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([*lines, ""]))

    def conf(self, name: str, *lines: str) -> None:
        self.put(f"etc/sockreg/{name}.conf", *lines)

    def unit(self, name: str, *rules: str) -> None:
        self.put(
            f"{SYSTEM}/{name}.socket",
            "[Socket]",
            "ListenStream=127.0.0.1:80",
            f"FileDescriptorName={name}",
            "[X-Sockreg]",
            *rules,
        )
        link = self.root / SYSTEM / f"sockets.target.wants/sockreg@{name}.service"
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to("/usr/lib/systemd/system/sockreg@.service")

    def read(self) -> RuleSet:
        return read_sound(str(self.root), (), {}, lambda: self.earlier)

    def in_force(self) -> list[str]:
        """The rules that count now. From here on, they are what was in force last."""
        rules = self.read()
        self.earlier = dict(rules.selection.forms)
        assert sum(rules.selection.counts) == len(rules.bindings)
        return shown(rules)

    def left_out(self, rules: RuleSet) -> dict[str, bool]:
        return {self.short(left): left.earlier for left in rules.left_out}

    def problems(self, rules: RuleSet) -> set[str]:
        """What is wrong, and where."""
        told = {" ".join(problem) for left in rules.left_out for problem in left.problems}
        return {text.removeprefix(f"{self.root}/") for text in told}

    def short(self, left: LeftOut) -> str:
        return left.part.removeprefix(f"{self.root}/")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def shown(rules: RuleSet) -> list[str]:
    return [f"{b.label}: {format_rule(b)}" for b in rules.bindings]


A = "Bind=tcp ::1 80"
B = "Bind=tcp ::2 80"


def test_what_is_wrong_costs_its_own_part_and_all_of_it(tree: Tree) -> None:
    tree.unit("a", A)
    tree.unit("b", B, "Bind=tcp")
    tree.conf("c", "[c]", "Bind=tcp ::3 80", "nonsense")
    tree.conf("d", "[d]", "Bind=tcp ::4 80")
    rules = tree.read()
    assert shown(rules) == ["a: tcp ::1 80", "d: tcp ::4 80"]
    assert tree.left_out(rules) == {"b.socket": False, "etc/sockreg/c.conf": False}
    assert list(rules.units) == ["a.socket", "b.socket"]
    assert [problem[0].rpartition(":")[2] for left in rules.left_out for problem in left[1]] == [
        "6",
        "3",
    ]


def test_the_earlier_form_comes_with_its_place_label_weight_and_drops(tree: Tree) -> None:
    tree.unit("a", A, "Weight=7")
    tree.conf("10", "[c]", "Bind=tcp ::3 80")
    tree.conf("20", "[c]", "Bind=", "Bind=tcp ::4 80", "[:registry]", "TakeSsh=yes")
    before = tree.read()
    assert tree.in_force() == shown(before) == ["a: tcp ::1 80", "c: tcp ::4 80"]
    tree.put(f"{SYSTEM}/a.socket", "[Socket]", "FileDescriptorName=z", "[X-Sockreg]", "Bind=x")
    tree.conf("20", "[c]", "Bindd=")
    after = tree.read()
    assert after.bindings == before.bindings
    assert after.options == before.options
    assert after.units["a.socket"].label == "a"
    assert after.units["a.socket"].weight == 7
    assert tree.left_out(after) == {"a.socket": True, "etc/sockreg/20.conf": True}


def test_a_part_that_is_gone_is_not_wrong(tree: Tree) -> None:
    tree.unit("a", A)
    tree.conf("b", "[b]", B)
    assert len(tree.in_force()) == 2
    (tree.root / "etc/sockreg/b.conf").unlink()
    (tree.root / SYSTEM / "a.socket").unlink()
    rules = tree.read()
    assert (rules.bindings, rules.left_out) == ([], [])


@pytest.mark.parametrize("last", ["a", "b", None])
def test_the_rule_that_was_in_force_last_wins_a_tie_then_the_one_that_is_read_first(
    tree: Tree, last: str | None
) -> None:
    other = {"a": "b", "b": "a"}
    if last is not None:
        tree.unit(last, A)
        tree.unit(other[last], B)
        tree.in_force()
    tree.unit("a", A)
    tree.unit("b", A)
    rules = tree.read()
    winner = last or "a"
    assert f"{winner}: tcp ::1 80" in shown(rules)
    # The other one has what it had before.
    expected = {f"{winner}: tcp ::1 80"} | ({f"{other[winner]}: tcp ::2 80"} if last else set())
    assert set(shown(rules)) == expected
    assert tree.left_out(rules) == {f"{other[winner]}.socket": last is not None}
    ((place, text),) = rules.left_out[0].problems
    assert place.endswith(f"{other[winner]}.socket:5")
    assert f"ties with {A} ({winner}) of " in text


def test_a_sound_part_wins_over_the_earlier_form_of_a_wrong_one(tree: Tree) -> None:
    """As when a rule is moved from one file to another, and the first is damaged meanwhile."""
    tree.conf("a", "[a]", A)
    tree.in_force()
    tree.conf("a", "[a]", "Bind=")
    tree.conf("a", "[a]", "nonsense")
    tree.conf("b", "[b]", A)
    rules = tree.read()
    assert shown(rules) == ["b: tcp ::1 80"]
    assert tree.left_out(rules) == {"etc/sockreg/a.conf": False}


def test_a_part_that_ties_with_itself_is_wrong(tree: Tree) -> None:
    tree.conf("a", "[a]", A, "[b]", A)
    tree.conf("c", "[c]", B)
    assert shown(tree.read()) == ["c: tcp ::2 80"]


def test_who_loses_to_a_loser_is_back(tree: Tree) -> None:
    """b ties with both: with it out of force, nothing speaks against c."""
    tree.unit("a", A)
    tree.unit("b", A, B)
    tree.unit("c", B)
    rules = tree.read()
    assert shown(rules) == ["a: tcp ::1 80", "c: tcp ::2 80"]
    assert tree.left_out(rules) == {"b.socket": False}


def test_many_that_tie_leave_one(tree: Tree) -> None:
    for number in range(40):
        tree.unit(f"u{number:02}", A)
    rules = tree.read()
    assert shown(rules) == ["u00: tcp ::1 80"]
    assert len(rules.left_out) == 39


def test_instances_of_a_template_are_parts_of_their_own(tree: Tree) -> None:
    tree.put(
        f"{SYSTEM}/web@.socket",
        "[Socket]",
        "ListenStream=80",
        "FileDescriptorName=w%i",
        "[X-Sockreg]",
        "Bind=tcp ::1 80",
    )
    wants = tree.root / SYSTEM / "sockets.target.wants"
    wants.mkdir()
    for instance in ("1", "2"):
        (wants / f"sockreg@web@{instance}.service").symlink_to("/x")
    rules = tree.read()
    assert shown(rules) == ["w1: tcp ::1 80"]
    assert tree.left_out(rules) == {"web@2.socket": False}


def test_anything_can_leave_a_part_out(tree: Tree) -> None:
    tree.unit("a", A)
    tree.unit("b", A, B)
    assert tree.in_force() == ["a: tcp ::1 80"]
    rules = tree.read()
    (binding,) = rules.bindings
    less = rules.without([rules.fault(binding, "a is not wanted")] * 2)
    assert shown(less) == ["a: tcp ::1 80"]  # as it was last in force, and thus the same
    less = less.without([less.fault(less.bindings[0], "not as it was, either")])
    # b only lost to a.
    assert shown(less) == ["b: tcp ::1 80", "b: tcp ::2 80"]
    assert tree.left_out(less) == {"a.socket": False}
    assert [text for _, text in less.left_out[0].problems] == [
        "a is not wanted",
        "not as it was, either",
    ]


@pytest.mark.parametrize("last", ["a", "b", None])
def test_the_unit_that_had_a_label_last_keeps_it(tree: Tree, last: str | None) -> None:
    if last is not None:
        tree.unit(last, "Label=http", *[A if last == "a" else B])
        tree.in_force()
    tree.unit("a", "Label=http", A)
    tree.unit("b", "Label=http", B)
    winner = last or "a"
    rules = tree.read()
    assert [b.place.path.rpartition("/")[2] for b in rules.bindings] == [f"{winner}.socket"]
    assert list(tree.left_out(rules)) == ["b.socket" if winner == "a" else "a.socket"]
    assert "label http belongs to" in rules.left_out[0].problems[0][1]


def test_without_some_parts(tree: Tree) -> None:
    tree.unit("a", A)
    tree.in_force()
    tree.unit("a", A, B)
    tree.unit("c", "Bind=tcp ::3 80")
    rules = tree.read()
    assert rules.selection.ranked() == ["c.socket", "a.socket"]  # both new: the small one first
    less = rules.without([rules.whole_fault(name, "too big") for name in ("a.socket", "c.socket")])
    assert shown(less) == ["a: tcp ::1 80"]
    assert tree.left_out(less) == {"a.socket": True, "c.socket": False}
    assert shown(less.without([less.whole_fault("a.socket", "too big")])) == []
    assert len(rules.bindings) == 3  # unchanged


def test_a_label_that_a_unit_had_is_not_for_one_that_had_another(tree: Tree) -> None:
    tree.unit("a", A)
    tree.unit("b", B)
    before = tree.in_force()
    tree.unit("a", "Label=b", A)
    rules = tree.read()
    assert shown(rules) == before  # a has its earlier form, and its earlier label
    assert tree.left_out(rules) == {"a.socket": True}


def test_an_unreadable_directory_hides_what_was_known_to_be_in_it(tree: Tree) -> None:
    tree.conf("a", "[a]", A)
    tree.conf("m", "")  # masks
    tree.put("etc/sockreg/m.conf")
    tree.put("usr/lib/sockreg/m.conf", "[m]", B)
    tree.put("usr/lib/sockreg/z.conf", "[z]", "Bind=tcp ::9 80")
    before = tree.in_force()
    assert before == ["a: tcp ::1 80", "z: tcp ::9 80"]
    etc = tree.root / "etc/sockreg"
    etc.rename(tree.root / "etc/away")
    etc.write_text("")
    rules = tree.read()
    assert shown(rules) == before
    assert tree.left_out(rules) == {"etc/sockreg/a.conf": True, "etc/sockreg/m.conf": True}
    assert {p for left in rules.left_out for p in left.problems} == {
        (str(etc), "cannot be read: Not a directory")
    }
    tree.earlier = {}
    rules = tree.read()
    assert tree.left_out(rules) == {"etc/sockreg": False}
    assert all(b.action is Action.BIND for b in rules.bindings)


def test_links_to_nowhere_and_other_encodings_cost_the_unit(tree: Tree) -> None:
    """systemd reads nothing of such files; the rules in them must not go without a word."""
    tree.unit("a")
    tree.put("srv/a.conf", "[X-Sockreg]", A)
    dropins = tree.root / SYSTEM / "a.socket.d"
    dropins.mkdir()
    (dropins / "a.conf").symlink_to("/srv/a.conf")
    tree.unit("b", B)
    assert tree.in_force() == ["a: tcp ::1 80", "b: tcp ::2 80"]
    (tree.root / "srv/a.conf").unlink()
    unit = tree.root / SYSTEM / "b.socket"
    unit.unlink()
    unit.symlink_to("/srv/b.socket")
    rules = tree.read()
    assert shown(rules) == ["a: tcp ::1 80", "b: tcp ::2 80"]
    assert tree.problems(rules) == {
        f"{SYSTEM}/a.socket.d/a.conf is a link that leads nowhere",
        f"{SYSTEM}/b.socket is a link that leads nowhere",
    }

    (dropins / "a.conf").unlink()
    (dropins / "a.conf").write_bytes(f"[X-Sockreg]\n{A}\n".encode("utf-16"))
    unit.unlink()
    tree.unit("b", B)
    rules = tree.read()
    assert shown(rules) == ["a: tcp ::1 80", "b: tcp ::2 80"]
    assert tree.problems(rules) == {
        f"{SYSTEM}/a.socket.d/a.conf is not text in UTF-8, so that nothing in it counts; UTF-16?"
    }
