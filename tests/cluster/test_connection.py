"""Messages between workers, and what is said of workers that are gone; the store is a dictionary here."""

import signal
import socket

import pytest
import tensorflow as tf

from fuxi_mtl.cluster import LOST, Cluster
from fuxi_mtl.cluster import workers as connection
from fuxi_mtl.cluster.workers import WorkerError, Workers, connect, connected
from fuxi_mtl.config import load_experiment
from fuxi_mtl.interruption import Terminated
from fuxi_mtl.registry import import_zoo
from fuxi_mtl.workflow import chief, following
from fuxi_mtl.workflow.chief import DATA, TRAIN, begin_run, check_same_data, command_of, differing
from fuxi_mtl.workflow.following import follow_runs

ADDRESSES = ("a:1", "b:2", "c:3")


def experiment(**changes):
    import_zoo()
    return load_experiment("config", "MMoE_test", changes=changes)


class Store(dict):
    """As TensorFlow's, where nobody waits; `gone` are numbers of workers."""

    gone: tuple[int, ...] = ()
    set_config_key_value = dict.__setitem__

    def get_config_key_value(self, key, timeout_in_ms):
        if key not in self:
            raise tf.errors.DeadlineExceededError(None, None, f"{key}: {timeout_in_ms}")
        return self[key]

    def get_task_states(self, jobs):
        ((_, size),) = jobs
        lost = tf.errors.UnavailableError(None, None, "no heartbeats")
        return [lost if rank in self.gone else None for rank in range(size)]


@pytest.fixture
def three():
    """Three workers with one store."""
    found = [Workers(Cluster(ADDRESSES, rank), None) for rank in range(3)]
    store = Store()
    for each in found:
        each._store = store
    return found


def test_all_hear_what_the_chief_tells_in_its_order(three):
    leader, *others = three
    leader.tell("first", number=1)
    leader.tell("second")
    for each in others:
        assert each.hears(0)
        assert each.hear("first", "second") == ("first", {"number": 1})
        assert each.hear("first", "second") == ("second", {})
        assert not each.hears(0)


def test_the_chief_collects_what_all_say_in_the_order_of_the_workers(three):
    leader, first, second = three
    second.say({"key": 2})
    first.say([1])
    assert leader.collect("own") == ["own", [1], {"key": 2}]


def test_who_has_another_command_is_told(three):
    three[0].tell("train")
    with pytest.raises(WorkerError, match=r"worker 0 \(a:1\) is at 'train' where this one is at kept or bye"):
        three[1].hear("kept", "bye")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no room"), WorkerError),
        (Terminated("saved"), Terminated),
        (KeyboardInterrupt("saved"), KeyboardInterrupt),
    ],
)
def test_what_ends_the_chief_ends_the_others(three, error, kind):
    three[0].fail(error)
    with pytest.raises(kind, match=rf"worker 0 \(a:1\) has ended: {error}"):
        three[2].hear("train")


def test_a_worker_that_is_gone_is_named_by_who_waits(three):
    three[0]._store.gone = (2,)
    with pytest.raises(WorkerError, match=r"worker 2 \(c:3\) is gone: its own log says why") as told:
        three[0].collect(None)
    assert told.value.exit_status == LOST


def test_a_worker_that_says_nothing_is_waited_for_no_longer_than_the_limit(three):
    with pytest.raises(WorkerError, match=r"worker 1 \(b:2\) is alive and has said nothing for 0 s"):
        three[0].collect(None, limit=-1)


@pytest.mark.parametrize(
    ("rank", "error", "who"),
    [
        (
            0,
            tf.errors.UnavailableError(None, None, "from /job:worker/replica:0/task:1: Socket closed"),
            "worker 1",
        ),
        (1, tf.errors.UnavailableError(None, None, "failed to connect to all addresses"), "worker 0"),
        (0, tf.errors.InternalError(None, None, "Collective ops is aborted"), "another worker"),
    ],
)
def test_what_tensorflow_says_of_a_peer_becomes_a_sentence(three, rank, error, who):
    with pytest.raises(WorkerError, match=f"^{who}.* is gone"), three[rank].watched():
        raise error


def test_other_errors_of_tensorflow_stay_as_they_are(three):
    with pytest.raises(tf.errors.InternalError, match="cuDNN"), three[0].watched():
        raise tf.errors.InternalError(None, None, "cuDNN failed")


def test_workers_that_do_not_come_are_told_and_signals_are_as_before(monkeypatch):
    def absent(cluster_resolver):
        assert cluster_resolver.task_id == 1
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        raise tf.errors.DeadlineExceededError(None, None, "Barrier timed out.\nmore")

    context = connection.eager_context.context()
    configured = {}
    monkeypatch.setattr(
        context, "configure_coordination_service", lambda **options: configured.update(options)
    )
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", absent)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(WorkerError, match=r"worker 1 \(b:2\) cannot join the others \(Barrier timed out.\)"):
        connect(Cluster(ADDRESSES, 1))
    assert signal.getsignal(signal.SIGTERM) == before
    assert connected() is None
    assert configured["cluster_register_timeout_in_ms"] == 600_000


def test_a_port_that_another_program_has_is_named(monkeypatch):
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda **_: pytest.fail("it has begun"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(WorkerError, match=rf"another program of this machine has port {port}"):
            connect(Cluster(("a:1", f"localhost:{port}"), 1))


def test_a_process_that_has_computed_before_it_joins_is_told_what_to_look_for(monkeypatch):
    def late(cluster_resolver):
        raise RuntimeError("Collective ops must be configured at program startup")

    context = connection.eager_context.context()
    monkeypatch.setattr(context, "configure_coordination_service", lambda **_: None)
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", late)
    with pytest.raises(
        ValueError, match=r"worker 1 \(b:2\) cannot join the others: .* A module \(of --models"
    ):
        connect(Cluster(ADDRESSES, 1))


def test_a_worker_with_other_data_is_named(three, monkeypatch):
    for each in (connection, chief):
        monkeypatch.setattr(each, "connected", lambda: three[0])
    monkeypatch.setattr(chief, "memory_of_machine", lambda: 2.0**35)
    three[1].say("1234")
    three[2].say("5678")
    with pytest.raises(
        WorkerError, match=r"worker 2 \(c:3\) has other data \(key 5678\) than worker 0 \(key 1234\)"
    ):
        check_same_data("1234")
    assert three[1].hear(DATA) == (DATA, {"memory": 2.0**35})


def test_a_worker_with_another_command_is_named_with_its_keys(three, monkeypatch):
    leader, _, other = three
    own, changed = experiment(), experiment(batch_size=7, net_regularizer=0.5)
    leader.tell(TRAIN, **command_of(own))
    leader.fail(ValueError("worker 2 has another command"))
    monkeypatch.setattr(following, "_follow_run", lambda *_: pytest.fail("it trains something else"))
    with pytest.raises(WorkerError, match="worker 0 .* has ended: worker 2 has another command"):
        follow_runs([changed], other)
    monkeypatch.setattr(chief, "connected", lambda: leader)
    three[1].say("")
    with pytest.raises(ValueError, match=r"worker 2 \(c:3\) has another command: it differs in ") as told:
        begin_run(own)
    assert "net_regularizer (0.5 there, 0.0 at worker 0)" in str(told.value)
    assert "batch_size (7 there" in str(told.value)


def test_where_files_lie_and_how_many_threads_read_them_is_each_workers_own():
    own = command_of(experiment())
    changes = {"num_workers": 3, "encode_workers": 2, "model_root": "elsewhere", "data_root": "there"}
    assert differing(own, command_of(experiment(**changes))) == ""
    here, there = (command_of(experiment(init_from=f"{place}/run")) for place in "ab")
    assert differing(here, there) == ""
    assert differing(own, there) == "init_from (True there, False at worker 0)"
    for changes in ({"seed": 7}, {"embedding_sharding": "row"}, {"epochs": 9}):
        other = command_of(experiment(**changes))
        assert differing(own, other).startswith(f"{next(iter(changes))} (")
    assert differing(own, own | {"version": "9.9"}) == f"fuxi_mtl (9.9 there, {own['version']} at worker 0)"


def test_a_process_alone_has_nobody_to_ask(monkeypatch):
    monkeypatch.setattr(chief, "connected", lambda: None)
    check_same_data("1234")
    begin_run(experiment())
