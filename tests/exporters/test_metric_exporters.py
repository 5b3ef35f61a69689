"""The exporters against the real libraries: a scrape over HTTP, OpenTelemetry's own readers, files."""

import io
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from meminstr.errors import UsageError
from meminstr.exporters import opentelemetry as otel
from meminstr.exporters import prometheus, textfile
from meminstr.exporters.families import ALL, Family
from meminstr.exporters.source import Source
from meminstr.registry import ControllerMemoryTracker
from meminstr.reports.model import ProcessFacts, Report
from meminstr.shards.format import BlackBox, Shard, to_dict
from meminstr.verdict import Counts, Finding, Interval, Verdict

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def tracker():
    one = ControllerMemoryTracker()
    guarded = one.guard(lambda: None, every=1)
    for _ in range(30):
        guarded()
    yield one
    one.uninstall()


def finding(n, verdict=Verdict.CLEAN):
    return Finding(
        f"shop.cart:Cart{n}",
        "class",
        verdict,
        "because",
        calls=7,
        bytes_per_call=Interval(1.5),
        mb_per_hour=Interval(2.0),
        eta_seconds=Interval(1000.0 + n),
        counts=Counts(alive=n, retained=1),
    )


def put_shard(folder, pid, findings, ended=None):
    facts = ProcessFacts(pid=pid, host="web", started_at=str(pid), resident_bytes=1 << 20)
    one = Shard(f"web-{pid}-1", 1, time.time(), 5.0, Report("2026", facts, findings=tuple(findings)), BlackBox(), ended)
    (folder / f"{one.id}.shard.json").write_text(json.dumps(to_dict(one)))


@pytest.fixture
def scrape():
    """``scrape(registry)``: what the library's own server answers, parsed by its own parser."""
    client = pytest.importorskip("prometheus_client")
    parser = pytest.importorskip("prometheus_client.parser")
    servers = []

    def get(registry):
        server, thread = client.start_http_server(0, addr="127.0.0.1", registry=registry)
        servers.append((server, thread))
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in parser.text_string_to_metric_families(text)
            for sample in family.samples
        }

    yield get
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def registry():
    return pytest.importorskip("prometheus_client").CollectorRegistry()


def test_a_scrape_over_http_shows_the_process(tracker, registry, scrape):
    collector = prometheus.register(registry, tracker=tracker)
    got = scrape(registry)
    (name,) = tracker.functions
    assert got["meminstr_calls_total", name, "function"] == 30
    assert got["meminstr_resident_bytes",] > 1 << 20
    assert got["meminstr_processes", "running"] == 1
    assert sum(value for key, value in got.items() if key[:2] == ("meminstr_verdict", name)) == 1
    collector.close()


def test_a_scrape_shows_all_workers_whoever_answers(tmp_path, registry, scrape):
    for pid in (1, 2, 3):
        put_shard(tmp_path, pid, [finding(1, Verdict.LEAKING)], ended="exit" if pid == 3 else None)
    collector = prometheus.register(registry, directory=tmp_path)
    got = scrape(registry)
    assert got["meminstr_calls_total", "shop.cart:Cart1", "class"] == 21
    assert got["meminstr_live_instances", "shop.cart:Cart1", "class"] == 2
    assert got["meminstr_processes", "ended"] == 1
    assert got["meminstr_verdict", "shop.cart:Cart1", "class", "leaking"] == 1
    collector.close()


def test_one_scrape_of_a_thousand_subjects_hands_over_a_bounded_number_of_samples(tmp_path, registry):
    put_shard(tmp_path, 1, [finding(n) for n in range(1000)])
    collector = prometheus.register(registry, directory=tmp_path)
    first = list(collector.collect())
    assert sum(len(metric.samples) for metric in first) <= 20 * 7 + 12
    assert [id(metric) for metric in collector.collect()] == [id(metric) for metric in first]  # nothing is built anew
    collector.close()


def test_the_figures_are_worked_out_anew_while_somebody_asks(tmp_path):
    put_shard(tmp_path, 1, [finding(1)])
    source = Source(lambda found: found, max_subjects=5, directory=tmp_path, refresh_seconds=0.01)
    first = source.get()
    put_shard(tmp_path, 2, [finding(1)])
    for _ in range(6000):
        if source.get() is not first and "running" in str(source.get()) and calls(source.get()) == 14:
            break
        threading.Event().wait(0.01)
    else:
        pytest.fail("never refreshed")
    source.close()


def calls(found: tuple[Family, ...]) -> float:
    return next(family for family in found if family.name == "meminstr_calls").samples[0][1]


@pytest.mark.parametrize(
    "options", [{"max_subjects": -1}, {"max_subjects": 1.5}, {"refresh_seconds": 0}, {"refresh_seconds": True}]
)
def test_options_are_checked(options, registry):
    with pytest.raises(UsageError, match="is not allowed"):
        prometheus.register(registry, **options)


@pytest.mark.parametrize(
    ("library", "call", "extra"),
    [
        ("prometheus_client", "prometheus.register()", "prometheus"),
        ("opentelemetry", "opentelemetry.instrument()", "otel"),
    ],
)
def test_a_missing_library_names_the_extra(library, call, extra):
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from meminstr.errors import UsageError\n"
        f"from meminstr.exporters import {call.split('.')[0]}\n"
        f"try: {call}\n"
        "except UsageError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert f"pip install 'meminstr[{extra}]'" in out


# ------------------------------------------------------------ the text file


def test_the_text_file_is_for_everyone_and_reads_back(tmp_path, tracker):
    parser = pytest.importorskip("prometheus_client.parser")
    path = tmp_path / "job.prom"
    textfile.write_textfile(path, tracker=tracker)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["job.prom"]
    types = {family.name: family.type for family in parser.text_string_to_metric_families(path.read_text())}
    assert types["meminstr_calls"] == "counter"
    assert types["meminstr_verdict"] == "gauge"


@pytest.mark.parametrize("path", ["job.txt", "", None, "a\0.prom"])
def test_a_text_file_must_end_in_prom(path):
    with pytest.raises(UsageError, match=r"ends in \.prom"):
        textfile.write_textfile(path)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path, tracker):
    with pytest.raises(UsageError, match="cannot write the metrics"):
        textfile.write_textfile(tmp_path / "no" / "job.prom", tracker=tracker)
    with pytest.raises(UsageError, match="cannot read the shards"):
        textfile.write_textfile(tmp_path / "job.prom", directory=tmp_path / "no")


def test_a_job_leaves_its_metrics_at_its_end(tmp_path):
    code = (
        "import meminstr\n"
        "from meminstr.exporters.textfile import textfile_at_exit\n"
        "@meminstr.leak_guard\n"
        "def step(): pass\n"
        "textfile_at_exit('job.prom')\n"
        "for _ in range(300): step()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=tmp_path)
    assert 'meminstr_calls_total{subject="step",subject_kind="function"} 300' in (tmp_path / "job.prom").read_text()


def test_writing_the_text_file_again_and_again_keeps_nothing(tmp_path, no_leaks):
    put_shard(tmp_path, 1, [finding(1)])
    path = tmp_path / "job.prom"
    assert no_leaks(textfile.write_textfile, path, directory=tmp_path, seconds=0.3, allocations=False)


# ------------------------------------------------------------ OpenTelemetry


def test_opentelemetrys_readers_see_the_instruments(tmp_path):
    pytest.importorskip("opentelemetry.sdk.metrics")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        InMemoryMetricReader,
        PeriodicExportingMetricReader,
    )

    put_shard(tmp_path, 1, [finding(1, Verdict.LEAKING)])
    memory, out = InMemoryMetricReader(), io.StringIO()
    console = PeriodicExportingMetricReader(ConsoleMetricExporter(out=out), export_interval_millis=3_600_000)
    provider = MeterProvider([memory, console])
    close = otel.instrument(provider.get_meter("test"), directory=tmp_path)
    try:
        (resource,) = memory.get_metrics_data().resource_metrics
        got = {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}
        assert set(got) <= {dotted for _, dotted, *_ in ALL.values()}
        calls = got["meminstr.calls"]
        assert (calls.unit, calls.data.is_monotonic) == ("{call}", True)
        assert [(dict(p.attributes), p.value) for p in calls.data.data_points] == [
            ({"subject": "shop.cart:Cart1", "subject_kind": "class"}, 7)
        ]
        assert got["meminstr.time_to_limit"].unit == "s"
        assert {p.attributes["verdict"] for p in got["meminstr.verdict"].data.data_points} == {"leaking"}
        console.collect()
        assert '"meminstr.growth.per_call"' in out.getvalue()
        close()
        after = memory.get_metrics_data()
        assert not [m for r in (after.resource_metrics if after else []) for s in r.scope_metrics for m in s.metrics]
    finally:
        close()
        provider.shutdown()


# ------------------------------------------------------------ the examples


def names_used(text):
    return set(re.findall(r"\bmeminstr_[a-z_]+", text))


@pytest.mark.parametrize("file", ["grafana-dashboard.json", "prometheus-alerts.yml"])
def test_the_examples_speak_of_metrics_that_exist(file):
    exposed = {f"{name}_total" if kind == "counter" else name for name, _, _, kind, _ in ALL.values()}
    used = names_used((EXAMPLES / file).read_text())
    assert used
    assert used <= exposed


def test_the_dashboard_is_a_dashboard_with_panels_that_do_not_overlap():
    board = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
    assert board["title"]
    taken = set()
    for panel in board["panels"]:
        assert panel["targets"]
        assert all(target["expr"] for target in panel["targets"])
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_alerts_cover_an_hour_to_the_limit_and_a_leak():
    text = (EXAMPLES / "prometheus-alerts.yml").read_text()
    assert "meminstr_time_to_limit_seconds" in text
    assert "< 3600" in text
    assert 'meminstr_verdict{verdict="leaking"}' in text
