"""Which processes train together, by TF_CONFIG and by what Slurm and Kubernetes say."""

import json

import pytest

from fuxi_mtl.cluster import Cluster, batches_of, cluster_of, part_of
from fuxi_mtl.cluster.schedulers import host_names


def config(cluster, kind="worker", index=0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


SLURM = {
    "SLURM_JOB_ID": "31234",
    "SLURM_STEP_NODELIST": "gpu[08-09],big1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "3",
    "SLURM_NODEID": "1",
}
KUBERNETES = {
    "JOB_COMPLETION_INDEX": "2",
    "HOSTNAME": "train-2",
    "FUXI_MTL_WORKERS": "3",
    "FUXI_MTL_SERVICE": "mtl",
}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TF_CONFIG": ""},
        {"TF_CONFIG": "{}"},
        config({"worker": ["a:1"]}),
        config({"chief": ["a:1"]}, "chief"),
    ],
)
def test_a_process_without_others_trains_alone(environment):
    assert cluster_of(environment) is None


def test_tf_config_names_the_workers_and_this_one():
    found = cluster_of(config({"worker": ["a:1", "b:2"]}, index=1))
    assert found == Cluster(("a:1", "b:2"), 1)
    assert (found.size, found.is_chief, found.name(), found.name(0)) == (
        2,
        False,
        "worker 1 (b:2)",
        "worker 0 (a:1)",
    )
    assert cluster_of({"TF_CONFIG": found.tf_config()}) == found


@pytest.mark.parametrize(("kind", "index", "rank"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)])
def test_the_chief_of_a_tfjob_is_the_first_worker(kind, index, rank):
    cluster = {"worker": ["w0:1", "w1:1"], "chief": ["c:1"]}
    assert cluster_of(config(cluster, kind, index)) == Cluster(("c:1", "w0:1", "w1:1"), rank)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"TF_CONFIG": "{worker"}, "it is JSON like"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1", "b:1"]}}'}, "it is JSON like"),
        ({"TF_CONFIG": '["a:1", "b:1"]'}, "it is JSON like"),
        (config({"worker": ["a:1", "b:1"], "ps": ["c:1"]}), "has the job 'ps'"),
        (config({"worker": ["a:1", "b:1"]}, "evaluator"), "has the job 'evaluator'"),
        (config({"worker": ["a:1", "b:1"]}, index=2), "no task 2 of the job 'worker'"),
        (config({"worker": ["a:1", "b:1"]}, "chief"), "no task 0 of the job 'chief'"),
        (config({"worker": ["a:1", "a:1"]}), "names 'a:1' twice"),
        (config({"worker": ["a:1"], "chief": ["a:1"]}), "names 'a:1' twice"),
        (config({"worker": ["localhost", "a:2"]}), "'localhost' is no address: write host:port"),
        (config({"worker": ["a:1", "b:99999"]}), "b:99999 has no port that exists: they go from 1 to 65535"),
        (config({"worker": ["a:0", "b:1"]}), "a:0 has no port that exists"),
        (config({"worker": "a:1,a:2"}), "it is JSON like"),
        (config({"worker": {"0": "a:1", "1": "a:2"}}), "it is JSON like"),
        (config({"worker": ["a:1", "b:1"]}, index=0.9), "it is JSON like"),
    ],
)
def test_a_tf_config_that_makes_no_sense_is_told(environment, told):
    with pytest.raises(ValueError, match=told):
        cluster_of(environment)


def test_slurm_tasks_fill_one_node_after_the_other_from_a_port_of_their_job():
    found = cluster_of(SLURM, "slurm")
    assert found == Cluster(("gpu08:21234", "gpu08:21235", "gpu09:21234", "gpu09:21235", "big1:21234"), 3)
    assert cluster_of(SLURM, "slurm", port=7000).addresses[1] == "gpu08:7001"


def test_the_ports_behind_the_first_exist_too():
    with pytest.raises(ValueError, match="--port 65535: gpu08:65536 has no port that exists"):
        cluster_of(SLURM, "slurm", port=65_535)


def test_a_slurm_step_counts_before_its_job_and_one_task_trains_alone():
    job = {"SLURM_JOB_NODELIST": "n[1-9]", "SLURM_TASKS_PER_NODE": "1(x9)"}
    assert cluster_of({**SLURM, **job}, "slurm").size == 5
    one = {"SLURM_JOB_NODELIST": "n1", "SLURM_TASKS_PER_NODE": "1", "SLURM_PROCID": "0", "SLURM_NODEID": "0"}
    assert cluster_of({**one, "SLURM_JOB_ID": "1"}, "slurm") is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"SLURM_PROCID": ""}, "SLURM_PROCID is not set. Under Slurm start the command by srun"),
        ({"SLURM_PROCID": "x"}, "SLURM_PROCID is 'x', which is no number"),
        ({"SLURM_PROCID": "5"}, "SLURM_PROCID is 5, and there are 5 tasks"),
        ({"SLURM_NODEID": "2"}, "task 3 is on node 2 and would be on node 1"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2"}, "3 nodes and the tasks of 1"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2x"}, "does not say how many tasks"),
        ({"SLURM_STEP_NODELIST": "n[1-"}, "is no list of hosts"),
        ({"SLURM_STEP_NODELIST": "n[a-b]"}, "'a-b' is no number and no range"),
    ],
)
def test_slurm_variables_that_make_no_sense_are_told(changed, told):
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        cluster_of({**SLURM, **changed}, "slurm")


@pytest.mark.parametrize(
    ("expression", "hosts"),
    [
        ("a", ["a"]),
        ("n[1,3-4],m", ["n1", "n3", "n4", "m"]),
        ("n[099-101].x", ["n099.x", "n100.x", "n101.x"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
    ],
)
def test_a_list_of_hosts_is_written_out(expression, hosts):
    assert host_names(expression) == hosts


def test_pods_of_an_indexed_job_have_names_behind_their_service():
    assert cluster_of(KUBERNETES, "kubernetes") == Cluster(
        ("train-0.mtl:2222", "train-1.mtl:2222", "train-2.mtl:2222"), 2
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"FUXI_MTL_SERVICE": ""}, "FUXI_MTL_SERVICE is not set"),
        ({"HOSTNAME": "train-x7f"}, "completionMode: Indexed"),
        ({"FUXI_MTL_WORKERS": "2"}, "JOB_COMPLETION_INDEX is 2, and FUXI_MTL_WORKERS says 2"),
    ],
)
def test_kubernetes_variables_that_make_no_sense_are_told(changed, told):
    with pytest.raises(ValueError, match=told):
        cluster_of({**KUBERNETES, **changed}, "kubernetes")


@pytest.mark.parametrize("rows", [0, 1, 3, 8, 1000])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_each_row_and_each_batch_belongs_to_one_worker(rows, size):
    parts = [range(rows)[part_of(rows, rank, size)] for rank in range(size)]
    assert [row for part in parts for row in part] == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [n for rank in range(size) for n in batches_of(rows, 32, rank, size)] == list(
        range(-(-rows // 32))
    )
