"""Reading metrics in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def families(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def samples(text: str) -> list[Sample]:
    """All samples, in their order."""
    return [sample for family in families(text) for sample in family.samples]
