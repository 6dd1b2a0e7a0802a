"""What tasks and training workers ask for, and what is said where the nodes have no room."""

import pytest

from pipeline.compute_config import StageResources
from pipeline.resources import (
    GB,
    Request,
    StageDoesNotFitError,
    WorkersDoNotFitError,
    fitting_workers,
    nodes_told,
    require_room_for_tasks,
    worker_request,
)

ANY = StageResources()
H100 = {"CPU": 32.0, "GPU": 4.0, "memory": 400 * GB, "accelerator_type:H100": 1.0}
A100 = {"CPU": 32.0, "GPU": 8.0, "memory": 200 * GB, "accelerator_type:A100": 1.0}
SMALL = {"CPU": 4.0, "memory": 16 * GB}


@pytest.mark.parametrize(
    ("workers", "nodes", "expected"),
    [
        (1, [{"CPU": 2}], 2),
        (2, [{"CPU": 8}], 4),
        (3, [{"CPU": 8}], 2),
        (1, [{"CPU": 1}, {"CPU": 1}], 1),
        (2, [{"CPU": 8}, {"CPU": 2}], 4),
        (3, [{}, {"CPU": 8}, {"CPU": 8}], 4),
        (2, [{"CPU": 64}, {"CPU": 16, "GPU": 1}, {"CPU": 16, "GPU": 1}], 16),
    ],
)
def test_training_workers_get_as_many_cpus_as_fit_on_the_nodes_at_once(
    workers: int, nodes: list[dict[str, float]], expected: int
) -> None:
    assert worker_request(ANY, workers, nodes).cpus == expected


@pytest.mark.parametrize(
    ("workers", "nodes", "room"),
    [(3, [{"CPU": 1}, {"CPU": 1}], 2), (2, [{"CPU": 64}, {"CPU": 4, "GPU": 1}], 1), (1, [{}], 0)],
)
def test_training_workers_that_do_not_fit_are_refused_with_the_number_that_would(
    workers: int, nodes: list[dict[str, float]], room: int
) -> None:
    with pytest.raises(
        WorkersDoNotFitError, match=f"compute.training_workers is {workers}.*room for {room} "
    ):
        worker_request(ANY, workers, nodes)
    assert worker_request(ANY, workers, nodes, may_grow=True).cpus == 1, "is waited for"


def test_a_kind_of_gpu_and_memory_say_which_nodes_are_meant() -> None:
    asked = StageResources(accelerator="H100", memory_gb=150)
    found = worker_request(asked, 2, [SMALL, A100, H100])
    assert found == Request(16, 1, 150, "H100")
    assert found.of_worker() == {"CPU": 16, "GPU": 1, "memory": 150 * GB}
    with pytest.raises(
        WorkersDoNotFitError, match=r"room for 2 that have 1 CPU, 1 GPU \(H100\), 150 GB each"
    ):
        worker_request(asked, 3, [SMALL, A100, H100])
    assert fitting_workers(asked, 1, 8, [SMALL, A100, H100]) == 2
    assert fitting_workers(StageResources(gpus=0, cpus=2), 1, 80, [SMALL, A100, H100]) == 34


def test_what_a_task_asks_for_goes_to_ray_under_its_names() -> None:
    asked = StageResources(cpus=2, memory_gb=8, accelerator="A100")
    assert Request.of(asked, 1, 1).of_task() == {
        "num_cpus": 2,
        "num_gpus": 1,
        "memory": 8 * GB,
        "accelerator_type": "A100",
    }
    assert Request.of(ANY, 1, 0).of_task() == {"num_cpus": 1, "num_gpus": 0}


def test_a_task_that_no_node_has_room_for_is_refused_with_what_there_is() -> None:
    require_room_for_tasks("clean", Request(4, memory_gb=16), [SMALL])
    with pytest.raises(StageDoesNotFitError) as refusal:
        require_room_for_tasks("clean", Request(8, memory_gb=32), [SMALL, SMALL, {"CPU": 0.0}])
    told = str(refusal.value)
    assert "clean asks for 8 CPUs, 32 GB for each task (compute.stages.clean)" in told
    assert "there are 4 CPUs, 16 GB (2 nodes); 0 CPUs." in told
    assert "compute.autoscaling=true" in told


def test_nodes_are_told_by_what_they_have() -> None:
    assert (
        nodes_told([H100, A100, A100])
        == "32 CPUs, 4 GPUs (H100), 400 GB; 32 CPUs, 8 GPUs (A100), 200 GB (2 nodes)"
    )
    assert nodes_told([]) == "no nodes"
