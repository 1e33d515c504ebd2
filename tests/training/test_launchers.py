"""The place of a process, from the variables of Keras, torchrun and SLURM."""

import pytest

from mrcnn.training.launchers import Place, find_place, first_node

KERAS = {
    "KERAS_DISTRIBUTION_NUM_PROCESSES": "4",
    "KERAS_DISTRIBUTION_PROCESS_ID": "3",
    "KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1:1234,10.0.0.2:1234",
}
TORCHRUN = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29400"}
SLURM = {
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_PROCID": "0",
    "SLURM_STEP_NODELIST": "gpu[07-09]",
    "SLURM_JOB_ID": "4097",
}


@pytest.mark.parametrize(
    "environment, wanted, place",
    [
        ({}, None, None),
        ({}, 1, None),
        (KERAS, None, Place(3, 4, "10.0.0.1", 1234)),
        (KERAS, 1, None),  # alone in any case
        (TORCHRUN, None, Place(1, 2, "node0", 29401)),
        (TORCHRUN, 2, Place(1, 2, "node0", 29401)),
        ({**TORCHRUN, "MASTER_PORT": ""}, None, Place(1, 2, "node0", 29501)),
        ({**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}, None, None),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}, None,
         Place(1, 2, "node0", 29401, 1)),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None,
         Place(1, 2, "node0", 29401)),
        (SLURM, None, Place(0, 3, "gpu07", 60002)),
        ({**SLURM, "MASTER_PORT": "700"}, None, Place(0, 3, "gpu07", 700)),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2(x1),1", "SLURM_LOCALID": "0"}, None,
         Place(0, 3, "gpu07", 60002, 0)),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "1,2", "SLURM_LOCALID": "1"}, None,
         Place(0, 3, "gpu07", 60002, 1)),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "1,2", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
         None, Place(0, 3, "gpu07", 60002)),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "1(x2),3", "SLURM_LOCALID": "0",
          "SLURM_NODEID": "2"}, None, Place(0, 3, "gpu07", 60002, 0)),
        # In a batch script, without srun.
        ({"SLURM_NTASKS": "3", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "a,b"}, None, None),
        ({"RANK": "5"}, None, None),
    ],
)  # fmt: skip
def test_places(environment, wanted, place):
    assert find_place(environment, wanted) == place


@pytest.mark.parametrize(
    "environment, wanted, message",
    [
        ({**TORCHRUN, "RANK": "2"}, None, "RANK is 2; it must be from 0 to 1, since WORLD_SIZE"),
        ({**TORCHRUN, "RANK": "-1"}, None, "RANK is '-1'; it must be a whole number of at least 0"),
        ({**TORCHRUN, "RANK": "one"}, None, "RANK is 'one'; it must be a whole number"),
        ({**TORCHRUN, "RANK": ""}, None, "RANK is not set; it must be, since WORLD_SIZE is 2"),
        ({**TORCHRUN, "MASTER_ADDR": ""}, None, "MASTER_ADDR is not set; it must be"),
        ({**TORCHRUN, "MASTER_PORT": "x"}, None, "MASTER_PORT is 'x'; it must be"),
        ({**TORCHRUN, "MASTER_PORT": "65535"}, None, "MASTER_PORT \\+ 1 has the port 65536"),
        ({**TORCHRUN, "WORLD_SIZE": "0"}, None, "WORLD_SIZE is '0'; it must be a whole number of"),
        ({**TORCHRUN, "WORLD_SIZE": "1e3"}, None, "WORLD_SIZE is '1e3'; it must be"),
        (TORCHRUN, 3, "--hosts is 3; it must be 2, as WORLD_SIZE is"),
        ({}, 2, "--hosts is 2; it must be 1 where no launcher has set"),
        ({**KERAS, "KERAS_DISTRIBUTION_JOB_ADDRESSES": "node0"}, None, "it must be HOST:PORT"),
        ({**KERAS, "KERAS_DISTRIBUTION_JOB_ADDRESSES": "a:99999"}, None, "has the port 99999"),
        ({**SLURM, "SLURM_PROCID": "3"}, None, "SLURM_PROCID is 3; it must be from 0 to 2"),
    ],
)
def test_wrong_variables(environment, wanted, message):
    with pytest.raises(ValueError, match=message):
        find_place(environment, wanted)


@pytest.mark.parametrize(
    "nodes, first",
    [
        ("a", "a"),
        ("a,b", "a"),
        ("n[1-3]", "n1"),
        ("n[007,9]", "n007"),
        ("r1n[2-3]x,b", "r1n2x"),
        ("rack[1-2]node[3,5],b[1-2]", "rack1node3"),
    ],
)
def test_first_node(nodes, first):
    assert first_node(nodes) == first
