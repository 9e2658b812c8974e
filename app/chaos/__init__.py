"""A run of the whole service under faults, and the invariants that must hold afterwards: `make chaos`.

`fault_plan` and `workload_plan` derive from a seed what fails and what a community does meanwhile. `environment` starts
everything, `fault_injection` and `workload` carry the plans out, `collect_observed_state` reads the result, and the two
`invariants_` modules check it. For development only: the wheel and the image do not contain it.
"""
