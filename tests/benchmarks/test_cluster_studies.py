"""Studies of several processes: the relay, what is compared and counted, and clusters on paper."""

import asyncio
import os

import numpy as np
import pytest

from benchmarks import cluster_model, hosts, network, processes, ray_hosts, scale
from benchmarks.cluster_model import Step
from benchmarks.cluster_steps import sent_by
from benchmarks.relay import Relay
from benchmarks.small_trainings import apart, logs_apart
from fuxi_mtl.cluster import blocks


def test_a_relay_passes_everything_on_in_its_order_and_each_way_later():
    sent = np.random.default_rng(1).bytes(3 << 20)

    async def echo(reader, writer):
        writer.write(await reader.readexactly(len(sent)))
        await writer.drain()
        writer.close()

    async def asked():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, limit=len(sent))
        relay = Relay({0: server.sockets[0].getsockname()})
        relay.delay = 0.05
        [relaying] = await relay.open()
        reader, writer = await asyncio.open_connection(*relaying.sockets[0].getsockname(), limit=len(sent))
        loop = asyncio.get_running_loop()
        start = loop.time()
        writer.write(sent)
        found = await reader.readexactly(len(sent))
        seconds = loop.time() - start
        writer.close()
        for each in (server, relaying):
            each.close()
        return found, seconds

    found, seconds = asyncio.run(asked())
    assert found == sent
    assert seconds >= 0.1


def test_hosts_need_root_and_say_so(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RuntimeError, match="network namespaces, which only root may make: run it as"):
        hosts.Hosts(2)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match="there is no command 'ip': install iproute2"):
        hosts.Hosts(2)


def test_bytes_are_those_of_all_devices():
    table = "Inter-|\n face |bytes\n lo: 7 1 0 0 0 0 0 0 7 1 0\n eth0: 9 1 0 0 0 0 0 0 30 1 0\n"
    assert sent_by(table) == 37


@pytest.mark.parametrize("which", [scale.WHOLE, scale.SPREAD])
def test_weights_of_several_are_held_against_those_of_one(tmp_path, which):
    rows, dense = np.arange(10.0).reshape(5, 2), np.array([1.0, 4.0])
    np.savez(tmp_path / "one.npz", table_0=rows, dense_1=dense)
    # Rows 0, 2, 4 are of the first, 1 and 3 of the second, whose last row is of no row of the table.
    shares = (rows[::2], np.vstack([rows[1::2], [[99.0, 99.0]]])) if which == scale.SPREAD else (rows, rows)
    files = [tmp_path / f"{rank}.npz" for rank in range(2)]
    for file, share in zip(files, shares, strict=True):
        np.savez(file, table_0=share, dense_1=dense + np.array([0, 0.04]))
    assert scale.apart(tmp_path / "one.npz", files, which) == pytest.approx(0.01)


def test_on_paper_whole_tables_cost_more_with_every_worker_and_spread_rows_do_not():
    step = Step(dense=1_000, distinct=100, width=16, slots=2)
    assert step.sent(1, spread=False) == step.sent(1, spread=True) == 0
    # Of two: 8 bytes a weight over the ring's half; 100 rows of 16 numbers and an id to the other one.
    assert step.sent(2, spread=False) == 4_000 + 100 * 68
    assert step.sent(128, spread=False) == pytest.approx(8_000 * 127 / 128 + 127 * 6_800)
    assert step.sent(128, spread=True) == pytest.approx(127 / 128 * (8_000 + step.padding(128) * 100 * 132))
    assert step.exchange(2, spread=False, gigabits=10) == pytest.approx(8 * 10_800 / 1e10)
    assert step.memory(1e9, 16, spread=True) == 12e9
    assert step.memory(1e9, 16, spread=False) == 192e9


@pytest.mark.parametrize("workers", [2, 16])
def test_on_paper_blocks_are_as_full_as_those_that_are_drawn(workers):
    draw = np.random.default_rng(1)
    fullest = draw.multinomial(23_177, np.full(workers, 1 / workers), size=workers).max()
    sent = 17 / 16 * workers * fullest / 23_177
    assert sent <= Step(dense=0, distinct=23_177).padding(workers) <= 1.05 * sent


def test_on_paper_many_blocks_are_not_as_large_as_the_fullest():
    more, of = blocks.MOST_PADDING
    assert (sum(blocks.SENT_ON), more / of) == (cluster_model.SENT_ON, cluster_model.MOST_PADDING)
    # Drawn and counted: 1.13 at 128 workers of 23,177 rows, 1.18 at 32 of 2,000.
    assert 1.12 < Step(dense=0, distinct=23_177).padding(128) < 1.2
    assert 1.18 < Step(dense=0, distinct=2_000).padding(32) < 1.3
    assert Step(dense=0, distinct=100).padding(100) > 5  # a row a block: hardly anything is to gain


def test_cases_beyond_their_bound_are_named_and_numbers_that_are_none_are_beyond_it():
    found = {"A": {"weights": 9e-6, "logs": 0.0, "reversed": 1.0}, "M3oE": {"weights": 9e-5, "copies": 0.0}}
    assert processes.outside(found) == []
    found |= {"B": {"failed": "why"}, "C": {"weights": float("nan")}, "D": {"logs": 2e-5, "copies": 0.1}}
    assert processes.outside(found) == [
        "B: why",
        "C: weights nan apart, at most 1e-05",
        "D: logs 2e-05 apart, at most 1e-05",
        "D: copies 0.1 apart, at most 1e-05",
    ]
    told = processes.verdict([*found.items(), ("A", {"weights": 1.0})])
    assert told.startswith("At most 1e-05 is right, and more where rounding alone is more: M3oE (0.0001), ")
    assert "Not so: B: why; C: weights nan apart" in told
    assert told.endswith("A: weights 1 apart, at most 1e-05.")  # the second of this name
    assert processes.verdict([("A", found["A"])] * 2).endswith("So are all 2 cases.")
    nan = [np.array([np.nan, 1.0]), np.array([1.0])]
    assert np.isnan(apart([np.ones(2), np.ones(1)], nan))
    assert np.isnan(logs_apart({"a": 1.0, "b": 1.0}, {"a": np.nan, "b": 1.0}))


def test_a_node_of_ray_that_does_not_start_in_time_is_started_again(monkeypatch):
    ended, started = [], []
    monkeypatch.setattr(ray_hosts, "_end", lambda hosts, number: ended.append(number))

    def start(failures: int) -> None:
        def checked(command, environment):
            started.append((command, environment))
            if len(started) <= failures:
                raise RuntimeError("Ray has waited for 30 seconds")

        monkeypatch.setattr(ray_hosts, "_checked", checked)
        ray_hosts._insisted(None, 1, ["ray", "start"], {"A": "1"})

    start(failures=2)
    assert started == [(["ray", "start"], {"A": "1"})] * 3
    assert ended == [1, 1]  # what is left of a node that came half
    started.clear()
    with pytest.raises(RuntimeError, match="has waited"):
        start(failures=5)
    assert (len(started), ended) == (5, [1] * 7)


def test_only_a_whole_state_is_one_to_go_on_from(tmp_path):
    training = tmp_path / "data/sgd/seed_2026.training"
    for name in (".state_40.partial-1", "state_80"):
        (training / name).mkdir(parents=True)
    (training / ".state_40.partial-1/state.h5").touch()
    assert ray_hosts.saved_states(tmp_path, "sgd") == []
    (training / "state_80/state.h5").touch()
    assert ray_hosts.saved_states(tmp_path, "sgd") == [training / "state_80/state.h5"]
    assert ray_hosts.saved_states(tmp_path, "adam") == []


def test_what_ray_says_on_every_node_is_told_once():
    said = "A worker was lost (of 2): all start again and go on."
    lines = [said, "(RayTrainWorker pid=7) Going on from state_40", "(Other pid=8) nothing"]
    lines.append("\x1b[36m(RayTrainWorker pid=7, ip=10.0.0.2)\x1b[0m Going on from state_40 [repeated 2x]")
    assert ray_hosts.told_of_loss(lines) == [said, "Going on from state_40"]


def test_a_run_that_ends_elsewhere_than_in_one_process_is_named():
    one = {"a_AUC": 0.5, "b_AUC": 0.5, "a_logloss": 2.0}
    near = {"a_AUC": 0.5, "b_AUC": 0.500004, "a_logloss": 2.00001}
    far = {"a_AUC": 0.5, "b_AUC": 0.5009, "a_logloss": 9.0}
    ray_hosts.check({"sgd": {"alone": one, "by_ray": near}, "adam": {"alone": one, "by_ray": far}})
    nan = {**one, "b_AUC": np.nan}
    with pytest.raises(RuntimeError, match=r"elsewhere: sgd: 3.5 apart, at most 1e-05; adam: nan apart"):
        ray_hosts.check({"sgd": {"alone": one, "by_ray": far}, "adam": {"alone": one, "by_ray": nan}})


def test_tables_tell_what_was_measured():
    one = {"median": 2.0, "low": 1.0, "high": 3.0, "rounds": [1.0, 2.0, 3.0]}
    two = {"median": 4.0, "low": 4.0, "high": 4.0, "rounds": [4.0, 4.0, 4.0]}
    machine = {"cores": 2, "load_before": 3.5}
    cell = {"ids": 1_490_266, "processes": 1, "tables": scale.WHOLE, "peak_mb": one, "machine": machine}
    cell |= {"step_ms": two, "processor_ms": two, "dense": 1_000, "distinct": 100}
    other = {**cell, "processes": 2, "apart": 1e-7, "bytes": 12_000, "alone_step_ms": one}
    other |= {"alone_processor_ms": one}
    text = "\n".join(scale.section({"machine": machine, "cells": [cell, other]}))
    assert "| 1,490,266 | 2 | whole tables | 1e-07 | 3 | 0.01 | 4 (4 to 4) | 2 (1 to 3) |" in text
    assert "| 50% | 3.5 |" in text
    assert "| 1,490,266 | 2 | whole tables | 0.01 | 0.01 |" in text
    far = {
        "delay": 5.0,
        "megabits": None,
        "ids": 20,
        "processes": 2,
        "tables": scale.SPREAD,
        "bytes": 5_000_000,
    }
    far |= {"step_ms": one, "processor_ms": two, "machine": machine}
    text = "\n".join(network.section({"machine": machine, "cells": [far, {**far, "megabits": 1e4}]}))
    assert "| 20 | 2 | rows spread | 5 |  | 5.00 | 2 (1 to 3) | 4 (4 to 4) | 3.5 |" in text
    assert "| 10,000 |" in text
    metrics = {"by_ray": {"a_AUC": 0.25, "loss": 1.0}, "alone": {"a_AUC": 0.2500001, "loss": 1.0}}
    text = "\n".join(ray_hosts.section({"lines": ["3 s: saved"], "metrics": {"adam": metrics}}))
    assert "| adam | a_AUC | 0.250000 | 0.250000 | 1.0e-07 |" in text
    assert "3 s: saved" in text
