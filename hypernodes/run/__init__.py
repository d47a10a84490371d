"""How a pipeline runs, whatever engine runs it: `node_run` tells the run of one node."""
