"""
The benchmark: this backend and its peers in turn, on one PostgreSQL, counting every row.

Only ratios within one run mean anything: rates depend on the machine, and on what else it does.
"""
