"""An index run in pieces: the table is cut into shards, each is embedded into a file of its own, on
whatever machine, and the files are put into a gallery in the table's order.
"""

from .asked import Asked
from .cutting import Shard, cut, one_of
from .job import Job, in_shards, index_in_shards, make_one_shard

__all__ = [
    "Asked",
    "Job",
    "Shard",
    "cut",
    "in_shards",
    "index_in_shards",
    "make_one_shard",
    "one_of",
]
