from dataclasses import replace

import pytest

from biolm_ray.config.schema import ResourcesConfig
from biolm_ray.errors import ResourceError
from biolm_ray.experiment.placement import parallel_now, place, place_inference
from biolm_ray.experiment.runtime import Cluster


def cluster(cpus: int, gpus: int = 0, most_gpus: int = 0, most_cpus: int = 0, nodes: int = 1):
    return Cluster(
        joined=True,
        num_cpus=cpus,
        node_cpus=cpus // nodes,
        most_cpus=max(cpus, most_cpus),
        num_gpus=gpus,
        most_gpus=max(gpus, most_gpus),
    )


def test_a_laptop_trains_as_many_folds_as_it_has_cores():
    placement = place(cluster(8), ResourcesConfig(), num_models=10)
    assert (placement.num_workers, placement.use_gpu, placement.parallel) == (1, False, 8)
    assert placement.cpus_per_worker == 1
    assert placement.note == "8 of 10 models train at a time, each on CPUs (no GPU here)"


def test_a_single_model_takes_all_cores():
    assert place(cluster(8), ResourcesConfig(num_gpus=0), num_models=1).cpus_per_worker == 8


def test_two_workers_share_the_cores_of_a_fold():
    placement = place(cluster(8), ResourcesConfig(num_gpus=2), num_models=2)
    assert (placement.num_workers, placement.parallel, placement.cpus_per_worker) == (2, 2, 2)


def test_more_workers_than_cores_take_a_share_of_one_each():
    placement = place(cluster(2), ResourcesConfig(num_gpus=4), num_models=3)
    assert (placement.parallel, placement.cpus_per_worker) == (1, 0.5)


def test_gpus_that_an_autoscaler_can_start_count():
    placement = place(cluster(2, most_gpus=8), ResourcesConfig(num_gpus=2), num_models=10)
    assert (placement.use_gpu, placement.parallel) == (True, 4)


def test_more_gpus_than_the_cluster_can_have_are_refused():
    with pytest.raises(ResourceError, match="can have 3 at the most; set ngpus to 2"):
        place(cluster(8, gpus=3), ResourcesConfig(num_gpus=4), num_models=1)


def test_the_number_of_folds_at_a_time_can_be_set():
    placement = place(cluster(8), ResourcesConfig(parallel_folds=2), num_models=10)
    assert (placement.parallel, placement.cpus_per_worker) == (2, 4)


def test_inference_takes_the_gpus_the_cluster_can_start_else_its_cores():
    growing = cluster(4, most_gpus=6)
    assert place_inference(growing, ResourcesConfig()) == (6, 1.0)
    assert place_inference(growing, ResourcesConfig(num_gpus=0)) == (4, 0.0)
    assert place_inference(cluster(4), ResourcesConfig()) == (4, 0.0)


def test_more_inference_workers_than_gpus_share_them():
    assert place_inference(cluster(8, gpus=2), ResourcesConfig(), 4) == (4, 0.5)


def test_a_cluster_that_grew_is_used_and_asked_for_one_model_more_than_fits():
    resources = ResourcesConfig(num_gpus=0)
    placement = place(cluster(2), resources, num_models=10)
    assert placement.parallel == 2
    assert [parallel_now(placement, cluster(cpus)) for cpus in (0, 2, 6)] == [2, 3, 7]
    wide = place(cluster(8, gpus=4), ResourcesConfig(num_gpus=2), num_models=10)
    assert parallel_now(wide, cluster(8, gpus=9)) == 5


def test_neither_a_local_cluster_nor_a_set_number_of_folds_is_exceeded():
    local = place(replace(cluster(2), joined=False), ResourcesConfig(), num_models=10)
    few = place(cluster(2), ResourcesConfig(parallel_folds=1), num_models=10)
    assert [parallel_now(placement, cluster(64)) for placement in (local, few)] == [2, 1]


def test_no_worker_asks_for_more_cores_than_a_node_has():
    assert place(cluster(32, nodes=4), ResourcesConfig(), num_models=1).cpus_per_worker == 8


def test_a_cluster_that_starts_from_nothing_is_asked_for_a_core_per_worker():
    placement = place(cluster(0, most_cpus=16), ResourcesConfig(), num_models=10)
    assert (placement.parallel, placement.cpus_per_worker) == (10, 1.0)


def test_the_accelerator_cpu_leaves_gpus_alone_whatever_their_number():
    settings = ResourcesConfig(num_gpus=2, accelerator="cpu")
    placement = place(cluster(8, gpus=1), settings, num_models=1)
    assert (placement.num_workers, placement.use_gpu) == (2, False)
    assert placement.note == "the model trains on CPUs, with 2 workers"
    assert place_inference(cluster(4, gpus=2), settings) == (4, 0.0)
