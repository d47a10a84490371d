"""Where results are stored: a small base class, and stores that implement it.

    MemoryCache    in this process, as bytes, so that nobody changes what another one reads
    DiskCache      one file an entry, shared by threads, processes and machines
    FsspecCache    the same on whatever `fsspec` reaches: s3://, gs://, az://, ...

A key is the signature of one output (a hex string), so every writer of a key writes the same value,
and it does not matter who is last.
"""

from hypernodes.cache.base import Cache, Entry, NodeStats, Stats
from hypernodes.cache.disk import DiskCache
from hypernodes.cache.memory import MemoryCache
from hypernodes.cache.remote import FsspecCache
from hypernodes.cache.same_code import Kept, KeptNode

__all__ = [
    "Cache",
    "DiskCache",
    "Entry",
    "FsspecCache",
    "Kept",
    "KeptNode",
    "MemoryCache",
    "NodeStats",
    "Stats",
]
