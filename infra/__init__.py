"""WHERE it runs: the store, the job contract of worker processes, sites, launchers, tracking and the local stack."""
