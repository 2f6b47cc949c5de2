"""Every reader of input: an error of ours, or a value that reads back. tests/fuzz has the oracles.

These are few cases, the same each time. `make test-fuzz` looks for new ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from sockreg.config.ruleset import examine_rule_set
from sockreg.errors import ConfigError
from sockreg.guards import ssh_config
from sockreg.host.packetfilter import Ruleset
from sockreg.registry import generation_record
from sockreg.systemd import keyfile
from sockreg.systemd.unit_label import of_files
from sockreg.trust import SIZE_MAX
from sockreg.views import ahead
from tests.fuzz.corpus import seeds
from tests.fuzz.readers import READERS

# What it notes about modules belongs to this environment, not into the tree.
set_hypothesis_home_dir(Path(sys.prefix, "hypothesis"))

_CASES = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def spoilt(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """One of these inputs, with a part of it replaced by something else."""
    text = draw(st.sampled_from(whole))
    begin = draw(st.integers(0, len(text)))
    end = draw(st.integers(begin, min(len(text), begin + 20)))
    put = draw(st.one_of(st.binary(max_size=8), _TOKENS))
    return text[:begin] + put + text[end:]


_TOKENS = st.sampled_from(
    [b"\n", b"=", b"[", b"]", b"\\\n", b"\0", b"-1", b"4294967296", b"null", b"{}", b"[]", b'"',
     b"%n", b"\xd9\xa8", b"\xc2\xa0",
     b"\xe2\x80\xa8", b"\xed\xa0\x80"]
)  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_seeds(name: str) -> None:
    for seed in seeds(name):
        READERS[name](seed)


@pytest.mark.parametrize("name", READERS)
def test_spoilt_input(name: str) -> None:
    @_CASES
    @given(st.one_of(spoilt(seeds(name)), st.binary(max_size=100)))
    def run(data: bytes) -> None:
        READERS[name](data)

    run()


LARGE = {
    "lines": (b"\n" * (keyfile.LINES_MAX + 1), "has more than 2,097,152 lines"),
    "a line": (b"[web]\nBind=" + b"9" * (keyfile.LINE_MAX + 1), "has a line of more than 1 MiB"),
    "bytes": (b"#\n" * (SIZE_MAX // 2 + 1), "is longer than 64 MiB"),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_file_that_is_too_large_costs_only_its_own_rules(name: str, tmp_path: Path) -> None:
    content, what = LARGE[name]
    directory = tmp_path / "etc/sockreg"
    units = tmp_path / "etc/systemd/system"
    directory.mkdir(parents=True)
    units.mkdir(parents=True)
    (directory / "large.conf").write_bytes(content)
    (directory / "web.conf").write_text("[web]\nBind=tcp 192.0.2.0/24 80\n")
    (units / "large.socket").write_bytes(content)
    rules, report = examine_rule_set(str(tmp_path), ["large.socket"])
    assert [binding.label for binding in rules.bindings] == ["web"]
    assert {(problem.place.path, what in problem.text) for problem in report.problems} == {
        (f"{directory}/large.conf", True),
        (f"{units}/large.socket", True),
    }
    with pytest.raises(ConfigError, match=what):
        of_files(str(tmp_path), "large.socket")


def test_a_line_of_very_many_parts_is_read_in_linear_time() -> None:
    """Twice as many took four times as long: 20 s for these."""
    sections = keyfile.read_sections(b"[web]\nBind=\\\n" + b"a\\\n" * 300_000)
    assert len(sections[1].entries[0].value.split()) == 300_000


def test_files_of_sshd_that_include_each_other(tmp_path: Path) -> None:
    """Sixteen levels of four lines each would be four billion files."""
    directory = tmp_path / "etc/ssh"
    directory.mkdir(parents=True)
    (directory / "sshd_config").write_text("Include *\n" * 4 + "Port 2222\n")
    found = ssh_config.configured(str(tmp_path), "/etc/ssh/sshd_config")
    assert {each.port for each in found} == {2222}


def test_a_record_that_unpacks_to_more_than_there_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    (record, *_) = seeds("record")
    assert len(generation_record.decode_bindings(record)) == 1
    monkeypatch.setattr(generation_record, "_RECORDS_MAX", 10)
    with pytest.raises(ValueError, match="not whole rules"):
        generation_record.decode(record)


def test_chains_of_a_filter_that_multiply() -> None:
    """Sixteen levels of four jumps each are four billion rules."""
    jumps = [f"filter -A c{at} -j c{at + 1}" for at in range(16) for _ in range(4)]
    chains = ["filter :INPUT ACCEPT [0:0]", *(f"filter :c{at} - [0:0]" for at in range(17))]
    lines = [*chains, "filter -A INPUT -j c0", *jumps]
    found = ahead.Filter(Ruleset(iptables={"iptables": lines}))
    effects = found.effects(ahead.flow_of(6, (2, 0xC0000200, 24), (80, 80), None))
    assert len(effects) <= 17
    assert not any(effect.surely for effect in effects)
    assert "that sockreg does not read" in effects[0].text
